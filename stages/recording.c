/* recording: a source that gives the batches of a recorded edge again, the last attempt of each. */
#include <string.h>
#include <time.h>

#include "stages/lib/recall.h"

enum { NUMBERS_DENSE, NUMBERS_STORED };
enum { SPEED_FULL, SPEED_RECORDED };

struct recording {
    char   *path;                            /* options */
    int     numbers, speed;
    struct fl_recall in;
    int64_t start;                           /* monotonic ns of the first batch */
    uint64_t first;                          /* its recorded time */
};

static int64_t recording_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static void recording_total(struct fl_ctx *ctx)
{
    struct recording *s = ctx->state;
    fl_set_total(ctx, s->numbers == NUMBERS_STORED ? s->in.last + 1 : s->in.n, s->in.tiles);
}

/* Batches are numbered anew without the damaged ones; by stored numbers those are not asked for. */
static int recording_open(struct fl_ctx *ctx)
{
    struct recording *s = ctx->state;
    int rc = fl_recall_open(ctx, &s->in, s->path);
    if (rc == FL_OK && s->numbers == NUMBERS_DENSE)
        rc = fl_recall_whole(ctx, &s->in);
    if (rc == FL_OK)
        recording_total(ctx);
    return rc;
}

static int recording_describe(struct fl_ctx *ctx)
{
    struct recording *s = ctx->state;
    int rc = fl_recall_open(ctx, &s->in, s->path);
    if (rc == FL_OK)
        rc = fl_recall_give(ctx, &s->in);
    if (rc == FL_OK) {
        fl_bind(ctx, 'B', fl_rec_info(s->in.rec)->B);
        recording_total(ctx);
    }
    fl_recall_done(&s->in);
    return rc;
}

static void recording_wait(struct fl_ctx *ctx, uint64_t time)
{
    struct recording *s = ctx->state;
    if (s->start == 0) {
        s->start = recording_now();
        s->first = time;
    }
    int64_t left = s->start + (int64_t)(time > s->first ? time - s->first : 0) - recording_now();
    if (left > 0)
        fl_pause(ctx, left);
}

static int recording_produce(struct fl_ctx *ctx, struct fl_batch *b)
{
    struct recording *s = ctx->state;
    uint64_t i = s->numbers == NUMBERS_STORED ? fl_recall_find(&s->in, b->batch) : b->batch;
    int rc = i < s->in.n ? FL_OK : fl_fail(ctx, FL_E_INPUT, "%s: batch %llu is not in it", s->path, (unsigned long long)b->batch);
    if (rc == FL_OK && s->speed == SPEED_RECORDED)
        recording_wait(ctx, fl_rec_at(s->in.rec, s->in.records[i])->time);
    if (rc == FL_OK)
        rc = fl_recall_fill(ctx, &s->in, i, b);
    if (rc == FL_OK)
        return fl_emit(ctx, &b);
    fl_free(ctx, &b);
    return rc;
}

static void recording_close(struct fl_ctx *ctx)
{
    fl_recall_done(&((struct recording *)ctx->state)->in);
}

static const struct fl_opt recording_opts[] = {
    { .name = "recording", .type = FL_OPT_STR, .off = offsetof(struct recording, path), .required = 1,
      .help = "A segment (RUN/recordings/EDGE.0000.flr), or RUN/recordings/EDGE for all segments of the edge." },
    { .name = "numbers", .type = FL_OPT_CHOICE, .off = offsetof(struct recording, numbers), .def = "dense", .choices = "dense|stored",
      .help = "dense: batches are numbered anew from 0; stored: as they were recorded (replay issues only those that are there)." },
    { .name = "speed", .type = FL_OPT_CHOICE, .off = offsetof(struct recording, speed), .def = "full", .choices = "full|recorded",
      .help = "full: as fast as the graph goes; recorded: no batch before its time since the first." },
    { 0 }
};

static const struct fl_port recording_ports[] = { { "out", FL_OUT, (const struct fl_spec[]){ { 0 } } }, { 0 } };
static const char *const recording_counters[] = { NULL };

extern const struct fl_stage fl_stage_recording;
const struct fl_stage fl_stage_recording = {
    .name = "recording",
    .help = "Gives the batches of a recorded edge again, as a source.",
    .state_size = sizeof(struct recording),
    .opts = recording_opts,
    .ports = recording_ports,
    .counters = recording_counters,
    .describe = recording_describe,
    .open = recording_open,
    .produce = recording_produce,
    .close = recording_close,
};
