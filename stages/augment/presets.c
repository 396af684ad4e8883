/* The members' presets: lists of ops as data, read by fl_ops_parse like a list from a pipeline. */
#include <stddef.h>

#include "stages/augment/ops.h"

#define DISTORTION "{\"one_of\":[\"distort_radial\",\"distort_grid\"]}"
#define CROP_WIDE  "{\"random_sized_crop\":{\"area\":[0.08,1],\"ratio\":[0.75,1.3333333333333333]}}"

const struct fl_preset fl_presets[] = {
    { "albu", 0, "[\"d4\",\"scale\",\"offset\"," DISTORTION ",\"contrast\",\"blur\"]" },
    { "alno", 0, "[\"d4\",\"scale\",\"offset\"," DISTORTION ",\"contrast\",\"blur\",\"shear\",\"channel_mul\"]" },
    { "n01z3", 0, "[\"d4\",\"scale\"," DISTORTION ",\"contrast\",\"blur\"]" },
    { "ternaus", 224, "[" CROP_WIDE ",\"d4\",\"channel_add\",\"contrast_mid\"]" },
    { "nizhib", 224, "[" CROP_WIDE ",\"d4\"]" },
    { "kostia", 224, "[\"d4\",\"random_crop\",\"scale\"," DISTORTION ",\"contrast\",\"blur\"]" },
    { "kostia_public", 224, "[{\"one_of\":[\"random_crop\",\"random_sized_crop\"]},\"d4\"]" },
    { "romul", 224, "[{\"rotate\":{\"theta\":[0,360],\"integer\":true}},"
                    "{\"random_sized_crop\":{\"area\":[0.5,1],\"ratio\":[0.75,1.3333333333333333]}},\"d4\"]" },
    { NULL, 0, NULL },
};
