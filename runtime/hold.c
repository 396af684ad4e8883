/* Rows that must not be worked on: all but those under test, and those in quarantine (docs/delivery.md, "Poison"). */
#include <stdio.h>

#include "runtime/proc_state.h"

/* RUN/quarantine/BATCH.json: {"tiles": [{"row", "reason", ...}, ...]}, as the supervisor wrote it. */
int fl_hold_read(struct proc *p)
{
    char path[1200];
    json_error_t why;
    json_decref(p->aside);
    p->aside = NULL;
    if (!p->at.quarantine)
        return FL_OK;
    snprintf(path, sizeof path, "%s/quarantine/%llu.json", p->host.ctx.run_dir, (unsigned long long)p->at.batch);
    p->aside = json_load_file(path, 0, &why);
    return p->aside != NULL ? FL_OK : fl_err_set(&p->err, FL_E_INPUT, "%s: line %d: %s", path, why.line, why.text);
}

/* Why the row is in quarantine, or NULL. */
static const char *hold_reason(const struct proc *p, uint32_t row)
{
    size_t k;
    json_t *tile;
    json_array_foreach(json_object_get(p->aside, "tiles"), k, tile)
        if (json_integer_value(json_object_get(tile, "row")) == (json_int_t)row)
            return json_string_value(json_object_get(tile, "reason"));
    return NULL;
}

static bool hold_outside(const struct proc *p, uint32_t row)
{
    return p->at.rows > 0 && (row < p->at.first || row - p->at.first >= p->at.rows);
}

/* Of a row under test that is about to be worked on the id is noted: it may kill. */
bool fl_hold_has(void *owner, const struct fl_batch *b, uint32_t row)
{
    struct proc *p = owner;
    if (hold_outside(p, row) || hold_reason(p, row) != NULL)
        return true;
    if (p->at.rows > 0)
        snprintf(p->page->probe_id, sizeof p->page->probe_id, "%.*s", FL_ID_SIZE - 1, fl_id(b, row));
    return false;
}

int fl_hold_back(struct proc *p, struct fl_batch *b)
{
    int rc = FL_OK;
    for (uint32_t r = 0; rc == FL_OK && (p->at.rows > 0 || p->aside != NULL) && r < b->n; r++) {
        const char *reason = hold_reason(p, r);
        if (reason == NULL && hold_outside(p, r))
            reason = "flowrun: E_POISON: held back while others are tested";
        if (reason != NULL)
            rc = fl_host_mark(&p->host.ctx, b, r, FL_E_POISON, reason);
    }
    return rc;
}
