/* A stage of tests and benches: takes a fixed time over each batch, asleep, and passes it on. NAP_SPEED in the environment makes a host so many times as fast. */
#include <stdlib.h>
#include <time.h>

#include "runtime/stage.h"

struct nap { double ms; };

static int nap_batch(struct fl_ctx *ctx, struct fl_batch *b)
{
    const struct nap *s = ctx->state;
    const char *speed = getenv("NAP_SPEED");
    long ns = (long)(s->ms * 1e6 / (speed != NULL ? strtod(speed, NULL) : 1));
    struct timespec t = { .tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000 };
    nanosleep(&t, NULL);
    return fl_emit(ctx, &b);
}

static const struct fl_opt nap_opts[] = {
    { .name = "ms", .type = FL_OPT_FLOAT, .off = offsetof(struct nap, ms), .def = "10", .min = 0, .max = 10000, .help = "milliseconds a batch" },
    { 0 }
};

static const struct fl_spec nap_tensors[] = { { "id", "u8", "B,64", 0 }, { 0 } };
static const struct fl_port nap_ports[] = { { "in", FL_IN, nap_tensors }, { "out", FL_OUT, (const struct fl_spec[]){ { 0 } } }, { 0 } };

extern const struct fl_stage fl_stage_nap;
const struct fl_stage fl_stage_nap = {
    .name = "nap",
    .help = "Takes a fixed time over each batch.",
    .state_size = sizeof(struct nap),
    .opts = nap_opts,
    .ports = nap_ports,
    .batch = nap_batch,
};
