/* Any bytes as a JPEG: refused with a text, or every pixel decoded. */
#include <stdlib.h>
#include <string.h>

#include "stages/lib/jpeg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_PIXELS (1u << 18)       /* larger images are refused, as decode does by max_pixels */

static void fuzz_refused(int rc, const struct fl_err *err)
{
    if ((rc != FL_E_INPUT && rc != FL_E_SHAPE && rc != FL_E_NOMEM) || err->code != rc || err->text[0] == '\0')
        abort();
}

static void fuzz_one(struct fl_jpeg *j, const uint8_t *data, size_t size)
{
    uint32_t w = 0, h = 0;
    struct fl_err err = { 0 };
    int rc = fl_jpeg_header(j, data, size, &w, &h, &err);
    if (rc != FL_OK) {
        fuzz_refused(rc, &err);
        return;
    }
    if (w == 0 || h == 0)
        abort();
    if ((uint64_t)w * h > FUZZ_PIXELS)
        return;
    uint8_t *out = malloc((size_t)w * h * 3);
    if (out != NULL && (rc = fl_jpeg_read(j, out, &err)) != FL_OK)
        fuzz_refused(rc, &err);
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct fl_jpeg *keep;     /* one object for all, as in the stage */
    if (keep == NULL)
        keep = fl_jpeg_new(false);
    struct fl_jpeg *once = fl_jpeg_new(true);
    if (keep == NULL || once == NULL)
        abort();
    fuzz_one(keep, data, size);
    fuzz_one(once, data, size);
    fl_jpeg_free(once);
    return 0;
}
