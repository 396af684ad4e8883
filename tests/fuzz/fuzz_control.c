/* Fuzz target: any bytes as a control message. What is accepted must say the same after another trip. */
#include "proto/control.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t buf[2][FL_CONTROL_MAX];
    struct fl_control a, b;
    struct fl_err err;
    size_t len[2];

    if (fl_control_unpack(data, size, &a, &err) != FL_OK)
        return 0;
    if (fl_control_pack(&a, buf[0], sizeof buf[0], &len[0], &err) != FL_OK ||
        fl_control_unpack(buf[0], len[0], &b, &err) != FL_OK ||
        fl_control_pack(&b, buf[1], sizeof buf[1], &len[1], &err) != FL_OK)
        abort();
    if (len[0] != len[1] || memcmp(buf[0], buf[1], len[0]) != 0)
        abort();
    return 0;
}
