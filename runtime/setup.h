/* What a stage process is told at its start: parsed from the supervisor's JSON. */
#ifndef FL_RUNTIME_SETUP_H
#define FL_RUNTIME_SETUP_H

#include "runtime/host.h"
#include "runtime/page.h"
#include "runtime/proc.h"
#include "runtime/slab.h"

struct fl_setup_out { uint32_t edge, readers; bool keyed; uint64_t cost; const char **endpoints; };

struct fl_setup {
    json_t  *json;                        /* owns the texts below */
    uint64_t run;
    const char *name, *run_dir, *listen;  /* listen: endpoint of the inlet, NULL for a source */
    uint32_t instance, incarnation, window, B, threads, epochs;
    uint64_t seed, batches, start;
    int      control, page_fd, gens_fd;
    int32_t  pool;                        /* own pool, -1: none */
    uint32_t npools;
    struct fl_pool *pools;
    uint32_t nedges;                      /* in edges */
    const char **from;
    uint32_t *writers;
    uint64_t *grants, *costs;
    uint32_t nout;
    struct fl_setup_out *out;
    struct fl_labels_conf labels;
};

int  fl_setup_read(int fd, struct fl_setup *, struct fl_ctx *ctx_labels, struct fl_err *);
void fl_setup_free(struct fl_setup *);

#endif
