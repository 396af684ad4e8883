/* What a stage is: one const struct at the end of one file. Everything a stage may use is declared here.
 *
 * The loop (runtime/main.c) and the test harness (tests/lib/harness.h) both drive a stage through
 * runtime/host.c, always on one thread: describe (with options set, without open), or
 * open -> { produce | batch | idle }* -> drain -> close. close runs after a failed open too. */
#ifndef FL_RUNTIME_STAGE_H
#define FL_RUNTIME_STAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/batch.h"
#include "proto/status.h"
#include "runtime/opt.h"

struct fl_frame;

struct fl_ctx {
    void            *state;      /* the stage's state: zeroed, then options filled in */
    struct fl_host  *host;       /* of the runtime */
    const char      *name;       /* the entry's name in the pipeline */
    uint32_t         instance;   /* 0..instances-1 */
    uint32_t         incarnation;/* how often this instance was started before */
    uint32_t         edges;      /* number of input edges; > 1 only into a FL_MANY port */
    uint32_t         B;          /* most tiles in a batch (0 in describe of all but the source) */
    uint32_t         threads;    /* how many threads a library under this stage may use (forward) */
    uint64_t         seed;
    bool             partial;    /* the run was interrupted: in drain, leave it resumable and write no final files */
    uint32_t         window;     /* most batches in flight */
    uint64_t         batches;    /* of the whole run, as the source describes itself; 0 = unknown. Equal epochs of batches / epochs */
    uint32_t         epochs;
    uint64_t         start;      /* batches before this one are not issued */
    const char      *run_dir;    /* NULL in the harness unless set */
    uint64_t         run;        /* id of the run; 0 in the harness */
    const char *const *from;     /* names of the stages at the input edges; NULL in the harness and for a source */
    uint32_t         nlabels;    /* L: the graph's labels */
    const char *const *labels;
    uint64_t         exclusive;  /* bit l: label l is one of the mutually exclusive group (weather); 0 = no group */
    uint32_t         rest_off;   /* label that allows no other (cloudy); FL_NO_LABEL = none */
};

#define FL_NO_LABEL UINT32_MAX

/* One tensor of a port. dtypes: names separated by |. shape: dimensions separated by commas, each a number, an
 * option's name (its value) or a capital letter (B tiles, V views, K snapshots, L labels, C channels, H rows, W columns, S side of the
 * network's input; P, Q free), unified along each edge. S bound on both sides of views that are yet to be painted must agree, too.
 * Name "*" in an in port, FL_OPTIONAL: whatever comes; FL_TAKEN with it: all of it ends here. */
struct fl_spec {
    const char *name, *dtypes, *shape;
    unsigned    flags;           /* FL_OPTIONAL, FL_TAKEN, FL_EITHER */
};
enum {
    FL_OPTIONAL = 1,             /* in: may be absent. out: may not be made, depending on options */
    FL_TAKEN    = 2,             /* in: ends at this stage (fl_emit drops it); all that is not taken passes on by reference */
    FL_EITHER   = 4              /* in: of the tensors marked so at least one must be there */
};

struct fl_port {
    const char           *name;
    unsigned              flags;     /* FL_IN or FL_OUT; FL_MANY, FL_TAP, FL_AGAIN */
    const struct fl_spec *tensors;   /* ends with { 0 } */
};
enum {
    FL_IN = 1, FL_OUT = 2,
    FL_MANY = 4,                 /* in: takes several edges and joins them by batch */
    FL_TAP = 8,                  /* in, of a sink: keeps no journal, so --resume doesn't ask it what is done */
    FL_AGAIN = 16                /* in, of a sink that keeps no journal, but wants every batch: --resume issues all of them again */
};

struct fl_stage {
    const char *name, *help;
    size_t state_size;
    const struct fl_opt  *opts;       /* ends with { 0 } */
    const struct fl_port *ports;      /* ends with { 0 }; at most one in and one out */
    const char *const    *counters;   /* ends with NULL */
    bool threads;                     /* a library under it can use several: ctx->threads */
    int  (*describe)(struct fl_ctx *);                      /* fl_bind what the options decide; may be NULL. Must not need other stages */
    bool (*offers)(uint32_t i, char *text, size_t n);       /* what this machine has for the stage, line i; false behind the last; may be NULL */
    int  (*open)(struct fl_ctx *);
    int  (*produce)(struct fl_ctx *, struct fl_batch *b);   /* source: fill batch number b->batch, then fl_emit; owns b */
    int  (*batch)(struct fl_ctx *, struct fl_batch *b);     /* owns b: ends in fl_emit or fl_free, at once or later */
    /* sink: does with b what `batch` does, but keeps nothing of it and doesn't acknowledge: which tile kills it is found so. b stays the
     * caller's. NULL: a sink that does nothing with single tiles */
    int  (*trial)(struct fl_ctx *, struct fl_batch *b);
    int  (*idle)(struct fl_ctx *);                          /* there is nothing to work on, or what was made can't leave yet; may be NULL */
    int  (*drain)(struct fl_ctx *);                         /* the input has ended: emit what is held; may be NULL */
    int  (*dump)(struct fl_ctx *, const char *why);         /* tap: write out what is held in memory, something went wrong; may be NULL */
    void (*close)(struct fl_ctx *);
};

/* ---- tensors of a batch ---- */

/* Input tensor, checked by the host against the port's spec before `batch` is called; NULL only for an optional one that is absent. */
static inline const struct fl_tensor *fl_in(const struct fl_batch *b, const char *name) { return fl_batch_find(b, name); }

/* Adds an output tensor to b in this stage's slab and returns its memory (64-byte aligned, content undefined), replacing any
 * tensor of that name in the descriptor (the old one's memory stays readable until b is emitted). NULL after fl_fail when it does not fit. */
void *fl_out(struct fl_ctx *, struct fl_batch *b, const char *name, int dtype, uint32_t ndim, const uint32_t *shape);

/* Marks row as bad with "stage: text" (first mark stays); the row's other tensors are to be ignored. Counts it. */
int fl_reject(struct fl_ctx *, struct fl_batch *b, uint32_t row, int code, const char *fmt, ...) __attribute__((format(printf, 5, 6)));
/* 0 when the row is good, else the FL_E_* code it was rejected with. */
int fl_rejected(const struct fl_batch *b, uint32_t row);
/* "stage: text" of a rejected row, "" for a good one. */
const char *fl_reason(const struct fl_batch *b, uint32_t row);
/* The row's id, NUL-terminated (at most 63 bytes). */
const char *fl_id(const struct fl_batch *b, uint32_t row);

/* Source, in produce, when the row's id stands in b: true when nothing may be done with the tile itself, since it is in quarantine or held back
 * while others are tested. The row is marked when b is emitted. */
bool fl_held(struct fl_ctx *, const struct fl_batch *b, uint32_t row);

/* Into a tap: the wire header of b as it came, byte for byte; NULL where there was none (the harness). Good as long as b. */
const struct fl_frame *fl_head(const struct fl_batch *b);

/* ---- ends of a batch ---- */

int  fl_emit(struct fl_ctx *, struct fl_batch **b);                 /* takes *b, on failure too, and nulls it */
void fl_free(struct fl_ctx *, struct fl_batch **b);                 /* lets go of *b (sinks); accepts NULL in *b */
int  fl_ack(struct fl_ctx *, uint64_t batch, uint32_t attempt, uint32_t predicted, uint32_t rejected);   /* sinks: batch is committed */
int  fl_ack_batch(struct fl_ctx *, const struct fl_batch *);        /* the same, of a batch at hand; its marks tell the counts */

/* ---- describe and open ---- */

void fl_bind(struct fl_ctx *, char letter, uint32_t value);         /* dimension letter of this stage's ports */
void fl_bind_dtype(struct fl_ctx *, const char *tensor, int dtype); /* the one type an output tensor has under these options */
void fl_bind_absent(struct fl_ctx *, const char *tensor);           /* an optional output tensor that isn't made under these options */
void fl_bind_want(struct fl_ctx *, const char *tensor);             /* an optional input tensor that must arrive under these options */
/* An output tensor that is known from the options alone (a recording's); dtypes and shape as in fl_spec, copied. */
int  fl_give(struct fl_ctx *, const char *name, const char *dtypes, const char *shape, unsigned flags);
/* The labels this stage's model was made for; copied. exclusive, rest_off as in fl_ctx. */
int  fl_set_labels(struct fl_ctx *, uint32_t n, const char *const *labels, uint64_t exclusive, uint32_t rest_off);
/* In describe: what the models are called whose predictions this stage gives, in their order (tensor prob: one, models: several); copied. A stage that reads
 * them and has an option `models` of type list gets them there, unless it is given; of other stages the name counts. */
int  fl_set_models(struct fl_ctx *, uint32_t n, const char *const *names);
/* In describe: the SHA-256 of each file of weights behind what this stage gives. A stage further down that has an option `snapshots` of type list gets them
 * there, with those of all others upstream of it, unless it is given. */
int  fl_set_snapshots(struct fl_ctx *, uint32_t n, const char *const *digests);
void fl_set_total(struct fl_ctx *, uint64_t batches, uint64_t tiles);   /* source, in open and describe */
void fl_set_epochs(struct fl_ctx *, uint32_t epochs);               /* source, likewise: the batches are this many rounds of equal length */
/* In describe: what an option that left a choice ("auto") comes to. Every instance then gets that value, in a resumed run too. */
void fl_settle(struct fl_ctx *, const char *option, const char *value);
void fl_set_memory(struct fl_ctx *, uint64_t bytes);                /* in describe: what one instance allocates besides its slabs */

/* ---- reports ---- */

int  fl_fail(struct fl_ctx *, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));   /* returns code; the host prints it once */
#ifdef __clang_analyzer__      /* as fl_err_set */
#define fl_fail(ctx, code, ...) (fl_fail(ctx, code, __VA_ARGS__), (code))
#endif
void fl_warn(struct fl_ctx *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void fl_info(struct fl_ctx *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void fl_count(struct fl_ctx *, int counter, uint64_t n);            /* index into counters */
void fl_result(struct fl_ctx *, const char *name, double value);    /* a figure for the final report ("f2") */
void fl_alive(struct fl_ctx *);                                     /* progress inside long work */
/* Source, in produce: lets so much time pass; what happens meanwhile is heard. False as soon as the run is interrupted: nothing is waited for any more. */
bool fl_pause(struct fl_ctx *, int64_t ns);

/* ---- for stages that work with processes outside the graph (feed; remote, inlet) ---- */

void fl_listen(struct fl_ctx *, int fd);                            /* in open: `idle` is called as soon as fd is readable */
void fl_lent(struct fl_ctx *, uint32_t n);                          /* this many batches wait for others: the graph does not hang */
struct fl_shared { int32_t place; int fd; uint64_t slab; };         /* slab `slot` of pool `place` begins slot * slab bytes into fd, which is read-only */
/* The pools that incoming tensors lie in; at most `max` are written, their number is returned. Descriptors stay the runtime's. */
uint32_t fl_pools(struct fl_ctx *, struct fl_shared *out, uint32_t max);
int  fl_gens(struct fl_ctx *);                                      /* descriptor of the generation table (u32 by slot); -1: there is none */

void fl_grant(struct fl_ctx *, uint32_t batches);                   /* each writer may send so many more: for a stage that the graph grants nothing at first */
void fl_more(struct fl_ctx *, uint64_t batches);                    /* source whose batches come as it runs: so many are there by now */
/* A tile that killed a stage of another host twice when alone (alone: else over its batch, though over none alone): to be put into quarantine. Its header, if it is
 * known, lies as RUN/quarantine/BATCH-ROW.header. */
struct fl_killer { uint64_t batch; uint32_t row; const char *id, *stage; uint32_t instance; const char *cause; bool alone; };
void fl_killed(struct fl_ctx *, const struct fl_killer *);
/* The other host is gone: returns a code that ends the process as a broken link does. What it held is issued again, and held against no batch. */
int  fl_lost(struct fl_ctx *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
