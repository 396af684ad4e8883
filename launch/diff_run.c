/* Differences between a run and its replay: recordings of an edge, journals of a sink. */
#include <inttypes.h>
#include <string.h>

#include "launch/diff.h"
#include "proto/journal.h"
#include "proto/recording.h"

uint32_t fl_diff_edge(const char *edge, const char *want, const char *got, unsigned how, uint64_t *compared)
{
    struct fl_rec *wr = NULL, *gr = NULL;
    struct fl_rec_batch w = { 0 }, g = { 0 };
    struct fl_err err = { 0 };
    uint32_t bad = 0;
    bool ok = fl_rec_open(want, &wr, &err) == FL_OK && fl_rec_open(got, &gr, &err) == FL_OK;
    for (uint64_t i = 0; ok && i < fl_rec_count(gr); i++) {
        uint64_t at = fl_rec_find(wr, fl_rec_at(gr, i)->batch, FL_REC_LAST);
        if (at == FL_REC_NONE)
            continue;
        ok = fl_rec_read(gr, i, &g, &err) == FL_OK && fl_rec_read(wr, at, &w, &err) == FL_OK;
        if (!ok)
            break;
        bad += fl_diff_batch(stdout, edge, &w.b, &g.b, how);
        ++*compared;
    }
    if (!ok)
        printf("%s: %s\n", edge, err.text);
    fl_rec_batch_done(&w);
    fl_rec_batch_done(&g);
    fl_rec_close(wr);
    fl_rec_close(gr);
    return bad + !ok;
}

bool fl_diff_same_tile(const struct fl_journal_tile *a, const struct fl_journal_tile *b, uint32_t L, unsigned how)
{
    bool prob = (a->prob == NULL) == (b->prob == NULL) && (a->prob == NULL || memcmp(a->prob, b->prob, L * sizeof *a->prob) == 0);
    return a->ordinal == b->ordinal && a->status == b->status && (how & FL_DIFF_MOVED || strcmp(a->reason, b->reason) == 0) &&
           (a->status != 0 || (prob && a->pred == b->pred && a->truth == b->truth && a->ef2 == b->ef2));
}

static uint32_t diff_journal_batch(struct fl_journal *want, struct fl_journal *got, const char *sink, unsigned how, uint64_t batch)
{
    struct fl_journal_rec w = { 0 }, g = { 0 };
    struct fl_journal_tile a, b;
    struct fl_err err = { 0 };
    uint32_t bad = 0;
    bool ok = fl_journal_read(want, batch, &w, &err) == FL_OK && fl_journal_read(got, batch, &g, &err) == FL_OK && w.n == g.n;
    while (ok && fl_journal_next(&w, &a, &err) == FL_OK) {
        ok = fl_journal_next(&g, &b, &err) == FL_OK;
        if (!ok || fl_diff_same_tile(&a, &b, w.L, how))
            continue;
        printf("batch %" PRIu64 ", %s: tile %s differs in the journal\n", batch, sink, a.id);
        bad++;
    }
    if (!ok)
        printf("batch %" PRIu64 ", %s: the journals don't hold the same tiles\n", batch, sink);
    fl_journal_rec_done(&w);
    fl_journal_rec_done(&g);
    return bad + !ok;
}

uint32_t fl_diff_sink(const char *sink, const char *want, const char *got, unsigned how, uint64_t *compared)
{
    struct fl_journal *w = NULL, *g = NULL;
    const struct fl_journal_conf conf = { .readonly = true };
    struct fl_err err = { 0 };
    uint32_t bad = 0;
    bool ok = fl_journal_open(want, &conf, &w, &err) == FL_OK && fl_journal_open(got, &conf, &g, &err) == FL_OK;
    for (uint64_t i = ok ? fl_journal_after(g, 0) : FL_JOURNAL_NONE; i != FL_JOURNAL_NONE; i = fl_journal_after(g, i + 1), ++*compared)
        bad += diff_journal_batch(w, g, sink, how, i);
    if (!ok)
        printf("%s: %s\n", sink, err.text);
    fl_journal_close(w);
    fl_journal_close(g);
    return bad + !ok;
}
