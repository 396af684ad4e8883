/* Puts the files of a model's folds together, and refuses what would leak. */
#include "runtime/assemble.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "runtime/merge.h"

const char *const fl_split_names[] = { "val", "test" };
static const char *const assemble_merges[] = { "mean", "gmean", "logit_mean" };

struct assemble {
    const struct fl_assemble *how;
    uint32_t K;
    const char *paths[FL_MAX_FOLDS];            /* by fold; borrowed */
    struct fl_predictions part[FL_MAX_FOLDS];   /* by fold, sorted */
};

/* ---- what the files say of themselves ---- */

static int assemble_states(const struct assemble *a, const char *path, int32_t place, struct fl_pred_meta *m, struct fl_err *err)
{
    const char *split = fl_split_names[a->how->split];
    if (m->split[0] != '\0' && strcmp(m->split, split) != 0)
        return fl_err_set(err, FL_E_LABEL, "%s: it states the split %s, want %s", path, m->split, split);
    if (m->fold >= 0 && place >= 0 && m->fold != place)
        return fl_err_set(err, FL_E_LABEL, "%s: it states fold %d, but lies in fold_%d", path, m->fold, place);
    if (m->fold < 0)
        m->fold = place;
    return FL_OK;
}

static bool assemble_shares(const struct fl_pred_meta *x, const struct fl_pred_meta *y)
{
    for (uint32_t i = 0; i < x->nsnapshots; i++)
        for (uint32_t j = 0; j < y->nsnapshots; j++)
            if (strcmp(x->snapshots[i], y->snapshots[j]) == 0)
                return true;
    return false;
}

/* All folds by the same model, in the same manner, by different weights. */
static int assemble_alike(const struct assemble *a, struct fl_err *err)
{
    for (uint32_t k = 1; k < a->K; k++)
        for (uint32_t j = 0; j < k; j++) {
            const struct fl_pred_meta *x = &a->part[j].meta, *y = &a->part[k].meta;
            if (x->model[0] != '\0' && y->model[0] != '\0' && strcmp(x->model, y->model) != 0)
                return fl_err_set(err, FL_E_LABEL, "%s is of the model %s, %s of %s", a->paths[j], x->model, a->paths[k], y->model);
            if (x->tta[0] != '\0' && y->tta[0] != '\0' && strcmp(x->tta, y->tta) != 0)
                return fl_err_set(err, FL_E_LABEL, "%s has the test-time views %s, %s has %s", a->paths[j], x->tta, a->paths[k], y->tta);
            if (assemble_shares(x, y))
                return fl_err_set(err, FL_E_LABEL, "%s and %s come from the same snapshot: it was trained on the tiles of one of the folds %u and %u",
                                  a->paths[j], a->paths[k], j, k);
        }
    return FL_OK;
}

/* ---- val ---- */

static int assemble_place(const struct fl_folds *folds, const struct fl_predictions *p, const char *path, int32_t fold, uint8_t *seen, struct fl_err *err)
{
    for (uint64_t i = 0; i < p->n; i++) {
        int64_t at = fl_folds_find(folds, p->ids[i], strlen(p->ids[i]));
        if (at < 0 || folds->fold[at] == FL_NO_FOLD)
            return fl_err_set(err, FL_E_LABEL, "%s: %s is not in the fold table", path, p->ids[i]);
        if (fold >= 0 && folds->fold[at] != (uint32_t)fold)
            return fl_err_set(err, FL_E_LABEL, "%s: %s is of fold %u, but stands in the file of fold %d", path, p->ids[i], folds->fold[at], fold);
        seen[at] = 1;      /* twice is impossible: within a file ids differ, and a tile is of one fold */
    }
    return FL_OK;
}

static int assemble_all_seen(const struct fl_folds *folds, const uint8_t *seen, const char *path, struct fl_err *err)
{
    uint32_t missing = 0, first = 0;
    for (uint32_t i = folds->n; i-- > 0; )
        if (!seen[i] && folds->fold[i] != FL_NO_FOLD) {
            missing++;
            first = i;
        }
    if (missing == 0)
        return FL_OK;
    return fl_err_set(err, FL_E_LABEL, "%s: %u of the fold table's %u tiles have no prediction, the first is %s of fold %u", path, missing, folds->n,
                      folds->ids[first], folds->fold[first]);
}

static int assemble_partition(const struct assemble *a, struct fl_err *err)
{
    const struct fl_folds *folds = a->how->folds;
    if (a->K != folds->k)
        return fl_err_set(err, FL_E_LABEL, "%s ...: %u folds, the fold table has %u", a->paths[0], a->K, folds->k);
    uint8_t *seen = calloc(folds->n, 1);
    int rc = seen != NULL ? FL_OK : fl_err_set(err, FL_E_NOMEM, "no memory for %u tiles", folds->n);
    for (uint32_t k = 0; rc == FL_OK && k < a->K; k++)
        rc = assemble_place(folds, &a->part[k], a->paths[k], (int32_t)k, seen, err);
    if (rc == FL_OK)
        rc = assemble_all_seen(folds, seen, a->paths[0], err);
    free(seen);
    return rc;
}

static int assemble_join(const struct assemble *a, struct fl_predictions *out, struct fl_err *err)
{
    for (uint32_t k = 0; k < a->K; k++)
        for (uint64_t i = 0; i < a->part[k].n; i++) {
            int rc = fl_predictions_add(out, a->part[k].ids[i], a->part[k].p + i * out->L, err);
            if (rc != FL_OK)
                return rc;
        }
    return fl_predictions_sort(out, err);
}

/* ---- test ---- */

static int assemble_no_train(const struct fl_folds *folds, const struct fl_predictions *p, const char *path, struct fl_err *err)
{
    for (uint64_t i = 0; folds != NULL && i < p->n; i++)
        if (fl_folds_find(folds, p->ids[i], strlen(p->ids[i])) >= 0)
            return fl_err_set(err, FL_E_LABEL, "%s: %s is a tile of the fold table: all models but one were trained on it", path, p->ids[i]);
    return FL_OK;
}

static int assemble_same_ids(const struct assemble *a, struct fl_err *err)
{
    const struct fl_predictions *x = &a->part[0];
    for (uint32_t k = 1; k < a->K; k++) {
        const struct fl_predictions *y = &a->part[k];
        for (uint64_t i = 0; i < x->n || i < y->n; i++) {
            int c = i == x->n ? 1 : i == y->n ? -1 : strcmp(x->ids[i], y->ids[i]);
            if (c != 0)
                return fl_err_set(err, FL_E_LABEL, "%s is in %s, but not in %s", c < 0 ? x->ids[i] : y->ids[i], a->paths[c < 0 ? 0 : k], a->paths[c < 0 ? k : 0]);
        }
    }
    return FL_OK;
}

static int assemble_average(const struct assemble *a, struct fl_predictions *out, struct fl_err *err)
{
    for (uint64_t i = 0; i < a->part[0].n; i++) {
        float row[FL_MAX_LABELS];
        for (uint32_t l = 0; l < out->L; l++) {
            double v[FL_MAX_FOLDS];
            for (uint32_t k = 0; k < a->K; k++)
                v[k] = a->part[k].p[i * out->L + l];
            row[l] = (float)fl_merge(a->how->merge, a->K, v, 1);
        }
        int rc = fl_predictions_add(out, a->part[0].ids[i], row, err);
        if (rc != FL_OK)
            return rc;
    }
    return FL_OK;
}

/* ---- both ---- */

static void assemble_meta(const struct assemble *a, struct fl_pred_meta *m)
{
    const struct fl_pred_meta *first = &a->part[0].meta;
    *m = *first;
    m->nsnapshots = 0;
    memset(m->snapshots, 0, sizeof m->snapshots);
    bool room = true;
    for (uint32_t k = 0; k < a->K; k++) {
        const struct fl_pred_meta *x = &a->part[k].meta;
        for (uint32_t i = 0; i < x->nsnapshots && (room = m->nsnapshots < FL_PRED_MAX_SNAPSHOTS); i++)
            memcpy(m->snapshots[m->nsnapshots++], x->snapshots[i], sizeof x->snapshots[i]);
        if (x->n_views != m->n_views)
            m->n_views = 0;
        if (strcmp(x->member, m->member) != 0)
            memset(m->member, 0, sizeof m->member);
        if (strcmp(x->merge, m->merge) != 0)
            memset(m->merge, 0, sizeof m->merge);
    }
    if (!room) {      /* some of them would look like all of them */
        m->nsnapshots = 0;
        memset(m->snapshots, 0, sizeof m->snapshots);
    }
    m->fold = -1;
    memset(m->split, 0, sizeof m->split);
    strcpy(m->split, fl_split_names[a->how->split]);
    if (a->how->split == FL_SPLIT_TEST && a->K > 1) {
        memset(m->merge, 0, sizeof m->merge);
        strcpy(m->merge, assemble_merges[a->how->merge]);
    }
    memset(m->created_by, 0, sizeof m->created_by);
    snprintf(m->created_by, sizeof m->created_by, "flowrun %s", FL_VERSION);
}

static int assemble_whole(const struct assemble *a, struct fl_predictions *res, struct fl_err *err)
{
    struct fl_predictions out = { .meta.fold = -1 };
    int rc = assemble_alike(a, err);
    if (rc == FL_OK && a->how->split == FL_SPLIT_VAL)
        rc = assemble_partition(a, err);
    else if (rc == FL_OK)
        rc = assemble_no_train(a->how->folds, &a->part[0], a->paths[0], err);
    if (rc == FL_OK && a->how->split == FL_SPLIT_TEST)
        rc = assemble_same_ids(a, err);
    for (uint32_t l = 0; rc == FL_OK && l < a->part[0].L; l++)
        rc = fl_predictions_label(&out, a->part[0].labels[l], err);
    if (rc == FL_OK)
        rc = a->how->split == FL_SPLIT_VAL ? assemble_join(a, &out, err) : assemble_average(a, &out, err);
    assemble_meta(a, &out.meta);
    if (rc == FL_OK)
        *res = out;
    else
        fl_predictions_free(&out);
    return rc;
}

/* Reads one file into the place of its fold. The first file rules the label set where the caller doesn't. */
static int assemble_read(struct assemble *a, const char *path, struct fl_pred_want *want, const struct fl_predictions **first, struct fl_err *err)
{
    struct fl_predictions p;
    int rc = fl_predictions_read(path, want, &p, err);
    if (rc != FL_OK)
        return rc;
    rc = assemble_states(a, path, fl_fold_of_path(path), &p.meta, err);
    int32_t k = p.meta.fold;
    if (rc == FL_OK && (k < 0 || k >= (int32_t)FL_MAX_FOLDS))
        rc = fl_err_set(err, FL_E_LABEL, "%s: neither the file nor its path (.../fold_K/...) says which fold it is of", path);
    if (rc == FL_OK && a->paths[k] != NULL)
        rc = fl_err_set(err, FL_E_LABEL, "%s and %s are both of fold %d", a->paths[k], path, k);
    if (rc == FL_OK)
        rc = fl_predictions_sort(&p, err);
    if (rc != FL_OK) {
        fl_predictions_free(&p);
        return rc;
    }
    a->paths[k] = path;
    a->part[k] = p;
    if (*first == NULL && want->L == 0) {
        want->L = p.L;
        want->labels = (const char *const *)a->part[k].labels;
    }
    *first = &a->part[k];
    return FL_OK;
}

int fl_assemble_files(const char *const *paths, uint32_t n, const struct fl_assemble *how, struct fl_predictions *out, struct fl_err *err)
{
    struct fl_pred_want want = how->want;
    const struct fl_predictions *first = NULL;
    if (how->split == FL_SPLIT_VAL && how->folds == NULL)
        return fl_err_set(err, FL_E_CONFIG, "out of fold is against a fold table: name it");
    if (n < 2 || n > FL_MAX_FOLDS)
        return fl_err_set(err, FL_E_LABEL, "%s: %u folds, want 2 to %u", n > 0 ? paths[0] : "", n, FL_MAX_FOLDS);
    struct assemble *a = calloc(1, sizeof *a);
    int rc = a != NULL ? FL_OK : fl_err_set(err, FL_E_NOMEM, "no memory for %u folds", n);
    if (a == NULL)
        return rc;
    a->how = how;
    a->K = n;
    for (uint32_t i = 0; rc == FL_OK && i < n; i++)
        rc = assemble_read(a, paths[i], &want, &first, err);
    for (uint32_t k = 0; rc == FL_OK && k < n; k++)
        if (a->paths[k] == NULL)
            rc = fl_err_set(err, FL_E_LABEL, "%s ...: %u files, but none of fold %u", paths[0], n, k);
    if (rc == FL_OK)
        rc = assemble_whole(a, out, err);
    for (uint32_t k = 0; k < FL_MAX_FOLDS; k++)
        fl_predictions_free(&a->part[k]);
    free(a);
    return rc;
}

/* ---- one file, or a folder ---- */

/* One file with the predictions of all folds. */
static int assemble_single(const char *path, const struct fl_assemble *how, struct fl_predictions *res, struct fl_err *err)
{
    struct fl_predictions p;
    struct assemble a = { .how = how };
    int rc = fl_predictions_read(path, &how->want, &p, err);
    if (rc != FL_OK)
        return rc;
    rc = assemble_states(&a, path, -1, &p.meta, err);
    if (rc == FL_OK && p.meta.fold >= 0 && how->split == FL_SPLIT_VAL)
        rc = fl_err_set(err, FL_E_LABEL, "%s: holds fold %d alone", path, p.meta.fold);
    uint8_t *seen = rc == FL_OK && how->folds != NULL ? calloc(how->folds->n, 1) : NULL;
    if (rc == FL_OK && how->split == FL_SPLIT_TEST)
        rc = assemble_no_train(how->folds, &p, path, err);
    else if (rc == FL_OK && how->folds != NULL)
        rc = seen == NULL ? fl_err_set(err, FL_E_NOMEM, "no memory") : assemble_place(how->folds, &p, path, -1, seen, err);
    if (rc == FL_OK && how->split == FL_SPLIT_VAL && how->folds != NULL)
        rc = assemble_all_seen(how->folds, seen, path, err);
    free(seen);
    if (rc == FL_OK)
        rc = fl_predictions_sort(&p, err);
    if (rc == FL_OK)
        *res = p;
    else
        fl_predictions_free(&p);
    return rc;
}

int fl_assemble(const char *path, const struct fl_assemble *how, struct fl_predictions *out, struct fl_err *err)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return fl_err_set(err, FL_E_INPUT, "%s: %s", path, strerror(errno));
    return S_ISDIR(st.st_mode) ? fl_assemble_folder(path, how, out, err) : assemble_single(path, how, out, err);
}
