/* A picture in memory: tiles, letters, and a PNG of it. */
#ifndef FL_STAGES_LIB_CANVAS_H
#define FL_STAGES_LIB_CANVAS_H

#include <stdint.h>

#include "proto/status.h"

struct fl_canvas { uint32_t w, h; uint8_t *rgb; };      /* [h][w][3] */

#define FL_GLYPH_W 6u                                   /* a letter with the space behind it */
#define FL_GLYPH_H 8u

/* Adds `more` rows in the given grey below what is there. FL_E_NOMEM, FL_E_CONFIG over 64 million pixels. */
int  fl_canvas_grow(struct fl_canvas *, uint32_t more, uint8_t grey, struct fl_err *);
void fl_canvas_done(struct fl_canvas *);
void fl_canvas_put(struct fl_canvas *, uint32_t x, uint32_t y, const uint8_t rgb[3]);
/* Letters of our own, 5 x 7; small ones look like capitals. What doesn't fit into `room` pixels is cut. Returns the pixels used. */
uint32_t fl_canvas_text(struct fl_canvas *, uint32_t x, uint32_t y, uint32_t room, const char *text, const uint8_t rgb[3]);
/* To a temporary name, then renamed. */
int  fl_canvas_save(const struct fl_canvas *, const char *path, struct fl_err *);

#endif
