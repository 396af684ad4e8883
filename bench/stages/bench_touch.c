/* bench_touch: reads every byte of the payload, or none, and passes the batch on. bench_end: the same, but it acknowledges; and it tells how long
 * the batches between two numbers took, so that a start and an end needn't be part of a rate. */
#include <stdio.h>
#include <string.h>
#include <time.h>

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

struct bench_end { bool touch; int64_t after, until; uint64_t come, at; };
enum { BENCH_END_TIMED, BENCH_END_US };

static void bench_end_time(struct fl_ctx *ctx)
{
    struct bench_end *s = ctx->state;
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    uint64_t now = (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
    if (s->come > (uint64_t)s->after && s->come <= (uint64_t)s->until) {
        fl_count(ctx, BENCH_END_TIMED, 1);
        fl_count(ctx, BENCH_END_US, now - s->at);
    }
    s->at = now;
}

static int bench_end_batch(struct fl_ctx *ctx, struct fl_batch *b)
{
    struct bench_end *s = ctx->state;
    int rc = s->touch ? bench_touch_check(ctx, b) : FL_OK;
    s->come++;
    bench_end_time(ctx);
    uint64_t batch = b->batch;
    uint32_t attempt = b->attempt, n = b->n;
    fl_free(ctx, &b);
    return rc == FL_OK ? fl_ack(ctx, batch, attempt, n, 0) : rc;
}

static const struct fl_opt bench_touch_opts[] = {
    { .name = "touch", .type = FL_OPT_BOOL, .off = offsetof(struct bench_touch, touch), .def = "true", .help = "read the payload" },
    { 0 }
};

static const struct fl_opt bench_end_opts[] = {
    { .name = "touch", .type = FL_OPT_BOOL, .off = offsetof(struct bench_end, touch), .def = "true", .help = "read the payload" },
    { .name = "after", .type = FL_OPT_INT, .off = offsetof(struct bench_end, after), .def = "1", .min = 1, .max = 1e9, .help = "batches that aren't timed" },
    { .name = "until", .type = FL_OPT_INT, .off = offsetof(struct bench_end, until), .def = "1000000000", .min = 1, .max = 1e9, .help = "the last that is" },
    { 0 }
};

static const struct fl_spec bench_touch_in[] = { { "payload", "u8", "B,P", 0 }, { 0 } };
static const struct fl_spec bench_end_in[] = { { "payload", "u8", "B,P", FL_OPTIONAL }, { 0 } };
static const struct fl_spec bench_touch_out[] = { { 0 } };
static const struct fl_port bench_touch_ports[] = { { "in", FL_IN, bench_touch_in }, { "out", FL_OUT, bench_touch_out }, { 0 } };
static const struct fl_port bench_end_ports[] = { { "in", FL_IN | FL_MANY, bench_end_in }, { 0 } };
static const char *const bench_touch_counters[] = { NULL };
static const char *const bench_end_counters[] = { "timed", "timed_us", NULL };

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
    .state_size = sizeof(struct bench_end),
    .opts = bench_end_opts,
    .ports = bench_end_ports,
    .counters = bench_end_counters,
    .batch = bench_end_batch,
};
