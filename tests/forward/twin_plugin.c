/* An object that forward loads as its cuda executor: the same list, run in plain loops. submit keeps what it was given until wait, as a card would. */
#include <stdio.h>
#include <stdlib.h>

#include "stages/forward/plugin.h"
#include "tests/lib/cuda_twin.h"

struct plugin_open { uint64_t ticket; struct fl_snap *snaps[8]; uint32_t k; struct fl_fwd_views v; struct fl_fwd_row *row; bool busy; };
struct fl_prog { struct fl_cu_program p; struct twin t; float *input; struct plugin_open open[FL_FWD_DEPTH]; uint64_t tickets; };
struct fl_snap { void *weights; };

static int plugin_probe(char *why, size_t n)
{
    snprintf(why, n, "plain loops");
    return 1;
}

static bool plugin_takes(uint32_t device, int prec)
{
    (void)device;
    return prec != FL_PREC_F64;
}

static void plugin_prog_free(struct fl_prog *g)
{
    if (g == NULL)
        return;
    for (int i = 0; i < FL_FWD_DEPTH; i++)
        free(g->open[i].row);
    twin_done(&g->t);
    fl_cu_program_done(&g->p);
    free(g->input);
    free(g);
}

static int plugin_compile(const struct fl_net *net, const struct fl_fwd_opts *o, struct fl_prog **out, struct fl_err *err)
{
    struct fl_prog *g = calloc(1, sizeof *g);
    int code = g == NULL ? FL_E_NOMEM : fl_cu_program_make(net, o->rows, o->prec, &g->p, err);
    if (code == FL_OK && !twin_init(&g->t, &g->p))
        code = FL_E_NOMEM;
    for (int i = 0; i < FL_FWD_DEPTH && code == FL_OK; i++)
        g->open[i].row = calloc(o->rows, sizeof *g->open[i].row);
    if (code == FL_OK) {
        free(g->t.weights);
        g->t.weights = NULL;
        g->input = calloc((size_t)o->rows * g->p.low->size * g->p.low->size * g->p.low->channels, sizeof(float));
        *out = g;
    } else {
        plugin_prog_free(g);
    }
    return code;
}

static float *plugin_input(struct fl_prog *g) { return g->input; }

static int plugin_load(struct fl_prog *g, const struct fl_weights *w, struct fl_snap **out, struct fl_err *err)
{
    struct fl_snap *s = calloc(1, sizeof *s);
    s->weights = malloc(g->p.weight_bytes);
    *out = s;
    return fl_cu_pack(&g->p, w, s->weights, err);
}

static void plugin_snap_free(struct fl_snap *s)
{
    free(s->weights);
    free(s);
}

static void plugin_snap(struct fl_prog *g, struct fl_snap *s, float *logits)
{
    g->t.weights = s->weights;
    twin_run(&g->t);
    g->t.weights = NULL;
    for (uint32_t r = 0; r < g->p.rows; r++)
        memcpy(logits + (size_t)r * g->p.low->labels, (float *)g->t.area[FL_CU_LOGITS] + (size_t)r * g->p.logits, g->p.low->labels * sizeof(float));
}

static int plugin_run(struct fl_prog *g, struct fl_snap *s, float *logits, struct fl_err *err)
{
    (void)err;
    twin_input(&g->t, g->input);
    plugin_snap(g, s, logits);
    return FL_OK;
}

static int plugin_submit(struct fl_prog *g, struct fl_snap *const *snaps, uint32_t k, const struct fl_fwd_views *v, uint64_t *ticket, struct fl_err *err)
{
    struct plugin_open *o = &g->open[g->tickets % FL_FWD_DEPTH];
    if (o->busy || k == 0 || k > 8)
        return fl_err_set(err, FL_E_BUG, "too much in flight");
    memcpy(o->snaps, snaps, k * sizeof *snaps);
    memcpy(o->row, v->row, g->p.rows * sizeof *v->row);
    o->v = *v;
    o->k = k;
    o->busy = true;
    o->ticket = *ticket = g->tickets++;
    return FL_OK;
}

static int plugin_wait(struct fl_prog *g, uint64_t ticket, float *logits, struct fl_err *err)
{
    struct plugin_open *o = &g->open[ticket % FL_FWD_DEPTH];
    uint32_t size = g->p.low->size;
    if (!o->busy || o->ticket != ticket)
        return fl_err_set(err, FL_E_BUG, "not in flight");
    o->busy = false;
    struct fl_cu_paint_args a = { .tiles = o->v.tiles, .rows = o->row, .out = g->t.area[FL_CU_INPUT], .h = o->v.h, .w = o->v.w,
                                  .channels = g->p.low->channels, .size = size, .padded = g->p.channels, .wide = o->v.wide, .type = g->p.type };
    memcpy(a.mul, o->v.mul, a.channels * sizeof(float));
    memcpy(a.add, o->v.add, a.channels * sizeof(float));
    for (uint32_t i = 0; i < g->p.rows * size * size; i++)
        fl_cu_paint_at(&a, i / size / size, i / size % size, i % size);
    for (uint32_t k = 0; k < o->k; k++)
        plugin_snap(g, o->snaps[k], logits + (size_t)k * g->p.rows * g->p.low->labels);
    return FL_OK;
}

static int plugin_memory(const struct fl_net *net, const struct fl_fwd_opts *o, struct fl_fwd_memory *out, struct fl_err *err)
{
    (void)net, (void)o, (void)err;
    *out = (struct fl_fwd_memory){ 0 };
    return FL_OK;
}

__attribute__((visibility("default"))) extern const struct fl_backend fl_forward_plugin;
const struct fl_backend fl_forward_plugin = {
    .abi = FL_BACKEND_ABI, .name = "cuda", .probe = plugin_probe, .takes = plugin_takes, .compile = plugin_compile, .input = plugin_input, .load = plugin_load,
    .run = plugin_run, .submit = plugin_submit, .wait = plugin_wait, .memory = plugin_memory, .snap_free = plugin_snap_free, .prog_free = plugin_prog_free,
};
