/* A door for programs outside the graph: a TCP endpoint on which only those who hold the run's key get in (CURVE, ZeroMQ).
 *
 * The server's key and one key pair for all clients are made anew at each opening; who shows another key is turned away before a
 * byte of theirs is seen. Messages from a peer are at most `most` bytes; a peer whose connection ends is told of once. The other side
 * is runtime/dial.h. */
#ifndef FL_RUNTIME_DOOR_H
#define FL_RUNTIME_DOOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/status.h"

#define FL_DOOR_PEERS 256
#define FL_DOOR_KEY   41                    /* a key as text (Z85), with its NUL */

struct fl_door;

struct fl_door_part { const void *data; size_t len; void (*free)(void *data, void *hint); };   /* free: called when sent, on any thread; NULL: the memory outlives the door */

struct fl_door_conf {
    const char *endpoint;            /* tcp://HOST:PORT (port * takes a free one) */
    size_t   most;                   /* bytes of a message from a peer */
    uint32_t silence;                /* ms without a sign of the peer until its connection counts as ended; 0 = 20000 */
    bool     insecure;               /* no encryption, no keys: whoever can reach the port gets in */
};

/* FL_E_CONFIG when it can't be bound. */
int  fl_door_open(const struct fl_door_conf *, struct fl_door **, struct fl_err *);
void fl_door_close(struct fl_door *);                              /* accepts NULL; what can't be sent in a second is dropped */
const char *fl_door_address(const struct fl_door *);               /* as bound */
enum fl_door_key { FL_DOOR_SERVER, FL_DOOR_PUBLIC, FL_DOOR_SECRET };   /* the server's public key; the clients' key pair */
const char *fl_door_key(const struct fl_door *, enum fl_door_key);
int  fl_door_fd(const struct fl_door *);                           /* readable when something may have come */
/* Next message, into buf of `most` bytes: its peer (0..FL_DOOR_PEERS-1, stable while it is connected) and length; *gone: instead, that peer's connection has ended.
 * FL_END: nothing now. */
int  fl_door_next(struct fl_door *, uint32_t *peer, void *buf, size_t *len, bool *gone);
/* Sends a head (copied) and parts (by reference). FL_E_PEER: it is gone, which fl_door_next will tell. Parts are freed on failure too. */
int  fl_door_send(struct fl_door *, uint32_t peer, const void *head, size_t len, const struct fl_door_part *, uint32_t nparts, struct fl_err *);
/* Sends one message of two pieces, both copied; errors as above. */
int  fl_door_say(struct fl_door *, uint32_t peer, const void *head, size_t hlen, const void *data, size_t dlen, struct fl_err *);
uint64_t fl_door_refused(const struct fl_door *);                  /* connections that have ended without a message: another key or none, no handshake, or nothing said */
/* Forgets the peer; its number is free. If it speaks again it is a new one. */
void fl_door_drop(struct fl_door *, uint32_t peer);

#endif
