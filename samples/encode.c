/* Files of a sample tile: JPEG in two layouts and 16-bit TIF. */
#include "samples/paint.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>
#include <tiffio.h>

#define ENCODE_LAYOUT_OP 42u
#define ENCODE_QUALITY   85

enum paint_layout paint_pick_layout(enum paint_layout want, uint64_t seed, const char *id)
{
    if (want != PAINT_MIXED)
        return want;
    struct fl_rng r;
    paint_rng_init(&r, seed, id, ENCODE_LAYOUT_OP);
    return paint_below(&r, 2) ? PAINT_RAW4 : PAINT_RGB;
}

/* ---- JPEG ---- */

struct encode_trap { struct jpeg_error_mgr base; jmp_buf back; char text[JMSG_LENGTH_MAX]; };

static void encode_jpeg_fail(j_common_ptr info)
{
    struct encode_trap *trap = (struct encode_trap *)info->err;
    info->err->format_message(info, trap->text);
    longjmp(trap->back, 1);
}

static void encode_jpeg_setup(struct jpeg_compress_struct *j, uint32_t size, int raw4)
{
    j->image_width = j->image_height = size;
    j->input_components = raw4 ? 4 : 3;
    j->in_color_space = raw4 ? JCS_UNKNOWN : JCS_RGB;      /* unknown: samples as they are, no marker that names a space */
    jpeg_set_defaults(j);
    jpeg_set_quality(j, ENCODE_QUALITY, TRUE);
    j->optimize_coding = TRUE;
    j->dct_method = JDCT_ISLOW;
    for (int k = 0; raw4 && k < 4; k++)
        j->comp_info[k].component_id = k + 1;
}

static void encode_row(const struct canvas *c, uint32_t y, int channels, uint8_t *row)
{
    const float *px = c->px + (size_t)y * c->size * 4;
    for (size_t x = 0; x < c->size; x++)
        for (int b = 0; b < channels; b++)
            row[x * (size_t)channels + (size_t)b] = b == 3 ? 255 : (uint8_t)lrintf(px[4 * x + (size_t)b] * 255);
}

static int encode_jpeg_file(FILE *f, uint8_t *row, const struct canvas *c, int raw4, struct encode_trap *trap)
{
    struct jpeg_compress_struct j;
    memset(&j, 0, sizeof j);
    j.err = jpeg_std_error(&trap->base);
    trap->base.error_exit = encode_jpeg_fail;
    if (setjmp(trap->back)) {
        jpeg_destroy_compress(&j);
        return FL_E_IO;
    }
    jpeg_create_compress(&j);
    jpeg_stdio_dest(&j, f);
    encode_jpeg_setup(&j, c->size, raw4);
    jpeg_start_compress(&j, TRUE);
    while (j.next_scanline < j.image_height) {
        encode_row(c, j.next_scanline, j.input_components, row);
        jpeg_write_scanlines(&j, &row, 1);
    }
    jpeg_finish_compress(&j);
    jpeg_destroy_compress(&j);
    return FL_OK;
}

int paint_write_jpeg(const char *path, const struct canvas *c, enum paint_layout layout, struct fl_err *err)
{
    struct encode_trap *trap = calloc(1, sizeof *trap);
    uint8_t *row = malloc((size_t)c->size * 4);
    int code = FL_OK;
    if (trap == NULL || row == NULL) {
        free(trap);
        free(row);
        return fl_err_set(err, FL_E_NOMEM, "%s: a row of pixels", path);
    }
    FILE *f = fopen(path, "wb");
    if (f == NULL) {
        code = fl_err_set(err, FL_E_IO, "%s: %s", path, strerror(errno));
    } else {
        code = encode_jpeg_file(f, row, c, layout == PAINT_RAW4, trap);
        if (code != FL_OK)
            fl_err_set(err, code, "%s: %s", path, trap->text);
        if (fclose(f) != 0 && code == FL_OK)
            code = fl_err_set(err, FL_E_IO, "%s: %s", path, strerror(errno));
    }
    free(row);
    free(trap);
    return code;
}

/* ---- TIF ---- */

/* Digital numbers as the satellite's 16-bit tiles hold them: a dark offset and a gain for each of B, G, R, NIR. */
static const struct { int plane; float offset, gain; } encode_bands[4] = {
    { 2, 2900, 7000 }, { 1, 2100, 6400 }, { 0, 1300, 5700 }, { 3, 1500, 9000 },
};

static uint16_t encode_dn(size_t band, const float px[4])
{
    return (uint16_t)lrintf(encode_bands[band].offset + encode_bands[band].gain * px[encode_bands[band].plane]);
}

static int encode_tif_rows(TIFF *t, const struct canvas *c, uint16_t *row)
{
    for (uint32_t y = 0; y < c->size; y++) {
        const float *px = c->px + (size_t)y * c->size * 4;
        for (size_t x = 0; x < c->size; x++)
            for (size_t b = 0; b < 4; b++)
                row[4 * x + b] = encode_dn(b, px + 4 * x);
        if (TIFFWriteScanline(t, row, y, 0) != 1)
            return FL_E_IO;
    }
    return FL_OK;
}

int paint_write_tif(const char *path, const struct canvas *c, struct fl_err *err)
{
    static const uint16_t extra[1] = { EXTRASAMPLE_UNSPECIFIED };
    uint16_t *row = malloc((size_t)c->size * 4 * sizeof *row);
    if (row == NULL)
        return fl_err_set(err, FL_E_NOMEM, "%s: a row of pixels", path);
    TIFF *t = TIFFOpen(path, "wl");
    if (t == NULL) {
        free(row);
        return fl_err_set(err, FL_E_IO, "%s: can't be opened for writing", path);
    }
    TIFFSetField(t, TIFFTAG_IMAGEWIDTH, c->size);
    TIFFSetField(t, TIFFTAG_IMAGELENGTH, c->size);
    TIFFSetField(t, TIFFTAG_SAMPLESPERPIXEL, 4);
    TIFFSetField(t, TIFFTAG_BITSPERSAMPLE, 16);
    TIFFSetField(t, TIFFTAG_SAMPLEFORMAT, SAMPLEFORMAT_UINT);
    TIFFSetField(t, TIFFTAG_PLANARCONFIG, PLANARCONFIG_CONTIG);
    TIFFSetField(t, TIFFTAG_COMPRESSION, COMPRESSION_NONE);
    TIFFSetField(t, TIFFTAG_PHOTOMETRIC, PHOTOMETRIC_RGB);
    TIFFSetField(t, TIFFTAG_EXTRASAMPLES, 1, extra);
    TIFFSetField(t, TIFFTAG_ROWSPERSTRIP, c->size);
    int code = encode_tif_rows(t, c, row);
    if (code == FL_OK && TIFFFlush(t) != 1)
        code = FL_E_IO;
    TIFFClose(t);
    free(row);
    return code == FL_OK ? FL_OK : fl_err_set(err, code, "%s: writing failed", path);
}
