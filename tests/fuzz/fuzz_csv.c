/* Any bytes as a table: refused with file and line, or records whose fields end; label tables keep their promises. */
#include <stdlib.h>
#include <string.h>

#include "runtime/csv.h"
#include "runtime/labels.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_records(const char *text, size_t size)
{
    struct fl_csv c;
    struct fl_err err = { 0 };
    uint64_t last = 0;
    int rc;
    fl_csv_init(&c, "fuzz", text, size);
    while ((rc = fl_csv_next(&c, &err)) == FL_OK) {
        if (c.nfields == 0 || c.line <= last)
            abort();
        last = c.line;
        for (uint32_t i = 0; i < c.nfields; i++)
            if (strlen(c.field[i]) != c.width[i])
                abort();
    }
    if (rc != FL_END && (rc != FL_E_INPUT || strncmp(err.text, "fuzz:", 5) != 0))
        abort();
    fl_csv_done(&c);
}

static void fuzz_labels(const char *text, size_t size, uint32_t L)
{
    struct fl_truth t;
    struct fl_err err = { 0 };
    int rc = fl_truth_parse("fuzz", text, size, L, fl_default_labels, FL_DEFAULT_EXCLUSIVE, FL_DEFAULT_REST_OFF, 0, &t, &err);
    if (rc != FL_OK) {
        if ((rc != FL_E_INPUT && rc != FL_E_LABEL) || strncmp(err.text, "fuzz:", 5) != 0)
            abort();
        return;
    }
    for (uint64_t i = 0; i < t.n; i++) {
        if (!fl_id_ok(t.ids[i], strlen(t.ids[i])) || fl_truth_find(&t, t.ids[i]) != (int64_t)i)
            abort();
        uint32_t on = 0;
        for (uint32_t l = 0; l < L; l++) {
            if (t.y[i * L + l] > 1)
                abort();
            on += t.y[i * L + l];
        }
        if (L > 0 && on == 0)
            abort();
    }
    fl_truth_free(&t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_records((const char *)data, size);
    fuzz_labels((const char *)data, size, FL_DEFAULT_NLABELS);
    fuzz_labels((const char *)data, size, 0);
    return 0;
}
