/* A network on a card: memory, plans and streams of one fl_prog, weights of one fl_snap. One thread uses a prog. */
#ifndef FL_CUDA_DEVICE_H
#define FL_CUDA_DEVICE_H

#include <cuda_runtime_api.h>

#include "stages/forward/cuda/graph.h"
#include "stages/forward/cuda/kernels.h"
#include "stages/forward/cuda/plans.h"
#include "stages/forward/cuda/program.h"

#define FL_CU_MIN_MAJOR 8               /* compute capability: what kernels.cu is built for */
#define FL_CU_MAPPINGS 16

/* A plan and what it was chosen by; operations of the same layer share it. */
struct fl_cu_chosen { struct fl_cu_choice choice; cudnnBackendDescriptor_t plan; int64_t workspace; char impl[24]; };

/* One of the two executions in flight. pin: staging for tiles that lie in memory that can't be registered. */
struct fl_cu_slot {
    void *raw, *pin; size_t raw_room, pin_room;
    struct fl_fwd_row *rows, *rows_pin;
    float *logits; size_t logits_room;           /* pinned, [k][rows][logits] */
    cudaEvent_t uploaded, painted, done;
    uint64_t ticket; uint32_t k; bool busy;
};

struct fl_cu_mapping { uintptr_t at; size_t bytes; bool registered; };

struct fl_prog {
    struct fl_cu_program p;
    int device;
    cudaStream_t compute, copy;
    cudnnHandle_t handle;
    void *area[4], *workspace;                   /* on the device, by enum fl_cu_area */
    size_t workspace_bytes;
    struct fl_cu_chosen *chosen; uint32_t nchosen;
    uint32_t *use;                               /* [nops]: which of them */
    float *input, *input_dev, *logits;           /* for fl_backend's input and run; the last pinned */
    bool input_registered;
    struct fl_cu_slot slot[FL_FWD_DEPTH];
    uint64_t tickets;
    struct fl_cu_mapping mapping[FL_CU_MAPPINGS]; uint32_t nmappings;
    bool profile; double *seconds; cudaEvent_t from, to;
};

struct fl_snap { struct fl_prog *prog; void *block; cudnnBackendDescriptor_t *pack; cudaGraphExec_t graph; };

/* FL_E_NOMEM for memory, else FL_E_DEVICE, with CUDA's name and words for e; says so when the error stays until the process ends. Clears
 * what would else be found by the next call. */
int fl_cu_fail(struct fl_err *, cudaError_t e, const char *what);
#define FL_CU_TRY(err, call, what) do { cudaError_t e_ = (call); if (e_ != cudaSuccess) return fl_cu_fail(err, e_, what); } while (0)

/* Device memory, never NULL on success. FL_E_NOMEM says how much was asked for and how much is free. */
int fl_cu_alloc(void **out, size_t bytes, const char *what, struct fl_err *);

/* execute.c: operation i with weights at block, by plan and variant pack; asynchronous on prog->compute. */
int fl_cu_execute(struct fl_prog *, uint32_t i, void *block, bool split, cudnnBackendDescriptor_t plan, cudnnBackendDescriptor_t pack, struct fl_err *);
int fl_cu_prologue(struct fl_prog *, const struct fl_cu_op *, void *block, struct fl_err *);
/* A finalized variant pack for operation i, owned by the caller. */
int fl_cu_variant(struct fl_prog *, uint32_t i, void *block, bool split, void *workspace, cudnnBackendDescriptor_t *, struct fl_err *);
/* All operations of a snapshot, one by one. */
int fl_cu_eager(struct fl_prog *, struct fl_snap *, struct fl_err *);

/* choose.c: a plan for every convolution, from the file or by timing, and the workspace they want. */
int fl_cu_choose(struct fl_prog *, const struct fl_fwd_opts *, struct fl_err *);

/* snap.c */
int  fl_cu_load_snap(struct fl_prog *, const struct fl_weights *, struct fl_snap **, struct fl_err *);
void fl_cu_free_snap(struct fl_snap *);
/* All operations of a snapshot: the captured graph, or one by one where there is none. */
int  fl_cu_launch(struct fl_prog *, struct fl_snap *, struct fl_err *);

/* feed.c: the fl_backend calls submit and wait, and what they hold. */
int  fl_cu_feed_init(struct fl_prog *, struct fl_err *);
void fl_cu_feed_done(struct fl_prog *);
int  fl_cu_submit(struct fl_prog *, struct fl_snap *const *, uint32_t k, const struct fl_fwd_views *, uint64_t *ticket, struct fl_err *);
int  fl_cu_wait(struct fl_prog *, uint64_t ticket, float *logits, struct fl_err *);

#endif
