/* flowrun chaos: runs of a graph whose processes are killed, stopped and cut off, and the comparison of what they wrote.
 * cmd_chaos.c: arguments, the runs one after the other; chaos_run.c: one run under fire; chaos_hit.c: what is done to a stage;
 * chaos_same.c: files. */
#ifndef FL_LAUNCH_CHAOS_H
#define FL_LAUNCH_CHAOS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "launch/cmd.h"
#include "launch/graph.h"

enum fl_chaos_kind { FL_CHAOS_KILL, FL_CHAOS_STOP, FL_CHAOS_CUT, FL_CHAOS_SUPERVISOR, FL_CHAOS_KINDS };

struct fl_chaos_stopped { int pidfd; double until; };      /* until: fl_now() */
#define FL_CHAOS_STOPPED 64

struct fl_chaos {
    const struct fl_args  *args;
    const struct fl_graph *g;
    char     dir[1024];                  /* holds quiet/ and chaos-N/, each with run/ and out/ */
    double   seconds, every;             /* seconds: 0 = no limit; every: mean time between two actions */
    uint64_t seed, kills, supervisor_kills;       /* wanted; kills: 0 = no limit */
    int      signals;                    /* signalfd of SIGINT, SIGTERM, SIGHUP */
    bool     interrupted;
    double   t0, patience;               /* fl_now() of the first action's clock; seconds without progress that are a failure */
    uint64_t runs, draws;                /* so far */
    uint64_t done[FL_CHAOS_KINDS];
    const char *no_cut;                  /* why links can't be cut on this machine; NULL = they can */
    pid_t    supervisor;                 /* 0: none */
    int      supervisor_fd;
    struct fl_chaos_stopped stopped[FL_CHAOS_STOPPED];
    uint32_t nstopped;
};

/* The n-th draw of this action, each as fl_rng_block makes them (0..3): the same for a seed whatever the moments are. */
void fl_chaos_draw(const struct fl_chaos *, uint32_t view, uint64_t action, uint32_t r[4]);

/* cmd_chaos.c. The --set texts of a run: those given, then one for each file that a stage writes, which puts it into DIR/NAME/out.
 * The array and its texts are malloc'd. */
char **fl_chaos_sets(const struct fl_chaos *, const char *name, uint32_t *n);

/* chaos_run.c. `name` is the folder below dir, out/ of which is there. Both return the run's exit status, or -1 after a line on stderr
 * that says what went wrong; interrupted: -1, and nothing of it is left running. */
int fl_chaos_quiet(struct fl_chaos *, const char *name);
int fl_chaos_fire(struct fl_chaos *, const char *name);
bool fl_chaos_enough(const struct fl_chaos *);             /* as much was done as was wanted */

/* chaos_hit.c */
void fl_chaos_hit(struct fl_chaos *, const uint32_t r[4], const uint32_t s[4]);     /* draws of the action; says what it did */
double fl_chaos_go_on(struct fl_chaos *, bool all);        /* continues those whose time is over (all: everybody); seconds until the next */
void fl_chaos_said(const struct fl_chaos *, const char *stage, uint32_t instance, const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* chaos_same.c */
/* Compares two folders with all that is in them, byte for byte; prints a line for each difference; *files: how many files were compared. */
bool fl_chaos_same(const char *a, const char *b, uint64_t *files);
uint64_t fl_chaos_bytes(const char *folder);               /* of all files in it; 0 when it isn't there */

#endif
