/* What a large matmul of oneDNN reaches: the measure for a network's layers. The best of many executions at several sizes: single ones are short, so that
 * some of them run undisturbed on a machine with other work, and what is left of noise can only make the measure lower than it is. */
#include <stdlib.h>
#include <time.h>

#include "stages/forward/cpu.h"

#define PEAK_SECONDS 0.2      /* for each size */
static const uint32_t peak_sides[] = { 512, 768, 1024 };

struct peak { dnnl_engine_t engine; dnnl_stream_t stream; struct fl_cpu_prim prim; struct fl_cpu_weights w; dnnl_memory_t scratch; void *mem, *loaded; float *weights; void *src, *dst; };

static double peak_now(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int peak_open(struct peak *p, uint32_t side, bool bf16, struct fl_err *err)
{
    size_t n = (size_t)side * side;
    struct fl_cpu_shape shape = { .rows = side, .ci = side, .ih = 1, .iw = 1, .co = side, .oh = 1, .ow = 1, .groups = 1, .bf16 = bf16, .f32_out = !bf16 };
    if (dnnl_engine_create(&p->engine, dnnl_cpu, 0) != dnnl_success || dnnl_stream_create(&p->stream, p->engine, dnnl_stream_default_flags) != dnnl_success)
        return fl_err_set(err, FL_E_DEVICE, "cpu: oneDNN has no CPU engine");
    p->weights = fl_cpu_alloc(n * sizeof *p->weights);
    p->src = fl_cpu_alloc(n * sizeof(float));
    p->dst = fl_cpu_alloc(n * sizeof(float));
    if (p->weights == NULL || p->src == NULL || p->dst == NULL)
        return fl_err_set(err, FL_E_NOMEM, "cpu: no memory for a matmul");
    for (size_t i = 0; i < n; i++)               /* zeros may be faster than numbers */
        p->weights[i] = ((float *)p->src)[i] = 1 + (float)(i % 7) / 8;
    int code = fl_cpu_prim_init(&p->prim, p->engine, &shape, err);
    if (code == FL_OK && (p->loaded = fl_cpu_alloc(fl_cpu_prim_weights(&p->prim))) == NULL)
        code = fl_err_set(err, FL_E_NOMEM, "cpu: no memory for a matmul");
    if (code == FL_OK)
        code = fl_cpu_prim_load(&p->prim, p->engine, p->stream, p->weights, p->weights, p->loaded, &p->w, err);
    return code == FL_OK ? fl_cpu_scratch(p->engine, p->prim.scratch, &p->scratch, &p->mem, err) : code;
}

static void peak_close(struct peak *p)
{
    fl_cpu_weights_done(&p->w);
    fl_cpu_prim_done(&p->prim);
    if (p->scratch != NULL)
        dnnl_memory_destroy(p->scratch);
    if (p->stream != NULL)
        dnnl_stream_destroy(p->stream);
    if (p->engine != NULL)
        dnnl_engine_destroy(p->engine);
    free(p->mem);
    free(p->loaded);
    free(p->weights);
    free(p->src);
    free(p->dst);
}

/* The best of one size. A lone thread is timed by its own clock, which stands still while others have the processor. */
static int peak_side(uint32_t side, bool bf16, bool alone, double *flops, struct fl_err *err)
{
    struct peak p = { 0 };
    clockid_t clock = alone ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC;
    int code = peak_open(&p, side, bf16, err);
    double first = peak_now(CLOCK_MONOTONIC);
    for (int n = -1; code == FL_OK && (n < 2 || peak_now(CLOCK_MONOTONIC) - first < PEAK_SECONDS); n++) {      /* the first isn't counted */
        double start = peak_now(clock);
        code = fl_cpu_prim_run(&p.prim, p.stream, &p.w, p.scratch, p.src, p.dst, err);
        double took = peak_now(clock) - start, rate = took > 0 ? 2.0 * side * side * side / took : 0;
        if (n >= 0 && rate > *flops)
            *flops = rate;
    }
    peak_close(&p);
    return code;
}

int fl_cpu_peak(const struct fl_fwd_opts *o, uint32_t streams, double *flops, struct fl_err *err)
{
    uint32_t threads = (o->threads > 0 ? o->threads : 1) * streams;
    int code = FL_OK;
    *flops = 0;
    fl_cpu_threads(threads);
    for (size_t i = 0; i < sizeof peak_sides / sizeof peak_sides[0] && code == FL_OK; i++)
        code = peak_side(peak_sides[i], o->prec == FL_PREC_BF16, threads == 1, flops, err);
    return code;
}
