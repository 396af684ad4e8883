/* A batch: up to B tiles on their way through the graph - who they are, and where their tensors lie.
 *
 * The struct is a descriptor of fixed size; it owns no pixels. A tensor lies in a slab: pool `place` (one
 * pool per producing stage), slot `slot` of the batch, `off` bytes from the slab's start. A batch holds one
 * slot, the same in every pool, from its issue to its end, so a slab belongs to a batch in flight, never to
 * a process. `gen` tells one use of a slot from the next. */
#ifndef FL_PROTO_BATCH_H
#define FL_PROTO_BATCH_H

#include <stddef.h>
#include <stdint.h>

#include "proto/dtype.h"

#define FL_MAX_TENSORS 256     /* in one batch; a join of many edges needs the room */
#define FL_NAME_MAX    32      /* tensor, stage and port names, with the NUL */
#define FL_ALIGN       64      /* of every tensor within a slab */

#define FL_ID_SIZE     64      /* a tile id, NUL padded: tensor "id" u8[B,64] */
#define FL_REASON_SIZE 192     /* "stage: text", NUL padded: tensor "reason" u8[B,192] */

struct fl_tensor {
    char     name[FL_NAME_MAX];
    uint8_t  dtype;                 /* enum fl_dtype */
    uint8_t  ndim;
    uint16_t edge;                  /* which input edge of a join it came by; 0 elsewhere. Not on the wire */
    uint32_t shape[FL_MAX_DIMS];
    int32_t  place;                 /* pool, or -1: in-line, a frame of its own behind the header */
    uint64_t off;                   /* bytes from the slab's start; index of the frame when in-line */
    uint64_t bytes;                 /* product(shape) * size of dtype */
    void    *data;                  /* mapped address; read-only unless this stage made it. Not on the wire */
};

struct fl_batch {
    uint64_t run;                   /* id of the run */
    uint64_t batch;                 /* number, from 0, fixed by the ordered inputs */
    uint32_t attempt;               /* 0 at first issue, one more at each re-issue */
    uint32_t slot, gen;             /* slab slot and generation */
    uint32_t probe;                 /* 0, or number + 1 of the first row under test: sinks let such a batch pass and keep nothing of it */
    uint32_t n;                     /* tiles, 0..B */
    uint32_t ntensors;
    struct fl_tensor t[FL_MAX_TENSORS];
    void    *host;                  /* of the runtime: what must be given back at the batch's end */
};

/* The tensor called `name` (the first, for a join), or NULL. */
struct fl_tensor *fl_batch_find(const struct fl_batch *b, const char *name);

/* The tensor called `name` that came by input edge `edge` of a join, or NULL. */
struct fl_tensor *fl_batch_find_edge(const struct fl_batch *b, uint32_t edge, const char *name);

/* Takes every tensor called `name` out of the descriptor. */
void fl_batch_drop(struct fl_batch *b, const char *name);

/* Appends a zeroed entry with this name, or returns NULL when the descriptor is full or the name too long. */
struct fl_tensor *fl_batch_add(struct fl_batch *b, const char *name);

#endif
