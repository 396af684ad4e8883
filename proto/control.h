/* Control messages between the supervisor and a stage: small MessagePack maps (docs/protocol.md lists the types).
 *
 * The struct is the message: "type" is always written, other members only when they aren't zero or empty; what a
 * message lacks reads as zero. Unknown keys are ignored, so either side may learn new ones. */
#ifndef FL_PROTO_CONTROL_H
#define FL_PROTO_CONTROL_H

#include <stddef.h>
#include <stdint.h>

#include "proto/status.h"

#define FL_CONTROL_MAX 4096      /* bytes; any struct fl_control fits into it */
#define FL_EXIT_BROKEN_LINK 75   /* exit status of a stage that ends because a link of it broke though both ends lived */

struct fl_control {
    char     type[16];
    uint64_t batch, batches, tiles, code;
    uint32_t attempt, slot, gen, predicted, rejected, first, rows;
    char     name[64], id[64];
    double   value;
    char     text[600];
};

/* FL_E_PROTO for an empty type, a text without NUL in its field, or a buffer that is too small. *len on success. */
int fl_control_pack(const struct fl_control *c, void *buf, size_t cap, size_t *len, struct fl_err *err);

/* The bounded walk of fl_msg_check, then decoding into *c, written on success only. FL_E_PROTO names the key. */
int fl_control_unpack(const void *buf, size_t len, struct fl_control *c, struct fl_err *err);

#endif
