/* 16-bit TIFF tiles: plain strips are copied straight, all else is unpacked by libtiff over memory.
 *
 * Where the pixels lie is proven before they are read: libtiff itself reads an image whose strips point anywhere. */
#include "stages/lib/tiff.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <tiffio.h>

#include "stages/lib/tiff_head.h"
#include "stages/lib/tiff_rows.h"

#define TIFF_MOST_ALLOC ((tmsize_t)1 << 30)    /* of libtiff, at once */
#define TIFF_BIG_BLOCK  ((uint64_t)64 << 20)   /* a tile may be larger than a small image, up to this */

struct tiff_span { uint64_t off, bytes; };

struct fl_tiff {
    struct fl_bands bands;
    TIFFOpenOptions *options;
    TIFF       *tif;               /* or NULL: the directory is in `head` */
    struct fl_tiff_head head;
    const char *bytes;
    uint64_t    len, pos;
    struct fl_err *err;            /* of the call under way; the first complaint stays */
    bool        strict;            /* warnings count: pixels are being unpacked */
    bool        complained;

    uint32_t    width, height;     /* 0: no header was read */
    uint16_t    packing, planar, fill;
    bool        swapped;           /* plain samples are of the other byte order */
    uint64_t    dir;               /* where the directory lies */
    uint32_t    blocks;            /* strips or tiles */
    uint32_t    block_w, block_h;  /* of a block: of the full width for strips */
    bool        tiled;

    struct tiff_span *spans;       /* [blocks], then the directory itself */
    uint32_t    span_room;
    void       *block;             /* one unpacked block */
    uint64_t    block_room;
};

/* ---- libtiff's callbacks ---- */

static tmsize_t tiff_read(thandle_t h, void *buf, tmsize_t n)
{
    struct fl_tiff *t = h;
    uint64_t left = t->pos < t->len ? t->len - t->pos : 0, take = n < 0 ? 0 : (uint64_t)n;
    if (take > left)
        take = left;
    memcpy(buf, t->bytes + t->pos, take);
    t->pos += take;
    return (tmsize_t)take;
}

static tmsize_t tiff_write(thandle_t h, void *buf, tmsize_t n)
{
    (void)h; (void)buf; (void)n;
    return -1;
}

static toff_t tiff_seek(thandle_t h, toff_t off, int whence)
{
    struct fl_tiff *t = h;
    uint64_t base = whence == SEEK_CUR ? t->pos : whence == SEEK_END ? t->len : 0;
    t->pos = base + off;
    if (t->pos > t->len)
        t->pos = t->len;           /* reads there yield nothing */
    return t->pos;
}

static int tiff_shut(thandle_t h)
{
    (void)h;
    return 0;
}

static toff_t tiff_size(thandle_t h)
{
    return ((struct fl_tiff *)h)->len;
}

static int tiff_map(thandle_t h, void **base, toff_t *size)
{
    struct fl_tiff *t = h;
    *base = (void *)(uintptr_t)t->bytes;
    *size = t->len;
    return 1;
}

static void tiff_unmap(thandle_t h, void *base, toff_t size)
{
    (void)h; (void)base; (void)size;
}

static int tiff_error(TIFF *tif, void *user, const char *module, const char *fmt, va_list ap)
{
    struct fl_tiff *t = user;
    (void)tif; (void)module;
    if (!t->complained)
        fl_err_vset(t->err, errno == ENOMEM ? FL_E_NOMEM : FL_E_INPUT, fmt, ap);
    t->complained = true;
    return 1;
}

static int tiff_warning(TIFF *tif, void *user, const char *module, const char *fmt, va_list ap)
{
    struct fl_tiff *t = user;
    return t->strict ? tiff_error(tif, user, module, fmt, ap) : 1;
}

/* ---- life ---- */

struct fl_tiff *fl_tiff_new(uint32_t file_bands, const uint8_t *bands, uint32_t out_bands)
{
    struct fl_tiff *t = calloc(1, sizeof *t);
    TIFFOpenOptions *o = t != NULL ? TIFFOpenOptionsAlloc() : NULL;
    if (o == NULL) {
        free(t);
        return NULL;
    }
    TIFFOpenOptionsSetMaxSingleMemAlloc(o, TIFF_MOST_ALLOC);
    TIFFOpenOptionsSetErrorHandlerExtR(o, tiff_error, t);
    TIFFOpenOptionsSetWarningHandlerExtR(o, tiff_warning, t);
    t->options = o;
    t->bands.in = file_bands;
    t->bands.out = out_bands;
    memcpy(t->bands.from, bands, out_bands);
    return t;
}

static void tiff_drop(struct fl_tiff *t)
{
    if (t->tif != NULL)
        TIFFClose(t->tif);
    t->tif = NULL;
    t->width = t->height = 0;
}

void fl_tiff_free(struct fl_tiff *t)
{
    if (t == NULL)
        return;
    tiff_drop(t);
    TIFFOpenOptionsFree(t->options);
    free(t->spans);
    free(t->block);
    free(t);
}

/* ---- header ---- */

static int tiff_said(struct fl_tiff *t, const char *otherwise)
{
    return t->complained ? t->err->code : fl_err_set(t->err, errno == ENOMEM ? FL_E_NOMEM : FL_E_INPUT, "%s", otherwise);
}

static bool tiff_packing_ok(uint16_t packing)
{
    return packing == COMPRESSION_NONE || packing == COMPRESSION_LZW || packing == COMPRESSION_ADOBE_DEFLATE ||
           packing == COMPRESSION_DEFLATE || packing == COMPRESSION_PACKBITS;
}

/* Values as they stand, the first row at the top: what would have to be turned round or looked up is refused, not guessed at. */
static int tiff_meaning(struct fl_tiff *t, struct fl_err *err)
{
    uint16_t photometric = PHOTOMETRIC_MINISBLACK, orientation = ORIENTATION_TOPLEFT;
    TIFFGetField(t->tif, TIFFTAG_PHOTOMETRIC, &photometric);
    TIFFGetFieldDefaulted(t->tif, TIFFTAG_ORIENTATION, &orientation);
    if (photometric != PHOTOMETRIC_MINISBLACK && photometric != PHOTOMETRIC_RGB)
        return fl_err_set(err, FL_E_INPUT, "photometric interpretation %u, want 1 (0 is black) or 2 (RGB)", photometric);
    if (orientation != ORIENTATION_TOPLEFT)
        return fl_err_set(err, FL_E_INPUT, "orientation %u, want 1 (the first row at the top, its first pixel at the left)", orientation);
    return FL_OK;
}

static int tiff_samples(struct fl_tiff *t, struct fl_err *err)
{
    uint16_t bits = 0, samples = 0, format = 0;
    TIFFGetFieldDefaulted(t->tif, TIFFTAG_BITSPERSAMPLE, &bits);
    TIFFGetFieldDefaulted(t->tif, TIFFTAG_SAMPLESPERPIXEL, &samples);
    TIFFGetFieldDefaulted(t->tif, TIFFTAG_SAMPLEFORMAT, &format);
    TIFFGetFieldDefaulted(t->tif, TIFFTAG_COMPRESSION, &t->packing);
    TIFFGetFieldDefaulted(t->tif, TIFFTAG_PLANARCONFIG, &t->planar);
    TIFFGetFieldDefaulted(t->tif, TIFFTAG_FILLORDER, &t->fill);
    if (samples != t->bands.in)
        return fl_err_set(err, FL_E_SHAPE, "%u bands, want %u", samples, t->bands.in);
    if (bits != 16 || (format != SAMPLEFORMAT_UINT && format != SAMPLEFORMAT_VOID))
        return fl_err_set(err, FL_E_SHAPE, "%u-bit samples of format %u, want 16-bit unsigned", bits, format);
    if (!tiff_packing_ok(t->packing))
        return fl_err_set(err, FL_E_INPUT, "compression %u, want none, LZW, deflate or packbits", t->packing);
    if (t->planar != PLANARCONFIG_CONTIG && t->planar != PLANARCONFIG_SEPARATE)
        return fl_err_set(err, FL_E_INPUT, "planar configuration %u", t->planar);
    return FL_OK;
}

static int tiff_layout(struct fl_tiff *t, struct fl_err *err)
{
    if (TIFFGetField(t->tif, TIFFTAG_IMAGEWIDTH, &t->width) != 1 || TIFFGetField(t->tif, TIFFTAG_IMAGELENGTH, &t->height) != 1 ||
        t->width == 0 || t->height == 0)
        return fl_err_set(err, FL_E_INPUT, "no width or height");
    t->tiled = TIFFIsTiled(t->tif) != 0;
    if (t->tiled) {
        if (TIFFGetField(t->tif, TIFFTAG_TILEWIDTH, &t->block_w) != 1 || TIFFGetField(t->tif, TIFFTAG_TILELENGTH, &t->block_h) != 1)
            return fl_err_set(err, FL_E_INPUT, "no tile width or height");
    } else {
        TIFFGetFieldDefaulted(t->tif, TIFFTAG_ROWSPERSTRIP, &t->block_h);
        t->block_w = t->width;
        if (t->block_h > t->height)
            t->block_h = t->height;
    }
    if (t->block_w == 0 || t->block_h == 0)
        return fl_err_set(err, FL_E_INPUT, "strips or tiles of no size");
    return FL_OK;
}

static void tiff_take_head(struct fl_tiff *t)
{
    const struct fl_tiff_head *h = &t->head;
    t->width = t->block_w = h->width;
    t->height = h->height;
    t->block_h = h->rows;
    t->packing = COMPRESSION_NONE;
    t->planar = h->planar ? PLANARCONFIG_SEPARATE : PLANARCONFIG_CONTIG;
    t->fill = FILLORDER_MSB2LSB;
    t->tiled = false;
    t->blocks = h->off.n;
    t->swapped = h->big_endian != (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__);
    t->dir = h->at;
}

static int tiff_open(struct fl_tiff *t, struct fl_err *err)
{
    errno = 0;                     /* libtiff says in words alone that memory ran out */
    /* c: no chopping of one large strip into small ones that the file doesn't have; D: counts as the file has them, none mended in silence. */
    t->tif = TIFFClientOpenExt("tile", "rcD", t, tiff_read, tiff_write, tiff_seek, tiff_shut, tiff_size, tiff_map, tiff_unmap, t->options);
    if (t->tif == NULL)
        return tiff_said(t, "no TIFF");
    int rc = tiff_layout(t, err);
    if (rc == FL_OK)
        rc = tiff_samples(t, err);
    if (rc == FL_OK)
        rc = tiff_meaning(t, err);
    t->blocks = t->tiled ? TIFFNumberOfTiles(t->tif) : TIFFNumberOfStrips(t->tif);
    t->swapped = TIFFIsByteSwapped(t->tif) != 0;
    t->dir = TIFFCurrentDirOffset(t->tif);
    return rc;
}

int fl_tiff_header(struct fl_tiff *t, const void *bytes, size_t len, uint32_t *width, uint32_t *height, struct fl_err *err)
{
    tiff_drop(t);
    t->err = err;
    t->bytes = bytes;
    t->len = len;
    t->pos = 0;
    t->strict = t->complained = false;
    if (fl_tiff_head(&t->head, bytes, len, t->bands.in)) {
        tiff_take_head(t);
    } else {
        int rc = tiff_open(t, err);
        if (rc != FL_OK) {
            tiff_drop(t);
            return rc;
        }
    }
    *width = t->width;
    *height = t->height;
    return FL_OK;
}

/* ---- where the pixels lie ---- */

static uint64_t tiff_block_bytes(const struct fl_tiff *t, uint32_t rows)
{
    return (uint64_t)t->block_w * rows * 2 * (t->planar == PLANARCONFIG_CONTIG ? t->bands.in : 1);
}

/* Blocks from top to bottom. */
static uint32_t tiff_down(const struct fl_tiff *t)
{
    return (uint32_t)(((uint64_t)t->height + t->block_h - 1) / t->block_h);
}

/* Rows that block i holds: the last strip may be shorter, tiles never are. */
static uint32_t tiff_block_rows(const struct fl_tiff *t, uint32_t i)
{
    if (t->tiled)
        return t->block_h;
    uint32_t row = i % tiff_down(t) * t->block_h;
    return t->height - row < t->block_h ? t->height - row : t->block_h;
}

static int tiff_span_cmp(const void *a, const void *b)
{
    const struct tiff_span *x = a, *y = b;
    return (x->off > y->off) - (x->off < y->off);
}

static int tiff_overlap(struct fl_tiff *t, struct fl_err *err)
{
    uint32_t n = t->blocks + 1;
    t->spans[t->blocks] = (struct tiff_span){ t->dir, 1 };
    bool ordered = true;
    for (uint32_t i = 1; i < n && ordered; i++)
        ordered = t->spans[i - 1].off <= t->spans[i].off;
    if (!ordered)
        qsort(t->spans, n, sizeof *t->spans, tiff_span_cmp);
    for (uint32_t i = 1; i < n; i++)
        if (t->spans[i - 1].off + t->spans[i - 1].bytes > t->spans[i].off)
            return fl_err_set(err, FL_E_INPUT, "strips or tiles overlap each other or the directory at byte %llu", (unsigned long long)t->spans[i].off);
    return FL_OK;
}

static int tiff_span(struct fl_tiff *t, uint32_t i, struct fl_err *err)
{
    int bad = 0, bad2 = 0;
    uint64_t off = t->tif == NULL ? fl_tiff_entry(&t->head, &t->head.off, i) : TIFFGetStrileOffsetWithErr(t->tif, i, &bad);
    uint64_t bytes = t->tif == NULL ? fl_tiff_entry(&t->head, &t->head.bytes, i) : TIFFGetStrileByteCountWithErr(t->tif, i, &bad2);
    uint64_t need = t->packing == COMPRESSION_NONE ? tiff_block_bytes(t, tiff_block_rows(t, i)) : 1;
    if (bad || bad2)
        return tiff_said(t, "where its strips or tiles lie can't be read");
    if (off < 8 || off > t->len || bytes > t->len - off)
        return fl_err_set(err, FL_E_INPUT, "%s %u lies at %llu + %llu, the file has %llu bytes", t->tiled ? "tile" : "strip", i,
                          (unsigned long long)off, (unsigned long long)bytes, (unsigned long long)t->len);
    if (bytes < need)
        return fl_err_set(err, FL_E_INPUT, "%s %u has %llu bytes, want %llu", t->tiled ? "tile" : "strip", i,
                          (unsigned long long)bytes, (unsigned long long)need);
    /* A plain block may be followed by filling within its count, which may be shared. */
    t->spans[i] = (struct tiff_span){ off, t->packing == COMPRESSION_NONE ? need : bytes };
    return FL_OK;
}

static int tiff_prove(struct fl_tiff *t, struct fl_err *err)
{
    uint64_t across = ((uint64_t)t->width + t->block_w - 1) / t->block_w, down = tiff_down(t);
    uint64_t want = across * down * (t->planar == PLANARCONFIG_SEPARATE ? t->bands.in : 1);
    /* Each block takes a byte at least, so a file can't ask for more of them than it has bytes. */
    if (t->blocks != want || want > t->len)
        return fl_err_set(err, FL_E_INPUT, "%u strips or tiles, want %llu", t->blocks, (unsigned long long)want);
    if (t->blocks >= t->span_room) {
        free(t->spans);
        t->span_room = 0;
        t->spans = malloc(((size_t)t->blocks + 1) * sizeof *t->spans);
        if (t->spans == NULL)
            return fl_err_set(err, FL_E_NOMEM, "no memory for %u strips", t->blocks);
        t->span_room = t->blocks + 1;
    }
    for (uint32_t i = 0; i < t->blocks; i++) {
        int rc = tiff_span(t, i, err);
        if (rc != FL_OK)
            return rc;
    }
    return FL_OK;
}

/* ---- pixels ---- */

/* Strips from the i-th on that follow each other in the file, in every plane: they are as good as one. */
static uint32_t tiff_follow(const struct fl_tiff *t, uint32_t i, uint32_t down)
{
    uint32_t n = 1;
    for (; i + n < down; n++)
        for (uint32_t at = i + n; at < t->blocks; at += down)
            if (t->spans[at - 1].off + t->spans[at - 1].bytes != t->spans[at].off)
                return n;
    return n;
}

static void tiff_copy_strips(struct fl_tiff *t, uint16_t *out)
{
    uint32_t down = tiff_down(t);
    struct fl_bands bands = t->bands;
    bands.swap = t->swapped;
    for (uint32_t i = 0, n; i < down; i += n) {
        n = tiff_follow(t, i, down);
        uint64_t rows = i + n < down ? (uint64_t)n * t->block_h : t->height - (uint64_t)i * t->block_h;
        size_t pixels = (size_t)(t->width * rows);
        const void *planes[FL_TIFF_BANDS] = { 0 };
        for (uint32_t k = 0; k < t->blocks / down; k++)
            planes[k] = t->bytes + t->spans[k * down + i].off;
        if (t->planar == PLANARCONFIG_CONTIG)
            fl_bands_copy(&bands, out, planes[0], pixels);
        else
            fl_planes_copy(&bands, out, planes, pixels);
        out += pixels * bands.out;
    }
}

/* One plane's samples into the image bands that come from it. */
static void tiff_put_plane(const struct fl_tiff *t, uint32_t plane, uint16_t *out, const uint16_t *in, uint32_t pixels)
{
    for (uint32_t k = 0; k < t->bands.out; k++)
        if (t->bands.from[k] == plane)
            for (uint32_t x = 0; x < pixels; x++)
                out[(size_t)x * t->bands.out + k] = in[x];
}

static void tiff_put_block(const struct fl_tiff *t, uint32_t i, uint16_t *out)
{
    uint32_t across = (uint32_t)(((uint64_t)t->width + t->block_w - 1) / t->block_w), down = tiff_down(t);
    uint32_t plane = i / (across * down), at = i % (across * down);
    uint32_t x = at % across * t->block_w, y = at / across * t->block_h;
    uint32_t w = t->width - x < t->block_w ? t->width - x : t->block_w, h = t->height - y < t->block_h ? t->height - y : t->block_h;
    bool chunky = t->planar == PLANARCONFIG_CONTIG;
    size_t stride = (size_t)t->block_w * (chunky ? t->bands.in : 1);
    const uint16_t *in = t->block;
    for (uint32_t r = 0; r < h; r++, in += stride) {
        uint16_t *to = out + ((size_t)(y + r) * t->width + x) * t->bands.out;
        if (chunky)
            fl_bands_copy(&t->bands, to, in, w);
        else
            tiff_put_plane(t, plane, to, in, w);
    }
}

static int tiff_block_room(struct fl_tiff *t, struct fl_err *err)
{
    uint64_t image = (uint64_t)t->width * t->height * t->bands.in * 2, most = image > TIFF_BIG_BLOCK ? image : TIFF_BIG_BLOCK;
    uint64_t pixels = (uint64_t)t->block_w * t->block_h;
    uint64_t need = pixels > most ? most + 1 : tiff_block_bytes(t, t->block_h);
    if (need > most)
        return fl_err_set(err, FL_E_INPUT, "tiles of %u x %u in an image of %u x %u", t->block_w, t->block_h, t->width, t->height);
    if (need <= t->block_room)
        return FL_OK;
    free(t->block);
    t->block_room = 0;
    t->block = malloc(need);
    if (t->block == NULL)
        return fl_err_set(err, FL_E_NOMEM, "no memory for %llu bytes of pixels", (unsigned long long)need);
    t->block_room = need;
    return FL_OK;
}

static int tiff_unpack(struct fl_tiff *t, uint16_t *out, struct fl_err *err)
{
    int rc = tiff_block_room(t, err);
    if (rc != FL_OK)
        return rc;
    t->strict = true;
    errno = 0;
    for (uint32_t i = 0; i < t->blocks; i++) {
        tmsize_t want = (tmsize_t)tiff_block_bytes(t, tiff_block_rows(t, i));
        tmsize_t got = t->tiled ? TIFFReadEncodedTile(t->tif, i, t->block, want) : TIFFReadEncodedStrip(t->tif, i, t->block, want);
        if (got != want || t->complained) {
            tiff_said(t, "data end early");
            return fl_err_context(err, "%s %u", t->tiled ? "tile" : "strip", i);
        }
        tiff_put_block(t, i, out);
    }
    return FL_OK;
}

int fl_tiff_read(struct fl_tiff *t, uint16_t *out, struct fl_err *err)
{
    t->err = err;
    t->complained = false;
    if (t->width == 0)
        return fl_err_set(err, FL_E_BUG, "no header was read");
    int rc = tiff_prove(t, err);
    bool plain = t->packing == COMPRESSION_NONE && !t->tiled && t->fill == FILLORDER_MSB2LSB;
    if (rc == FL_OK && plain)
        tiff_copy_strips(t, out);
    else if (rc == FL_OK)
        rc = tiff_unpack(t, out, err);
    if (rc == FL_OK)
        rc = tiff_overlap(t, err);      /* last: it sorts the spans */
    tiff_drop(t);
    return rc;
}
