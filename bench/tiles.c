/* The bench's tiles: photo-like JPEGs of about 15 kB (quality 90, 4:2:0) and uncompressed 4-band 16-bit TIFs.
 *
 * A tile is noise of several octaves, as land is; few distinct files with many names (hard links), so that long runs need little disk. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <tiffio.h>
#include <turbojpeg.h>
#include <unistd.h>

#include "bench/bench.h"

#define SIDE          256
#define JPEG_FILES    1024
#define TIF_FILES     16
#define OCTAVES       7

static uint32_t tiles_hash(uint32_t a, uint32_t b, uint32_t c)
{
    uint32_t h = a * 0x9E3779B1u ^ b * 0x85EBCA77u ^ c * 0xC2B2AE3Du;
    h ^= h >> 15;
    h *= 0x2C1B3C6Du;
    h ^= h >> 12;
    h *= 0x297A2D39u;
    return h ^ h >> 15;
}

static float tiles_knot(uint32_t seed, uint32_t x, uint32_t y)
{
    return (float)(tiles_hash(seed, x, y) >> 8) / 8388608.0f - 1.0f;
}

/* Adds one octave of value noise with knots every `step` pixels. */
static void tiles_octave(float *p, uint32_t seed, uint32_t step, float weight)
{
    for (uint32_t y = 0; y < SIDE; y++)
        for (uint32_t x = 0; x < SIDE; x++) {
            uint32_t kx = x / step, ky = y / step;
            float fx = (float)(x % step) / (float)step, fy = (float)(y % step) / (float)step;
            float top = tiles_knot(seed, kx, ky) * (1 - fx) + tiles_knot(seed, kx + 1, ky) * fx;
            float low = tiles_knot(seed, kx, ky + 1) * (1 - fx) + tiles_knot(seed, kx + 1, ky + 1) * fx;
            p[y * SIDE + x] += weight * (top * (1 - fy) + low * fy);
        }
}

/* One plane of brightness and one of hue, -1..1 about. */
static void tiles_planes(uint32_t seed, float *light, float *hue)
{
    memset(light, 0, SIDE * SIDE * sizeof *light);
    memset(hue, 0, SIDE * SIDE * sizeof *hue);
    float weight = 0.42f;
    for (uint32_t o = 0; o < OCTAVES; o++, weight *= 0.72f) {
        tiles_octave(light, seed * 31 + o, 64u >> o > 0 ? 64u >> o : 1, weight);
        if (o < 4)
            tiles_octave(hue, seed * 31 + 16 + o, 128u >> o, weight);
    }
}

static float tiles_value(float v)
{
    return v < 0 ? 0 : v > 1 ? 1 : v;
}

static void tiles_colour(float light, float hue, float out[4])      /* r, g, b, near infrared in 0..1 */
{
    out[0] = tiles_value(0.42f + 0.35f * light + 0.10f * hue);
    out[1] = tiles_value(0.45f + 0.33f * light - 0.04f * hue);
    out[2] = tiles_value(0.38f + 0.30f * light - 0.12f * hue);
    out[3] = tiles_value(0.55f + 0.25f * light - 0.20f * hue);
}

static int tiles_jpeg(const char *path, uint32_t seed, float *light, float *hue, struct fl_err *err)
{
    static uint8_t rgb[SIDE * SIDE * 3];
    unsigned char *jpeg = NULL;
    unsigned long size = 0;
    float v[4];
    tiles_planes(seed, light, hue);
    for (uint32_t i = 0; i < SIDE * SIDE; i++) {
        tiles_colour(light[i], hue[i], v);
        for (int k = 0; k < 3; k++)
            rgb[3 * i + (uint32_t)k] = (uint8_t)(v[k] * 255.0f + 0.5f);
    }
    tjhandle tj = tjInitCompress();
    int bad = tj == NULL || tjCompress2(tj, rgb, SIDE, 0, SIDE, TJPF_RGB, &jpeg, &size, TJSAMP_420, 90, 0) != 0;
    FILE *f = bad ? NULL : fopen(path, "we");
    bad = f == NULL || fwrite(jpeg, 1, size, f) != size;
    if (f != NULL && fclose(f) != 0)
        bad = 1;
    tjFree(jpeg);
    if (tj != NULL)
        tjDestroy(tj);
    return bad ? fl_err_set(err, FL_E_IO, "%s: can't be written", path) : FL_OK;
}

/* Band order blue, green, red, near infrared, as the satellite's tiles have it. */
static int tiles_tif(const char *path, uint32_t seed, float *light, float *hue, struct fl_err *err)
{
    static uint16_t px[SIDE * SIDE * 4];
    float v[4];
    tiles_planes(seed, light, hue);
    for (uint32_t i = 0; i < SIDE * SIDE; i++) {
        tiles_colour(light[i], hue[i], v);
        for (int k = 0; k < 4; k++)
            px[4 * i + (uint32_t)k] = (uint16_t)(1500 + 9000 * v[k < 3 ? 2 - k : 3]);
    }
    TIFF *t = TIFFOpen(path, "w");
    if (t == NULL)
        return fl_err_set(err, FL_E_IO, "%s: can't be written", path);
    TIFFSetField(t, TIFFTAG_IMAGEWIDTH, SIDE);
    TIFFSetField(t, TIFFTAG_IMAGELENGTH, SIDE);
    TIFFSetField(t, TIFFTAG_BITSPERSAMPLE, 16);
    TIFFSetField(t, TIFFTAG_SAMPLESPERPIXEL, 4);
    TIFFSetField(t, TIFFTAG_ROWSPERSTRIP, SIDE);
    TIFFSetField(t, TIFFTAG_PHOTOMETRIC, PHOTOMETRIC_MINISBLACK);
    TIFFSetField(t, TIFFTAG_PLANARCONFIG, PLANARCONFIG_CONTIG);
    TIFFSetField(t, TIFFTAG_COMPRESSION, COMPRESSION_NONE);
    TIFFSetField(t, TIFFTAG_EXTRASAMPLES, 1, (uint16_t[]){ EXTRASAMPLE_UNSPECIFIED });
    bool ok = TIFFWriteEncodedStrip(t, 0, px, sizeof px) == (tmsize_t)sizeof px;
    TIFFClose(t);
    return ok ? FL_OK : fl_err_set(err, FL_E_IO, "%s: can't be written", path);
}

struct tiles_kind {
    const char *name, *ext;
    uint32_t distinct;
    int (*make)(const char *path, uint32_t seed, float *light, float *hue, struct fl_err *);
};

static int tiles_files(struct bench *b, const struct tiles_kind *k, uint32_t names, FILE *list, struct fl_err *err)
{
    static float light[SIDE * SIDE], hue[SIDE * SIDE];
    char path[800], first[800];
    for (uint32_t i = 0; i < names; i++) {
        snprintf(path, sizeof path, "%s/%s/t%u.%s", b->dir, k->name, i, k->ext);
        snprintf(first, sizeof first, "%s/%s/t%u.%s", b->dir, k->name, i % k->distinct, k->ext);
        int rc = i < k->distinct && access(path, R_OK) != 0 ? k->make(path, i, light, hue, err) : FL_OK;
        if (rc == FL_OK && i >= k->distinct && link(first, path) != 0 && errno != EEXIST)
            rc = fl_err_set(err, FL_E_IO, "%s: %s", path, strerror(errno));
        if (rc != FL_OK)
            return rc;
        fprintf(list, "%s\n", path);
    }
    return FL_OK;
}

/* The list is renamed into place last: where it is, all its files are. */
static int tiles_make(struct bench *b, const struct tiles_kind *k, uint32_t names, struct fl_err *err)
{
    char dir[700], name[760], part[780];
    snprintf(dir, sizeof dir, "%s/%s", b->dir, k->name);
    snprintf(name, sizeof name, "%s.%u.list", dir, names);
    snprintf(part, sizeof part, "%s.part", name);
    if (access(name, R_OK) == 0)
        return FL_OK;
    if (mkdir(dir, 0755) != 0 && errno != EEXIST)
        return fl_err_set(err, FL_E_IO, "%s: %s", dir, strerror(errno));
    fprintf(stderr, "bench: %u tiles in %s\n", names, dir);
    FILE *list = fopen(part, "we");
    if (list == NULL)
        return fl_err_set(err, FL_E_IO, "%s: %s", part, strerror(errno));
    int rc = tiles_files(b, k, names, list, err);
    if (fclose(list) != 0 || (rc == FL_OK && rename(part, name) != 0))
        rc = rc != FL_OK ? rc : fl_err_set(err, FL_E_IO, "%s: can't be written", name);
    return rc;
}

int bench_tiles(struct bench *b, struct fl_err *err)
{
    static const struct tiles_kind jpeg = { "jpeg", "jpg", JPEG_FILES, tiles_jpeg }, tif = { "tif", "tif", TIF_FILES, tiles_tif };
    int rc = tiles_make(b, &jpeg, BENCH_START, err);
    if (rc == FL_OK)
        rc = tiles_make(b, &jpeg, BENCH_NET, err);
    if (rc == FL_OK)
        rc = tiles_make(b, &jpeg, BENCH_RING, err);
    if (rc == FL_OK)
        rc = tiles_make(b, &jpeg, BENCH_FEW, err);
    if (rc == FL_OK)
        rc = tiles_make(b, &jpeg, BENCH_JPEGS, err);
    return rc == FL_OK ? tiles_make(b, &tif, BENCH_TIFS, err) : rc;
}
