/* The list of a source: options, tables, folds, order. */
#include "stages/source/list.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/batch.h"
#include "runtime/stage.h"
#include "runtime/folds.h"

/* ---- the list ---- */

static int source_csv(struct source *s, struct fl_err *err)
{
    struct fl_truth t;
    int rc = fl_truth_read(s->csv, 0, NULL, 0, FL_NO_LABEL, 1, &t, err);
    if (rc != FL_OK)
        return rc;
    size_t flen = strlen(s->folder);
    const char *slash = flen > 0 && s->folder[flen - 1] == '/' ? "" : "/", *dot = s->ext[0] == '.' ? "" : ".";
    char path[4200];
    for (uint64_t i = 0; rc == FL_OK && i < t.n; i++) {
        if ((size_t)snprintf(path, sizeof path, "%s%s%s%s%s", s->folder, slash, t.ids[i], dot, s->ext) >= sizeof path)
            rc = fl_err_set(err, FL_E_CONFIG, "%.300s...: a path over 4096 bytes", path);
        else
            rc = fl_inputs_path(&s->in, path, err);
    }
    fl_truth_free(&t);
    return rc;
}

static int source_files(struct source *s, struct fl_err *err)
{
    for (char **f = s->files; *f != NULL; f++) {
        int rc = fl_inputs_add(&s->in, *f, err);
        if (rc != FL_OK)
            return rc;
    }
    return FL_OK;
}

/* `shuffle: true` takes the graph's seed, `shuffle: 7` its own. A value from the command line comes as text. */
static int source_seed(const json_t *v, uint64_t *seed, bool *shuffled, struct fl_err *err)
{
    const char *text = json_is_string(v) ? json_string_value(v) : "";
    char *end = "";
    *shuffled = true;
    if (v == NULL || json_is_null(v) || json_is_false(v) || strcmp(text, "false") == 0)
        *shuffled = false;
    else if (json_is_integer(v) && json_integer_value(v) >= 0)
        *seed = (uint64_t)json_integer_value(v);
    else if (text[0] >= '0' && text[0] <= '9')
        *seed = strtoull(text, &end, 10);
    else if (!json_is_true(v) && strcmp(text, "true") != 0)
        end = "?";
    return *end == '\0' ? FL_OK : fl_err_set(err, FL_E_CONFIG, "option shuffle: want true, false or a seed from 0 up");
}

static int source_options(const struct source *s, struct fl_err *err)
{
    bool files = s->files != NULL && s->files[0] != NULL, shuffled;
    uint64_t seed;
    if (files == (s->csv != NULL))
        return fl_err_set(err, FL_E_CONFIG, files ? "options files and csv exclude each other" : "one of the options files and csv must be given");
    if (s->csv != NULL && s->folder == NULL)
        return fl_err_set(err, FL_E_CONFIG, "option csv needs folder: where the tiles lie");
    if (s->split != SOURCE_ALL && (s->folds == NULL || s->fold < 0))
        return fl_err_set(err, FL_E_CONFIG, "option split needs folds and fold: which table, and which of its folds");
    if (s->split == SOURCE_ALL && (s->folds != NULL || s->fold >= 0))
        return fl_err_set(err, FL_E_CONFIG, "options folds and fold are for split: train (all but the fold) or val (the fold)");
    if (s->balance == SOURCE_BY_LABEL && s->labels == NULL)
        return fl_err_set(err, FL_E_CONFIG, "option balance needs labels");
    return source_seed(s->shuffle, &seed, &shuffled, err);
}

/* ---- folds ---- */

static int source_split(struct source *s, struct fl_err *err)
{
    struct fl_folds folds;
    int rc = fl_folds_read(s->folds, s->fold_column, &folds, err);
    if (rc != FL_OK)
        return rc;
    uint8_t *keep = malloc(s->in.n + 1);
    if (keep == NULL)
        rc = fl_err_set(err, FL_E_NOMEM, "no memory for %llu tiles", (unsigned long long)s->in.n);
    else if (s->fold >= folds.k)
        rc = fl_err_set(err, FL_E_CONFIG, "option fold is %lld, but %.200s has folds 0 to %u", (long long)s->fold, s->folds, folds.k - 1);
    s->unfolded = 0;
    for (uint64_t i = 0; rc == FL_OK && i < s->in.n; i++) {
        size_t len;
        const char *id = fl_inputs_id(&s->in, i, &len);
        int64_t row = fl_folds_find(&folds, id, len);
        if (row < 0) {
            rc = fl_err_set(err, FL_E_LABEL, "%.200s: no row for tile %.*s (%.200s)", s->folds, (int)len, id, fl_inputs_at(&s->in, i));
            break;
        }
        uint32_t fold = folds.fold[row];
        s->unfolded += fold == FL_NO_FOLD;
        keep[i] = fold != FL_NO_FOLD && (fold == (uint32_t)s->fold) == (s->split == SOURCE_VAL);
    }
    if (rc == FL_OK)
        fl_inputs_keep(&s->in, keep);
    if (rc == FL_OK && s->in.n == 0)
        rc = fl_err_set(err, FL_E_INPUT, "%.200s: no tile of this source is in the %s of fold %lld", s->folds, s->split == SOURCE_VAL ? "rows" : "others",
                        (long long)s->fold);
    free(keep);
    fl_folds_free(&folds);
    return rc;
}

/* ---- all of it ---- */

static int source_epoch(struct source *s, struct fl_err *err)
{
    uint64_t B = (uint64_t)s->batch;
    s->rounds = s->last == SOURCE_DROP ? s->in.n / B : (s->in.n + B - 1) / B;
    s->rows = s->last == SOURCE_KEEP ? s->in.n : s->rounds * B;
    return s->rounds > 0 ? FL_OK : fl_err_set(err, FL_E_CONFIG, "option last: drop leaves nothing: %llu tiles, %lld in a batch", (unsigned long long)s->in.n,
                                              (long long)s->batch);
}

int source_list(struct source *s, struct fl_err *err)
{
    source_list_done(s);
    fl_inputs_init(&s->in, (size_t)s->path_max);
    int rc = source_options(s, err);
    if (rc == FL_OK && s->rename != NULL)
        rc = fl_inputs_renames(&s->in, s->rename, err);
    if (rc == FL_OK)
        rc = s->csv != NULL ? source_csv(s, err) : source_files(s, err);
    if (rc == FL_OK && s->in.n == 0)
        rc = fl_err_set(err, FL_E_INPUT, "%s: no tiles", s->csv);
    if (rc == FL_OK)
        rc = fl_inputs_check(&s->in, err);
    if (rc == FL_OK && s->split != SOURCE_ALL)
        rc = source_split(s, err);
    return rc == FL_OK ? source_epoch(s, err) : rc;
}

/* ---- labels ---- */

int source_labels(struct source *s, uint32_t L, const char *const *labels, uint64_t exclusive, uint32_t rest_off, struct fl_err *err)
{
    fl_truth_free(&s->truth);
    int rc = fl_truth_read(s->labels, L, labels, exclusive, rest_off, s->allow_empty, &s->truth, err);
    for (uint64_t i = 0; rc == FL_OK && i < s->in.n; i++) {
        char id[FL_ID_SIZE] = { 0 };
        size_t len;
        const char *p = fl_inputs_id(&s->in, i, &len);
        memcpy(id, p, len);
        if (fl_truth_find(&s->truth, id) < 0)
            rc = fl_err_set(err, FL_E_LABEL, "%.200s: no row for tile %s (%.200s)", s->labels, id, fl_inputs_at(&s->in, i));
    }
    return rc;
}

/* ---- order ---- */

static int source_balance(struct source *s, struct fl_err *err)
{
    uint32_t L = s->truth.L;
    uint8_t *y = malloc(s->in.n * L);
    if (y == NULL)
        return fl_err_set(err, FL_E_NOMEM, "no memory to balance %llu tiles", (unsigned long long)s->in.n);
    for (uint64_t i = 0; i < s->in.n; i++) {
        char id[FL_ID_SIZE] = { 0 };
        size_t len;
        const char *p = fl_inputs_id(&s->in, i, &len);
        memcpy(id, p, len);
        memcpy(y + i * L, s->truth.y + (uint64_t)fl_truth_find(&s->truth, id) * L, L);
    }
    int rc = fl_order_balance(&s->order, y, L, err);
    free(y);
    return rc;
}

/* A table's tiles come as they stand in it, all others in natural order, unless they are shuffled. */
int source_order(struct source *s, uint64_t seed, struct fl_err *err)
{
    bool shuffled;
    int rc = source_seed(s->shuffle, &seed, &shuffled, err);
    if (rc != FL_OK)
        return rc;
    if (s->csv == NULL && !(shuffled && s->epochs == 1))
        fl_inputs_sort(&s->in);
    s->order.in = &s->in;
    s->order.seed = seed;
    s->order.shuffled = shuffled && s->epochs > 1;
    if (shuffled && s->epochs == 1)
        rc = fl_inputs_shuffle(&s->in, seed, 0, err);
    return rc == FL_OK && s->balance == SOURCE_BY_LABEL ? source_balance(s, err) : rc;
}

void source_list_done(struct source *s)
{
    fl_order_done(&s->order);
    fl_inputs_done(&s->in);
    fl_truth_free(&s->truth);
}
