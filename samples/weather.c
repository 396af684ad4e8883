/* What hangs over the ground of a sample tile, and how the camera saw it. */
#include "samples/paint.h"

#include <string.h>

#define WEATHER_OP 40u
#define CAMERA_OP  41u

static float weather_ramp(float x)
{
    x = x < 0 ? 0 : x > 1 ? 1 : x;
    return x * x * (3 - 2 * x);
}

/* mask = where noise rises above `level`, over a slope of `edge`. */
static void weather_cover(struct canvas *c, struct fl_rng *r, float grain, int octaves, float level, float edge)
{
    canvas_noise(c, r, grain, octaves);
    for (size_t k = 0; k < (size_t)c->size * c->size; k++)
        c->mask[k] = weather_ramp((c->noise[k] - level) / edge);
}

static void weather_shadow(struct canvas *c, int32_t dx, int32_t dy)
{
    int32_t n = (int32_t)c->size;
    for (int32_t y = 0; y < n; y++)
        for (int32_t x = 0; x < n; x++) {
            int32_t sx = x - dx, sy = y - dy;
            if (sx < 0 || sy < 0 || sx >= n || sy >= n)
                continue;
            float dark = 1 - 0.5f * c->mask[(size_t)sy * c->size + (size_t)sx];
            for (int b = 0; b < 4; b++)
                c->px[4 * ((size_t)y * c->size + (size_t)x) + (size_t)b] *= dark;
        }
}

/* A few white heaps and, down the sun's way, their shadows. */
static void weather_partly(struct canvas *c, struct fl_rng *r)
{
    static const struct material white = { { .88f, .89f, .92f, .90f }, .05f, 16 };
    uint32_t heaps = 2 + paint_below(r, 4);
    canvas_clear_mask(c);
    for (uint32_t k = 0; k < heaps; k++)
        canvas_blob(c, r, paint_u(r, 20, 236), paint_u(r, 20, 236), paint_u(r, 10, 30), 30, 0.65f);
    float dx = paint_u(r, -26, 26), dy = paint_u(r, 10, 30);
    weather_shadow(c, (int32_t)(dx * c->unit), (int32_t)(dy * c->unit));
    canvas_fill(c, r, &white, paint_u(r, 0.85f, 0.97f));
}

static void weather_haze(struct canvas *c, struct fl_rng *r)
{
    static const struct material veil = { { .58f, .62f, .68f, .62f }, .02f, 200 };
    weather_cover(c, r, 160, 2, paint_u(r, -2.4f, -1.6f), 2.4f);
    canvas_fill(c, r, &veil, paint_u(r, 0.36f, 0.7f));
}

/* Now and then a clear sky has a breath of mist, too thin for a label. */
static void weather_clear(struct canvas *c, struct fl_rng *r)
{
    static const struct material mist = { { .62f, .65f, .69f, .64f }, .02f, 120 };
    if (paint_below(r, 4) != 0)
        return;
    weather_cover(c, r, 90, 3, paint_u(r, 0.1f, 0.5f), 1.2f);
    canvas_fill(c, r, &mist, paint_u(r, 0.1f, 0.3f));
}

static void weather_cloudy(struct canvas *c, struct fl_rng *r)
{
    static const struct material deck = { { .74f, .75f, .77f, .76f }, .16f, 50 };
    struct material m = deck;
    float light = paint_u(r, 0.7f, 1.15f);
    for (int b = 0; b < 4; b++)
        m.colour[b] *= light;
    m.grain = paint_u(r, 20, 90);
    weather_cover(c, r, paint_u(r, 50, 120), 3, -1.6f, 0.9f);
    canvas_fill(c, r, &m, paint_u(r, 0.9f, 1));
}

/* Exposure, a colour cast and the noise of the sensor. */
static void weather_camera(struct canvas *c, struct fl_rng *r)
{
    float gain[4], light = paint_u(r, 0.82f, 1.16f), lift = paint_u(r, 0, 0.05f), noise = paint_u(r, 0.006f, 0.02f);
    for (int b = 0; b < 4; b++)
        gain[b] = light * paint_u(r, 0.94f, 1.06f);
    for (size_t k = 0; k < (size_t)c->size * c->size; k++) {
        uint32_t grain = paint_below(r, UINT32_MAX);       /* a byte of it for each band */
        for (uint32_t b = 0; b < 4; b++) {
            float v = lift + gain[b] * c->px[4 * k + b] + noise * ((float)(grain >> 8 * b & 255) / 127.5f - 1);
            c->px[4 * k + b] = v < 0 ? 0 : v > 1 ? 1 : v;
        }
    }
}

void paint_weather(struct canvas *c, uint64_t seed, const char *id, uint32_t labels)
{
    struct fl_rng r;
    paint_rng_init(&r, seed, id, WEATHER_OP);
    if (labels & PAINT_BIT(PAINT_CLEAR))
        weather_clear(c, &r);
    if (labels & PAINT_BIT(PAINT_PARTLY_CLOUDY))
        weather_partly(c, &r);
    if (labels & PAINT_BIT(PAINT_HAZE))
        weather_haze(c, &r);
    if (labels & PAINT_BIT(PAINT_CLOUDY))
        weather_cloudy(c, &r);
    paint_rng_init(&r, seed, id, CAMERA_OP);
    weather_camera(c, &r);
}

int paint_scene(struct canvas *c, uint64_t seed, const char *id, uint32_t labels)
{
    if (labels >> PAINT_NLABELS != 0)
        return FL_E_LABEL;
    if (labels & PAINT_BIT(PAINT_CLOUDY))          /* the ground that nobody sees: forest */
        labels |= PAINT_BIT(PAINT_PRIMARY);
    memset(c->px, 0, sizeof *c->px * c->size * c->size * 4);   /* laying over an old picture would leave its rounding */
    paint_ground(c, seed, id, labels);
    paint_weather(c, seed, id, labels);
    return FL_OK;
}
