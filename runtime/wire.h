/* What both ends of a connection between hosts share: runtime/door.h and runtime/dial.h. */
#ifndef FL_RUNTIME_WIRE_H
#define FL_RUNTIME_WIRE_H

#include <stddef.h>
#include <stdint.h>
#include <zmq.h>

#include "proto/status.h"

/* Unbounded queues (credits bound them), messages of at most `most` bytes, pings; silence: ms without an answer until the connection has ended. */
void fl_wire_options(void *socket, size_t most, uint32_t silence);
/* epoll becomes readable when the socket may be. 0, or -1. */
int  fl_wire_watch(int epoll, void *socket);
/* Closes the sockets (NULL: none) and the context (NULL: none). The one that is `last` (NULL: none) may send for a second: a courtesy, nothing depends on it. */
void fl_wire_close(void *ctx, int epoll, void *const *sockets, int n, const void *last);
/* One message of two pieces, both copied. FL_E_NOMEM. */
int  fl_wire_message(zmq_msg_t *, const void *head, size_t hlen, const void *data, size_t dlen, struct fl_err *);

#endif
