/* How values are normalised: t = (x/M - mean)/std for each band. */
#ifndef FL_AUGMENT_NORM_H
#define FL_AUGMENT_NORM_H

#include <jansson.h>
#include <stdint.h>

#include "proto/status.h"

struct fl_norm { uint32_t channels; double mean[8], std[8]; };       /* channels: 0 = said for none in particular (mean 0, std 1) */

/* spec: NULL (imagenet), a name (imagenet, planet_jpg, dpn, none), {mean: [..], std: [..]} of x/M, or a file: the answer of `flowrun stats`, or the
 * manifest of weights (NAME.json or NAME.safetensors). FL_E_CONFIG naming what is wrong; a std that isn't above 0, too. */
int fl_norm_read(const json_t *spec, struct fl_norm *, struct fl_err *);
/* For tiles of so many bands; FL_E_CONFIG when it was said for another number. */
int fl_norm_fit(struct fl_norm *, uint32_t channels, struct fl_err *);

#endif
