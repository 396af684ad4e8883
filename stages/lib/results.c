/* From the journal to the result files and figures. */
#include "stages/lib/results.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

static void results_note(struct fl_results_note *note, const char *id)
{
    if (note->n++ == 0)
        snprintf(note->first, sizeof note->first, "%s", id);
}

static int results_mark_sample(struct fl_results *r, const struct fl_journal_tile *t, struct fl_err *err)
{
    int64_t row = fl_sample_find(r->sample, t->id);
    if (row < 0)
        return fl_err_set(err, FL_E_LABEL, "%s: not in the sample submission", t->id);
    if (r->sample->state[row] != FL_SAMPLE_MISSING)
        return fl_err_set(err, FL_E_LABEL, "%s: there twice, once in the sample submission", t->id);
    r->sample->state[row] = t->status == FL_OK ? FL_SAMPLE_PREDICTED : FL_SAMPLE_REJECTED;
    r->sample->pred[row] = t->status == FL_OK ? t->pred : 0;
    return FL_OK;
}

static void results_score(struct fl_results *r, const struct fl_journal_tile *t, uint32_t columns)
{
    if ((columns & FL_JOURNAL_EF2) && isfinite(t->ef2)) {
        r->expected_n++;
        r->expected += t->ef2;
    }
    if (!(columns & FL_JOURNAL_PRED))
        return;
    if (t->pred == 0)
        results_note(&r->empty, t->id);
    if (r->truth == NULL) {
        if (columns & FL_JOURNAL_TRUTH)
            fl_score_add(&r->score, t->truth, t->pred);
        return;
    }
    int64_t row = fl_truth_find(r->truth, t->id);
    if (row < 0) {
        results_note(&r->untold, t->id);
        return;
    }
    uint64_t truth = 0;
    for (uint32_t l = 0; l < r->L; l++)
        truth |= (uint64_t)(r->truth->y[(uint64_t)row * r->L + l] != 0) << l;
    fl_score_add(&r->score, truth, t->pred);
}

static void results_reject(struct fl_results *r, const struct fl_journal_tile *t)
{
    r->rejected++;
    for (int i = 0; i < FL_RESULTS_REJECTS; i++)
        if (r->rejects[i] != NULL)
            fl_pred_reject(r->rejects[i], t->id, t->reason);
    if (r->sample != NULL)
        results_note(&r->blank, t->id);
}

static int results_tile(struct fl_results *r, const struct fl_journal_tile *t, uint32_t columns, struct fl_err *err)
{
    int rc = r->sample != NULL ? results_mark_sample(r, t, err) : FL_OK;
    if (rc != FL_OK)
        return rc;
    if (t->status != FL_OK) {
        results_reject(r, t);
        return FL_OK;
    }
    if ((r->submission != NULL && !(columns & FL_JOURNAL_PRED)) || (r->probabilities != NULL && !(columns & FL_JOURNAL_PROB)))
        return fl_err_set(err, FL_E_CONFIG, "%s: the journal has no %s of this tile", t->id, columns & FL_JOURNAL_PRED ? "prob" : "pred");
    r->predicted++;
    results_score(r, t, columns);
    if (r->submission != NULL && r->sample == NULL)
        fl_pred_submission(r->submission, t->id, t->pred, r->L, r->labels);
    if (r->probabilities != NULL && r->table != NULL)
        return fl_predictions_add(r->table, t->id, t->prob, err);
    if (r->probabilities != NULL)
        fl_pred_probabilities(r->probabilities, t->id, t->prob, r->L);
    return FL_OK;
}

static int results_pass(struct fl_journal *j, struct fl_results *r, struct fl_journal_rec *rec, struct fl_err *err)
{
    uint64_t last = 0, seen = 0;
    for (uint64_t b = fl_journal_after(j, 0); b != FL_JOURNAL_NONE; b = fl_journal_after(j, b + 1)) {
        struct fl_journal_tile t;
        int rc = fl_journal_read(j, b, rec, err);
        while (rc == FL_OK && (rc = fl_journal_next(rec, &t, err)) == FL_OK) {
            if (seen++ > 0 && t.ordinal <= last)
                results_note(&r->disorder, t.id);
            last = t.ordinal;
            rc = results_tile(r, &t, rec->columns, err);
        }
        if (rc < 0)
            return rc;
        if (r->alive != NULL)
            r->alive(r->user);
    }
    return FL_OK;
}

static int results_by_sample(struct fl_results *r, struct fl_err *err)
{
    uint64_t missing = 0;
    uint32_t first = 0;
    for (uint32_t i = r->sample->n; i-- > 0;)
        if (r->sample->state[i] == FL_SAMPLE_MISSING) {
            missing++;
            first = i;
        }
    if (missing > 0)
        return fl_err_set(err, FL_E_LABEL, "%" PRIu64 " ids of the sample submission have no tile, the first is %s", missing, r->sample->ids[first]);
    for (uint32_t i = 0; r->submission != NULL && i < r->sample->n; i++)
        fl_pred_submission(r->submission, r->sample->ids[i], r->sample->pred[i], r->L, r->labels);
    return FL_OK;
}

static void results_heads(struct fl_results *r)
{
    if (r->submission != NULL)
        fl_pred_submission_head(r->submission);
    if (r->probabilities != NULL && r->table == NULL)
        fl_pred_probabilities_head(r->probabilities, r->L, r->labels);
    for (int i = 0; i < FL_RESULTS_REJECTS; i++)
        if (r->rejects[i] != NULL)
            fl_pred_rejects_head(r->rejects[i]);
}

int fl_results_write(struct fl_journal *j, struct fl_results *r, struct fl_err *err)
{
    struct fl_journal_rec rec = { 0 };
    results_heads(r);
    int rc = results_pass(j, r, &rec, err);
    fl_journal_rec_done(&rec);
    if (rc == FL_OK && r->sample != NULL)
        rc = results_by_sample(r, err);
    if (rc == FL_OK && r->probabilities != NULL && r->table != NULL)
        rc = fl_predictions_fill(r->probabilities, r->table, err);
    struct fl_pred_file *files[] = { r->submission, r->probabilities, r->rejects[0], r->rejects[1] };
    int n = sizeof files / sizeof *files;
    for (int i = 0; rc == FL_OK && i < n; i++)
        if (files[i] != NULL)
            rc = fl_pred_finish(files[i], err);
    for (int i = 0; rc == FL_OK && i < n; i++)
        if (files[i] != NULL)
            rc = fl_pred_commit(files[i], err);
    return rc;
}
