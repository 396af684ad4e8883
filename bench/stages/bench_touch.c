/* bench_touch: reads every byte of the payload, or none, and passes the batch on. */
#include <stdio.h>
#include <string.h>

#include "runtime/stage.h"

struct bench_touch { bool touch; };

static int bench_touch_check(struct fl_ctx *ctx, const struct fl_batch *b)
{
    const struct fl_tensor *t = fl_in(b, "payload");
    if (t == NULL)
        return fl_fail(ctx, FL_E_CONFIG, "nothing to read comes: want touch: false");
    const unsigned char *p = t->data;
    uint64_t sum = 0, v, want = (b->batch & 255) * UINT64_C(0x0101010101010101) * (t->bytes / 8);
    for (uint64_t i = 0; i + 8 <= t->bytes; i += 8) {
        memcpy(&v, p + i, 8);
        sum += v;
    }
    return sum == want ? FL_OK : fl_fail(ctx, FL_E_NUM, "batch %llu is not what was filled in", (unsigned long long)b->batch);
}

static int bench_touch_batch(struct fl_ctx *ctx, struct fl_batch *b)
{
    int rc = ((struct bench_touch *)ctx->state)->touch ? bench_touch_check(ctx, b) : FL_OK;
    if (rc == FL_OK)
        return fl_emit(ctx, &b);
    fl_free(ctx, &b);
    return rc;
}

static int bench_end_batch(struct fl_ctx *ctx, struct fl_batch *b)
{
    int rc = ((struct bench_touch *)ctx->state)->touch ? bench_touch_check(ctx, b) : FL_OK;
    uint64_t batch = b->batch;
    uint32_t attempt = b->attempt, n = b->n;
    fl_free(ctx, &b);
    return rc == FL_OK ? fl_ack(ctx, batch, attempt, n, 0) : rc;
}

static const struct fl_opt bench_touch_opts[] = {
    { .name = "touch", .type = FL_OPT_BOOL, .off = offsetof(struct bench_touch, touch), .def = "true", .help = "read the payload" },
    { 0 }
};

static const struct fl_spec bench_touch_in[] = { { "payload", "u8", "B,P", 0 }, { 0 } };
static const struct fl_spec bench_end_in[] = { { "payload", "u8", "B,P", FL_OPTIONAL }, { 0 } };
static const struct fl_spec bench_touch_out[] = { { 0 } };
static const struct fl_port bench_touch_ports[] = { { "in", FL_IN, bench_touch_in }, { "out", FL_OUT, bench_touch_out }, { 0 } };
static const struct fl_port bench_end_ports[] = { { "in", FL_IN | FL_MANY, bench_end_in }, { 0 } };
static const char *const bench_touch_counters[] = { NULL };

extern const struct fl_stage fl_stage_bench_touch, fl_stage_bench_end;
const struct fl_stage fl_stage_bench_touch = {
    .name = "bench_touch",
    .help = "Bench: reads the payload and passes the batch on.",
    .state_size = sizeof(struct bench_touch),
    .opts = bench_touch_opts,
    .ports = bench_touch_ports,
    .counters = bench_touch_counters,
    .batch = bench_touch_batch,
};

const struct fl_stage fl_stage_bench_end = {
    .name = "bench_end",
    .help = "Bench: reads the payload and acknowledges the batch.",
    .state_size = sizeof(struct bench_touch),
    .opts = bench_touch_opts,
    .ports = bench_end_ports,
    .counters = bench_touch_counters,
    .batch = bench_end_batch,
};
