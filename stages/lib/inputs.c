/* The ordered list of a run's tiles: adding paths, renaming, ids, order. */
#include "stages/lib/inputs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/csv.h"
#include "runtime/labels.h"
#include "runtime/rng.h"
#include "runtime/text.h"

void fl_inputs_init(struct fl_inputs *in, size_t path_max)
{
    memset(in, 0, sizeof *in);
    in->path_max = path_max;
}

void fl_inputs_done(struct fl_inputs *in)
{
    if (in == NULL)
        return;
    free(in->off);
    free(in->heap);
    free(in->lines);
    free(in->renames);
    free(in->rename_off);
    fl_index_done(&in->rename_index);
    if (in->file != NULL)
        close(in->fd);
    free(in->file);
    free(in->mark);
    free(in->block);
    memset(in, 0, sizeof *in);
}

const char *fl_inputs_at(const struct fl_inputs *in, uint64_t i)
{
    return in->heap + in->off[i];
}

void fl_inputs_span(const struct fl_inputs *in, uint64_t i, uint64_t *off, uint64_t *bytes)
{
    const char *path = fl_inputs_at(in, i);
    uint64_t span[2] = { 0, 0 };
    if (path[-1] != 0)
        memcpy(span, path + strlen(path) + 1, sizeof span);
    *off = span[0];
    *bytes = span[1];
}

/* ---- adding ---- */

static int inputs_room(struct fl_inputs *in, size_t bytes, struct fl_err *err)
{
    if (in->n == in->cap) {
        uint64_t cap = in->cap ? in->cap * 2 : 1024;
        uint64_t *off = cap < UINT32_MAX ? realloc(in->off, cap * sizeof *off) : NULL;
        if (off == NULL)
            return fl_err_set(err, FL_E_NOMEM, "no memory for %llu paths", (unsigned long long)cap);
        in->off = off;
        in->cap = cap;
    }
    if (bytes > in->room - in->used) {
        size_t room = in->room ? in->room * 2 : 65536;
        while (room - in->used < bytes)
            room *= 2;
        char *heap = realloc(in->heap, room);
        if (heap == NULL)
            return fl_err_set(err, FL_E_NOMEM, "no memory for %zu bytes of paths", room);
        in->heap = heap;
        in->room = room;
    }
    return FL_OK;
}

int fl_inputs_member(struct fl_inputs *in, const char *path, const uint64_t span[2], struct fl_err *err)
{
    size_t len = strlen(path);
    if (len >= in->path_max)
        return fl_err_set(err, FL_E_CONFIG, "%.300s: a path of %zu bytes, path_max is %zu", path, len, in->path_max);
    if (len == 0 || strpbrk(path, "\t\n") != NULL)
        return fl_err_set(err, FL_E_INPUT, "%.300s: a path must not be empty or hold a tab or newline", path);
    int rc = inputs_room(in, len + 2 + 2 * sizeof *span, err);
    if (rc != FL_OK)
        return rc;
    in->heap[in->used++] = span != NULL;
    memcpy(in->heap + in->used, path, len + 1);
    in->off[in->n++] = in->used;
    in->used += len + 1;
    if (span != NULL) {
        memcpy(in->heap + in->used, span, 2 * sizeof *span);
        in->used += 2 * sizeof *span;
        in->archived = true;
    }
    return FL_OK;
}

int fl_inputs_path(struct fl_inputs *in, const char *path, struct fl_err *err)
{
    return fl_inputs_member(in, path, NULL, err);
}

void fl_inputs_keep(struct fl_inputs *in, const uint8_t *keep)
{
    uint64_t n = 0;
    for (uint64_t i = 0; i < in->n; i++)
        if (keep[i])
            in->off[n++] = in->off[i];
    in->n = n;
}

/* ---- names ---- */

static const char *inputs_base(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

/* Bytes of a name without its extension; a leading dot begins none. */
static size_t inputs_stem(const char *base)
{
    const char *dot = strrchr(base, '.');
    return dot != NULL && dot != base ? (size_t)(dot - base) : strlen(base);
}

const char *fl_inputs_id(const struct fl_inputs *in, uint64_t i, size_t *len)
{
    const char *base = inputs_base(fl_inputs_at(in, i));
    int64_t r = fl_index_find(&in->rename_index, base, strlen(base));
    if (r >= 0)
        base = in->renames + in->rename_off[r] + strlen(in->renames + in->rename_off[r]) + 1;
    *len = inputs_stem(base);
    return base;
}

static const char *inputs_rename_key(const void *items, uint32_t i, size_t *len)
{
    const struct fl_inputs *in = items;
    const char *old = in->renames + in->rename_off[i];
    *len = strlen(old);
    return old;
}

/* One row into the heap of renames, whose room is proven by the size of the table. */
static int inputs_rename_row(struct fl_inputs *in, const struct fl_csv *c, int64_t old, int64_t new, size_t *used, struct fl_err *err)
{
    if (c->nfields <= old || c->nfields <= new)
        return fl_err_set(err, FL_E_INPUT, "%s:%llu: too few columns", c->name, (unsigned long long)c->line);
    if (!fl_id_ok(c->field[new], inputs_stem(c->field[new])) || c->width[old] == 0)
        return fl_err_set(err, FL_E_LABEL, "%s:%llu: %.80s is no name for a tile", c->name, (unsigned long long)c->line, c->field[new]);
    in->rename_off[in->nrenames++] = *used;
    memcpy(in->renames + *used, c->field[old], c->width[old] + 1);
    *used += c->width[old] + 1;
    memcpy(in->renames + *used, c->field[new], c->width[new] + 1);
    *used += c->width[new] + 1;
    return FL_OK;
}

static int inputs_rename_rows(struct fl_inputs *in, struct fl_csv *c, struct fl_err *err)
{
    int rc = fl_csv_next(c, err);
    if (rc < 0)
        return rc;
    int64_t old = fl_csv_column(c, "old"), new = fl_csv_column(c, "new");
    if (old < 0 || new < 0)
        return fl_err_set(err, FL_E_INPUT, "%s: no columns old,new", c->name);
    uint64_t cap = 0;
    size_t used = 0;
    while ((rc = fl_csv_next(c, err)) == FL_OK) {
        if (in->nrenames == cap) {
            cap = cap ? cap * 2 : 1024;
            uint64_t *off = realloc(in->rename_off, cap * sizeof *off);
            if (off == NULL)
                return fl_err_set(err, FL_E_NOMEM, "%s: no memory for %llu rows", c->name, (unsigned long long)cap);
            in->rename_off = off;
        }
        rc = inputs_rename_row(in, c, old, new, &used, err);
        if (rc != FL_OK)
            return rc;
    }
    return rc == FL_END ? FL_OK : rc;
}

int fl_inputs_renames(struct fl_inputs *in, const char *csv, struct fl_err *err)
{
    char *text;
    size_t len;
    int rc = fl_csv_load(csv, &text, &len, err);
    if (rc != FL_OK)
        return rc;
    struct fl_csv c;
    fl_csv_init(&c, csv, text, len);
    in->renames = malloc(len + 2);      /* two NULs a row take the places of comma and newline, the last of which may be missing */
    rc = in->renames != NULL ? inputs_rename_rows(in, &c, err) : fl_err_set(err, FL_E_NOMEM, "%s: out of memory", csv);
    fl_csv_done(&c);
    free(text);
    if (rc == FL_OK)
        rc = fl_index_init(&in->rename_index, in->nrenames, inputs_rename_key, in, err);
    for (uint32_t i = 0; rc == FL_OK && i < in->nrenames; i++)
        if (fl_index_add(&in->rename_index, i) >= 0)
            rc = fl_err_set(err, FL_E_LABEL, "%s: %s is renamed twice", csv, in->renames + in->rename_off[i]);
    return rc;
}

/* ---- order ---- */

struct inputs_sorter { const char *heap; size_t skip; };
struct inputs_keyed { uint64_t key, off; };

static int inputs_natural(const void *a, const void *b, void *arg)
{
    const struct inputs_sorter *s = arg;
    return fl_natural_cmp(s->heap + *(const uint64_t *)a + s->skip, s->heap + *(const uint64_t *)b + s->skip);
}

static int inputs_by_key(const void *a, const void *b, void *arg)
{
    const struct inputs_keyed *x = a, *y = b;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return inputs_natural(&x->off, &y->off, arg);
}

/* Length of what all paths begin with, not ending within a number: comparing it again and again would be most of the work. */
static size_t inputs_shared(const struct fl_inputs *in)
{
    const char *first = fl_inputs_at(in, 0);
    size_t shared = strlen(first);
    for (uint64_t i = 1; i < in->n; i++) {
        const char *p = fl_inputs_at(in, i);
        size_t same = 0;
        while (same < shared && p[same] == first[same])
            same++;
        shared = same;
    }
    while (shared > 0 && first[shared - 1] >= '0' && first[shared - 1] <= '9')
        shared--;
    return shared;
}

/* The number at p, or false when there is none or it is too long for a key. */
static bool inputs_number(const char *p, uint64_t *key)
{
    size_t n = 0;
    for (*key = 0; p[n] >= '0' && p[n] <= '9' && n < 19; n++)
        *key = *key * 10 + (uint64_t)(p[n] - '0');
    return n > 0 && n < 19;
}

/* Where the paths differ first in a number (train_0, train_1, ...) that number is a key, and sorting is five times faster.
 * Returns false, with nothing done, where they don't. */
static bool inputs_sort_keyed(struct fl_inputs *in, struct inputs_sorter *s)
{
    struct inputs_keyed *k = malloc(in->n * sizeof *k);
    if (k == NULL)
        return false;
    bool all = true;
    for (uint64_t i = 0; all && i < in->n; i++) {
        k[i].off = in->off[i];
        all = inputs_number(fl_inputs_at(in, i) + s->skip, &k[i].key);
    }
    if (all) {
        qsort_r(k, in->n, sizeof *k, inputs_by_key, s);
        for (uint64_t i = 0; i < in->n; i++)
            in->off[i] = k[i].off;
    }
    free(k);
    return all;
}

void fl_inputs_sort(struct fl_inputs *in)
{
    if (in->n < 2)
        return;
    struct inputs_sorter s = { in->heap, inputs_shared(in) };
    uint64_t i = 1;
    while (i < in->n && inputs_natural(&in->off[i - 1], &in->off[i], &s) <= 0)
        i++;
    if (i < in->n && !inputs_sort_keyed(in, &s))
        qsort_r(in->off, in->n, sizeof *in->off, inputs_natural, &s);
}

struct inputs_draw { uint64_t key, tile; };
struct inputs_drawn { struct fl_inputs *in; struct fl_inputs_row a, b; struct fl_err *err; int rc; };

/* Equal keys are rare: then the ids decide. */
static int inputs_by_draw(const void *a, const void *b, void *arg)
{
    const struct inputs_draw *x = a, *y = b;
    struct inputs_drawn *d = arg;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    if (d->rc == FL_OK && ((d->rc = fl_inputs_row(d->in, x->tile, &d->a, d->err)) != FL_OK || (d->rc = fl_inputs_row(d->in, y->tile, &d->b, d->err)) != FL_OK))
        return 0;
    return strcmp(d->a.id, d->b.id);
}

int fl_inputs_order(struct fl_inputs *in, uint64_t seed, uint32_t epoch, uint32_t *order, struct fl_err *err)
{
    struct inputs_drawn by = { .in = in, .err = err };
    struct inputs_draw *d = malloc((in->n + 1) * sizeof *d);
    if (d == NULL)
        return fl_err_set(err, FL_E_NOMEM, "no memory to shuffle %llu tiles", (unsigned long long)in->n);
    for (uint64_t i = 0; by.rc == FL_OK && i < in->n; i++) {
        by.rc = fl_inputs_row(in, i, &by.a, err);
        if (by.rc == FL_OK)
            d[i] = (struct inputs_draw){ fl_rng_order(seed, fl_rng_tile(by.a.id, strlen(by.a.id)), epoch), i };
    }
    if (by.rc == FL_OK)
        qsort_r(d, in->n, sizeof *d, inputs_by_draw, &by);
    for (uint64_t i = 0; by.rc == FL_OK && i < in->n; i++)
        order[i] = (uint32_t)d[i].tile;
    free(d);
    return by.rc;
}

int fl_inputs_shuffle(struct fl_inputs *in, uint64_t seed, uint32_t epoch, struct fl_err *err)
{
    uint32_t *order = malloc((in->n + 1) * sizeof *order);
    uint64_t *off = malloc((in->n + 1) * sizeof *off);
    int rc = order != NULL && off != NULL ? fl_inputs_order(in, seed, epoch, order, err)
                                          : fl_err_set(err, FL_E_NOMEM, "no memory to shuffle %llu tiles", (unsigned long long)in->n);
    for (uint64_t i = 0; rc == FL_OK && i < in->n; i++)
        off[i] = in->off[order[i]];
    if (rc == FL_OK)
        memcpy(in->off, off, in->n * sizeof *off);
    free(order);
    free(off);
    return rc;
}

/* ---- ids ---- */

static const char *inputs_id_key(const void *items, uint32_t i, size_t *len)
{
    return fl_inputs_id(items, i, len);
}

int fl_inputs_check_id(const struct fl_inputs *in, uint64_t i, struct fl_err *err)
{
    size_t len;
    const char *id = fl_inputs_id(in, i, &len);
    return fl_id_ok(id, len) ? FL_OK : fl_err_set(err, FL_E_LABEL, "%s: \"%.*s\" is not a tile id ([A-Za-z0-9_.-], 1 to 63 characters)",
                                                  fl_inputs_at(in, i), (int)(len < 100 ? len : 100), id);
}

/* " (LIST:LINE)", or nothing for a tile that no list named. */
static const char *inputs_where(const struct fl_inputs *in, uint64_t i, char text[100])
{
    text[0] = '\0';
    for (uint64_t k = 0; k < in->nlines; k++) {
        const struct fl_inputs_lines *l = &in->lines[k];
        if (i >= l->from && i < l->to)
            snprintf(text, 100, " (%.70s:%llu)", l->list, (unsigned long long)(l->archive ? l->line : l->line + (i - l->from)));
    }
    return text;
}

static int inputs_twice(const struct fl_inputs *in, uint64_t first, uint64_t i, struct fl_err *err)
{
    char where[2][100];
    size_t len;
    const char *id = fl_inputs_id(in, i, &len);
    return fl_err_set(err, FL_E_LABEL, "tile id %.*s comes twice: %.130s%s and %.130s%s", (int)len, id, fl_inputs_at(in, first),
                      inputs_where(in, first, where[0]), fl_inputs_at(in, i), inputs_where(in, i, where[1]));
}

int fl_inputs_check(const struct fl_inputs *in, struct fl_err *err)
{
    struct fl_index x;
    int rc = fl_index_init(&x, in->n, inputs_id_key, in, err);
    for (uint64_t i = 0; rc == FL_OK && i < in->n; i++) {
        rc = fl_inputs_check_id(in, i, err);
        if (rc != FL_OK)
            break;
        int64_t first = fl_index_add(&x, (uint32_t)i);
        if (first >= 0)
            rc = inputs_twice(in, (uint64_t)first, i, err);
    }
    fl_index_done(&x);
    return rc;
}

/* Paths and offsets; the index of fl_inputs_check, at least a third full; the draws, the order and the offsets of fl_inputs_shuffle. */
uint64_t fl_inputs_bytes(const struct fl_inputs *in)
{
    uint64_t tile = sizeof *in->off + 3 * sizeof(uint32_t) + sizeof(struct inputs_draw) + sizeof(uint32_t) + sizeof *in->off;
    return in->used + in->n * tile + in->nlines * sizeof *in->lines;
}
