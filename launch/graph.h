/* The checked graph: what pipeline.yaml became after reading, expanding and matching with what the stages say of themselves. */
#ifndef FL_LAUNCH_GRAPH_H
#define FL_LAUNCH_GRAPH_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "proto/batch.h"
#include "proto/status.h"

struct fl_mark { uint32_t line, column; };          /* from 1; 0 = from the command line */

/* One tensor as it travels on an edge, all letters resolved for this graph. */
struct fl_flow_tensor {
    char     name[FL_NAME_MAX];
    uint32_t dtypes;                                 /* bit (1 << enum fl_dtype) for each type it may have; one bit once bound */
    uint32_t ndim, shape[FL_MAX_DIMS];               /* 0 = unknown */
    char     letter[FL_MAX_DIMS];                    /* the letter of each dimension, or 0 */
    uint32_t maker;                                  /* index of the stage in whose pool it lies */
    bool     optional;
};

struct fl_hosts;                                     /* launch/hosts.h */
struct fl_segment;

struct fl_stage_node {
    char     name[FL_NAME_MAX];                      /* entry's name */
    char     stage[FL_NAME_MAX];                     /* stage: its executable's name */
    char    *exe;                                    /* absolute path */
    json_t  *options;                                /* as given: object */
    json_t  *describe;                               /* what `STAGE --describe` printed for these options */
    struct fl_mark mark;
    uint32_t instances;                              /* >= 1 */
    uint32_t place, segment;                         /* group of hosts and segment it goes to, + 1; 0 = it stays here */
    bool     stays;                                  /* the file says place: here */
    bool     per_gpu;                                /* an instance for each device of the host it is placed on */
    bool     remote;                                 /* stands for other hosts: is granted no credit until they are ready */
    uint32_t threads;                                /* for a library under the stage: the entry's `threads:`, or what `auto` came to */
    bool     any_threads;                            /* it was auto */
    uint32_t nfrom, *from;                           /* indices of the stages it reads, in order */
    bool     source, sink, many, tap, again;         /* no in-port; no out-port; FL_MANY, FL_TAP, FL_AGAIN in-port: sinks without a journal */
    uint32_t ntensors;                               /* what leaves by its out port */
    struct fl_flow_tensor tensors[FL_MAX_TENSORS];
    uint32_t side;                                   /* of the network's input that views are made for; 0 = none are */
    uint64_t slab;                                   /* bytes of one slab of its pool (multiple of 4096); 0 for a sink */
    uint64_t memory;                                 /* what each instance says it allocates besides slabs; 0 = not said */
    uint64_t cost;                                   /* credit bytes of one batch on its out edges: slab size, at least 1 */
};

struct fl_graph {
    char    *file;                                   /* path of pipeline.yaml */
    char     name[64];                               /* name: or the file's stem; names the run directory */
    uint64_t seed;
    uint64_t memory;                                 /* bytes; bound for all pools, and for what stages allocate, together */
    bool     bounded;                                /* memory was given: else stages' own comes on top */
    double   stall_timeout, open_timeout, drain_timeout;     /* seconds */
    uint32_t B;                                      /* most tiles in a batch: the source's option `batch` */
    uint32_t window;                                 /* batches in flight = slabs of each pool */
    uint32_t nlabels; char **labels; uint64_t exclusive; uint32_t rest_off;
    uint32_t nstages; struct fl_stage_node *stages;  /* in topological order: [0] is the source */
    uint64_t batches, tiles;                         /* as the source's describe says; 0 = unknown */
    uint32_t epochs;                                 /* likewise: the batches are this many rounds of equal length */
    struct fl_hosts *hosts;                          /* NULL = there are none, or all runs here */
    uint32_t nsegments; struct fl_segment *segments;
    json_t  *resolved;                               /* the whole configuration, matrix expanded, defaults filled: written to RUN/config.json */
};

/* Reads, expands, describes and checks. Every complaint goes to `complaints` as a line `file:line:column: what, what was expected`
 * (malloc'd, newline-ended, NULL when there was none). sets: "stage.option=value" texts. FL_OK or FL_E_CONFIG. */
int  fl_graph_load(const char *file, const char *const *sets, uint32_t nsets, struct fl_graph **out, char **complaints);
void fl_graph_free(struct fl_graph *);

/* One step of a programme (programme.h) as a graph, or part of it. */
struct fl_node;
struct fl_part {
    const char *const *sinks; uint32_t nsinks;       /* these and what they need; 0 = all */
    bool unbounded;                                  /* memory is no limit */
    json_t *in, *out;                                /* given: arrays that take the texts of all options, those of files to be written in out (DIR/ and
                                                      * a *: others beside one); then stages are asked for their tables alone, and there is no graph */
    const json_t *made;                              /* with these: files that are made before, so they need not be there; NULL = none */
};
/* As fl_graph_load, of a tree that is read already; root is taken. Folders of files to be written need not be there. */
int  fl_graph_load_part(const char *file, struct fl_node *root, const char *const *sets, uint32_t nsets, const struct fl_part *,
                        struct fl_graph **out, char **complaints);

/* Prints the plan: edges with tensors, dtype, shape, bytes; slabs, window, memory bound. dot: Graphviz. */
int  fl_plan_print(const struct fl_graph *, bool dot);
const char *fl_plan_size(uint64_t bytes, char text[32]);    /* "1.5 GB"; gives text */

#endif
