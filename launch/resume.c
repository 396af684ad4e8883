/* What an earlier run has committed: read from the journals of its sinks. Where one keeps no journal, but wants every batch, all are issued
 * again; sinks drop what they have. */
#include <stdlib.h>

#include "launch/super.h"
#include "proto/journal.h"

bool fl_resume_has(const struct fl_super *s, uint64_t batch)
{
    return s->committed != NULL && s->committed[batch / 8] >> batch % 8 & 1;
}

/* A batch is done when the journals of all sinks that keep one hold it; a tile is rejected when any of them says so. */
static int resume_batch(struct fl_super *s, struct fl_journal **j, uint32_t n, struct fl_journal_rec *rec, uint64_t batch, struct fl_err *err)
{
    uint32_t rejected = 0;
    for (uint32_t i = 0; i < n; i++) {
        int rc = fl_journal_peek(j[i], batch, rec, err);
        if (rc != FL_OK)
            return rc == FL_END ? FL_OK : rc;
        rejected = rec->rejected > rejected ? rec->rejected : rejected;
    }
    s->committed[batch / 8] |= (unsigned char)(1u << batch % 8);
    s->resumed++;
    s->finished++;
    s->tiles_done += rec->n;
    s->tiles_before += rec->n;
    s->rejected += rejected;
    return FL_OK;
}

static bool resume_all(const struct fl_super *s)
{
    for (uint32_t i = 0; i < s->g->nstages; i++)
        if (s->g->stages[i].again)
            return true;
    return false;
}

static int resume_open(struct fl_super *s, struct fl_journal **j, uint32_t *n, struct fl_err *err)
{
    for (uint32_t i = 0; i < s->g->nstages; i++) {
        char dir[1300];
        if (!s->g->stages[i].sink || s->g->stages[i].tap)
            continue;
        snprintf(dir, sizeof dir, "%s/journal/%s", s->dir, s->g->stages[i].name);
        int rc = fl_journal_open(dir, &(struct fl_journal_conf){ .readonly = true }, &j[(*n)++], err);
        if (rc != FL_OK)
            return rc;
    }
    return *n > 0 ? FL_OK : fl_err_set(err, FL_E_CONFIG, "nothing here keeps a journal that says what is done: start the graph anew with --start BATCH");
}

int fl_resume_only(struct fl_super *s)
{
    s->committed = calloc(s->total / 8 + 1, 1);
    if (s->committed == NULL) {
        fl_super_fail(s, "flowrun", 0, "no memory");
        return FL_E_NOMEM;
    }
    for (uint64_t b = 0, k = 0; b < s->total; b++) {
        while (k < s->conf->nonly && s->conf->only[k] < b)
            k++;
        if (k == s->conf->nonly || s->conf->only[k] != b)
            s->committed[b / 8] |= (unsigned char)(1u << b % 8);
    }
    return FL_OK;
}

int fl_resume_read(struct fl_super *s)
{
    struct fl_err err = { 0 };
    struct fl_journal *j[64] = { NULL };       /* nsinks is at most 63 */
    struct fl_journal_rec rec = { 0 };
    uint32_t n = 0;
    s->committed = calloc(s->total / 8 + 1, 1);
    bool all = resume_all(s);
    int rc = s->committed == NULL ? fl_err_set(&err, FL_E_NOMEM, "resume") : all ? FL_OK : resume_open(s, j, &n, &err);
    for (uint64_t b = 0; rc == FL_OK && !all && b < s->total; b++)
        rc = resume_batch(s, j, n, &rec, b, &err);
    fl_journal_rec_done(&rec);
    for (uint32_t i = 0; i < n; i++)
        fl_journal_close(j[i]);
    if (rc != FL_OK)
        fl_super_fail(s, "flowrun", 0, err.text);
    return rc;
}
