/* The one driver of a stage. The process loop and the test harness both stand on it; they differ only in where
 * fl_emit ends up (struct fl_host_ops). Stages don't include this. */
#ifndef FL_RUNTIME_HOST_H
#define FL_RUNTIME_HOST_H

#include <jansson.h>

#include "proto/frame.h"
#include "runtime/stage.h"

#define FL_MAX_COUNTERS 32

enum fl_level { FL_LOG_INFO, FL_LOG_WARN, FL_LOG_ERROR };

struct fl_host_ops {
    int  (*emit)(void *owner, struct fl_batch *b);            /* takes b */
    void (*release)(void *owner, struct fl_batch *b);         /* b's inputs are done with; frees b */
    int  (*ack)(void *owner, uint64_t batch, uint32_t attempt, uint32_t predicted, uint32_t rejected);
    void *(*slab)(void *owner, uint32_t slot);                /* this stage's slab of a slot, writable; NULL: has none */
    void (*log)(void *owner, int level, const char *text);
    void (*result)(void *owner, const char *name, double value);
    void (*alive)(void *owner);
    bool (*pause)(void *owner, int64_t ns);                   /* NULL: time passes, nothing is heard */
    uint32_t (*pools)(void *owner, struct fl_shared *out, uint32_t max);     /* NULL: none */
    int  (*gens)(void *owner);                                /* NULL: none */
    void (*grant)(void *owner, uint32_t batches);             /* NULL: no links */
    void (*more)(void *owner, uint64_t batches);              /* NULL: nobody is told */
    bool (*held)(void *owner, const struct fl_batch *b, uint32_t row);       /* NULL: none is */
    void (*killer)(void *owner, const struct fl_killer *);    /* NULL: nobody is told */
};

/* What the runtime keeps with each batch: b->host points here. */
struct fl_hosted {
    struct fl_batch b;
    uint64_t used;                  /* bytes taken of this stage's slab */
    bool     marks;                 /* the reject marks already lie in this stage's slab */
    uint32_t nparts;
    struct fl_frame head;           /* into a tap: the wire header as it came; len 0 = not known */
    struct fl_hosted *next;         /* in whichever queue it waits */
    struct { uint32_t edge; uint64_t token; } parts[];        /* of the link layer: what to give credit back for */
};

struct fl_given { char name[FL_NAME_MAX], dtypes[64], shape[80]; unsigned flags; };

struct fl_host {
    struct fl_ctx ctx;
    const struct fl_stage *stage;
    const struct fl_host_ops *ops;
    void    *owner;
    int32_t  pool;                  /* id of this stage's pool; -1 = none */
    uint64_t slab_bytes;
    json_t  *options;               /* owned */
    struct fl_err err;              /* of the last fl_fail */
    uint64_t counters[FL_MAX_COUNTERS];
    uint64_t rejects;               /* rows marked here */
    uint32_t bound[128];            /* by letter; 0 = unbound */
    char     bound_name[8][FL_NAME_MAX]; int bound_dtype[8]; uint32_t nbound_dtypes;
    char     want[8][FL_NAME_MAX]; uint32_t nwant;                  /* fl_bind_want */
    struct fl_given *given; uint32_t ngiven;      /* fl_give */
    char   **labels; uint32_t nlabels; uint64_t exclusive; uint32_t rest_off;   /* as set by fl_set_labels */
    uint64_t batches, tiles;        /* fl_set_total; UINT64_MAX = not said */
    uint32_t epochs;                /* fl_set_epochs; 0 = not said */
    int      listen;                /* fl_listen; -1 = nothing */
    uint32_t lent;                  /* fl_lent */
    uint64_t memory;                /* fl_set_memory; 0 = not said */
    json_t  *settled;               /* fl_settle; NULL = nothing. Owned */
    json_t  *models;                /* fl_set_models; NULL = nothing. Owned */
    json_t  *snapshots;             /* fl_set_snapshots; NULL = nothing. Owned */
    bool     lost;                  /* fl_lost */
    bool     opened;
};

/* Zeroes *h, makes the state and applies options (a JSON object, kept; NULL = defaults). */
int  fl_host_init(struct fl_host *, const struct fl_stage *, const json_t *options, const struct fl_host_ops *, void *owner);
int  fl_host_describe(struct fl_host *);                       /* runs the stage's describe */
json_t *fl_host_describe_json(const struct fl_host *, int rc); /* the object of `STAGE --describe` (docs/protocol.md) */
int  fl_host_open(struct fl_host *);
int  fl_host_produce(struct fl_host *, struct fl_batch *);
int  fl_host_batch(struct fl_host *, struct fl_batch *);       /* proves the inputs against the port, then calls the stage */
int  fl_host_trial(struct fl_host *, struct fl_batch *);       /* the same with a sink's `trial`, if it has one; the batch stays the caller's */
int  fl_host_idle(struct fl_host *);
int  fl_host_drain(struct fl_host *);
int  fl_host_dump(struct fl_host *, const char *why);
void fl_host_done(struct fl_host *);                           /* close, free the state */

/* fl_reject in the name of another stage; `text` is the whole reason, cut to FL_REASON_SIZE - 1 bytes. */
int  fl_host_mark(struct fl_ctx *, struct fl_batch *, uint32_t row, int code, const char *text);

struct fl_hosted *fl_hosted_new(uint32_t parts);               /* NULL: out of memory */
const struct fl_port *fl_stage_port(const struct fl_stage *, unsigned dir);

#endif
