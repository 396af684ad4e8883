/* The cuda executor: the table that forward loads with dlopen. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stages/forward/cuda/device.h"
#include "stages/forward/cuda/launch.h"
#include "stages/forward/plugin.h"

#define CUDA_DEVICES 64

/* ---- devices ---- */

/* Ordinals of the cards that the kernels are built for; < 0 and why when there is none. */
static int cuda_devices(int ordinal[CUDA_DEVICES], char *why, size_t n)
{
    int count = 0, found = 0, major = 0;
    cudaError_t e = cudaGetDeviceCount(&count);
    if (e != cudaSuccess) {             /* leaves count as it was */
        (void)cudaGetLastError();
        snprintf(why, n, "%s (%d)", cudaGetErrorString(e), (int)e);
        return -1;
    }
    for (int i = 0; i < count && found < CUDA_DEVICES; i++)
        if (cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, i) == cudaSuccess && major >= FL_CU_MIN_MAJOR)
            ordinal[found++] = i;
    if (found == 0)
        snprintf(why, n, "%d card%s, none of compute capability %d.0 or above", count, count == 1 ? "" : "s", FL_CU_MIN_MAJOR);
    return found > 0 ? found : -1;
}

static int cuda_probe(char *why, size_t n)
{
    int ordinal[CUDA_DEVICES], driver = 0;
    struct cudaDeviceProp prop;
    size_t v = cudnnGetVersion();
    if (v / 10000 != CUDNN_MAJOR) {
        snprintf(why, n, "cuDNN %zu, built for %d.x", v, CUDNN_MAJOR);
        return -1;
    }
    int count = cuda_devices(ordinal, why, n);
    if (count < 0)
        return -1;
    cudaError_t e = cudaGetDeviceProperties(&prop, ordinal[0]);
    if (e != cudaSuccess) {
        (void)cudaGetLastError();
        snprintf(why, n, "%s (%d)", cudaGetErrorString(e), (int)e);
        return -1;
    }
    (void)cudaDriverGetVersion(&driver);
    snprintf(why, n, "%d x %s, compute capability %d.%d, driver for CUDA %d.%d, cuDNN %zu.%zu.%zu", count, prop.name, prop.major, prop.minor, driver / 1000,
             driver % 1000 / 10, v / 10000, v / 100 % 100, v % 100);
    return count;
}

static bool cuda_takes(uint32_t device, int prec)
{
    (void)device;                       /* all that probe counts have bf16 tensor cores */
    return prec == FL_PREC_F32 || prec == FL_PREC_F16 || prec == FL_PREC_BF16;
}

/* ---- compiling ---- */

static size_t cuda_image(const struct fl_cu_program *p) { return (size_t)p->rows * p->low->size * p->low->size * p->low->channels * sizeof(float); }

static int cuda_areas(struct fl_prog *g, struct fl_err *err)
{
    const size_t bytes[4] = { g->p.input_bytes, g->p.arena_bytes, g->p.scratch_bytes, g->p.logits_bytes };
    static const char *const names[4] = { "the input", "activations", "packed activations", "logits" };
    int code = FL_OK;
    for (int i = 0; i < 4 && code == FL_OK; i++)
        code = fl_cu_alloc(&g->area[i], bytes[i], names[i], err);
    if (code != FL_OK)
        return code;
    FL_CU_TRY(err, cudaHostAlloc((void **)&g->logits, g->p.logits_bytes, cudaHostAllocDefault), "pinned memory");
    return FL_OK;
}

static int cuda_open(struct fl_prog *g, uint32_t device, struct fl_err *err)
{
    int ordinal[CUDA_DEVICES];
    char why[200] = "";
    int count = cuda_devices(ordinal, why, sizeof why);
    if (count < 0 || device >= (uint32_t)count)
        return fl_err_set(err, FL_E_DEVICE, "cuda: %s", count < 0 ? why : "no card of this number");
    g->device = ordinal[device];
    FL_CU_TRY(err, cudaSetDevice(g->device), "taking the card");
    FL_CU_TRY(err, cudaStreamCreateWithFlags(&g->compute, cudaStreamNonBlocking), "a stream");
    FL_CU_TRY(err, cudaStreamCreateWithFlags(&g->copy, cudaStreamNonBlocking), "a stream");
    FL_CU_TRY(err, cudaEventCreate(&g->from), "an event");
    FL_CU_TRY(err, cudaEventCreate(&g->to), "an event");
    cudnnStatus_t st = cudnnCreate(&g->handle);
    if (st != CUDNN_STATUS_SUCCESS)
        return fl_be_fail(err, st, "a handle");
    st = cudnnSetStream(g->handle, g->compute);
    return st == CUDNN_STATUS_SUCCESS ? FL_OK : fl_be_fail(err, st, "the stream");
}

static void cuda_prog_free(struct fl_prog *g)
{
    if (g == NULL)
        return;
    (void)cudaSetDevice(g->device);
    const cudaStream_t stream[2] = { g->compute, g->copy };
    const cudaEvent_t event[2] = { g->from, g->to };
    for (int i = 0; i < 2; i++)          /* what still runs uses all of it */
        if (stream[i] != NULL)
            (void)cudaStreamSynchronize(stream[i]);
    fl_cu_feed_done(g);
    for (uint32_t i = 0; i < g->nchosen; i++)
        if (g->chosen[i].plan != NULL)
            cudnnBackendDestroyDescriptor(g->chosen[i].plan);
    if (g->handle != NULL)
        cudnnDestroy(g->handle);
    for (int i = 0; i < 4; i++)
        (void)cudaFree(g->area[i]);
    (void)cudaFree(g->workspace);
    (void)cudaFree(g->input_dev);
    if (g->input_registered)
        (void)cudaHostUnregister(g->input);
    if (g->logits != NULL)
        (void)cudaFreeHost(g->logits);
    for (int i = 0; i < 2; i++) {
        if (event[i] != NULL)
            (void)cudaEventDestroy(event[i]);
        if (stream[i] != NULL)
            (void)cudaStreamDestroy(stream[i]);
    }
    (void)cudaGetLastError();
    free(g->input);
    free(g->chosen);
    free(g->use);
    free(g->seconds);
    fl_cu_program_done(&g->p);
    free(g);
}

static int cuda_build(struct fl_prog *g, const struct fl_net *net, const struct fl_fwd_opts *o, struct fl_err *err)
{
    int code = fl_cu_program_make(net, o->rows, o->prec, &g->p, err);
    if (code != FL_OK)
        return code;
    g->chosen = calloc(g->p.nops + 1, sizeof *g->chosen);
    g->use = calloc(g->p.nops + 1, sizeof *g->use);
    g->seconds = calloc(g->p.nops + 1, sizeof *g->seconds);
    g->input = calloc(cuda_image(&g->p), 1);
    if (g->input == NULL || g->chosen == NULL || g->use == NULL || g->seconds == NULL)
        return fl_err_set(err, FL_E_NOMEM, "cuda: no memory for %s", g->p.low->arch);
    if ((code = cuda_open(g, o->device, err)) != FL_OK || (code = cuda_areas(g, err)) != FL_OK || (code = fl_cu_feed_init(g, err)) != FL_OK)
        return code;
    return fl_cu_choose(g, o, err);
}

static int cuda_compile(const struct fl_net *net, const struct fl_fwd_opts *o, struct fl_prog **out, struct fl_err *err)
{
    struct fl_prog *g = calloc(1, sizeof *g);
    if (g == NULL)
        return fl_err_set(err, FL_E_NOMEM, "cuda: no memory for a network");
    int code = cuda_build(g, net, o, err);
    if (code != FL_OK) {
        cuda_prog_free(g);
        return code;
    }
    *out = g;
    return FL_OK;
}

/* ---- one run over a painted input ---- */

/* Touched and registered only by who paints himself: a stage that submits views never does. */
static float *cuda_input(struct fl_prog *g)
{
    if (!g->input_registered) {
        g->input_registered = cudaSetDevice(g->device) == cudaSuccess &&
                              cudaHostRegister(g->input, cuda_image(&g->p), cudaHostRegisterDefault) == cudaSuccess;
        (void)cudaGetLastError();        /* without, copies are slower and no less right */
    }
    return g->input;
}

/* Each operation between two events. */
static int cuda_profiled(struct fl_prog *g, struct fl_snap *s, struct fl_err *err)
{
    for (uint32_t i = 0; i < g->p.nops; i++) {
        const struct fl_cu_chosen *c = g->p.ops[i].kind == FL_CU_CONV ? &g->chosen[g->use[i]] : NULL;
        float ms = 0;
        FL_CU_TRY(err, cudaEventRecord(g->from, g->compute), "an event");
        int code = fl_cu_execute(g, i, s->block, c != NULL && c->choice.split, c != NULL ? c->plan : NULL, s->pack[i], err);
        if (code != FL_OK)
            return code;
        FL_CU_TRY(err, cudaEventRecord(g->to, g->compute), "an event");
        FL_CU_TRY(err, cudaEventSynchronize(g->to), "a run");
        FL_CU_TRY(err, cudaEventElapsedTime(&ms, g->from, g->to), "timing");
        g->seconds[i] += (double)ms / 1000;
    }
    return FL_OK;
}

/* cuDNN's ReLU may make 0 of NaN, so a row that isn't finite could leave as a plausible answer. It leaves as NaN. */
static void cuda_mark(const struct fl_prog *g, float *logits)
{
    size_t image = (size_t)g->p.low->size * g->p.low->size * g->p.low->channels;
    for (uint32_t row = 0; row < g->p.rows; row++) {
        size_t i = 0;
        while (i < image && isfinite(g->input[row * image + i]))
            i++;
        for (uint32_t l = 0; i < image && l < g->p.low->labels; l++)
            logits[(size_t)row * g->p.low->labels + l] = NAN;
    }
}

static int cuda_run(struct fl_prog *g, struct fl_snap *s, float *logits, struct fl_err *err)
{
    FL_CU_TRY(err, cudaSetDevice(g->device), "taking the card");
    int code = g->input_dev != NULL ? FL_OK : fl_cu_alloc((void **)&g->input_dev, cuda_image(&g->p), "the painted input", err);
    if (code != FL_OK)
        return code;
    struct fl_cu_widen_args a = { g->input_dev, g->area[FL_CU_INPUT], g->p.low->channels, g->p.channels, g->p.type };
    FL_CU_TRY(err, cudaMemcpyAsync(g->input_dev, g->input, cuda_image(&g->p), cudaMemcpyHostToDevice, g->compute), "copying the input");
    FL_CU_TRY(err, (cudaError_t)fl_cu_launch_widen(&a, g->p.rows * g->p.low->size * g->p.low->size, g->compute), "the input kernel");
    code = g->profile ? cuda_profiled(g, s, err) : fl_cu_launch(g, s, err);
    if (code != FL_OK)
        return code;
    FL_CU_TRY(err, cudaMemcpyAsync(g->logits, g->area[FL_CU_LOGITS], g->p.logits_bytes, cudaMemcpyDeviceToHost, g->compute), "copying logits");
    FL_CU_TRY(err, cudaStreamSynchronize(g->compute), "a run");
    for (uint32_t row = 0; row < g->p.rows; row++)
        memcpy(logits + (size_t)row * g->p.low->labels, g->logits + (size_t)row * g->p.logits, g->p.low->labels * sizeof(float));
    cuda_mark(g, logits);
    return FL_OK;
}

/* ---- telling ---- */

/* Without the workspace, which depends on the plans, and the tiles, which depend on what is fed. */
static int cuda_memory(const struct fl_net *net, const struct fl_fwd_opts *o, struct fl_fwd_memory *out, struct fl_err *err)
{
    struct fl_cu_program p;
    int code = fl_cu_program_make(net, o->rows, o->prec, &p, err);
    if (code != FL_OK)
        return code;
    *out = (struct fl_fwd_memory){ .prog = p.logits_bytes, .device_prog = p.input_bytes + p.arena_bytes + p.scratch_bytes + p.logits_bytes,
                                   .device_snap = p.weight_bytes };
    fl_cu_program_done(&p);
    return FL_OK;
}

static void cuda_profile(struct fl_prog *g, bool on)
{
    g->profile = on;
    memset(g->seconds, 0, g->p.nops * sizeof *g->seconds);
}

static bool cuda_layer(const struct fl_prog *g, uint32_t step, struct fl_layer *out)
{
    if (!fl_low_layer(g->p.low, step, g->p.rows, out))
        return false;
    if (g->p.ops[step].kind == FL_CU_CONV)
        out->impl = g->chosen[g->use[step]].impl;
    out->seconds = g->seconds[step];
    return true;
}

__attribute__((visibility("default"))) extern const struct fl_backend fl_forward_plugin;
const struct fl_backend fl_forward_plugin = {
    .abi = FL_BACKEND_ABI, .name = "cuda", .probe = cuda_probe, .takes = cuda_takes, .compile = cuda_compile, .input = cuda_input,
    .load = fl_cu_load_snap, .run = cuda_run, .submit = fl_cu_submit, .wait = fl_cu_wait, .memory = cuda_memory, .profile = cuda_profile,
    .layer = cuda_layer, .snap_free = fl_cu_free_snap, .prog_free = cuda_prog_free,
};
