/* Differences between two batches. */
#include "launch/diff.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#define DIFF_BINS 7

struct diff {
    uint64_t count, n, first;
    double   abs, rel, want, got;        /* want, got: of the first */
    uint64_t ulp;
    uint64_t bins[DIFF_BINS];            /* ulp: 1, 2-10, -100, -1e3, -1e6, -1e9, more */
};

static const double diff_bounds[DIFF_BINS] = { 1, 10, 100, 1e3, 1e6, 1e9, INFINITY };

static double diff_half(uint16_t h)
{
    int e = h >> 10 & 31, m = h & 1023;
    double v = e == 0 ? ldexp(m, -24) : e == 31 ? (m ? NAN : INFINITY) : ldexp(1024 + m, e - 25);
    return h & 0x8000 ? -v : v;
}

double fl_diff_value(int dtype, const unsigned char *p)
{
    union { uint8_t u8; uint16_t u16; int32_t i32; uint32_t u32; int64_t i64; uint64_t u64; float f32; double f64; } v;
    memcpy(&v, p, fl_dtype_size(dtype));
    switch (dtype) {
    case FL_U8:   return v.u8;
    case FL_U16:  return v.u16;
    case FL_I32:  return v.i32;
    case FL_U32:  return v.u32;
    case FL_I64:  return (double)v.i64;
    case FL_U64:  return (double)v.u64;
    case FL_F16:  return diff_half(v.u16);
    case FL_BF16: v.u32 = (uint32_t)v.u16 << 16; return v.f32;
    case FL_F32:  return v.f32;
    default:      return v.f64;
    }
}

static bool diff_is_float(int dtype)
{
    return dtype == FL_F16 || dtype == FL_BF16 || dtype == FL_F32 || dtype == FL_F64;
}

/* The bits of a float as a whole number that counts up with its value. */
static int64_t diff_order(int dtype, const unsigned char *p)
{
    size_t size = fl_dtype_size(dtype);
    uint64_t bits = 0, sign = UINT64_C(1) << (8 * size - 1);
    memcpy(&bits, p, size);
    return bits & sign ? -(int64_t)(bits & ~sign) : (int64_t)bits;
}

/* Whole numbers: the difference itself. */
static uint64_t diff_ulp(int dtype, const unsigned char *a, const unsigned char *b)
{
    if (diff_is_float(dtype)) {
        uint64_t x = (uint64_t)diff_order(dtype, a), y = (uint64_t)diff_order(dtype, b);
        return (int64_t)x > (int64_t)y ? x - y : y - x;
    }
    double d = fabs(fl_diff_value(dtype, a) - fl_diff_value(dtype, b));
    return d < 1e18 ? (uint64_t)d : UINT64_MAX;
}

static void diff_element(struct diff *d, int dtype, uint64_t i, const unsigned char *want, const unsigned char *got, bool loose)
{
    double w = fl_diff_value(dtype, want), g = fl_diff_value(dtype, got), a = fabs(w - g);
    if (loose && diff_is_float(dtype) && (a <= 1e-4 || a <= 1e-3 * fabs(w)))
        return;
    uint64_t ulp = diff_ulp(dtype, want, got);
    if (d->count++ == 0) {
        d->first = i;
        d->want = w;
        d->got = g;
    }
    double rel = w != 0 ? a / fabs(w) : INFINITY;
    d->abs = a > d->abs || isnan(a) ? a : d->abs;
    d->rel = rel > d->rel || isnan(rel) ? rel : d->rel;
    d->ulp = ulp > d->ulp ? ulp : d->ulp;
    int bin = 0;
    while (bin < DIFF_BINS - 1 && (double)ulp > diff_bounds[bin])
        bin++;
    d->bins[bin]++;
}

/* What says who a row is, and that it is rejected, is compared in rejected rows too. */
static bool diff_of_row(const struct fl_batch *b, const struct fl_tensor *t)
{
    static const char *const own[] = { "id", "ordinal", "status", "reason" };
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (strcmp(t->name, own[i]) == 0)
            return false;
    return t->ndim > 0 && t->shape[0] == b->n;
}

static bool diff_row_rejected(const struct fl_batch *b, uint64_t row)
{
    const struct fl_tensor *t = fl_batch_find(b, "status");
    return t != NULL && t->dtype == FL_I32 && row < t->bytes / 4 && ((const int32_t *)t->data)[row] != 0;
}

static void diff_tensor(const struct fl_batch *wb, const struct fl_batch *gb, const struct fl_tensor *want, const struct fl_tensor *got, bool loose, struct diff *d)
{
    size_t size = fl_dtype_size(want->dtype);
    const unsigned char *w = want->data, *g = got->data;
    bool rows = diff_of_row(wb, want);
    memset(d, 0, sizeof *d);
    d->n = want->bytes / size;
    if (memcmp(w, g, want->bytes) == 0)
        return;
    uint64_t per = rows && wb->n > 0 ? d->n / wb->n : d->n;
    for (uint64_t i = 0; i < d->n; i++) {
        if (rows && per > 0 && i % per == 0 && diff_row_rejected(wb, i / per) && diff_row_rejected(gb, i / per)) {
            i += per - 1;
            continue;
        }
        if (memcmp(w + i * size, g + i * size, size) != 0)
            diff_element(d, want->dtype, i, w + i * size, g + i * size, loose);
    }
}

/* ---- text ---- */

static void diff_shape(const struct fl_tensor *t, char text[96])
{
    text[0] = '\0';
    for (uint32_t d = 0; d < t->ndim; d++)
        snprintf(text + strlen(text), 96 - strlen(text), "%s%u", d ? "," : "", t->shape[d]);
}

static void diff_place(const struct fl_tensor *t, uint64_t i, char text[96])
{
    uint64_t at[FL_MAX_DIMS];
    for (uint32_t d = t->ndim; d-- > 0; i /= t->shape[d])
        at[d] = i % t->shape[d];
    text[0] = '\0';
    for (uint32_t d = 0; d < t->ndim; d++)
        snprintf(text + strlen(text), 96 - strlen(text), "%s%" PRIu64, d ? "," : "", at[d]);
}

static void diff_print(FILE *out, const char *edge, const struct fl_batch *b, const struct fl_tensor *t, const struct diff *d)
{
    char shape[96], at[96];
    const struct fl_tensor *id = fl_batch_find(b, "id");
    bool named = diff_of_row(b, t) && id != NULL && id->dtype == FL_U8 && id->bytes == (uint64_t)b->n * FL_ID_SIZE;
    static const char *const names[DIFF_BINS] = { "1", "2..10", "..100", "..1e3", "..1e6", "..1e9", "more" };
    diff_shape(t, shape);
    diff_place(t, d->first, at);
    fprintf(out, "batch %" PRIu64 ", %s: %s %s[%s]: %" PRIu64 " of %" PRIu64 " differ; first [%s] of tile %.63s: got %.9g, want %.9g; max abs %.3g, rel %.3g, ulp %" PRIu64 "; by ulp:",
            b->batch, edge, t->name, fl_dtype_name(t->dtype), shape, d->count, d->n, at,
            named ? (const char *)id->data + d->first / (d->n / b->n) * FL_ID_SIZE : "-",
            d->got, d->want, d->abs, d->rel, d->ulp);
    for (int i = 0; i < DIFF_BINS; i++)
        if (d->bins[i] > 0)
            fprintf(out, " %s: %" PRIu64, names[i], d->bins[i]);
    fputc('\n', out);
}

static bool diff_same_kind(const struct fl_tensor *a, const struct fl_tensor *b)
{
    return a->dtype == b->dtype && a->ndim == b->ndim && a->bytes == b->bytes && memcmp(a->shape, b->shape, a->ndim * sizeof a->shape[0]) == 0;
}

uint32_t fl_diff_batch(FILE *out, const char *edge, const struct fl_batch *want, const struct fl_batch *got, unsigned how)
{
    uint32_t rows = 0;
    char a[96], b[96];
    for (uint32_t i = 0; i < want->ntensors; i++) {
        const struct fl_tensor *w = &want->t[i], *g = fl_batch_find(got, w->name);
        struct diff d;
        if (fl_batch_find(want, w->name) != w || (how & FL_DIFF_MOVED && strcmp(w->name, "reason") == 0))
            continue;
        if (g == NULL || !diff_same_kind(w, g)) {
            diff_shape(w, a);
            if (g != NULL)
                diff_shape(g, b);
            fprintf(out, "batch %" PRIu64 ", %s: %s: got %s[%s], want %s[%s]\n", want->batch, edge, w->name, g != NULL ? fl_dtype_name(g->dtype) : "nothing",
                    g != NULL ? b : "", fl_dtype_name(w->dtype), a);
            rows++;
            continue;
        }
        diff_tensor(want, got, w, g, how & FL_DIFF_LOOSE, &d);
        if (d.count > 0)
            diff_print(out, edge, want, w, &d);
        rows += d.count > 0;
    }
    for (uint32_t i = 0; i < got->ntensors; i++)
        if (fl_batch_find(want, got->t[i].name) == NULL) {
            fprintf(out, "batch %" PRIu64 ", %s: %s: got it, but it was not recorded\n", want->batch, edge, got->t[i].name);
            rows++;
        }
    return rows;
}
