/* inlet: the source of a host's share of a graph: batches that another host sends (docs/hosts.md).
 *
 * It keeps what came until it is told that the batch has gone back: a stage of this host that dies costs no second journey. Batches are
 * numbered as they come, which is what their tokens are. */
#include <stdlib.h>
#include <string.h>

#include "stages/lib/line.h"

enum { INLET_BATCHES, INLET_BYTES };

struct inlet_held { struct fl_parcel p; unsigned char *mem; struct inlet_held *next; };

struct inlet {
    struct fl_line line;                         /* options */
    uint64_t limit;
    struct inlet_held *held, *spare;             /* by no order; as many as the graph's host has under way here */
    uint64_t whole, begun;                       /* batches that are there; that have begun to come: one more at most */
};

static int inlet_open(struct fl_ctx *ctx)
{
    struct inlet *s = ctx->state;
    return fl_line_open(ctx, &s->line, FL_WIRE_INLET);
}

static struct inlet_held *inlet_find(const struct inlet *s, uint64_t token)
{
    struct inlet_held *h = s->held;
    while (h != NULL && h->p.token != token)
        h = h->next;
    return h;
}

static struct inlet_held *inlet_new(struct fl_ctx *ctx)
{
    struct inlet *s = ctx->state;
    struct inlet_held *h = s->spare;
    if (h != NULL) {
        s->spare = h->next;
    } else if ((h = calloc(1, sizeof *h)) == NULL || (h->mem = malloc(s->limit > 0 ? s->limit : 1)) == NULL) {
        free(h);
        fl_fail(ctx, FL_E_NOMEM, "a batch of %llu bytes", (unsigned long long)s->limit);
        return NULL;
    }
    h->next = s->held;
    s->held = h;
    return h;
}

static void inlet_forget(struct inlet *s, uint64_t token)
{
    for (struct inlet_held **at = &s->held, *h; (h = *at) != NULL; at = &h->next)
        if (h->p.token == token) {
            *at = h->next;
            h->next = s->spare;
            s->spare = h;
            return;
        }
}

static int inlet_begin(struct fl_ctx *ctx)
{
    struct inlet *s = ctx->state;
    struct fl_err err = { 0 };
    uint64_t off = 0;
    struct inlet_held *h = inlet_new(ctx);
    if (h == NULL)
        return FL_E_NOMEM;
    int rc = fl_parcel_begin(&h->p, s->line.buf, s->line.len, ctx->B, s->limit, &err);
    if (rc == FL_OK && (s->begun != s->whole || h->p.token != s->begun))
        rc = fl_err_set(&err, FL_E_PROTO, "batch %llu out of turn", (unsigned long long)h->p.token);
    if (rc != FL_OK) {
        h->p.token = UINT64_MAX;
        inlet_forget(s, UINT64_MAX);
        return fl_fail(ctx, rc, "%s: %s", s->line.address, err.text);
    }
    s->begun++;
    for (uint32_t i = 0; i < h->p.b.ntensors; i++) {
        h->p.b.t[i].data = h->mem + off;
        off = (off + h->p.b.t[i].bytes + FL_ALIGN - 1) / FL_ALIGN * FL_ALIGN;
    }
    return FL_OK;
}

static int inlet_add(struct fl_ctx *ctx)
{
    struct inlet *s = ctx->state;
    struct fl_err err = { 0 };
    uint64_t token;
    int rc = fl_parcel_token(s->line.buf, s->line.len, &token, &err);
    struct inlet_held *h = rc == FL_OK && token == s->whole ? inlet_find(s, token) : NULL;
    if (rc == FL_OK)
        rc = h != NULL ? fl_parcel_add(&h->p, s->line.buf, s->line.len, &err) : fl_err_set(&err, FL_E_PROTO, "bytes of batch %llu out of turn", (unsigned long long)token);
    return rc == FL_OK ? rc : fl_fail(ctx, rc, "%s: %s", s->line.address, err.text);
}

static int inlet_take(struct fl_ctx *ctx)
{
    struct inlet *s = ctx->state;
    int rc = FL_OK;
    switch (s->line.buf[0]) {
    case 'B': rc = inlet_begin(ctx); break;
    case 'D': rc = inlet_add(ctx); break;
    case 'F': inlet_forget(s, s->line.len == FL_WIRE_PREFIX + 8 ? fl_wire_get(s->line.buf + FL_WIRE_PREFIX, 8) : UINT64_MAX); break;
    default:  rc = fl_fail(ctx, FL_E_PROTO, "%s: a message of kind %u", s->line.address, s->line.buf[0]);
    }
    fl_count(ctx, INLET_BYTES, s->line.len);
    if (rc != FL_OK || s->begun == s->whole)
        return rc;
    const struct inlet_held *h = inlet_find(s, s->whole);
    if (h != NULL && fl_parcel_whole(&h->p)) {
        fl_count(ctx, INLET_BATCHES, 1);
        fl_more(ctx, ++s->whole);
    }
    return FL_OK;
}

static int inlet_idle(struct fl_ctx *ctx)
{
    struct inlet *s = ctx->state;
    int rc;
    while ((rc = fl_line_next(ctx, &s->line)) == FL_OK && (rc = inlet_take(ctx)) == FL_OK)
        ;
    return rc == FL_END ? FL_OK : rc;
}

static int inlet_produce(struct fl_ctx *ctx, struct fl_batch *b)
{
    struct inlet *s = ctx->state;
    const struct inlet_held *h = b->batch < s->whole ? inlet_find(s, b->batch) : NULL;
    int rc = h != NULL ? FL_OK : fl_fail(ctx, FL_E_BUG, "batch %llu is not here", (unsigned long long)b->batch);
    if (rc == FL_OK)
        b->n = h->p.b.n;
    for (uint32_t i = 0; rc == FL_OK && i < h->p.b.ntensors; i++) {
        const struct fl_tensor *t = &h->p.b.t[i];
        void *to = fl_out(ctx, b, t->name, t->dtype, t->ndim, t->shape);
        if (to != NULL)
            memcpy(to, t->data, t->bytes);
        else
            rc = FL_E_BUG;
    }
    if (rc == FL_OK)
        rc = fl_emit(ctx, &b);
    else
        fl_free(ctx, &b);
    return rc == FL_OK ? inlet_idle(ctx) : rc;
}

static void inlet_close(struct fl_ctx *ctx)
{
    struct inlet *s = ctx->state;
    fl_line_close(&s->line);
    for (int k = 0; k < 2; k++)
        for (struct inlet_held *h = k == 0 ? s->held : s->spare, *next; h != NULL; h = next) {
            next = h->next;
            free(h->mem);
            free(h);
        }
}

static const struct fl_opt inlet_opts[] = {
    FL_LINE_OPTS(struct inlet),
    { .name = "limit", .type = FL_OPT_SIZE, .off = offsetof(struct inlet, limit), .required = 1, .help = "Bytes that a batch may have." },
    { 0 }
};

static const struct fl_port inlet_ports[] = { { "out", FL_OUT, (const struct fl_spec[]){ { 0 } } }, { 0 } };
static const char *const inlet_counters[] = { "batches", "bytes", NULL };

extern const struct fl_stage fl_stage_inlet;
const struct fl_stage fl_stage_inlet = {
    .name = "inlet",
    .help = "Source of a host's share of a graph: what another host sends.",
    .state_size = sizeof(struct inlet),
    .opts = inlet_opts,
    .ports = inlet_ports,
    .counters = inlet_counters,
    .open = inlet_open,
    .produce = inlet_produce,
    .idle = inlet_idle,
    .close = inlet_close,
};
