/* One set of weights on the card: its block, the pointers of each convolution, and all operations as one CUDA graph. */
#include <stdlib.h>

#include "stages/forward/cuda/device.h"

static int snap_upload(struct fl_prog *g, const struct fl_weights *weights, struct fl_snap *s, struct fl_err *err)
{
    void *block = malloc(g->p.weight_bytes + 1);
    if (block == NULL)
        return fl_err_set(err, FL_E_NOMEM, "cuda: no memory for the weights of %s", g->p.low->arch);
    int code = fl_cu_pack(&g->p, weights, block, err);
    if (code == FL_OK)
        code = fl_cu_alloc(&s->block, g->p.weight_bytes, "weights", err);
    if (code == FL_OK) {
        /* on the stream that reads them: cudaMemcpy may return before the last piece has arrived, and this stream waits for no other */
        cudaError_t e = cudaMemcpyAsync(s->block, block, g->p.weight_bytes, cudaMemcpyHostToDevice, g->compute);
        if (e == cudaSuccess)
            e = cudaStreamSynchronize(g->compute);
        code = e == cudaSuccess ? FL_OK : fl_cu_fail(err, e, "copying weights");
    }
    free(block);
    return code;
}

static int snap_packs(struct fl_prog *g, struct fl_snap *s, struct fl_err *err)
{
    int code = FL_OK;
    for (uint32_t i = 0; i < g->p.nops && code == FL_OK; i++)
        if (g->p.ops[i].kind == FL_CU_CONV)
            code = fl_cu_variant(g, i, s->block, g->chosen[g->use[i]].choice.split, g->workspace, &s->pack[i], err);
    return code;
}

/* Records the operations. An engine that can't be recorded leaves the snapshot without a graph: it then runs one by one. */
static int snap_capture(struct fl_prog *g, struct fl_snap *s, struct fl_err *err)
{
    struct fl_err none = { 0 };
    cudaGraph_t graph = NULL;
    FL_CU_TRY(err, cudaStreamBeginCapture(g->compute, cudaStreamCaptureModeThreadLocal), "recording");
    int code = fl_cu_eager(g, s, &none);
    cudaError_t e = cudaStreamEndCapture(g->compute, &graph);      /* ends it after a failure as well */
    if (code == FL_OK && e == cudaSuccess && cudaGraphInstantiate(&s->graph, graph, 0) != cudaSuccess)
        s->graph = NULL;
    if (graph != NULL)
        cudaGraphDestroy(graph);
    (void)cudaGetLastError();
    FL_CU_TRY(err, cudaStreamSynchronize(g->compute), "recording");      /* a lost context shows here */
    return FL_OK;
}

int fl_cu_load_snap(struct fl_prog *g, const struct fl_weights *weights, struct fl_snap **out, struct fl_err *err)
{
    FL_CU_TRY(err, cudaSetDevice(g->device), "taking the card");
    struct fl_snap *s = calloc(1, sizeof *s);
    if (s == NULL || (s->pack = calloc(g->p.nops + 1, sizeof *s->pack)) == NULL) {
        free(s);
        return fl_err_set(err, FL_E_NOMEM, "cuda: no memory for the weights of %s", g->p.low->arch);
    }
    s->prog = g;
    int code = snap_upload(g, weights, s, err);
    if (code == FL_OK)
        code = snap_packs(g, s, err);
    if (code == FL_OK)
        code = fl_cu_eager(g, s, err);          /* loads every kernel, which a recording couldn't */
    if (code == FL_OK) {
        cudaError_t e = cudaStreamSynchronize(g->compute);
        code = e == cudaSuccess ? snap_capture(g, s, err) : fl_cu_fail(err, e, "the first run");
    }
    if (code != FL_OK) {
        fl_cu_free_snap(s);
        return code;
    }
    *out = s;
    return FL_OK;
}

void fl_cu_free_snap(struct fl_snap *s)
{
    if (s == NULL)
        return;
    (void)cudaSetDevice(s->prog->device);
    (void)cudaStreamSynchronize(s->prog->compute);      /* it may still run */
    if (s->graph != NULL)
        cudaGraphExecDestroy(s->graph);
    for (uint32_t i = 0; i < s->prog->p.nops; i++)
        if (s->pack[i] != NULL)
            cudnnBackendDestroyDescriptor(s->pack[i]);
    (void)cudaFree(s->block);
    (void)cudaGetLastError();
    free(s->pack);
    free(s);
}

int fl_cu_launch(struct fl_prog *g, struct fl_snap *s, struct fl_err *err)
{
    if (s->graph == NULL)
        return fl_cu_eager(g, s, err);
    FL_CU_TRY(err, cudaGraphLaunch(s->graph, g->compute), "a run");
    return FL_OK;
}
