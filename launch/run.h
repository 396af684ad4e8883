/* Runs a checked graph: spawns the stages, issues batches, counts them back in, reports. */
#ifndef FL_LAUNCH_RUN_H
#define FL_LAUNCH_RUN_H

#include "launch/graph.h"

#define FL_RUN_DIR 1024        /* bytes of a run directory's name */

struct fl_agent;

struct fl_run_conf {
    const char *run_dir;       /* --run DIR; NULL: runs/NAME-YYYYMMDD-HHMMSS */
    bool quiet;                /* -q */
    const char *metrics;       /* --metrics [HOST:]PORT; NULL: none */
    uint64_t start;            /* --start N: batches below N were done elsewhere (a trainer's checkpoint); only where no sink keeps a journal */
    const uint64_t *only; uint64_t nonly;   /* replay: these batches alone, ascending; 0 = all */
    const char *replay_of;     /* replay: the run it repeats a part of; a death of a stage is its answer and ends it. NULL: no replay */
    const char *attached;      /* replay: a stage that runs under a debugger and shares the terminal, or NULL */
    struct fl_agent *agent;    /* flowrun agent: batches come from another host, which hears how it goes; NULL else */
    bool resume;               /* --resume: run_dir exists, go on with what its journal lacks */
    bool force;                /* --force: under another configuration, too */
    bool *asked;               /* set when a signal asked for an end, even if it came too late for this run; NULL: nobody wants to know */
};

/* Exit status: 0 complete, 1 failed, 3 complete with rejected tiles, 4 interrupted and drained. */
int fl_run_graph(const struct fl_graph *, const struct fl_run_conf *);

/* rundir.c: makes the folder `want`; where that is NULL a new one, runs/NAME-TIME. FL_E_CONFIG: it can't be one. */
int  fl_rundir_make(const char *want, const char *name, char dir[FL_RUN_DIR], struct fl_err *);
void fl_rundir_stamp(char stamp[32]);      /* the TIME in it, as it is now */

#endif
