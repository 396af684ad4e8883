/* The sample painter: label sets drawn by the rates of the real table, and tiles on which those labels are seen.
 *
 * A tile depends on (seed, id) alone: each layer draws from its own counter-based stream, so neither the number of tiles nor their
 * order changes a byte. Of libm only what is exact (sqrtf, floorf, lrintf) is used: every processor paints the same. */
#ifndef SAMPLES_PAINT_H
#define SAMPLES_PAINT_H

#include <stddef.h>
#include <stdint.h>

#include "proto/status.h"
#include "runtime/rng.h"

/* ---- random streams: runtime/rng.h with an epoch of their own ---- */

/* Stream of one layer. Layers of a tile of 512x512 stay below the 2^20 draws that an op has. */
void     paint_rng_init(struct fl_rng *, uint64_t seed, const char *id, uint32_t op);
float    paint_u(struct fl_rng *, float a, float b);              /* uniform in [a,b) */
uint32_t paint_below(struct fl_rng *, uint32_t n);             /* integer in [0,n) */
void     paint_dir(struct fl_rng *, float dir[2]);             /* unit vector, uniform over directions */

/* ---- label sets ---- */

enum paint_label {
    PAINT_AGRICULTURE, PAINT_ARTISINAL_MINE, PAINT_BARE_GROUND, PAINT_BLOOMING, PAINT_BLOW_DOWN, PAINT_CLEAR, PAINT_CLOUDY,
    PAINT_CONVENTIONAL_MINE, PAINT_CULTIVATION, PAINT_HABITATION, PAINT_HAZE, PAINT_PARTLY_CLOUDY, PAINT_PRIMARY, PAINT_ROAD,
    PAINT_SELECTIVE_LOGGING, PAINT_SLASH_BURN, PAINT_WATER, PAINT_NLABELS
};
#define PAINT_BIT(label) (UINT32_C(1) << (label))

struct paint_rate { const char *name; uint32_t count; };             /* name and rows of the real table that carry it */
extern const struct paint_rate paint_rates[PAINT_NLABELS];
#define PAINT_ROWS    40479u                                         /* rows of that table */
#define PAINT_WEATHER (PAINT_BIT(PAINT_CLEAR) | PAINT_BIT(PAINT_CLOUDY) | PAINT_BIT(PAINT_HAZE) | PAINT_BIT(PAINT_PARTLY_CLOUDY))

/* Bits of one label set: one weather label, cloudy alone, the other labels independently. Rates below `floor` are raised to it. */
uint32_t paint_labels(uint64_t seed, const char *id, float floor);
/* Names in label order joined by one space; the longest needs 179 bytes. */
void paint_tags(uint32_t labels, char *out, size_t size);

/* ---- canvas: four planes in [0,1] interleaved R,G,B,NIR, and one mask ---- */

struct canvas {
    uint32_t size;
    float    unit;                 /* size/256: lengths below are in 1/256 of the side */
    float   *px;                   /* [size][size][4] */
    float   *mask, *noise;         /* [size][size] */
    float   *lattice;              /* scratch of canvas_noise */
};
/* A surface: colour, how far noise moves brightness, the grain of that noise (cells in 1/256 of the side). */
struct material { float colour[4]; float amount, grain; };

int  canvas_new(struct canvas *, uint32_t size, struct fl_err *);
void canvas_free(struct canvas *);
/* Value noise of `octaves` octaves into c->noise, about [-1,1], first cell `grain`. */
void canvas_noise(struct canvas *, struct fl_rng *, float grain, int octaves);
void canvas_clear_mask(struct canvas *);
void canvas_disc(struct canvas *, float x, float y, float r, float soft);
void canvas_ellipse(struct canvas *, float x, float y, const float dir[2], float ra, float rb, float soft);
void canvas_segment(struct canvas *, float x0, float y0, float x1, float y1, float width);
void canvas_rect(struct canvas *, float x, float y, const float dir[2], float half_a, float half_b);
/* A blob whose edge is torn by noise of the given grain (0: smooth .. 1: ragged). */
void canvas_blob(struct canvas *, struct fl_rng *, float x, float y, float r, float grain, float torn);
/* Lays the material over the picture where the mask is, times alpha. */
void canvas_fill(struct canvas *, struct fl_rng *, const struct material *, float alpha);

/* ---- the picture ---- */

int  paint_scene(struct canvas *, uint64_t seed, const char *id, uint32_t labels);
void paint_ground(struct canvas *, uint64_t seed, const char *id, uint32_t labels);
void paint_weather(struct canvas *, uint64_t seed, const char *id, uint32_t labels);

/* ---- files ---- */

enum paint_layout { PAINT_MIXED, PAINT_RAW4, PAINT_RGB };
/* raw4: four components R,G,B,255 as stored, no JFIF or Adobe marker, no subsampling. rgb: plain JFIF. mixed: by a draw of the id. */
enum paint_layout paint_pick_layout(enum paint_layout, uint64_t seed, const char *id);
int paint_write_jpeg(const char *path, const struct canvas *, enum paint_layout, struct fl_err *);
/* u16, bands in the order B,G,R,NIR, chunky, uncompressed, one strip. */
int paint_write_tif(const char *path, const struct canvas *, struct fl_err *);

#endif
