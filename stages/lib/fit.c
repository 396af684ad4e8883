/* Brings an image to the side of the graph's tiles. */
#include "stages/lib/fit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- cut and mirror ---- */

/* Source coordinate of i in [-lots, lots]: 2 1 0 1 2 3 | n-1 | n-2 n-3, again and again. */
static uint32_t fit_mirror(int64_t i, uint32_t n)
{
    if (n == 1)
        return 0;
    int64_t period = 2 * ((int64_t)n - 1), m = i % period;
    if (m < 0)
        m += period;
    return (uint32_t)(m < n ? m : period - m);
}

static int64_t fit_start(uint32_t have, uint32_t size)
{
    return have >= size ? (int64_t)((have - size) / 2) : -(int64_t)((size - have) / 2);
}

void fl_fit_cut(const struct fl_image *im, uint32_t size, void *out)
{
    size_t pixel = (size_t)im->channels * im->sample;
    int64_t x0 = fit_start(im->width, size), y0 = fit_start(im->height, size);
    char *to = out;
    for (uint32_t y = 0; y < size; y++) {
        const char *row = (const char *)im->data + (size_t)fit_mirror(y0 + y, im->height) * im->width * pixel;
        if (im->width >= size) {
            memcpy(to, row + (size_t)x0 * pixel, size * pixel);
            to += size * pixel;
            continue;
        }
        for (uint32_t x = 0; x < size; x++, to += pixel)
            memcpy(to, row + fit_mirror(x0 + x, im->width) * pixel, pixel);
    }
}

/* ---- bilinear ---- */

struct fit_tap { uint32_t a, b; double t; };      /* value = (1-t) a + t b */

static void fit_taps(struct fit_tap *taps, uint32_t have, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++) {
        double at = ((double)i + 0.5) * have / size - 0.5, low = floor(at);
        taps[i].t = at - low;
        taps[i].a = low < 0 ? 0 : (uint32_t)low;
        taps[i].b = low + 1 > have - 1 ? have - 1 : (uint32_t)(low + 1);
    }
}

static double fit_sample(const struct fl_image *im, uint32_t x, uint32_t y, uint32_t c)
{
    size_t i = ((size_t)y * im->width + x) * im->channels + c;
    return im->sample == 1 ? ((const uint8_t *)im->data)[i] : ((const uint16_t *)im->data)[i];
}

static double fit_blend(const struct fl_image *im, const struct fit_tap *h, const struct fit_tap *v, uint32_t c)
{
    double top = (1 - h->t) * fit_sample(im, h->a, v->a, c) + h->t * fit_sample(im, h->b, v->a, c);
    double low = (1 - h->t) * fit_sample(im, h->a, v->b, c) + h->t * fit_sample(im, h->b, v->b, c);
    return floor((1 - v->t) * top + v->t * low + 0.5);
}

int fl_fit_resize(const struct fl_image *im, uint32_t size, void *out, struct fl_err *err)
{
    struct fit_tap *taps = malloc(2 * (size_t)size * sizeof *taps);
    if (taps == NULL)
        return fl_err_set(err, FL_E_NOMEM, "no memory to resize");
    fit_taps(taps, im->width, size);
    fit_taps(taps + size, im->height, size);
    size_t i = 0;
    for (uint32_t y = 0; y < size; y++)
        for (uint32_t x = 0; x < size; x++)
            for (uint32_t c = 0; c < im->channels; c++, i++) {
                double v = fit_blend(im, &taps[x], &taps[size + y], c);
                if (im->sample == 1)
                    ((uint8_t *)out)[i] = (uint8_t)v;
                else
                    ((uint16_t *)out)[i] = (uint16_t)v;
            }
    free(taps);
    return FL_OK;
}
