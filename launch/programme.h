/* A programme: steps, each a graph that is run in as many passes as memory wants. programme.c reads it and makes graphs of its steps,
 * programme_cut.c cuts them into passes, programme_plan.c prints, programme_run.c runs and resumes (docs/programme.md). */
#ifndef FL_LAUNCH_PROGRAMME_H
#define FL_LAUNCH_PROGRAMME_H

#include <stdio.h>

#include "launch/cmd.h"
#include "launch/graph.h"
#include "launch/run.h"

struct fl_node;

#define FL_PASS_TODO  (-1)
#define FL_PASS_SINKS 63u                    /* of one graph: what a slot of the supervisor counts */

/* One run: some sinks of a step's graph, and all that they need. A sink is a job. */
struct fl_pass {
    char    *name;                           /* STEP, or STEP.N where there are several; its run directory below the programme's */
    char   **sinks; uint32_t nsinks;
    int      exit;                           /* FL_PASS_TODO, or 0 or 3 when it is done */
    uint64_t tiles, rejected;
    double   seconds;
};

struct fl_step {
    char    *name;                           /* as written, or NAME-value for each value of `each` */
    const struct fl_node *map;               /* of the programme's tree */
    struct fl_node *each;                    /* MAP of variables, or NULL */
    uint64_t combination;
    char    *later;                          /* a file that earlier steps write and this one reads; NULL = none */
    json_t  *in, *out;                       /* texts of its options; files it writes */
    struct fl_graph *g;                      /* all of it, memory unbounded; NULL until it can be asked for */
    struct fl_pass *passes; uint32_t npasses;
};

struct fl_programme {
    char    *file;
    const char *const *sets; uint32_t nsets; /* borrowed */
    struct fl_node *root;                    /* sets applied */
    char     name[64];
    uint64_t memory;
    struct fl_step *steps; uint32_t nsteps;
};

/* *out is NULL with FL_OK when the file holds no programme (or can't be read: who reads it as a graph will tell). FL_E_CONFIG after
 * complaints on stderr. Checks each step: in full where all that it reads is there or comes from elsewhere; of one that reads what earlier
 * steps write, names and options alone. passes: steps that could be checked in full are cut. */
int  fl_programme_load(const char *file, const char *const *sets, uint32_t nsets, struct fl_programme **out);
void fl_programme_free(struct fl_programme *);
int  fl_programme_check(struct fl_programme *);
/* The step's graph (its passes too, unless there are some) once what it reads is there. FL_E_CONFIG after complaints on stderr. */
int  fl_programme_open(struct fl_programme *, struct fl_step *);
/* The graph of one pass, within the programme's memory. */
int  fl_programme_pass(const struct fl_programme *, const struct fl_step *, const struct fl_pass *, struct fl_graph **);

/* programme_cut.c */
void fl_programme_cut(struct fl_step *, uint64_t memory);
/* marks (of nstages): what this sink needs, itself as well. */
void fl_programme_needs(const struct fl_graph *, uint32_t sink, bool *marks);
uint32_t fl_programme_find(const struct fl_graph *, const char *name);      /* UINT32_MAX: there is none */
/* What the marked stages take: their own, and slabs of one batch. */
struct fl_cost { uint64_t own, slabs, weights, runs; uint32_t processes; };
struct fl_cost fl_programme_cost(const struct fl_graph *, const bool *marks);

/* programme_plan.c */
int  fl_programme_print(const struct fl_programme *);

/* programme_run.c. Exit status. Of `how`, run_dir is the programme's (NULL: runs/NAME-TIME), quiet and metrics go for each pass. */
int  fl_programme_run(struct fl_programme *, const struct fl_run_conf *how);
int  fl_programme_resume(const struct fl_run_conf *how);
bool fl_programme_is_dir(const char *dir);
int  fl_programme_done(struct fl_programme *, const char *dir);            /* takes passes and what is done from DIR/passes.json */

#endif
