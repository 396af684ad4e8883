/* average-snapshots: one network whose weights are the mean of several, with BN statistics of its own (stochastic weight averaging). */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/dtype.h"
#include "runtime/model.h"
#include "stages/forward/bn.h"
#include "tools/forward/tool.h"

struct average {
    char   **weights, *out;
    struct fl_tool_tiles_opts from;
    int64_t  batch, threads;
    struct fl_plan plan;
    double  *sum;                  /* the mean so far, parameter by parameter */
    float   *all; float **data;    /* and at the end */
    uint64_t tiles, batches;       /* of the pass */
    char     seen[65];             /* which they were */
};

/* ---- the mean ---- */

static size_t average_count(const struct average *a)
{
    size_t n = 0;
    for (uint32_t i = 0; i < fl_net_nparams(a->plan.net); i++)
        n += fl_param_count(fl_net_param(a->plan.net, i));
    return n;
}

/* Set k enters with weight 1/(k+1). In double: k copies of one set give that set to the bit. */
static int average_add(struct average *a, uint32_t k, struct fl_err *err)
{
    struct fl_safetensors st;
    struct fl_adapted w;
    int code = fl_safetensors_open(a->weights[k], &st, err);
    if (code != FL_OK)
        return code;
    code = fl_adapt_load(a->plan.net, &st, a->weights[k], FL_ADAPT_NONE, &w, err);
    double *at = a->sum;
    for (uint32_t i = 0; code == FL_OK && i < fl_net_nparams(a->plan.net); i++) {
        size_t n = fl_param_count(fl_net_param(a->plan.net, i));
        for (size_t j = 0; j < n; j++, at++)
            *at = (*at * k + (double)w.data[i][j]) / (k + 1);
    }
    if (code == FL_OK)
        fl_adapt_free(&w);
    fl_safetensors_close(&st);
    return code;
}

static int average_mean(struct average *a, struct fl_err *err)
{
    size_t n = average_count(a);
    int code = FL_OK;
    if (n == 0 || (a->sum = calloc(n, sizeof *a->sum)) == NULL)
        return fl_err_set(err, FL_E_NOMEM, "no memory for the weights of %s", a->plan.m.arch);
    for (uint32_t k = 0; k < a->plan.k && code == FL_OK; k++)
        code = average_add(a, k, err);
    if (code != FL_OK)
        return code;
    a->all = malloc(n * sizeof *a->all);
    a->data = calloc(fl_net_nparams(a->plan.net), sizeof *a->data);
    if (a->all == NULL || a->data == NULL)
        return fl_err_set(err, FL_E_NOMEM, "no memory for the weights of %s", a->plan.m.arch);
    for (size_t j = 0; j < n; j++)
        a->all[j] = (float)a->sum[j];
    float *at = a->all;
    for (uint32_t i = 0; i < fl_net_nparams(a->plan.net); i++) {
        a->data[i] = at;
        at += fl_param_count(fl_net_param(a->plan.net, i));
    }
    free(a->sum);
    a->sum = NULL;
    return FL_OK;
}

/* ---- statistics of BN layers ---- */

/* A single tile at the end joins the batch before it: alone it may have no variance. */
static uint32_t average_rows(const struct average *a, uint64_t first, uint64_t all)
{
    uint64_t left = all - first, rows = left < (uint64_t)a->batch ? left : (uint64_t)a->batch;
    return (uint32_t)(left == rows + 1 ? left : rows);
}

static int average_pass(struct average *a, struct fl_bn *bn, struct fl_tool_tiles *t, struct fl_err *err)
{
    size_t row = (size_t)t->size * t->size * t->channels;
    int code = FL_OK;
    for (uint64_t first = 0; first < t->in.n && code == FL_OK; a->batches++) {
        uint32_t rows = average_rows(a, first, t->in.n);
        float *input;
        code = fl_bn_batch(bn, rows, &input, err);
        for (uint32_t i = 0; i < rows && code == FL_OK; i++)
            code = fl_tool_tiles_paint(t, first + i, input + i * row, err);
        if (code == FL_OK && (code = fl_bn_take(bn, err)) != FL_OK)
            fl_err_context(err, "batch %" PRIu64 " of %u tiles from %s on", a->batches, rows, fl_inputs_at(&t->in, first));
        first += rows;
    }
    a->tiles = t->in.n;
    return code;
}

static int average_statistics(struct average *a, struct fl_err *err)
{
    struct fl_weights w = { (const float *const *)a->data };
    struct fl_tool_tiles t;
    struct fl_bn *bn = NULL;
    int code = fl_tool_tiles_open(&t, &a->from, &a->plan, err);
    if (code == FL_OK)
        code = fl_tool_tiles_seen(&t, a->seen, err);
    if (code == FL_OK)
        code = fl_bn_new(a->plan.net, &w, (uint32_t)a->threads, &bn, err);
    if (code == FL_OK)
        code = average_pass(a, bn, &t, err);
    int32_t par;
    for (uint32_t i = 0; code == FL_OK && (par = fl_bn_layer(bn, i)) >= 0; i++)
        fl_bn_result(bn, (uint32_t)par, a->data[par + 2], a->data[par + 3]);
    fl_bn_free(bn);
    fl_tool_tiles_done(&t);
    return code;
}

/* ---- the new model ---- */

static bool average_counts(const char *name)
{
    static const char end[] = ".num_batches_tracked";
    size_t n = strlen(name), m = sizeof end - 1;
    return n > m && strcmp(name + n - m, end) == 0;
}

/* Parameters under torchvision's names, then the counters of the first file: how many batches the statistics stand on. */
static int average_write(const struct average *a, struct fl_err *err)
{
    struct fl_safetensors st;
    uint32_t np = fl_net_nparams(a->plan.net), n = np;
    int64_t batches = (int64_t)a->batches;
    int code = fl_safetensors_open(a->weights[0], &st, err);
    if (code != FL_OK)
        return code;
    struct fl_st_tensor *t = calloc((size_t)np + st.n, sizeof *t);
    for (uint32_t i = 0; t != NULL && i < np; i++) {
        const struct fl_param *p = fl_net_param(a->plan.net, i);
        t[i] = (struct fl_st_tensor){ .dtype = FL_F32, .ndim = p->ndim, .data = a->data[i], .bytes = fl_param_count(p) * sizeof(float) };
        memcpy(t[i].shape, p->shape, sizeof p->shape);
        snprintf(t[i].name, sizeof t[i].name, "%s", p->name);
    }
    for (uint32_t i = 0; t != NULL && i < st.n; i++)
        if (average_counts(st.t[i].name)) {
            t[n] = st.t[i];
            if (batches > 0 && t[n].dtype == FL_I64 && t[n].bytes == sizeof batches)
                t[n].data = &batches;
            n++;
        }
    code = t != NULL ? fl_safetensors_write(a->out, t, n, err) : fl_err_set(err, FL_E_NOMEM, "no memory for a list of tensors");
    free(t);
    fl_safetensors_close(&st);
    return code;
}

/* The first one's manifest; what was proven of its weights isn't of these. */
static int average_manifest(const struct average *a, json_t *origin, struct fl_err *err)
{
    json_t *m = NULL, *how = json_pack("{s:O}", "of", origin);
    char hex[65];
    int code = fl_sha256_file(a->out, hex, err);
    if (code == FL_OK)
        code = fl_tool_manifest_load(a->weights[0], &m, err);
    if (code == FL_OK) {
        if (a->batches > 0)
            json_object_set_new(how, "bn", json_pack("{s:I, s:I, s:s}", "tiles", (json_int_t)a->tiles, "batch", (json_int_t)a->batch, "ids_sha256", a->seen));
        json_object_set(m, "average", how);
        json_object_set_new(m, "sha256", json_string(hex));
        json_object_set_new(m, "created_by", json_string("flowrun average-snapshots"));
        json_object_set_new(m, "bf16_ok", json_false());
        json_object_set_new(m, "f16_ok", json_false());
        json_object_del(m, "checks");
        code = fl_tool_manifest_store(a->out, m, err);
    }
    json_decref(m);
    json_decref(how);
    return code;
}

/* Told before the pass, which may take long. */
static int average_out_is_new(const struct average *a, struct fl_err *err)
{
    struct stat in, out;
    size_t len = strlen(a->out);
    const char *slash = strrchr(a->out, '/');
    if (len < 13 || strcmp(a->out + len - 12, ".safetensors") != 0)
        return fl_err_set(err, FL_E_CONFIG, "--out: %s, want a name that ends in .safetensors", a->out);
    char *folder = slash == NULL ? strdup(".") : strndup(a->out, (size_t)(slash - a->out) + 1);
    if (folder == NULL)
        return fl_err_set(err, FL_E_NOMEM, "--out: no memory for a name");
    int code = access(folder, W_OK | X_OK) == 0 ? FL_OK : fl_err_set(err, FL_E_CONFIG, "--out: %s: %s", folder, strerror(errno));
    free(folder);
    if (code != FL_OK)
        return code;
    if (stat(a->out, &out) != 0)
        return FL_OK;
    for (char **w = a->weights; *w != NULL; w++)
        if (stat(*w, &in) == 0 && in.st_dev == out.st_dev && in.st_ino == out.st_ino)
            return fl_err_set(err, FL_E_CONFIG, "--out: %s is one of the snapshots", a->out);
    return FL_OK;
}

static int average_make(struct average *a, struct fl_err *err)
{
    int code = average_out_is_new(a, err);
    if (code == FL_OK)
        code = fl_plan_make(a->weights, 0, 0, &a->plan, err);
    if (code != FL_OK)
        return code;
    bool bn = fl_bn_any(a->plan.net);
    if (bn && (a->from.tiles == NULL || a->from.tiles[0] == NULL))
        return fl_err_set(err, FL_E_CONFIG, "--tiles: %s has BN layers, their statistics must be estimated anew on training tiles", a->plan.m.arch);
    json_t *origin = fl_tool_origin(a->weights, err);
    if (origin == NULL)
        return err->code;
    code = average_mean(a, err);
    if (code == FL_OK && bn)
        code = average_statistics(a, err);
    if (code == FL_OK)
        code = average_write(a, err);
    if (code == FL_OK)
        code = average_manifest(a, origin, err);
    json_decref(origin);
    return code;
}

static int average_run(void *state, struct fl_err *err)
{
    struct average *a = state;
    int code = average_make(a, err);
    if (code == FL_OK) {
        printf("%s: the mean of %u sets of weights of %s", a->out, a->plan.k, a->plan.m.arch);
        if (a->batches > 0)
            printf("; statistics of its BN layers from %" PRIu64 " tiles in %" PRIu64 " batches", a->tiles, a->batches);
        putchar('\n');
    }
    free(a->sum);
    free(a->all);
    free(a->data);
    fl_plan_free(&a->plan);
    return code;
}

static const struct fl_opt average_opts[] = {
    { .name = "weights", .type = FL_OPT_PATHS, .off = offsetof(struct average, weights), .required = 1, .help = "the snapshots: NAME.safetensors, each with NAME.json beside it" },
    { .name = "out", .type = FL_OPT_OUT, .off = offsetof(struct average, out), .required = 1, .help = "the new weights, NAME.safetensors; their manifest is written beside them" },
    FL_TOOL_TILES_OPTS(struct average, from),
    { .name = "batch", .type = FL_OPT_INT, .off = offsetof(struct average, batch), .def = "64", .min = 2, .max = 4096, .help = "tiles of which BN takes the statistics at a time; as in training" },
    { .name = "threads", .type = FL_OPT_INT, .off = offsetof(struct average, threads), .def = "1", .min = 1, .max = 1024, .help = "threads of the pass" },
    { 0 }
};

const struct fl_tool fl_tool_average = {
    .name = "average-snapshots", .usage = "usage: flowrun average-snapshots FILE... --tiles WHAT... --out FILE [--OPTION VALUE]...",
    .help = "Averages snapshots of one network into one: weights in double, integers from the first. Mean and variance of BN layers, which are wrong\n"
            "for the new weights, are estimated anew by a pass over training tiles, not augmented: at batch b those of this batch (the variance unbiased)\n"
            "enter with weight 1/(b+1), as torch.optim.swa_utils.update_bn has it. A network without BN needs no tiles.",
    .words = "weights", .opts = average_opts, .state_size = sizeof(struct average), .run = average_run,
};
