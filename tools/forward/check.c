/* check-precision: what a reduced precision does to a model's answers on given tiles, recorded in the model's manifest. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/labels.h"
#include "runtime/model.h"
#include "tools/forward/tool.h"

/* Rounding of weights and activations alone moves logits by 2e-4 to 2.5e-3 of the largest one in f16, and eight times as far in bf16, which has
 * three bits less: twice that is allowed. Probabilities move less than logits. */
static const struct { double logits, prob; } check_allowed[FL_PREC_COUNT] = { [FL_PREC_F16] = { 5e-3, 2e-3 }, [FL_PREC_BF16] = { 3e-2, 3e-2 } };
#define CHECK_THRESHOLD 0.2f

struct check {
    char   **weights, *device;
    struct fl_tool_tiles_opts from;
    int      precision;
    int64_t  rows, threads;
    struct fl_device dev;
    int      prec;                 /* enum fl_prec */
};

/* One model's tiles and answers. */
struct check_model {
    const char *file;
    struct fl_plan plan;
    struct fl_tool_model m;
    struct fl_tool_tiles t;
    uint64_t n;                    /* logits: tiles x labels */
    float   *full, *reduced;       /* [tiles][L] */
    char     seen[65];
};
struct check_result { double top, off, prob; uint64_t flips, strange; bool passed; };

/* ---- the answers ---- */

static int check_rows(const struct check *c, struct check_model *k, struct fl_prog *prog, struct fl_snap *snap, float *logits, float *out, struct fl_err *err)
{
    size_t row = (size_t)k->t.size * k->t.size * k->t.channels;
    uint32_t L = k->plan.m.nlabels;
    float *in = c->dev.backend->input(prog);
    int code = FL_OK;
    for (uint64_t first = 0; first < k->t.in.n && code == FL_OK; first += (uint64_t)c->rows) {
        uint64_t left = k->t.in.n - first, rows = left < (uint64_t)c->rows ? left : (uint64_t)c->rows;
        memset(in, 0, (size_t)c->rows * row * sizeof *in);
        for (uint64_t i = 0; i < rows && code == FL_OK; i++)
            code = fl_tool_tiles_paint(&k->t, first + i, in + i * row, err);
        if (code == FL_OK)
            code = c->dev.backend->run(prog, snap, logits, err);
        if (code == FL_OK)
            memcpy(out + first * L, logits, rows * L * sizeof *out);
    }
    return code;
}

static int check_answers(const struct check *c, struct check_model *k, int prec, float *out, struct fl_err *err)
{
    struct fl_prog *prog = NULL;
    struct fl_snap *snap = NULL;
    struct fl_fwd_opts o = { .rows = (uint32_t)c->rows, .threads = (uint32_t)c->threads, .device = c->dev.index, .prec = prec };
    float *logits = malloc((size_t)c->rows * k->plan.m.nlabels * sizeof *logits);
    int code = logits != NULL ? c->dev.backend->compile(k->m.net, &o, &prog, err) : fl_err_set(err, FL_E_NOMEM, "no memory for the logits of %s", k->file);
    if (code == FL_OK)
        code = c->dev.backend->load(prog, &k->m.weights, &snap, err);
    if (code == FL_OK)
        code = check_rows(c, k, prog, snap, logits, out, err);
    if (snap != NULL)
        c->dev.backend->snap_free(snap);
    if (prog != NULL)
        c->dev.backend->prog_free(prog);
    free(logits);
    return code;
}

/* Six digits say enough. */
static double check_short(double x)
{
    char text[32];
    snprintf(text, sizeof text, "%.6g", x);
    return strtod(text, NULL);
}

static int check_compare(const struct check *c, const struct check_model *k, struct check_result *r, struct fl_err *err)
{
    *r = (struct check_result){ 0 };
    const struct fl_manifest *m = &k->plan.m;
    float was[FL_MAX_LABELS], is[FL_MAX_LABELS];
    for (uint64_t i = 0; i < k->n; i++) {
        if (i % m->nlabels == 0) {
            fl_plan_probs(m, k->full + i, was);
            fl_plan_probs(m, k->reduced + i, is);
        }
        float p = was[i % m->nlabels], q = is[i % m->nlabels];
        if (!isfinite(k->full[i]))
            return fl_err_set(err, FL_E_NUM, "%s: in f32 the logit of %s of %s is %g", k->file, k->plan.m.labels[i % k->plan.m.nlabels],
                              fl_inputs_at(&k->t.in, i / k->plan.m.nlabels), (double)k->full[i]);
        if (!isfinite(k->reduced[i])) {
            r->strange++;
            continue;
        }
        r->top = fmax(r->top, fabs((double)k->full[i]));
        r->off = fmax(r->off, fabs((double)k->reduced[i] - (double)k->full[i]));
        r->prob = fmax(r->prob, fabs((double)p - (double)q));
        r->flips += (p > CHECK_THRESHOLD) != (q > CHECK_THRESHOLD);
    }
    r->off = r->top > 0 ? r->off / r->top : r->off > 0 ? INFINITY : 0;
    r->passed = r->strange == 0 && r->off <= check_allowed[c->prec].logits && r->prob <= check_allowed[c->prec].prob;
    return FL_OK;
}

/* ---- the record ---- */

static int check_record(const struct check *c, const struct check_model *k, const struct check_result *r, struct fl_err *err)
{
    json_t *m = NULL, *checks;
    char hex[65], what[200] = "", ok[16];
    const char *prec = fl_prec_name(c->prec);
    int code = fl_sha256_file(k->file, hex, err);
    if (code == FL_OK)
        code = fl_tool_manifest_load(k->file, &m, err);
    if (code != FL_OK)
        return code;
    if ((checks = json_object_get(m, "checks")) == NULL) {
        checks = json_object();
        json_object_set_new(m, "checks", checks);
    }
    c->dev.backend->probe(what, sizeof what);
    snprintf(ok, sizeof ok, "%s_ok", prec);
    json_t *one = json_pack("{s:b, s:s, s:s, s:f, s:f, s:f, s:I, s:I, s:I, s:s}", "passed", (int)r->passed, "device", c->dev.name, "with", what,
        "logits_allowed", check_allowed[c->prec].logits, "prob", check_short(r->prob), "prob_allowed", check_allowed[c->prec].prob, "not_finite", (json_int_t)r->strange,
        "labels_changed", (json_int_t)r->flips, "tiles", (json_int_t)k->t.in.n, "ids_sha256", k->seen);
    json_object_set_new(one, "logits", isfinite(r->off) ? json_real(check_short(r->off)) : json_null());
    json_object_set_new(checks, prec, one);
    json_object_set_new(m, ok, json_boolean(r->passed));
    json_object_set_new(m, "sha256", json_string(hex));          /* the record is of these weights */
    code = fl_tool_manifest_store(k->file, m, err);
    json_decref(m);
    return code;
}

static void check_say(const struct check *c, const struct check_model *k, const struct check_result *r)
{
    printf("%s: %s %s on %s: logits off by %.3g of the largest (allowed %g), probabilities by %.3g (%g); %" PRIu64 " of %" PRIu64 " labels change at %g", k->file,
           fl_prec_name(c->prec), r->passed ? "passed" : "FAILED", c->dev.name, r->off, check_allowed[c->prec].logits, r->prob, check_allowed[c->prec].prob, r->flips,
           k->n, (double)CHECK_THRESHOLD);
    if (r->strange > 0)
        printf("; %" PRIu64 " logits aren't finite", r->strange);
    printf("; %" PRIu64 " tiles\n", k->t.in.n);
}

/* ---- the command ---- */

static int check_open(struct check *c, struct check_model *k, struct fl_err *err)
{
    char *const one[] = { (char *)(uintptr_t)k->file, NULL };
    int code = fl_plan_make(one, 0, 0, &k->plan, err);
    if (code == FL_OK)
        code = fl_tool_model_read(k->file, &k->m, err);
    if (code == FL_OK)
        code = fl_tool_tiles_open(&k->t, &c->from, &k->plan, err);
    if (code == FL_OK)
        code = fl_tool_tiles_seen(&k->t, k->seen, err);
    if (code != FL_OK)
        return code;
    k->n = k->t.in.n * k->plan.m.nlabels;
    k->full = malloc(k->n * sizeof *k->full);
    k->reduced = malloc(k->n * sizeof *k->reduced);
    return k->full != NULL && k->reduced != NULL ? FL_OK : fl_err_set(err, FL_E_NOMEM, "no memory for the logits of %" PRIu64 " tiles", k->t.in.n);
}

static int check_model(struct check *c, const char *file, bool *passed, struct fl_err *err)
{
    struct check_model k = { .file = file };
    struct check_result r;
    int code = check_open(c, &k, err);
    if (code == FL_OK)
        code = check_answers(c, &k, FL_PREC_F32, k.full, err);
    if (code == FL_OK)
        code = check_answers(c, &k, c->prec, k.reduced, err);
    if (code == FL_OK)
        code = check_compare(c, &k, &r, err);
    if (code == FL_OK)
        code = check_record(c, &k, &r, err);
    if (code == FL_OK) {
        check_say(c, &k, &r);
        *passed = *passed && r.passed;
    }
    free(k.full);
    free(k.reduced);
    fl_tool_tiles_done(&k.t);
    fl_tool_model_free(&k.m);
    fl_plan_free(&k.plan);
    return code;
}

static int check_run(void *state, struct fl_err *err)
{
    struct check *c = state;
    char passed_by[400];
    bool passed = true;
    int code = fl_device_pick(c->device, &c->dev, passed_by, sizeof passed_by, err);
    if (code == FL_OK)
        code = fl_device_precision(&c->dev, c->precision == 0 ? FL_PREC_BF16 : FL_PREC_F16, 0, &c->prec, err);
    for (char **w = c->weights; code == FL_OK && *w != NULL; w++)
        code = check_model(c, *w, &passed, err);
    fflush(stdout);
    if (code == FL_OK && !passed)
        code = fl_err_set(err, FL_E_NUM, "%s doesn't keep to the tolerance; the manifest says so, and precision: auto won't take it", fl_prec_name(c->prec));
    return code;
}

static const struct fl_opt check_opts[] = {
    { .name = "weights", .type = FL_OPT_PATHS, .off = offsetof(struct check, weights), .required = 1, .help = "models: NAME.safetensors, each with NAME.json beside it" },
    FL_TOOL_TILES_OPTS(struct check, from),
    { .name = "precision", .type = FL_OPT_CHOICE, .off = offsetof(struct check, precision), .def = "bf16", .choices = "bf16|f16", .help = "held against f32 on the same device" },
    { .name = "device", .type = FL_OPT_STR, .off = offsetof(struct check, device), .def = "auto", .help = "as in a pipeline" },
    { .name = "rows", .type = FL_OPT_INT, .off = offsetof(struct check, rows), .def = "16", .min = 1, .max = 4096, .help = "tiles of one execution" },
    { .name = "threads", .type = FL_OPT_INT, .off = offsetof(struct check, threads), .def = "1", .min = 1, .max = 1024, .help = "threads of the network" },
    { 0 }
};

const struct fl_tool fl_tool_check = {
    .name = "check-precision", .usage = "usage: flowrun check-precision FILE... --tiles WHAT... [--precision bf16|f16] [--OPTION VALUE]...",
    .help = "Runs tiles through each model in f32 and in a reduced precision, and writes into its manifest what came of it. When logits and probabilities keep\n"
            "to the tolerance, precision: auto takes that precision from then on, else it doesn't. Give real tiles, some hundreds of all kinds.\n"
            "Exit status: 0 all passed, 1 one didn't or can't be read, 2 refused.",
    .words = "weights", .opts = check_opts, .state_size = sizeof(struct check), .run = check_run,
};
