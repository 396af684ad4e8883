/* sheet: a tap that paints a contact sheet: each tile as it was decoded and as the network sees it, with its id, labels and probabilities.
 *
 * One row a tile: the tile, then its views, painted by the kernel that paints the network's input, so a turn or a crop is what the
 * network gets; normalised values from -2.5 to 2.5 are shown as black to white. 16-bit tiles are stretched by each band's 2nd and
 * 98th percentile. Results come with the batch (prob, pred) or from the journal of the run. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/journal.h"
#include "runtime/model.h"
#include "runtime/stage.h"
#include "stages/forward/input.h"
#include "stages/lib/canvas.h"

#define SHEET_GAP   4u
#define SHEET_GREY  28u
#define SHEET_LINES 3u

static const uint8_t sheet_white[3] = { 240, 240, 240 }, sheet_green[3] = { 120, 220, 120 }, sheet_red[3] = { 250, 110, 90 };

struct sheet {
    char   *out, *weights, *journal, *tiles;     /* options */
    int64_t most, views, cell;
    struct fl_canvas c;
    struct fl_journal *results;
    struct fl_journal_rec rec;
    struct fl_manifest m;
    struct fl_input input;
    bool    network;
    float  *seen;                                /* [size][size][channels] */
    uint8_t *picture;                            /* [cell][cell][3] */
    int64_t painted;
};

static int sheet_open(struct fl_ctx *ctx)
{
    struct sheet *s = ctx->state;
    struct fl_err err = { 0 };
    int rc = FL_OK;
    if (s->weights != NULL) {
        rc = fl_manifest_read(s->weights, 0, &s->m, &err);
        s->network = rc == FL_OK;
        if (rc == FL_OK)
            rc = fl_input_init(&s->input, s->m.size, s->m.channels, s->m.M, s->m.mean, s->m.std, &err);
        s->seen = rc == FL_OK ? malloc((size_t)s->m.size * s->m.size * s->m.channels * sizeof(float)) : NULL;
    }
    if (rc == FL_OK && s->journal != NULL)
        rc = fl_journal_open(s->journal, &(struct fl_journal_conf){ .readonly = true }, &s->results, &err);
    if (rc != FL_OK)
        return fl_fail(ctx, rc, "%s", err.text);
    s->picture = malloc((size_t)s->cell * (size_t)s->cell * 3);
    s->c.w = (uint32_t)((1 + s->views) * (s->cell + SHEET_GAP) + SHEET_GAP);
    return s->picture != NULL && (s->seen != NULL || !s->network) ? FL_OK : fl_fail(ctx, FL_E_NOMEM, "no memory");
}

static void sheet_close(struct fl_ctx *ctx)
{
    struct sheet *s = ctx->state;
    fl_canvas_done(&s->c);
    fl_journal_close(s->results);
    fl_journal_rec_done(&s->rec);
    if (s->network) {
        fl_input_done(&s->input);
        fl_manifest_free(&s->m);
    }
    free(s->seen);
    free(s->picture);
}

/* ---- pictures ---- */

static uint32_t sheet_pixel(const struct fl_tile *t, uint32_t C, uint32_t x, uint32_t y, uint32_t band)
{
    size_t i = ((size_t)y * t->w + x) * C + (band < C ? band : C - 1);
    return t->dtype == FL_U8 ? ((const uint8_t *)t->pixels)[i] : ((const uint16_t *)t->pixels)[i];
}

/* Values that 2 and 98 in 100 pixels of a band stay below. */
static void sheet_stretch(const struct fl_tile *t, uint32_t C, uint32_t band, uint32_t *low, uint32_t *high)
{
    static uint32_t count[65536];
    uint64_t n = (uint64_t)t->h * t->w, sum = 0;
    *low = 0;
    *high = 255;
    if (t->dtype == FL_U8)
        return;
    memset(count, 0, sizeof count);
    for (uint32_t y = 0; y < t->h; y++)
        for (uint32_t x = 0; x < t->w; x++)
            count[sheet_pixel(t, C, x, y, band)]++;
    *high = 65535;
    for (uint32_t v = 0; v < 65536; v++) {
        if (sum * 50 <= n && (sum + count[v]) * 50 > n)
            *low = v;
        sum += count[v];
        if (sum * 50 >= n * 49) {
            *high = v > *low ? v : *low + 1;
            return;
        }
    }
}

static uint8_t sheet_shade(double v)
{
    return v <= 0 ? 0 : v >= 1 ? 255 : (uint8_t)lrint(v * 255);
}

static void sheet_show(struct sheet *s, uint32_t column, uint32_t y0)
{
    uint32_t cell = (uint32_t)s->cell, x0 = SHEET_GAP + column * (cell + SHEET_GAP);
    for (uint32_t y = 0; y < cell; y++)
        for (uint32_t x = 0; x < cell; x++)
            fl_canvas_put(&s->c, x0 + x, y0 + y, s->picture + ((size_t)y * cell + x) * 3);
}

static void sheet_decoded(struct sheet *s, const struct fl_tile *t, uint32_t C, uint32_t y0)
{
    uint32_t cell = (uint32_t)s->cell;
    for (uint32_t band = 0; band < 3; band++) {
        uint32_t low, high;
        sheet_stretch(t, C, band, &low, &high);
        for (uint32_t y = 0; y < cell; y++)
            for (uint32_t x = 0; x < cell; x++)
                s->picture[((size_t)y * cell + x) * 3 + band] =
                    sheet_shade(((double)sheet_pixel(t, C, x * t->w / cell, y * t->h / cell, band) - low) / (double)(high - low));
    }
    sheet_show(s, 0, y0);
}

static void sheet_seen(struct sheet *s, uint32_t column, uint32_t y0)
{
    uint32_t cell = (uint32_t)s->cell, size = s->m.size, C = s->m.channels;
    for (uint32_t y = 0; y < cell; y++)
        for (uint32_t x = 0; x < cell; x++)
            for (uint32_t band = 0; band < 3; band++)
                s->picture[((size_t)y * cell + x) * 3 + band] =
                    sheet_shade((s->seen[(((size_t)(y * size / cell)) * size + x * size / cell) * C + (band < C ? band : C - 1)] + 2.5) / 5);
    sheet_show(s, column, y0);
}

/* Painted inputs come as [C][S][S], normalised where they are floats. */
static void sheet_painted(struct sheet *s, const struct fl_tensor *t, uint64_t view, uint32_t column, uint32_t y0)
{
    uint32_t cell = (uint32_t)s->cell, C = t->shape[2], S = t->shape[3];
    for (uint32_t y = 0; y < cell; y++)
        for (uint32_t x = 0; x < cell; x++)
            for (uint32_t band = 0; band < 3; band++) {
                uint64_t i = ((view * C + (band < C ? band : C - 1)) * S + y * S / cell) * S + x * S / cell;
                double v = t->dtype == FL_F32 ? (((const float *)t->data)[i] + 2.5) / 5 : t->dtype == FL_U8 ? ((const uint8_t *)t->data)[i] / 255.0 : ((const uint16_t *)t->data)[i] / 65535.0;
                s->picture[((size_t)y * cell + x) * 3 + band] = sheet_shade(v);
            }
    sheet_show(s, column, y0);
}

/* ---- words ---- */

static void sheet_label(struct fl_ctx *ctx, uint32_t *x, uint32_t *line, uint32_t y, uint32_t l, float p, bool on)
{
    struct sheet *s = ctx->state;
    char text[64];
    snprintf(text, sizeof text, "%.40s %.3f", ctx->labels[l], (double)p);
    uint32_t width = (uint32_t)strlen(text) * FL_GLYPH_W + 6;
    if (*x + width > s->c.w) {
        *x = SHEET_GAP;
        ++*line;
    }
    if (*line < SHEET_LINES)
        fl_canvas_text(&s->c, *x, y + *line * (FL_GLYPH_H + 1), s->c.w - *x, text, on ? sheet_green : sheet_white);
    *x += width;
}

/* Labels that are on, or above one in ten, the likeliest first. */
static void sheet_labels(struct fl_ctx *ctx, uint32_t y, const float *prob, uint64_t pred, uint32_t L)
{
    bool done[64] = { false };
    uint32_t x = SHEET_GAP, line = 1;
    for (uint32_t k = 0; k < L && k < 64; k++) {
        uint32_t best = 64;
        for (uint32_t l = 0; l < L && l < 64; l++)
            if (!done[l] && (best == 64 || prob[l] > prob[best]))
                best = l;
        done[best] = true;
        if (pred >> best & 1 || prob[best] > 0.1f)
            sheet_label(ctx, &x, &line, y, best, prob[best], pred >> best & 1);
    }
}

static bool sheet_of_journal(struct sheet *s, uint64_t ordinal, uint64_t batch, struct fl_journal_tile *t)
{
    struct fl_err err;
    if (s->results == NULL || fl_journal_read(s->results, batch, &s->rec, &err) != FL_OK)
        return false;
    while (fl_journal_next(&s->rec, t, &err) == FL_OK)
        if (t->ordinal == ordinal)
            return true;
    return false;
}

static void sheet_words(struct fl_ctx *ctx, const struct fl_batch *b, uint32_t row, uint32_t y)
{
    struct sheet *s = ctx->state;
    const struct fl_tensor *prob = fl_in(b, "prob"), *pred = fl_in(b, "pred"), *ordinal = fl_in(b, "ordinal");
    struct fl_journal_tile t = { 0 };
    uint32_t used = fl_canvas_text(&s->c, SHEET_GAP, y, s->c.w - 2 * SHEET_GAP, fl_id(b, row), sheet_white);
    if (fl_rejected(b, row) != 0) {
        fl_canvas_text(&s->c, SHEET_GAP + used + 12, y, s->c.w - used - 20, fl_reason(b, row), sheet_red);
        return;
    }
    if (prob != NULL && prob->dtype == FL_F32 && prob->ndim == 2 && prob->shape[1] == ctx->nlabels) {
        t.prob = (const float *)prob->data + (size_t)row * ctx->nlabels;
        for (uint32_t l = 0; pred != NULL && pred->dtype == FL_U8 && pred->bytes == (uint64_t)b->n * ctx->nlabels && l < ctx->nlabels; l++)
            t.pred |= (uint64_t)(((const uint8_t *)pred->data)[(size_t)row * ctx->nlabels + l] & 1) << l;
    } else if (ordinal == NULL || ordinal->dtype != FL_U64 || !sheet_of_journal(s, ((const uint64_t *)ordinal->data)[row], b->batch, &t) || s->rec.L != ctx->nlabels) {
        return;
    }
    if (t.prob != NULL)
        sheet_labels(ctx, y, t.prob, t.pred, ctx->nlabels);
    if (t.ef2 > 0) {
        char text[40];
        snprintf(text, sizeof text, "expected F2 %.3f", t.ef2);
        fl_canvas_text(&s->c, SHEET_GAP + used + 12, y, s->c.w - used - 20, text, sheet_white);
    }
}

/* ---- rows ---- */

static bool sheet_wanted(const struct sheet *s, const char *id)
{
    size_t len = strlen(id);
    for (const char *p = s->tiles; p != NULL && *p != '\0'; p += strcspn(p, ","), p += *p == ',')
        if (strcspn(p, ",") == len && memcmp(p, id, len) == 0)
            return true;
    return s->tiles == NULL;
}

static void sheet_views(struct sheet *s, const struct fl_batch *b, const struct fl_tile *t, uint32_t C, uint32_t row, uint32_t y)
{
    const struct fl_tensor *view = fl_in(b, "view"), *input = fl_in(b, "input");
    struct fl_err err;
    for (uint32_t v = 0; input != NULL && input->ndim == 5 && v < input->shape[1] && v < (uint32_t)s->views; v++)
        sheet_painted(s, input, (uint64_t)row * input->shape[1] + v, v + 1, y);
    if (input != NULL || view == NULL || !s->network || view->dtype != FL_F32 || view->ndim != 3 || view->shape[2] != 5 || C != s->m.channels)
        return;
    for (uint32_t v = 0; v < view->shape[1] && v < (uint32_t)s->views; v++) {
        struct fl_window w;
        const float *g = (const float *)view->data + ((size_t)row * view->shape[1] + v) * 5;
        if (fl_window_read(g, t->h, t->w, &w, &err) == FL_OK && fl_input_paint(&s->input, t, &w, s->seen, &err) == FL_OK)
            sheet_seen(s, v + 1, y);
    }
}

static int sheet_row(struct fl_ctx *ctx, const struct fl_batch *b, const struct fl_tensor *p, uint32_t row)
{
    struct sheet *s = ctx->state;
    struct fl_err err = { 0 };
    uint32_t y = s->c.h + SHEET_GAP, C = p->shape[3];
    if (s->painted >= s->most || !sheet_wanted(s, fl_id(b, row)))
        return FL_OK;
    if (fl_canvas_grow(&s->c, (uint32_t)s->cell + 2 * SHEET_GAP + SHEET_LINES * (FL_GLYPH_H + 1), SHEET_GREY, &err) != FL_OK)
        return fl_fail(ctx, err.code, "%s", err.text);
    s->painted++;
    struct fl_tile t = { .pixels = (const char *)p->data + p->bytes / b->n * row, .dtype = p->dtype, .h = p->shape[1], .w = p->shape[2] };
    if (fl_rejected(b, row) == 0) {
        sheet_decoded(s, &t, C, y);
        sheet_views(s, b, &t, C, row, y);
    }
    sheet_words(ctx, b, row, y + (uint32_t)s->cell + 2);
    return FL_OK;
}

static int sheet_rows(struct fl_ctx *ctx, const struct fl_batch *b)
{
    const struct fl_tensor *p = fl_in(b, "pixels");
    int rc = FL_OK;
    for (uint32_t row = 0; rc == FL_OK && row < b->n && p->shape[1] > 0 && p->shape[2] > 0 && p->shape[3] > 0; row++)
        rc = sheet_row(ctx, b, p, row);
    return rc;
}

/* Painted below what is there, and forgotten. */
static int sheet_trial(struct fl_ctx *ctx, struct fl_batch *b)
{
    struct sheet *s = ctx->state;
    uint32_t h = s->c.h;
    int64_t painted = s->painted;
    int rc = sheet_rows(ctx, b);
    s->c.h = h;
    s->painted = painted;
    return rc;
}

static int sheet_batch(struct fl_ctx *ctx, struct fl_batch *b)
{
    uint64_t batch = b->batch;
    uint32_t attempt = b->attempt, n = b->n;
    int rc = sheet_rows(ctx, b);
    fl_free(ctx, &b);
    return rc == FL_OK ? fl_ack(ctx, batch, attempt, n, 0) : rc;
}

static int sheet_drain(struct fl_ctx *ctx)
{
    struct sheet *s = ctx->state;
    struct fl_err err = { 0 };
    return fl_canvas_save(&s->c, s->out, &err) == FL_OK ? FL_OK : fl_fail(ctx, err.code, "%s", err.text);
}

static const struct fl_opt sheet_opts[] = {
    { .name = "out", .type = FL_OPT_OUT, .off = offsetof(struct sheet, out), .required = 1, .help = "The PNG to write." },
    { .name = "weights", .type = FL_OPT_PATH, .off = offsetof(struct sheet, weights),
      .help = "Weights of the network whose input is painted: their manifest says size and normalisation. Not given: tiles alone, and views that augment painted." },
    { .name = "journal", .type = FL_OPT_PATH, .off = offsetof(struct sheet, journal), .help = "RUN/journal/SINK: labels and probabilities, where the batches have none." },
    { .name = "tiles", .type = FL_OPT_STR, .off = offsetof(struct sheet, tiles), .help = "Only these tiles: ids, separated by commas." },
    { .name = "most", .type = FL_OPT_INT, .off = offsetof(struct sheet, most), .def = "64", .min = 1, .max = 4096, .help = "How many tiles at most." },
    { .name = "views", .type = FL_OPT_INT, .off = offsetof(struct sheet, views), .def = "8", .min = 0, .max = 64, .help = "How many views of each." },
    { .name = "cell", .type = FL_OPT_INT, .off = offsetof(struct sheet, cell), .def = "96", .min = 16, .max = 1024, .help = "Side of a picture in pixels." },
    { 0 }
};

static const struct fl_spec sheet_in[] = { { "pixels", "u8|u16", "B,H,W,C", 0 }, { 0 } };
static const struct fl_port sheet_ports[] = { { "in", FL_IN | FL_TAP, sheet_in }, { 0 } };
static const char *const sheet_counters[] = { NULL };

extern const struct fl_stage fl_stage_sheet;
const struct fl_stage fl_stage_sheet = {
    .name = "sheet",
    .help = "Paints a contact sheet: tiles as decoded and as the network sees them (flowrun show --png).",
    .state_size = sizeof(struct sheet),
    .opts = sheet_opts,
    .ports = sheet_ports,
    .counters = sheet_counters,
    .open = sheet_open,
    .batch = sheet_batch,
    .trial = sheet_trial,
    .drain = sheet_drain,
    .close = sheet_close,
};
