/* feed: ends a graph and serves its batches to trainers, in the global order, each exactly once an epoch.
 *
 * Takes any tensors; needs id. Trainers on this host map the slabs and get headers; others get the tensors over TCP. A batch is
 * acknowledged when its trainer has released it. Who gets which: ledger.h. Messages: docs/protocol.md 7. */
#include "stages/feed/feed.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define FEED_READ_MOST 64                        /* messages of one trainer in a turn */
#define FEED_STUCK     30.0                      /* seconds until a standstill is told */

double feed_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- set-up ---- */

static int feed_welcome(struct fl_ctx *ctx)
{
    struct feed *s = ctx->state;
    json_t *labels = json_array(), *exclusive = json_array(), *pools = json_array();
    for (uint32_t i = 0; i < ctx->nlabels; i++) {
        json_array_append_new(labels, json_string(ctx->labels[i]));
        if (ctx->exclusive >> i & 1)
            json_array_append_new(exclusive, json_string(ctx->labels[i]));
    }
    for (uint32_t i = 0; i < s->npools; i++)
        json_array_append_new(pools, json_pack("{s:i, s:I}", "place", (int)s->pools[i].place, "slab", (json_int_t)s->pools[i].slab));
    json_t *j = json_pack("{s:i, s:s, s:I, s:i, s:I, s:i, s:i, s:I, s:o, s:o, s:o, s:o}", "flowrun_feed", 1, "name", ctx->name, "batches", (json_int_t)ctx->batches,
                          "epochs", (int)ctx->epochs, "start", (json_int_t)ctx->start, "B", (int)ctx->B, "window", (int)ctx->window, "seed", (json_int_t)ctx->seed,
                          "labels", labels, "exclusive", exclusive,
                          "rest_off", ctx->rest_off < ctx->nlabels ? json_string(ctx->labels[ctx->rest_off]) : json_null(), "pools", pools);
    char *text = j != NULL ? json_dumps(j, JSON_COMPACT) : NULL;
    json_decref(j);
    if (text == NULL)
        return fl_fail(ctx, FL_E_NOMEM, "welcome");
    s->welcome_len = FL_CLIENT_PREFIX + strlen(text);
    s->welcome = malloc(s->welcome_len + 1);
    if (s->welcome != NULL) {
        fl_client_msg_prefix('W', (unsigned char *)s->welcome);
        memcpy(s->welcome + FL_CLIENT_PREFIX, text, strlen(text) + 1);
    }
    free(text);
    return s->welcome != NULL ? FL_OK : fl_fail(ctx, FL_E_NOMEM, "welcome");
}

/* Trainers get a generation table of their own descriptor, which can't be written through. */
static int feed_open_gens(struct fl_ctx *ctx)
{
    struct feed *s = ctx->state;
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fl_gens(ctx));
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return fl_fail(ctx, FL_E_IO, "%s: %s", path, strerror(errno));
    s->gens = fd + 1;
    return FL_OK;
}

static void feed_refuse(void *ctx, uint32_t client, const struct fl_err *err)
{
    struct feed *s = ((struct fl_ctx *)ctx)->state;
    feed_client_end(ctx, &s->clients[client], err);
}

static void feed_ended(void *user, uint64_t epoch, uint64_t undelivered, uint64_t skipped)
{
    struct fl_ctx *ctx = user;
    if (undelivered > 0)
        fl_warn(ctx, "epoch %llu: %llu batches were not delivered: their rank died and did not come back", (unsigned long long)epoch, (unsigned long long)undelivered);
    if (skipped > 0)
        fl_info(ctx, "epoch %llu: %llu batches were left out by ranks that went on to a later epoch", (unsigned long long)epoch, (unsigned long long)skipped);
    fl_count(ctx, FEED_UNDELIVERED, undelivered);
    fl_count(ctx, FEED_SKIPPED, skipped);
}

static int feed_open(struct fl_ctx *ctx)
{
    struct feed *s = ctx->state;
    struct fl_err err;
    int rc = fl_ledger_init(&s->ledger, ctx->batches, ctx->epochs > 0 ? ctx->epochs : 1, ctx->window > 0 ? ctx->window : 1, s->rejoin, &err);
    if (rc != FL_OK)
        return fl_fail(ctx, rc, "%s", err.text);
    s->ledger.start = ctx->start;
    s->ledger.refuse = feed_refuse;
    s->ledger.ended = feed_ended;
    s->ledger.user = ctx;
    s->npools = fl_pools(ctx, s->pools, FEED_POOLS);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0)
        return fl_fail(ctx, FL_E_IO, "epoll: %s", strerror(errno));
    s->epoll = epoll + 1;
    fl_listen(ctx, epoll);
    if ((rc = feed_welcome(ctx)) == FL_OK && (rc = feed_open_gens(ctx)) == FL_OK)
        rc = feed_local_open(ctx);
    if (rc == FL_OK && s->listen != NULL && s->listen[0] != '\0')
        rc = feed_remote_open(ctx);
    return rc;
}

/* ---- hearing ---- */

static void feed_hear_local(struct fl_ctx *ctx, struct feed_client *c)
{
    unsigned char buf[FL_CLIENT_MAX + 1];
    size_t len;
    for (int i = 0; i < FEED_READ_MOST && c->kind == FEED_LOCAL; i++) {
        int rc = feed_local_read(c, buf, &len);
        if (rc == FL_END)
            return;
        if (rc != FL_OK)
            feed_client_end(ctx, c, NULL);
        else
            feed_client_hear(ctx, c, buf, len);
    }
}

static void feed_hear_door(struct fl_ctx *ctx)
{
    struct feed *s = ctx->state;
    unsigned char buf[FEED_TCP_MAX];
    uint32_t peer;
    size_t len;
    bool gone;
    while (fl_door_next(s->door, &peer, buf, &len, &gone) == FL_OK) {
        struct feed_client *c = feed_client_of(s, peer);
        if (gone) {
            if (c != NULL)
                feed_client_end(ctx, c, NULL);
            continue;
        }
        if (c == NULL && (c = feed_client_new(s, FEED_REMOTE)) != NULL)
            c->peer = peer;
        if (c != NULL)
            feed_client_hear(ctx, c, buf, len);
        else
            fl_door_drop(s->door, peer);
    }
}

static void feed_events(struct fl_ctx *ctx)
{
    struct feed *s = ctx->state;
    struct epoll_event e[64];
    int n = epoll_wait(s->epoll - 1, e, 64, 0);
    for (int i = 0; i < n; i++) {
        if (e[i].data.u32 == FL_LEDGER_CLIENTS) {
            feed_local_accept(ctx);
        } else if (e[i].data.u32 < FL_LEDGER_CLIENTS) {
            struct feed_client *c = &s->clients[e[i].data.u32];
            c->blocked = c->blocked && !(e[i].events & EPOLLOUT);
            if (c->kind == FEED_LOCAL && e[i].events & ~(uint32_t)EPOLLOUT)
                feed_hear_local(ctx, c);
        }
    }
    if (s->door != NULL)                         /* whatever its descriptor says: see fl_door_fd */
        feed_hear_door(ctx);
}

/* ---- giving ---- */

/* A client whose socket is full is heard of when there is room. */
static void feed_watch(struct feed *s, struct feed_client *c, bool blocked)
{
    struct epoll_event e = { .events = blocked ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.u32 = feed_client_index(s, c) };
    if (c->kind == FEED_LOCAL)
        epoll_ctl(s->epoll - 1, EPOLL_CTL_MOD, c->fd, &e);
    c->blocked = blocked;
}

static void feed_give(struct fl_ctx *ctx, struct feed_client *c)
{
    struct feed *s = ctx->state;
    struct fl_batch *b;
    struct fl_err err = { 0 };
    unsigned char told[8];
    uint64_t epoch;
    uint32_t i = feed_client_index(s, c);
    int rc = FL_OK;
    while (rc == FL_OK && (b = fl_ledger_for(&s->ledger, i)) != NULL)
        if ((rc = feed_client_batch(ctx, c, b, &err)) == FL_OK)
            fl_ledger_sent(&s->ledger, i, b);
    if (rc == FL_OK && fl_ledger_finished(&s->ledger, i, &epoch)) {
        for (int k = 0; k < 8; k++)
            told[k] = (unsigned char)(epoch >> 8 * k);
        if ((rc = feed_client_say(s, c, 'F', told, sizeof told)) == FL_OK)
            fl_ledger_told(&s->ledger, i);           /* else again, when there is room */
    }
    if (rc == FL_END)
        feed_watch(s, c, true);
    else if (rc != FL_OK)
        feed_client_end(ctx, c, rc == FL_E_PEER ? NULL : &err);
}

void feed_over(struct fl_ctx *ctx, struct fl_batch *b, bool delivered)
{
    fl_ack_batch(ctx, b);
    if (delivered) {
        fl_count(ctx, FEED_BATCHES, 1);
        fl_count(ctx, FEED_TILES, b->n);
    }
    fl_free(ctx, &b);
}

/* Nobody takes any batch, though all that may be in flight are here: say so once, it may be a trainer that keeps what it is given. */
static void feed_stuck(struct fl_ctx *ctx, bool moved)
{
    struct feed *s = ctx->state;
    uint32_t held = 0, away = 0;
    if (moved || s->ledger.n < s->ledger.window || !s->ledger.active) {
        s->stuck_since = 0;
        s->stuck_told = false;
        return;
    }
    if (s->stuck_since == 0)
        s->stuck_since = feed_now();
    if (s->stuck_told || feed_now() - s->stuck_since < FEED_STUCK)
        return;
    for (uint32_t i = 0; i < s->ledger.n; i++)
        held += s->ledger.entries[i].client >= 0;
    for (uint32_t r = 0; r < s->ledger.world; r++)
        away += s->ledger.place[r].client < 0 && s->ledger.place[r].next < (s->ledger.epoch + 1) * s->ledger.per_epoch;
    fl_warn(ctx, "no batch moves: of %u in flight trainers hold %u; of %u ranks %u are not here", s->ledger.n, held, s->ledger.world, away);
    s->stuck_told = true;
}

static void feed_serve(struct fl_ctx *ctx)
{
    struct feed *s = ctx->state;
    struct fl_batch *b;
    uint32_t before = s->ledger.n;
    feed_events(ctx);
    while ((b = fl_ledger_drop(&s->ledger, feed_now())) != NULL)
        feed_over(ctx, b, false);
    int32_t vain = fl_ledger_vain(&s->ledger);
    if (vain >= 0) {
        struct fl_err err;
        fl_err_set(&err, FL_E_STALE, "the batch it waits for was used already: to go back to it, start the graph anew there");
        feed_client_end(ctx, &s->clients[vain], &err);
    }
    for (uint32_t i = 0; i < FL_LEDGER_CLIENTS; i++)
        if (s->clients[i].kind != FEED_NOBODY && !s->clients[i].blocked)
            feed_give(ctx, &s->clients[i]);
    if (s->door != NULL)                         /* sending may have taken a wake-up away */
        feed_hear_door(ctx);
    feed_stuck(ctx, s->ledger.n != before);
    fl_lent(ctx, s->ledger.n);
}

/* ---- callbacks ---- */

static int feed_batch(struct fl_ctx *ctx, struct fl_batch *b)
{
    struct feed *s = ctx->state;
    struct fl_batch *twice;
    struct fl_err err;
    int rc = fl_ledger_add(&s->ledger, b, &twice, &err);
    if (rc != FL_OK) {
        fl_free(ctx, &b);
        return fl_fail(ctx, rc, "%s", err.text);
    }
    if (twice != NULL)
        feed_over(ctx, twice, false);
    feed_serve(ctx);
    return FL_OK;
}

static int feed_idle(struct fl_ctx *ctx)
{
    feed_serve(ctx);
    return FL_OK;
}

static int feed_drain(struct fl_ctx *ctx)
{
    struct feed *s = ctx->state;
    for (uint32_t i = 0; i < FL_LEDGER_CLIENTS; i++)
        if (s->clients[i].kind != FEED_NOBODY)
            feed_client_say(s, &s->clients[i], 'E', "", 0);
    fl_ledger_close(&s->ledger);
    return FL_OK;
}

static void feed_close(struct fl_ctx *ctx)
{
    struct feed *s = ctx->state;
    char path[1300];
    for (uint32_t i = 0; i < FL_LEDGER_CLIENTS; i++)
        if (s->clients[i].kind == FEED_LOCAL)
            close(s->clients[i].fd);
    fl_door_close(s->door);                      /* first: what it has yet to send lies in the slabs */
    while (s->ledger.n > 0)
        fl_free(ctx, &s->ledger.entries[--s->ledger.n].b);
    const int fds[] = { s->server, s->gens, s->epoll };
    for (int i = 0; i < 3; i++)
        if (fds[i] > 0)
            close(fds[i] - 1);
    if (s->door != NULL && ctx->run_dir != NULL) {
        snprintf(path, sizeof path, "%s/%s.json", ctx->run_dir, ctx->name);
        unlink(path);                            /* its keys are of no use any more */
    }
    fl_ledger_done(&s->ledger);
    free(s->welcome);
}

static const struct fl_opt feed_opts[] = {
    { .name = "rejoin", .type = FL_OPT_FLOAT, .off = offsetof(struct feed, rejoin), .def = "60", .min = 0, .max = 1e6,
      .help = "Seconds for which the share of a rank that died is kept for it; then the rest of its epoch is given up and reported." },
    { .name = "listen", .type = FL_OPT_STR, .off = offsetof(struct feed, listen),
      .help = "For trainers on other hosts: tcp://HOST:PORT (port *: any free one), encrypted and authenticated with the keys in RUN/NAME.json. Not given: this host only." },
    { .name = "address", .type = FL_OPT_STR, .off = offsetof(struct feed, address),
      .help = "What RUN/NAME.json tells trainers to connect to, where that differs from `listen`." },
    { 0 }
};

static const struct fl_spec feed_in[] = {
    { "id", "u8", "B,64", 0 },
    { 0 }
};

static const struct fl_port feed_ports[] = { { "in", FL_IN | FL_MANY | FL_TAP, feed_in }, { 0 } };

static const char *const feed_counters[] = { "batches", "tiles", "undelivered", "skipped", "refused", "joins", NULL };

extern const struct fl_stage fl_stage_feed;
const struct fl_stage fl_stage_feed = {
    .name = "feed",
    .help = "Serves the graph's batches to trainers: ranks, epochs, each batch once.",
    .state_size = sizeof(struct feed),
    .opts = feed_opts,
    .ports = feed_ports,
    .counters = feed_counters,
    .open = feed_open,
    .batch = feed_batch,
    .idle = feed_idle,
    .drain = feed_drain,
    .close = feed_close,
};
