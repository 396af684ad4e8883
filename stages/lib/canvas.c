/* A picture in memory, its letters, its PNG. */
#include "stages/lib/canvas.h"

#include <errno.h>
#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CANVAS_MOST (UINT64_C(64) << 20)

/* Seven rows of five dots each, the leftmost dot in bit 4. */
static const struct { char c; uint8_t row[7]; } canvas_glyphs[] = {
    { '0', { 14, 17, 19, 21, 25, 17, 14 } }, { '1', { 4, 12, 4, 4, 4, 4, 14 } }, { '2', { 14, 17, 1, 6, 8, 16, 31 } }, { '3', { 14, 17, 1, 6, 1, 17, 14 } },
    { '4', { 2, 6, 10, 18, 31, 2, 2 } }, { '5', { 31, 16, 30, 1, 1, 17, 14 } }, { '6', { 6, 8, 16, 30, 17, 17, 14 } }, { '7', { 31, 1, 2, 4, 4, 8, 8 } },
    { '8', { 14, 17, 17, 14, 17, 17, 14 } }, { '9', { 14, 17, 17, 15, 1, 2, 12 } },
    { 'A', { 4, 10, 17, 17, 31, 17, 17 } }, { 'B', { 30, 17, 17, 30, 17, 17, 30 } }, { 'C', { 14, 17, 16, 16, 16, 17, 14 } }, { 'D', { 28, 18, 17, 17, 17, 18, 28 } },
    { 'E', { 31, 16, 16, 28, 16, 16, 31 } }, { 'F', { 31, 16, 16, 28, 16, 16, 16 } }, { 'G', { 14, 17, 16, 23, 17, 17, 15 } }, { 'H', { 17, 17, 17, 31, 17, 17, 17 } },
    { 'I', { 14, 4, 4, 4, 4, 4, 14 } }, { 'J', { 7, 2, 2, 2, 2, 18, 12 } }, { 'K', { 17, 18, 20, 24, 20, 18, 17 } }, { 'L', { 16, 16, 16, 16, 16, 16, 31 } },
    { 'M', { 17, 27, 21, 21, 17, 17, 17 } }, { 'N', { 17, 25, 25, 21, 19, 19, 17 } }, { 'O', { 14, 17, 17, 17, 17, 17, 14 } }, { 'P', { 30, 17, 17, 30, 16, 16, 16 } },
    { 'Q', { 14, 17, 17, 17, 21, 18, 13 } }, { 'R', { 30, 17, 17, 30, 20, 18, 17 } }, { 'S', { 15, 16, 16, 14, 1, 1, 30 } }, { 'T', { 31, 4, 4, 4, 4, 4, 4 } },
    { 'U', { 17, 17, 17, 17, 17, 17, 14 } }, { 'V', { 17, 17, 17, 17, 10, 10, 4 } }, { 'W', { 17, 17, 17, 21, 21, 27, 17 } }, { 'X', { 17, 10, 10, 4, 10, 10, 17 } },
    { 'Y', { 17, 17, 10, 4, 4, 4, 4 } }, { 'Z', { 31, 1, 2, 4, 8, 16, 31 } },
    { 'a', { 0, 0, 14, 1, 15, 17, 15 } }, { 'b', { 16, 16, 30, 17, 17, 17, 30 } }, { 'c', { 0, 0, 14, 16, 16, 17, 14 } },
    { 'd', { 1, 1, 15, 17, 17, 17, 15 } }, { 'e', { 0, 0, 14, 17, 31, 16, 14 } }, { 'f', { 6, 9, 8, 28, 8, 8, 8 } },
    { 'g', { 0, 0, 15, 17, 15, 1, 14 } }, { 'h', { 16, 16, 22, 25, 17, 17, 17 } }, { 'i', { 4, 0, 12, 4, 4, 4, 14 } },
    { 'j', { 2, 0, 6, 2, 2, 18, 12 } }, { 'k', { 16, 16, 18, 20, 24, 20, 18 } }, { 'l', { 12, 4, 4, 4, 4, 4, 14 } },
    { 'm', { 0, 0, 26, 21, 21, 21, 21 } }, { 'n', { 0, 0, 22, 25, 17, 17, 17 } }, { 'o', { 0, 0, 14, 17, 17, 17, 14 } },
    { 'p', { 0, 0, 30, 17, 30, 16, 16 } }, { 'q', { 0, 0, 15, 17, 15, 1, 1 } }, { 'r', { 0, 0, 22, 25, 16, 16, 16 } },
    { 's', { 0, 0, 15, 16, 14, 1, 30 } }, { 't', { 8, 8, 28, 8, 8, 9, 6 } }, { 'u', { 0, 0, 17, 17, 17, 19, 13 } },
    { 'v', { 0, 0, 17, 17, 17, 10, 4 } }, { 'w', { 0, 0, 17, 17, 21, 21, 10 } }, { 'x', { 0, 0, 17, 10, 4, 10, 17 } },
    { 'y', { 0, 0, 17, 17, 15, 1, 14 } }, { 'z', { 0, 0, 31, 2, 4, 8, 31 } },
    { '.', { 0, 0, 0, 0, 0, 12, 12 } }, { ',', { 0, 0, 0, 0, 12, 4, 8 } }, { ':', { 0, 12, 12, 0, 12, 12, 0 } }, { '-', { 0, 0, 0, 31, 0, 0, 0 } },
    { '_', { 0, 0, 0, 0, 0, 0, 31 } }, { '+', { 0, 4, 4, 31, 4, 4, 0 } }, { '=', { 0, 0, 31, 0, 31, 0, 0 } }, { '/', { 1, 1, 2, 4, 8, 16, 16 } },
    { '(', { 2, 4, 8, 8, 8, 4, 2 } }, { ')', { 8, 4, 2, 2, 2, 4, 8 } }, { '%', { 25, 25, 2, 4, 8, 19, 19 } }, { '#', { 10, 10, 31, 10, 31, 10, 10 } },
    { '[', { 14, 8, 8, 8, 8, 8, 14 } }, { ']', { 14, 2, 2, 2, 2, 2, 14 } }, { '@', { 14, 17, 23, 21, 23, 16, 14 } }, { '?', { 14, 17, 1, 6, 4, 0, 4 } },
};

int fl_canvas_grow(struct fl_canvas *c, uint32_t more, uint8_t grey, struct fl_err *err)
{
    size_t row = (size_t)c->w * 3;
    if (((uint64_t)c->h + more) * c->w > CANVAS_MOST)
        return fl_err_set(err, FL_E_CONFIG, "a picture of more than 64 million pixels; choose fewer tiles");
    uint8_t *p = realloc(c->rgb, ((size_t)c->h + more) * row + 1);
    if (p == NULL)
        return fl_err_set(err, FL_E_NOMEM, "no memory for the picture");
    memset(p + c->h * row, grey, more * row);
    c->rgb = p;
    c->h += more;
    return FL_OK;
}

void fl_canvas_done(struct fl_canvas *c)
{
    free(c->rgb);
    *c = (struct fl_canvas){ 0 };
}

void fl_canvas_put(struct fl_canvas *c, uint32_t x, uint32_t y, const uint8_t rgb[3])
{
    if (x < c->w && y < c->h)
        memcpy(c->rgb + ((size_t)y * c->w + x) * 3, rgb, 3);
}

/* What has no picture is a question mark. */
static void canvas_glyph(struct fl_canvas *c, uint32_t x, uint32_t y, char letter, const uint8_t rgb[3])
{
    size_t i = 0, last = sizeof canvas_glyphs / sizeof *canvas_glyphs - 1;
    while (i < last && canvas_glyphs[i].c != letter)
        i++;
    for (uint32_t r = 0; letter != ' ' && r < 7; r++)
        for (uint32_t k = 0; k < 5; k++)
            if (canvas_glyphs[i].row[r] >> (4 - k) & 1)
                fl_canvas_put(c, x + k, y + r, rgb);
}

uint32_t fl_canvas_text(struct fl_canvas *c, uint32_t x, uint32_t y, uint32_t room, const char *text, const uint8_t rgb[3])
{
    uint32_t used = 0;
    for (; *text != '\0' && used + FL_GLYPH_W <= room; text++, used += FL_GLYPH_W)
        canvas_glyph(c, x + used, y, *text, rgb);
    return used;
}

int fl_canvas_save(const struct fl_canvas *c, const char *path, struct fl_err *err)
{
    char *tmp;
    png_image image = { .version = PNG_IMAGE_VERSION, .width = c->w, .height = c->h, .format = PNG_FORMAT_RGB };
    if (c->w == 0 || c->h == 0)
        return fl_err_set(err, FL_E_INPUT, "%s: there is no tile to paint", path);
    if (asprintf(&tmp, "%s.tmp", path) < 0)
        return fl_err_set(err, FL_E_NOMEM, "no memory");
    int rc = png_image_write_to_file(&image, tmp, 0, c->rgb, 0, NULL) != 0 ? FL_OK : fl_err_set(err, FL_E_IO, "%s: %s", path, image.message);
    if (rc == FL_OK && rename(tmp, path) != 0)
        rc = fl_err_set(err, FL_E_IO, "%s: %s", path, strerror(errno));
    if (rc != FL_OK)
        unlink(tmp);
    free(tmp);
    return rc;
}
