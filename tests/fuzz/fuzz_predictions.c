/* Any bytes as a CSV or .npy file of predictions: refused by name, or ids that fit the grammar and values in [0,1]. */
#include <stdlib.h>
#include <string.h>

#include "runtime/predictions.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_as(const char *text, size_t size, const struct fl_pred_want *want)
{
    struct fl_predictions p;
    struct fl_err err = { 0 };
    int rc = fl_predictions_parse("fuzz", text, size, want, &p, &err);
    if (rc != FL_OK) {
        if (rc > 0 || rc == FL_E_BUG || rc == FL_E_IO || err.text[0] == '\0')
            abort();
        return;
    }
    if (p.n == 0 || p.L == 0 || (p.p == NULL) == (p.h == NULL))
        abort();
    for (uint64_t i = 0; i < p.n; i++)
        if (!fl_id_ok(p.ids[i], strlen(p.ids[i])))
            abort();
    for (uint64_t i = 0; i < p.n * p.L; i++)
        if (p.p != NULL ? !(p.p[i] >= 0.0f && p.p[i] <= 1.0f) : p.h[i] > 1)
            abort();
    fl_predictions_free(&p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const labels[] = { "a", "b" };
    fuzz_as((const char *)data, size, &(struct fl_pred_want){ .tags = true });
    fuzz_as((const char *)data, size, &(struct fl_pred_want){ .L = 2, .labels = labels });
    fuzz_as((const char *)data, size, &(struct fl_pred_want){ .columns = "a,b", .rows = "t_{}" });
    return 0;
}
