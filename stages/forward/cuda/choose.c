/* Which engine runs each convolution: found in the file of timed plans, or timed now. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
};

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

/* Makes the plan of a configuration and times it; into *best when it is faster. A configuration that can't be built or run is passed
 * over: err then says why, for the case that none can. */
static int choose_try(struct choose *c, uint32_t i, bool split, cudnnBackendDescriptor_t graph, const struct fl_cu_config *config, struct fl_cu_chosen *best, struct fl_err *err)
{
    struct fl_prog *g = c->g;
    struct fl_cu_chosen now = { .choice = { .split = split, .config = *config } };
    cudnnBackendDescriptor_t pack = NULL;
    int code = fl_cu_plan(&c->target, graph, config, &now.plan, &now.workspace, err);
    if (code == FL_OK)
        code = choose_workspace(g, now.workspace, err);
    if (code == FL_OK)
        code = fl_cu_variant(g, i, c->block, split, g->workspace, &pack, err);
    if (code == FL_OK)
        code = choose_time(c, i, split, now.plan, pack, &now.choice.micros, err);
    if (pack != NULL)
        cudnnBackendDestroyDescriptor(pack);
    bool better = code == FL_OK && (best->plan == NULL || now.choice.micros < best->choice.micros);
    cudnnBackendDescriptor_t loser = better ? best->plan : now.plan;
    if (loser != NULL)
        cudnnBackendDestroyDescriptor(loser);
    if (better)
        *best = now;
    if (c->o->alive != NULL)
        c->o->alive(c->o->alive_of);
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

/* The plan of the file, if it can still be made. */
static bool choose_known(struct choose *c, uint32_t i, const char *key, struct fl_cu_chosen *out)
{
    const struct fl_cu_op *op = &c->g->p.ops[i];
    const struct fl_cu_choice *known = fl_cu_plans_find(&c->plans, key);
    struct fl_err none = { 0 };
    struct fl_be_bag b;
    if (known == NULL || (known->split && !op->layer.pro))
        return false;
    struct fl_cu_chosen now = { .choice = *known };
    fl_be_init(&b, &none);
    cudnnBackendDescriptor_t graph = fl_cu_graph(&b, known->split ? &op->bare : &op->layer);
    bool ok = graph != NULL && fl_cu_plan(&c->target, graph, &known->config, &now.plan, &now.workspace, &none) == FL_OK;
    fl_be_done(&b);
    if (ok && choose_workspace(c->g, now.workspace, &none) != FL_OK) {
        cudnnBackendDestroyDescriptor(now.plan);
        ok = false;
    }
    if (c->o->alive != NULL)
        c->o->alive(c->o->alive_of);
    if (ok)
        *out = now;
    return ok;
}

static int choose_layer(struct choose *c, uint32_t i, const char *key, struct fl_cu_chosen *out, struct fl_err *err)
{
    const struct fl_cu_op *op = &c->g->p.ops[i];
    *out = (struct fl_cu_chosen){ 0 };
    if (!choose_known(c, i, key, out)) {
        struct fl_err last = { 0 };
        int code = choose_timed(c, i, false, out, &last);
        if (code == FL_OK && op->layer.pro)
            code = choose_timed(c, i, true, out, &last);
        if (code != FL_OK || out->plan == NULL) {
            if (out->plan != NULL)
                cudnnBackendDestroyDescriptor(out->plan);
            out->plan = NULL;
            return fl_err_set(err, code != FL_OK ? code : FL_E_DEVICE, "cuda: no engine for layer %s: %.300s", key, last.text);
        }
        snprintf(out->choice.key, sizeof out->choice.key, "%s", key);
        c->added = true;
        if ((code = fl_cu_plans_put(&c->plans, &out->choice, err)) != FL_OK) {
            cudnnBackendDestroyDescriptor(out->plan);
            out->plan = NULL;
            return code;
        }
    }
    snprintf(out->impl, sizeof out->impl, "cudnn:%lld%s", (long long)out->choice.config.engine, out->choice.split ? "+scale" : "");
    return FL_OK;
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
    if (code == FL_OK)
        code = choose_settle(g, err);
    if (code == FL_OK && c.stored && c.added)
        (void)fl_cu_plans_save(&c.plans, c.path, &none);      /* a cache that can't be written costs time, no more */
    cudaError_t e = cudaFree(c.block);
    fl_cu_plans_done(&c.plans);
    return code == FL_OK && e != cudaSuccess ? fl_cu_fail(err, e, "freeing weights") : code;
}
