/* Options, watching and closing of the sockets between hosts. */
#include "runtime/wire.h"

#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define WIRE_LINGER    1000                /* ms for last words */
#define WIRE_CURVE     64                  /* what CURVE adds to a message, and a little */
#define WIRE_HANDSHAKE 5000                /* ms for it: who says nothing is hung up on */

void fl_wire_options(void *socket, size_t most, uint32_t silence)
{
    int zero = 0, dead = (int)silence, ping = dead / 4, shake = WIRE_HANDSHAKE;
    int64_t bytes = (int64_t)most + WIRE_CURVE;
    zmq_setsockopt(socket, ZMQ_LINGER, &zero, sizeof zero);
    zmq_setsockopt(socket, ZMQ_SNDHWM, &zero, sizeof zero);
    zmq_setsockopt(socket, ZMQ_RCVHWM, &zero, sizeof zero);
    zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &bytes, sizeof bytes);
    zmq_setsockopt(socket, ZMQ_HEARTBEAT_IVL, &ping, sizeof ping);
    zmq_setsockopt(socket, ZMQ_HEARTBEAT_TIMEOUT, &dead, sizeof dead);
    zmq_setsockopt(socket, ZMQ_HANDSHAKE_IVL, &shake, sizeof shake);
}

int fl_wire_watch(int epoll, void *socket)
{
    int fd;
    size_t len = sizeof fd;
    struct epoll_event e = { .events = EPOLLIN };
    return zmq_getsockopt(socket, ZMQ_FD, &fd, &len) == 0 ? epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e) : -1;
}

void fl_wire_close(void *ctx, int epoll, void *const *sockets, int n, const void *last)
{
    for (int i = 0; i < n; i++)
        if (sockets[i] != NULL) {
            int linger = sockets[i] == last ? WIRE_LINGER : 0;
            zmq_setsockopt(sockets[i], ZMQ_LINGER, &linger, sizeof linger);
            zmq_close(sockets[i]);
        }
    if (ctx != NULL)
        zmq_ctx_term(ctx);
    if (epoll >= 0)
        close(epoll);
}

int fl_wire_message(zmq_msg_t *m, const void *head, size_t hlen, const void *data, size_t dlen, struct fl_err *err)
{
    if (zmq_msg_init_size(m, hlen + dlen) != 0)
        return fl_err_set(err, FL_E_NOMEM, "a message of %zu bytes", hlen + dlen);
    memcpy(zmq_msg_data(m), head, hlen);
    if (dlen > 0)
        memcpy((char *)zmq_msg_data(m) + hlen, data, dlen);
    return FL_OK;
}
