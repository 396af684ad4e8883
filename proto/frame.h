/* The header of a batch on a link, in MessagePack (docs/protocol.md): at most FL_FRAME_MAX bytes, depth 4, no allocation.
 *
 *     {"v":1, "run":u64, "batch":u64, "attempt":u32, "slot":u32, "gen":u32, "n":u32, "crit":u32,
 *      "t":[[name, dtype, [shape...], place, off, bytes], ...]}
 *
 * "probe":u32 is there, and bit 0 of "crit" set, in a batch under test alone. Other keys are skipped when unknown; missing or repeated
 * ones are refused, and so is any bit of "crit" that a reader doesn't know. */
#ifndef FL_PROTO_FRAME_H
#define FL_PROTO_FRAME_H

#include <stddef.h>

#include "proto/batch.h"
#include "proto/status.h"

#define FL_FRAME_VERSION 1
#define FL_FRAME_MAX     4096
#define FL_FRAME_PROBE   1u      /* critical: nothing of this batch may be kept */
#define FL_FRAME_CRIT    FL_FRAME_PROBE

/* A header as it came, unknown keys and all. */
struct fl_frame { uint32_t len; uint8_t bytes[FL_FRAME_MAX]; };

/* Writes the header of b into buf; *len on success. FL_E_PROTO for a descriptor that can't be read back (naming the
 * tensor), and naming the size when the header takes more than FL_FRAME_MAX or cap. */
int fl_frame_pack(const struct fl_batch *b, void *buf, size_t cap, size_t *len, struct fl_err *err);

/* The bounded walk alone: sizes, depth, counts, types. Says nothing about keys. */
int fl_frame_check(const void *buf, size_t len, struct fl_err *err);

/* Checks, then decodes into *b, written on success only; edge, data and host are zero. Proven: name lengths, known types,
 * bytes = shape x type, place >= -1, off + bytes fits, off on FL_ALIGN in a slab and below FL_MAX_TENSORS + 1 in-line.
 * Not proven, for the reader of the slab to do: slot, gen, place and off + bytes against what there is. */
int fl_frame_unpack(const void *buf, size_t len, struct fl_batch *b, struct fl_err *err);

#endif
