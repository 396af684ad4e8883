/* Which engine runs each convolution: found in the file of timed plans, or timed now. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "stages/forward/cuda/device.h"
#include "stages/forward/cuda/launch.h"

#define CHOOSE_TRIED 8u                      /* configurations timed a layer and variant */
#define CHOOSE_RUNS 5
#define CHOOSE_WORKSPACE ((int64_t)1 << 30)  /* a plan that wants more is passed over */

struct choose {
    struct fl_prog *g;
    struct fl_cu_plans plans;
    struct fl_cu_target target;
    char path[4096];
    bool stored, added;                      /* there is a place for the file; it lacks something */
    void *block;                             /* weights made of noise */
    const struct fl_fwd_opts *o;
    uint32_t nbad;                           /* plans of the file that can't be used any more; what was wrong with the first */
    char bad[512];
};

static void choose_alive(const struct choose *c)
{
    if (c->o->alive != NULL)
        c->o->alive(c->o->of);
}

/* ---- timing ---- */

static int choose_workspace(struct fl_prog *g, int64_t bytes, struct fl_err *err)
{
    if (bytes < 0 || bytes > CHOOSE_WORKSPACE)
        return fl_err_set(err, FL_E_DEVICE, "cuda: a plan wants %lld bytes of workspace", (long long)bytes);
    if ((size_t)bytes <= g->workspace_bytes)
        return FL_OK;
    FL_CU_TRY(err, cudaStreamSynchronize(g->compute), "waiting");
    FL_CU_TRY(err, cudaFree(g->workspace), "freeing workspace");
    g->workspace = NULL;
    g->workspace_bytes = 0;
    int code = fl_cu_alloc(&g->workspace, (size_t)bytes, "workspace", err);
    if (code == FL_OK)
        g->workspace_bytes = (size_t)bytes;
    return code;
}

/* As much workspace as the chosen plans want: a larger one was only tried, and what was given back for one that there was no room for is
 * missing. */
static int choose_settle(struct fl_prog *g, struct fl_err *err)
{
    int64_t most = 0;
    for (uint32_t i = 0; i < g->nchosen; i++)
        most = g->chosen[i].workspace > most ? g->chosen[i].workspace : most;
    if ((size_t)most == g->workspace_bytes)
        return FL_OK;
    FL_CU_TRY(err, cudaFree(g->workspace), "freeing workspace");
    g->workspace = NULL;
    g->workspace_bytes = 0;
    return choose_workspace(g, most, err);
}

static int choose_by_size(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Median time of operation i with this plan in microseconds; the first run, which loads kernels, isn't counted. */
static int choose_time(const struct choose *c, uint32_t i, bool split, cudnnBackendDescriptor_t plan, cudnnBackendDescriptor_t pack, float *micros, struct fl_err *err)
{
    struct fl_prog *g = c->g;
    float ms[CHOOSE_RUNS];
    int code = fl_cu_execute(g, i, c->block, split, plan, pack, err);
    for (int run = 0; run < CHOOSE_RUNS && code == FL_OK; run++) {
        FL_CU_TRY(err, cudaEventRecord(g->from, g->compute), "an event");
        code = fl_cu_execute(g, i, c->block, split, plan, pack, err);
        if (code != FL_OK)
            break;
        FL_CU_TRY(err, cudaEventRecord(g->to, g->compute), "an event");
        FL_CU_TRY(err, cudaEventSynchronize(g->to), "timing a plan");
        FL_CU_TRY(err, cudaEventElapsedTime(&ms[run], g->from, g->to), "timing a plan");
    }
    if (code != FL_OK)
        return code;
    qsort(ms, CHOOSE_RUNS, sizeof ms[0], choose_by_size);
    *micros = ms[CHOOSE_RUNS / 2] * 1000;
    return FL_OK;
}

/* Makes the plan of now->choice, and the pointers that operation i runs it with; what was made is the caller's, after a failure too. */
static int choose_make(struct choose *c, uint32_t i, cudnnBackendDescriptor_t graph, struct fl_cu_chosen *now, cudnnBackendDescriptor_t *pack, struct fl_err *err)
{
    int code = fl_cu_plan(&c->target, graph, &now->choice.config, &now->plan, &now->workspace, err);
    if (code == FL_OK)
        code = choose_workspace(c->g, now->workspace, err);
    return code == FL_OK ? fl_cu_variant(c->g, i, c->block, now->choice.split, c->g->workspace, pack, err) : code;
}

static void choose_unmake(cudnnBackendDescriptor_t d)
{
    if (d != NULL)
        cudnnBackendDestroyDescriptor(d);
}

/* Makes the plan of a configuration and times it; into *best when it is faster. A configuration that can't be built or run is passed
 * over: err then says why, for the case that none can. */
static int choose_try(struct choose *c, uint32_t i, bool split, cudnnBackendDescriptor_t graph, const struct fl_cu_config *config, struct fl_cu_chosen *best, struct fl_err *err)
{
    struct fl_cu_chosen now = { .choice = { .split = split, .config = *config } };
    cudnnBackendDescriptor_t pack = NULL;
    int code = choose_make(c, i, graph, &now, &pack, err);
    if (code == FL_OK)
        code = choose_time(c, i, split, now.plan, pack, &now.choice.micros, err);
    choose_unmake(pack);
    bool better = code == FL_OK && (best->plan == NULL || now.choice.micros < best->choice.micros);
    choose_unmake(better ? best->plan : now.plan);
    if (better)
        *best = now;
    choose_alive(c);
    return code;
}

/* A lost context fails whatever comes next, so that it is found here and not passed over as one engine's fault. */
static int choose_still_there(struct fl_prog *g, struct fl_err *err)
{
    cudaError_t e = cudaStreamSynchronize(g->compute);
    (void)cudaGetLastError();
    return e == cudaSuccess ? FL_OK : fl_cu_fail(err, e, "timing plans");
}

static int choose_timed(struct choose *c, uint32_t i, bool split, struct fl_cu_chosen *best, struct fl_err *err)
{
    const struct fl_cu_op *op = &c->g->p.ops[i];
    struct fl_cu_config config[CHOOSE_TRIED];
    struct fl_be_bag b;
    uint32_t rt;
    fl_be_init(&b, err);
    cudnnBackendDescriptor_t graph = fl_cu_graph(&b, split ? &op->bare : &op->layer);
    int n = graph == NULL ? b.code : fl_cu_configs(&c->target, graph, c->g->p.type == FL_CU_F32, config, CHOOSE_TRIED, &rt, err);
    int code = FL_OK;
    if (n == 0)
        (void)fl_err_set(err, FL_E_DEVICE, "the planner offers none that may be used");
    for (int k = 0; k < n && code == FL_OK; k++)
        if (choose_try(c, i, split, graph, &config[k], best, err) != FL_OK)
            code = choose_still_there(c->g, err);
    fl_be_done(&b);
    return code;
}

/* ---- one layer ---- */

/* The plan of the file into *out, made and run once; without a plan where there is none, or it can't be used any more. Fails only when it took
 * the card along: then the file goes, else the next process would fall over it as well. */
static int choose_known(struct choose *c, uint32_t i, const char *key, struct fl_cu_chosen *out, struct fl_err *err)
{
    const struct fl_cu_op *op = &c->g->p.ops[i];
    const struct fl_cu_choice *known = fl_cu_plans_find(&c->plans, key);
    struct fl_err why = { 0 };
    struct fl_be_bag b;
    if (known == NULL || (known->split && !op->layer.pro))
        return FL_OK;
    struct fl_cu_chosen now = { .choice = *known };
    cudnnBackendDescriptor_t pack = NULL;
    fl_be_init(&b, &why);
    cudnnBackendDescriptor_t graph = fl_cu_graph(&b, known->split ? &op->bare : &op->layer);
    int code = graph != NULL ? choose_make(c, i, graph, &now, &pack, &why) : b.code;
    if (code == FL_OK)
        code = fl_cu_execute(c->g, i, c->block, now.choice.split, now.plan, pack, &why);
    int there = choose_still_there(c->g, err);
    choose_unmake(pack);
    fl_be_done(&b);
    choose_alive(c);
    if (code == FL_OK && there == FL_OK) {
        *out = now;
        return FL_OK;
    }
    choose_unmake(now.plan);
    if (there != FL_OK) {
        (void)unlink(c->path);
        return fl_err_context(err, "cuda: the plan kept for layer %s in %s, which is removed", key, c->path);
    }
    if (c->nbad++ == 0)
        snprintf(c->bad, sizeof c->bad, "layer %s: %.300s", key, why.text);
    return FL_OK;
}

/* The fastest plan of those that can be run, into the list. */
static int choose_anew(struct choose *c, uint32_t i, const char *key, struct fl_cu_chosen *out, struct fl_err *err)
{
    struct fl_err last = { 0 };
    int code = choose_timed(c, i, false, out, &last);
    if (code == FL_OK && c->g->p.ops[i].layer.pro)
        code = choose_timed(c, i, true, out, &last);
    if (code == FL_OK && out->plan != NULL) {
        snprintf(out->choice.key, sizeof out->choice.key, "%s", key);
        c->added = true;
        code = fl_cu_plans_put(&c->plans, &out->choice, err);
    } else {
        code = fl_err_set(err, code != FL_OK ? code : FL_E_DEVICE, "cuda: no engine for layer %s: %.300s", key, last.text);
    }
    if (code != FL_OK) {
        choose_unmake(out->plan);
        out->plan = NULL;
    }
    return code;
}

static int choose_layer(struct choose *c, uint32_t i, const char *key, struct fl_cu_chosen *out, struct fl_err *err)
{
    *out = (struct fl_cu_chosen){ 0 };
    int code = choose_known(c, i, key, out, err);
    if (code == FL_OK && out->plan == NULL)
        code = choose_anew(c, i, key, out, err);
    if (code == FL_OK)
        snprintf(out->impl, sizeof out->impl, "cudnn:%lld%s", (long long)out->choice.config.engine, out->choice.split ? "+scale" : "");
    return code;
}

static int choose_all(struct choose *c, struct fl_err *err)
{
    struct fl_prog *g = c->g;
    for (uint32_t i = 0; i < g->p.nops; i++) {
        char key[FL_CU_KEY];
        uint32_t k = 0;
        if (g->p.ops[i].kind != FL_CU_CONV)
            continue;
        fl_cu_layer_key(&g->p.ops[i].layer, key);
        while (k < g->nchosen && strcmp(g->chosen[k].choice.key, key) != 0)
            k++;
        if (k == g->nchosen) {
            int code = choose_layer(c, i, key, &g->chosen[k], err);
            if (code != FL_OK)
                return code;
            g->nchosen++;
        }
        g->use[i] = k;
    }
    return FL_OK;
}

/* ---- whole ---- */

static int choose_noise(struct choose *c, struct fl_err *err)
{
    struct fl_prog *g = c->g;
    const size_t bytes[4] = { g->p.input_bytes, g->p.arena_bytes, g->p.scratch_bytes, g->p.logits_bytes };
    int code = fl_cu_alloc(&c->block, g->p.weight_bytes, "weights for timing", err), e = 0;
    if (code != FL_OK)
        return code;
    for (int a = 0; a < 3 && e == 0; a++)
        e = fl_cu_launch_noise(g->area[a], g->p.type, bytes[a] / fl_cu_bytes(g->p.type), (uint32_t)a, g->compute);
    if (e == 0)
        e = fl_cu_launch_noise(c->block, g->p.type, g->p.weight_bytes / fl_cu_bytes(g->p.type), 7, g->compute);
    return e == 0 ? FL_OK : fl_cu_fail(err, (cudaError_t)e, "noise");
}

static int choose_target(struct choose *c, struct fl_err *err)
{
    struct cudaDeviceProp prop;
    int driver = 0;
    char target[FL_CU_TARGET];
    FL_CU_TRY(err, cudaGetDeviceProperties(&prop, c->g->device), "the card's properties");
    FL_CU_TRY(err, cudaDriverGetVersion(&driver), "the driver's version");
    snprintf(target, sizeof target, "%.100s; sm_%d%d; %d SMs; driver %d; cuDNN %zu", prop.name, prop.major, prop.minor, prop.multiProcessorCount, driver, cudnnGetVersion());
    fl_cu_plans_init(&c->plans, target);
    c->target.handle = c->g->handle;
    c->stored = fl_cu_plans_path(c->plans.target, c->path, sizeof c->path);
    return FL_OK;
}

static void choose_warn(const struct choose *c)
{
    char text[5000];
    snprintf(text, sizeof text, "cuda: %u plan%s kept in %s can't be used any more and %s timed anew; %s", c->nbad, c->nbad == 1 ? "" : "s", c->path,
             c->nbad == 1 ? "is" : "are", c->bad);
    if (c->nbad > 0 && c->o->warn != NULL)
        c->o->warn(c->o->of, text);
}

int fl_cu_choose(struct fl_prog *g, const struct fl_fwd_opts *o, struct fl_err *err)
{
    struct choose c = { .g = g, .o = o };
    struct fl_err none = { 0 };
    int code = choose_target(&c, err);
    if (code == FL_OK && c.stored)
        (void)fl_cu_plans_load(&c.plans, c.path, &none);      /* what can't be read is timed */
    if (code == FL_OK)
        code = choose_noise(&c, err);
    if (code == FL_OK)
        code = choose_all(&c, err);
    choose_warn(&c);
    if (code == FL_OK)
        code = choose_settle(g, err);
    if (code == FL_OK && c.stored && c.added)
        (void)fl_cu_plans_save(&c.plans, c.path, &none);      /* a cache that can't be written costs time, no more */
    cudaError_t e = cudaFree(c.block);
    fl_cu_plans_done(&c.plans);
    return code == FL_OK && e != cudaSuccess ? fl_cu_fail(err, e, "freeing weights") : code;
}
