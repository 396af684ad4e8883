/* View sets: parsing, products and unions, and the canonical form of each view. */
#include "stages/lib/views.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/rng.h"
#include "runtime/text.h"

#define VIEWS_DEPTH 4

/* ---- symmetries ---- */

/* A transpose turns a flip of rows before it into a flip of columns after it. */
static uint32_t d4_swap(uint32_t vh) { return (vh & 1) << 1 | vh >> 1; }

uint32_t fl_d4_compose(uint32_t first, uint32_t then)
{
    uint32_t vh = first & 3;
    return ((first ^ then) & 4) | ((then & 4 ? d4_swap(vh) : vh) ^ (then & 3));
}

uint32_t fl_d4_inverse(uint32_t g) { return g & 4 ? 4 | d4_swap(g & 3) : g; }

void fl_d4_source(uint32_t g, uint32_t n, uint32_t x, uint32_t y, uint32_t *sx, uint32_t *sy)
{
    uint32_t cx = g & 1 ? n - 1 - x : x, cy = g & 2 ? n - 1 - y : y;
    *sx = g & 4 ? cy : cx;
    *sy = g & 4 ? cx : cy;
}

/* Where a window of a tile comes to lie when the tile is transformed. */
static void views_move(uint32_t g, uint32_t tile, struct fl_view_row *r)
{
    struct fl_view_row t = *r;
    if (g & 4)
        *r = (struct fl_view_row){ r->g, t.y, t.x, t.h, t.w };
    if (g & 2)
        r->y = tile - r->y - r->h;
    if (g & 1)
        r->x = tile - r->x - r->w;
}

/* ---- sets ---- */

static int views_full(struct fl_err *err)
{
    return fl_err_set(err, FL_E_CONFIG, "views: more than %u views", FL_VIEWS_MAX);
}

static int views_push(struct fl_views *s, struct fl_view v, struct fl_err *err)
{
    if (s->n == FL_VIEWS_MAX)
        return views_full(err);
    if (s->v == NULL && (s->v = calloc(FL_VIEWS_MAX, sizeof *s->v)) == NULL)
        return fl_err_set(err, FL_E_NOMEM, "views: no memory");
    s->v[s->n++] = v;
    return FL_OK;
}

static int views_elements(struct fl_views *s, const uint8_t *g, uint32_t n, struct fl_err *err)
{
    int rc = FL_OK;
    for (uint32_t i = 0; rc == FL_OK && i < n; i++)
        rc = views_push(s, (struct fl_view){ .before = g[i] }, err);
    return rc;
}

static int views_crops_fit(const struct fl_views *s, const char *name, struct fl_err *err)
{
    if (s->size <= s->tile)
        return FL_OK;
    return fl_err_set(err, FL_E_CONFIG, "views: %s: a window of %u does not fit a tile of %u; use scaled", name, s->size, s->tile);
}

static int views_fixed(struct fl_views *s, uint32_t x, uint32_t y, struct fl_err *err)
{
    return views_push(s, (struct fl_view){ .window = FL_WINDOW_FIXED, .x = x, .y = y }, err);
}

static int views_corners(struct fl_views *s, struct fl_err *err)
{
    uint32_t far = s->tile - s->size;
    int rc = views_fixed(s, 0, 0, err);
    if (rc == FL_OK)
        rc = views_fixed(s, far, 0, err);
    if (rc == FL_OK)
        rc = views_fixed(s, 0, far, err);
    return rc == FL_OK ? views_fixed(s, far, far, err) : rc;
}

/* COUNT views of a random window or of a list of ops. */
static int views_random(struct fl_views *s, const char *name, uint8_t window, uint32_t op, struct fl_err *err)
{
    const char *count = strchr(name, ':') + 1;
    char *end = NULL;
    unsigned long n = *count >= '0' && *count <= '9' ? strtoul(count, &end, 10) : 0;
    if (n == 0 || n > FL_VIEWS_MAX || *end != '\0')
        return fl_err_set(err, FL_E_CONFIG, "views: %.64s, want a number from 1 to %u", name, FL_VIEWS_MAX);
    int rc = FL_OK;
    for (uint32_t k = 0; rc == FL_OK && k < n; k++)
        rc = views_push(s, (struct fl_view){ .window = window, .op = op, .k = k }, err);
    return rc;
}

static const struct { const char *name; uint32_t n; uint8_t g[8]; } views_groups[] = {
    { "identity", 1, { 0 } },
    { "d4", 8, { 0, 1, 2, 3, 4, 5, 6, 7 } },
    { "d4x7", 7, { 0, 5, 3, 6, 4, 2, 1 } },
    { "flips", 3, { 0, 1, 2 } },
    { "rot90", 4, { 0, 6, 3, 5 } },
};

static const char *const views_names[] = {
    "identity", "d4", "d4x7", "flips", "rot90", "corners", "center", "scaled", "random_crop:K", "random:K", NULL
};

static int views_unknown(const char *name, struct fl_err *err)
{
    const char *near = fl_nearest(name, views_names);
    if (near != NULL)
        return fl_err_set(err, FL_E_CONFIG, "views: unknown view set \"%.64s\", did you mean %s?", name, near);
    return fl_err_set(err, FL_E_CONFIG, "views: unknown view set \"%.64s\", want identity, d4, d4x7, flips, rot90, corners, center, scaled, "
                      "random_crop:K or random:K", name);
}

static int views_named(struct fl_views *s, const char *name, uint32_t op, struct fl_err *err)
{
    for (size_t i = 0; i < sizeof views_groups / sizeof views_groups[0]; i++)
        if (strcmp(views_groups[i].name, name) == 0)
            return views_elements(s, views_groups[i].g, views_groups[i].n, err);
    if (strcmp(name, "scaled") == 0)
        return views_push(s, (struct fl_view){ .window = FL_WINDOW_TILE }, err);
    if (strncmp(name, "random:", 7) == 0)
        return views_random(s, name, FL_WINDOW_DRAWN, op, err);
    int corners = strcmp(name, "corners") == 0, random = strncmp(name, "random_crop:", 12) == 0;
    if (!corners && !random && strcmp(name, "center") != 0)
        return views_unknown(name, err);
    int rc = views_crops_fit(s, name, err);
    if (rc != FL_OK)
        return rc;
    uint32_t mid = (s->tile - s->size) / 2;
    return corners ? views_corners(s, err) : random ? views_random(s, name, FL_WINDOW_RANDOM, op, err) : views_fixed(s, mid, mid, err);
}

struct fl_view fl_view_then(struct fl_view a, struct fl_view b)
{
    if (a.window == FL_WINDOW_NONE) {
        b.before = (uint8_t)fl_d4_compose(a.before, b.before);
        return b;
    }
    a.after = (uint8_t)fl_d4_compose(a.after, fl_d4_compose(b.before, b.after));
    return a;
}

static int views_product(struct fl_views *s, const struct fl_views *b, struct fl_err *err)
{
    struct fl_views out = { .tile = s->tile, .size = s->size };
    int rc = (uint64_t)s->n * b->n > FL_VIEWS_MAX ? views_full(err) : FL_OK;
    for (uint32_t i = 0; rc == FL_OK && i < s->n; i++)
        for (uint32_t j = 0; rc == FL_OK && j < b->n; j++)
            rc = views_push(&out, fl_view_then(s->v[i], b->v[j]), err);
    free(s->v);
    *s = out;
    return rc;
}

static int views_union(struct fl_views *s, const struct fl_views *b, struct fl_err *err)
{
    int rc = FL_OK;
    for (uint32_t i = 0; rc == FL_OK && i < b->n; i++)
        rc = views_push(s, b->v[i], err);
    return rc;
}

/* Fills the empty set s from spec. A list is a product at even depth and a union at odd depth. */
static int views_read(struct fl_views *s, const json_t *spec, int depth, uint32_t *op, struct fl_err *err)
{
    if (json_is_string(spec))
        return views_named(s, json_string_value(spec), (*op)++, err);
    if (!json_is_array(spec) || json_array_size(spec) == 0)
        return fl_err_set(err, FL_E_CONFIG, "views: want a name or a list of names, none of them empty");
    if (depth == VIEWS_DEPTH)
        return fl_err_set(err, FL_E_CONFIG, "views: lists nested deeper than %d", VIEWS_DEPTH);
    if (depth > 0)
        ++*op;
    int rc = depth % 2 ? FL_OK : views_push(s, (struct fl_view){ 0 }, err);
    for (size_t i = 0; rc == FL_OK && i < json_array_size(spec); i++) {
        struct fl_views part = { .tile = s->tile, .size = s->size };
        rc = views_read(&part, json_array_get(spec, i), depth + 1, op, err);
        if (rc == FL_OK)
            rc = depth % 2 ? views_union(s, &part, err) : views_product(s, &part, err);
        free(part.v);
    }
    return rc;
}

/* A view without a window takes the whole tile, or its centre where the network's input is smaller and no view has a window. */
static int views_default_window(struct fl_views *s, struct fl_err *err)
{
    int windows = 0;
    uint32_t mid = s->size < s->tile ? (s->tile - s->size) / 2 : 0;
    for (uint32_t i = 0; i < s->n; i++)
        windows |= s->v[i].window != FL_WINDOW_NONE;
    for (uint32_t i = 0; i < s->n; i++) {
        if (s->v[i].window != FL_WINDOW_NONE)
            continue;
        if (s->size > s->tile)
            return fl_err_set(err, FL_E_CONFIG, "views: a tile of %u is smaller than the input of %u; use scaled", s->tile, s->size);
        if (windows || s->size == s->tile)
            s->v[i].window = FL_WINDOW_TILE;
        else
            s->v[i] = fl_view_then(s->v[i], (struct fl_view){ .window = FL_WINDOW_FIXED, .x = mid, .y = mid });
    }
    return FL_OK;
}

int fl_views_new(const json_t *spec, uint32_t tile, uint32_t size, struct fl_views *out, struct fl_err *err)
{
    struct fl_views s = { .tile = tile, .size = size ? size : tile };
    uint32_t op = 0;
    if (tile == 0)
        return fl_err_set(err, FL_E_CONFIG, "views: a tile of side 0");
    int rc = spec == NULL || json_is_null(spec) ? views_push(&s, (struct fl_view){ 0 }, err) : views_read(&s, spec, 0, &op, err);
    if (rc == FL_OK)
        rc = views_default_window(&s, err);
    for (uint32_t i = 0; rc == FL_OK && i < s.n; i++)
        if (s.v[i].window == FL_WINDOW_RANDOM && s.v[i].op >= FL_OP_TIES)
            rc = fl_err_set(err, FL_E_CONFIG, "views: a random_crop stands at place %u, want less than %u", s.v[i].op, FL_OP_TIES);
    if (rc != FL_OK) {
        free(s.v);
        return rc;
    }
    *out = s;
    return FL_OK;
}

void fl_views_done(struct fl_views *s)
{
    free(s->v);
    *s = (struct fl_views){ 0 };
}

/* Draw 0 decides "apply?" and is always spent; 1 and 2 are x and y. */
static int views_draw(const struct fl_views *s, const struct fl_view *v, uint64_t seed, const char *id, struct fl_view_row *r, struct fl_err *err)
{
    uint32_t draw[4];
    if (fl_rng_block(seed, fl_rng_tile(id, strlen(id)), FL_EPOCH_TEST, v->k, v->op, 0, draw) != FL_OK)
        return fl_err_set(err, FL_E_CONFIG, "views: random_crop %u of op %u is out of range", v->k, v->op);
    r->x = fl_rng_integer(draw[1], s->tile - s->size + 1);
    r->y = fl_rng_integer(draw[2], s->tile - s->size + 1);
    return FL_OK;
}

struct fl_view_row fl_view_place(const struct fl_view *v, uint32_t tile, uint32_t size)
{
    struct fl_view_row r = { fl_d4_compose(v->before, v->after), v->x, v->y, size, size };
    if (v->window != FL_WINDOW_FIXED)
        r = (struct fl_view_row){ r.g, 0, 0, tile, tile };
    views_move(v->after, tile, &r);
    return r;
}

int fl_views_row(const struct fl_views *s, uint32_t i, uint64_t seed, const char *id, struct fl_view_row *out, struct fl_err *err)
{
    struct fl_view v = s->v[i];
    if (v.window == FL_WINDOW_RANDOM) {
        struct fl_view_row at = { 0 };
        int rc = views_draw(s, &v, seed, id, &at, err);
        if (rc != FL_OK)
            return rc;
        v.window = FL_WINDOW_FIXED;
        v.x = at.x;
        v.y = at.y;
    }
    *out = fl_view_place(&v, s->tile, s->size);
    return FL_OK;
}
