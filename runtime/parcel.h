/* A batch between two hosts: a message with its header, tensors in-line, then the bytes of each tensor in order, in messages of at most
 * FL_PARCEL_CHUNK bytes of payload (docs/protocol.md 8). Nothing here sends or receives; bytes are proven before they are stored.
 *
 *     'B' version u16 0, token u64, header        'D' version u16 0, token u64, tensor u32, offset u64, bytes
 *
 * The token is the number of the batch on this connection. */
#ifndef FL_RUNTIME_PARCEL_H
#define FL_RUNTIME_PARCEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/batch.h"
#include "proto/status.h"

#define FL_WIRE_VERSION  1
#define FL_WIRE_PREFIX   4                       /* kind, version, u16 of the kind's own */
#define FL_PARCEL_CHUNK  (1u << 20)
#define FL_PARCEL_HEAD   (FL_WIRE_PREFIX + 20)   /* before the bytes of a 'D' */
#define FL_WIRE_MAX      (FL_PARCEL_HEAD + FL_PARCEL_CHUNK)

#define FL_WIRE_PASS     32                      /* bytes of text that a caller shows in its 'H', whether the connection is encrypted or not */
enum fl_wire_role { FL_WIRE_AGENT, FL_WIRE_INLET, FL_WIRE_OUTLET, FL_WIRE_ROLES };      /* the u16 of 'H' */

struct fl_parcel {
    uint64_t token;
    struct fl_batch b;                           /* as its header says, place -1; t[i].data is the caller's to set, room for t[i].bytes */
    uint32_t at;                                 /* the tensor whose bytes come next */
    uint64_t filled;                             /* how many of them are there */
};

void     fl_wire_head(unsigned char head[FL_WIRE_PREFIX], char kind, uint32_t u16);
bool     fl_wire_is(const void *msg, size_t len);            /* it has a prefix of this version */
void     fl_wire_put(unsigned char *p, uint64_t v, int bytes);   /* little-endian */
uint64_t fl_wire_get(const unsigned char *p, int bytes);

/* Of any 'B' or 'D' message: its token; FL_E_PROTO when it is too short for one. */
int  fl_parcel_token(const void *msg, size_t len, uint64_t *token, struct fl_err *);
/* Takes a 'B' message: at most B rows, and tensors that lie, each on FL_ALIGN, within `limit` bytes. FL_E_PROTO else. */
int  fl_parcel_begin(struct fl_parcel *, const void *msg, size_t len, uint32_t B, uint64_t limit, struct fl_err *);
/* Takes a 'D' message: the next bytes of the tensor whose turn it is, and of nothing else. FL_E_PROTO else. */
int  fl_parcel_add(struct fl_parcel *, const void *msg, size_t len, struct fl_err *);
bool fl_parcel_whole(const struct fl_parcel *);

/* Hands b's tensors that `names` (NULL-terminated; NULL: all) tells, in messages of two pieces. send's code ends it unless FL_OK. */
typedef int fl_parcel_send(void *to, const void *head, size_t hlen, const void *data, size_t dlen);
int  fl_parcel_put(const struct fl_batch *b, uint64_t token, char *const *names, fl_parcel_send *send, void *to, struct fl_err *);

#endif
