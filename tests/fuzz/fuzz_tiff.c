/* Any bytes as a TIFF: refused with a text, or every pixel decoded; a directory that is read without libtiff says what libtiff says. */
#include <stdlib.h>
#include <string.h>

#include "stages/lib/tiff.h"
#include "tests/lib/tiff_agree.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_PIXELS (1u << 18)       /* larger images are refused, as decode does by max_pixels */

static void fuzz_refused(int rc, const struct fl_err *err)
{
    if ((rc != FL_E_INPUT && rc != FL_E_SHAPE && rc != FL_E_NOMEM) || err->code != rc || err->text[0] == '\0')
        abort();
}

static void fuzz_one(struct fl_tiff *t, uint32_t bands, const uint8_t *data, size_t size)
{
    uint32_t w = 0, h = 0;
    struct fl_err err = { 0 };
    if (!fl_tiff_agrees(data, size, bands, NULL))
        abort();
    int rc = fl_tiff_header(t, data, size, &w, &h, &err);
    if (rc != FL_OK) {
        fuzz_refused(rc, &err);
        return;
    }
    if (w == 0 || h == 0)
        abort();
    if ((uint64_t)w * h > FUZZ_PIXELS)
        return;
    uint16_t *out = malloc((size_t)w * h * bands * 2);
    if (out != NULL && (rc = fl_tiff_read(t, out, &err)) != FL_OK)
        fuzz_refused(rc, &err);
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct fl_tiff *four;     /* one object for all, as in the stage */
    if (four == NULL)
        four = fl_tiff_new(4, (const uint8_t[]){ 2, 1, 0, 3 }, 4);
    struct fl_tiff *three = fl_tiff_new(3, (const uint8_t[]){ 0, 1, 2 }, 3);
    if (four == NULL || three == NULL)
        abort();
    fuzz_one(four, 4, data, size);
    fuzz_one(three, 3, data, size);
    /* What is kept between calls must not point into bytes that are gone. */
    struct fl_err err;
    uint32_t w, h;
    fl_tiff_header(four, "", 0, &w, &h, &err);
    fl_tiff_free(three);
    return 0;
}
