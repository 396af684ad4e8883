/* Recordings: batches of one edge as they travelled, in DIR/EDGE.0000.flr, EDGE.0001.flr, ... (segments; docs/recording.md).
 *
 * A segment is only appended to. Each record is whole or it is nothing: its head is written after its tensors and carries a CRC-32C,
 * and so does every tensor. At the end of a segment that was finished stands an index; where it is missing or damaged it is made
 * again by walking over the heads. What a killed writer left at the end is passed over.
 *
 * Little-endian, everything begins at a multiple of 64:
 *
 *   segment  128 bytes: "FLRECORD", u32 version, u32 bytes up to the first record, u64 run, u32 number of the segment, u32 B,
 *            edge u8[32], u32 length of the text, zeros, at 124 u32 CRC of the 124 bytes before, going on over the text;
 *            then the text (JSON: what a person wants to know of the run), zeros
 *   record   40 bytes: "FLRC", u32 length of the wire header, u64 bytes of the whole record, u64 time in ns since 1970, u32 tensors,
 *            u32 0, u32 0, u32 CRC of these 36 bytes, going on over wire header and table; then the wire header
 *            (docs/protocol.md 5), then for each tensor u64 stored bytes, u32 codec (0 as it is, 1 zstd), u32 CRC of the stored bytes;
 *            then, each at a multiple of 64, the tensors in the order of the header
 *   index    64 bytes: "FLIX", u32 entries, zeros; then for each record u64 batch, u64 offset, u64 time, u32 attempt, u32 tiles;
 *            last, the file's last 32 bytes: "FLRCTAIL", u64 offset of the index, u32 entries, u32 CRC of the index with its 64 bytes,
 *            u32 0, u32 CRC of the 28 bytes before */
#ifndef FL_PROTO_RECORDING_H
#define FL_PROTO_RECORDING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/batch.h"
#include "proto/frame.h"
#include "proto/status.h"

#define FL_REC_TEXT_MAX  65536u          /* of a segment's text */
#define FL_REC_TENSOR    (UINT64_C(1) << 32)   /* bytes of one tensor, at most */
#define FL_REC_LAST      UINT32_MAX      /* as attempt: the last one */
#define FL_REC_NONE      UINT64_MAX

/* ---- writing ---- */

struct fl_rec_conf {
    const char *dir, *edge;              /* dir must be there; edge: at most 31 letters, digits, '_', '-', '.' */
    uint64_t run;
    uint32_t B;
    const char *text;                    /* JSON, NULL = {} */
    uint64_t segment;                    /* bytes at which a new segment begins; 0: 1 GiB */
    uint64_t limit;                      /* bytes of all segments together: beyond it the oldest goes; 0: none */
    int      zstd;                       /* level; 0: tensors are stored as they are */
};

struct fl_rec_out;

/* Begins behind the segments that are there; the first file is made by the first append. Texts are copied. */
int  fl_rec_out_new(const struct fl_rec_conf *, struct fl_rec_out **, struct fl_err *);
/* Writes b; all tensors must be mapped. head: b's header as it came, stored byte for byte; NULL: it is made from b.
 * After FL_E_IO the torn record is cut off again and another may be tried. */
int  fl_rec_append(struct fl_rec_out *, const struct fl_batch *b, const struct fl_frame *head, uint64_t time_ns, struct fl_err *);
/* All of that but the writing: nothing of b stays. FL_E_NOMEM, FL_E_CONFIG. */
int  fl_rec_try(struct fl_rec_out *, const struct fl_batch *b, const struct fl_frame *head, struct fl_err *);
/* Writes the index and closes the segment; the next append begins another. Nothing to do: FL_OK. */
int  fl_rec_finish(struct fl_rec_out *, struct fl_err *);
uint64_t fl_rec_out_bytes(const struct fl_rec_out *);      /* written so far */
uint32_t fl_rec_out_dropped(const struct fl_rec_out *);    /* segments that went because of the limit */
/* Closes without an index what was not finished. Accepts NULL. */
void fl_rec_out_free(struct fl_rec_out *);

/* ---- reading ---- */

struct fl_rec_entry { uint64_t batch, off, time; uint32_t attempt, n, file; };

struct fl_rec_info {
    char     edge[FL_NAME_MAX];
    uint64_t run;
    uint32_t B, files;
    const char *text;                    /* of the first segment; owned by the recording */
    uint64_t damaged;                    /* places where bytes had to be passed over */
    uint64_t torn;                       /* bytes at the ends of segments that are no whole record */
};

struct fl_rec;

/* One file, or DIR/EDGE for all its segments. FL_E_IO, FL_E_INPUT (no recording, another version, segments of different runs or edges). */
int  fl_rec_open(const char *path, struct fl_rec **, struct fl_err *);
void fl_rec_close(struct fl_rec *);                        /* accepts NULL */
const struct fl_rec_info *fl_rec_info(const struct fl_rec *);
/* Records in the order they were written. */
uint64_t fl_rec_count(const struct fl_rec *);
const struct fl_rec_entry *fl_rec_at(const struct fl_rec *, uint64_t i);
const char *fl_rec_file(const struct fl_rec *, uint32_t file);
/* Index of the record of this batch and attempt (FL_REC_LAST: the last that was written), or FL_REC_NONE. */
uint64_t fl_rec_find(const struct fl_rec *, uint64_t batch, uint32_t attempt);
/* The batches, each once, ascending: numbers of records, malloc'd, the last attempt of each. */
int  fl_rec_batches(const struct fl_rec *, uint64_t **records, uint64_t *n, struct fl_err *);

/* A record being read. Zeroed at first, used for any number of records, then done. */
struct fl_rec_batch {
    struct fl_batch b;                   /* data points into the record; place and off are those of the run that was recorded */
    struct fl_frame head;                /* the wire header as it was stored */
    uint64_t time;
    uint64_t stored[FL_MAX_TENSORS];     /* bytes each takes in the file */
    void    *mem;
    size_t   cap;
};

/* Head and tensors proven against their checksums. FL_E_INPUT, naming file, batch and what is damaged. */
int  fl_rec_read(struct fl_rec *, uint64_t i, struct fl_rec_batch *, struct fl_err *);
/* Without the tensors: data is NULL. */
int  fl_rec_peek(struct fl_rec *, uint64_t i, struct fl_rec_batch *, struct fl_err *);
void fl_rec_batch_done(struct fl_rec_batch *);

#endif
