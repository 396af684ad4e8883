/* flowrun score: compares files of predictions with the true labels. */
#include "launch/score.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launch/cmd.h"
#include "launch/raw.h"
#include "runtime/f2.h"
#include "runtime/index.h"

struct score_args {
    const char *pred, *labels, *names, *folds, *column, *against, *report, *rows, *columns, *fixed;
    double threshold, beta, empty_score;
    bool   json, subset, allow_empty, calibration, per_class;
};

/* ---- work ---- */

/* Rows of the truth in the order of the predictions; both must hold the same tiles. */
static int score_match(struct score *s, const struct score_args *a, struct fl_err *err)
{
    uint32_t L = s->pred.L;
    uint64_t n = s->pred.n;
    uint8_t *seen = calloc(s->truth.n ? s->truth.n : 1, 1);
    s->y = malloc(n * L);
    int rc = seen != NULL && s->y != NULL ? FL_OK : fl_err_set(err, FL_E_NOMEM, "no memory for %llu rows", (unsigned long long)n);
    for (uint64_t i = 0; rc == FL_OK && i < n; i++) {
        int64_t at = fl_truth_find(&s->truth, s->pred.ids[i]);
        if (at < 0) {
            rc = fl_err_set(err, FL_E_LABEL, "%s: %s has no row in %s", a->pred, s->pred.ids[i], a->labels);
            break;
        }
        seen[at] = 1;
        memcpy(s->y + i * L, s->truth.y + (uint64_t)at * L, L);
    }
    for (uint64_t i = 0; rc == FL_OK && !a->subset && i < s->truth.n; i++)
        if (!seen[i])
            rc = fl_err_set(err, FL_E_LABEL, "%s: %s is not predicted in %s (%llu of %llu are; --subset allows that)", a->labels, s->truth.ids[i],
                            a->pred, (unsigned long long)n, (unsigned long long)s->truth.n);
    free(seen);
    return rc;
}

/* The other file's rows into the order of the first; both have the same tiles. */
static int score_against(struct score *s, const struct score_args *a, struct fl_pred_want *want, struct fl_err *err)
{
    want->L = s->pred.L;
    want->labels = (const char *const *)s->pred.labels;
    int rc = fl_predictions_read(a->against, want, &s->other, err);
    if (rc == FL_OK)
        rc = fl_predictions_sort(&s->other, err);
    if (rc == FL_OK)
        rc = fl_predictions_sort(&s->pred, err);
    for (uint64_t i = 0; rc == FL_OK && (i < s->pred.n || i < s->other.n); i++)
        if (i >= s->pred.n || i >= s->other.n || strcmp(s->pred.ids[i], s->other.ids[i]) != 0)
            rc = fl_err_set(err, FL_E_LABEL, "%s and %s don't hold the same tiles: %s", a->pred, a->against, i < s->pred.n ? s->pred.ids[i] : s->other.ids[i]);
    return rc;
}

static int score_folds(struct score *s, const struct score_args *a, struct fl_err *err)
{
    int rc = fl_folds_read(a->folds, a->column, &s->folds, err);
    if (rc == FL_OK && s->folds.k > SCORE_FOLDS)
        rc = fl_err_set(err, FL_E_LABEL, "%s: %u folds, at most %d", a->folds, s->folds.k, SCORE_FOLDS);
    s->fold = rc == FL_OK ? malloc(s->pred.n * sizeof *s->fold) : NULL;
    if (rc == FL_OK && s->fold == NULL)
        rc = fl_err_set(err, FL_E_NOMEM, "no memory for %llu rows", (unsigned long long)s->pred.n);
    for (uint64_t i = 0; rc == FL_OK && i < s->pred.n; i++) {
        int64_t at = fl_folds_find(&s->folds, s->pred.ids[i], strlen(s->pred.ids[i]));
        if (at < 0)
            rc = fl_err_set(err, FL_E_LABEL, "%s: no row for %s", a->folds, s->pred.ids[i]);
        else
            s->fold[i] = s->folds.fold[at] == FL_NO_FOLD ? -1 : (int32_t)s->folds.fold[at];
    }
    return rc;
}

static int score_fixed(struct score *s, const struct score_args *a, struct fl_err *err)
{
    char *names[FL_MAX_LABELS];
    uint32_t n = 0;
    if (!a->per_class)
        return fl_err_set(err, FL_E_CONFIG, "--fixed goes with --per-class");
    int rc = fl_labels_split(a->fixed, names, &n, err);
    for (uint32_t i = 0; rc == FL_OK && i < n; i++) {
        int64_t l = fl_pred_column(&s->pred, names[i]);
        if (l < 0)
            rc = fl_err_set(err, FL_E_CONFIG, "\"%.60s\" is none of the labels", names[i]);
        else
            s->fixed |= UINT64_C(1) << l;
    }
    for (uint32_t i = 0; i < n; i++)
        free(names[i]);
    return rc == FL_OK ? FL_OK : fl_err_context(err, "--fixed");
}

static int score_read(struct score *s, const struct score_args *a, struct fl_err *err)
{
    struct fl_pred_want want = { .tags = true, .rows = a->rows, .columns = a->columns };
    char *names[FL_MAX_LABELS];
    int rc = a->names != NULL ? fl_labels_split(a->names, names, &want.L, err) : FL_OK;
    if (rc != FL_OK)
        return fl_err_context(err, "--names");
    want.labels = (const char *const *)names;
    rc = fl_predictions_read(a->pred, &want, &s->pred, err);
    for (uint32_t l = 0; l < want.L; l++)
        free(names[l]);
    if (rc == FL_OK && a->against != NULL)
        rc = score_against(s, a, &want, err);
    if (rc == FL_OK && s->pred.p == NULL && (a->threshold >= 0.0 || a->per_class || a->calibration))
        rc = fl_err_set(err, FL_E_CONFIG, "%s: holds tags, so there is nothing to hold --threshold, --per-class or --calibration against", a->pred);
    if (rc == FL_OK && a->fixed != NULL)
        rc = score_fixed(s, a, err);
    if (rc == FL_OK)
        rc = fl_truth_read(a->labels, s->pred.L, (const char *const *)s->pred.labels, 0, UINT32_MAX, a->allow_empty, &s->truth, err);
    if (rc == FL_OK)
        rc = score_match(s, a, err);
    if (rc == FL_OK && a->folds != NULL)
        rc = score_folds(s, a, err);
    return rc;
}

/* ---- output ---- */

static void score_print_folds(const struct score *s, const char *name)
{
    printf("\n%-6s %9s %9s %9s %9s", "fold", "tiles", name, s->pred.p ? "expected" : "", s->pred.p ? "log-loss" : "");
    printf(s->other.n > 0 ? " %9s %9s\n" : "\n", "against", "gain %");
    for (uint32_t k = 0; k < s->folds.k; k++) {
        const struct score_fold *f = &s->each[k];
        if (f->n == 0)
            continue;
        printf("%-6u %9llu %9.6f", k, (unsigned long long)f->n, f->f);
        if (s->pred.p != NULL)
            printf(" %9.6f %9.6f", f->exact, f->bce);
        if (s->other.n > 0 && f->other > 0.0)
            printf(" %9.6f %+9.4f", f->other, score_gain(f->f, f->other));
        else if (s->other.n > 0)
            printf(" %9.6f %9s", f->other, "-");
        printf("\n");
    }
}

static void score_print(const struct score *s, const struct score_args *a)
{
    char name[24];
    printf("%s %.6f over %llu tiles", score_name(s, name), s->a.m.mean, (unsigned long long)s->a.m.n);
    if (s->pred.p != NULL)
        printf(" at threshold %g", s->threshold);
    if (s->a.empty)
        printf(", %llu without a predicted label", (unsigned long long)s->a.empty);
    printf("\n");
    if (s->pred.p != NULL)
        printf("by expected %s %.6f, best single threshold %g %.6f, log-loss %.6f, calibration error %.6f\n", name, s->a.exact_mean, s->best_at, s->best, s->a.bce, s->ece);
    if (s->pred.p != NULL && s->a.m.mean > 0.0)
        printf("expected %s against the threshold: gain %+.4f %%", name, score_gain(s->a.exact_mean, s->a.m.mean));
    if (s->pred.p != NULL && s->a.m.mean > 0.0 && isfinite(s->t_exact))
        printf(", paired t over folds %.4f", s->t_exact);
    if (s->pred.p != NULL && s->a.m.mean > 0.0)
        printf("\n");
    if (s->other.n > 0 && s->b.m.mean > 0.0)
        printf("against %.6f: gain %+.4f %%\n", s->b.m.mean, score_gain(s->a.m.mean, s->b.m.mean));
    else if (s->other.n > 0)
        printf("against %.6f\n", s->b.m.mean);
    if (s->other.n > 0 && isfinite(s->t))
        printf("paired t over folds %.4f\n", s->t);
    if (isfinite(s->fitted_in))
        printf("thresholds by label %.6f in sample", s->fitted_in);
    if (isfinite(s->fitted_out))
        printf(", %.6f cross-fitted", s->fitted_out);
    printf(isfinite(s->fitted_in) ? "\n\n" : "\n");
    printf("%-20s %9s %9s %9s %9s %9s%s\n", "label", "true", "predicted", "precision", "recall", name, a->per_class ? " threshold" : "");
    for (uint32_t l = 0; l < s->a.m.L; l++) {
        const struct fl_metric_class *c = &s->a.m.label[l];
        printf("%-20s %9llu %9llu %9.4f %9.4f %9.4f", s->pred.labels[l], (unsigned long long)(c->tp + c->fn), (unsigned long long)(c->tp + c->fp), c->precision,
               c->recall, c->f);
        if (a->per_class)
            printf(" %9.2f", s->limits[l]);
        printf("\n");
    }
    if (s->fold != NULL)
        score_print_folds(s, name);
    if (a->calibration)
        printf("\n%-10s %9s %9s %9s\n", "predicted", "values", "mean", "true");
    for (int b = 0; a->calibration && b < SCORE_BINS; b++)
        printf("%.1f-%.1f    %9llu %9.4f %9.4f\n", b / 10.0, (b + 1) / 10.0, (unsigned long long)s->bin_n[b], s->bin_p[b], s->bin_y[b]);
}

static json_t *score_json_labels(const struct score *s, const struct score_args *a)
{
    json_t *list = json_array();
    for (uint32_t l = 0; l < s->a.m.L; l++) {
        const struct fl_metric_class *c = &s->a.m.label[l];
        json_t *o = json_pack("{s:s, s:I, s:I, s:f, s:f, s:f}", "label", s->pred.labels[l], "true", (json_int_t)(c->tp + c->fn), "predicted",
                              (json_int_t)(c->tp + c->fp), "precision", c->precision, "recall", c->recall, s->beta == 2.0 ? "f2" : "fbeta", c->f);
        if (a->per_class)
            json_object_set_new(o, "threshold", json_real(s->limits[l]));
        json_array_append_new(list, o);
    }
    return list;
}

static void score_json_probabilities(const struct score *s, json_t *o)
{
    json_t *bins = json_array(), *curve = json_array();
    for (int b = 0; b < SCORE_BINS; b++)
        json_array_append_new(bins, json_pack("{s:I, s:f, s:f}", "values", (json_int_t)s->bin_n[b], "mean", s->bin_p[b], "true", s->bin_y[b]));
    for (int g = 0; g < SCORE_GRID; g++)
        json_array_append_new(curve, json_pack("[f, f]", (g + 10) / 200.0, s->curve[g]));
    json_object_set_new(o, "threshold", json_real(s->threshold));
    json_object_set_new(o, "expected", json_real(s->a.exact_mean));
    json_object_set_new(o, "expected_gain_percent", s->a.m.mean > 0.0 ? json_real(score_gain(s->a.exact_mean, s->a.m.mean)) : json_null());
    json_object_set_new(o, "expected_paired_t", isfinite(s->t_exact) ? json_real(s->t_exact) : json_null());
    json_object_set_new(o, "best_threshold", json_pack("[f, f]", s->best_at, s->best));
    json_object_set_new(o, "log_loss", json_real(s->a.bce));
    json_object_set_new(o, "calibration_error", json_real(s->ece));
    json_object_set_new(o, "calibration", bins);
    json_object_set_new(o, "curve", curve);
}

static json_t *score_json_folds(const struct score *s)
{
    json_t *list = json_array();
    for (uint32_t k = 0; k < s->folds.k; k++) {
        const struct score_fold *f = &s->each[k];
        if (f->n == 0)
            continue;
        json_t *o = json_pack("{s:i, s:I, s:f}", "fold", (int)k, "tiles", (json_int_t)f->n, "score", f->f);
        if (s->pred.p != NULL) {
            json_object_set_new(o, "expected", json_real(f->exact));
            json_object_set_new(o, "log_loss", json_real(f->bce));
        }
        if (s->other.n > 0)
            json_object_set_new(o, "against", json_real(f->other));
        json_array_append_new(list, o);
    }
    return list;
}

static int score_json(const struct score *s, const struct score_args *a)
{
    json_t *o = json_pack("{s:f, s:f, s:I, s:I}", s->beta == 2.0 ? "f2" : "fbeta", s->a.m.mean, "beta", s->beta, "tiles", (json_int_t)s->a.m.n, "empty", (json_int_t)s->a.empty);
    json_object_set_new(o, "labels", score_json_labels(s, a));
    if (s->pred.p != NULL)
        score_json_probabilities(s, o);
    if (s->fold != NULL)
        json_object_set_new(o, "folds", score_json_folds(s));
    if (s->other.n > 0) {
        json_object_set_new(o, "against", json_real(s->b.m.mean));
        json_object_set_new(o, "gain_percent", s->b.m.mean > 0.0 ? json_real(score_gain(s->a.m.mean, s->b.m.mean)) : json_null());
        json_object_set_new(o, "paired_t", isfinite(s->t) ? json_real(s->t) : json_null());
    }
    if (a->per_class) {
        json_object_set_new(o, "per_class", json_real(s->fitted_in));
        json_object_set_new(o, "per_class_cross_fitted", isfinite(s->fitted_out) ? json_real(s->fitted_out) : json_null());
    }
    char *text = o != NULL ? json_dumps(o, JSON_INDENT(2)) : NULL;
    json_decref(o);
    if (text == NULL) {
        fprintf(stderr, "flowrun score: no memory for the answer\n");
        return 1;
    }
    puts(text);
    free(text);
    return 0;
}

static void score_done(struct score *s)
{
    fl_predictions_free(&s->pred);
    fl_predictions_free(&s->other);
    fl_truth_free(&s->truth);
    fl_folds_free(&s->folds);
    for (int i = 0; i < 2; i++) {
        free((i ? &s->b : &s->a)->h);
        free((i ? &s->b : &s->a)->tile);
        free((i ? &s->b : &s->a)->exact);
    }
    free(s->y);
    free(s->fold);
    free(s);
}

static int score_run(const struct score_args *a)
{
    struct score *s = calloc(1, sizeof *s);
    struct fl_err err = { 0 };
    if (s == NULL)
        return 1;
    s->beta = a->beta;
    s->empty_score = a->empty_score;
    s->threshold = a->threshold >= 0.0 ? a->threshold : fl_f2_threshold_of(a->beta);
    int status = 0, rc = score_read(s, a, &err);
    if (rc == FL_OK)
        rc = score_figures(s, a->per_class, &err);
    if (rc == FL_OK && a->report != NULL)
        rc = score_html(s, a->pred, a->report, &err);
    if (rc != FL_OK) {
        fprintf(stderr, "flowrun score: %s: %s\n", fl_status_name(rc), err.text);
        status = rc == FL_E_CONFIG ? 2 : 1;
    } else if (a->json) {
        status = score_json(s, a);
    } else {
        score_print(s, a);
    }
    score_done(s);
    return status;
}

int fl_cmd_score(int argc, char **argv)
{
    struct score_args a = { .threshold = -1.0, .beta = 2.0, .column = "fold" };
    const struct fl_raw_opt opts[] = {
        { "--threshold", "T", FL_RAW_UNIT, &a.threshold, NULL, "a label is on when its probability is above T (1/(1+beta^2): .2 for F2)" },
        { "--beta", "B", FL_RAW_POSITIVE, &a.beta, NULL, "recall weighs B times as much as precision (2)" },
        { "--subset", NULL, FL_RAW_FLAG, &a.subset, NULL, "LABELS may hold more tiles than PREDICTIONS" },
        { "--allow-empty", NULL, FL_RAW_FLAG, &a.allow_empty, NULL, "a tile of LABELS may have no label at all" },
        { "--empty-score", "S", FL_RAW_UNIT, &a.empty_score, NULL, "F-beta of predicting nothing where nothing is true (0)" },
        { "--names", "A,B,...", FL_RAW_TEXT, &a.names, NULL, "the label set, where it is not the default one" },
        { "--folds", "TABLE", FL_RAW_TEXT, &a.folds, NULL, "a row a fold: image_name and a column of folds" },
        { "--fold-column", "NAME", FL_RAW_TEXT, &a.column, NULL, "its column (fold)" },
        { "--against", "FILE", FL_RAW_TEXT, &a.against, NULL, "other predictions of the same tiles: gain in percent, with --folds a paired t" },
        { "--per-class", NULL, FL_RAW_FLAG, &a.per_class, NULL, "thresholds fitted by label: their score in sample and, with --folds, cross-fitted" },
        { "--fixed", "A,B,...", FL_RAW_TEXT, &a.fixed, NULL, "with --per-class: labels, rare ones, that keep the threshold 1/(1+beta^2)" },
        { "--calibration", NULL, FL_RAW_FLAG, &a.calibration, NULL, "a table of predicted against true frequencies" },
        { "--report", "FILE.html", FL_RAW_TEXT, &a.report, NULL, "all of it as a page with pictures" },
        { "--rows", "TABLE|PATTERN", FL_RAW_TEXT, &a.rows, NULL, "of a plain .npy: a table whose image_name names its rows, or a pattern like train_{}" },
        { "--columns", "A,B,...", FL_RAW_TEXT, &a.columns, NULL, "of a plain .npy: its columns" },
        { "--json", NULL, FL_RAW_FLAG, &a.json, NULL, "the same as a JSON object" },
        { 0 }
    };
    const struct fl_raw cmd = {
        .name = "score", .usage = "PREDICTIONS LABELS [--threshold T] [--folds TABLE] [--against FILE] [--report FILE.html] [--json] ...", .opts = opts,
        .min = 2, .max = 2, .want = "a file of predictions and one of labels",
        .help = "Compares a file of predictions with the true labels: F-beta, averaged over tiles, and a table by label.\n\n"
                "  PREDICTIONS              tags (image_name,tags) or probabilities in any form of docs/predictions.md\n"
                "  LABELS                   CSV with the truth: image_name,tags or image_name and one column of 0 and 1 a label",
    };
    const char *files[2];
    uint32_t n;
    int status = fl_raw_read(&cmd, argc, argv, files, &n);
    if (status >= 0)
        return status;
    a.pred = files[0];
    a.labels = files[1];
    return score_run(&a);
}
