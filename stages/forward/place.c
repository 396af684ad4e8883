/* Places values: concat parts as slices of one buffer, residual sums in place, buffers in one arena by lifetime. */
#include <stdlib.h>

#include "stages/forward/lower.h"

static int32_t place_new_buf(struct fl_low *l, const struct fl_value *v)
{
    l->bufs[l->nbufs] = (struct fl_buf){ .h = v->h, .w = v->w, .c = v->c, .first = INT32_MAX, .last = -1 };
    return (int32_t)l->nbufs++;
}

static int32_t place_last_use(const struct fl_low *l, int32_t v)
{
    int32_t last = v == l->output ? (int32_t)l->nsteps + 1 : -1;
    for (uint32_t i = 0; i < l->nsteps; i++)
        if ((l->steps[i].in == v || l->steps[i].in2 == v) && (int32_t)i + 1 > last)
            last = (int32_t)i + 1;
    return last;
}

/* A part joins the buffer of its concat unless it has a place already or is the input, which the caller fills. */
static void place_part(struct fl_low *l, int32_t part, int32_t whole, uint32_t c0)
{
    struct fl_value *p = &l->vals[part];
    const struct fl_value *x = &l->vals[whole];
    if (p->buf >= 0 || part == l->input)
        return;
    p->buf = x->buf;
    p->c0 = x->c0 + c0;
}

/* Last concat first, so that a chain of them becomes prefixes of the buffer of the longest. */
static void place_concats(struct fl_low *l)
{
    for (uint32_t i = l->nsteps; i-- > 0; ) {
        struct fl_step *s = &l->steps[i];
        if (s->kind != FL_OP_CONCAT)
            continue;
        struct fl_value *x = &l->vals[s->out], *a = &l->vals[s->in], *b = &l->vals[s->in2];
        if (x->buf < 0)
            x->buf = place_new_buf(l, x);
        place_part(l, s->in, s->out, 0);
        place_part(l, s->in2, s->out, a->c);
        if (a->buf == x->buf && a->c0 == x->c0 && b->buf == x->buf && b->c0 == x->c0 + a->c)
            s->kind = FL_OP_NONE;
    }
}

/* The sum may overwrite its residual when this step is the last to read it and it fills a buffer of its own. */
static bool place_in_place(const struct fl_low *l, const struct fl_step *s, uint32_t i)
{
    if (s->kind != FL_OP_CONV || s->in2 < 0 || s->in2 == s->in || s->in2 == l->input)
        return false;
    const struct fl_value *r = &l->vals[s->in2];
    if (r->buf < 0 || l->bufs[r->buf].c != r->c || place_last_use(l, s->in2) != (int32_t)i + 1)
        return false;
    for (uint32_t v = 0; v < l->nvals; v++)
        if ((int32_t)v != s->in2 && l->vals[v].buf == r->buf && place_last_use(l, (int32_t)v) > (int32_t)i)
            return false;
    return true;
}

static void place_values(struct fl_low *l, unsigned passes)
{
    if (passes & FL_PASS_CONCAT)
        place_concats(l);
    if (l->vals[l->input].buf < 0)
        l->vals[l->input].buf = place_new_buf(l, &l->vals[l->input]);
    for (uint32_t i = 0; i < l->nsteps; i++) {
        const struct fl_step *s = &l->steps[i];
        struct fl_value *v = &l->vals[s->out];
        if (s->kind == FL_OP_NONE || v->buf >= 0)
            continue;
        v->buf = (passes & FL_PASS_MEMORY) && (passes & FL_PASS_SUM) && place_in_place(l, s, i) ? l->vals[s->in2].buf : place_new_buf(l, v);
    }
}

static void place_touch(struct fl_low *l, int32_t v, int32_t time)
{
    if (v < 0)
        return;
    struct fl_buf *b = &l->bufs[l->vals[v].buf];
    b->first = time < b->first ? time : b->first;
    b->last = time > b->last ? time : b->last;
}

static void place_lifetimes(struct fl_low *l)
{
    place_touch(l, l->input, 0);
    place_touch(l, l->output, (int32_t)l->nsteps + 1);
    for (uint32_t i = 0; i < l->nsteps; i++) {
        place_touch(l, l->steps[i].in, (int32_t)i + 1);
        place_touch(l, l->steps[i].in2, (int32_t)i + 1);
        place_touch(l, l->steps[i].out, (int32_t)i + 1);
    }
}

static size_t place_size(const struct fl_buf *b)
{
    size_t n = (size_t)b->h * b->w * b->c;
    return (n + FL_LOW_ALIGN - 1) / FL_LOW_ALIGN * FL_LOW_ALIGN;
}

static bool place_meet(const struct fl_buf *a, const struct fl_buf *b)
{
    return a->first <= b->last && b->first <= a->last;
}

/* The lowest offset where b meets none of the first n of `order`: try each end of a neighbour. */
static size_t place_lowest(const struct fl_low *l, const uint32_t *order, uint32_t n, const struct fl_buf *b)
{
    size_t best = SIZE_MAX, want = place_size(b);
    for (uint32_t c = 0; c <= n; c++) {
        const struct fl_buf *end = c < n ? &l->bufs[order[c]] : NULL;
        size_t at = end ? end->at + place_size(end) : 0;
        bool free_here = at < best;
        for (uint32_t i = 0; i < n && free_here; i++) {
            const struct fl_buf *o = &l->bufs[order[i]];
            free_here = !place_meet(o, b) || o->at >= at + want || at >= o->at + place_size(o);
        }
        if (free_here)
            best = at;
    }
    return best;
}

/* Largest first; equal ones in the order of making, so that the plan is the same everywhere. The input is the executor's. */
static uint32_t place_order(const struct fl_low *l, uint32_t *order)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < l->nbufs; i++) {
        if ((int32_t)i == l->vals[l->input].buf)
            continue;
        uint32_t j = n++;
        for (; j > 0 && place_size(&l->bufs[order[j - 1]]) < place_size(&l->bufs[i]); j--)
            order[j] = order[j - 1];
        order[j] = i;
    }
    return n;
}

int fl_low_arena(struct fl_low *l, unsigned passes, struct fl_err *err)
{
    uint32_t *order = malloc(l->nbufs * sizeof *order);
    if (order == NULL)
        return fl_err_set(err, FL_E_NOMEM, "%s: no memory for the plan", l->arch);
    uint32_t n = place_order(l, order);
    l->elems = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct fl_buf *b = &l->bufs[order[i]];
        b->at = passes & FL_PASS_MEMORY ? place_lowest(l, order, i, b) : l->elems;
        size_t end = b->at + place_size(b);
        l->elems = end > l->elems ? end : l->elems;
    }
    free(order);
    return FL_OK;
}

int fl_low_place(struct fl_low *l, unsigned passes, struct fl_err *err)
{
    place_values(l, passes);
    uint32_t keep = 0;
    for (uint32_t i = 0; i < l->nsteps; i++)
        if (l->steps[i].kind != FL_OP_NONE)
            l->steps[keep++] = l->steps[i];
    l->nsteps = keep;
    place_lifetimes(l);
    return fl_low_arena(l, passes, err);
}
