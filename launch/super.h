/* The supervisor's state, shared by the files that make it up: run.c (the loop), rundir.c, spawn.c, table.c, report.c. */
#ifndef FL_LAUNCH_SUPER_H
#define FL_LAUNCH_SUPER_H

#include <stdio.h>
#include <sys/types.h>

#include "launch/graph.h"
#include "launch/run.h"
#include "proto/control.h"
#include "runtime/page.h"

struct fl_told { struct fl_told *next; size_t len; unsigned char bytes[]; };   /* waits for room in a control socket */

struct fl_inst {                         /* one stage process */
    struct fl_told *told, **told_tail;   /* NULL: nothing waits */
    uint32_t stage, index, incarnation;
    pid_t    pid;
    int      pidfd, control, page_fd;    /* -1 when closed */
    struct fl_page *page;
    bool     ready, done, hung, oom;     /* hung: killed by us for want of progress; oom: by the kernel for want of memory */
    bool     dumping;                    /* a tap that was told to write out what it holds and has not said that it has */
    bool    *await;                      /* after its death: instances that have yet to say they are done with it */
    uint32_t nawait;
    bool     mourned;                    /* what it held has been issued again, or was nothing */
    uint32_t deaths, stillborn, idle_deaths;          /* in all; in a row before it was ready */
    double   restart_at, backoff;        /* when to start it again, 0 = not to; seconds */
    double   cpu;                        /* seconds of the processor, of its processes that have ended */
    uint32_t barren; uint64_t barren_then;   /* of instance 0: own deaths of the stage in a row; its batches + 1 at the last */
    struct { uint64_t batches, tiles, busy, in, credit, faults, counters[FL_MAX_COUNTERS]; } base;   /* of earlier incarnations */
    uint64_t beat; double beat_at;       /* last beat seen, and when, by fl_super.watched */
    struct { uint64_t tiles, busy, in, credit; } seen;   /* of the table: values one tick ago */
};

struct fl_slot {
    bool     used;
    uint64_t batch, acked;               /* bit by sink, in the order of the stages */
    uint32_t attempt, rejected;          /* rejected: the most of any sink */
    bool     probe;                      /* a test: nothing of it is kept */
    bool    *fence;                      /* instances that may still refer to the use of it that was given up */
    uint32_t nfence;                     /* the slot is free when nothing does */
};

struct fl_redo { uint64_t batch; uint32_t attempt, first, rows; };   /* rows > 0: a test of these */
struct fl_blame { uint64_t batch; uint32_t times; };    /* deaths of a stage's own doing while it worked on this batch */
struct fl_suspect;                       /* a batch that has killed (poison.c) */

struct fl_super {
    const struct fl_graph *g;
    const struct fl_run_conf *conf;
    char     dir[FL_RUN_DIR];            /* run directory */
    uint64_t run;
    int      lock, sockets;              /* descriptors */
    struct MHD_Daemon *metrics; int metrics_fd;   /* what answers over HTTP, and what to poll for it; NULL, -1 */
    int      ask, asker;                 /* socket on which flowrun dump asks, and who does; -1 = nobody */
    bool     asked;
    double   dump_at;                    /* when taps were told to dump last */
    FILE    *log;
    uint32_t ninst;
    struct fl_inst *inst;
    uint32_t *first;                     /* first[s]: index in inst of stage s's instance 0 */
    int     *pool_rw, *pool_ro;          /* by stage; -1 = no pool */
    int      gens_fd;
    struct fl_gens *gens;
    struct fl_slot *slots;
    uint32_t nsinks;
    struct fl_redo *redo; uint32_t nredo;  /* to be issued again, oldest first; at most a window */
    struct fl_blame *blames; uint32_t nblames;
    struct fl_suspect *suspects; uint32_t nsuspects;
    uint64_t *marked; uint32_t nmarked;  /* batches with tiles in RUN/quarantine, ascending */
    uint64_t quarantined, oom_seen;      /* tiles; kills by the kernel for want of memory so far */
    uint64_t reissued, restarts, quiet_finished;
    double   quiet_since;                /* by `watched`: nothing has moved since then; 0 = something does */
    double   watched, looked;            /* seconds for which stages were watched, and when they were looked at last */
    uint64_t total, next, finished;      /* batches: all, next to be issued, acknowledged by every sink */
    uint64_t tiles_total, tiles_done, rejected, in_flight, resumed, tiles_before;   /* tiles_before: of those done, what an earlier run did */
    unsigned char *committed;            /* bit per batch: in the journal already (resume); NULL = none */
    bool     open;                       /* more batches may come than `total` */
    bool     started, finishing, interrupted, failed, killed;
    bool     misfit;                     /* a stage can't work as it is configured: to resume is of no use */
    uint32_t finish_signals;
    double   t0, t_start, t_first, t_interrupt;
    double   t_table;
    uint64_t table_tiles; int table_lines;
    char     said[200];                  /* what a stage told last while the files are written: shown as progress */
    bool     refused;                    /* to resume with others: nothing was done */
    json_t  *results;                    /* of the stages, by name */
    json_t  *versions;                   /* versions.c: as it is, or will be, in RUN/versions.json */
};

double fl_now(void);                     /* seconds, monotonic */

/* rundir.c */
int  fl_rundir_open(struct fl_super *, struct fl_err *);       /* makes or reopens it, takes the lock, writes config.json, opens the log */
int  fl_rundir_put_aside(const char *dir, const char *name, struct fl_err *);   /* DIR/NAME.json stays, as NAME-1.json and so on, beside what comes */
void fl_rundir_close(struct fl_super *);                       /* removes the socket folder */
void fl_super_log(struct fl_super *, const char *stage, uint32_t instance, int level, const char *text);

/* spawn.c */
int  fl_fd_high(int fd);                 /* moves a descriptor above what children are given, so that handing down never hits one still needed */
int  fl_spawn_room(const struct fl_super *, struct fl_err *);     /* FL_E_CONFIG: open files or memory do not suffice; nothing is made yet */
int  fl_spawn_pools(struct fl_super *, struct fl_err *);
int  fl_spawn(struct fl_super *, uint32_t inst, struct fl_err *);
void fl_spawn_free(struct fl_super *);
void fl_spawn_endpoint(char out[64], uint32_t stage, uint32_t index, uint32_t incarnation);   /* of the inlet, as children name it */

/* run.c */
void fl_super_tell(struct fl_inst *, const struct fl_control *);
void fl_super_flush(struct fl_inst *);                         /* sends what waited for room; drops it when the control socket is closed */
uint64_t fl_super_sink_bit(const struct fl_super *, uint32_t stage);   /* of a sink in fl_slot.acked; of nstages: one past the last */
void fl_super_fail(struct fl_super *, const char *stage, uint32_t instance, const char *text);    /* says why, kills all */
void fl_super_kill_all(struct fl_super *);
const char *fl_super_host(const struct fl_super *, uint32_t stage, uint32_t index);   /* name of the host that an instance of a remote stage stands for */
void fl_super_issue(struct fl_super *, uint32_t slot);         /* the next batch into a free slot, if there is one and a source to make it */
void fl_super_finish(struct fl_super *);                       /* tells the source the end, if there is nothing more to do */
void fl_super_issue_all(struct fl_super *);                    /* into all free slots */

/* resume.c */
int  fl_resume_only(struct fl_super *);                        /* marks all batches but conf->only as done */
int  fl_resume_read(struct fl_super *);                        /* fills `committed` and the counts of what is done; on failure the run has failed */
bool fl_resume_has(const struct fl_super *, uint64_t batch);

/* watch.c */
void fl_watch(struct fl_super *);                              /* at each tick: kills what hangs, ends what can't end by itself */

/* recover.c: deaths of stages (docs/delivery.md) */
void fl_recover_death(struct fl_super *, struct fl_inst *, int status);
void fl_recover_down(struct fl_super *, struct fl_inst *from, uint32_t dead, uint32_t incarnation);
void fl_recover_cancelled(struct fl_super *, struct fl_inst *from, uint32_t slot);
void fl_recover_ready(struct fl_super *, struct fl_inst *);
/* Seconds from its death to its next start, in->backoff being those before (0: it is the first): page->batches tells what this incarnation has finished. */
double fl_recover_backoff(const struct fl_inst *, bool tested);
double fl_recover_tick(struct fl_super *);                     /* starts what is due; seconds until the next is, or a large number */
uint32_t fl_stage_out_edges(const struct fl_graph *, uint32_t stage);

/* dump.c */
void fl_dump(struct fl_super *, const char *why);              /* tells taps to write out what they hold in memory */
void fl_dump_done(struct fl_super *, struct fl_inst *);        /* it said so, or is dead */
void fl_dump_watch(struct fl_super *);                         /* after a failure: kills those that take too long */
int  fl_dump_listen(struct fl_super *, struct fl_err *);
void fl_dump_hear(struct fl_super *, bool call, bool words);

/* poison.c: batches that kill */
enum fl_poison { FL_POISON_NONE, FL_POISON_NEXT, FL_POISON_WAIT };
void fl_poison_open(struct fl_super *);                        /* reads what is in RUN/quarantine */
void fl_poison_done(struct fl_super *);
/* It died of its own doing over it. True: in a test, which this death answers. */
bool fl_poison_blame(struct fl_super *, const struct fl_inst *, uint64_t batch, const char *cause);
void fl_poison_far(struct fl_super *, const struct fl_inst *, const struct fl_control *);       /* a `remote` tells of a tile that kills on its host */
bool fl_poison_keeps(struct fl_super *, uint64_t batch, uint32_t attempt);   /* a lost batch that is suspect: not to be issued among others */
enum fl_poison fl_poison_next(struct fl_super *, struct fl_redo *next);      /* WAIT: nothing may be issued now */
bool fl_poison_passed(struct fl_super *, uint64_t batch, bool probe);      /* it came through; true: it was suspect */
bool fl_poison_has_marks(const struct fl_super *, uint64_t batch);
void fl_poison_told(const char *run, const char *stage, uint64_t batch, char *out, size_t size);   /* "; in quarantine: ID (row R), ..." or "" */

/* oom.c */
uint64_t fl_memory_free(void);                                 /* bytes that can be had: of the machine, or its limit for this process's cgroup */
uint64_t fl_oom_kills(void);                                   /* by the kernel, so far */

/* table.c */
void fl_table_tick(struct fl_super *, bool last);

/* report.c */
json_t *fl_report_json(const struct fl_super *, const char *word);     /* all numbers as they are now; NULL: no memory */
const char *fl_report_running(const struct fl_super *);        /* one word on what it is doing */
int  fl_report(struct fl_super *, int status);                 /* RUN/report.json and the closing lines; returns status */

/* metrics.c: --metrics */
int  fl_metrics_open(struct fl_super *, struct fl_err *);      /* nothing without conf->metrics */
void fl_metrics_serve(struct fl_super *);                      /* answers who asks; doesn't wait */
void fl_metrics_close(struct fl_super *);

#endif
