/* flowrun folds: cuts a label table into folds of a cross-validation and says how the labels came to lie. */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launch/cmd.h"
#include "launch/folds.h"
#include "launch/raw.h"
#include "runtime/csv.h"
#include "runtime/index.h"
#include "runtime/labels.h"
#include "runtime/predictions.h"
#include "runtime/text.h"

enum { FOLDS_LOOP, FOLDS_ITERATIVE, FOLDS_KFOLD, FOLDS_GROUP };

struct folds_args { const char *table, *folds, *seed, *groups, *names, *out, *svg; int method; bool allow_empty; };

struct folds_work {
    struct fl_truth truth;
    char    *own[FL_MAX_LABELS]; const char *names[FL_MAX_LABELS]; uint32_t L;      /* own: those of --names */
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

/* ---- arguments ---- */

static bool folds_whole(const char *text, uint64_t least, uint64_t most, uint64_t *v)
{
    char *end;
    errno = 0;
    *v = strtoull(text, &end, 10);
    return text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0 && *v >= least && *v <= most;
}

static int folds_numbers(const struct fl_raw *cmd, const struct folds_args *a, struct folds_work *w)
{
    uint64_t k = 10;
    w->seed = 42;
    if (a->folds != NULL && !folds_whole(a->folds, 2, 65535, &k))
        return fl_raw_wrong(cmd, "--folds %s, want a number from 2 to 65535", a->folds);
    if (a->seed != NULL && !folds_whole(a->seed, 0, UINT64_MAX, &w->seed))
        return fl_raw_wrong(cmd, "--seed %s, want a number from 0 up", a->seed);
    if (a->method == FOLDS_GROUP && a->groups == NULL)
        return fl_raw_wrong(cmd, "--method group needs --groups");
    w->k = (uint32_t)k;
    return 0;
}

/* ---- tables ---- */

static int folds_names(const struct folds_args *a, struct folds_work *w, struct fl_err *err)
{
    w->L = FL_DEFAULT_NLABELS;
    if (a->names != NULL && fl_labels_split(a->names, w->own, &w->L, err) != FL_OK)
        return fl_err_context(err, "--names");
    for (uint32_t l = 0; l < w->L; l++)
        w->names[l] = a->names != NULL ? w->own[l] : fl_default_labels[l];
    return FL_OK;
}

static int folds_read(const struct folds_args *a, struct folds_work *w, struct fl_err *err)
{
    int rc = folds_names(a, w, err);
    if (rc == FL_OK)
        rc = fl_truth_read(a->table, w->L, w->names, 0, UINT32_MAX, a->allow_empty, &w->truth, err);
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
    if (a->method == FOLDS_ITERATIVE)
        return fl_folds_iterative(items, w->k, w->seed, fold, err);
    return a->method == FOLDS_KFOLD ? fl_folds_random(items, w->k, w->seed, fold, err) : fl_folds_loop(items, w->k, w->seed, fold, err);
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
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    if (f != NULL)
        fputs("image_name,fold\n", f);
    for (uint64_t i = 0; f != NULL && i < w->truth.n; i++)
        fprintf(f, "%s,%u\n", w->ids[i], w->fold[i]);
    bool whole = f != NULL && ferror(f) == 0;
    if (f != NULL && fclose(f) != 0)
        whole = false;
    int rc = whole ? fl_write_file(path, 0666, text, len, err) : fl_err_set(err, FL_E_NOMEM, "%s: no memory", path);
    free(text);
    return rc;
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
    for (uint32_t l = 0; l < FL_MAX_LABELS; l++)
        free(w->own[l]);
    fl_truth_free(&w->truth);
}

int fl_cmd_folds(int argc, char **argv)
{
    struct folds_args a = { .method = FOLDS_LOOP };
    const struct fl_raw_opt opts[] = {
        { "--method", "NAME", FL_RAW_CHOICE, &a.method, "loop|iterative|kfold|group", "loop (default), iterative (Sechidis et al. 2011), kfold (at random), or group (loop over groups)" },
        { "--folds", "K", FL_RAW_TEXT, &a.folds, NULL, "how many (10)" },
        { "--seed", "N", FL_RAW_TEXT, &a.seed, NULL, "of every draw (42)" },
        { "--groups", "TABLE", FL_RAW_TEXT, &a.groups, NULL, "image_name,group: tiles of one group (a scene) stay together; the method cuts groups" },
        { "--names", "A,B,...", FL_RAW_TEXT, &a.names, NULL, "the label set, where it is not the default one" },
        { "--allow-empty", NULL, FL_RAW_FLAG, &a.allow_empty, NULL, "a tile may have no label at all" },
        { "--out", "FILE.csv", FL_RAW_TEXT, &a.out, NULL, "writes image_name,fold" },
        { "--svg", "FILE", FL_RAW_TEXT, &a.svg, NULL, "writes a histogram of the labels for each fold" },
        { 0 }
    };
    const struct fl_raw cmd = {
        .name = "folds", .usage = "LABELS [--method NAME] [--folds K] [--seed N] [--groups TABLE] [--names A,B,...] [--out FILE.csv] [--svg FILE]", .opts = opts,
        .min = 1, .max = 1, .want = "a label table",
        .help = "Cuts the tiles of a label table into folds with as even a share of every label as can be, and prints how they lie.\n\n"
                "  LABELS                   CSV (.gz too): image_name,tags or image_name and one column of 0 and 1 a label",
    };
    struct folds_work w = { 0 };
    struct fl_err err = { 0 };
    uint32_t n;
    int status = fl_raw_read(&cmd, argc, argv, &a.table, &n);
    if (status < 0)
        status = folds_numbers(&cmd, &a, &w);
    if (status != 0 || a.table == NULL)
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
