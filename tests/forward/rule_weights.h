/* Weights, inputs by a rule that the tests and parity.py both compute, so that no file is needed.
 *
 * Element i of a tensor takes draw i mod 4 of the Philox4x32-10 block with counter (lo32 h, hi32 h, i/4, 0), h = FNV-1a of "init/NAME". */
#ifndef FL_TESTS_RULE_WEIGHTS_H
#define FL_TESTS_RULE_WEIGHTS_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stages/forward/backend.h"

#define RULE_SEED 2017u

static inline uint64_t rule_fnv(const char *s)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (; *s != '\0'; s++)
        h = (h ^ (uint8_t)*s) * 0x100000001b3u;
    return h;
}

static inline void rule_philox(const uint32_t ctr[4], uint32_t k0, uint32_t k1, uint32_t out[4])
{
    uint32_t a = ctr[0], b = ctr[1], c = ctr[2], d = ctr[3];
    for (int round = 0; round < 10; round++, k0 += 0x9e3779b9u, k1 += 0xbb67ae85u) {
        uint64_t p = (uint64_t)0xd2511f53u * a, q = (uint64_t)0xcd9e8d57u * c;
        a = (uint32_t)(q >> 32) ^ b ^ k0;
        b = (uint32_t)q;
        c = (uint32_t)(p >> 32) ^ d ^ k1;
        d = (uint32_t)p;
    }
    out[0] = a, out[1] = b, out[2] = c, out[3] = d;
}

/* x[i] = base + span u_i, computed in double and rounded once. */
static inline void rule_fill(const char *name, float *x, size_t n, double base, double span)
{
    char path[128];
    snprintf(path, sizeof path, "init/%s", name);
    uint64_t h = rule_fnv(path);
    for (size_t i = 0; i < n; i += 4) {
        uint32_t r[4];
        rule_philox((uint32_t[]){ (uint32_t)h, (uint32_t)(h >> 32), (uint32_t)(i / 4), 0 }, RULE_SEED, 0, r);
        for (size_t j = i; j < n && j < i + 4; j++)
            x[j] = (float)(base + span * ((r[j - i] >> 8) * 0x1p-24));
    }
}

static inline size_t rule_count(const struct fl_param *p)
{
    size_t n = 1;
    for (uint32_t i = 0; i < p->ndim; i++)
        n *= p->shape[i];
    return n;
}

static inline int rule_ends(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

static inline void rule_param(const struct fl_param *p, float *x)
{
    size_t n = rule_count(p);
    if (p->ndim >= 2) {
        double bound = sqrt(6.0 / ((double)n / p->shape[0]));
        rule_fill(p->name, x, n, -bound, 2 * bound);
    } else if (rule_ends(p->name, ".weight")) {
        double scale = strstr(p->name, ".bn3.") ? 0.25 : 1;       /* keeps residual sums small */
        rule_fill(p->name, x, n, 0.5 * scale, scale);
    } else if (rule_ends(p->name, ".running_var")) {
        rule_fill(p->name, x, n, 0.5, 1);
    } else {
        rule_fill(p->name, x, n, -0.1, 0.2);
    }
}

/* The weights of a network, in its order; freed with rule_free. NULL without memory. */
static inline float **rule_weights(const struct fl_net *net)
{
    uint32_t n = fl_net_nparams(net);
    float **w = calloc(n, sizeof *w);
    for (uint32_t i = 0; w != NULL && i < n; i++) {
        w[i] = malloc(rule_count(fl_net_param(net, i)) * sizeof(float));
        if (w[i] == NULL)
            abort();
        rule_param(fl_net_param(net, i), w[i]);
    }
    return w;
}

static inline void rule_free(const struct fl_net *net, float **w)
{
    for (uint32_t i = 0; w != NULL && i < fl_net_nparams(net); i++)
        free(w[i]);
    free(w);
}

/* NHWC input of one row: tensor "tileN", between -2 and 2. */
static inline void rule_tile(uint32_t number, uint32_t size, uint32_t channels, float *x)
{
    char name[32];
    snprintf(name, sizeof name, "tile%u", number);
    rule_fill(name, x, (size_t)size * size * channels, -2, 4);
}

#endif
