/* flowrun score: compares a file of predictions with the true labels. */
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launch/cmd.h"
#include "runtime/predictions.h"
#include "runtime/metric.h"
#include "runtime/text.h"

struct score_args {
    const char *pred, *labels, *names;
    double threshold;
    int    threshold_given, json, subset;
};

struct score {
    struct fl_predictions pred;
    struct fl_truth truth;
    uint8_t *y, *h;               /* [n][L], rows of pred */
    uint64_t empty;               /* rows without a predicted label */
    struct fl_metric m;
};

static const char score_usage[] =
    "usage: flowrun score PREDICTIONS LABELS [--threshold T] [--subset] [--names A,B,...] [--json]\n";

static void score_help(void)
{
    printf("%s\nCompares a file of predictions with the true labels: F2, averaged over tiles, and a table by label.\n\n"
           "  PREDICTIONS      CSV, plain or .gz: image_name,tags or image_name and one column of probabilities a label\n"
           "  LABELS           CSV with the truth: image_name,tags or image_name and one column of 0 and 1 a label\n"
           "  --threshold T    a label is on when its probability is above T (0.2)\n"
           "  --subset         LABELS may hold more tiles than PREDICTIONS\n"
           "  --names A,B,...  the label set, where it is not the default one\n"
           "  --json           the same as a JSON object\n"
           "  --help, --version\n\n"
           "Exit status: 0 scored, 1 a file can't be used, 2 the arguments are wrong.\n", score_usage);
}

/* ---- arguments ---- */

static int score_wrong(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static int score_wrong(const char *fmt, ...)
{
    va_list ap;
    fprintf(stderr, "flowrun score: ");
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fprintf(stderr, "\n%s", score_usage);
    return 2;
}

static int score_threshold(struct score_args *a, const char *text)
{
    char *end;
    a->threshold = strtod(text, &end);
    a->threshold_given = 1;
    if (end == text || *end != '\0' || !(a->threshold >= 0.0 && a->threshold <= 1.0))
        return score_wrong("--threshold %s, want a number from 0 to 1", text);
    return 0;
}

/* The value of option `name` at argv[*i], as `name value` or `name=value`; NULL when argv[*i] is another. */
static const char *score_value(const char *name, int argc, char **argv, int *i)
{
    size_t len = strlen(name);
    if (argv[*i] == NULL || strncmp(argv[*i], name, len) != 0)
        return NULL;
    if (argv[*i][len] == '=')
        return argv[*i] + len + 1;
    return argv[*i][len] == '\0' && *i + 1 < argc ? argv[++*i] : NULL;
}

static int score_unknown(const char *word)
{
    static const char *const names[] = { "--threshold", "--subset", "--names", "--json", "--help", "--version", NULL };
    for (const char *const *n = names; *n != NULL; n++)
        if (strcmp(*n, word) == 0)
            return score_wrong("%s wants a value", word);
    const char *near = fl_nearest(word, names);
    return score_wrong("unknown option %s%s%s%s", word, near ? ", did you mean " : "", near ? near : "", near ? "?" : "");
}

static int score_args(int argc, char **argv, struct score_args *a)
{
    int only_files = 0;
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i], *v;
        if (only_files || word[0] != '-' || word[1] == '\0') {
            if (a->labels != NULL)
                return score_wrong("one argument too many: %s", word);
            *(a->pred == NULL ? &a->pred : &a->labels) = word;
        } else if (strcmp(word, "--") == 0) {
            only_files = 1;
        } else if (strcmp(word, "--json") == 0) {
            a->json = 1;
        } else if (strcmp(word, "--subset") == 0) {
            a->subset = 1;
        } else if ((v = score_value("--names", argc, argv, &i)) != NULL) {
            a->names = v;
        } else if ((v = score_value("--threshold", argc, argv, &i)) != NULL) {
            int status = score_threshold(a, v);
            if (status != 0)
                return status;
        } else {
            return score_unknown(word);
        }
    }
    return a->labels == NULL ? score_wrong("want %s", "a file of predictions and one of labels") : 0;
}

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

static int score_labels(struct score *s, const struct score_args *a, struct fl_err *err)
{
    double t[FL_MAX_LABELS];
    uint64_t n = s->pred.n;
    uint32_t L = s->pred.L;
    s->h = malloc(n * L);
    if (s->h == NULL)
        return fl_err_set(err, FL_E_NOMEM, "no memory for %llu rows", (unsigned long long)n);
    for (uint32_t l = 0; l < L; l++)
        t[l] = a->threshold;
    int rc = FL_OK;
    if (s->pred.p != NULL)
        rc = fl_metric_binarise(n, L, s->pred.p, t, s->h, err);
    else
        memcpy(s->h, s->pred.h, n * L);
    for (uint64_t i = 0; rc == FL_OK && i < n; i++)
        s->empty += memchr(s->h + i * L, 1, L) == NULL;
    return rc;
}

static int score_compute(struct score *s, const struct score_args *a, struct fl_err *err)
{
    struct fl_pred_want want = { .tags = true };
    char *names[FL_MAX_LABELS];
    int rc = a->names != NULL ? fl_labels_split(a->names, names, &want.L, err) : FL_OK;
    if (rc != FL_OK)
        return fl_err_context(err, "--names");
    want.labels = (const char *const *)names;
    rc = fl_predictions_read(a->pred, &want, &s->pred, err);
    for (uint32_t l = 0; l < want.L; l++)
        free(names[l]);
    if (rc == FL_OK && s->pred.p == NULL && a->threshold_given)
        rc = fl_err_set(err, FL_E_CONFIG, "%s: holds tags, so there is nothing to hold --threshold against", a->pred);
    if (rc == FL_OK)
        rc = fl_truth_read(a->labels, s->pred.L, (const char *const *)s->pred.labels, 0, UINT32_MAX, 0, &s->truth, err);
    if (rc == FL_OK)
        rc = score_match(s, a, err);
    if (rc == FL_OK)
        rc = score_labels(s, a, err);
    struct fl_metric m = { 0 };
    if (rc == FL_OK)
        rc = fl_metric(s->pred.n, s->pred.L, s->y, s->h, 2.0, 0.0, NULL, &m, err);
    s->m = m;
    return rc;
}

/* ---- output ---- */

static void score_print(const struct score *s, const struct score_args *a)
{
    printf("F2 %.6f over %llu tiles", s->m.mean, (unsigned long long)s->m.n);
    if (s->pred.p != NULL)
        printf(" at threshold %g", a->threshold);
    if (s->empty)
        printf(", %llu without a predicted label", (unsigned long long)s->empty);
    printf("\n\n%-20s %9s %9s %9s %9s %9s\n", "label", "true", "predicted", "precision", "recall", "F2");
    for (uint32_t l = 0; l < s->m.L; l++) {
        const struct fl_metric_class *c = &s->m.label[l];
        printf("%-20s %9llu %9llu %9.4f %9.4f %9.4f\n", s->pred.labels[l], (unsigned long long)(c->tp + c->fn),
               (unsigned long long)(c->tp + c->fp), c->precision, c->recall, c->f);
    }
}

static int score_json(const struct score *s, const struct score_args *a)
{
    json_t *list = json_array();
    for (uint32_t l = 0; l < s->m.L; l++) {
        const struct fl_metric_class *c = &s->m.label[l];
        json_array_append_new(list, json_pack("{s:s, s:I, s:I, s:f, s:f, s:f}", "label", s->pred.labels[l], "true", (json_int_t)(c->tp + c->fn),
                                              "predicted", (json_int_t)(c->tp + c->fp), "precision", c->precision, "recall", c->recall, "f2", c->f));
    }
    json_t *o = json_pack("{s:f, s:I, s:I, s:o}", "f2", s->m.mean, "tiles", (json_int_t)s->m.n, "empty", (json_int_t)s->empty, "labels", list);
    if (o != NULL && s->pred.p != NULL)
        json_object_set_new(o, "threshold", json_real(a->threshold));
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
    fl_truth_free(&s->truth);
    free(s->y);
    free(s->h);
}

int fl_cmd_score(int argc, char **argv)
{
    struct score_args a = { .threshold = 0.2 };
    struct score s = { 0 };
    struct fl_err err = { 0 };
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            score_help();
            return 0;
        }
        if (strcmp(argv[i], "--version") == 0)
            return printf("flowrun %s\n", FL_VERSION) < 0;
    }
    int status = score_args(argc, argv, &a);
    if (status != 0)
        return status;
    int rc = score_compute(&s, &a, &err);
    if (rc != FL_OK) {
        fprintf(stderr, "flowrun score: %s: %s\n", fl_status_name(rc), err.text);
        status = rc == FL_E_CONFIG ? 2 : 1;
    } else if (a.json) {
        status = score_json(&s, &a);
    } else {
        score_print(&s, &a);
    }
    score_done(&s);
    return status;
}
