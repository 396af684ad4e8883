/* What comes through the door: the agent's word, and batches that come back. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "stages/remote/remote.h"

#define PEER_AT_ONCE 4096                /* messages until we look after everything else: who floods us must not make us look hung */
#define PEER_MARKS 2
static const char *const peer_marks[PEER_MARKS] = { "status", "reason" };

int remote_open_door(struct fl_ctx *ctx)
{
    struct remote *s = ctx->state;
    const struct fl_door_conf conf = { .endpoint = s->listen, .most = FL_WIRE_MAX, .silence = (uint32_t)(s->silence * 1000), .insecure = s->insecure };
    struct epoll_event e = { .events = EPOLLIN };
    struct fl_err err = { 0 };
    for (int i = 0; i < FL_WIRE_ROLES; i++)
        s->peer[i] = -1;
    int rc = fl_door_open(&conf, &s->door, &err);
    if (rc != FL_OK)
        return fl_fail(ctx, rc, "option listen: %s", err.text);
    s->refused = 0;
    return epoll_ctl(s->epoll, EPOLL_CTL_ADD, fl_door_fd(s->door), &e) == 0 ? FL_OK : fl_fail(ctx, FL_E_IO, "epoll");
}

int remote_say(struct remote *s, enum fl_wire_role role, char kind, const void *data, size_t len)
{
    unsigned char head[FL_WIRE_PREFIX];
    fl_wire_head(head, kind, 0);
    return s->peer[role] >= 0 ? fl_door_say(s->door, (uint32_t)s->peer[role], head, sizeof head, data, len, NULL) : FL_E_PEER;
}

/* ---- batches ---- */

static int peer_send(void *to, const void *head, size_t hlen, const void *data, size_t dlen)
{
    struct fl_ctx *ctx = to;
    struct remote *s = ctx->state;
    fl_count(ctx, REMOTE_BYTES_OUT, hlen + dlen);
    return fl_door_say(s->door, (uint32_t)s->peer[FL_WIRE_INLET], head, hlen, data, dlen, NULL);
}

int remote_give(struct fl_ctx *ctx, struct fl_batch *b)
{
    struct remote *s = ctx->state;
    struct fl_err err = { 0 };
    s->held[s->nheld++] = (struct remote_held){ .token = s->next, .b = b };
    s->given[s->next % s->ngiven] = (struct remote_given){ .token = s->next, .batch = b->batch, .attempt = b->attempt, .n = b->n };
    int rc = fl_parcel_put(b, s->next++, s->send, peer_send, ctx, &err);
    fl_count(ctx, REMOTE_SENT, 1);
    if (rc == FL_OK)
        return rc;
    return err.code != FL_OK ? fl_fail(ctx, rc, "%s", err.text) : remote_trouble(ctx, false, "the connection has ended");
}

static bool peer_named(char *const *list, const char *name)
{
    for (; list != NULL && *list != NULL; list++)
        if (strcmp(*list, name) == 0)
            return true;
    return false;
}

static bool peer_is_mark(const char *name)
{
    return strcmp(name, peer_marks[0]) == 0 || strcmp(name, peer_marks[1]) == 0;
}

/* It is given up as if it had died, and called again. */
static int peer_bad(struct fl_ctx *ctx, const char *text)
{
    return remote_trouble(ctx, false, "what it says can't be: %s", text);
}

/* The way back begins: its tensors get their places in our slab. */
static int peer_begin(struct fl_ctx *ctx, size_t len)
{
    struct remote *s = ctx->state;
    struct fl_err err = { 0 };
    struct fl_batch *b = NULL;
    if (s->coming != NULL)
        return peer_bad(ctx, "a batch begins before the last one was whole");
    if (fl_parcel_begin(&s->parcel, s->buf, len, ctx->B, UINT64_MAX / 2, &err) != FL_OK)       /* fl_out proves each tensor against the slab */
        return peer_bad(ctx, err.text);
    for (uint32_t i = 0; i < s->nheld && b == NULL; i++)
        b = s->held[i].token == s->parcel.token ? s->held[i].b : NULL;
    if (b == NULL || s->parcel.b.n != b->n)
        return peer_bad(ctx, b == NULL ? "a batch that it was not given" : "a batch of another number of tiles");
    for (uint32_t i = 0; i < s->parcel.b.ntensors; i++) {
        struct fl_tensor *t = &s->parcel.b.t[i];
        for (uint32_t k = 0; k < i; k++)
            if (strcmp(s->parcel.b.t[k].name, t->name) == 0)
                return peer_bad(ctx, "a tensor that comes twice");
        if (!peer_named(s->give, t->name) && !peer_is_mark(t->name))
            return peer_bad(ctx, "a tensor that it doesn't make");
        if ((t->data = fl_out(ctx, b, t->name, t->dtype, t->ndim, t->shape)) == NULL)
            return peer_bad(ctx, "a tensor too large for its place");
    }
    s->coming = b;
    return FL_OK;
}

/* What the host's stages took isn't passed on. */
static void peer_leave(const struct remote *s, struct fl_batch *b)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < b->ntensors; i++)
        if (peer_named(s->give, b->t[i].name) || peer_named(s->pass, b->t[i].name) || peer_is_mark(b->t[i].name))
            b->t[kept++] = b->t[i];
    b->ntensors = kept;
}

static int peer_whole(struct fl_ctx *ctx)
{
    struct remote *s = ctx->state;
    struct fl_batch *b = s->coming;
    unsigned char token[8];
    if (b == NULL || !fl_parcel_whole(&s->parcel))
        return FL_OK;
    fl_wire_put(token, s->parcel.token, 8);
    for (uint32_t i = 0; i < s->nheld; i++)
        if (s->held[i].b == b)
            s->held[i--] = s->held[--s->nheld];
    s->coming = NULL;
    peer_leave(s, b);
    remote_say(s, FL_WIRE_INLET, 'F', token, sizeof token);
    return fl_emit(ctx, &b);
}

static int peer_add(struct fl_ctx *ctx, size_t len)
{
    struct remote *s = ctx->state;
    struct fl_err err = { 0 };
    uint64_t token;
    if (fl_parcel_token(s->buf, len, &token, &err) != FL_OK)
        return peer_bad(ctx, err.text);
    if (s->coming == NULL || token != s->parcel.token)
        return peer_bad(ctx, "bytes of a batch out of turn");
    return fl_parcel_add(&s->parcel, s->buf, len, &err) == FL_OK ? FL_OK : peer_bad(ctx, err.text);
}

/* ---- the agent ---- */

static const char *peer_text(const json_t *j, const char *key)
{
    const char *t = json_string_value(json_object_get(j, key));
    return t != NULL ? t : "?";
}

static int peer_refuse(struct fl_ctx *ctx, const char *what, const char *there, const char *here)
{
    struct remote *s = ctx->state;
    char text[400];
    snprintf(text, sizeof text, "%s is %.120s there, %.120s here", what, there, here);
    remote_say(s, FL_WIRE_AGENT, 'X', text, strlen(text));
    return remote_trouble(ctx, true, "refused: %s", text);
}

/* Who says hello as the agent is asked what it is made of before it is told anything. */
static int peer_agent(struct fl_ctx *ctx, const char *json, size_t len)
{
    struct remote *s = ctx->state;
    json_t *j = json_loadb(json, len, JSON_REJECT_DUPLICATES, NULL);
    char *part = json_dumps(json_object_get(json_array_get(s->hosts, ctx->instance), "part"), JSON_COMPACT);
    int rc = FL_OK;
    if (json_integer_value(json_object_get(j, "protocol")) != FL_WIRE_VERSION)
        rc = peer_refuse(ctx, "the protocol", "another one", "1");
    else if (s->build != NULL && strcmp(peer_text(j, "build"), s->build) != 0)
        rc = peer_refuse(ctx, "the build of flowrun", peer_text(j, "build"), s->build);
    else if (s->processor != NULL && !s->mixed && strcmp(peer_text(j, "processor"), s->processor) != 0)
        rc = peer_refuse(ctx, "the processor (its last bits may differ; mixed: true allows that)", peer_text(j, "processor"), s->processor);
    else if (part == NULL || strlen(part) > FL_PARCEL_CHUNK)
        rc = fl_fail(ctx, FL_E_CONFIG, "the share of %s is too long to be told", s->name);
    else if (remote_say(s, FL_WIRE_AGENT, 'W', part, strlen(part)) != FL_OK)
        rc = remote_trouble(ctx, false, "the connection has ended");
    free(part);
    json_decref(j);
    return rc;
}

static void peer_stranger(struct fl_ctx *ctx, uint32_t peer, const char *why)
{
    struct remote *s = ctx->state;
    remote_told(ctx, true, "somebody was turned away: %s", why);
    fl_count(ctx, REMOTE_REFUSED, 1);
    fl_door_drop(s->door, peer);
}

static int peer_hello(struct fl_ctx *ctx, uint32_t peer, size_t len)
{
    struct remote *s = ctx->state;
    uint64_t role = len >= FL_WIRE_PREFIX + FL_WIRE_PASS ? fl_wire_get(s->buf + 2, 2) : FL_WIRE_ROLES;
    if (s->buf[0] != 'H' || role >= FL_WIRE_ROLES || memcmp(s->buf + FL_WIRE_PREFIX, s->pass_word, FL_WIRE_PASS) != 0 || s->peer[role] >= 0) {
        peer_stranger(ctx, peer, s->buf[0] == 'H' ? "another word, or a place that is taken" : "it did not say who it is");
        return FL_OK;
    }
    s->peer[role] = peer;
    return role == FL_WIRE_AGENT ? peer_agent(ctx, (const char *)s->buf + FL_WIRE_PREFIX + FL_WIRE_PASS, len - FL_WIRE_PREFIX - FL_WIRE_PASS) : FL_OK;
}

/* What its stages have come to where they leave a choice to the machine. All hosts must come to the same: the first to join says what that is, for as long as
 * the run is gone on with. */
static int peer_has(struct fl_ctx *ctx, json_t *has)
{
    struct remote *s = ctx->state;
    struct fl_err err = { 0 };
    char *differs = NULL;
    int rc = remote_keep(ctx, has, &differs, &err);
    if (rc != FL_OK)
        return fl_fail(ctx, rc, "%s", err.text);
    if (differs == NULL || s->mixed) {
        free(differs);
        return FL_OK;
    }
    remote_say(s, FL_WIRE_AGENT, 'X', differs, strlen(differs));
    rc = remote_trouble(ctx, true, "refused: %.350s (the last bits may differ; mixed: true allows that)", differs);
    free(differs);
    return rc;
}

static int peer_word(struct fl_ctx *ctx, size_t len)
{
    struct remote *s = ctx->state;
    json_t *j = json_loadb((const char *)s->buf + FL_WIRE_PREFIX, len - FL_WIRE_PREFIX, JSON_REJECT_DUPLICATES, NULL);
    const json_t *log = json_object_get(j, "log"), *fail = json_object_get(j, "fail");
    int rc = FL_OK;
    if (json_is_string(fail))
        rc = remote_trouble(ctx, true, "%.400s", json_string_value(fail));
    else if (json_is_string(log) && json_integer_value(json_object_get(j, "level")) > 0)
        remote_told(ctx, true, "%.400s", json_string_value(log));
    else if (json_is_string(log))
        remote_told(ctx, false, "%.400s", json_string_value(log));
    else if (json_is_object(json_object_get(j, "has")))
        rc = peer_has(ctx, json_object_get(j, "has"));
    else if (json_object_get(j, "killed") != NULL)
        remote_killed(ctx, j);
    else if (json_is_integer(json_object_get(j, "ready"))) {
        json_int_t window = json_integer_value(json_object_get(j, "ready"));
        s->window = window >= 1 && window < ctx->window ? (uint32_t)window : ctx->window;
        s->ready = true;
    }
    json_decref(j);
    return rc;
}

static int peer_message(struct fl_ctx *ctx, uint32_t peer, size_t len)
{
    struct remote *s = ctx->state;
    int role = 0;
    while (role < FL_WIRE_ROLES && s->peer[role] != peer)
        role++;
    if (!fl_wire_is(s->buf, len)) {
        if (role < FL_WIRE_ROLES)
            return peer_bad(ctx, "a message that is none of ours");
        peer_stranger(ctx, peer, "a message that is none of ours");
        return FL_OK;
    }
    if (role == FL_WIRE_ROLES)
        return peer_hello(ctx, peer, len);
    s->heard = remote_now();
    if (s->buf[0] == 'P')
        return FL_OK;
    if (role == FL_WIRE_AGENT && s->buf[0] == 'J')
        return peer_word(ctx, len);
    if (role != FL_WIRE_OUTLET || (s->buf[0] != 'B' && s->buf[0] != 'D'))
        return peer_bad(ctx, "a message that is not its to send");
    fl_count(ctx, REMOTE_BYTES_IN, len);
    int rc = s->buf[0] == 'B' ? peer_begin(ctx, len) : peer_add(ctx, len);
    return rc == FL_OK ? peer_whole(ctx) : rc;
}

int remote_hear(struct fl_ctx *ctx, bool *any)
{
    struct remote *s = ctx->state;
    uint32_t peer;
    size_t len;
    bool gone;
    int rc = FL_OK, most = PEER_AT_ONCE;
    while (rc == FL_OK && s->door != NULL && most-- > 0 && fl_door_next(s->door, &peer, s->buf, &len, &gone) == FL_OK) {
        *any = true;
        if (!gone)
            rc = peer_message(ctx, peer, len);
        for (int i = 0; gone && i < FL_WIRE_ROLES && rc == FL_OK; i++)
            if (s->peer[i] == peer) {
                s->peer[i] = -1;
                if (s->state != REMOTE_ENDING)
                    rc = remote_trouble(ctx, false, "the connection of its %s has ended", (const char *[]){ "agent", "inlet", "outlet" }[i]);
            }
    }
    if (s->door != NULL && fl_door_refused(s->door) > s->refused) {
        remote_told(ctx, true, "%llu turned away at the door: without the keys of this run, or without a word", (unsigned long long)(fl_door_refused(s->door) - s->refused));
        fl_count(ctx, REMOTE_REFUSED, fl_door_refused(s->door) - s->refused);
        s->refused = fl_door_refused(s->door);
    }
    return rc;
}
