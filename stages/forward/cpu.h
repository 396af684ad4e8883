/* What the parts of the CPU executor share: programs, and weights prepared for them. */
#ifndef FL_FORWARD_CPU_H
#define FL_FORWARD_CPU_H

#include "stages/forward/cpu_kernels.h"
#include "stages/forward/cpu_prim.h"
#include "stages/forward/lower.h"

struct fl_cpu_step {
    struct fl_cpu_view in, in2, out;       /* where the values lie */
    struct fl_cpu_view src, dst;           /* where oneDNN works: there, or in packed copies */
    uint8_t moves;                         /* bits CPU_IN, CPU_IN2, CPU_OUT: that value lies in a buffer of all rows */
    bool gather, scatter, copy_sum;        /* copy_sum: the residual lies elsewhere, so it's copied to dst first */
    uint32_t rows, lines, chunks;          /* of one execution; of one run of the kernel, lines of an image or of several; how many */
    struct fl_cpu_prim prim;
};

enum { CPU_IN = 1, CPU_IN2 = 2, CPU_OUT = 4 };

/* Steps before `cut` have large images and run for `part` rows at a time, so that a layer finds in the cache what the one before it
 * left; the others have small images and large weights, and run for all rows at once. Buffers that only the first read and write
 * lie in the arena of a part, all others in one of all rows. */
struct fl_prog {
    struct fl_low   *low;
    const struct fl_cpu_kernels *kern;
    uint32_t         rows, part, cut, threads;
    bool             bf16, whole;
    dnnl_engine_t    engine;
    dnnl_stream_t    stream;
    dnnl_memory_t    scratch;
    void            *scratch_mem, *arena[2], *image, *packed[2];      /* packed: one copy in, one out */
    float           *input, *out;                                  /* image: the input as bf16; NULL in f32 */
    struct fl_cpu_step *steps;
    double          *seconds;              /* of each step while profile is on, else NULL */
};

/* block holds all weights, one after the other: huge pages serve small layers too, and no layer's last page is lost. */
struct fl_cpu_loaded { struct fl_cpu_weights w; float *scale, *shift; };
struct fl_snap { uint32_t n; struct fl_cpu_loaded *steps; void *block; };

static inline size_t fl_cpu_elem(const struct fl_prog *p) { return p->bf16 ? sizeof(uint16_t) : sizeof(float); }
static inline bool fl_cpu_weighted(const struct fl_step *s) { return s->kind == FL_OP_CONV || s->kind == FL_OP_LINEAR; }

/* Where value v lies; a zeroed view for -1. */
struct fl_cpu_view fl_cpu_value(const struct fl_prog *, int32_t v);
/* Sets the number of threads that oneDNN takes on this thread. */
void fl_cpu_threads(uint32_t threads);
/* Steps from .. to-1 for the rows from `row` on. */
int  fl_cpu_steps(struct fl_prog *, struct fl_snap *, uint32_t from, uint32_t to, size_t row, struct fl_err *);

/* The table's compile, load and their opposites. whole: every step runs for all rows at once. */
int  fl_cpu_build(const struct fl_net *, unsigned passes, bool whole, const struct fl_fwd_opts *, struct fl_prog **, struct fl_err *);
int  fl_cpu_memory(const struct fl_net *, const struct fl_fwd_opts *, struct fl_fwd_memory *, struct fl_err *);
int  fl_cpu_peak(const struct fl_fwd_opts *, uint32_t streams, double *flops, struct fl_err *);
void fl_cpu_prog_free(struct fl_prog *);
size_t fl_cpu_snap_bytes(const struct fl_prog *);      /* of a block; the kernels of p must be described */
int  fl_cpu_load(struct fl_prog *, const struct fl_weights *, struct fl_snap **, struct fl_err *);
void fl_cpu_snap_free(struct fl_snap *);

#endif
