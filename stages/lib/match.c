/* Percentile matching by histograms. */
#include "stages/lib/match.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define MATCH_BANDS  3
#define MATCH_VALUES 65536u

struct fl_match {
    uint32_t count[MATCH_VALUES];
    uint8_t  map[MATCH_VALUES];
};

struct fl_match *fl_match_new(void)
{
    return calloc(1, sizeof(struct fl_match));
}

void fl_match_free(struct fl_match *m)
{
    free(m);
}

/* The k-th smallest value, k from 0; *below and *at go on from the last call, k must not decrease. */
static uint32_t match_order(const uint32_t *count, uint64_t k, uint64_t *below, uint32_t *at)
{
    while (*below + count[*at] <= k)
        *below += count[(*at)++];
    return *at;
}

/* Linear between the order statistics on either side of p (n - 1), as numpy.percentile. */
static void match_percentiles(const uint32_t *count, size_t n, double out[FL_MATCH_POINTS])
{
    uint64_t below = 0, below2 = 0;
    uint32_t at = 0, at2 = 0;
    for (uint32_t i = 0; i < FL_MATCH_POINTS; i++) {
        double where = (0.5 + 99.0 * i / (FL_MATCH_POINTS - 1)) / 100 * (double)(n - 1), whole = floor(where);
        uint64_t k = (uint64_t)whole, next = k + 1 < n ? k + 1 : k;
        double low = match_order(count, k, &below, &at), high = match_order(count, next, &below2, &at2);
        out[i] = low + (high - low) * (where - whole);
    }
}

static uint8_t match_round(double v)
{
    return v <= 0 ? 0 : v >= 255 ? 255 : (uint8_t)lrint(v);
}

/* The map over all values that occur; x ascends but need not strictly. */
static void match_map(const struct fl_match *m, const double x[FL_MATCH_POINTS], const double y[FL_MATCH_POINTS], uint8_t *map)
{
    uint32_t j = 0;
    for (uint32_t v = 0; v < MATCH_VALUES; v++) {
        if (m->count[v] == 0)
            continue;
        while (j + 1 < FL_MATCH_POINTS && x[j + 1] <= v)
            j++;
        bool inside = v >= x[0] && j + 1 < FL_MATCH_POINTS;
        map[v] = match_round(inside ? (y[j + 1] - y[j]) / (x[j + 1] - x[j]) * (v - x[j]) + y[j] : v < x[0] ? y[0] : y[FL_MATCH_POINTS - 1]);
    }
}

void fl_match_bands(struct fl_match *m, const uint16_t *bands, const uint8_t *like, size_t pixels, uint8_t *out)
{
    double x[FL_MATCH_POINTS], y[FL_MATCH_POINTS];
    for (uint32_t c = 0; c < MATCH_BANDS; c++) {
        memset(m->count, 0, sizeof m->count);
        for (size_t i = 0; i < pixels; i++)
            m->count[like[MATCH_BANDS * i + c]]++;
        match_percentiles(m->count, pixels, y);
        memset(m->count, 0, 256 * sizeof *m->count);          /* no more were used */
        for (size_t i = 0; i < pixels; i++)
            m->count[bands[MATCH_BANDS * i + c]]++;
        match_percentiles(m->count, pixels, x);
        match_map(m, x, y, m->map);
        for (size_t i = 0; i < pixels; i++)
            out[MATCH_BANDS * i + c] = m->map[bands[MATCH_BANDS * i + c]];
    }
}
