/* Calls a door (runtime/door.h) on another host: one TCP connection, made once. When it ends, for whatever reason, the caller is told and
 * it isn't made again: what was under way is lost, and somebody must know. */
#ifndef FL_RUNTIME_DIAL_H
#define FL_RUNTIME_DIAL_H

#include <stddef.h>
#include <stdint.h>

#include "proto/status.h"

struct fl_dial;

struct fl_dial_conf {
    const char *address;                              /* tcp://HOST:PORT */
    const char *server_key, *public_key, *secret_key; /* Z85, 40 characters; all NULL: not encrypted */
    size_t   most;                                    /* bytes of a message from there */
    uint32_t silence;                                 /* ms without a sign of it until the connection counts as ended */
};

int  fl_dial_open(const struct fl_dial_conf *, struct fl_dial **, struct fl_err *);
void fl_dial_close(struct fl_dial *);                 /* accepts NULL; what can't be sent in a second is dropped */
int  fl_dial_fd(const struct fl_dial *);              /* readable when something may have come; look after each send as well */
/* Next message into buf of `most` bytes. FL_END: nothing now. FL_E_PEER: the connection has ended, or there was none to be had. */
int  fl_dial_next(struct fl_dial *, void *buf, size_t *len, struct fl_err *);
/* Sends one message of two pieces, both copied. */
int  fl_dial_say(struct fl_dial *, const void *head, size_t hlen, const void *data, size_t dlen, struct fl_err *);

#endif
