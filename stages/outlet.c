/* outlet: the sink of a host's share of a graph: batches go back to the host that sent them (docs/hosts.md). */
#include "stages/lib/line.h"

enum { OUTLET_BATCHES, OUTLET_BYTES };

struct outlet {
    struct fl_line line;                         /* options */
    char **tensors;
    uint64_t sent;
};

static int outlet_open(struct fl_ctx *ctx)
{
    struct outlet *s = ctx->state;
    return fl_line_open(ctx, &s->line, FL_WIRE_OUTLET);
}

static int outlet_send(void *to, const void *head, size_t hlen, const void *data, size_t dlen)
{
    struct outlet *s = to;
    s->sent += hlen + dlen;
    return fl_dial_say(s->line.dial, head, hlen, data, dlen, NULL);
}

/* Nothing but the end of the connection is expected from there. */
static int outlet_idle(struct fl_ctx *ctx)
{
    struct outlet *s = ctx->state;
    int rc = fl_line_next(ctx, &s->line);
    return rc == FL_END ? FL_OK : rc != FL_OK ? rc : fl_fail(ctx, FL_E_PROTO, "%s: a message of kind %u", s->line.address, s->line.buf[0]);
}

static int outlet_batch(struct fl_ctx *ctx, struct fl_batch *b)
{
    struct outlet *s = ctx->state;
    struct fl_err err = { 0 };
    s->sent = 0;
    int rc = fl_parcel_put(b, b->batch, s->tensors, outlet_send, s, &err);
    if (rc == FL_OK)
        rc = fl_ack(ctx, b->batch, b->attempt, b->n, 0);
    else
        rc = err.code != FL_OK ? fl_fail(ctx, rc, "%s", err.text) : fl_lost(ctx, "%s: the connection has ended", s->line.address);
    fl_free(ctx, &b);
    fl_count(ctx, OUTLET_BATCHES, 1);
    fl_count(ctx, OUTLET_BYTES, s->sent);
    return rc == FL_OK ? outlet_idle(ctx) : rc;
}

static void outlet_close(struct fl_ctx *ctx)
{
    fl_line_close(&((struct outlet *)ctx->state)->line);
}

static const struct fl_opt outlet_opts[] = {
    FL_LINE_OPTS(struct outlet),
    { .name = "tensors", .type = FL_OPT_LIST, .off = offsetof(struct outlet, tensors), .help = "Those that travel, where a batch has them." },
    { 0 }
};

static const struct fl_spec outlet_in[] = { { "*", "u8", "", FL_OPTIONAL }, { 0 } };
static const struct fl_port outlet_ports[] = { { "in", FL_IN | FL_TAP, outlet_in }, { 0 } };
static const char *const outlet_counters[] = { "batches", "bytes", NULL };

extern const struct fl_stage fl_stage_outlet;
const struct fl_stage fl_stage_outlet = {
    .name = "outlet",
    .help = "Sink of a host's share of a graph: what goes back to the host that sent it.",
    .state_size = sizeof(struct outlet),
    .opts = outlet_opts,
    .ports = outlet_ports,
    .counters = outlet_counters,
    .open = outlet_open,
    .batch = outlet_batch,
    .idle = outlet_idle,
    .close = outlet_close,
};
