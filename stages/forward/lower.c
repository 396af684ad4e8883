/* Passes over the network: from one step an operation to the short list that executors run. */
#include "stages/forward/lower.h"

#include <stdlib.h>
#include <string.h>

/* Users and makers of values, looked up again after each change: lists are a few hundred long. */
static uint32_t lower_users(const struct fl_low *l, int32_t v)
{
    uint32_t n = l->output == v;
    for (uint32_t i = 0; i < l->nsteps; i++)
        if (l->steps[i].kind != FL_OP_NONE)
            n += (uint32_t)(l->steps[i].in == v) + (uint32_t)(l->steps[i].in2 == v);
    return n;
}

/* The step that makes v when nobody but one step reads it, else NULL. */
static struct fl_step *lower_sole(struct fl_low *l, int32_t v)
{
    if (lower_users(l, v) != 1)
        return NULL;
    for (uint32_t i = 0; i < l->nsteps; i++)
        if (l->steps[i].kind != FL_OP_NONE && l->steps[i].out == v)
            return &l->steps[i];
    return NULL;
}

/* `from` moves to the place of `into`, the only reader of its result, and makes that step's result. */
static void lower_absorb(struct fl_step *from, struct fl_step *into)
{
    struct fl_step s = *from;
    s.out = into->out;
    from->kind = FL_OP_NONE;
    *into = s;
}

/* ---- the passes ---- */

static void lower_identity(struct fl_low *l, struct fl_step *s)
{
    if (s->kind != FL_OP_DROPOUT)
        return;
    for (uint32_t i = 0; i < l->nsteps; i++) {
        if (l->steps[i].in == s->out)
            l->steps[i].in = s->in;
        if (l->steps[i].in2 == s->out)
            l->steps[i].in2 = s->in;
    }
    if (l->output == s->out)
        l->output = s->in;
    s->kind = FL_OP_NONE;
}

static void lower_fold(struct fl_low *l, struct fl_step *s)
{
    struct fl_step *p = s->kind == FL_OP_BN ? lower_sole(l, s->in) : NULL;
    if (p == NULL || p->kind != FL_OP_CONV || p->bn >= 0 || p->relu)
        return;
    int32_t bn = s->bn;
    lower_absorb(p, s);
    s->bn = bn;
}

static bool lower_takes_relu(const struct fl_step *p)
{
    return p != NULL && !p->relu && (p->kind == FL_OP_CONV || p->kind == FL_OP_LINEAR || p->kind == FL_OP_BN || p->kind == FL_OP_ADD);
}

static bool lower_takes_sum(const struct fl_step *p)
{
    return p != NULL && p->kind == FL_OP_CONV && !p->relu && p->in2 < 0;
}

static void lower_fuse(struct fl_low *l, struct fl_step *s)
{
    if (s->kind == FL_OP_RELU) {
        struct fl_step *p = lower_sole(l, s->in);
        if (lower_takes_relu(p)) {
            lower_absorb(p, s);
            s->relu = true;
        }
    } else if (s->kind == FL_OP_ADD) {
        struct fl_step *a = lower_sole(l, s->in), *b = lower_sole(l, s->in2);
        int32_t other = lower_takes_sum(a) ? s->in2 : s->in;
        struct fl_step *p = lower_takes_sum(a) ? a : b;
        if (lower_takes_sum(p)) {
            lower_absorb(p, s);
            s->in2 = other;
        }
    }
}

/* The average of an affine map is the map of the average as long as windows are whole, which AVG's always are. */
static void lower_avg(struct fl_low *l, struct fl_step *s)
{
    struct fl_step *p = s->kind == FL_OP_AVG && s->pro < 0 ? lower_sole(l, s->in) : NULL;
    if (p == NULL || p->kind != FL_OP_CONV || p->k != 1 || p->stride != 1 || p->pad != 0 || p->relu || p->in2 >= 0 || p->pro >= 0)
        return;
    struct fl_value *mid = &l->vals[p->out];
    const struct fl_value *src = &l->vals[p->in], *dst = &l->vals[s->out];
    *mid = (struct fl_value){ .h = dst->h, .w = dst->w, .c = src->c, .buf = -1 };
    struct fl_step avg = *s, conv = *p;
    avg.in = conv.in;
    avg.out = conv.out;
    conv.in = conv.out;
    conv.out = s->out;
    *p = avg;
    *s = conv;
}

static void lower_prologue(struct fl_low *l, struct fl_step *s, unsigned passes)
{
    bool pool = (s->kind == FL_OP_AVG || s->kind == FL_OP_MEAN) && (passes & FL_PASS_PRO_POOL);
    bool conv = s->kind == FL_OP_CONV && (passes & FL_PASS_PRO_CONV);
    struct fl_step *p = (pool || conv) && s->pro < 0 ? lower_sole(l, s->in) : NULL;
    if (p == NULL || p->kind != FL_OP_BN)
        return;
    s->pro = p->bn;
    s->pro_relu = p->relu;
    s->in = p->in;
    p->kind = FL_OP_NONE;
}

static void lower_compact(struct fl_low *l)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < l->nsteps; i++)
        if (l->steps[i].kind != FL_OP_NONE)
            l->steps[n++] = l->steps[i];
    l->nsteps = n;
}

static void lower_passes(struct fl_low *l, unsigned passes)
{
    for (uint32_t i = 0; i < l->nsteps && (passes & FL_PASS_IDENTITY); i++)
        lower_identity(l, &l->steps[i]);
    for (uint32_t i = 0; i < l->nsteps && (passes & FL_PASS_FOLD); i++)
        lower_fold(l, &l->steps[i]);
    for (uint32_t i = 0; i < l->nsteps && (passes & FL_PASS_FUSE); i++)
        lower_fuse(l, &l->steps[i]);
    for (uint32_t i = 0; i < l->nsteps && (passes & FL_PASS_AVG); i++)
        lower_avg(l, &l->steps[i]);
    for (uint32_t i = 0; i < l->nsteps; i++)
        lower_prologue(l, &l->steps[i], passes);
    lower_compact(l);
}

/* ---- from operations to steps ---- */

static struct fl_step lower_step(const struct fl_net *n, uint32_t i)
{
    const struct fl_op *o = &n->ops[i];
    bool weighted = o->kind == FL_OP_CONV || o->kind == FL_OP_LINEAR;
    return (struct fl_step){
        .kind = o->kind, .hwc = o->hwc, .in = o->in[0], .in2 = o->in[1], .out = (int32_t)i,
        .w = weighted ? o->par : -1, .b = o->bias ? o->par + 1 : -1, .bn = o->kind == FL_OP_BN ? o->par : -1, .pro = -1,
        .k = o->k, .stride = o->stride, .pad = o->pad, .groups = o->groups,
    };
}

/* ops[0] is the input, so step i-1 makes value i. */
static int lower_copy(const struct fl_net *n, struct fl_low *l)
{
    memcpy(l->arch, n->arch, sizeof l->arch);
    l->channels = n->channels;
    l->size = n->size;
    l->labels = n->labels;
    l->nparams = n->nparams;
    l->nsteps = n->nops - 1;
    l->nvals = n->nops;
    l->output = (int32_t)n->nops - 1;
    l->params = calloc(n->nparams, sizeof *l->params);
    l->steps = calloc(n->nops, sizeof *l->steps);
    l->vals = calloc(n->nops, sizeof *l->vals);
    l->bufs = calloc(n->nops, sizeof *l->bufs);
    if (l->params == NULL || l->steps == NULL || l->vals == NULL || l->bufs == NULL)
        return FL_E_NOMEM;
    memcpy(l->params, n->params, n->nparams * sizeof *l->params);
    for (uint32_t i = 0; i < n->nops; i++) {
        l->vals[i] = (struct fl_value){ .h = n->ops[i].h, .w = n->ops[i].w, .c = n->ops[i].c, .buf = -1 };
        if (i > 0)
            l->steps[i - 1] = lower_step(n, i);
    }
    return FL_OK;
}

int fl_lower(const struct fl_net *n, unsigned passes, struct fl_low **out, struct fl_err *err)
{
    struct fl_low *l = calloc(1, sizeof *l);
    if (l == NULL || lower_copy(n, l) != FL_OK) {
        fl_low_free(l);
        return fl_err_set(err, FL_E_NOMEM, "%s: no memory to lower the network", n->arch);
    }
    lower_passes(l, passes);
    int code = fl_low_place(l, passes, err);
    if (code != FL_OK) {
        fl_low_free(l);
        return code;
    }
    *out = l;
    return FL_OK;
}

void fl_low_free(struct fl_low *l)
{
    if (l == NULL)
        return;
    free(l->params);
    free(l->steps);
    free(l->vals);
    free(l->bufs);
    free(l);
}
