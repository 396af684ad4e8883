/* record: a tap that stores the batches of one edge, as they travelled, in RUN/recordings/EDGE.0000.flr and so on.
 *
 * It acknowledges every batch whatever becomes of the recording: a full disk or a reached limit is told and costs batches of the
 * recording, never the run. With `ring` it keeps the last batches in memory and writes them when it is told to dump: a stage died, a
 * batch was quarantined, a person asked. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

#include "proto/frame.h"
#include "proto/recording.h"
#include "runtime/json.h"
#include "runtime/stage.h"
#include "stages/lib/pace.h"

enum { RECORD_BATCHES, RECORD_BYTES, RECORD_SKIPPED, RECORD_DROPPED };

#define RECORD_HUGE  ((size_t)2 << 20)
#define RECORD_RETRY 10                      /* seconds after a failed write until the next is tried */

struct record_held {
    struct fl_batch b;
    struct fl_frame head;
    unsigned char *mem, *own;                /* of the arena, or `own` where that is too small */
    size_t   cap;
    uint64_t time;
    bool     waits;                          /* not written yet */
};

struct record {
    int64_t  every, ring, zstd;              /* options */
    uint64_t limit, segment;
    struct fl_rec_out *out;
    struct record_held *held;                /* the ring */
    uint64_t nheld, next;
    unsigned char *arena;
    time_t   failed;                         /* when a write failed last; 0 = the last one did not */
    uint32_t dropped;
    uint64_t bytes;
    struct fl_pace pace;
    uint64_t paced;                          /* bytes at the beginning of its stretch */
    bool     slow;                           /* told */
};

static uint64_t record_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int64_t record_clock(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static time_t record_seconds(void)
{
    return record_clock() / INT64_C(1000000000) + 1;
}

/* ---- open ---- */

static const char *record_edge(const struct fl_ctx *ctx)
{
    return ctx->from != NULL ? ctx->from[0] : ctx->name;
}

/* What a reader may want to know without the run directory. */
static char *record_text(const struct fl_ctx *ctx)
{
    json_t *labels = json_array();
    for (uint32_t i = 0; i < ctx->nlabels; i++)
        json_array_append_new(labels, json_string(ctx->labels[i]));
    json_t *j = json_pack("{s:s, s:s, s:I, s:i, s:o}", "flowrun", FL_VERSION, "edge", record_edge(ctx), "seed", (json_int_t)ctx->seed, "batch", (int)ctx->B, "labels", labels);
    char *text = j != NULL ? fl_json_text(j, JSON_COMPACT) : NULL;
    json_decref(j);
    return text;
}

static int record_open(struct fl_ctx *ctx)
{
    struct record *s = ctx->state;
    struct fl_err err = { 0 };
    char *dir;
    if (ctx->run_dir == NULL)
        return fl_fail(ctx, FL_E_CONFIG, "there is no run directory to record into");
    if (asprintf(&dir, "%s/recordings", ctx->run_dir) < 0)
        return fl_fail(ctx, FL_E_NOMEM, "no memory");
    char *text = record_text(ctx);
    int rc = mkdir(dir, 0777) == 0 || errno == EEXIST ? FL_OK : fl_err_set(&err, FL_E_IO, "%.300s: %s", dir, strerror(errno));
    if (rc == FL_OK)
        rc = fl_rec_out_new(&(struct fl_rec_conf){ .dir = dir, .edge = record_edge(ctx), .run = ctx->run, .B = ctx->B, .text = text,
                            .segment = s->segment, .limit = s->limit, .zstd = (int)s->zstd }, &s->out, &err);
    free(text);
    free(dir);
    if (rc != FL_OK)
        return fl_fail(ctx, rc, "%s", err.text);
    if (s->ring == 0)
        return FL_OK;
    s->nheld = (uint64_t)s->ring > ctx->window ? (uint64_t)s->ring : ctx->window;     /* whatever is in flight is still here */
    s->held = calloc(s->nheld, sizeof *s->held);
    return s->held != NULL ? FL_OK : fl_fail(ctx, FL_E_NOMEM, "a ring of %llu batches", (unsigned long long)s->nheld);
}

static void record_close(struct fl_ctx *ctx)
{
    struct record *s = ctx->state;
    for (uint64_t i = 0; i < s->nheld && s->held != NULL; i++)
        free(s->held[i].own);
    free(s->arena);
    free(s->held);
    fl_rec_out_free(s->out);
}

/* ---- writing ---- */

static void record_failed(struct fl_ctx *ctx, const struct fl_err *err)
{
    struct record *s = ctx->state;
    if (s->failed == 0)
        fl_warn(ctx, "the recording of %s has gaps: %s", record_edge(ctx), err->text);
    s->failed = record_seconds();
}

static bool record_write(struct fl_ctx *ctx, const struct fl_batch *b, const struct fl_frame *head, uint64_t time)
{
    struct record *s = ctx->state;
    struct fl_err err = { 0 };
    if (fl_rec_append(s->out, b, head, time, &err) != FL_OK) {
        record_failed(ctx, &err);
        fl_count(ctx, RECORD_SKIPPED, 1);
        return false;
    }
    if (s->failed != 0)
        fl_info(ctx, "the recording of %s goes on", record_edge(ctx));
    s->failed = 0;
    uint32_t dropped = fl_rec_out_dropped(s->out);
    if (dropped > 0 && s->dropped == 0)
        fl_warn(ctx, "the recording of %s has reached its limit: from now on the oldest batches go", record_edge(ctx));
    fl_count(ctx, RECORD_DROPPED, dropped - s->dropped);
    fl_count(ctx, RECORD_BYTES, fl_rec_out_bytes(s->out) - s->bytes);
    fl_count(ctx, RECORD_BATCHES, 1);
    s->dropped = dropped;
    s->bytes = fl_rec_out_bytes(s->out);
    return true;
}

/* ---- the ring ---- */

static size_t record_line(size_t bytes)
{
    return (bytes + FL_ALIGN - 1) / FL_ALIGN * FL_ALIGN;
}

static void record_copy(struct record_held *h, const struct fl_batch *b)
{
    unsigned char *at = h->mem;
    const struct fl_frame *head = fl_head(b);
    h->head.len = head != NULL ? head->len : 0;
    if (head != NULL)
        memcpy(h->head.bytes, head->bytes, head->len);
    memcpy(&h->b, b, offsetof(struct fl_batch, t) + b->ntensors * sizeof b->t[0]);
    for (uint32_t i = 0; i < b->ntensors; i++) {
        memcpy(at, b->t[i].data, b->t[i].bytes);
        h->b.t[i].data = at;
        at += record_line(b->t[i].bytes);
    }
}

/* Memory for the whole ring, of which a place is touched when the first batch comes to it: by huge pages, where there are such, since page by
 * page that costs more than the copying. full: bytes of a batch of B tiles. */
static bool record_arena(struct record *s, size_t full)
{
    size_t bytes;
    if (__builtin_mul_overflow(full, s->nheld, &bytes) || bytes > SIZE_MAX / 2)
        return false;
    s->arena = aligned_alloc(RECORD_HUGE, (bytes + RECORD_HUGE - 1) / RECORD_HUGE * RECORD_HUGE);
    if (s->arena == NULL)
        return false;
    if (bytes >= RECORD_HUGE)
        madvise(s->arena, bytes / RECORD_HUGE * RECORD_HUGE, MADV_HUGEPAGE);      /* the rest by small pages: no more than `bytes` is used */
    for (uint64_t i = 0; i < s->nheld; i++) {
        s->held[i].mem = s->arena + i * full;
        s->held[i].cap = full;
    }
    return true;
}

/* A place for this batch; all of an edge are alike but for their number of tiles, or else it gets one of its own. */
static bool record_room(struct fl_ctx *ctx, struct record_held *h, const struct fl_batch *b)
{
    struct record *s = ctx->state;
    size_t need = 0, full = FL_ALIGN;
    for (uint32_t i = 0; i < b->ntensors; i++) {
        need += record_line(b->t[i].bytes);
        full += record_line(b->n > 0 && b->n < ctx->B ? (b->t[i].bytes / b->n + 1) * ctx->B : b->t[i].bytes);
    }
    if (s->arena == NULL && !record_arena(s, full))
        return false;
    if (need <= h->cap)
        return true;
    free(h->own);
    h->own = aligned_alloc(FL_ALIGN, need);
    h->mem = h->own;
    h->cap = h->own != NULL ? need : 0;
    return h->own != NULL;
}

static void record_hold(struct fl_ctx *ctx, const struct fl_batch *b)
{
    struct record *s = ctx->state;
    struct record_held *h = &s->held[s->next];
    h->waits = false;
    if (!record_room(ctx, h, b)) {
        struct fl_err err = { 0 };
        fl_err_set(&err, FL_E_NOMEM, "no memory for a ring of %llu batches", (unsigned long long)s->nheld);
        record_failed(ctx, &err);
        fl_count(ctx, RECORD_SKIPPED, 1);
        return;
    }
    record_copy(h, b);
    h->time = record_now();
    h->waits = true;
    s->next = (s->next + 1) % s->nheld;
}

static int record_dump(struct fl_ctx *ctx, const char *why)
{
    struct record *s = ctx->state;
    struct fl_err err = { 0 };
    uint64_t n = 0;
    for (uint64_t i = 0; i < s->nheld; i++) {
        struct record_held *h = &s->held[(s->next + i) % s->nheld];       /* the oldest first */
        if (!h->waits)
            continue;
        fl_alive(ctx);
        if (!record_write(ctx, &h->b, h->head.len > 0 ? &h->head : NULL, h->time))
            break;
        h->waits = false;
        n++;
    }
    if (fl_rec_finish(s->out, &err) != FL_OK)
        record_failed(ctx, &err);
    if (n > 0)
        fl_info(ctx, "%llu batches of %s written out: %s", (unsigned long long)n, record_edge(ctx), why);
    return FL_OK;
}

/* ---- batch ---- */

/* The graph waits for a tap that is always at work: a slab is free again only when the tap is done with it. */
static void record_pace(struct fl_ctx *ctx, int64_t began)
{
    struct record *s = ctx->state;
    double seconds;
    if (fl_pace_work(&s->pace, began, record_clock(), &seconds)) {
        if (!s->slow)
            fl_warn(ctx, "the recording of %s holds the run up: it takes all of its process's time to store %.1f MB/s", record_edge(ctx), (double)(s->bytes - s->paced) / seconds / 1e6);
        s->slow = true;
    }
    if (s->pace.busy == 0)
        s->paced = s->bytes;
}

static int record_batch(struct fl_ctx *ctx, struct fl_batch *b)
{
    struct record *s = ctx->state;
    uint64_t batch = b->batch;
    uint32_t attempt = b->attempt, n = b->n;
    int64_t began = record_clock();
    if (batch % (uint64_t)s->every == 0) {
        if (s->held != NULL)
            record_hold(ctx, b);
        else if (s->failed == 0 || record_seconds() - s->failed >= RECORD_RETRY)
            record_write(ctx, b, fl_head(b), record_now());
        else
            fl_count(ctx, RECORD_SKIPPED, 1);
    }
    record_pace(ctx, began);
    fl_free(ctx, &b);
    return fl_ack(ctx, batch, attempt, n, 0);
}

/* What can't be stored is no matter of the run here, either. */
static int record_trial(struct fl_ctx *ctx, struct fl_batch *b)
{
    struct record *s = ctx->state;
    struct fl_err err;
    if (b->batch % (uint64_t)s->every == 0)
        fl_rec_try(s->out, b, fl_head(b), &err);
    return FL_OK;
}

static int record_drain(struct fl_ctx *ctx)
{
    struct record *s = ctx->state;
    struct fl_err err = { 0 };
    if (fl_rec_finish(s->out, &err) != FL_OK)
        record_failed(ctx, &err);
    return FL_OK;
}

static const struct fl_opt record_opts[] = {
    { .name = "every", .type = FL_OPT_INT, .off = offsetof(struct record, every), .def = "1", .min = 1, .max = 1e9,
      .help = "Store every k-th batch only: those whose number k divides, the same on every edge." },
    { .name = "ring", .type = FL_OPT_INT, .off = offsetof(struct record, ring), .def = "0", .min = 0, .max = 100000,
      .help = "Keep the last N batches in memory (no fewer than are in flight) and store them when a stage dies, a batch is quarantined or on `flowrun dump`; 0: store as they come." },
    { .name = "limit", .type = FL_OPT_SIZE, .off = offsetof(struct record, limit), .def = "10GB", .help = "Bytes on disk; beyond it the oldest segments go. 0: no limit." },
    { .name = "segment", .type = FL_OPT_SIZE, .off = offsetof(struct record, segment), .def = "0",
      .help = "Bytes at which the next file is begun; 0: 1 GiB, or a quarter of the limit where that is less." },
    { .name = "zstd", .type = FL_OPT_INT, .off = offsetof(struct record, zstd), .def = "0", .min = 0, .max = 19, .help = "Compress each tensor at this level; 0: store it as it is." },
    { 0 }
};

static const struct fl_spec record_in[] = { { "*", "u8", "", FL_OPTIONAL }, { 0 } };

static const struct fl_port record_ports[] = { { "in", FL_IN | FL_TAP, record_in }, { 0 } };

static const char *const record_counters[] = { "batches", "bytes", "skipped", "dropped_segments", NULL };

extern const struct fl_stage fl_stage_record;
const struct fl_stage fl_stage_record = {
    .name = "record",
    .help = "Stores the batches of one edge for replay (the key `record` of a pipeline puts it in).",
    .state_size = sizeof(struct record),
    .opts = record_opts,
    .ports = record_ports,
    .counters = record_counters,
    .open = record_open,
    .batch = record_batch,
    .trial = record_trial,
    .drain = record_drain,
    .dump = record_dump,
    .close = record_close,
};
