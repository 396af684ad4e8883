/* Writes TIFFs in every layout by libtiff. */
#include "tests/lib/tiff_write.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <tiffio.h>

static void tags(TIFF *t, const struct fl_tiff_kind *k)
{
    TIFFSetField(t, TIFFTAG_IMAGEWIDTH, k->width);
    TIFFSetField(t, TIFFTAG_IMAGELENGTH, k->height);
    TIFFSetField(t, TIFFTAG_BITSPERSAMPLE, k->bits ? k->bits : 16);
    TIFFSetField(t, TIFFTAG_SAMPLESPERPIXEL, (int)k->bands);
    TIFFSetField(t, TIFFTAG_PHOTOMETRIC, k->photometric ? k->photometric : PHOTOMETRIC_MINISBLACK);
    if (k->orientation)
        TIFFSetField(t, TIFFTAG_ORIENTATION, k->orientation);
    TIFFSetField(t, TIFFTAG_PLANARCONFIG, k->planar ? PLANARCONFIG_SEPARATE : PLANARCONFIG_CONTIG);
    TIFFSetField(t, TIFFTAG_COMPRESSION, k->packing ? k->packing : COMPRESSION_NONE);
    if (k->format)
        TIFFSetField(t, TIFFTAG_SAMPLEFORMAT, k->format);
    if (k->predictor)
        TIFFSetField(t, TIFFTAG_PREDICTOR, k->predictor);
    if (k->tile) {
        TIFFSetField(t, TIFFTAG_TILEWIDTH, k->tile);
        TIFFSetField(t, TIFFTAG_TILELENGTH, k->tile);
    } else {
        TIFFSetField(t, TIFFTAG_ROWSPERSTRIP, k->rows ? k->rows : k->height);
    }
}

/* One block: the pixels of rectangle x, y, w, h (what lies outside is 0), of one plane or of all. */
static void block(TIFF *t, const struct fl_tiff_kind *k, const uint8_t *pixels, uint32_t number, int plane, const uint32_t r[4])
{
    size_t sample = k->bits == 8 ? 1 : k->bits == 32 ? 4 : 2, pixel = sample * (plane < 0 ? k->bands : 1), n = pixel * r[2] * r[3];
    uint8_t *buf = calloc(n, 1);
    if (buf == NULL)
        abort();
    for (uint32_t y = 0; y < r[3] && r[1] + y < k->height; y++)
        for (uint32_t x = 0; x < r[2] && r[0] + x < k->width; x++) {
            size_t at = ((size_t)(r[1] + y) * k->width + r[0] + x) * k->bands + (plane < 0 ? 0 : (size_t)plane);
            memcpy(buf + ((size_t)y * r[2] + x) * pixel, pixels + at * sample, pixel);
        }
    tmsize_t rc = k->tile ? TIFFWriteEncodedTile(t, number, buf, (tmsize_t)n) : TIFFWriteEncodedStrip(t, number, buf, (tmsize_t)n);
    free(buf);
    if (rc < 0)
        abort();
}

static void plane_blocks(TIFF *t, const struct fl_tiff_kind *k, const uint8_t *pixels, int plane, uint32_t *number)
{
    uint32_t bw = k->tile ? k->tile : k->width, bh = k->tile ? k->tile : k->rows ? k->rows : k->height;
    for (uint32_t y = 0; y < k->height; y += bh)
        for (uint32_t x = 0; x < k->width; x += bw) {
            uint32_t h = !k->tile && k->height - y < bh ? k->height - y : bh;
            block(t, k, pixels, (*number)++, plane, (uint32_t[]){ x, y, bw, h });
        }
}

uint8_t *fl_tiff_write(const struct fl_tiff_kind *k, const void *pixels, size_t *len)
{
    char path[] = "/tmp/flowrun-tiff-XXXXXX";
    int fd = mkstemp(path);
    char mode[4] = { 'w', k->swapped ? 'b' : 'l', k->bigtiff ? '8' : '\0', '\0' };
    TIFFSetWarningHandler(NULL);
    TIFF *t = fd >= 0 ? TIFFFdOpen(fd, path, mode) : NULL;
    if (t == NULL)
        abort();
    tags(t, k);
    uint32_t number = 0;
    for (int plane = k->planar ? 0 : -1; plane < (k->planar ? (int)k->bands : 0); plane++)
        plane_blocks(t, k, pixels, plane, &number);
    TIFFClose(t);
    FILE *f = fopen(path, "rb");
    unlink(path);
    if (f == NULL || fseek(f, 0, SEEK_END) != 0)
        abort();
    *len = (size_t)ftell(f);
    rewind(f);
    uint8_t *bytes = malloc(*len);
    if (bytes == NULL || fread(bytes, 1, *len, f) != *len)
        abort();
    fclose(f);
    return bytes;
}
