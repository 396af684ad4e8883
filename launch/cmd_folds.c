/* flowrun folds: cuts a label table into folds of a cross-validation and says how the labels came to lie. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launch/cmd.h"
#include "launch/folds.h"
#include "runtime/csv.h"
#include "runtime/index.h"
#include "runtime/labels.h"
#include "runtime/text.h"

struct folds_args { const char *table, *method, *folds, *seed, *groups, *names, *out, *svg, *allow_empty; };

static const struct { const char *name, *value, *help; size_t off; } folds_flags[] = {
    { "--method", "NAME", "loop (default), iterative (Sechidis et al. 2011), kfold (at random), or group (loop over groups)", offsetof(struct folds_args, method) },
    { "--folds", "K", "how many (10)", offsetof(struct folds_args, folds) },
    { "--seed", "N", "of every draw (42)", offsetof(struct folds_args, seed) },
    { "--groups", "CSV", "image_name,group: tiles of one group (a scene) stay together; the method cuts groups", offsetof(struct folds_args, groups) },
    { "--names", "A,B,...", "the label set, where it is not the default one", offsetof(struct folds_args, names) },
    { "--allow-empty", NULL, "a tile may have no label at all", offsetof(struct folds_args, allow_empty) },
    { "--out", "CSV", "writes image_name,fold", offsetof(struct folds_args, out) },
    { "--svg", "FILE", "writes a histogram of the labels for each fold", offsetof(struct folds_args, svg) },
};
#define FOLDS_FLAGS (sizeof folds_flags / sizeof folds_flags[0])

struct folds_work {
    struct fl_truth truth;
    char    *names_text; const char *names[FL_MAX_LABELS + 1]; uint32_t L;
    const char **ids;                  /* [n] of the truth */
    uint32_t *fold;                    /* [n] of the tiles */
    uint32_t k;
    uint64_t seed;
    /* groups */
    uint32_t ngroups, *group;          /* of each tile */
    char   **group_name;
    uint8_t *group_y;
    uint32_t *group_fold;
};

static const char folds_usage[] = "usage: flowrun folds LABELS [--method NAME] [--folds K] [--seed N] [--groups CSV] [--names A,B,...] [--out CSV] [--svg FILE]\n";

/* ---- arguments ---- */

static int folds_wrong(const char *what, const char *word)
{
    fprintf(stderr, "flowrun folds: %s%s\n%s", what, word, folds_usage);
    return 2;
}

static int folds_help(void)
{
    printf("%s\nCuts the tiles of a label table into folds with as even a share of every label as can be, and prints how they lie.\n\n"
           "  LABELS             CSV (.gz too): image_name,tags or image_name and one column of 0 and 1 a label\n", folds_usage);
    for (size_t i = 0; i < FOLDS_FLAGS; i++) {
        char flag[40];
        snprintf(flag, sizeof flag, "%s %s", folds_flags[i].name, folds_flags[i].value != NULL ? folds_flags[i].value : "");
        printf("  %-18s %s\n", flag, folds_flags[i].help);
    }
    printf("  --help, --version\n\nExit status: 0 done, 1 a file can't be used, 2 the arguments are wrong.\n");
    return 0;
}

/* One option and its value, as `--name value` or `--name=value`; -1 when argv[*i] is none. */
static int folds_option(int argc, char **argv, int *i, struct folds_args *a)
{
    const char *names[FOLDS_FLAGS + 1] = { NULL }, *eq = strchr(argv[*i], '=');
    size_t len = eq != NULL ? (size_t)(eq - argv[*i]) : strlen(argv[*i]);
    for (size_t k = 0; k < FOLDS_FLAGS; k++) {
        names[k] = folds_flags[k].name;
        if (strlen(names[k]) != len || memcmp(names[k], argv[*i], len) != 0)
            continue;
        const char **to = (const char **)(void *)((char *)a + folds_flags[k].off);
        if (folds_flags[k].value == NULL) {
            *to = names[k];
            return eq != NULL ? folds_wrong(names[k], " takes no value") : 0;
        }
        if (eq == NULL && *i + 1 >= argc)
            return folds_wrong(names[k], " wants a value");
        *to = eq != NULL ? eq + 1 : argv[++*i];
        return 0;
    }
    const char *near = fl_nearest(argv[*i], names);
    fprintf(stderr, "flowrun folds: unknown option %s%s%s%s\n%s", argv[*i], near ? ", did you mean " : "", near ? near : "", near ? "?" : "", folds_usage);
    return 2;
}

static int folds_args(int argc, char **argv, struct folds_args *a)
{
    for (int i = 1; i < argc; i++) {
        int status = 0;
        if (strncmp(argv[i], "--", 2) == 0)
            status = folds_option(argc, argv, &i, a);
        else if (a->table != NULL)
            status = folds_wrong("one argument too many: ", argv[i]);
        else
            a->table = argv[i];
        if (status != 0)
            return status;
    }
    return a->table == NULL ? folds_wrong("want a label table", "") : 0;
}

static int folds_numbers(const struct folds_args *a, struct folds_work *w)
{
    char *end = "";
    w->k = 10;
    w->seed = 42;
    if (a->folds != NULL) {
        unsigned long k = strtoul(a->folds, &end, 10);
        w->k = k < 65536 ? (uint32_t)k : 0;
    }
    if (*end != '\0' || w->k < 2)
        return folds_wrong("--folds, want a number from 2 to 65535, not ", a->folds);
    if (a->seed != NULL)
        w->seed = strtoull(a->seed, &end, 10);
    if (a->seed != NULL && (*end != '\0' || a->seed[0] < '0' || a->seed[0] > '9'))
        return folds_wrong("--seed, want a number from 0 up, not ", a->seed);
    if (a->method != NULL && strcmp(a->method, "loop") != 0 && strcmp(a->method, "iterative") != 0 && strcmp(a->method, "kfold") != 0 && strcmp(a->method, "group") != 0)
        return folds_wrong("--method, want loop, iterative, kfold or group, not ", a->method);
    if (a->method != NULL && strcmp(a->method, "group") == 0 && a->groups == NULL)
        return folds_wrong("--method group needs --groups", "");
    return 0;
}

/* ---- tables ---- */

static int folds_names(const struct folds_args *a, struct folds_work *w, struct fl_err *err)
{
    if (a->names == NULL) {
        for (w->L = 0; w->L < FL_DEFAULT_NLABELS; w->L++)
            w->names[w->L] = fl_default_labels[w->L];
        return FL_OK;
    }
    w->names_text = strdup(a->names);
    if (w->names_text == NULL)
        return fl_err_set(err, FL_E_NOMEM, "no memory for the names");
    char *save = NULL;
    for (char *t = strtok_r(w->names_text, ",", &save); t != NULL; t = strtok_r(NULL, ",", &save)) {
        if (w->L == FL_MAX_LABELS)
            return fl_err_set(err, FL_E_CONFIG, "--names: more than %d labels", FL_MAX_LABELS);
        w->names[w->L++] = t;
    }
    return w->L > 0 ? FL_OK : fl_err_set(err, FL_E_CONFIG, "--names: no label");
}

static int folds_read(const struct folds_args *a, struct folds_work *w, struct fl_err *err)
{
    int rc = folds_names(a, w, err);
    if (rc == FL_OK)
        rc = fl_truth_read(a->table, w->L, w->names, 0, UINT32_MAX, a->allow_empty != NULL, &w->truth, err);
    if (rc == FL_OK && w->truth.n >= UINT32_MAX)
        rc = fl_err_set(err, FL_E_INPUT, "%s: too many rows", a->table);
    if (rc != FL_OK)
        return rc;
    if (w->truth.repeated > 0)
        fprintf(stderr, "flowrun folds: %s: %llu rows name a tag twice, counted once; first: %s\n", a->table, (unsigned long long)w->truth.repeated,
                w->truth.first_odd);
    w->ids = malloc((w->truth.n + 1) * sizeof *w->ids);
    w->fold = malloc((w->truth.n + 1) * sizeof *w->fold);
    if (w->ids == NULL || w->fold == NULL)
        return fl_err_set(err, FL_E_NOMEM, "no memory for %llu rows", (unsigned long long)w->truth.n);
    for (uint64_t i = 0; i < w->truth.n; i++)
        w->ids[i] = w->truth.ids[i];
    return FL_OK;
}

static const char *folds_group_key(const void *items, uint32_t i, size_t *len)
{
    char *const *names = items;
    *len = strlen(names[i]);
    return names[i];
}

/* One row of the table of groups: its tile's group, and the group's labels. */
static int folds_group_row(struct folds_work *w, struct fl_csv *csv, int64_t id, int64_t group, struct fl_index *index, struct fl_err *err)
{
    bool whole = csv->nfields > (uint64_t)id && csv->nfields > (uint64_t)group && csv->width[group] > 0 && csv->width[group] < 256 &&
                 strlen(csv->field[group]) == csv->width[group];
    if (!whole)
        return fl_err_set(err, FL_E_LABEL, "%s:%llu: no image_name or group", csv->name, (unsigned long long)csv->line);
    int64_t tile = fl_truth_find(&w->truth, csv->field[id]);
    if (tile < 0)
        return FL_OK;                  /* the table may hold more tiles than have labels */
    if (w->group[tile] != UINT32_MAX)
        return fl_err_set(err, FL_E_LABEL, "%s:%llu: %s is there twice", csv->name, (unsigned long long)csv->line, csv->field[id]);
    int64_t g = fl_index_find(index, csv->field[group], csv->width[group]);
    if (g < 0) {
        g = w->ngroups;
        w->group_name[g] = strdup(csv->field[group]);
        if (w->group_name[g] == NULL)
            return fl_err_set(err, FL_E_NOMEM, "no memory for the groups");
        w->ngroups++;
        fl_index_add(index, (uint32_t)g);
    }
    w->group[tile] = (uint32_t)g;
    for (uint32_t l = 0; l < w->L; l++)
        w->group_y[(size_t)g * w->L + l] |= w->truth.y[(size_t)tile * w->L + l];
    return FL_OK;
}

static int folds_group_rows(struct folds_work *w, struct fl_csv *csv, struct fl_err *err)
{
    struct fl_index index = { 0 };
    int rc = fl_csv_next(csv, err);
    if (rc < 0)
        return rc;
    int64_t id = rc == FL_OK ? fl_csv_column(csv, "image_name") : -1, group = rc == FL_OK ? fl_csv_column(csv, "group") : -1;
    if (id < 0 || group < 0)
        return fl_err_set(err, FL_E_LABEL, "%s:1: no column %s", csv->name, id < 0 ? "image_name" : "group");
    rc = fl_index_init(&index, w->truth.n, folds_group_key, w->group_name, err);
    while (rc == FL_OK && (rc = fl_csv_next(csv, err)) == FL_OK)
        rc = folds_group_row(w, csv, id, group, &index, err);
    fl_index_done(&index);
    return rc == FL_END ? FL_OK : rc;
}

static int folds_groups(struct folds_work *w, const char *path, struct fl_err *err)
{
    char *text;
    size_t len, n = w->truth.n;
    w->group = malloc((n + 1) * sizeof *w->group);
    w->group_name = calloc(n + 1, sizeof *w->group_name);
    w->group_y = calloc(n + 1, w->L);
    w->group_fold = malloc((n + 1) * sizeof *w->group_fold);
    if (w->group == NULL || w->group_name == NULL || w->group_y == NULL || w->group_fold == NULL)
        return fl_err_set(err, FL_E_NOMEM, "no memory for the groups");
    memset(w->group, 0xff, n * sizeof *w->group);
    int rc = fl_csv_load(path, &text, &len, err);
    if (rc != FL_OK)
        return rc;
    struct fl_csv csv;
    fl_csv_init(&csv, path, text, len);
    rc = folds_group_rows(w, &csv, err);
    fl_csv_done(&csv);
    free(text);
    for (size_t i = 0; rc == FL_OK && i < n; i++)
        if (w->group[i] == UINT32_MAX)
            rc = fl_err_set(err, FL_E_LABEL, "%s: no row for tile %s", path, w->ids[i]);
    return rc;
}

/* ---- cutting ---- */

static int folds_cut(const struct folds_args *a, struct folds_work *w, const struct fl_fold_items *items, uint32_t *fold, struct fl_err *err)
{
    const char *method = a->method != NULL ? a->method : "loop";
    if (strcmp(method, "iterative") == 0)
        return fl_folds_iterative(items, w->k, w->seed, fold, err);
    return strcmp(method, "kfold") == 0 ? fl_folds_random(items, w->k, w->seed, fold, err) : fl_folds_loop(items, w->k, w->seed, fold, err);
}

static int folds_run(const struct folds_args *a, struct folds_work *w, const struct fl_fold_items *tiles, struct fl_err *err)
{
    if (a->groups == NULL)
        return folds_cut(a, w, tiles, w->fold, err);
    int rc = folds_groups(w, a->groups, err);
    if (rc != FL_OK)
        return rc;
    const struct fl_fold_items groups = { w->ngroups, w->L, (const char *const *)w->group_name, w->group_y, w->names };
    rc = folds_cut(a, w, &groups, w->group_fold, err);
    for (uint64_t i = 0; rc == FL_OK && i < w->truth.n; i++)
        w->fold[i] = w->group_fold[w->group[i]];
    return rc;
}

static int folds_write(const struct folds_work *w, const char *path, struct fl_err *err)
{
    FILE *f = fopen(path, "we");
    if (f == NULL)
        return fl_err_set(err, FL_E_IO, "%s: %s", path, strerror(errno));
    fputs("image_name,fold\n", f);
    for (uint64_t i = 0; i < w->truth.n; i++)
        fprintf(f, "%s,%u\n", w->ids[i], w->fold[i]);
    bool bad = ferror(f) != 0;
    bad |= fclose(f) != 0;
    return bad ? fl_err_set(err, FL_E_IO, "%s: %s", path, strerror(errno)) : FL_OK;
}

static int folds_report(const struct folds_args *a, struct folds_work *w, const struct fl_fold_items *tiles, struct fl_err *err)
{
    struct fl_fold_counts c;
    int rc = fl_fold_count(tiles, w->k, w->fold, &c, err);
    if (rc != FL_OK)
        return rc;
    for (uint32_t l = 0; l < w->L; l++)
        if (c.total[l] < w->k)
            fprintf(stderr, "flowrun folds: %s: only %llu tiles have %s, so that some of the %u folds have none\n", a->table,
                    (unsigned long long)c.total[l], w->names[l], w->k);
    fl_folds_print(&c, w->names);
    if (a->out != NULL)
        rc = folds_write(w, a->out, err);
    if (rc == FL_OK && a->svg != NULL)
        rc = fl_folds_svg(&c, w->names, a->svg, err);
    fl_fold_counts_free(&c);
    return rc;
}

static void folds_work_done(struct folds_work *w)
{
    for (uint32_t g = 0; g < w->ngroups; g++)
        free(w->group_name[g]);
    free(w->group);
    free(w->group_name);
    free(w->group_y);
    free(w->group_fold);
    free(w->ids);
    free(w->fold);
    free(w->names_text);
    fl_truth_free(&w->truth);
}

int fl_cmd_folds(int argc, char **argv)
{
    struct folds_args a = { 0 };
    struct folds_work w = { 0 };
    struct fl_err err = { 0 };
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0)
            return folds_help();
        if (strcmp(argv[i], "--version") == 0)
            return printf("flowrun %s\n", FL_VERSION) < 0;
    }
    int status = folds_args(argc, argv, &a);
    if (status == 0)
        status = folds_numbers(&a, &w);
    if (status != 0)
        return status;
    int rc = folds_read(&a, &w, &err);
    const struct fl_fold_items tiles = { (uint32_t)w.truth.n, w.L, w.ids, w.truth.y, w.names };
    if (rc == FL_OK)
        rc = folds_run(&a, &w, &tiles, &err);
    if (rc == FL_OK)
        rc = folds_report(&a, &w, &tiles, &err);
    if (rc != FL_OK)
        fprintf(stderr, "flowrun folds: %s: %s\n", fl_status_name(rc), err.text);
    folds_work_done(&w);
    return rc == FL_OK ? 0 : rc == FL_E_CONFIG ? 2 : 1;
}
