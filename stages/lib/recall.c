/* Batches out of a recording: what they hold, and one of them into this stage's slab. */
#include "stages/lib/recall.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct recall_seen { char name[FL_NAME_MAX]; int dtype; uint32_t ndim, shape[FL_MAX_DIMS]; bool rows; uint64_t times; };

static void recall_sum(struct fl_recall *r)
{
    r->tiles = 0;
    for (uint64_t i = 0; i < r->n; i++)
        r->tiles += fl_rec_at(r->rec, r->records[i])->n;
}

int fl_recall_open(struct fl_ctx *ctx, struct fl_recall *r, const char *path)
{
    struct fl_err err = { 0 };
    fl_recall_done(r);
    if (fl_rec_open(path, &r->rec, &err) != FL_OK || fl_rec_batches(r->rec, &r->records, &r->n, &err) != FL_OK)
        return fl_fail(ctx, err.code, "%s", err.text);
    if (r->n == 0)
        return fl_fail(ctx, FL_E_INPUT, "%s: holds no batch", path);
    r->last = fl_rec_at(r->rec, r->records[r->n - 1])->batch;
    recall_sum(r);
    return FL_OK;
}

void fl_recall_done(struct fl_recall *r)
{
    fl_rec_close(r->rec);
    free(r->records);
    fl_rec_batch_done(&r->read);
    memset(r, 0, sizeof *r);
}

/* ---- what they hold ---- */

static int recall_other(struct fl_ctx *ctx, const struct fl_rec_batch *b, const struct fl_tensor *t)
{
    return fl_fail(ctx, FL_E_SHAPE, "batch %llu: %s has another type or shape than in the batches before", (unsigned long long)b->b.batch, t->name);
}

static int recall_merge(struct fl_ctx *ctx, struct recall_seen *seen, uint32_t *n, const struct fl_rec_batch *b, const struct fl_tensor *t)
{
    uint32_t i = 0;
    bool rows = t->ndim > 0 && t->shape[0] == b->b.n;
    while (i < *n && strcmp(seen[i].name, t->name) != 0)
        i++;
    struct recall_seen *s = &seen[i];
    if (i == *n) {
        if (i == FL_MAX_TENSORS)
            return fl_fail(ctx, FL_E_SHAPE, "more than %d tensors in the batches together", FL_MAX_TENSORS);
        *s = (struct recall_seen){ .dtype = t->dtype, .ndim = t->ndim, .rows = rows };
        memcpy(s->name, t->name, sizeof s->name);
        memcpy(s->shape, t->shape, sizeof s->shape);
        ++*n;
    }
    if (s->dtype != t->dtype || s->ndim != t->ndim || (s->ndim > 1 && memcmp(s->shape + 1, t->shape + 1, (s->ndim - 1) * sizeof s->shape[0]) != 0))
        return recall_other(ctx, b, t);
    s->rows &= rows;
    if (s->ndim > 0 && !s->rows && s->shape[0] != t->shape[0])
        return recall_other(ctx, b, t);
    s->times++;
    return FL_OK;
}

static int recall_state(struct fl_ctx *ctx, const struct recall_seen *s, uint64_t batches)
{
    char shape[80] = "";
    for (uint32_t d = 0; d < s->ndim; d++) {
        size_t used = strlen(shape);
        if (d == 0 && s->rows)
            snprintf(shape, sizeof shape, "B");
        else
            snprintf(shape + used, sizeof shape - used, "%s%u", d ? "," : "", s->shape[d]);
    }
    return fl_give(ctx, s->name, fl_dtype_name(s->dtype), shape, s->times < batches ? FL_OPTIONAL : 0);
}

/* An index may name records whose heads were damaged since: they are left out, as those are that a walk doesn't find. seen: NULL = what they hold
 * isn't asked. */
static int recall_look(struct fl_ctx *ctx, struct fl_recall *r, struct recall_seen *seen, uint32_t *n)
{
    struct fl_err err = { 0 };
    uint64_t kept = 0;
    for (uint64_t i = 0; i < r->n; i++) {
        int rc = fl_rec_peek(r->rec, r->records[i], &r->read, &err);
        if (rc == FL_E_INPUT)
            fl_warn(ctx, "%s; it is left out", err.text);
        else if (rc != FL_OK)
            return fl_fail(ctx, rc, "%s", err.text);
        if (rc != FL_OK)
            continue;
        r->records[kept++] = r->records[i];
        for (uint32_t k = 0; rc == FL_OK && seen != NULL && k < r->read.b.ntensors; k++)
            if (fl_batch_find(&r->read.b, r->read.b.t[k].name) == &r->read.b.t[k])
                rc = recall_merge(ctx, seen, n, &r->read, &r->read.b.t[k]);
        if (rc != FL_OK)
            return rc;
    }
    r->n = kept;
    recall_sum(r);
    return kept > 0 ? FL_OK : fl_fail(ctx, FL_E_INPUT, "%s: every batch in it is damaged", fl_rec_file(r->rec, 0));
}

int fl_recall_whole(struct fl_ctx *ctx, struct fl_recall *r)
{
    return recall_look(ctx, r, NULL, NULL);
}

int fl_recall_give(struct fl_ctx *ctx, struct fl_recall *r)
{
    struct recall_seen *seen = calloc(FL_MAX_TENSORS, sizeof *seen);
    uint32_t n = 0;
    int rc = seen != NULL ? recall_look(ctx, r, seen, &n) : fl_fail(ctx, FL_E_NOMEM, "no memory");
    for (uint32_t i = 0; rc == FL_OK && i < n; i++)
        rc = recall_state(ctx, &seen[i], r->n);
    free(seen);
    return rc;
}

/* ---- one of them ---- */

uint64_t fl_recall_find(const struct fl_recall *r, uint64_t batch)
{
    uint64_t low = 0, high = r->n;
    while (low < high) {
        uint64_t mid = low + (high - low) / 2;
        if (fl_rec_at(r->rec, r->records[mid])->batch < batch)
            low = mid + 1;
        else
            high = mid;
    }
    return low < r->n && fl_rec_at(r->rec, r->records[low])->batch == batch ? low : FL_REC_NONE;
}

int fl_recall_fill(struct fl_ctx *ctx, struct fl_recall *r, uint64_t i, struct fl_batch *b)
{
    struct fl_err err = { 0 };
    if (fl_rec_read(r->rec, r->records[i], &r->read, &err) != FL_OK)
        return fl_fail(ctx, err.code, "%s", err.text);
    b->n = r->read.b.n;
    for (uint32_t k = 0; k < r->read.b.ntensors; k++) {
        const struct fl_tensor *t = &r->read.b.t[k];
        if (fl_batch_find(&r->read.b, t->name) != t)          /* readers take the first of a name as well */
            continue;
        void *out = fl_out(ctx, b, t->name, t->dtype, t->ndim, t->shape);
        if (out == NULL)
            return FL_E_BUG;
        memcpy(out, t->data, t->bytes);
    }
    return FL_OK;
}
