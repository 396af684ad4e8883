/* What trainers and feed say to each other (docs/protocol.md 7): small messages that begin with a kind, the version and a u16.
 *
 *     trainer: 'H' hello                                      answered by 'W'; only over TCP, a local trainer gets 'W' unasked
 *              'J' join: names u16, rank u32, world u32, next u64, then `names` NUL-ended names of tensors (none: all)
 *              'R' release: u16 0, gen u32, batch u64
 *     feed:    'W' JSON    'B' batch header    'F' epoch u64: that was your share of it    'E' nothing more will come
 *              'X' text: refused, the connection ends  */
#ifndef FL_STAGES_FEED_CLIENT_MSG_H
#define FL_STAGES_FEED_CLIENT_MSG_H

#include "proto/batch.h"
#include "proto/status.h"

#define FL_CLIENT_VERSION 1
#define FL_CLIENT_PREFIX  4
#define FL_CLIENT_NAMES   16
#define FL_CLIENT_MAX     (20 + FL_CLIENT_NAMES * FL_NAME_MAX)      /* bytes of a trainer's longest message */

struct fl_client_msg {
    char     kind;                                   /* 'H', 'J' or 'R' */
    uint32_t rank, world, gen;
    uint64_t next, batch;
    uint32_t nnames;
    char     names[FL_CLIENT_NAMES][FL_NAME_MAX];    /* NUL-ended; [nnames..] are undefined */
};

/* Proves and decodes; *m is defined on success only. FL_E_PROTO says what is wrong. */
int fl_client_msg_read(const void *buf, size_t len, struct fl_client_msg *m, struct fl_err *err);

/* Writes kind, version and 0: FL_CLIENT_PREFIX bytes. */
void fl_client_msg_prefix(char kind, unsigned char *to);

#endif
