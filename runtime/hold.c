/* Rows that must not be worked on: all but those under test, and those in quarantine (docs/delivery.md, "Poison"). */
#include <stdio.h>

#include "runtime/proc_state.h"

static int hold_outside(struct fl_ctx *ctx, struct fl_batch *b, const struct fl_issue *i)
{
    int rc = FL_OK;
    for (uint32_t r = 0; rc == FL_OK && r < b->n; r++)
        if (r < i->first || r - i->first >= i->rows)
            rc = fl_host_mark(ctx, b, r, FL_E_POISON, "flowrun: E_POISON: held back while others are tested");
    return rc;
}

/* RUN/quarantine/BATCH.json: {"tiles": [{"row", "reason", ...}, ...]}, as the supervisor wrote it. */
static int hold_quarantine(struct fl_ctx *ctx, struct fl_batch *b)
{
    char path[1200];
    json_error_t why;
    snprintf(path, sizeof path, "%s/quarantine/%llu.json", ctx->run_dir, (unsigned long long)b->batch);
    json_t *j = json_load_file(path, 0, &why), *tile;
    if (j == NULL)
        return fl_fail(ctx, FL_E_INPUT, "%s: line %d: %s", path, why.line, why.text);
    int rc = FL_OK;
    size_t k;
    json_array_foreach(json_object_get(j, "tiles"), k, tile) {
        json_int_t row = json_integer_value(json_object_get(tile, "row"));
        const char *reason = json_string_value(json_object_get(tile, "reason"));
        if (rc == FL_OK && row >= 0 && row < (json_int_t)b->n && reason != NULL)
            rc = fl_host_mark(ctx, b, (uint32_t)row, FL_E_POISON, reason);
    }
    json_decref(j);
    return rc;
}

int fl_hold_back(struct fl_ctx *ctx, struct fl_batch *b, const struct fl_issue *i)
{
    int rc = i->quarantine ? hold_quarantine(ctx, b) : FL_OK;
    return rc == FL_OK && i->rows > 0 ? hold_outside(ctx, b, i) : rc;
}
