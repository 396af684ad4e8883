/* Any bytes as a manifest: refused with a text, or a record that keeps its own bounds. */
#include <stdlib.h>
#include <string.h>

#include "runtime/labels.h"
#include "runtime/model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fl_manifest m;
    struct fl_err err = { 0 };
    if (fl_manifest_parse("fuzz", (const char *)data, size, &m, &err) != FL_OK) {
        if (err.code >= 0 || strncmp(err.text, "fuzz:", 5) != 0)
            abort();
        return 0;
    }
    if (m.nlabels == 0 || m.nlabels > FL_MAX_LABELS || (m.nlabels < 64 && m.exclusive >> m.nlabels != 0) ||
        (m.rest_off >= m.nlabels && m.rest_off != UINT32_MAX))
        abort();
    if (strcmp(m.kind, "network") == 0 && (m.arch[0] == '\0' || m.channels < 3 || m.channels > 4 || !(m.std[0] > 0)))
        abort();
    fl_manifest_free(&m);
    return 0;
}
