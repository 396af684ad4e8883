/* Fuzz target: any bytes as a wire header. What is accepted must say the same after another trip. */
#include "proto/frame.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t buf[2][FL_FRAME_MAX];
    struct fl_batch a, b;
    struct fl_err err;
    size_t len[2];

    int checked = fl_frame_check(data, size, &err);
    if (fl_frame_unpack(data, size, &a, &err) != FL_OK)
        return 0;
    if (checked != FL_OK || fl_frame_pack(&a, buf[0], sizeof buf[0], &len[0], &err) != FL_OK ||
        fl_frame_unpack(buf[0], len[0], &b, &err) != FL_OK ||
        fl_frame_pack(&b, buf[1], sizeof buf[1], &len[1], &err) != FL_OK)
        abort();
    if (len[0] != len[1] || memcmp(buf[0], buf[1], len[0]) != 0)
        abort();
    return 0;
}
