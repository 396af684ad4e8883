/* The door: one ROUTER with CURVE, a ZAP handler that knows one client key, and a monitor that tells when a connection ends. */
#include "runtime/door.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>
#include <zmq.h>

#include "runtime/wire.h"

#define DOOR_IDENTITY  8
#define DOOR_SILENCE   20000              /* ms without an answer to libzmq's own pings, which the peer's I/O thread gives however busy it is */

/* dropped: its number may be another's, its connection's end is nobody's news. */
struct door_peer { bool used, dropped; size_t len; unsigned char id[DOOR_IDENTITY]; int fd; uint64_t since; };

struct fl_door {
    void *ctx, *router, *zap, *monitor;
    int   epoll;
    char  address[256];
    char  server[FL_DOOR_KEY], server_secret[FL_DOOR_KEY], client[FL_DOOR_KEY], client_secret[FL_DOOR_KEY];
    uint8_t client_raw[32];
    uint64_t turn, refused;
    size_t most;
    struct door_peer peers[FL_DOOR_PEERS];
};

static int door_errno(struct fl_err *err, int code, const char *what)
{
    return fl_err_set(err, code, "%s: %s", what, zmq_strerror(zmq_errno()));
}

/* ---- opening ---- */

static int door_guard(struct fl_door *d, bool insecure, struct fl_err *err)
{
    if (insecure)
        return FL_OK;
    if (zmq_curve_keypair(d->server, d->server_secret) != 0 || zmq_curve_keypair(d->client, d->client_secret) != 0)
        return door_errno(err, FL_E_CONFIG, "CURVE keys");
    zmq_z85_decode(d->client_raw, d->client);
    d->zap = zmq_socket(d->ctx, ZMQ_REP);
    if (d->zap == NULL || zmq_bind(d->zap, "inproc://zeromq.zap.01") != 0)
        return door_errno(err, FL_E_IO, "authentication");
    return FL_OK;
}

static int door_curve(struct fl_door *d, struct fl_err *err)
{
    int one = 1;
    zmq_setsockopt(d->router, ZMQ_ZAP_DOMAIN, "flowrun", 7);
    if (zmq_setsockopt(d->router, ZMQ_CURVE_SERVER, &one, sizeof one) != 0 || zmq_setsockopt(d->router, ZMQ_CURVE_SECRETKEY, d->server_secret, FL_DOOR_KEY) != 0)
        return door_errno(err, FL_E_CONFIG, "CURVE");
    return FL_OK;
}

static int door_router(struct fl_door *d, const struct fl_door_conf *c, struct fl_err *err)
{
    int one = 1;
    size_t len = sizeof d->address;
    d->router = zmq_socket(d->ctx, ZMQ_ROUTER);
    if (d->router == NULL)
        return door_errno(err, FL_E_IO, "door");
    fl_wire_options(d->router, c->most, c->silence > 0 ? c->silence : DOOR_SILENCE);
    zmq_setsockopt(d->router, ZMQ_ROUTER_MANDATORY, &one, sizeof one);
    if (!c->insecure && door_curve(d, err) != FL_OK)
        return err->code;
    if (zmq_socket_monitor(d->router, "inproc://door", ZMQ_EVENT_DISCONNECTED) != 0 || (d->monitor = zmq_socket(d->ctx, ZMQ_PAIR)) == NULL ||
        zmq_connect(d->monitor, "inproc://door") != 0)
        return door_errno(err, FL_E_IO, "monitor");
    if (zmq_bind(d->router, c->endpoint) != 0)
        return door_errno(err, FL_E_CONFIG, c->endpoint);
    zmq_getsockopt(d->router, ZMQ_LAST_ENDPOINT, d->address, &len);
    return FL_OK;
}

int fl_door_open(const struct fl_door_conf *c, struct fl_door **out, struct fl_err *err)
{
    struct fl_door *d = calloc(1, sizeof *d);
    if (d == NULL)
        return fl_err_set(err, FL_E_NOMEM, "door");
    d->most = c->most;
    d->epoll = epoll_create1(EPOLL_CLOEXEC);
    d->ctx = zmq_ctx_new();
    int rc = d->ctx != NULL && d->epoll >= 0 ? door_guard(d, c->insecure, err) : fl_err_set(err, FL_E_IO, "door");
    if (rc == FL_OK)
        rc = door_router(d, c, err);
    if (rc == FL_OK && ((d->zap != NULL && fl_wire_watch(d->epoll, d->zap) != 0) || fl_wire_watch(d->epoll, d->router) != 0 || fl_wire_watch(d->epoll, d->monitor) != 0))
        rc = fl_err_set(err, FL_E_IO, "door: can't be watched");
    if (rc != FL_OK) {
        fl_door_close(d);
        return rc;
    }
    *out = d;
    return FL_OK;
}

void fl_door_close(struct fl_door *d)
{
    if (d == NULL)
        return;
    fl_wire_close(d->ctx, d->epoll, (void *const[]){ d->monitor, d->router, d->zap }, 3, d->router);
    free(d);
}

const char *fl_door_address(const struct fl_door *d)
{
    return d->address;
}

const char *fl_door_key(const struct fl_door *d, enum fl_door_key which)
{
    return which == FL_DOOR_SERVER ? d->server : which == FL_DOOR_PUBLIC ? d->client : d->client_secret;
}

int fl_door_fd(const struct fl_door *d)
{
    return d->epoll;
}

/* ---- who may come in ---- */

static int door_frame(void *socket, void *buf, size_t cap, bool *more)
{
    int yes = 0;
    size_t len = sizeof yes;
    int n = zmq_recv(socket, buf, cap, ZMQ_DONTWAIT);
    if (n >= 0)
        zmq_getsockopt(socket, ZMQ_RCVMORE, &yes, &len);
    *more = yes != 0;
    return n;
}

/* ZAP 1.0: version, request id, domain, address, identity, mechanism, credentials. */
static void door_admit(struct fl_door *d)
{
    unsigned char frame[7][256];
    int len[7] = { 0 }, n = 0;
    bool more = true;
    while (more) {
        unsigned char spare[256];
        int got = door_frame(d->zap, n < 7 ? frame[n] : spare, 256, &more);
        if (got < 0)
            return;
        if (n < 7)
            len[n] = got;
        n++;
    }
    bool ok = n == 7 && len[5] == 5 && memcmp(frame[5], "CURVE", 5) == 0 && len[6] == 32 && memcmp(frame[6], d->client_raw, 32) == 0;
    zmq_send(d->zap, "1.0", 3, ZMQ_SNDMORE);
    zmq_send(d->zap, frame[1], (size_t)(len[1] < 256 ? len[1] : 0), ZMQ_SNDMORE);
    zmq_send(d->zap, ok ? "200" : "400", 3, ZMQ_SNDMORE);
    zmq_send(d->zap, ok ? "OK" : "unknown key", ok ? 2 : 11, ZMQ_SNDMORE);
    zmq_send(d->zap, "", 0, ZMQ_SNDMORE);
    zmq_send(d->zap, "", 0, 0);
}

/* ---- peers ---- */

static int door_find(const struct fl_door *d, const void *id, size_t len)
{
    for (int i = 0; i < FL_DOOR_PEERS; i++)
        if (d->peers[i].used && d->peers[i].len == len && memcmp(d->peers[i].id, id, len) == 0)
            return i;
    return -1;
}

static int door_new(struct fl_door *d, const void *id, size_t len, int fd)
{
    for (int i = 0; i < FL_DOOR_PEERS; i++)
        if (!d->peers[i].used) {
            d->peers[i] = (struct door_peer){ .used = true, .len = len, .fd = fd, .since = ++d->turn };
            memcpy(d->peers[i].id, id, len);
            return i;
        }
    return -1;
}

/* The descriptor of a connection is used again by the system: the oldest that had it is meant. Who had none of ours did not get in, or said nothing. */
static int door_ended(struct fl_door *d)
{
    unsigned char event[6], where[256];
    bool more;
    while (door_frame(d->monitor, event, sizeof event, &more) >= 0) {
        uint32_t fd;
        int gone = -1;
        while (more && door_frame(d->monitor, where, sizeof where, &more) >= 0)
            ;
        memcpy(&fd, event + 2, sizeof fd);
        for (int i = 0; i < FL_DOOR_PEERS; i++)
            if ((d->peers[i].used || d->peers[i].dropped) && d->peers[i].fd == (int)fd && (gone < 0 || d->peers[i].since < d->peers[gone].since))
                gone = i;
        if (gone >= 0 && d->peers[gone].used)
            return gone;
        if (gone >= 0)
            d->peers[gone].dropped = false;
        else
            d->refused++;
    }
    return -1;
}

/* One message of the router: its peer, -1 when there is none, -2 when it was none that counts. */
static int door_take(struct fl_door *d, void *buf, size_t *len)
{
    unsigned char id[256];
    bool more;
    zmq_msg_t m;
    int n = door_frame(d->router, id, sizeof id, &more), peer = -2, parts = 0;
    if (n < 0)
        return -1;
    while (more) {
        zmq_msg_init(&m);
        if (zmq_msg_recv(&m, d->router, ZMQ_DONTWAIT) < 0)
            return -2;
        more = zmq_msg_more(&m);
        if (parts++ == 0 && !more && n > 0 && n <= DOOR_IDENTITY && zmq_msg_size(&m) <= d->most) {
            peer = door_find(d, id, (size_t)n);
            if (peer < 0)
                peer = door_new(d, id, (size_t)n, zmq_msg_get(&m, ZMQ_SRCFD));
            *len = zmq_msg_size(&m);
            memcpy(buf, zmq_msg_data(&m), *len);
        }
        zmq_msg_close(&m);
    }
    return parts == 1 && peer >= 0 ? peer : -2;
}

int fl_door_next(struct fl_door *d, uint32_t *peer, void *buf, size_t *len, bool *gone)
{
    int events, who;
    size_t elen = sizeof events;
    while (d->zap != NULL && zmq_getsockopt(d->zap, ZMQ_EVENTS, &events, &elen) == 0 && events & ZMQ_POLLIN)
        door_admit(d);
    *gone = false;
    while ((who = door_take(d, buf, len)) == -2)
        ;
    if (who < 0 && (who = door_ended(d)) >= 0) {
        *gone = true;
        d->peers[who].used = false;
    }
    if (who < 0)
        return FL_END;
    *peer = (uint32_t)who;
    return FL_OK;
}

static void door_free_parts(const struct fl_door_part *parts, uint32_t from, uint32_t n)
{
    for (uint32_t i = from; i < n; i++)
        if (parts[i].free != NULL)
            parts[i].free((void *)parts[i].data, NULL);
}

static void door_keep(void *data, void *hint)
{
    (void)data;
    (void)hint;
}

int fl_door_send(struct fl_door *d, uint32_t peer, const void *head, size_t len, const struct fl_door_part *parts, uint32_t nparts, struct fl_err *err)
{
    const struct door_peer *p = &d->peers[peer];
    if (!p->used || zmq_send(d->router, p->id, p->len, ZMQ_SNDMORE | ZMQ_DONTWAIT) < 0) {
        door_free_parts(parts, 0, nparts);
        return fl_err_set(err, FL_E_PEER, "the trainer is gone");
    }
    int rc = zmq_send(d->router, head, len, (nparts > 0 ? ZMQ_SNDMORE : 0) | ZMQ_DONTWAIT);
    for (uint32_t i = 0; i < nparts; i++) {
        zmq_msg_t m;
        if (rc < 0 || zmq_msg_init_data(&m, (void *)parts[i].data, parts[i].len, parts[i].free != NULL ? parts[i].free : door_keep, NULL) != 0) {
            door_free_parts(parts, i, nparts);
            return fl_err_set(err, FL_E_PEER, "the trainer is gone");
        }
        if ((rc = zmq_msg_send(&m, d->router, (i + 1 < nparts ? ZMQ_SNDMORE : 0) | ZMQ_DONTWAIT)) < 0)
            zmq_msg_close(&m);
    }
    return rc >= 0 ? FL_OK : fl_err_set(err, FL_E_PEER, "the trainer is gone");
}

int fl_door_say(struct fl_door *d, uint32_t peer, const void *head, size_t hlen, const void *data, size_t dlen, struct fl_err *err)
{
    const struct door_peer *p = &d->peers[peer];
    zmq_msg_t m;
    int rc = fl_wire_message(&m, head, hlen, data, dlen, err);
    if (rc != FL_OK)
        return rc;
    if (p->used && zmq_send(d->router, p->id, p->len, ZMQ_SNDMORE | ZMQ_DONTWAIT) >= 0 && zmq_msg_send(&m, d->router, ZMQ_DONTWAIT) >= 0)
        return FL_OK;
    zmq_msg_close(&m);
    return fl_err_set(err, FL_E_PEER, "the peer is gone");
}

uint64_t fl_door_refused(const struct fl_door *d)
{
    return d->refused;
}

void fl_door_drop(struct fl_door *d, uint32_t peer)
{
    d->peers[peer].used = false;
    d->peers[peer].dropped = true;
}
