/* A stage process from within: what the files of the loop share. proc.c: begin, loop, end; proc_batch.c: batches in and out;
 * proc_obey.c: what the supervisor says. */
#ifndef FL_RUNTIME_PROC_STATE_H
#define FL_RUNTIME_PROC_STATE_H

#include "proto/control.h"
#include "runtime/join.h"
#include "runtime/link.h"
#include "runtime/page.h"
#include "runtime/setup.h"

struct fl_issue {
    uint64_t batch;
    uint32_t attempt, slot, gen;
    uint32_t first, rows;                      /* rows > 0: a test of these alone */
    bool     quarantine;                       /* some of its rows are listed in RUN/quarantine */
};

struct proc {
    struct fl_host   host;
    struct fl_setup  s;
    struct fl_links *links;
    struct fl_join  *join;
    struct fl_page  *page;
    const struct fl_gens *gens;
    const struct fl_pool *own;
    struct fl_hosted *ready, **ready_tail;     /* whole batches that wait for the stage */
    struct fl_hosted *spare;                   /* batch objects for use again */
    uint32_t nready;
    struct fl_issue *issues;                      /* source: what to produce, a ring of window entries */
    uint32_t issue_head, issue_count;
    struct fl_issue at;                        /* source: what is being produced */
    json_t *aside;                             /* and its rows in quarantine; NULL = none */
    uint32_t *held;                            /* by slot: batch objects about; a slot is let go of when none is */
    uint32_t *cancelled;                       /* by slot: generation whose end the supervisor waits to hear of, 0 = none */
    bool     started, finish, gone;
    bool     dump;                             /* what is held is to be written out once the batches that waited then are taken */
    uint32_t dump_after;
    char     dump_why[600];
    long     faults0;                          /* minor faults when the first batch was done; -1 before */
    struct fl_err err;
};

/* proc_batch.c */
extern const struct fl_host_ops fl_proc_ops;
void fl_proc_say(struct proc *, const struct fl_control *);    /* to the supervisor; when it is dead, p->gone */
void fl_proc_alive(void *proc);
struct fl_hosted *fl_proc_take(struct proc *);                 /* an empty batch object; NULL: out of memory */
void fl_proc_hold(struct proc *, const struct fl_batch *);     /* its slot is referred to once more */
void fl_proc_release(void *proc, struct fl_batch *);           /* its inputs are done with: credit goes back, the object is spare */
void fl_proc_let_go(struct proc *, uint32_t slot);             /* says `cancelled` once nothing here refers to the given-up use of the slot */
int  fl_proc_receive(struct proc *);                           /* takes in all that has come */

/* hold.c: the rows that must not be worked on, of the batch being produced */
int  fl_hold_read(struct proc *);                              /* those in quarantine, when `at` says that there are some */
bool fl_hold_has(void *proc, const struct fl_batch *, uint32_t row);
int  fl_hold_back(struct proc *, struct fl_batch *);           /* marks them */

/* proc_obey.c */
int  fl_proc_listen(struct proc *);                            /* hears all that the supervisor has said */
bool fl_proc_pause(void *proc, int64_t ns);                    /* listens while time passes; false: go on at once */

#endif
