/* The forward stage on a tilenet whose weights are chosen so that every logit has a closed form. */
#include <unistd.h>

#include "proto/dtype.h"
#include "runtime/model.h"
#include "runtime/stage.h"
#include "stages/forward/backend.h"
#include "tests/lib/check.h"
#include "tests/lib/harness.h"

extern const struct fl_stage fl_stage_forward;

#define SIZE 32u
#define TILE 40u
#define NL   3u

static const char *const labels[NL] = { "clear", "cloudy", "water" };
static const struct fl_harness_conf conf0 = { .B = 8, .nlabels = NL, .labels = labels, .exclusive = 3, .rest_off = 1 };

/* ---- weights ----
 * Every convolution hands channel c < 3 on by its centre tap, normalisation does nothing, the head multiplies channel l by gain and
 * adds bias. So logit l = gain * mean over the 4 x 4 outputs of the greatest of the 16 pixels (every second in x and y) below it + bias. */

struct file { char path[300], json[300]; };

static float *param_values(const struct fl_param *p, uint32_t channels, float gain, float bias, size_t *n)
{
    *n = 1;
    for (uint32_t i = 0; i < p->ndim; i++)
        *n *= p->shape[i];
    float *v = calloc(*n, sizeof *v);
    if (v == NULL)
        abort();
    bool one = strstr(p->name, "running_var") != NULL || (strstr(p->name, "norm") != NULL && strstr(p->name, "weight") != NULL);
    for (size_t i = 0; one && i < *n; i++)
        v[i] = strstr(p->name, "running_var") != NULL ? 1 - 1e-5f : 1;
    for (uint32_t c = 0; p->ndim == 4 && c < 3 && c < channels; c++)
        v[((size_t)c * p->shape[1] + c) * 9 + 4] = 1;
    for (uint32_t l = 0; p->ndim == 2 && l < 3; l++)
        v[l * p->shape[1] + l] = gain;
    for (size_t l = 0; strcmp(p->name, "classifier.bias") == 0 && l < *n; l++)
        v[l] = bias;
    return v;
}

struct change { const char *drop, *add, *reshape, *nan; const char *json_from, *json_to; const char *mode; double M; };

static void put_json(struct file *f, const struct change *c)
{
    char text[1200];
    snprintf(text, sizeof text, "{\"format\":1,\"kind\":\"network\",\"arch\":\"tilenet\",\"labels\":[\"clear\",\"cloudy\",\"water\"],"
             "\"exclusive\":[\"clear\",\"cloudy\"],\"rest_off\":\"cloudy\",\"input\":{\"mode\":\"%s\",\"channels\":%d,\"size\":32,\"M\":%g,"
             "\"mean\":[0,0,0%s],\"std\":[1,1,1%s]},\"created_by\":\"test\"}", c->mode ? c->mode : "rgb", c->mode && strcmp(c->mode, "rgbn") == 0 ? 4 : 3,
             c->M > 0 ? c->M : 255, c->mode && strcmp(c->mode, "rgbn") == 0 ? ",0" : "", c->mode && strcmp(c->mode, "rgbn") == 0 ? ",1" : "");
    char *at = c->json_from != NULL ? strstr(text, c->json_from) : NULL;
    FILE *out = fopen(f->json, "w");
    if (out == NULL || (c->json_from != NULL && at == NULL))
        abort();
    if (at != NULL)
        fprintf(out, "%.*s%s%s", (int)(at - text), text, c->json_to, at + strlen(c->json_from));
    else
        fputs(text, out);
    fclose(out);
}

static struct file put_weights(const char *name, float gain, float bias, const struct change *c)
{
    static const struct change none;
    static struct fl_st_tensor t[64];
    struct file f;
    struct fl_net *net;
    struct fl_err err = { 0 };
    uint32_t channels = c != NULL && c->mode != NULL && strcmp(c->mode, "rgbn") == 0 ? 4 : 3, n = 0;
    c = c != NULL ? c : &none;
    snprintf(f.path, sizeof f.path, "%s/%s.safetensors", fl_tmpdir(), name);
    snprintf(f.json, sizeof f.json, "%s/%s.json", fl_tmpdir(), name);
    if (fl_net_new("tilenet", channels, SIZE, NL, 0, &net, &err) != FL_OK)
        abort();
    for (uint32_t i = 0; i < fl_net_nparams(net); i++) {
        const struct fl_param *p = fl_net_param(net, i);
        size_t count;
        float *v = param_values(p, 3, gain, bias, &count);
        if (c->drop != NULL && strcmp(c->drop, p->name) == 0) {
            free(v);
            continue;
        }
        if (c->nan != NULL && strcmp(c->nan, p->name) == 0)
            v[count - 1] = NAN;
        t[n] = (struct fl_st_tensor){ .dtype = FL_F32, .ndim = p->ndim, .data = v, .bytes = count * 4 };
        memcpy(t[n].shape, p->shape, sizeof p->shape);
        snprintf(t[n].name, sizeof t[n].name, "%s", p->name);
        if (c->reshape != NULL && strcmp(c->reshape, p->name) == 0)
            t[n].shape[t[n].ndim++] = 1;
        n++;
    }
    static const float extra = 1;
    if (c->add != NULL) {
        t[n] = (struct fl_st_tensor){ .dtype = FL_F32, .ndim = 1, .shape = { 1 }, .data = &extra, .bytes = 4 };
        snprintf(t[n++].name, sizeof t[0].name, "%s", c->add);
    }
    if (fl_safetensors_write(f.path, t, n, &err) != FL_OK)
        abort();
    for (uint32_t i = 0; i < n; i++)
        if (t[i].data != &extra)
            free((void *)(uintptr_t)t[i].data);
    fl_net_free(net);
    put_json(&f, c);
    return f;
}

/* ---- tiles ---- */

static uint32_t seed = 7;
static uint32_t draw(void)
{
    seed = seed * 1664525u + 1013904223u;
    return seed >> 8;
}

/* The views of the tests: four windows that are copied, under different elements, and one that is resized. */
#define NV 5u
static const float views[NV][5] = { { 0, 0, 0, 32, 32 }, { 1, 8, 3, 32, 32 }, { 6, 2, 8, 32, 32 }, { 7, 0, 0, 32, 32 }, { 4, 0, 0, 40, 40 } };

/* x/M of channel c of the network's input at (y, x), by the definition of a view on a square tile. */
static double seen(const uint8_t *px, uint32_t channels, const float *view, uint32_t y, uint32_t x, uint32_t c)
{
    uint32_t g = (uint32_t)view[0];
    double total = 0, step = view[3] / SIZE, sx = (x + .5) * step - .5, sy = (y + .5) * step - .5;
    sx = sx < 0 ? 0 : sx;
    sy = sy < 0 ? 0 : sy;
    for (int k = 0; k < 4; k++) {
        double fx = sx - floor(sx), fy = sy - floor(sy), share = (k & 1 ? fx : 1 - fx) * (k & 2 ? fy : 1 - fy);
        if (share == 0)
            continue;
        uint32_t X = (uint32_t)sx + (k & 1) + (uint32_t)view[1], Y = (uint32_t)sy + (k >> 1) + (uint32_t)view[2];
        X = g & 1 ? TILE - 1 - X : X;
        Y = g & 2 ? TILE - 1 - Y : Y;
        total += share * (g & 4 ? px[((size_t)X * TILE + Y) * channels + c] : px[((size_t)Y * TILE + X) * channels + c]);
    }
    return total / 255;
}

static double logit(const uint8_t *px, uint32_t channels, const float *view, uint32_t l, double gain, double bias)
{
    double sum = 0;
    for (uint32_t by = 0; by < 4; by++)
        for (uint32_t bx = 0; bx < 4; bx++) {
            double top = 0;
            for (uint32_t i = 0; i < 16; i++)
                top = fmax(top, seen(px, channels, view, 2 * (by * 4 + i / 4), 2 * (bx * 4 + i % 4), l));
            sum += top;
        }
    return gain * sum / 16 + bias;
}

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

/* ---- one stage, one batch ---- */

static struct fl_harness *opened(const char *options, struct fl_err *err)
{
    struct fl_harness_conf conf = conf0;
    conf.options = options;
    struct fl_harness *h = fl_harness_new(&fl_stage_forward, &conf, err);
    if (h != NULL && (fl_harness_describe(h, err) != FL_OK || fl_harness_open(h, err) != FL_OK)) {
        fl_harness_close(h);
        return NULL;
    }
    return h;
}

static const char *options(const char *a, const char *b, const char *more)
{
    static char text[1500];
    snprintf(text, sizeof text, "{\"weights\":[\"%s\"%s%s%s]%s}", a, b ? ",\"" : "", b ? b : "", b ? "\"" : "", more);
    return text;
}

static struct fl_batch *batch_of(struct fl_harness *h, uint32_t n, uint32_t channels, const uint8_t *px, uint32_t nv, const float (*v)[5])
{
    struct fl_batch *b = fl_harness_batch(h, 0, n);
    fl_harness_tensor(h, b, "pixels", FL_U8, 4, (uint32_t[]){ n, TILE, TILE, channels }, px);
    float *to = fl_harness_tensor(h, b, "view", FL_F32, 3, (uint32_t[]){ n, nv, 5 }, NULL);
    for (uint32_t i = 0; i < n; i++)
        memcpy(to + (size_t)i * nv * 5, v, nv * 5 * sizeof(float));
    return b;
}

static const float *prob_of(const struct fl_batch *b, uint32_t n, uint32_t v, uint32_t k)
{
    const struct fl_tensor *t = b != NULL ? fl_batch_find(b, "prob") : NULL;
    if (t == NULL || t->dtype != FL_F32 || t->ndim != 4 || t->shape[0] != n || t->shape[1] != v || t->shape[2] != k || t->shape[3] != NL)
        return NULL;
    return t->data;
}

static uint8_t *tiles(uint32_t n, uint32_t channels)
{
    uint8_t *px = malloc((size_t)n * TILE * TILE * channels + 1);
    if (px == NULL)
        abort();
    for (size_t i = 0; i < (size_t)n * TILE * TILE * channels; i++)
        px[i] = (uint8_t)(draw() % 200 * (i / (TILE * TILE * channels) + 1) / (n + 1));     /* each tile with a brightness of its own */
    return px;
}

/* ---- cases ---- */

static void closed_form(const char *more)
{
    struct file a = put_weights("a", 3, -1, NULL), b = put_weights("b", -2, .5f, NULL);
    struct fl_err err = { 0 };
    struct fl_harness *h = opened(options(a.path, b.path, more), &err);
    if (h == NULL) {
        fl_fail_at(__FILE__, __LINE__, "%s: %s", more, err.text);
        return;
    }
    uint8_t *px = tiles(5, 3);
    CHECK_OK(fl_harness_push(h, batch_of(h, 5, 3, px, NV, views), &err), err);
    struct fl_batch *out = fl_harness_pop(h);
    const float *p = prob_of(out, 5, NV, 2);
    CHECK(p != NULL);
    CHECK(fl_batch_find(out, "pixels") == NULL && fl_batch_find(out, "view") == NULL && fl_batch_find(out, "id") != NULL);
    for (uint32_t i = 0; i < 5 * NV * 2 * NL; i++) {
        uint32_t l = i % NL, k = i / NL % 2, v = i / NL / 2 % NV, row = i / NL / 2 / NV;
        double x = logit(px + (size_t)row * TILE * TILE * 3, 3, views[v], l, k ? -2 : 3, k ? .5 : -1);
        CHECK_NEAR(p[i], sigmoid(x), 1e-5);
    }
    fl_harness_free_batch(h, out);
    fl_harness_close(h);
    free(px);
}

FL_TEST(plain_c_gives_the_closed_form) { closed_form(",\"device\":\"ref\",\"rows\":7"); }
FL_TEST(cpu_gives_the_closed_form) { closed_form(",\"device\":\"cpu\",\"rows\":64"); }
FL_TEST(any_rows_give_the_closed_form) { closed_form(",\"rows\":1"); closed_form(",\"rows\":25"); closed_form(",\"rows\":24"); }

/* The bits of a tile's probabilities with other company: at another place, alone in the batch, beside a rejected one. */
FL_TEST(company_changes_no_bit)
{
    struct file a = put_weights("a", 3, -1, NULL);
    struct fl_err err = { 0 };
    struct fl_harness *h = opened(options(a.path, NULL, ",\"rows\":16"), &err);
    CHECK(h != NULL);
    size_t tile = TILE * TILE * 3;
    uint8_t *px = tiles(8, 3), *moved = malloc(8 * tile);
    CHECK(moved != NULL);
    for (uint32_t i = 0; i < 8; i++)
        memcpy(moved + (i + 3) % 8 * tile, px + i * tile, tile);
    CHECK_OK(fl_harness_push(h, batch_of(h, 8, 3, px, NV, views), &err), err);
    CHECK_OK(fl_harness_push(h, batch_of(h, 8, 3, moved, NV, views), &err), err);
    struct fl_batch *marked = batch_of(h, 8, 3, px, NV, views);
    marked->slot = 3;
    CHECK_OK(fl_reject(fl_harness_ctx(h), marked, 2, FL_E_INPUT, "spoilt"), err);
    struct fl_batch *first = fl_harness_pop(h), *second = fl_harness_pop(h);
    const float *p = prob_of(first, 8, NV, 1), *q = prob_of(second, 8, NV, 1);
    CHECK(p != NULL && q != NULL);
    float keep[8 * NV * NL], other[8 * NV * NL];
    memcpy(keep, p, sizeof keep);      /* both batches had slot 0: only the second's bytes are left */
    memcpy(other, q, sizeof other);
    CHECK_OK(fl_harness_push(h, marked, &err), err);
    struct fl_batch *third = fl_harness_pop(h);
    const float *r = prob_of(third, 8, NV, 1);
    CHECK(r != NULL);
    CHECK_INT(fl_rejected(third, 2), FL_E_INPUT);
    for (uint32_t i = 0; i < 8; i++)
        for (uint32_t j = 0; j < NV * NL; j++) {
            uint32_t at = i * NV * NL + j;
            CHECK(r[at] == (i == 2 ? 0 : other[((i + 3) % 8) * NV * NL + j]));
        }
    struct fl_batch *alone = batch_of(h, 1, 3, px + 5 * tile, NV, views);
    alone->slot = 4;
    CHECK_OK(fl_harness_push(h, alone, &err), err);
    struct fl_batch *fourth = fl_harness_pop(h);
    const float *s = prob_of(fourth, 1, NV, 1);
    CHECK(s != NULL && memcmp(s, r + 5 * NV * NL, NV * NL * sizeof *s) == 0);
    fl_harness_free_batch(h, first);
    fl_harness_free_batch(h, second);
    fl_harness_free_batch(h, third);
    fl_harness_free_batch(h, fourth);
    fl_harness_close(h);
    free(px);
    free(moved);
}

FL_TEST(empty_batch_passes)
{
    struct file a = put_weights("a", 3, -1, NULL);
    struct fl_err err = { 0 };
    struct fl_harness *h = opened(options(a.path, NULL, ""), &err);
    CHECK(h != NULL);
    CHECK_OK(fl_harness_push(h, batch_of(h, 0, 3, NULL, NV, views), &err), err);
    struct fl_batch *out = fl_harness_pop(h);
    CHECK(out != NULL && fl_batch_find(out, "prob") != NULL);
    CHECK_INT(fl_batch_find(out, "prob")->bytes, 0);
    fl_harness_free_batch(h, out);
    fl_harness_close(h);
}

/* Finite weights whose sum is not: only the bright tile goes, by name of the label. */
FL_TEST(infinite_logit_rejects_the_tile)
{
    struct file a = put_weights("a", 3e38f, 3e38f, NULL);
    struct fl_err err = { 0 };
    struct fl_harness *h = opened(options(a.path, NULL, ",\"device\":\"ref\""), &err);
    CHECK(h != NULL);
    size_t tile = TILE * TILE * 3;
    uint8_t *px = tiles(2, 3);
    memset(px, 0, tile);
    memset(px + tile, 255, tile);
    CHECK_OK(fl_harness_push(h, batch_of(h, 2, 3, px, NV, views), &err), err);
    struct fl_batch *out = fl_harness_pop(h);
    const float *p = prob_of(out, 2, NV, 1);
    CHECK(p != NULL);
    CHECK_INT(fl_rejected(out, 0), 0);
    CHECK_INT(fl_rejected(out, 1), FL_E_NUM);
    CHECK_HAS(fl_reason(out, 1), "the logit of clear is inf");
    CHECK_HAS(fl_reason(out, 1), "a.safetensors");
    for (uint32_t i = 0; i < NV * NL; i++)
        CHECK(p[i] == 1 && p[NV * NL + i] == 0);
    fl_harness_free_batch(h, out);
    fl_harness_close(h);
    free(px);
}

FL_TEST(bad_view_rejects_the_tile)
{
    struct file a = put_weights("a", 3, -1, NULL);
    struct fl_err err = { 0 };
    struct fl_harness *h = opened(options(a.path, NULL, ",\"rows\":3"), &err);
    CHECK(h != NULL);
    uint8_t *px = tiles(3, 3);
    struct fl_batch *b = batch_of(h, 3, 3, px, NV, views);
    float *v = (float *)fl_batch_find(b, "view")->data;
    v[(1 * NV + 4) * 5 + 3] = 41;                     /* tile 1, view 4: wider than the tile; the views before it are run by then */
    CHECK_OK(fl_harness_push(h, b, &err), err);
    struct fl_batch *out = fl_harness_pop(h);
    const float *p = prob_of(out, 3, NV, 1);
    CHECK(p != NULL);
    CHECK_INT(fl_rejected(out, 1), FL_E_INPUT);
    CHECK_HAS(fl_reason(out, 1), "view 4: view {4 0 0 41 40} does not lie in a tile of 40 x 40");
    for (uint32_t i = 0; i < NV * NL; i++) {
        CHECK(p[NV * NL + i] == 0);
        double x = logit(px + 2 * TILE * TILE * 3, 3, views[i / NL], i % NL, 3, -1);
        CHECK_NEAR(p[2 * NV * NL + i], sigmoid(x), 1e-5);
    }
    fl_harness_free_batch(h, out);
    fl_harness_close(h);
    free(px);
}

/* Sixteen bits of the same picture, scaled by 257, give the same probabilities. */
FL_TEST(sixteen_bits_by_their_own_M)
{
    struct file a = put_weights("a", 3, -1, &(struct change){ .M = 65535 });
    struct fl_err err = { 0 };
    struct fl_harness *h = opened(options(a.path, NULL, ""), &err);
    CHECK(h != NULL);
    uint8_t *px = tiles(1, 3);
    struct fl_batch *b = fl_harness_batch(h, 0, 1);
    uint16_t *wide = fl_harness_tensor(h, b, "pixels", FL_U16, 4, (uint32_t[]){ 1, TILE, TILE, 3 }, NULL);
    for (size_t i = 0; i < TILE * TILE * 3; i++)
        wide[i] = (uint16_t)(px[i] * 257);
    fl_harness_tensor(h, b, "view", FL_F32, 3, (uint32_t[]){ 1, NV, 5 }, views);
    CHECK_OK(fl_harness_push(h, b, &err), err);
    struct fl_batch *out = fl_harness_pop(h);
    const float *p = prob_of(out, 1, NV, 1);
    CHECK(p != NULL);
    for (uint32_t i = 0; i < NV * NL; i++)
        CHECK_NEAR(p[i], sigmoid(logit(px, 3, views[i / NL], i % NL, 3, -1)), 1e-5);
    fl_harness_free_batch(h, out);
    CHECK_INT(fl_harness_push(h, batch_of(h, 1, 3, px, NV, views), &err), FL_E_CONFIG);
    CHECK_HAS(err.text, "pixels are u8 (M 255), but ");
    CHECK_HAS(err.text, "was made for M 65535");
    fl_harness_close(h);
    free(px);
}

FL_TEST(describe_binds_what_the_weights_say)
{
    struct file a = put_weights("a", 3, -1, NULL), b = put_weights("b", 1, 0, NULL);
    struct fl_harness_conf conf = conf0;
    struct fl_err err = { 0 };
    conf.options = options(a.path, b.path, "");
    struct fl_harness *h = fl_harness_new(&fl_stage_forward, &conf, &err);
    CHECK(h != NULL);
    CHECK_OK(fl_harness_describe(h, &err), err);
    CHECK_INT(fl_harness_bound(h, 'C'), 3);
    CHECK_INT(fl_harness_bound(h, 'K'), 2);
    CHECK_INT(fl_harness_bound(h, 'L'), 3);
    CHECK_INT(fl_harness_bound(h, 'V'), 0);
    fl_harness_close(h);
}

/* Four bands into weights for three: refused by the port, unless asked for; then zeros make the fourth band unseen. */
FL_TEST(four_bands_into_rgb_only_on_request)
{
    struct file a = put_weights("a", 3, -1, NULL);
    struct fl_err err = { 0 };
    struct fl_harness *h = opened(options(a.path, NULL, ""), &err);
    CHECK(h != NULL);
    uint8_t *px = tiles(2, 4);
    memcpy(px + TILE * TILE * 4, px, TILE * TILE * 4);
    for (size_t i = 3; i < TILE * TILE * 4; i += 4)
        px[i] = (uint8_t)(px[i] + 77);                /* tile 0 differs from tile 1 in its fourth band alone */
    CHECK_INT(fl_harness_push(h, batch_of(h, 2, 4, px, NV, views), &err), FL_E_SHAPE);
    fl_harness_close(h);
    h = opened(options(a.path, NULL, ",\"mode\":\"rgbn\""), &err);
    CHECK(h != NULL);
    CHECK_INT(fl_harness_bound(h, 'C'), 4);
    CHECK_OK(fl_harness_push(h, batch_of(h, 2, 4, px, NV, views), &err), err);
    struct fl_batch *out = fl_harness_pop(h);
    const float *p = prob_of(out, 2, NV, 1);
    CHECK(p != NULL);
    CHECK(memcmp(p, p + NV * NL, NV * NL * sizeof *p) == 0);
    for (uint32_t i = 0; i < NV * NL; i++)
        CHECK_NEAR(p[i], sigmoid(logit(px, 4, views[i / NL], i % NL, 3, -1)), 1e-5);
    fl_harness_free_batch(h, out);
    fl_harness_close(h);
    free(px);
}

FL_TEST(four_bands_of_their_own)
{
    struct file a = put_weights("a", 3, -1, &(struct change){ .mode = "rgbn" });
    struct fl_err err = { 0 };
    struct fl_harness *h = opened(options(a.path, NULL, ",\"mode\":\"rgbn\""), &err);
    CHECK(h != NULL);
    uint8_t *px = tiles(1, 4);
    CHECK_OK(fl_harness_push(h, batch_of(h, 1, 4, px, NV, views), &err), err);
    struct fl_batch *out = fl_harness_pop(h);
    const float *p = prob_of(out, 1, NV, 1);
    CHECK(p != NULL);
    for (uint32_t i = 0; i < NV * NL; i++)
        CHECK_NEAR(p[i], sigmoid(logit(px, 4, views[i / NL], i % NL, 3, -1)), 1e-5);
    fl_harness_free_batch(h, out);
    fl_harness_close(h);
    free(px);
}

/* What describe refuses, so that a check of the graph sees it. The change is to the second of two files. */
static const struct { struct change change; const char *more; int code; const char *says, *also; } refused[] = {
    { { .drop = "features.conv1.weight" }, "", FL_E_SHAPE, "b.safetensors: tensor \"features.conv1.weight\" is missing", "" },
    { { .add = "features.conv9.weight" }, "", FL_E_SHAPE, "b.safetensors: tensor \"features.conv9.weight\" is not of this network", "nearest is" },
    { { .reshape = "classifier.bias" }, "", FL_E_SHAPE, "b.safetensors: tensor \"classifier.bias\" is [3,1], the network wants [3]", "" },
    { { .json_from = "\"tilenet\"", .json_to = "\"tilenat\"" }, "", FL_E_CONFIG, "arch is tilenat", "it is tilenet" },
    { { .json_from = "\"water\"", .json_to = "\"sea\"" }, "", FL_E_CONFIG, "label 3 is sea", "it is water" },
    { { .json_from = ",\"water\"", .json_to = "" }, "", FL_E_CONFIG, "number of labels is 2", "it is 3" },
    { { .json_from = "[\"clear\",\"cloudy\"],\"rest", .json_to = "[\"clear\",\"water\"],\"rest" }, "", FL_E_CONFIG, "exclusive labels is 0x5", "it is 0x3" },
    { { .json_from = "\"rest_off\":\"cloudy\"", .json_to = "\"rest_off\":null" }, "", FL_E_CONFIG, "rest_off is null", "it is cloudy" },
    { { .mode = "ngb" }, "", FL_E_CONFIG, "input.mode is ngb", "it is rgb" },
    { { .json_from = "\"size\":32", .json_to = "\"size\":64" }, "", FL_E_CONFIG, "input.size is 64", "it is 32" },
    { { .M = 65535 }, "", FL_E_CONFIG, "input.M is 65535", "it is 255" },
    { { .json_from = "\"mean\":[0,0,0]", .json_to = "\"mean\":[0,0.5,0]" }, "", FL_E_CONFIG, "input.mean of channel 2 is 0.5", "it is 0" },
    { { .json_from = "\"std\":[1,1,1]", .json_to = "\"std\":[1,1,2]" }, "", FL_E_CONFIG, "input.std of channel 3 is 2", "it is 1" },
    { { .json_from = "\"created_by\":\"test\"", .json_to = "\"two_layer\":512" }, "", FL_E_CONFIG, "two_layer is 512", "it is 0" },
    { { .json_from = "\"network\"", .json_to = "\"linear\"" }, "", FL_E_CONFIG, "kind \"linear\"", "b.safetensors" },
    { { .json_from = "\"format\":1", .json_to = "\"format\":9" }, "", FL_E_CONFIG, "b.json: format", "" },
    { { .json_from = "\"created_by\":\"test\"", .json_to = "\"sha256\":\"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\"" }, "",
      FL_E_INPUT, "b.safetensors: its SHA-256 is", "ba7816bf" },
    { { 0 }, ",\"mode\":\"ngb\"", FL_E_CONFIG, "mode: ngb asked for", "are for rgb" },
    { { 0 }, ",\"device\":\"ref\",\"precision\":\"bf16\"", FL_E_DEVICE, "bf16", "ref" },
};

FL_TEST(describe_refuses_by_name)
{
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        struct file a = put_weights("a", 3, -1, NULL), b = put_weights("b", 1, 0, &refused[i].change);
        struct fl_harness_conf conf = conf0;
        struct fl_err err = { 0 };
        conf.options = options(a.path, b.path, refused[i].more);
        struct fl_harness *h = fl_harness_new(&fl_stage_forward, &conf, &err);
        CHECK(h != NULL);
        int code = fl_harness_describe(h, &err);
        fl_harness_close(h);
        if (code != refused[i].code)
            printf("case %zu: %s\n", i, err.text);
        CHECK_INT(code, refused[i].code);
        CHECK_HAS(err.text, refused[i].says);
        CHECK_HAS(err.text, refused[i].also);
    }
}

FL_TEST(unknown_arch_is_named)
{
    struct file a = put_weights("a", 3, -1, &(struct change){ .json_from = "\"tilenet\"", .json_to = "\"tilenat\"" });
    struct fl_err err = { 0 };
    CHECK(opened(options(a.path, NULL, ""), &err) == NULL);
    CHECK_INT(err.code, FL_E_CONFIG);
    CHECK_HAS(err.text, "a.safetensors");
    CHECK_HAS(err.text, "tilenet");
}

FL_TEST(weight_that_is_no_number_stops_open)
{
    struct file a = put_weights("a", 3, -1, NULL), b = put_weights("b", 1, 0, &(struct change){ .nan = "features.norm2.bias" });
    struct fl_err err = { 0 };
    CHECK(opened(options(a.path, b.path, ""), &err) == NULL);
    CHECK_INT(err.code, FL_E_NUM);
    CHECK_HAS(err.text, "b.safetensors: tensor \"features.norm2.bias\": element 63 is nan");
}

FL_TEST(softmax_over_the_exclusive_labels)
{
    struct file a = put_weights("a", 3, -1, &(struct change){ .json_from = "\"created_by\":\"test\"", .json_to = "\"softmax\":true" });
    struct fl_err err = { 0 };
    struct fl_harness *h = opened(options(a.path, NULL, ""), &err);
    CHECK(h != NULL);
    uint8_t *px = tiles(2, 3);
    CHECK_OK(fl_harness_push(h, batch_of(h, 2, 3, px, NV, views), &err), err);
    struct fl_batch *out = fl_harness_pop(h);
    const float *p = prob_of(out, 2, NV, 1);
    CHECK(p != NULL);
    for (uint32_t i = 0; i < 2 * NV; i++) {
        double z[NL];
        for (uint32_t l = 0; l < NL; l++)
            z[l] = logit(px + i / NV * TILE * TILE * 3, 3, views[i % NV], l, 3, -1);
        CHECK_NEAR(p[i * NL], sigmoid(z[0] - z[1]), 1e-5);      /* of two */
        CHECK_NEAR(p[i * NL + 1], sigmoid(z[1] - z[0]), 1e-5);
        CHECK_NEAR(p[i * NL + 2], sigmoid(z[2]), 1e-5);
    }
    fl_harness_free_batch(h, out);
    fl_harness_close(h);
    free(px);

    struct file b = put_weights("b", 3, -1, NULL);
    CHECK(opened(options(a.path, b.path, ""), &err) == NULL);
    CHECK_HAS(err.text, "softmax is 0");
}

/* bfloat16 has 8 bits of mantissa: activations below 1 through four layers stay within a few of 2^-8. */
FL_TEST(bf16_where_the_processor_has_it)
{
    struct file a = put_weights("a", 3, -1, &(struct change){ .json_from = "\"created_by\":\"test\"", .json_to = "\"bf16_ok\":true" });
    struct file b = put_weights("b", 3, -1, NULL);
    struct fl_err err = { 0 };
    struct fl_harness *h = opened(options(a.path, b.path, ",\"precision\":\"bf16\""), &err);
    if (h == NULL && err.code == FL_E_DEVICE) {
        fl_skip("%s", err.text);
        return;
    }
    CHECK(h != NULL);
    CHECK_HAS(fl_harness_warnings(h), "bf16_ok");     /* b's manifest does not say so */
    uint8_t *px = tiles(2, 3);
    CHECK_OK(fl_harness_push(h, batch_of(h, 2, 3, px, NV, views), &err), err);
    struct fl_batch *out = fl_harness_pop(h);
    const float *p = prob_of(out, 2, NV, 2);
    CHECK(p != NULL);
    double worst = 0;
    for (uint32_t i = 0; i < NV * 2 * NL; i++)
        worst = fmax(worst, fabs((double)p[i] - sigmoid(logit(px, 3, views[i / NL / 2], i % NL, 3, -1))));
    CHECK_NEAR(worst, 0, 0.02);
    CHECK(worst > 1e-6);                              /* else it was not bf16 */
    fl_harness_free_batch(h, out);
    fl_harness_close(h);
    free(px);
}

/* The recorded check holds for a fourth channel of zeros, whose answers are the same, and for no other. */
FL_TEST(a_check_is_of_the_weights_that_were_checked)
{
    struct file a = put_weights("a", 3, -1, &(struct change){ .json_from = "\"created_by\":\"test\"", .json_to = "\"bf16_ok\":true" });
    struct fl_err err = { 0 };
    static const char *const more[] = { "", ",\"mode\":\"rgbn\"", ",\"mode\":\"rgbn\",\"channels_adapt\":\"mean\"", ",\"mode\":\"rgbn\",\"channels_adapt\":\"timm\"" };
    for (size_t i = 0; i < sizeof more / sizeof more[0]; i++) {
        char with[200];
        snprintf(with, sizeof with, ",\"precision\":\"bf16\"%s", more[i]);
        struct fl_harness *h = opened(options(a.path, NULL, with), &err);
        if (h == NULL && err.code == FL_E_DEVICE) {
            fl_skip("%s", err.text);
            return;
        }
        CHECK(h != NULL);
        CHECK((strstr(fl_harness_warnings(h), "bf16_ok") != NULL) == (i > 1));
        fl_harness_close(h);
    }
}

FL_TEST(manifest_must_lie_beside)
{
    struct file a = put_weights("a", 3, -1, NULL);
    struct fl_err err = { 0 };
    unlink(a.json);
    CHECK(opened(options(a.path, NULL, ""), &err) == NULL);
    CHECK_INT(err.code, FL_E_INPUT);
    CHECK_HAS(err.text, "a.json: No such file");
}

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = {
        CASE(plain_c_gives_the_closed_form), CASE(cpu_gives_the_closed_form), CASE(any_rows_give_the_closed_form), CASE(company_changes_no_bit),
        CASE(empty_batch_passes), CASE(infinite_logit_rejects_the_tile), CASE(bad_view_rejects_the_tile), CASE(sixteen_bits_by_their_own_M),
        CASE(describe_binds_what_the_weights_say), CASE(four_bands_into_rgb_only_on_request), CASE(four_bands_of_their_own),
        CASE(describe_refuses_by_name), CASE(unknown_arch_is_named), CASE(weight_that_is_no_number_stops_open), CASE(softmax_over_the_exclusive_labels), CASE(bf16_where_the_processor_has_it), CASE(a_check_is_of_the_weights_that_were_checked),
        CASE(manifest_must_lie_beside), { 0 },
    };
    return fl_run(cases, argc, argv);
}
