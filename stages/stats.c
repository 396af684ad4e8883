/* stats: mean and standard deviation of each band over all pixels of a run, for normalisation.
 *
 * Sums are integers, so the result depends on the set of tiles alone. What is counted goes to RUN/NAME.stats batch by batch before it is
 * acknowledged: a stage that dies and is started again goes on from there, and a batch that comes twice counts once. A resumed run issues all batches again. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/crc32c.h"
#include "proto/dtype.h"
#include "runtime/stage.h"
#include "stages/lib/seen.h"

#define STATS_BANDS 8u

enum { STATS_TILES, STATS_REJECTED };

/* One batch, or all of them. Squares in two words, low first. */
struct stats_sums { uint64_t batch, tiles, rejected, pixels, top, sum[STATS_BANDS], square[STATS_BANDS][2]; };

struct stats_record { struct stats_sums s; uint32_t channels, crc; };

struct stats {
    char    *out;
    int      fd;                       /* of the records, -1 = none */
    struct fl_seen seen;               /* batches counted */
    struct stats_sums all;
    uint32_t channels;
};

typedef unsigned __int128 stats_wide;

static stats_wide stats_get(const uint64_t w[2]) { return (stats_wide)w[1] << 64 | w[0]; }

static void stats_add(uint64_t w[2], stats_wide v)
{
    v += stats_get(w);
    w[0] = (uint64_t)v;
    w[1] = (uint64_t)(v >> 64);
}

static int stats_take(struct fl_ctx *ctx, const struct stats_record *r)
{
    struct stats *s = ctx->state;
    struct fl_err err = { 0 };
    int rc = fl_seen_add(&s->seen, r->s.batch, &err);
    if (rc != FL_OK)
        return fl_fail(ctx, rc, "%s", err.text);
    s->channels = r->channels;
    s->all.top = r->s.top;
    s->all.tiles += r->s.tiles;
    s->all.rejected += r->s.rejected;
    s->all.pixels += r->s.pixels;
    for (uint32_t c = 0; c < STATS_BANDS; c++) {
        s->all.sum[c] += r->s.sum[c];
        stats_add(s->all.square[c], stats_get(r->s.square[c]));
    }
    return FL_OK;
}

static uint32_t stats_crc(const struct stats_record *r) { return fl_crc32c(0, r, offsetof(struct stats_record, crc)); }

/* Takes in the records that are whole; a torn one at the end is cut off. */
static int stats_open(struct fl_ctx *ctx)
{
    struct stats *s = ctx->state;
    char path[4200];
    struct stats_record r;
    s->fd = -1;
    if (ctx->run_dir == NULL)
        return FL_OK;
    if ((size_t)snprintf(path, sizeof path, "%s/%s.stats", ctx->run_dir, ctx->name) >= sizeof path)
        return fl_fail(ctx, FL_E_CONFIG, "%.200s...: a path over 4096 bytes", ctx->run_dir);
    s->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (s->fd < 0)
        return fl_fail(ctx, FL_E_IO, "%s: %s", path, strerror(errno));
    off_t at = 0;
    while (pread(s->fd, &r, sizeof r, at) == (ssize_t)sizeof r && r.crc == stats_crc(&r)) {
        int rc = stats_take(ctx, &r);
        if (rc != FL_OK)
            return rc;
        at += (off_t)sizeof r;
    }
    if (ftruncate(s->fd, at) != 0 || lseek(s->fd, at, SEEK_SET) != at)
        return fl_fail(ctx, FL_E_IO, "%s: %s", path, strerror(errno));
    return FL_OK;
}

/* ---- a batch ---- */

/* Blocks of 65536 pixels, whose sums of squares fit 64 bits. */
#define STATS_TILE(name, type)                                                                                       \
    static void stats_tile_##name(struct stats_sums *s, const type *p, size_t pixels, uint32_t channels)             \
    {                                                                                                                \
        for (uint32_t c = 0; c < channels; c++) {                                                                    \
            for (size_t at = 0; at < pixels; at += 65536) {                                                          \
                uint64_t sum = 0, square = 0, end = pixels - at < 65536 ? pixels - at : 65536;                       \
                for (size_t i = 0; i < end; i++) {                                                                   \
                    uint64_t v = p[(at + i) * channels + c];                                                         \
                    sum += v;                                                                                        \
                    square += v * v;                                                                                 \
                }                                                                                                    \
                s->sum[c] += sum;                                                                                    \
                stats_add(s->square[c], square);                                                                     \
            }                                                                                                        \
        }                                                                                                            \
    }
STATS_TILE(u8, uint8_t)
STATS_TILE(u16, uint16_t)

static int stats_measure(struct fl_ctx *ctx, const struct fl_batch *b, struct stats_record *r)
{
    struct stats *s = ctx->state;
    const struct fl_tensor *t = fl_in(b, "pixels");
    size_t pixels = (size_t)t->shape[1] * t->shape[2];
    memset(r, 0, sizeof *r);
    r->s.batch = b->batch;
    r->s.top = t->dtype == FL_U8 ? 255 : 65535;
    r->channels = t->shape[3];
    if (r->channels > STATS_BANDS || (s->channels != 0 && (r->channels != s->channels || r->s.top != s->all.top)))
        return fl_fail(ctx, FL_E_SHAPE, "batch %llu: tiles of %u bands of %s, unlike those before, or more than %u", (unsigned long long)b->batch, r->channels,
                       fl_dtype_name(t->dtype), STATS_BANDS);
    for (uint32_t i = 0; i < b->n; i++) {
        if (fl_rejected(b, i)) {
            r->s.rejected++;
            continue;
        }
        r->s.tiles++;
        r->s.pixels += pixels;
        if (t->dtype == FL_U8)
            stats_tile_u8(&r->s, (const uint8_t *)t->data + i * pixels * r->channels, pixels, r->channels);
        else
            stats_tile_u16(&r->s, (const uint16_t *)t->data + i * pixels * r->channels, pixels, r->channels);
        fl_alive(ctx);
    }
    r->crc = stats_crc(r);
    return FL_OK;
}

static int stats_count(struct fl_ctx *ctx, const struct fl_batch *b)
{
    struct stats *s = ctx->state;
    struct stats_record r;
    int rc = stats_measure(ctx, b, &r);
    if (rc != FL_OK)
        return rc;
    if (s->fd >= 0 && write(s->fd, &r, sizeof r) != (ssize_t)sizeof r)
        return fl_fail(ctx, FL_E_IO, "%s.stats: %s", ctx->name, strerror(errno));
    fl_count(ctx, STATS_TILES, r.s.tiles);
    fl_count(ctx, STATS_REJECTED, r.s.rejected);
    return stats_take(ctx, &r);
}

static int stats_trial(struct fl_ctx *ctx, struct fl_batch *b)
{
    struct stats_record r;
    return stats_measure(ctx, b, &r);
}

static int stats_batch(struct fl_ctx *ctx, struct fl_batch *b)
{
    const struct stats *s = ctx->state;
    int rc = fl_seen_has(&s->seen, b->batch) ? FL_OK : stats_count(ctx, b);
    if (rc == FL_OK)
        rc = fl_ack_batch(ctx, b);
    fl_free(ctx, &b);
    return rc;
}

/* ---- the answer ---- */

static json_t *stats_json(const struct stats *s)
{
    json_t *mean = json_array(), *std = json_array(), *mean_dn = json_array(), *std_dn = json_array();
    double n = (double)s->all.pixels, top = (double)s->all.top;
    for (uint32_t c = 0; c < s->channels; c++) {
        stats_wide sum = s->all.sum[c], spread = stats_get(s->all.square[c]) * s->all.pixels - sum * sum;
        double m = (double)sum / n, d = sqrt((double)spread) / n;
        json_array_append_new(mean, json_real(m / top));
        json_array_append_new(std, json_real(d / top));
        json_array_append_new(mean_dn, json_real(m));
        json_array_append_new(std_dn, json_real(d));
    }
    return json_pack("{s:i, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:o}", "channels", (int)s->channels, "M", (json_int_t)s->all.top, "tiles", (json_int_t)s->all.tiles,
                     "rejected", (json_int_t)s->all.rejected, "pixels", (json_int_t)s->all.pixels, "mean", mean, "std", std, "mean_dn", mean_dn, "std_dn", std_dn);
}

static int stats_drain(struct fl_ctx *ctx)
{
    struct stats *s = ctx->state;
    if (ctx->partial)
        return FL_OK;
    if (s->all.tiles == 0)
        return fl_fail(ctx, FL_E_INPUT, "no tile to measure");
    json_t *j = stats_json(s);
    int bad = j == NULL || json_dump_file(j, s->out, JSON_INDENT(2) | JSON_REAL_PRECISION(17)) != 0;
    json_decref(j);
    return bad ? fl_fail(ctx, FL_E_IO, "%s: can't be written", s->out) : FL_OK;
}

static void stats_close(struct fl_ctx *ctx)
{
    struct stats *s = ctx->state;
    fl_seen_done(&s->seen);
    if (s->fd >= 0)
        close(s->fd);
}

static const struct fl_opt stats_opts[] = {
    { .name = "out", .type = FL_OPT_OUT, .off = offsetof(struct stats, out), .required = 1,
      .help = "JSON file: mean and std of each band, of values divided by 255 or 65535 (and as they are: mean_dn, std_dn); augment's normalise reads it." },
    { 0 }
};

static const struct fl_spec stats_in[] = { { .name = "pixels", .dtypes = "u8|u16", .shape = "B,H,W,C" }, { 0 } };

static const struct fl_port stats_ports[] = { { .name = "in", .flags = FL_IN | FL_AGAIN, .tensors = stats_in }, { 0 } };

static const char *const stats_counters[] = { "tiles", "rejected", NULL };

extern const struct fl_stage fl_stage_stats;
const struct fl_stage fl_stage_stats = {
    .name = "stats",
    .help = "Measures mean and standard deviation of each band over all tiles.",
    .state_size = sizeof(struct stats),
    .opts = stats_opts,
    .ports = stats_ports,
    .counters = stats_counters,
    .open = stats_open,
    .batch = stats_batch,
    .trial = stats_trial,
    .drain = stats_drain,
    .close = stats_close,
};
