/* A DEALER that connects once, and a monitor that tells when that is over. */
#include "runtime/dial.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>
#include <zmq.h>

#include "runtime/wire.h"

#define DIAL_OVER (ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_CLOSED | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH)

struct fl_dial { void *ctx, *dealer, *monitor; int epoll; size_t most; bool over, refused; };

static int dial_errno(struct fl_err *err, const char *what)
{
    return fl_err_set(err, FL_E_PEER, "%s: %s", what, zmq_strerror(zmq_errno()));
}

static int dial_socket(struct fl_dial *d, const struct fl_dial_conf *c, struct fl_err *err)
{
    int never = -1;
    d->most = c->most;
    fl_wire_options(d->dealer, c->most, c->silence);
    zmq_setsockopt(d->dealer, ZMQ_RECONNECT_IVL, &never, sizeof never);
    if (c->server_key != NULL && (zmq_setsockopt(d->dealer, ZMQ_CURVE_SERVERKEY, c->server_key, strlen(c->server_key) + 1) != 0 ||
                                  zmq_setsockopt(d->dealer, ZMQ_CURVE_PUBLICKEY, c->public_key, strlen(c->public_key) + 1) != 0 ||
                                  zmq_setsockopt(d->dealer, ZMQ_CURVE_SECRETKEY, c->secret_key, strlen(c->secret_key) + 1) != 0))
        return dial_errno(err, "CURVE keys");
    if (zmq_socket_monitor(d->dealer, "inproc://dial", DIAL_OVER) != 0 || (d->monitor = zmq_socket(d->ctx, ZMQ_PAIR)) == NULL ||
        zmq_connect(d->monitor, "inproc://dial") != 0)
        return dial_errno(err, "monitor");
    return zmq_connect(d->dealer, c->address) == 0 ? FL_OK : dial_errno(err, c->address);
}

int fl_dial_open(const struct fl_dial_conf *c, struct fl_dial **out, struct fl_err *err)
{
    struct fl_dial *d = calloc(1, sizeof *d);
    if (d == NULL)
        return fl_err_set(err, FL_E_NOMEM, "connection");
    d->epoll = epoll_create1(EPOLL_CLOEXEC);
    d->ctx = zmq_ctx_new();
    d->dealer = d->ctx != NULL ? zmq_socket(d->ctx, ZMQ_DEALER) : NULL;
    int rc = d->dealer != NULL && d->epoll >= 0 ? dial_socket(d, c, err) : dial_errno(err, "connection");
    if (rc == FL_OK && (fl_wire_watch(d->epoll, d->dealer) != 0 || fl_wire_watch(d->epoll, d->monitor) != 0))
        rc = fl_err_set(err, FL_E_IO, "connection: can't be watched");
    if (rc != FL_OK) {
        fl_dial_close(d);
        return rc;
    }
    *out = d;
    return FL_OK;
}

void fl_dial_close(struct fl_dial *d)
{
    if (d == NULL)
        return;
    fl_wire_close(d->ctx, d->epoll, (void *const[]){ d->monitor, d->dealer }, 2, d->over ? NULL : d->dealer);
    free(d);
}

int fl_dial_fd(const struct fl_dial *d)
{
    return d->epoll;
}

static void dial_events(struct fl_dial *d)
{
    unsigned char event[6], where[256];
    while (zmq_recv(d->monitor, event, sizeof event, ZMQ_DONTWAIT) >= 0) {
        uint16_t what;
        memcpy(&what, event, sizeof what);
        d->over = true;
        d->refused |= what == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH || what == ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL;
        zmq_recv(d->monitor, where, sizeof where, ZMQ_DONTWAIT);
    }
}

int fl_dial_next(struct fl_dial *d, void *buf, size_t *len, struct fl_err *err)
{
    zmq_msg_t m;
    int more = 0;
    size_t mlen = sizeof more;
    dial_events(d);                      /* first: whatever it sent before the end is in the socket by then */
    zmq_msg_init(&m);
    int n = zmq_msg_recv(&m, d->dealer, ZMQ_DONTWAIT);
    bool fits = n >= 0 && (size_t)n <= d->most;
    if (fits) {
        *len = (size_t)n;
        memcpy(buf, zmq_msg_data(&m), *len);
        zmq_getsockopt(d->dealer, ZMQ_RCVMORE, &more, &mlen);
    }
    zmq_msg_close(&m);
    if (n >= 0)
        return more || !fits ? fl_err_set(err, FL_E_PROTO, "a message of several parts, or of %d bytes", n) : FL_OK;
    if (zmq_errno() != EAGAIN && zmq_errno() != EINTR)
        return dial_errno(err, "receive");
    return !d->over ? FL_END : fl_err_set(err, FL_E_PEER, d->refused ? "refused: the keys are not those of this run" : "the connection has ended");
}

int fl_dial_say(struct fl_dial *d, const void *head, size_t hlen, const void *data, size_t dlen, struct fl_err *err)
{
    zmq_msg_t m;
    int rc = fl_wire_message(&m, head, hlen, data, dlen, err);
    if (rc != FL_OK)
        return rc;
    if (zmq_msg_send(&m, d->dealer, ZMQ_DONTWAIT) >= 0)
        return FL_OK;
    zmq_msg_close(&m);
    return fl_err_set(err, FL_E_PEER, "the connection has ended");
}
