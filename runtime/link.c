/* Links on ZeroMQ: ROUTER at the reader, one DEALER a link at the writer, explicit credit. */
#include "runtime/link.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#include "proto/frame.h"

#define LINK_VERSION 1
#define PREFIX 4
#define MAX_MESSAGE (PREFIX + 4096)
#define MAX_IDENTITY 64
#define MAX_SOCKETS 16384                /* one a reader; the library's own limit is 1023 */
#define END_LINGER_MS 2000            /* a reader's last word, 'A', is what its writers wait for: it must leave before the socket closes */

struct writer {                       /* somebody who sends to our inlet */
    unsigned char id[MAX_IDENTITY];
    size_t   id_len;
    uint32_t edge;
    uint64_t received;
    uint64_t owed;                    /* credit not yet sent back */
    bool     ended, dead;
};

struct reader {                       /* one instance we send to */
    void    *socket;
    int64_t  credit;
    uint64_t sent;
    bool     said_end, end_acked;
    bool     greeted;                 /* its inlet has attached our connection once */
};

struct queued { uint64_t batch; uint32_t slot, gen; size_t len; unsigned char bytes[MAX_MESSAGE]; };

struct out_edge {
    uint32_t edge, nreaders, turn;
    bool     keyed;
    uint64_t cost;
    struct reader *readers;
    struct queued *ring;              /* `window` entries, used as a ring */
    uint32_t head, count;
};

struct fl_links {
    void *ctx, *inlet;
    uint32_t window;
    uint32_t nedges, expected;        /* in edges; links expected over all of them */
    uint64_t *grant;
    struct writer *writers;           /* dead ones stay, so that tokens keep their meaning */
    uint32_t nwriters, living, ended;
    char   (*dead)[MAX_IDENTITY];     /* beginnings of identities that are dead: a hello of theirs may still come */
    uint32_t ndead;
    _Atomic uint64_t *sent;           /* the status page's table, or NULL */
    uint32_t nout;
    struct out_edge *out;
    bool     broken;                  /* fl_links_broken */
    unsigned char in[MAX_MESSAGE];    /* the message that came last */
    size_t   in_len;
    zmq_pollitem_t *items;            /* [0] the caller's descriptor, the stage's own if any, inlet, then the writers' sockets */
    uint32_t nitems;
    int      own_fd;                  /* the stage's own; -1 = none */
};

static void put_u64(unsigned char *p, uint64_t v) { for (int i = 0; i < 8; i++) p[i] = (unsigned char)(v >> 8 * i); }
static uint64_t get_u64(const unsigned char *p) { uint64_t v = 0; for (int i = 7; i >= 0; i--) v = v << 8 | p[i]; return v; }

static int link_errno(struct fl_err *err, const char *what)
{
    return fl_err_set(err, FL_E_PEER, "link: %s: %s", what, zmq_strerror(zmq_errno()));
}

static void *link_socket(struct fl_links *l, int type)
{
    void *s = zmq_socket(l->ctx, type);
    if (s == NULL)
        return NULL;
    int zero = 0, one = 1;
    int linger = type == ZMQ_ROUTER ? END_LINGER_MS : 0;
    int64_t max = 1 << 16;
    zmq_setsockopt(s, ZMQ_RCVHWM, &zero, sizeof zero);
    zmq_setsockopt(s, ZMQ_SNDHWM, &zero, sizeof zero);
    zmq_setsockopt(s, ZMQ_LINGER, &linger, sizeof linger);
    zmq_setsockopt(s, ZMQ_MAXMSGSIZE, &max, sizeof max);
    /* No ZMQ_IMMEDIATE at the writer: with it, a reader that closes after its 'A' makes libzmq drop the writer's pipe with the 'A'
     * still unread in it (session_base_t::reconnect). It isn't needed either, since readers listen before writers connect. */
    if (type == ZMQ_ROUTER) {
        zmq_setsockopt(s, ZMQ_ROUTER_MANDATORY, &one, sizeof one);
        /* An empty message to whoever connects. A writer that gets a second one knows that its connection broke: libzmq reconnects
         * without a word, and whatever was under way is lost. */
        zmq_setsockopt(s, ZMQ_PROBE_ROUTER, &one, sizeof one);
    }
    return s;
}

int fl_links_new(uint32_t window, struct fl_links **out, struct fl_err *err)
{
    struct fl_links *l = calloc(1, sizeof *l);
    if (l == NULL)
        return fl_err_set(err, FL_E_NOMEM, "links");
    l->window = window;
    l->own_fd = -1;
    l->ctx = zmq_ctx_new();
    if (l->ctx == NULL) {
        free(l);
        return link_errno(err, "context");
    }
    zmq_ctx_set(l->ctx, ZMQ_MAX_SOCKETS, MAX_SOCKETS);
    *out = l;
    return FL_OK;
}

void fl_links_free(struct fl_links *l)
{
    if (l == NULL)
        return;
    for (uint32_t o = 0; o < l->nout; o++) {
        for (uint32_t r = 0; r < l->out[o].nreaders; r++)
            if (l->out[o].readers[r].socket != NULL)
                zmq_close(l->out[o].readers[r].socket);
        free(l->out[o].readers);
        free(l->out[o].ring);
    }
    if (l->inlet != NULL)
        zmq_close(l->inlet);
    zmq_ctx_term(l->ctx);
    free(l->out);
    free(l->grant);
    free(l->dead);
    free(l->writers);
    free(l->items);
    free(l);
}

/* ---- reading ---- */

int fl_links_listen(struct fl_links *l, const char *endpoint, uint32_t nedges, const uint32_t *writers, const uint64_t *grant, struct fl_err *err)
{
    l->nedges = nedges;
    for (uint32_t e = 0; e < nedges; e++)
        l->expected += writers[e];
    l->grant = calloc(nedges ? nedges : 1, sizeof *l->grant);
    l->writers = calloc(l->expected ? l->expected : 1, sizeof *l->writers);
    if (l->grant == NULL || l->writers == NULL)
        return fl_err_set(err, FL_E_NOMEM, "links");
    memcpy(l->grant, grant, nedges * sizeof *grant);
    l->inlet = link_socket(l, ZMQ_ROUTER);
    if (l->inlet == NULL || zmq_bind(l->inlet, endpoint) != 0)
        return link_errno(err, endpoint);
    return FL_OK;
}

static struct writer *link_writer(struct fl_links *l, const unsigned char *id, size_t len)
{
    for (uint32_t i = 0; i < l->nwriters; i++)
        if (l->writers[i].id_len == len && memcmp(l->writers[i].id, id, len) == 0)
            return &l->writers[i];
    return NULL;
}

static bool link_is_dead(const struct fl_links *l, const unsigned char *id, size_t len)
{
    for (uint32_t i = 0; i < l->ndead; i++)
        if (strlen(l->dead[i]) <= len && memcmp(id, l->dead[i], strlen(l->dead[i])) == 0)
            return true;
    return false;
}

static int link_reply(struct fl_links *l, const struct writer *w, char kind, uint64_t value, struct fl_err *err)
{
    unsigned char msg[9] = { (unsigned char)kind };
    put_u64(msg + 1, value);
    if (zmq_send(l->inlet, w->id, w->id_len, ZMQ_SNDMORE | ZMQ_DONTWAIT) < 0)
        return zmq_errno() == EHOSTUNREACH ? FL_OK : link_errno(err, "reply");   /* a dead writer needs no credit */
    if (zmq_send(l->inlet, msg, sizeof msg, ZMQ_DONTWAIT) < 0)
        return link_errno(err, "reply");
    return FL_OK;
}

static int link_hello(struct fl_links *l, const unsigned char *id, size_t id_len, uint32_t edge, struct fl_err *err)
{
    if (l->living == l->expected || edge >= l->nedges)
        return fl_err_set(err, FL_E_PROTO, "link: a writer too many on edge %u", edge);
    struct writer *grown = l->nwriters >= l->expected ? realloc(l->writers, (l->nwriters + 1) * sizeof *grown) : l->writers;
    if (grown == NULL)
        return fl_err_set(err, FL_E_NOMEM, "links");
    l->writers = grown;
    struct writer *w = &l->writers[l->nwriters++];
    memset(w, 0, sizeof *w);
    l->living++;
    memcpy(w->id, id, id_len);
    w->id_len = id_len;
    w->edge = edge;
    return link_reply(l, w, 'C', l->grant[edge], err);
}

static int link_end(struct fl_links *l, struct writer *w, const unsigned char *p, size_t len, struct fl_err *err)
{
    if (len != PREFIX + 8 || get_u64(p + PREFIX) != w->received)
        return fl_err_set(err, FL_E_PROTO, "link %.*s: said that it sent %llu batches, %llu came", (int)w->id_len, (const char *)w->id,
                          len == PREFIX + 8 ? (unsigned long long)get_u64(p + PREFIX) : 0ULL, (unsigned long long)w->received);
    if (!w->ended) {
        w->ended = true;
        l->ended++;
    }
    return link_reply(l, w, 'A', w->received, err);
}

int fl_links_next(struct fl_links *l, uint32_t *edge, uint64_t *token, struct fl_batch *b, struct fl_err *err)
{
    while (l->inlet != NULL) {
        unsigned char id[MAX_IDENTITY], *p = l->in;
        int id_len = zmq_recv(l->inlet, id, sizeof id, ZMQ_DONTWAIT);
        if (id_len < 0)
            return zmq_errno() == EAGAIN || zmq_errno() == EINTR ? FL_END : link_errno(err, "receive");
        int more = 0, n = zmq_recv(l->inlet, p, sizeof l->in, ZMQ_DONTWAIT);
        size_t more_len = sizeof more;
        zmq_getsockopt(l->inlet, ZMQ_RCVMORE, &more, &more_len);
        if (id_len > MAX_IDENTITY || n < PREFIX || n > MAX_MESSAGE || more || p[1] != LINK_VERSION)
            return fl_err_set(err, FL_E_PROTO, "link: a message of %d bytes that is none of ours", n);
        struct writer *w = link_writer(l, id, (size_t)id_len);
        uint32_t e = p[2] | (uint32_t)p[3] << 8;
        int rc;
        if (w != NULL ? w->dead : link_is_dead(l, id, (size_t)id_len))
            continue;
        if (p[0] == 'H' && w == NULL) {
            rc = link_hello(l, id, (size_t)id_len, e, err);
        } else if (w == NULL && p[0] == 'E') {
            rc = FL_OK;              /* its hello was lost with the connection: it will see that, and end */
        } else if (w == NULL) {
            rc = fl_err_set(err, FL_E_PROTO, "link: a message from somebody who did not say hello");
        } else if (p[0] == 'E') {
            rc = link_end(l, w, p, (size_t)n, err);
        } else if (p[0] == 'B') {
            w->received++;
            *edge = w->edge;
            *token = (uint64_t)(w - l->writers);
            l->in_len = (size_t)n;
            return fl_frame_unpack(p + PREFIX, (size_t)n - PREFIX, b, err);
        } else {
            rc = fl_err_set(err, FL_E_PROTO, "link: unknown kind %u", p[0]);
        }
        if (rc != FL_OK)
            return rc;
    }
    return FL_END;
}

const void *fl_links_header(const struct fl_links *l, size_t *len)
{
    *len = l->in_len - PREFIX;
    return l->in + PREFIX;
}

void fl_links_credit(struct fl_links *l, uint64_t token, uint64_t bytes)
{
    l->writers[token].owed += bytes;
}

void fl_links_grant(struct fl_links *l, uint32_t edge, uint64_t bytes)
{
    l->grant[edge] += bytes;
    for (uint32_t i = 0; i < l->nwriters; i++)
        if (!l->writers[i].dead && l->writers[i].edge == edge)
            l->writers[i].owed += bytes;
}

bool fl_links_ended(const struct fl_links *l)
{
    return l->ended == l->expected;
}

void fl_links_drop_writer(struct fl_links *l, const char *prefix, bool over)
{
    size_t n = strlen(prefix);
    char (*grown)[MAX_IDENTITY] = n < MAX_IDENTITY ? realloc(l->dead, (l->ndead + 1) * sizeof *grown) : NULL;
    if (grown != NULL) {
        l->dead = grown;
        memcpy(l->dead[l->ndead++], prefix, n + 1);
    }
    for (uint32_t i = 0; i < l->nwriters; i++) {
        struct writer *w = &l->writers[i];
        if (w->dead || w->id_len < n || memcmp(w->id, prefix, n) != 0)
            continue;
        w->dead = true;
        w->owed = 0;
        if (!over && w->ended)
            l->ended--;
        else if (over && !w->ended)
            l->ended++;
        l->living -= !over;
    }
}

/* ---- writing ---- */

bool fl_links_broken(const struct fl_links *l)
{
    return l != NULL && l->broken;
}

int fl_links_edge(struct fl_links *l, uint32_t edge, uint32_t readers, bool keyed, uint64_t cost, struct fl_err *err)
{
    struct out_edge *grown = realloc(l->out, (l->nout + 1) * sizeof *grown);
    if (grown == NULL)
        return fl_err_set(err, FL_E_NOMEM, "links");
    l->out = grown;
    struct out_edge *o = &l->out[l->nout++];
    *o = (struct out_edge){ .edge = edge, .nreaders = readers, .keyed = keyed, .cost = cost };
    o->readers = calloc(readers, sizeof *o->readers);
    o->ring = calloc(l->window, sizeof *o->ring);
    if (o->readers == NULL || o->ring == NULL)
        return fl_err_set(err, FL_E_NOMEM, "links");
    return FL_OK;
}

static int link_say(struct reader *r, char kind, uint32_t edge, uint64_t value, struct fl_err *err)
{
    unsigned char msg[PREFIX + 8] = { (unsigned char)kind, LINK_VERSION, (unsigned char)edge, (unsigned char)(edge >> 8) };
    put_u64(msg + PREFIX, value);
    if (zmq_send(r->socket, msg, sizeof msg, 0) < 0)
        return link_errno(err, "send");
    return FL_OK;
}

int fl_links_connect(struct fl_links *l, uint32_t out, uint32_t reader, const char *endpoint, const char *identity, struct fl_err *err)
{
    struct reader *r = &l->out[out].readers[reader];
    fl_links_drop_reader(l, out, reader, false);
    r->socket = link_socket(l, ZMQ_DEALER);
    if (r->socket == NULL || zmq_setsockopt(r->socket, ZMQ_ROUTING_ID, identity, strlen(identity)) != 0 || zmq_connect(r->socket, endpoint) != 0)
        return link_errno(err, endpoint);
    return link_say(r, 'H', l->out[out].edge, 0, err);
}

void fl_links_drop_reader(struct fl_links *l, uint32_t out, uint32_t reader, bool over)
{
    struct reader *r = &l->out[out].readers[reader];
    free(l->items);                          /* fl_links_wait makes the list anew */
    l->items = NULL;
    if (r->socket != NULL)
        zmq_close(r->socket);
    *r = (struct reader){ .said_end = over, .end_acked = over };
}

void fl_links_trace(struct fl_links *l, _Atomic uint64_t *table)
{
    l->sent = table;
}

int fl_links_put(struct fl_links *l, const struct fl_batch *b, struct fl_err *err)
{
    for (uint32_t i = 0; i < l->nout; i++) {
        struct out_edge *o = &l->out[i];
        if (o->count == l->window)
            return fl_err_set(err, FL_E_BUG, "more batches queued than the window of %u holds", l->window);
        struct queued *q = &o->ring[(o->head + o->count) % l->window];
        q->batch = b->batch;
        q->slot = b->slot;
        q->gen = b->gen;
        q->bytes[0] = 'B';
        q->bytes[1] = LINK_VERSION;
        q->bytes[2] = (unsigned char)o->edge;
        q->bytes[3] = (unsigned char)(o->edge >> 8);
        int rc = fl_frame_pack(b, q->bytes + PREFIX, sizeof q->bytes - PREFIX, &q->len, err);
        if (rc != FL_OK)
            return rc;
        q->len += PREFIX;
        o->count++;
    }
    return FL_OK;
}

/* The reader with most credit, the next in turn among equals: fast and slow ones all stay busy. */
static struct reader *link_choose(struct out_edge *o, uint64_t batch)
{
    if (o->keyed && o->nreaders > 0) {
        struct reader *r = &o->readers[batch % o->nreaders];
        return r->socket != NULL && r->credit >= (int64_t)o->cost ? r : NULL;
    }
    struct reader *best = NULL;
    for (uint32_t i = 0; i < o->nreaders; i++) {
        struct reader *r = &o->readers[(o->turn + i) % o->nreaders];
        if (r->socket != NULL && r->credit >= (int64_t)o->cost && (best == NULL || r->credit > best->credit))
            best = r;
    }
    if (best != NULL)
        o->turn = (uint32_t)(best - o->readers + 1) % o->nreaders;
    return best;
}

static int link_greeted(struct fl_links *l, struct reader *r, struct fl_err *err)
{
    if (!r->greeted) {
        r->greeted = true;
        return FL_OK;
    }
    l->broken = true;
    return fl_err_set(err, FL_E_PEER, "a link broke while both its ends were alive");
}

static int link_hear(struct fl_links *l, struct reader *r, struct fl_err *err)
{
    while (r->socket != NULL) {              /* not connected before all readers listen */
        unsigned char msg[16];
        int n = zmq_recv(r->socket, msg, sizeof msg, ZMQ_DONTWAIT);
        if (n < 0)
            return zmq_errno() == EAGAIN || zmq_errno() == EINTR ? FL_OK : link_errno(err, "receive");
        if (n == 0) {
            int rc = link_greeted(l, r, err);
            if (rc != FL_OK)
                return rc;
            continue;
        }
        if (n != 9 || (msg[0] != 'C' && msg[0] != 'A'))
            return fl_err_set(err, FL_E_PROTO, "link: a reply of %d bytes that is none of ours", n);
        if (msg[0] == 'C')
            r->credit += (int64_t)get_u64(msg + 1);
        else
            r->end_acked = true;
    }
    return FL_OK;
}

static int link_flush_edge(struct fl_links *l, struct out_edge *o, struct fl_err *err)
{
    for (uint32_t i = 0; i < o->nreaders; i++) {
        int rc = link_hear(l, &o->readers[i], err);
        if (rc != FL_OK)
            return rc;
    }
    while (o->count > 0) {
        struct queued *q = &o->ring[o->head];
        struct reader *r = link_choose(o, q->batch);
        if (r == NULL)
            return FL_OK;
        if (l->sent != NULL)             /* before it leaves: a note too many costs a re-issue, one too few a batch */
            atomic_store_explicit(&l->sent[(uint64_t)(o - l->out) * l->window + q->slot], (uint64_t)q->gen << 32 | ((uint64_t)(r - o->readers) + 1), memory_order_release);
        if (zmq_send(r->socket, q->bytes, q->len, 0) < 0)
            return link_errno(err, "send");
        r->credit -= (int64_t)o->cost;
        r->sent++;
        o->head = (o->head + 1) % l->window;
        o->count--;
    }
    return FL_OK;
}

bool fl_links_flush(struct fl_links *l, struct fl_err *err)
{
    bool empty = true;
    for (uint32_t i = 0; i < l->nwriters; i++)
        if (l->writers[i].owed > 0) {
            uint64_t owed = l->writers[i].owed;
            l->writers[i].owed = 0;
            if (link_reply(l, &l->writers[i], 'C', owed, err) != FL_OK)
                return false;
        }
    for (uint32_t i = 0; i < l->nout; i++) {
        if (link_flush_edge(l, &l->out[i], err) != FL_OK)
            return false;
        empty = empty && l->out[i].count == 0;
    }
    return empty;
}

bool fl_links_finish(struct fl_links *l, struct fl_err *err)
{
    bool done = true;
    if (!fl_links_flush(l, err))
        return false;
    for (uint32_t i = 0; i < l->nout; i++)
        for (uint32_t k = 0; k < l->out[i].nreaders; k++) {
            struct reader *r = &l->out[i].readers[k];
            if (r->socket == NULL && !r->end_acked) {        /* between two incarnations */
                done = false;
                continue;
            }
            if (!r->said_end && link_say(r, 'E', l->out[i].edge, r->sent, err) != FL_OK)
                return false;
            r->said_end = true;
            done = done && r->end_acked;
        }
    return done;
}

static int link_items(struct fl_links *l, struct fl_err *err)
{
    uint32_t n = 3;
    for (uint32_t i = 0; i < l->nout; i++)
        n += l->out[i].nreaders;
    l->items = calloc(n, sizeof *l->items);
    if (l->items == NULL)
        return fl_err_set(err, FL_E_NOMEM, "links");
    l->nitems = 1;
    if (l->own_fd >= 0)
        l->items[l->nitems++] = (zmq_pollitem_t){ .fd = l->own_fd, .events = ZMQ_POLLIN };
    if (l->inlet != NULL)
        l->items[l->nitems++] = (zmq_pollitem_t){ .socket = l->inlet, .events = ZMQ_POLLIN };
    for (uint32_t i = 0; i < l->nout; i++)
        for (uint32_t k = 0; k < l->out[i].nreaders; k++)
            if (l->out[i].readers[k].socket != NULL)
                l->items[l->nitems++] = (zmq_pollitem_t){ .socket = l->out[i].readers[k].socket, .events = ZMQ_POLLIN };
    return FL_OK;
}

void fl_links_listen_to(struct fl_links *l, int fd)
{
    l->own_fd = fd;
}

int fl_links_wait(struct fl_links *l, int fd, int ms, bool *fd_ready, struct fl_err *err)
{
    if (l->items == NULL) {
        int rc = link_items(l, err);
        if (rc != FL_OK)
            return rc;
    }
    l->items[0] = (zmq_pollitem_t){ .fd = fd, .events = ZMQ_POLLIN };
    int n = zmq_poll(l->items, (int)l->nitems, ms);
    if (n < 0 && zmq_errno() != EINTR)
        return link_errno(err, "poll");
    *fd_ready = n > 0 && l->items[0].revents != 0;
    return FL_OK;
}
