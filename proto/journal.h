/* The journal: what a sink has committed, batch by batch, in DIR/00000000.j, 00000001.j, ... (segments, append-only).
 *
 * A segment is a header (magic, version, run, L) and records. A record is a whole batch or it is nothing: its header and
 * its payload carry a CRC-32C each. Opening for writing cuts off what a torn write left at the end of the last segment;
 * damage anywhere else costs the batches it hit, which then count as never committed. A batch is kept once.
 *
 * Memory: 8 bytes a batch for the index, and one record. Little-endian throughout:
 *
 *   segment 64 bytes: "FLJOURNL", u32 version, u32 size of this header, u64 run, u32 L, u32 number of the segment,
 *                     zeros, u32 CRC of the 60 bytes before
 *   record  36 bytes: "FLJR", u32 length of payload, u64 batch, u32 attempt, u32 n, u32 rejected, u32 columns,
 *                     u32 CRC of the 32 bytes before; then payload, then u32 CRC of the payload, going on from the first
 *   tile:             u64 ordinal, u8 length, id, u8 status (0, or the code without its sign), then
 *                     rejected: u8 length, reason. predicted: f32[L] prob, pred, f64 ef2, truth (those in columns;
 *                     pred and truth are (L + 7) / 8 bytes, label l in bit l) */
#ifndef FL_PROTO_JOURNAL_H
#define FL_PROTO_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/batch.h"
#include "proto/status.h"

#define FL_JOURNAL_LABELS  64u                          /* most labels */
#define FL_JOURNAL_BATCHES (UINT64_C(1) << 32)          /* batch numbers stay below */
#define FL_JOURNAL_NONE    UINT64_MAX

enum { FL_JOURNAL_PROB = 1, FL_JOURNAL_PRED = 2, FL_JOURNAL_EF2 = 4, FL_JOURNAL_TRUTH = 8 };   /* columns of a record */

struct fl_journal;

struct fl_journal_conf {
    uint32_t L;             /* labels; 0 when read-only: whatever the journal has */
    uint64_t segment;       /* bytes at which a new segment begins; 0: 1 GiB */
    bool     readonly;      /* changes nothing on disk; a folder that isn't there is an empty journal */
};

/* A tile. Reading: the pointers are good until the next call on the record. */
struct fl_journal_tile {
    uint64_t     ordinal;
    const char  *id;        /* at most FL_ID_SIZE - 1 bytes */
    int          status;    /* 0: predicted, else the FL_E_* code it was rejected with */
    const char  *reason;    /* of a rejected tile, "" otherwise; cut to FL_REASON_SIZE - 1 bytes */
    const float *prob;      /* [L]; NULL where the record has no such column */
    uint64_t     pred, truth;   /* label l in bit l */
    double       ef2;
};

struct fl_journal_sum {
    uint64_t batches, tiles, rejected;
    uint64_t damaged;       /* places where bytes had to be skipped */
    uint64_t cut;           /* bytes taken off the torn end */
};

/* Opens or begins the journal in folder `dir` (made when missing) and finds out which batches it holds. One process writes
 * at a time; who is dying is waited for, 5 s at most. FL_E_IO, FL_E_INPUT (not a journal, other version, a segment missing), FL_E_CONFIG (other number of labels). */
int  fl_journal_open(const char *dir, const struct fl_journal_conf *, struct fl_journal **out, struct fl_err *err);
/* Forgets what was not synced. Accepts NULL. */
void fl_journal_close(struct fl_journal *);
struct fl_journal_sum fl_journal_sum(const struct fl_journal *);

/* ---- writing: begin, n times add, end. After an error the journal takes nothing more. ---- */

/* FL_END: the batch is there already, nothing is to be added. */
int  fl_journal_begin(struct fl_journal *, uint64_t run, uint64_t batch, uint32_t attempt, uint32_t columns, struct fl_err *err);
int  fl_journal_add(struct fl_journal *, const struct fl_journal_tile *, struct fl_err *err);
/* The record is whole but may lie in memory still; it is found and read from now on. */
int  fl_journal_end(struct fl_journal *, struct fl_err *err);
/* What has ended is on disk when this returns FL_OK. */
int  fl_journal_sync(struct fl_journal *, struct fl_err *err);

/* ---- reading ---- */

/* Smallest batch >= from that is there, or FL_JOURNAL_NONE. */
uint64_t fl_journal_after(const struct fl_journal *, uint64_t from);

/* A record being read. Zeroed at first, used for any number of batches, then done. */
struct fl_journal_rec {
    uint64_t batch;
    uint32_t attempt, n, rejected, columns, L;
    uint32_t row, seen_rejected;
    const uint8_t *p, *end;
    uint8_t *buf;
    size_t   cap;
    char     id[FL_ID_SIZE], reason[FL_REASON_SIZE];
    float    prob[FL_JOURNAL_LABELS];
};

/* Header alone (n, rejected, attempt). FL_END: the batch isn't there. */
int  fl_journal_peek(struct fl_journal *, uint64_t batch, struct fl_journal_rec *, struct fl_err *err);
/* The whole record, proven again. FL_END: the batch isn't there. */
int  fl_journal_read(struct fl_journal *, uint64_t batch, struct fl_journal_rec *, struct fl_err *err);
/* Next tile of the record; FL_END after the last; FL_E_INPUT when the payload is not what the header says. */
int  fl_journal_next(struct fl_journal_rec *, struct fl_journal_tile *, struct fl_err *err);
void fl_journal_rec_done(struct fl_journal_rec *);

/* The batches that the journal in `dir` holds, ascending, malloc'd (NULL when none), without changing anything. `sum` may be NULL. */
int  fl_journal_committed(const char *dir, uint64_t **batches, uint64_t *n, struct fl_journal_sum *sum, struct fl_err *err);

#endif
