/* Any bytes as a tar archive: members that lie within it, an end, or a text that says what is wrong. */
#include <stdlib.h>
#include <string.h>

#include "stages/lib/tar.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fl_tar tar = { .fd = -1, .mem = (const char *)data, .size = size };
    struct fl_tar_member m;
    struct fl_err err = { 0 };
    uint64_t before = 0;
    int rc;
    while ((rc = fl_tar_next(&tar, &m, &err)) == FL_OK) {
        if (m.off > size || m.bytes > size - m.off || memchr(m.name, '\0', sizeof m.name) == NULL || m.name[0] == '\0' || tar.at <= before || tar.at > size)
            abort();
        before = tar.at;
    }
    if (rc != FL_END && (rc != FL_E_INPUT || err.text[0] == '\0'))
        abort();
    return 0;
}
