/* bench_fill: a source that makes batches out of nothing: ids, ordinals and `bytes` of payload a tile, filled or left as they are. */
#include <stdio.h>
#include <string.h>

#include "runtime/stage.h"

struct bench_fill { int64_t batches, tiles, bytes; bool touch; };

static int bench_fill_total(struct fl_ctx *ctx)
{
    struct bench_fill *s = ctx->state;
    fl_set_total(ctx, (uint64_t)s->batches, (uint64_t)(s->batches * s->tiles));
    return FL_OK;
}

static int bench_fill_produce(struct fl_ctx *ctx, struct fl_batch *b)
{
    struct bench_fill *s = ctx->state;
    uint32_t n = (uint32_t)s->tiles, bytes = (uint32_t)s->bytes;
    b->n = n;
    char *id = fl_out(ctx, b, "id", FL_U8, 2, (uint32_t[]){ n, FL_ID_SIZE });
    uint64_t *ordinal = id != NULL ? fl_out(ctx, b, "ordinal", FL_U64, 1, &n) : NULL;
    void *payload = ordinal != NULL ? fl_out(ctx, b, "payload", FL_U8, 2, (uint32_t[]){ n, bytes }) : NULL;
    if (payload == NULL) {
        fl_free(ctx, &b);
        return FL_E_BUG;
    }
    if (s->touch)
        memset(payload, (int)(b->batch & 255), (size_t)n * bytes);
    memset(id, 0, (size_t)n * FL_ID_SIZE);
    for (uint32_t i = 0; i < n; i++) {
        ordinal[i] = b->batch * n + i;
        memcpy(id + (size_t)i * FL_ID_SIZE, &ordinal[i], sizeof ordinal[i]);
    }
    return fl_emit(ctx, &b);
}

static const struct fl_opt bench_fill_opts[] = {
    { .name = "batches", .type = FL_OPT_INT, .off = offsetof(struct bench_fill, batches), .def = "100", .min = 1, .max = 1e9, .help = "how many" },
    { .name = "batch", .type = FL_OPT_INT, .off = offsetof(struct bench_fill, tiles), .def = "64", .min = 1, .max = 4096, .help = "tiles in each" },
    { .name = "bytes", .type = FL_OPT_INT, .off = offsetof(struct bench_fill, bytes), .def = "196608", .min = 8, .max = 1e8, .help = "payload of a tile" },
    { .name = "touch", .type = FL_OPT_BOOL, .off = offsetof(struct bench_fill, touch), .def = "true", .help = "fill the payload" },
    { 0 }
};

static const struct fl_spec bench_fill_out[] = {
    { "id", "u8", "B,64", 0 },
    { "ordinal", "u64", "B", 0 },
    { "payload", "u8", "B,bytes", 0 },
    { 0 }
};

static const struct fl_port bench_fill_ports[] = { { "out", FL_OUT, bench_fill_out }, { 0 } };
static const char *const bench_fill_counters[] = { NULL };

extern const struct fl_stage fl_stage_bench_fill;
const struct fl_stage fl_stage_bench_fill = {
    .name = "bench_fill",
    .help = "Bench: makes batches out of nothing.",
    .state_size = sizeof(struct bench_fill),
    .opts = bench_fill_opts,
    .ports = bench_fill_ports,
    .counters = bench_fill_counters,
    .describe = bench_fill_total,
    .open = bench_fill_total,
    .produce = bench_fill_produce,
};
