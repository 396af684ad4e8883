/* flowrun assemble: one model's predictions out of the files of its folds; or one file into another form. */
#include <stdio.h>
#include <stdlib.h>

#include "launch/cmd.h"
#include "launch/raw.h"
#include "runtime/assemble.h"
#include "runtime/merge.h"

struct assemble_args {
    const char *out, *folds, *column, *tta, *names, *rows, *columns, *group;
    int split, merge;
};

static int assemble_folds(const struct assemble_args *a, struct fl_folds *folds, struct fl_assemble *how, struct fl_err *err)
{
    if (a->folds == NULL)
        return how->split == FL_SPLIT_TEST ? FL_OK : fl_err_set(err, FL_E_CONFIG, "--split val wants --folds: out of fold is against a fold table");
    int rc = fl_folds_read(a->folds, a->column, folds, err);
    if (rc == FL_OK)
        how->folds = folds;
    uint32_t blank = 0;
    for (uint32_t i = 0; rc == FL_OK && i < folds->n; i++)
        blank += folds->fold[i] == FL_NO_FOLD;
    if (blank > 0)
        fprintf(stderr, "flowrun assemble: %s: %u rows without a fold are left out\n", a->folds, blank);
    return rc;
}

static int assemble_do(const struct assemble_args *a, const char **files, uint32_t n, struct fl_predictions *p, struct fl_err *err)
{
    struct fl_folds folds = { 0 };
    struct fl_assemble how = { .split = a->split, .merge = a->merge, .tta = a->tta, .want = { .columns = a->columns, .rows = a->rows, .group = a->group } };
    char *names[FL_MAX_LABELS];
    int rc = a->names != NULL ? fl_labels_split(a->names, names, &how.want.L, err) : FL_OK;
    if (rc != FL_OK)
        return fl_err_context(err, "--names");
    how.want.labels = (const char *const *)names;
    rc = assemble_folds(a, &folds, &how, err);
    if (rc == FL_OK)
        rc = n == 1 ? fl_assemble(files[0], &how, p, err) : fl_assemble_files(files, n, &how, p, err);
    for (uint32_t l = 0; l < how.want.L; l++)
        free(names[l]);
    fl_folds_free(&folds);
    return rc;
}

int fl_cmd_assemble(int argc, char **argv)
{
    struct assemble_args a = { .column = "fold", .split = -1 };
    const struct fl_raw_opt opts[] = {
        { "--split", "val|test", FL_RAW_CHOICE, &a.split, FL_SPLITS, "val: out of fold, the files' tiles together; test: averaged over the folds" },
        { "--out", "FILE", FL_RAW_TEXT, &a.out, NULL, "where to: .h5, .hdf5, .npy or .csv" },
        { "--folds", "TABLE", FL_RAW_TEXT, &a.folds, NULL, "fold table, image_name and a column of folds; split val needs it" },
        { "--fold-column", "NAME", FL_RAW_TEXT, &a.column, NULL, "its column (fold)" },
        { "--tta", "NAME", FL_RAW_TEXT, &a.tta, NULL, "which file of each fold, where a folder has several SPLIT_TTA" },
        { "--merge", "HOW", FL_RAW_CHOICE, &a.merge, FL_MERGE_CHOICES, "how the folds of split test are averaged: " FL_MERGE_CHOICES " (mean)" },
        { "--names", "A,B,...", FL_RAW_TEXT, &a.names, NULL, "the label set and the order of columns, where it is not the default one" },
        { "--rows", "TABLE|PATTERN", FL_RAW_TEXT, &a.rows, NULL, "of a plain .npy: a table whose image_name names its rows, or a pattern like train_{}" },
        { "--columns", "A,B,...", FL_RAW_TEXT, &a.columns, NULL, "of a plain .npy: its columns" },
        { "--group", "NAME", FL_RAW_TEXT, &a.group, NULL, "of HDF5 that pandas wrote: the group (prob, or the only one)" },
        { 0 }
    };
    const struct fl_raw cmd = {
        .name = "assemble", .usage = "MODEL|FILE... --split val|test --out FILE [--folds TABLE] ...", .opts = opts, .min = 1, .max = FL_MAX_FOLDS,
        .want = "a folder with fold_K/SPLIT_TTA.h5, or the files of its folds",
        .help = "Puts the predictions of a model's folds together, and refuses what would leak (docs/predictions.md).\n\n"
                "  MODEL                    a folder with fold_0/val_TTA.h5, fold_0/test_TTA.h5, fold_1/... (.hdf5, .npy, .csv, .csv.gz too)\n"
                "  FILE...                  these files instead; one file alone is written anew in another form",
    };
    const char *files[FL_MAX_FOLDS];
    struct fl_predictions p = { .meta.fold = -1 };
    struct fl_err err = { 0 };
    uint32_t n;
    int status = fl_raw_read(&cmd, argc, argv, files, &n);
    if (status >= 0)
        return status;
    if (a.split < 0 || a.out == NULL)
        return fl_raw_wrong(&cmd, "want %s", a.split < 0 ? "--split val or test" : "--out FILE");
    int rc = fl_predictions_writable(a.out) ? FL_OK : fl_err_set(&err, FL_E_CONFIG, "--out %s: want .h5, .hdf5, .npy or .csv", a.out);
    if (rc == FL_OK)
        rc = assemble_do(&a, files, n, &p, &err);
    if (rc == FL_OK)
        rc = fl_predictions_write(a.out, &p, &err);
    if (rc != FL_OK)
        fprintf(stderr, "flowrun assemble: %s: %s\n", fl_status_name(rc), err.text);
    else
        printf("%s: %llu tiles, %u labels\n", a.out, (unsigned long long)p.n, p.L);
    fl_predictions_free(&p);
    return rc == FL_OK ? 0 : rc == FL_E_CONFIG ? 2 : 1;
}
