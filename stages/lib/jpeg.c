/* JPEG tiles to RGB, bit for bit as libjpeg-turbo's djpeg makes them (accurate integer DCT), every warning an error.
 *
 * The contest's tiles have 4 components without any marker: plain R, G, B and a constant 255 (recipe 1.2). */
#include "stages/lib/jpeg.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>
#include <jerror.h>

#include "stages/lib/jpeg_rows.h"

#define JPEG_MAX_SCANS 100        /* a progressive file of thousands of scans costs hours */
#define JPEG_ROWS      8          /* rows asked for in one call */
#define JPEG_OFF       8          /* bytes that the row buffer's rows begin after a round address */

struct fl_jpeg {
    struct jpeg_decompress_struct c;
    struct jpeg_error_mgr    errors;
    struct jpeg_progress_mgr progress;
    jmp_buf  back;
    struct fl_err *err;           /* of the call under way */
    int      code;
    bool     cmyk, made;
    uint8_t *raw;                 /* JPEG_ROWS rows of up to 4 components */
    size_t   raw_size;
};

/* ---- libjpeg's callbacks ---- */

static void jpeg_error(j_common_ptr c)
{
    struct fl_jpeg *j = c->client_data;
    char text[JMSG_LENGTH_MAX];
    c->err->format_message(c, text);
    j->code = fl_err_set(j->err, c->err->msg_code == JERR_OUT_OF_MEMORY ? FL_E_NOMEM : FL_E_INPUT, "%s", text);
    longjmp(j->back, 1);
}

static void jpeg_message(j_common_ptr c, int level)
{
    if (level < 0)
        jpeg_error(c);
}

static void jpeg_silent(j_common_ptr c)
{
    (void)c;
}

static void jpeg_progress(j_common_ptr c)
{
    struct fl_jpeg *j = c->client_data;
    if (j->c.input_scan_number <= JPEG_MAX_SCANS)
        return;
    j->code = fl_err_set(j->err, FL_E_INPUT, "more than %d scans", JPEG_MAX_SCANS);
    longjmp(j->back, 1);
}

/* ---- life ---- */

struct fl_jpeg *fl_jpeg_new(bool cmyk)
{
    struct fl_jpeg *j = calloc(1, sizeof *j);
    if (j != NULL)
        j->cmyk = cmyk;
    return j;
}

static void jpeg_drop(struct fl_jpeg *j)
{
    if (j->made)
        jpeg_destroy_decompress(&j->c);
    j->made = false;
}

void fl_jpeg_free(struct fl_jpeg *j)
{
    if (j == NULL)
        return;
    jpeg_drop(j);
    free(j->raw);
    free(j);
}

/* The object is made anew for each image (0.2 us): libjpeg keeps tables from one image to the next, and a tile that lacks
 * its own would be decoded with those of the tile before. */
static void jpeg_make(struct fl_jpeg *j)
{
    jpeg_drop(j);
    j->c.err = jpeg_std_error(&j->errors);
    j->errors.error_exit = jpeg_error;
    j->errors.emit_message = jpeg_message;
    j->errors.output_message = jpeg_silent;
    j->c.client_data = j;
    jpeg_create_decompress(&j->c);
    j->made = true;
    j->progress.progress_monitor = jpeg_progress;
    j->c.progress = &j->progress;
}

/* ---- header ---- */

static int jpeg_colours(struct fl_jpeg *j, struct fl_err *err)
{
    struct jpeg_decompress_struct *c = &j->c;
    if (c->arith_code)      /* its decoder takes zeros for what is cut off, without a word */
        return fl_err_set(err, FL_E_INPUT, "arithmetic coding, want Huffman");
    if (c->num_components == 1)
        return fl_err_set(err, FL_E_SHAPE, "grey (1 component), want 3");
    if (c->num_components != 3 && c->num_components != 4)
        return fl_err_set(err, FL_E_SHAPE, "%d components, want 3", c->num_components);
    if (c->jpeg_color_space == JCS_YCCK && !j->cmyk)
        return fl_err_set(err, FL_E_INPUT, "YCCK colours (cmyk: convert takes them)");
    c->out_color_space = c->num_components == 3 ? JCS_RGB : JCS_CMYK;
    c->dct_method = JDCT_ISLOW;
    return FL_OK;
}

int fl_jpeg_header(struct fl_jpeg *j, const void *bytes, size_t len, uint32_t *width, uint32_t *height, struct fl_err *err)
{
    j->err = err;
    if (len > UINT32_MAX)
        return fl_err_set(err, FL_E_INPUT, "a JPEG of %zu bytes", len);
    if (setjmp(j->back) != 0) {
        jpeg_drop(j);
        return j->code;
    }
    jpeg_make(j);
    jpeg_mem_src(&j->c, bytes, (unsigned long)len);
    jpeg_read_header(&j->c, TRUE);
    int rc = jpeg_colours(j, err);
    if (rc != FL_OK) {
        jpeg_drop(j);
        return rc;
    }
    *width = j->c.image_width;
    *height = j->c.image_height;
    return FL_OK;
}

/* ---- pixels ---- */

/* A file whose scans leave a component or coefficients out decodes without any warning, in grey. */
static int jpeg_complete(const struct fl_jpeg *j, struct fl_err *err)
{
    const struct jpeg_decompress_struct *c = &j->c;
    for (int i = 0; i < c->num_components; i++) {
        if (c->comp_info[i].quant_table == NULL)
            return fl_err_set(err, FL_E_INPUT, "no scan for component %d", i);
        if (c->coef_bits == NULL)
            continue;
        for (int k = 0; k < DCTSIZE2; k++)
            if (c->coef_bits[i][k] != 0)
                return fl_err_set(err, FL_E_INPUT, "progressive scans are incomplete (component %d, coefficient %d)", i, k);
    }
    return FL_OK;
}

/* By way of a few rows that stay in the cache: where a row begins on 32 bytes, libjpeg-turbo's colour conversion writes past the
 * cache by itself, in pieces of lines, which takes twice as long as whole lines do. JPEG_OFF keeps it from that. What a call gives, a row or
 * two, goes out at once: so few lines are written to memory while the next rows are computed. */
static void jpeg_rows3(struct fl_jpeg *j, uint8_t *out)
{
    size_t stride = (size_t)j->c.output_width * 3;
    JSAMPROW rows[JPEG_ROWS];
    for (int i = 0; i < JPEG_ROWS; i++)
        rows[i] = j->raw + JPEG_OFF + (size_t)i * stride;
    while (j->c.output_scanline < j->c.output_height) {
        uint8_t *at = out + j->c.output_scanline * stride;
        fl_jpeg_far(at, rows[0], jpeg_read_scanlines(&j->c, rows, JPEG_ROWS) * stride);
    }
    fl_jpeg_settle();
}

static int jpeg_rows4(struct fl_jpeg *j, uint8_t *out, struct fl_err *err)
{
    size_t width = j->c.output_width;
    JSAMPROW rows[JPEG_ROWS];
    for (int i = 0; i < JPEG_ROWS; i++)
        rows[i] = j->raw + (size_t)i * width * 4;
    while (j->c.output_scanline < j->c.output_height) {
        uint8_t *at = out + (size_t)j->c.output_scanline * width * 3;
        JDIMENSION got = jpeg_read_scanlines(&j->c, rows, JPEG_ROWS);
        if (j->cmyk)
            fl_jpeg_cmyk(at, j->raw, got * width);
        else if (!fl_jpeg_rgbx(at, j->raw, got * width))
            return fl_err_set(err, FL_E_INPUT, "4 components and the fourth is not constant 255 (cmyk: convert takes them)");
    }
    return FL_OK;
}

static int jpeg_room(struct fl_jpeg *j, struct fl_err *err)
{
    size_t need = (size_t)j->c.image_width * 4 * JPEG_ROWS + JPEG_OFF;
    if (need <= j->raw_size)
        return FL_OK;
    free(j->raw);
    j->raw_size = 0;
    j->raw = malloc(need);
    if (j->raw == NULL)
        return fl_err_set(err, FL_E_NOMEM, "no memory for %zu bytes of rows", need);
    j->raw_size = need;
    return FL_OK;
}

int fl_jpeg_read(struct fl_jpeg *j, uint8_t *out, struct fl_err *err)
{
    j->err = err;
    if (!j->made)
        return fl_err_set(err, FL_E_BUG, "no header was read");
    int rc = jpeg_room(j, err);
    if (rc != FL_OK)
        return rc;
    if (setjmp(j->back) != 0) {
        jpeg_drop(j);
        return j->code;
    }
    jpeg_start_decompress(&j->c);
    rc = jpeg_complete(j, err);
    if (rc == FL_OK) {
        if (j->c.num_components == 3)
            jpeg_rows3(j, out);
        else
            rc = jpeg_rows4(j, out, err);
    }
    if (rc == FL_OK)
        jpeg_finish_decompress(&j->c);
    jpeg_drop(j);
    return rc;
}
