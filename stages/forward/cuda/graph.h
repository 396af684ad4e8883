/* Layers as cuDNN operation graphs, and what the planner offers for them. */
#ifndef FL_CUDA_GRAPH_H
#define FL_CUDA_GRAPH_H

#include "stages/forward/cuda/be.h"
#include "stages/forward/cuda/layer.h"

/* Where plans are made for: a handle (a card), or the description of one. */
struct fl_cu_target { cudnnHandle_t handle; cudnnBackendDescriptor_t described; };

/* The finalized operation graph; it and all it refers to go into the bag. NULL after a failure. */
cudnnBackendDescriptor_t fl_cu_graph(struct fl_be_bag *, const struct fl_cu_layer *);

/* The planner's list, best first: mode A, then the fallback where A has nothing. Drops what isn't deterministic, and with `exact` what
 * rounds f32 on the way (TF32). At most max; returns how many, or a negative FL_E_* code. rt: how many are compiled at run time. */
int fl_cu_configs(const struct fl_cu_target *, cudnnBackendDescriptor_t graph, bool exact, struct fl_cu_config *out, uint32_t max, uint32_t *rt,
                  struct fl_err *);

/* A finalized plan, owned by the caller (cudnnBackendDestroyDescriptor). */
int fl_cu_plan(const struct fl_cu_target *, cudnnBackendDescriptor_t graph, const struct fl_cu_config *, cudnnBackendDescriptor_t *plan,
               int64_t *workspace, struct fl_err *);

#endif
