/* MessagePack in small, bounded messages: what frame.c and control.c are written with. Nothing here allocates.
 *
 * Writing goes through MessagePack-C's packer into the caller's buffer; reading is by hand, since the library
 * allocates what a claimed count asks for. fl_msg_check must have accepted the bytes before a reader is made. */
#ifndef FL_PROTO_MSG_H
#define FL_PROTO_MSG_H

#include <msgpack.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "proto/status.h"

#define FL_MSG_MAX   4096      /* bytes of a message */
#define FL_MSG_DEPTH 4         /* maps and arrays within each other */

/* One map or array or scalar, complete, with nothing behind it: FL_E_PROTO for more than FL_MSG_MAX bytes, nesting
 * deeper than FL_MSG_DEPTH, counts and lengths beyond the bytes present, extension types, unused codes. */
int fl_msg_check(const void *buf, size_t len, struct fl_err *err);

/* ---- reading: each function takes one value off the front, or returns false and takes nothing ---- */

struct fl_msg { const uint8_t *p, *end; };

bool fl_msg_map(struct fl_msg *, uint32_t *count);
bool fl_msg_array(struct fl_msg *, uint32_t *count);
/* Borrowed from the message, not NUL-terminated. */
bool fl_msg_str(struct fl_msg *, const char **s, uint32_t *len);
/* A string of at most size - 1 bytes without NUL among them, into a field; the rest of the field is zeroed. */
bool fl_msg_text(struct fl_msg *, char *field, size_t size);
/* Any integer encoding whose value fits. */
bool fl_msg_u64(struct fl_msg *, uint64_t *);
bool fl_msg_u32(struct fl_msg *, uint32_t *);
bool fl_msg_i32(struct fl_msg *, int32_t *);
/* A float of either width or an integer. */
bool fl_msg_double(struct fl_msg *, double *);
/* Any one value, with all that is in it. */
bool fl_msg_skip(struct fl_msg *);

/* ---- writing ---- */

struct fl_msg_out { uint8_t *buf; size_t cap, len; msgpack_packer pk; };   /* len counts on past cap: the size needed */

void fl_msg_out_init(struct fl_msg_out *, void *buf, size_t cap);
/* FL_E_PROTO naming the size when it is more than FL_MSG_MAX or than the buffer; *len is written on success. `what` begins the text. */
int  fl_msg_out_done(const struct fl_msg_out *, const char *what, size_t *len, struct fl_err *err);

static inline void fl_msg_put_str(struct fl_msg_out *o, const char *s)
{
    size_t n = strlen(s);
    msgpack_pack_str(&o->pk, n);
    msgpack_pack_str_body(&o->pk, s, n);
}

static inline void fl_msg_put_key_u64(struct fl_msg_out *o, const char *key, uint64_t value)
{
    fl_msg_put_str(o, key);
    msgpack_pack_uint64(&o->pk, value);
}

#endif
