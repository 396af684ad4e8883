/* Writes JPEGs of every kind the decoder must know. */
#include "tests/lib/jpeg_write.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <jpeglib.h>

static const struct { int components; J_COLOR_SPACE in, file; } spaces[] = {
    [FL_SPACE_YCC] = { 3, JCS_RGB, JCS_YCbCr }, [FL_SPACE_RGB] = { 3, JCS_RGB, JCS_RGB }, [FL_SPACE_GREY] = { 1, JCS_GRAYSCALE, JCS_GRAYSCALE },
    [FL_SPACE_CMYK] = { 4, JCS_CMYK, JCS_CMYK }, [FL_SPACE_YCCK] = { 4, JCS_CMYK, JCS_YCCK }, [FL_SPACE_TWO] = { 2, JCS_UNKNOWN, JCS_UNKNOWN },
};

static void set_up(struct jpeg_compress_struct *c, const struct fl_jpeg_kind *k, jpeg_scan_info *scans)
{
    c->image_width = k->width;
    c->image_height = k->height;
    c->input_components = spaces[k->space].components;
    c->in_color_space = spaces[k->space].in;
    jpeg_set_defaults(c);
    jpeg_set_colorspace(c, spaces[k->space].file);
    jpeg_set_quality(c, k->quality ? k->quality : 90, TRUE);
    if (!k->marker)
        c->write_JFIF_header = c->write_Adobe_marker = FALSE;
    for (int i = 0; i < c->num_components; i++)
        c->comp_info[i].h_samp_factor = c->comp_info[i].v_samp_factor = k->halved && (i == 0 || i == 3) ? 2 : 1;
    c->restart_interval = (unsigned)k->restart;
    c->arith_code = k->arithmetic;
    if (k->progressive)
        jpeg_simple_progression(c);
    if (k->one_by_one) {
        for (int i = 0; i < c->num_components; i++)
            scans[i] = (jpeg_scan_info){ 1, { i }, 0, 63, 0, 0 };
        c->scan_info = scans;
        c->num_scans = c->num_components;
    }
}

uint8_t *fl_jpeg_write(const struct fl_jpeg_kind *k, const uint8_t *pixels, size_t *len)
{
    struct jpeg_compress_struct c;
    struct jpeg_error_mgr e;
    jpeg_scan_info scans[4];
    unsigned char *out = NULL;
    unsigned long n = 0;
    c.err = jpeg_std_error(&e);
    jpeg_create_compress(&c);
    jpeg_mem_dest(&c, &out, &n);
    set_up(&c, k, scans);
    jpeg_start_compress(&c, TRUE);
    while (c.next_scanline < c.image_height) {
        JSAMPROW row = (JSAMPROW)(uintptr_t)(pixels + (size_t)c.next_scanline * k->width * (size_t)c.input_components);
        jpeg_write_scanlines(&c, &row, 1);
    }
    jpeg_finish_compress(&c);
    jpeg_destroy_compress(&c);
    *len = n;
    return out;
}

uint8_t *fl_picture(uint32_t width, uint32_t height, uint32_t components, int alpha, uint32_t seed)
{
    uint8_t *p = malloc((size_t)width * height * components), *w = p;
    if (p == NULL)
        abort();
    for (uint32_t y = 0; y < height; y++)
        for (uint32_t x = 0; x < width; x++)
            for (uint32_t c = 0; c < components; c++) {
                seed = seed * 1664525u + 1013904223u;
                double v = 120 + 60 * sin(0.05 * x * (c + 1)) + 50 * cos(0.08 * y + c) + (double)(seed >> 27);
                *w++ = c == 3 && alpha >= 0 ? (uint8_t)alpha : (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
            }
    return p;
}
