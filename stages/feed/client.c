/* One trainer: what it says is proven and passed to the ledger, what it is told goes over its transport. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "proto/frame.h"
#include "stages/feed/feed.h"

struct feed_client *feed_client_new(struct feed *s, enum feed_kind kind)
{
    for (uint32_t i = 0; i < FL_LEDGER_CLIENTS; i++)
        if (s->clients[i].kind == FEED_NOBODY) {
            s->clients[i] = (struct feed_client){ .kind = kind, .fd = -1 };
            return &s->clients[i];
        }
    return NULL;
}

struct feed_client *feed_client_of(struct feed *s, uint32_t peer)
{
    for (uint32_t i = 0; i < FL_LEDGER_CLIENTS; i++)
        if (s->clients[i].kind == FEED_REMOTE && s->clients[i].peer == peer)
            return &s->clients[i];
    return NULL;
}

uint32_t feed_client_index(const struct feed *s, const struct feed_client *c)
{
    return (uint32_t)(c - s->clients);
}

int feed_client_say(struct feed *s, struct feed_client *c, char kind, const void *body, size_t len)
{
    unsigned char buf[FL_CLIENT_PREFIX + FL_FRAME_MAX];
    struct fl_err err;
    if (len > sizeof buf - FL_CLIENT_PREFIX)
        return FL_E_PEER;
    fl_client_msg_prefix(kind, buf);
    memcpy(buf + FL_CLIENT_PREFIX, body, len);
    if (c->kind == FEED_LOCAL)
        return feed_local_send(c, buf, FL_CLIENT_PREFIX + len, NULL, 0);
    return fl_door_send(s->door, c->peer, buf, FL_CLIENT_PREFIX + len, NULL, 0, &err);
}

static bool client_wants(const struct feed_client *c, const char *name)
{
    for (uint32_t i = 0; i < c->nnames; i++)
        if (strcmp(c->names[i], name) == 0)
            return true;
    return c->nnames == 0;
}

void feed_client_select(const struct feed_client *c, const struct fl_batch *b, struct fl_batch *out)
{
    memcpy(out, b, offsetof(struct fl_batch, t));
    out->ntensors = 0;
    for (uint32_t i = 0; i < b->ntensors; i++)
        if (client_wants(c, b->t[i].name) && fl_batch_find(out, b->t[i].name) == NULL)
            out->t[out->ntensors++] = b->t[i];
}

int feed_client_batch(struct fl_ctx *ctx, struct feed_client *c, const struct fl_batch *b, struct fl_err *err)
{
    struct feed *s = ctx->state;
    unsigned char header[FL_FRAME_MAX];
    size_t len;
    if (c->kind == FEED_REMOTE)
        return feed_remote_batch(ctx, c, b, err);
    feed_client_select(c, b, &s->out);
    int rc = fl_frame_pack(&s->out, header, sizeof header, &len, err);
    return rc == FL_OK ? feed_client_say(s, c, 'B', header, len) : rc;
}

void feed_client_end(struct fl_ctx *ctx, struct feed_client *c, const struct fl_err *why)
{
    struct feed *s = ctx->state;
    char text[700];
    if (why != NULL) {
        int n = snprintf(text, sizeof text, "%s: %s", fl_status_name(why->code), why->text);
        feed_client_say(s, c, 'X', text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
        fl_warn(ctx, "a trainer was refused: %.400s", text);
        fl_count(ctx, FEED_REFUSED, 1);
    }
    if (c->kind == FEED_LOCAL)
        close(c->fd);                            /* leaves the epoll set with it */
    else if (why != NULL)
        fl_door_drop(s->door, c->peer);
    fl_ledger_leave(&s->ledger, feed_client_index(s, c), feed_now());
    *c = (struct feed_client){ .kind = FEED_NOBODY, .fd = -1 };
}

static int client_join(struct fl_ctx *ctx, struct feed_client *c, const struct fl_client_msg *m, struct fl_err *err)
{
    struct feed *s = ctx->state;
    for (uint32_t i = 0; i < m->nnames; i++)
        if (c->kind == FEED_LOCAL && strcmp(m->names[i], "file") == 0)
            return fl_err_set(err, FL_E_CONFIG, "encoded tiles go to trainers on other hosts; here the tensor path names the files");
    c->nnames = m->nnames;
    memcpy(c->names, m->names, m->nnames * sizeof m->names[0]);
    fl_count(ctx, FEED_JOINS, 1);
    return fl_ledger_join(&s->ledger, feed_client_index(s, c), m->rank, m->world, m->next, feed_now(), err);
}

void feed_client_hear(struct fl_ctx *ctx, struct feed_client *c, const void *bytes, size_t len)
{
    struct feed *s = ctx->state;
    struct fl_client_msg m;
    struct fl_batch *done = NULL;
    struct fl_err err;
    int rc = fl_client_msg_read(bytes, len, &m, &err);
    if (rc == FL_OK && m.kind == 'H') {
        struct fl_err gone;
        if (c->kind == FEED_REMOTE)
            fl_door_send(s->door, c->peer, s->welcome, s->welcome_len, NULL, 0, &gone);
    } else if (rc == FL_OK && m.kind == 'J') {
        rc = client_join(ctx, c, &m, &err);
    } else if (rc == FL_OK) {
        rc = fl_ledger_release(&s->ledger, feed_client_index(s, c), m.batch, m.gen, &done, &err);
    }
    if (done != NULL)
        feed_over(ctx, done, true);
    if (rc != FL_OK)
        feed_client_end(ctx, c, &err);
}
