/* From probabilities to labels: takes prob f32 [B,L], gives pred u8 [B,L] and ef2 f64 [B], the expected F-beta of each answer;
 * with runner_up also second u8 [B,L] and second_ef2 f64 [B], the best other answer. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/stage.h"
#include "runtime/f2.h"
#include "runtime/merge.h"
#include "stages/lib/values.h"

enum { DECODE_THRESHOLD, DECODE_PER_CLASS, DECODE_ENUM, DECODE_EXACT, DECODE_WEATHER, DECODE_LABELSET };
enum { DECODE_NORM, DECODE_ODDS };
enum { DECODE_MANY };             /* counters */

struct decode_f2 {
    int     method, odds, weather1;
    bool    hacks, runner_up, allow_empty;
    char   *labelsets;
    double  threshold, beta, empty_score;
    json_t *thresholds, *priors;
    double  t[FL_MAX_LABELS];     /* thresholds by label */
    double  pi[FL_MAX_LABELS];    /* priors by label */
    struct fl_f2 f2;
    uint32_t  room;               /* rows of p, sets, e */
    double   *p, *e;
    uint64_t *sets;
    double   *work;               /* of the exact decoder, or of the enumeration */
    double   *Q;                  /* [L*L] */
    uint32_t  primary;            /* label called so, or FL_NO_LABEL */
    struct fl_f2_sets known;      /* of method labelset */
};

static int decode_f2_settings(struct fl_ctx *ctx)
{
    struct decode_f2 *s = ctx->state;
    if (s->method == DECODE_PER_CLASS && s->thresholds == NULL)
        return fl_fail(ctx, FL_E_CONFIG, "method per_class needs thresholds");
    if (s->method != DECODE_PER_CLASS && s->thresholds != NULL)
        return fl_fail(ctx, FL_E_CONFIG, "thresholds are for method per_class");
    if (s->weather1 && s->method != DECODE_EXACT && s->method != DECODE_WEATHER)
        return fl_fail(ctx, FL_E_CONFIG, "constraint weather1 is for the methods exact and weather");
    if (s->method == DECODE_WEATHER && s->odds == DECODE_ODDS && s->priors == NULL)
        return fl_fail(ctx, FL_E_CONFIG, "odds: odds needs priors, the labels' frequencies in training");
    if ((s->method != DECODE_WEATHER || s->odds != DECODE_ODDS) && s->priors != NULL)
        return fl_fail(ctx, FL_E_CONFIG, "priors are for method weather with odds: odds");
    if ((s->method == DECODE_LABELSET) != (s->labelsets != NULL))
        return fl_fail(ctx, FL_E_CONFIG, "method labelset and labelsets, the table of sets it chooses from, go together");
    if (s->allow_empty && s->labelsets == NULL)
        return fl_fail(ctx, FL_E_CONFIG, "allow_empty is of labelsets, for method labelset");
    if (s->hacks && s->method != DECODE_ENUM)
        return fl_fail(ctx, FL_E_CONFIG, "hacks are for method bayes_enum");
    if (s->runner_up && (s->method == DECODE_WEATHER || s->method == DECODE_LABELSET || s->weather1))
        return fl_fail(ctx, FL_E_CONFIG, "runner_up is for independent labels: not for the methods weather and labelset, nor a constraint");
    return FL_OK;
}

static int decode_f2_sets(struct fl_ctx *ctx, struct fl_err *err)
{
    struct decode_f2 *s = ctx->state;
    struct fl_truth t;
    int rc = fl_truth_read(s->labelsets, ctx->nlabels, ctx->labels, 0, FL_NO_LABEL, s->allow_empty, &t, err);
    if (rc != FL_OK)
        return rc;
    rc = fl_f2_sets_init(&s->f2, t.n, t.y, &s->known, err);
    fl_truth_free(&t);
    return rc == FL_OK ? FL_OK : fl_err_context(err, "%s", s->labelsets);
}

static int decode_f2_values(struct fl_ctx *ctx)
{
    struct decode_f2 *s = ctx->state;
    struct fl_err err = { 0 };
    int rc = FL_OK;
    double threshold = s->threshold >= 0.0 ? s->threshold : fl_f2_threshold_of(s->beta);
    s->primary = FL_NO_LABEL;
    for (uint32_t l = 0; l < ctx->nlabels; l++) {
        s->t[l] = threshold;
        if (strcmp(ctx->labels[l], "primary") == 0)
            s->primary = l;
    }
    if (s->thresholds != NULL)
        rc = fl_values_read("thresholds", s->thresholds, ctx->nlabels, ctx->labels, threshold, s->t, &err);
    if (rc == FL_OK && s->priors != NULL)
        rc = fl_values_read("priors", s->priors, ctx->nlabels, ctx->labels, NAN, s->pi, &err);
    for (uint32_t l = 0; rc == FL_OK && s->priors != NULL && l < ctx->nlabels; l++)
        if (!(s->pi[l] > 0.0 && s->pi[l] < 1.0))
            rc = fl_err_set(&err, FL_E_CONFIG, "priors: %s: %g, want a number between 0 and 1", ctx->labels[l], s->pi[l]);
    if (rc == FL_OK)
        rc = fl_f2_init(&s->f2, ctx->nlabels, s->beta, s->empty_score, ctx->exclusive, ctx->rest_off, &err);
    if (rc == FL_OK && s->labelsets != NULL)
        rc = decode_f2_sets(ctx, &err);
    return rc == FL_OK ? FL_OK : fl_fail(ctx, rc, "%s", err.text);
}

/* All that options and labels decide; without labels the options alone. */
static int decode_f2_check(struct fl_ctx *ctx)
{
    const struct decode_f2 *s = ctx->state;
    int rc = decode_f2_settings(ctx);
    if (!s->runner_up) {
        fl_bind_absent(ctx, "second");
        fl_bind_absent(ctx, "second_ef2");
    }
    if (rc == FL_OK && ctx->nlabels > 0)
        rc = decode_f2_values(ctx);
    if (rc == FL_OK && ctx->nlabels > 0 && (s->weather1 || s->hacks || s->method == DECODE_WEATHER) && ctx->exclusive == 0)
        rc = fl_fail(ctx, FL_E_CONFIG, "%s needs labels with an exclusive group, these have none", s->weather1 ? "constraint weather1" : s->hacks ? "hacks" : "method weather");
    return rc;
}

static int decode_f2_room(struct fl_ctx *ctx, uint32_t rows)
{
    struct decode_f2 *s = ctx->state;
    if (rows <= s->room)
        return FL_OK;
    free(s->p);
    free(s->e);
    free(s->sets);
    s->room = 0;
    s->p = calloc((size_t)rows * ctx->nlabels, sizeof *s->p);
    s->e = calloc(rows, sizeof *s->e);
    s->sets = calloc(rows, sizeof *s->sets);
    if (s->p == NULL || s->e == NULL || s->sets == NULL)
        return fl_fail(ctx, FL_E_NOMEM, "%u rows", rows);
    s->room = rows;
    return FL_OK;
}

static int decode_f2_open(struct fl_ctx *ctx)
{
    struct decode_f2 *s = ctx->state;
    int rc = decode_f2_check(ctx);
    if (rc != FL_OK)
        return rc;
    if (ctx->nlabels == 0)
        return fl_fail(ctx, FL_E_CONFIG, "no labels to choose from");
    size_t need = s->method == DECODE_ENUM ? FL_F2_ENUM_WORK : fl_f2_work(ctx->nlabels);
    s->work = aligned_alloc(64, need * sizeof *s->work);
    s->Q = calloc((size_t)ctx->nlabels * ctx->nlabels, sizeof *s->Q);
    if (s->work == NULL || s->Q == NULL)
        return fl_fail(ctx, FL_E_NOMEM, "%zu bytes", need * sizeof *s->work);
    if (s->method == DECODE_EXACT)
        fl_info(ctx, "exact decoder: %s", fl_f2_kernel());
    return decode_f2_room(ctx, ctx->B);
}

static uint64_t decode_f2_enum(struct fl_ctx *ctx, const double *p)
{
    struct decode_f2 *s = ctx->state;
    int many;
    uint64_t set = s->hacks ? fl_f2_bayes_enum_hacks(&s->f2, p, s->primary, s->work, &many) : fl_f2_bayes_enum(&s->f2, p, s->work, &many);
    if (many)
        fl_count(ctx, DECODE_MANY, 1);
    fl_alive(ctx);
    return set;
}

static uint64_t decode_f2_joint(struct decode_f2 *s, const double *p, double *e)
{
    double none, q[FL_MAX_LABELS], r[FL_MAX_LABELS];
    if (s->method == DECODE_EXACT) {
        fl_f2_q_independent(&s->f2, p, s->Q, &none);
    } else {
        if (s->odds == DECODE_ODDS)
            fl_f2_weather_odds(&s->f2, p, s->pi, q, r);
        else
            fl_f2_weather_norm(&s->f2, p, q, r);
        fl_f2_q_weather(&s->f2, q, r, s->Q, &none);
    }
    return fl_f2_gfm(&s->f2, s->Q, none, s->weather1, e);
}

/* Sets and values of n rows of s->p. */
static void decode_f2_rows(struct fl_ctx *ctx, uint32_t n)
{
    struct decode_f2 *s = ctx->state;
    if (s->method == DECODE_EXACT && !s->weather1) {
        fl_f2_exact_rows(&s->f2, n, s->p, s->sets, s->e, s->work);
        return;
    }
    for (uint32_t r = 0; r < n; r++) {
        const double *p = s->p + (size_t)r * ctx->nlabels;
        if (s->method == DECODE_EXACT || s->method == DECODE_WEATHER) {
            s->sets[r] = decode_f2_joint(s, p, &s->e[r]);
            continue;
        }
        if (s->method == DECODE_LABELSET) {
            s->sets[r] = fl_f2_labelset(&s->known, ctx->nlabels, p, &s->e[r]);
            continue;
        }
        s->sets[r] = s->method == DECODE_ENUM ? decode_f2_enum(ctx, p) : fl_f2_threshold(&s->f2, p, s->t);
        s->e[r] = fl_f2_expected(&s->f2, p, s->sets[r]);
    }
}

/* Widens the good rows of prob into s->p, one after another; *n of them. */
static int decode_f2_gather(struct fl_ctx *ctx, struct fl_batch *b, const float *prob, uint32_t *n)
{
    struct decode_f2 *s = ctx->state;
    uint32_t L = ctx->nlabels;
    *n = 0;
    for (uint32_t row = 0; row < b->n; row++, prob += L) {
        if (fl_rejected(b, row))
            continue;
        size_t bad = fl_prob_first_bad(prob, L);
        if (bad < L) {
            int rc = fl_reject(ctx, b, row, FL_E_NUM, "label %s: %g is not a probability", ctx->labels[bad], (double)prob[bad]);
            if (rc != FL_OK)
                return rc;
            continue;
        }
        for (uint32_t l = 0; l < L; l++)
            s->p[(size_t)*n * L + l] = prob[l];
        ++*n;
    }
    return FL_OK;
}

static void decode_f2_scatter(struct fl_ctx *ctx, const struct fl_batch *b, uint8_t *pred, double *ef2)
{
    struct decode_f2 *s = ctx->state;
    uint32_t L = ctx->nlabels, at = 0;
    for (uint32_t row = 0; row < b->n; row++) {
        int bad = fl_rejected(b, row) != 0;
        uint64_t set = bad ? 0 : s->sets[at];
        ef2[row] = bad ? 0.0 : s->e[at];
        at += !bad;
        for (uint32_t l = 0; l < L; l++)
            pred[(size_t)row * L + l] = set >> l & 1;
    }
}

/* The runner-up of each good row; what is left of a bad one is zero. */
static int decode_f2_second(struct fl_ctx *ctx, struct fl_batch *b)
{
    struct decode_f2 *s = ctx->state;
    uint32_t L = ctx->nlabels, at = 0;
    uint8_t *second = fl_out(ctx, b, "second", FL_U8, 2, (uint32_t[]){ b->n, L });
    double *ef2 = second != NULL ? fl_out(ctx, b, "second_ef2", FL_F64, 1, (uint32_t[]){ b->n }) : NULL;
    if (ef2 == NULL)
        return FL_E_BUG;
    for (uint32_t row = 0; row < b->n; row++) {
        uint64_t set = 0;
        ef2[row] = 0.0;
        if (!fl_rejected(b, row)) {
            set = fl_f2_runner_up(&s->f2, s->p + (size_t)at * L, s->sets[at], &ef2[row]);
            at++;
        }
        for (uint32_t l = 0; l < L; l++)
            second[(size_t)row * L + l] = set >> l & 1;
    }
    return FL_OK;
}

static int decode_f2_do(struct fl_ctx *ctx, struct fl_batch *b)
{
    const float *prob = fl_in(b, "prob")->data;
    const struct decode_f2 *s = ctx->state;
    uint32_t n;
    int rc = decode_f2_room(ctx, b->n);
    if (rc == FL_OK)
        rc = decode_f2_gather(ctx, b, prob, &n);
    if (rc != FL_OK)
        return rc;
    uint8_t *pred = fl_out(ctx, b, "pred", FL_U8, 2, (uint32_t[]){ b->n, ctx->nlabels });
    double *ef2 = pred != NULL ? fl_out(ctx, b, "ef2", FL_F64, 1, (uint32_t[]){ b->n }) : NULL;
    if (ef2 == NULL)
        return FL_E_BUG;
    decode_f2_rows(ctx, n);
    decode_f2_scatter(ctx, b, pred, ef2);
    return s->runner_up ? decode_f2_second(ctx, b) : FL_OK;
}

static int decode_f2_batch(struct fl_ctx *ctx, struct fl_batch *b)
{
    int rc = decode_f2_do(ctx, b);
    if (rc == FL_OK)
        return fl_emit(ctx, &b);
    fl_free(ctx, &b);
    return rc;
}

static void decode_f2_close(struct fl_ctx *ctx)
{
    struct decode_f2 *s = ctx->state;
    free(s->p);
    free(s->e);
    free(s->sets);
    free(s->work);
    free(s->Q);
    fl_f2_sets_free(&s->known);
}

static int decode_f2_describe(struct fl_ctx *ctx)
{
    int rc = decode_f2_check(ctx);
    decode_f2_close(ctx);      /* describe has no close of its own */
    return rc;
}

static const struct fl_opt decode_f2_opts[] = {
    { .name = "method", .type = FL_OPT_CHOICE, .off = offsetof(struct decode_f2, method), .def = "exact",
      .choices = "threshold|per_class|bayes_enum|exact|weather|labelset",
      .help = "exact: the optimum for independent labels; weather: for one weather label and independent others; bayes_enum: enumeration of the labels between .05 and .5; threshold and per_class: fixed limits; labelset: the best of the sets in a table." },
    { .name = "odds", .type = FL_OPT_CHOICE, .off = offsetof(struct decode_f2, odds), .def = "norm", .choices = "norm|odds",
      .help = "How method weather gets its model from the probabilities: by normalising, or through odds and priors." },
    { .name = "constraint", .type = FL_OPT_CHOICE, .off = offsetof(struct decode_f2, weather1), .def = "none", .choices = "none|weather1",
      .help = "weather1: exactly one weather label, and none beside the one that allows no other." },
    { .name = "threshold", .type = FL_OPT_FLOAT, .off = offsetof(struct decode_f2, threshold), .def = "-1", .min = -1, .max = 1,
      .help = "A label is on when its probability is above this; below 0: 1/(1+beta^2), .2 for F2." },
    { .name = "labelsets", .type = FL_OPT_PATH, .off = offsetof(struct decode_f2, labelsets),
      .help = "Of method labelset: a label table (image_name,tags or one column a label), whose distinct rows are the sets to choose from." },
    { .name = "allow_empty", .type = FL_OPT_BOOL, .off = offsetof(struct decode_f2, allow_empty), .def = "false",
      .help = "A row of labelsets may have no label at all: no label is then a set to choose, and one that may be true (empty_score)." },
    { .name = "hacks", .type = FL_OPT_BOOL, .off = offsetof(struct decode_f2, hacks), .def = "false",
      .help = "Of bayes_enum: truths that break the exclusive group's rules are believed less (.9, .87)." },
    { .name = "runner_up", .type = FL_OPT_BOOL, .off = offsetof(struct decode_f2, runner_up), .def = "false",
      .help = "Adds the best other set (second) and its expected F-beta (second_ef2)." },
    { .name = "thresholds", .type = FL_OPT_JSON, .off = offsetof(struct decode_f2, thresholds),
      .help = "Thresholds of per_class: a list in label order, a map of labels (threshold for the rest), or a file of either." },
    { .name = "priors", .type = FL_OPT_JSON, .off = offsetof(struct decode_f2, priors),
      .help = "Frequencies of the labels in training, for odds: a list in label order, a map of labels, or a file of either." },
    { .name = "beta", .type = FL_OPT_FLOAT, .off = offsetof(struct decode_f2, beta), .def = "2", .min = 1e-3, .max = 1e3,
      .help = "Recall weighs beta times as much as precision." },
    { .name = "empty_score", .type = FL_OPT_FLOAT, .off = offsetof(struct decode_f2, empty_score), .def = "0", .min = 0, .max = 1,
      .help = "F-beta of predicting nothing where nothing is true." },
    { 0 }
};

static const struct fl_spec decode_f2_in[] = {
    { .name = "prob", .dtypes = "f32", .shape = "B,L" },
    { 0 }
};

static const struct fl_spec decode_f2_out[] = {
    { .name = "pred", .dtypes = "u8", .shape = "B,L" },
    { .name = "ef2", .dtypes = "f64", .shape = "B" },
    { .name = "second", .dtypes = "u8", .shape = "B,L", .flags = FL_OPTIONAL },
    { .name = "second_ef2", .dtypes = "f64", .shape = "B", .flags = FL_OPTIONAL },
    { 0 }
};

static const struct fl_port decode_f2_ports[] = {
    { .name = "in", .flags = FL_IN, .tensors = decode_f2_in },
    { .name = "out", .flags = FL_OUT, .tensors = decode_f2_out },
    { 0 }
};

static const char *const decode_f2_counters[] = { "many_free", NULL };

const struct fl_stage fl_stage_decode_f2 = {
    .name = "decode_f2",
    .help = "Chooses each tile's labels so that the expected F-beta is greatest.",
    .state_size = sizeof(struct decode_f2),
    .opts = decode_f2_opts,
    .ports = decode_f2_ports,
    .counters = decode_f2_counters,
    .describe = decode_f2_describe,
    .open = decode_f2_open,
    .batch = decode_f2_batch,
    .close = decode_f2_close,
};
