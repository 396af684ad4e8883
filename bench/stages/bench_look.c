/* bench_look: reads every pixel and gives each label a number made of the tile's channel sums: light work with a result of the real shape. */
#include "runtime/stage.h"

struct bench_look { int none; };

static void bench_look_row(const uint8_t *px, size_t n, float *prob, uint32_t L)
{
    uint64_t sum[3] = { 0 };
    for (size_t i = 0; i < n; i++, px += 3) {
        sum[0] += px[0];
        sum[1] += px[1];
        sum[2] += px[2];
    }
    for (uint32_t l = 0; l < L; l++)
        prob[l] = (float)sum[l % 3] / (float)(256 * n);
}

static int bench_look_batch(struct fl_ctx *ctx, struct fl_batch *b)
{
    const struct fl_tensor t = *fl_in(b, "pixels");
    uint32_t L = ctx->nlabels;
    size_t n = (size_t)t.shape[1] * t.shape[2];
    float *prob = fl_out(ctx, b, "prob", FL_F32, 2, (uint32_t[]){ b->n, L });
    if (prob == NULL) {
        fl_free(ctx, &b);
        return FL_E_BUG;
    }
    for (uint32_t i = 0; i < b->n; i++)
        bench_look_row((const uint8_t *)t.data + i * n * 3, n, prob + (size_t)i * L, L);
    return fl_emit(ctx, &b);
}

static const struct fl_opt bench_look_opts[] = { { 0 } };
static const struct fl_spec bench_look_in[] = { { "pixels", "u8", "B,H,W,3", FL_TAKEN }, { "view", "f32", "B,V,5", FL_TAKEN }, { 0 } };
static const struct fl_spec bench_look_out[] = { { "prob", "f32", "B,L", 0 }, { 0 } };
static const struct fl_port bench_look_ports[] = { { "in", FL_IN, bench_look_in }, { "out", FL_OUT, bench_look_out }, { 0 } };
static const char *const bench_look_counters[] = { NULL };

extern const struct fl_stage fl_stage_bench_look;
const struct fl_stage fl_stage_bench_look = {
    .name = "bench_look",
    .help = "Bench: reads every pixel, gives numbers of the shape of probabilities.",
    .state_size = sizeof(struct bench_look),
    .opts = bench_look_opts,
    .ports = bench_look_ports,
    .counters = bench_look_counters,
    .batch = bench_look_batch,
};
