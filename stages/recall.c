/* recall: for each batch that comes, gives the batch of that number out of a recording instead. With it a stage that joins several
 * edges is fed from several recordings: one is the source, the others recall theirs. */
#include <string.h>

#include "stages/lib/recall.h"

struct recall { char *path; struct fl_recall in; };

static int recall_open(struct fl_ctx *ctx)
{
    struct recall *s = ctx->state;
    return fl_recall_open(ctx, &s->in, s->path);
}

static int recall_describe(struct fl_ctx *ctx)
{
    struct recall *s = ctx->state;
    int rc = recall_open(ctx);
    if (rc == FL_OK)
        rc = fl_recall_give(ctx, &s->in);
    fl_recall_done(&s->in);
    return rc;
}

static int recall_batch(struct fl_ctx *ctx, struct fl_batch *b)
{
    struct recall *s = ctx->state;
    uint32_t n = b->n;
    uint64_t i = fl_recall_find(&s->in, b->batch);
    int rc = i != FL_REC_NONE ? fl_recall_fill(ctx, &s->in, i, b) : fl_fail(ctx, FL_E_INPUT, "%s: batch %llu is not in it", s->path, (unsigned long long)b->batch);
    if (rc == FL_OK && b->n != n)
        rc = fl_fail(ctx, FL_E_INPUT, "%s: batch %llu has %u tiles, %u came", s->path, (unsigned long long)b->batch, b->n, n);
    if (rc == FL_OK)
        return fl_emit(ctx, &b);
    fl_free(ctx, &b);
    return rc;
}

static void recall_close(struct fl_ctx *ctx)
{
    fl_recall_done(&((struct recall *)ctx->state)->in);
}

static const struct fl_opt recall_opts[] = {
    { .name = "recording", .type = FL_OPT_STR, .off = offsetof(struct recall, path), .required = 1,
      .help = "A segment (RUN/recordings/EDGE.0000.flr), or RUN/recordings/EDGE for all segments of the edge." },
    { 0 }
};

static const struct fl_port recall_ports[] = {
    { "in", FL_IN, (const struct fl_spec[]){ { "*", "u8", "", FL_OPTIONAL | FL_TAKEN }, { 0 } } },
    { "out", FL_OUT, (const struct fl_spec[]){ { 0 } } },
    { 0 }
};
static const char *const recall_counters[] = { NULL };

extern const struct fl_stage fl_stage_recall;
const struct fl_stage fl_stage_recall = {
    .name = "recall",
    .help = "Puts the recorded batch of the same number in the place of each that comes.",
    .state_size = sizeof(struct recall),
    .opts = recall_opts,
    .ports = recall_ports,
    .counters = recall_counters,
    .describe = recall_describe,
    .open = recall_open,
    .batch = recall_batch,
    .close = recall_close,
};
