/* The commands of flowrun, and how their arguments are read. */
#ifndef FL_LAUNCH_CMD_H
#define FL_LAUNCH_CMD_H

#include <stdbool.h>
#include <stdint.h>

struct fl_graph;
struct fl_run_conf;

/* What was given; texts are those of argv. */
struct fl_args {
    const char **files;  uint32_t nfiles;      /* what is no option */
    const char **sets;   uint32_t nsets;
    char *made[2];       uint32_t nmade;       /* sets that stand for --record and --record-limit */
    char **moved;        uint32_t nmoved;      /* names of files that were made absolute */
    const char *run_dir, *resume, *metrics;
    const char *stage, *batch, *with, *from, *to, *keep, *png, *tile, *out;   /* of replay, show, cut: as given */
    bool diff, gdb, valgrind, tensor;
    uint64_t start;                            /* a batch number */
    const char *seconds, *seed, *kills, *supervisor_kills, *every;     /* of chaos, as given */
    const char *nodes, *gres, *partition, *time;                       /* of slurm, as given */
    bool quiet, force, print, dot, json, help, version;
};

struct fl_flag {
    const char *name, *value;                  /* value: what it is called in the help; NULL = takes none */
    const char *help;
};

struct fl_cmd {
    const char *name;                          /* "" is `flowrun FILE` itself */
    const char *usage, *help;
    const char *flags[16];                     /* names it takes besides --help and --version */
    uint32_t    min, max;                      /* how many that are no options */
    uint32_t    moves;                         /* goes to the folder of a run: so many of them name files, which become absolute */
    int       (*run)(const struct fl_args *);
    int       (*raw)(int argc, char **argv);   /* instead of run: reads its own arguments; argv[0] is its name */
};

extern const struct fl_cmd  fl_cmds[];         /* ends with a NULL name */
extern const struct fl_flag fl_flags[];        /* ends with a NULL name */

/* False after a line on stderr (exit status 2 is due). Free with fl_args_done. */
bool fl_args_read(const struct fl_cmd *, int argc, char **argv, struct fl_args *);
void fl_args_done(struct fl_args *);
const struct fl_cmd *fl_cmd_find(const char *name);                /* NULL when there is none */
const char *fl_cmd_near(const char *name);                         /* "; did you mean X?" or "" */
void fl_cmd_help(const struct fl_cmd *);

/* cmd_run.c. The graph in the file with the --set of the arguments, or NULL after the complaints went to stderr. */
struct fl_graph *fl_cmd_load(const char *file, const struct fl_args *);
/* fl_run_graph; what is placed on other hosts is folded away first. Where it resumes, threads that are left to flowrun stay as config.json in
 * its run_dir has them. */
int fl_cmd_run_graph(struct fl_graph *, const struct fl_run_conf *);

/* Each returns the exit status. */
int fl_cmd_run(const struct fl_args *);
int fl_cmd_check(const struct fl_args *);
int fl_cmd_plan(const struct fl_args *);
int fl_cmd_stages(const struct fl_args *);
int fl_cmd_slurm(const struct fl_args *);
int fl_cmd_chaos(const struct fl_args *);
int fl_cmd_describe(const struct fl_args *);
int fl_cmd_replay(const struct fl_args *);

int fl_cmd_show(const struct fl_args *);
int fl_cmd_cut(const struct fl_args *);
int fl_cmd_why(const struct fl_args *);
int fl_cmd_agent(const struct fl_args *);
int fl_cmd_dump(const struct fl_args *);
int fl_cmd_completion(const struct fl_args *);
int fl_cmd_score(int argc, char **argv);
int fl_cmd_bench(int argc, char **argv);
int fl_cmd_models(int argc, char **argv);       /* the tool's command of the same name */
int fl_cmd_folds(int argc, char **argv);
int fl_cmd_stats(int argc, char **argv);
int fl_cmd_assemble(int argc, char **argv);
int fl_cmd_fit(int argc, char **argv);

#endif
