/* Drives one stage in-process: open with options, push batches, look at what comes out, close.
 * The stage object is the one that runs in its process; slabs are plain memory with the same slots. */
#ifndef FL_TESTS_HARNESS_H
#define FL_TESTS_HARNESS_H

#include "runtime/stage.h"

struct fl_harness;

struct fl_harness_conf {
    const char *options;             /* JSON object, single or double quotes ('{"a":1}' or "{'a':1}"), NULL = {} */
    uint32_t B, edges, threads;      /* 0: 4, 1, 1 */
    uint64_t seed;
    uint32_t nlabels;                /* 0: the 17 default labels, with their weather group */
    const char *const *labels;
    uint64_t exclusive;
    uint32_t rest_off;
    const char *run_dir;
    size_t   slab;                   /* bytes of an output slab; 0: 64 MB */
};

/* NULL and *err when options are refused. Does not open. */
struct fl_harness *fl_harness_new(const struct fl_stage *, const struct fl_harness_conf *, struct fl_err *err);
struct fl_ctx *fl_harness_ctx(struct fl_harness *);
int  fl_harness_describe(struct fl_harness *, struct fl_err *err);
uint32_t fl_harness_bound(struct fl_harness *, char letter);           /* what describe bound; 0 = nothing */
int  fl_harness_open(struct fl_harness *, struct fl_err *err);
/* A new batch with n tiles, ids "t<batch*B+row>" (tensors id, ordinal set); owned by the caller until pushed. */
struct fl_batch *fl_harness_batch(struct fl_harness *, uint64_t number, uint32_t n);
/* Adds an input tensor (data copied; NULL = zeroed) and returns its memory. */
void *fl_harness_tensor(struct fl_harness *, struct fl_batch *, const char *name, int dtype, uint32_t ndim, const uint32_t *shape, const void *data);
/* As above for input edge `edge` of a join. */
void *fl_harness_tensor_edge(struct fl_harness *, struct fl_batch *, uint32_t edge, const char *name, int dtype, uint32_t ndim, const uint32_t *shape, const void *data);
int  fl_harness_push(struct fl_harness *, struct fl_batch *, struct fl_err *err);      /* takes the batch; runs the stage's batch callback */
int  fl_harness_trial(struct fl_harness *, struct fl_batch *, struct fl_err *err);     /* sinks: takes the batch, runs the trial callback */
int  fl_harness_produce(struct fl_harness *, uint64_t number, struct fl_err *err);     /* sources */
int  fl_harness_idle(struct fl_harness *, struct fl_err *err);
int  fl_harness_dump(struct fl_harness *, const char *why, struct fl_err *err);         /* taps */
int  fl_harness_drain(struct fl_harness *, struct fl_err *err);
struct fl_batch *fl_harness_pop(struct fl_harness *);                  /* what was emitted, in order; NULL when none. Free with fl_harness_free_batch */
void fl_harness_free_batch(struct fl_harness *, struct fl_batch *);
uint64_t fl_harness_acked(struct fl_harness *);                        /* number of fl_ack calls */
double fl_harness_result(struct fl_harness *, const char *name);       /* NAN when absent */
const char *fl_harness_warnings(struct fl_harness *);                  /* all fl_warn lines so far */
void fl_harness_close(struct fl_harness *);                            /* closes the stage if opened, frees all; NULL is accepted */

#endif
