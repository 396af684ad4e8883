/* The directory that stages/lib/tiff_head reads against libtiff's. */
#include "tests/lib/tiff_agree.h"

#include <string.h>

#include <tiffio.h>

#include "stages/lib/tiff_head.h"

struct memory { const unsigned char *p; toff_t len, pos; };

static tmsize_t memory_read(thandle_t h, void *buf, tmsize_t n)
{
    struct memory *m = h;
    toff_t left = m->pos < m->len ? m->len - m->pos : 0, take = (toff_t)n < left ? (toff_t)n : left;
    memcpy(buf, m->p + m->pos, take);
    m->pos += take;
    return (tmsize_t)take;
}

static tmsize_t memory_write(thandle_t h, void *buf, tmsize_t n) { (void)h; (void)buf; (void)n; return -1; }
static int memory_close(thandle_t h) { (void)h; return 0; }
static toff_t memory_size(thandle_t h) { return ((struct memory *)h)->len; }

static toff_t memory_seek(thandle_t h, toff_t off, int whence)
{
    struct memory *m = h;
    return m->pos = off + (whence == SEEK_CUR ? m->pos : whence == SEEK_END ? m->len : 0);
}

static int quiet(TIFF *t, void *user, const char *module, const char *fmt, va_list ap)
{
    (void)t; (void)user; (void)module; (void)fmt; (void)ap;
    return 1;
}

static TIFF *open_memory(struct memory *m)
{
    TIFFOpenOptions *o = TIFFOpenOptionsAlloc();
    TIFFOpenOptionsSetErrorHandlerExtR(o, quiet, NULL);
    TIFFOpenOptionsSetWarningHandlerExtR(o, quiet, NULL);
    TIFF *t = TIFFClientOpenExt("memory", "rc", m, memory_read, memory_write, memory_seek, memory_close, memory_size, NULL, NULL, o);
    TIFFOpenOptionsFree(o);
    return t;
}

static bool plain(TIFF *t, uint32_t bands)
{
    uint16_t bits = 0, samples = 0, format = 0, packing = 0, fill = 0, orientation = 0, photometric = 9;
    TIFFGetFieldDefaulted(t, TIFFTAG_BITSPERSAMPLE, &bits);
    TIFFGetFieldDefaulted(t, TIFFTAG_SAMPLESPERPIXEL, &samples);
    TIFFGetFieldDefaulted(t, TIFFTAG_SAMPLEFORMAT, &format);
    TIFFGetFieldDefaulted(t, TIFFTAG_COMPRESSION, &packing);
    TIFFGetFieldDefaulted(t, TIFFTAG_FILLORDER, &fill);
    TIFFGetFieldDefaulted(t, TIFFTAG_ORIENTATION, &orientation);
    TIFFGetField(t, TIFFTAG_PHOTOMETRIC, &photometric);
    return bits == 16 && samples == bands && (format == SAMPLEFORMAT_UINT || format == SAMPLEFORMAT_VOID) && packing == COMPRESSION_NONE &&
           fill == FILLORDER_MSB2LSB && orientation == ORIENTATION_TOPLEFT && (photometric == PHOTOMETRIC_MINISBLACK || photometric == PHOTOMETRIC_RGB) &&
           !TIFFIsTiled(t);
}

static bool same(TIFF *t, const struct fl_tiff_head *h)
{
    uint32_t width = 0, height = 0, rows = 0;
    uint16_t planar = 0;
    TIFFGetField(t, TIFFTAG_IMAGEWIDTH, &width);
    TIFFGetField(t, TIFFTAG_IMAGELENGTH, &height);
    TIFFGetFieldDefaulted(t, TIFFTAG_ROWSPERSTRIP, &rows);
    TIFFGetFieldDefaulted(t, TIFFTAG_PLANARCONFIG, &planar);
    bool ok = width == h->width && height == h->height && (rows < height ? rows : height) == h->rows && (planar == PLANARCONFIG_SEPARATE) == h->planar;
    ok &= TIFFNumberOfStrips(t) == h->off.n && h->off.n == h->bytes.n && (TIFFIsBigEndian(t) != 0) == h->big_endian && TIFFCurrentDirOffset(t) == h->at;
    for (uint32_t i = 0; ok && i < h->off.n; i++)
        ok = TIFFGetStrileOffset(t, i) == fl_tiff_entry(h, &h->off, i);
    return ok;
}

bool fl_tiff_agrees(const void *bytes, size_t len, uint32_t bands, bool *taken)
{
    struct fl_tiff_head h;
    struct memory m = { bytes, len, 0 };
    bool mine = fl_tiff_head(&h, bytes, len, bands);
    if (taken != NULL)
        *taken = mine;
    if (!mine)
        return true;
    TIFF *t = open_memory(&m);
    bool ok = t != NULL && plain(t, bands) && same(t, &h);
    if (t != NULL)
        TIFFClose(t);
    return ok;
}
