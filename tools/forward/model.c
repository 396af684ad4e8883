/* Networks with weights for the tool's commands. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "runtime/model.h"
#include "runtime/rng.h"
#include "runtime/text.h"
#include "stages/forward/adapt.h"
#include "tools/forward/tool.h"

double fl_tool_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void fl_tool_fill(const char *name, float *out, size_t n, double low, double span)
{
    uint64_t h = fl_fnv1a(name, strlen(name));
    uint32_t block[4], key[2] = { 1, 0 };
    for (size_t i = 0; i < n; i++) {
        if (i % 4 == 0)
            fl_philox((uint32_t[4]){ (uint32_t)h, (uint32_t)(h >> 32), (uint32_t)(i / 4), 0 }, key, block);
        out[i] = (float)(low + span * fl_rng_unit(block[i % 4]));
    }
}

static bool model_ends(const char *name, const char *with)
{
    size_t n = strlen(name), m = strlen(with);
    return n >= m && strcmp(name + n - m, with) == 0;
}

static void model_fill(const struct fl_param *p, float *out)
{
    size_t n = fl_param_count(p);
    if (p->ndim > 1) {
        double bound = sqrt(6.0 / ((double)n / p->shape[0]));
        fl_tool_fill(p->name, out, n, -bound, 2 * bound);
    } else if (model_ends(p->name, ".weight") || model_ends(p->name, ".running_var")) {
        double scale = strstr(p->name, ".bn3.") != NULL && model_ends(p->name, ".weight") ? .25 : 1;      /* residual sums stay small */
        fl_tool_fill(p->name, out, n, .5 * scale, scale);
    } else {
        fl_tool_fill(p->name, out, n, -.1, .2);
    }
}

int fl_tool_model_make(const char *arch, uint32_t size, uint32_t channels, struct fl_tool_model *m, struct fl_err *err)
{
    *m = (struct fl_tool_model){ .size = size > 0 ? size : 224, .channels = channels };
    snprintf(m->name, sizeof m->name, "%s", arch);
    int code = fl_net_new(arch, channels, m->size, 17, 0, &m->net, err);
    if (code != FL_OK)
        return code;
    size_t all = 0;
    for (uint32_t i = 0; i < fl_net_nparams(m->net); i++)
        all += fl_param_count(fl_net_param(m->net, i));
    m->all = malloc((all > 0 ? all : 1) * sizeof *m->all);
    m->data = calloc(fl_net_nparams(m->net), sizeof *m->data);
    if (m->all == NULL || m->data == NULL) {
        fl_tool_model_free(m);
        return fl_err_set(err, FL_E_NOMEM, "%s: no memory for its weights", arch);
    }
    float *at = m->all;
    for (uint32_t i = 0; i < fl_net_nparams(m->net); i++) {
        model_fill(fl_net_param(m->net, i), at);
        m->data[i] = at;
        at += fl_param_count(fl_net_param(m->net, i));
    }
    m->weights.data = m->data;
    return FL_OK;
}

int fl_tool_model_read(const char *file, struct fl_tool_model *m, struct fl_err *err)
{
    struct fl_manifest man = { 0 };
    struct fl_adapted w;
    *m = (struct fl_tool_model){ 0 };
    int code = fl_manifest_read(file, 1, &man, err);
    if (code != FL_OK)
        return code;
    m->size = man.size;
    m->channels = man.channels;
    snprintf(m->name, sizeof m->name, "%s", man.arch);
    code = fl_net_new(man.arch, man.channels, man.size, man.nlabels, man.two_layer, &m->net, err);
    if (code == FL_OK)
        code = fl_safetensors_open(file, &m->st, err);
    if (code == FL_OK)
        code = fl_adapt_load(m->net, &m->st, file, FL_ADAPT_NONE, &w, err);
    fl_manifest_free(&man);
    if (code != FL_OK) {
        fl_tool_model_free(m);
        return code;
    }
    m->all = w.all;
    m->data = w.data;
    m->weights = w.weights;
    return FL_OK;
}

void fl_tool_model_free(struct fl_tool_model *m)
{
    if (m->net != NULL)
        fl_net_free(m->net);
    fl_safetensors_close(&m->st);
    free(m->all);
    free(m->data);
    *m = (struct fl_tool_model){ 0 };
}
