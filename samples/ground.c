/* What lies on the ground of a sample tile: one layer a label, painted in a fixed order over forest or savanna. */
#include "samples/paint.h"

#include <math.h>
#include <string.h>

#define GROUND_OP      8u                  /* the first stream; each label has its own */
#define GROUND_BASE    (GROUND_OP + PAINT_NLABELS)
#define GROUND_CLUTTER (GROUND_BASE + 1)

/* A material between two others, each band shifted a little of its own: no label has one colour. */
static struct material ground_between(struct fl_rng *r, const struct material *a, const struct material *b)
{
    struct material m = *a;
    float t = paint_u(r, 0, 1);
    for (int k = 0; k < 4; k++)
        m.colour[k] = (a->colour[k] + t * (b->colour[k] - a->colour[k])) * paint_u(r, 0.92f, 1.08f);
    m.amount = a->amount + t * (b->amount - a->amount);
    m.grain = a->grain + t * (b->grain - a->grain);
    return m;
}

static void ground_lay(struct canvas *c, struct fl_rng *r, const struct material *a, const struct material *b, float alpha)
{
    struct material m = ground_between(r, a, b);
    canvas_fill(c, r, &m, alpha);
}

/* ---- the bare tile ---- */

static void ground_base(struct canvas *c, struct fl_rng *r, uint32_t labels)
{
    static const struct material
        forest_a = { { .17f, .26f, .18f, .52f }, .16f, 5 }, forest_b = { { .27f, .34f, .25f, .66f }, .26f, 9 },
        savanna_a = { { .36f, .36f, .27f, .40f }, .07f, 40 }, savanna_b = { { .46f, .41f, .34f, .46f }, .10f, 70 };
    int forest = (labels & PAINT_BIT(PAINT_PRIMARY)) != 0;
    for (size_t k = 0; k < (size_t)c->size * c->size; k++)
        c->mask[k] = 1;
    ground_lay(c, r, forest ? &forest_a : &savanna_a, forest ? &forest_b : &savanna_b, 1);
    canvas_noise(c, r, 120, 3);            /* hills: slow light and shade over either */
    for (size_t k = 0; k < (size_t)c->size * c->size; k++)
        for (int b = 0; b < 4; b++)
            c->px[4 * k + b] *= 1 + 0.07f * c->noise[k];
}

/* ---- fields and clearings ---- */

static void ground_furrows(struct canvas *c, struct fl_rng *r, float x, float y, const float dir[2], float a, float b)
{
    static const struct material dark = { { .20f, .24f, .17f, .40f }, .05f, 20 };
    float step = paint_u(r, 5, 10);
    canvas_clear_mask(c);
    for (int k = 1; (float)k * step < 2 * b; k++) {
        float v = (float)k * step - b;
        float cx = x - dir[1] * v, cy = y + dir[0] * v;
        canvas_segment(c, cx - dir[0] * a, cy - dir[1] * a, cx + dir[0] * a, cy + dir[1] * a, 1.2f);
    }
    canvas_fill(c, r, &dark, 0.35f);
}

static void ground_agriculture(struct canvas *c, struct fl_rng *r)
{
    static const struct material
        crop_a = { { .30f, .43f, .24f, .74f }, .04f, 50 }, crop_b = { { .42f, .50f, .29f, .80f }, .05f, 60 },
        soil_a = { { .45f, .37f, .29f, .42f }, .04f, 50 }, soil_b = { { .55f, .48f, .37f, .50f }, .05f, 60 };
    float dir[2], x = paint_u(r, 50, 206), y = paint_u(r, 50, 206);
    paint_dir(r, dir);
    uint32_t fields = 1 + paint_below(r, 5);
    float strength = paint_u(r, 0.4f, 1);  /* from fallow to fresh */
    for (uint32_t k = 0; k < fields; k++) {
        float a = paint_u(r, 22, 52), b = paint_u(r, 18, 44);
        int soil = paint_below(r, 2) == 0, rows = paint_below(r, 2) == 0;
        canvas_clear_mask(c);
        canvas_rect(c, x, y, dir, a, b);
        ground_lay(c, r, soil ? &soil_a : &crop_a, soil ? &soil_b : &crop_b, strength);
        if (rows)
            ground_furrows(c, r, x, y, dir, a, b);
        float along = (paint_below(r, 2) ? 1.0f : -1.0f) * (a + paint_u(r, 14, 40)), across = paint_u(r, -30, 30);
        x = fminf(fmaxf(x + dir[0] * along - dir[1] * across, 10), 246);
        y = fminf(fmaxf(y + dir[1] * along + dir[0] * across, 10), 246);
    }
}

/* Smallholders' plots: many, small, round-cornered and of several greens, apart from the large straight fields. */
static void ground_cultivation(struct canvas *c, struct fl_rng *r)
{
    static const struct material
        a = { { .33f, .44f, .18f, .72f }, .12f, 6 }, b = { { .52f, .55f, .24f, .66f }, .18f, 8 };
    float x = paint_u(r, 50, 206), y = paint_u(r, 50, 206);
    uint32_t plots = 6 + paint_below(r, 11);
    float strength = paint_u(r, 0.45f, 0.95f);
    for (uint32_t k = 0; k < plots; k++) {
        canvas_clear_mask(c);
        canvas_blob(c, r, x + paint_u(r, -55, 55), y + paint_u(r, -55, 55), paint_u(r, 6, 13), 12, 0.3f);
        ground_lay(c, r, &a, &b, strength);
    }
}

static void ground_bare(struct canvas *c, struct fl_rng *r)
{
    static const struct material
        a = { { .62f, .50f, .40f, .52f }, .05f, 14 }, b = { { .78f, .72f, .64f, .66f }, .08f, 24 };
    canvas_clear_mask(c);
    uint32_t parts = 2 + paint_below(r, 3);
    float x = paint_u(r, 50, 206), y = paint_u(r, 50, 206);
    for (uint32_t k = 0; k < parts; k++)
        canvas_blob(c, r, x + paint_u(r, -30, 30), y + paint_u(r, -30, 30), paint_u(r, 20, 38), 40, 0.45f);
    ground_lay(c, r, &a, &b, 0.95f);
}

static void ground_slash_burn(struct canvas *c, struct fl_rng *r)
{
    static const struct material
        ash_a = { { .12f, .09f, .11f, .14f }, .25f, 8 }, ash_b = { { .19f, .15f, .16f, .20f }, .35f, 12 },
        smoke = { { .66f, .68f, .74f, .60f }, .05f, 30 };
    float x = paint_u(r, 50, 206), y = paint_u(r, 50, 206), dir[2];
    paint_dir(r, dir);
    canvas_clear_mask(c);
    canvas_blob(c, r, x, y, paint_u(r, 26, 44), 22, 0.6f);
    ground_lay(c, r, &ash_a, &ash_b, 0.95f);
    canvas_clear_mask(c);
    for (int k = 0; k < 5; k++)            /* a plume that widens down the wind */
        canvas_disc(c, x + dir[0] * (float)k * 16, y + dir[1] * (float)k * 16, 5 + 4 * (float)k, 16);
    canvas_fill(c, r, &smoke, paint_u(r, 0.3f, 0.55f));
}

/* ---- marks in the forest ---- */

static void ground_blow_down(struct canvas *c, struct fl_rng *r)
{
    static const struct material
        bare_a = { { .34f, .35f, .27f, .50f }, .10f, 8 }, bare_b = { { .42f, .40f, .33f, .50f }, .15f, 8 },
        trunks = { { .62f, .58f, .52f, .50f }, .10f, 6 };
    float x = paint_u(r, 70, 186), y = paint_u(r, 70, 186), dir[2];
    paint_dir(r, dir);
    canvas_clear_mask(c);
    for (int k = -2; k <= 2; k++)          /* a fan along the gust */
        canvas_blob(c, r, x + dir[0] * (float)k * 18, y + dir[1] * (float)k * 18, 18 + 3 * (float)k, 16, 0.5f);
    ground_lay(c, r, &bare_a, &bare_b, 0.85f);
    canvas_clear_mask(c);
    for (int k = 0; k < 90; k++) {         /* the fallen trunks, all one way */
        float s = paint_u(r, -48, 48), t = paint_u(r, -22, 22), len = paint_u(r, 6, 14);
        float tx = x + dir[0] * s - dir[1] * t, ty = y + dir[1] * s + dir[0] * t;
        canvas_segment(c, tx, ty, tx + dir[0] * len, ty + dir[1] * len, 1.1f);
    }
    canvas_fill(c, r, &trunks, 0.8f);
}

static void ground_selective_logging(struct canvas *c, struct fl_rng *r)
{
    static const struct material
        a = { { .44f, .35f, .25f, .40f }, .08f, 6 }, b = { { .54f, .42f, .31f, .44f }, .10f, 6 };
    float x = paint_u(r, 60, 196), y = paint_u(r, 60, 196), dir[2];
    paint_dir(r, dir);
    canvas_clear_mask(c);
    canvas_segment(c, x - dir[0] * 55, y - dir[1] * 55, x + dir[0] * 55, y + dir[1] * 55, 1.6f);
    for (int k = -3; k <= 3; k++) {        /* skid trails off the main one, each ending in a felled gap */
        float bx = x + dir[0] * (float)k * 16, by = y + dir[1] * (float)k * 16;
        float side = k % 2 ? 1.0f : -1.0f, len = paint_u(r, 18, 46), lean = paint_u(r, -0.4f, 0.4f);
        float ex = bx + side * len * (-dir[1] + lean * dir[0]), ey = by + side * len * (dir[0] + lean * dir[1]);
        canvas_segment(c, bx, by, ex, ey, 1.3f);
        canvas_disc(c, ex, ey, paint_u(r, 3, 5), 1.5f);
        canvas_disc(c, (bx + ex) / 2, (by + ey) / 2, paint_u(r, 2, 3.5f), 1.5f);
    }
    ground_lay(c, r, &a, &b, 0.85f);
}

static void ground_blooming(struct canvas *c, struct fl_rng *r)
{
    static const struct material
        yellow = { { .82f, .74f, .22f, .78f }, .08f, 5 }, pink = { { .78f, .46f, .66f, .78f }, .08f, 5 };
    struct material m = paint_below(r, 2) ? yellow : pink;
    canvas_clear_mask(c);
    uint32_t crowns = 35 + paint_below(r, 45);
    for (uint32_t k = 0; k < crowns; k++)
        canvas_disc(c, paint_u(r, 4, 252), paint_u(r, 4, 252), paint_u(r, 1.6f, 3.4f), 2);
    ground_lay(c, r, &m, &m, paint_u(r, 0.75f, 0.95f));
}

/* ---- water and mines ---- */

/* A band that wanders across the tile; half of them widen into a lake. */
static void ground_water(struct canvas *c, struct fl_rng *r)
{
    static const struct material
        blue_a = { { .09f, .16f, .27f, .08f }, .03f, 60 }, blue_b = { { .15f, .25f, .36f, .12f }, .05f, 80 },
        mud_a = { { .36f, .35f, .33f, .14f }, .03f, 60 }, mud_b = { { .27f, .33f, .36f, .16f }, .04f, 80 };
    float dir[2], width = paint_u(r, 6, 34);
    paint_dir(r, dir);
    float x = 128 + paint_u(r, -60, 60) - dir[0] * 200, y = 128 + paint_u(r, -60, 60) - dir[1] * 200, bend = 0;
    int lake = paint_below(r, 3) == 0, mud = paint_below(r, 4) == 0;
    canvas_clear_mask(c);
    for (int k = 0; k < 34; k++) {
        bend = 0.75f * bend + paint_u(r, -7, 7);
        float nx = x + dir[0] * 12 - dir[1] * bend, ny = y + dir[1] * 12 + dir[0] * bend;
        canvas_segment(c, x, y, nx, ny, width * paint_u(r, 0.85f, 1.15f));
        x = nx;
        y = ny;
    }
    if (lake)
        canvas_blob(c, r, paint_u(r, 70, 186), paint_u(r, 70, 186), paint_u(r, 30, 55), 60, 0.4f);
    ground_lay(c, r, mud ? &mud_a : &blue_a, mud ? &mud_b : &blue_b, 0.96f);
}

static void ground_artisinal_mine(struct canvas *c, struct fl_rng *r)
{
    static const struct material
        spoil_a = { { .86f, .78f, .58f, .62f }, .06f, 6 }, spoil_b = { { .95f, .90f, .74f, .70f }, .08f, 8 },
        pond_a = { { .36f, .66f, .62f, .16f }, .04f, 8 }, pond_b = { { .56f, .76f, .66f, .22f }, .05f, 8 };
    float x = paint_u(r, 60, 196), y = paint_u(r, 60, 196), dir[2], at[12][2];
    paint_dir(r, dir);
    canvas_clear_mask(c);
    for (int k = 0; k < 12; k++) {         /* diggings strung along a creek */
        float s = ((float)k - 5.5f) * 9, t = paint_u(r, -14, 14);
        at[k][0] = x + dir[0] * s - dir[1] * t;
        at[k][1] = y + dir[1] * s + dir[0] * t;
        canvas_disc(c, at[k][0], at[k][1], paint_u(r, 5, 10), 3);
    }
    ground_lay(c, r, &spoil_a, &spoil_b, 0.95f);
    canvas_clear_mask(c);
    for (int k = 0; k < 12; k++)
        canvas_disc(c, at[k][0], at[k][1], paint_u(r, 2.2f, 4.5f), 1);
    ground_lay(c, r, &pond_a, &pond_b, 0.95f);
}

/* One pit with terraces: ever smaller ellipses, light and dark in turn. */
static void ground_conventional_mine(struct canvas *c, struct fl_rng *r)
{
    static const struct material
        light_a = { { .74f, .62f, .58f, .56f }, .05f, 10 }, light_b = { { .86f, .78f, .76f, .64f }, .06f, 12 },
        dark_a = { { .40f, .27f, .24f, .30f }, .05f, 10 }, dark_b = { { .46f, .36f, .34f, .34f }, .06f, 12 };
    float x = paint_u(r, 80, 176), y = paint_u(r, 80, 176), dir[2], a = paint_u(r, 46, 68), b = a * paint_u(r, 0.6f, 0.95f);
    paint_dir(r, dir);
    struct material light = ground_between(r, &light_a, &light_b), dark = ground_between(r, &dark_a, &dark_b);
    for (int ring = 0; a > 8 && b > 8; ring++, a -= 7, b -= 6) {
        canvas_clear_mask(c);
        canvas_ellipse(c, x, y, dir, a, b, 2);
        canvas_fill(c, r, ring % 2 ? &dark : &light, 0.95f);
    }
}

/* ---- roads and houses ---- */

static void ground_road(struct canvas *c, struct fl_rng *r)
{
    static const struct material
        a = { { .58f, .46f, .36f, .44f }, .04f, 12 }, b = { { .70f, .66f, .60f, .54f }, .05f, 16 };
    float dir[2], x = paint_u(r, 60, 196), y = paint_u(r, 60, 196), width = paint_u(r, 2.2f, 4.8f), strength = paint_u(r, 0.55f, 0.95f);
    uint32_t roads = 1 + paint_below(r, 2);
    paint_dir(r, dir);
    canvas_clear_mask(c);
    for (uint32_t k = 0; k < roads; k++) {
        canvas_segment(c, x - dir[0] * 400, y - dir[1] * 400, x + dir[0] * 400, y + dir[1] * 400, width);
        float turned = dir[0];             /* the second crosses the first at a right angle */
        dir[0] = -dir[1];
        dir[1] = turned;
        x += paint_u(r, -30, 30);
        y += paint_u(r, -30, 30);
    }
    ground_lay(c, r, &a, &b, strength);
}

static void ground_habitation(struct canvas *c, struct fl_rng *r)
{
    static const struct material
        yard = { { .44f, .42f, .38f, .44f }, .08f, 8 },
        roof_a = { { .56f, .55f, .56f, .36f }, .06f, 6 }, roof_b = { { .82f, .82f, .84f, .46f }, .08f, 6 };
    float dir[2], x = paint_u(r, 50, 206), y = paint_u(r, 50, 206);
    int cols = 4 + (int)paint_below(r, 3), rows = 3 + (int)paint_below(r, 3);
    paint_dir(r, dir);
    canvas_clear_mask(c);
    canvas_rect(c, x, y, dir, (float)cols * 5.5f, (float)rows * 5.5f);
    canvas_fill(c, r, &yard, 0.55f);
    for (int part = 0; part < 2; part++) { /* two kinds of roof */
        canvas_clear_mask(c);
        for (int k = 0; k < cols * rows; k++) {
            int col = k % cols, row = k / cols;
            float s = ((float)col - (float)(cols - 1) / 2) * 10.5f + paint_u(r, -2, 2);
            float t = ((float)row - (float)(rows - 1) / 2) * 10.5f + paint_u(r, -2, 2);
            if (paint_below(r, 5) < 2)
                canvas_rect(c, x + dir[0] * s - dir[1] * t, y + dir[1] * s + dir[0] * t, dir, paint_u(r, 2, 3.4f), paint_u(r, 2, 3));
        }
        ground_lay(c, r, &roof_a, &roof_b, 0.95f);
    }
}

/* What no label speaks of: a grassy clearing, outcrops of rock, a dark gully. A reader must not take them for a field, houses or a road. */
static void ground_clutter(struct canvas *c, struct fl_rng *r)
{
    static const struct material
        grass_a = { { .30f, .35f, .24f, .56f }, .10f, 12 }, grass_b = { { .38f, .40f, .29f, .58f }, .12f, 18 },
        rock_a = { { .40f, .39f, .37f, .34f }, .10f, 6 }, rock_b = { { .58f, .54f, .50f, .40f }, .12f, 6 },
        gully_a = { { .12f, .19f, .13f, .40f }, .10f, 8 }, gully_b = { { .18f, .25f, .17f, .46f }, .10f, 8 };
    if (paint_below(r, 5) < 2) {
        canvas_clear_mask(c);
        canvas_blob(c, r, paint_u(r, 0, 256), paint_u(r, 0, 256), paint_u(r, 8, 34), 24, 0.6f);
        ground_lay(c, r, &grass_a, &grass_b, paint_u(r, 0.4f, 0.9f));
    }
    if (paint_below(r, 4) == 0) {
        canvas_clear_mask(c);
        for (uint32_t k = 2 + paint_below(r, 6); k > 0; k--)
            canvas_disc(c, paint_u(r, 0, 256), paint_u(r, 0, 256), paint_u(r, 1.5f, 5), 2);
        ground_lay(c, r, &rock_a, &rock_b, paint_u(r, 0.5f, 0.9f));
    }
    if (paint_below(r, 3) == 0) {
        float dir[2], x = paint_u(r, 0, 256), y = paint_u(r, 0, 256), width = paint_u(r, 2, 5), bend = 0;
        paint_dir(r, dir);
        canvas_clear_mask(c);
        for (int k = 0; k < 14; k++) {
            bend = 0.6f * bend + paint_u(r, -6, 6);
            float nx = x + dir[0] * 10 - dir[1] * bend, ny = y + dir[1] * 10 + dir[0] * bend;
            canvas_segment(c, x, y, nx, ny, width);
            x = nx;
            y = ny;
        }
        ground_lay(c, r, &gully_a, &gully_b, paint_u(r, 0.4f, 0.8f));
    }
}

/* In the order they are painted: what is later lies on top. */
static const struct { uint32_t label; void (*paint)(struct canvas *, struct fl_rng *); } ground_layers[] = {
    { PAINT_BARE_GROUND, ground_bare },
    { PAINT_AGRICULTURE, ground_agriculture },
    { PAINT_CULTIVATION, ground_cultivation },
    { PAINT_WATER, ground_water },
    { PAINT_SLASH_BURN, ground_slash_burn },
    { PAINT_BLOW_DOWN, ground_blow_down },
    { PAINT_SELECTIVE_LOGGING, ground_selective_logging },
    { PAINT_BLOOMING, ground_blooming },
    { PAINT_CONVENTIONAL_MINE, ground_conventional_mine },
    { PAINT_ARTISINAL_MINE, ground_artisinal_mine },
    { PAINT_ROAD, ground_road },
    { PAINT_HABITATION, ground_habitation },
};

void paint_ground(struct canvas *c, uint64_t seed, const char *id, uint32_t labels)
{
    struct fl_rng r;
    paint_rng_init(&r, seed, id, GROUND_BASE);
    ground_base(c, &r, labels);
    paint_rng_init(&r, seed, id, GROUND_CLUTTER);
    ground_clutter(c, &r);
    for (size_t k = 0; k < sizeof ground_layers / sizeof *ground_layers; k++) {
        if (!(labels >> ground_layers[k].label & 1))
            continue;
        paint_rng_init(&r, seed, id, GROUND_OP + ground_layers[k].label);
        ground_layers[k].paint(c, &r);
    }
}
