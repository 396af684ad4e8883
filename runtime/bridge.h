/* A stage whose function is written in another language: its tables come as JSON, its batches go through one call. In libflowrun.so
 * alone; python/flowrun/stages.py is its other side. The loop, links and slabs are those of every stage, and so are the promises.
 *
 * Tables: {"name", "help", "options": [{name, type, help, required, default, min, max, choices}], "in": [TENSOR], "out": [TENSOR],
 * "counters": [names]}, TENSOR = {name, dtypes, shape, flags}, as in runtime/stage.h and runtime/opt.h. choices: names separated by |. */
#ifndef FL_RUNTIME_BRIDGE_H
#define FL_RUNTIME_BRIDGE_H

#include "runtime/stage.h"

struct fl_bridge_calls {
    int (*open)(struct fl_ctx *);                       /* options are set */
    int (*batch)(struct fl_ctx *, struct fl_batch *);   /* fills the outputs; what returns is emitted, or freed after a failure. Codes as everywhere */
};

struct fl_bridge_tensor { const char *dtype; uint32_t ndim, shape[FL_MAX_DIMS]; const void *data; };

/* fl_stage_main with such a stage; once a process. Returns the exit status, 2 when the tables can't be used (told on stderr). */
int fl_bridge_main(const char *tables, const struct fl_bridge_calls *, int argc, char **argv);

const char *fl_bridge_version(void);

/* What the callbacks may use. Names of types and codes are texts ("u8", "E_INPUT"); all else as the call of stage.h. */
const void *fl_bridge_option(const struct fl_ctx *, uint32_t i);    /* field of option i: bool, int64_t, double, char *, or int (a choice) */
const char *const *fl_bridge_labels(const struct fl_ctx *, uint32_t *n);
uint64_t fl_bridge_seed(const struct fl_ctx *);
uint32_t fl_bridge_rows(const struct fl_batch *);
bool  fl_bridge_tensor(const struct fl_batch *, const char *name, struct fl_bridge_tensor *);       /* false: isn't there */
const char *fl_bridge_id(const struct fl_batch *, uint32_t row);
bool  fl_bridge_rejected(const struct fl_batch *, uint32_t row);
void *fl_bridge_out(struct fl_ctx *, struct fl_batch *, const char *name, const char *dtype, uint32_t ndim, const uint32_t *shape);
int   fl_bridge_reject(struct fl_ctx *, struct fl_batch *, uint32_t row, const char *code, const char *text);
int   fl_bridge_fail(struct fl_ctx *, const char *code, const char *text);
void  fl_bridge_warn(struct fl_ctx *, const char *text);
void  fl_bridge_count(struct fl_ctx *, int counter, uint64_t n);
void  fl_bridge_alive(struct fl_ctx *);

#endif
