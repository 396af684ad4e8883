/* Running a part of a recorded run again: what replay, show and why share. */
#ifndef FL_LAUNCH_REPLAY_H
#define FL_LAUNCH_REPLAY_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "launch/folder.h"
#include "proto/recording.h"
#include "proto/status.h"

struct fl_replay {
    char   *run;                     /* the recorded run's directory */
    struct fl_folder tmp;            /* the replay's own folder: config.json, run/ */
    char   *out;                     /* the run directory of the replay: TMP/run, or that of fl_replay_keep; there, empty at first */
    char   *unpacked;                /* folder an archive was unpacked into, or NULL */
    json_t *config;                  /* RUN/config.json */
    json_t *stages;                  /* of the replay's configuration */
    uint64_t *batches, nbatches;     /* what is run, ascending */
    bool    foreign;                 /* out of an archive: executables are found by name, not as it says */
    uint64_t damaged;                /* records that were left out: fl_replay_read */
};

/* RUN, a file in RUN/recordings, or an archive of `flowrun cut`. Goes to the folder that the run was started in, whose files its
 * options and tiles name: other names must be absolute from here on. */
int  fl_replay_open(const char *what, struct fl_replay *, struct fl_err *);
void fl_replay_done(struct fl_replay *);
/* The replay's run directory is `dir`, which is made, and stays. FL_E_CONFIG: something is there already. */
int  fl_replay_keep(struct fl_replay *, const char *dir, struct fl_err *);
/* RUN/recordings/EDGE; static buffer. */
const char *fl_replay_path(const struct fl_replay *, const char *edge);
bool fl_replay_recorded(const struct fl_replay *, const char *edge);
/* Names of the edges that were recorded, malloc'd, in order. */
char **fl_replay_edges(const struct fl_replay *, uint32_t *n);
/* fl_rec_read, but a damaged record is told on stderr, counted, and FL_END. */
int  fl_replay_read(struct fl_replay *, struct fl_rec *, uint64_t i, struct fl_rec_batch *, struct fl_err *);
json_t *fl_replay_stage(const struct fl_replay *, const char *name);   /* entry of config.json, borrowed, or NULL */
/* True when `name` is `from` or reads, by however many steps, from it. */
bool fl_replay_comes_to(const struct fl_replay *, const char *from, const char *name);

/* Puts an entry of the run into the replay: one instance, what it writes goes to the replay's run directory. with: another build of its
 * stage; NULL = the executable that was recorded. */
int  fl_replay_add(struct fl_replay *, const char *name, const char *with, struct fl_err *);
/* Puts the recording of an edge in the place of the stage that made it. */
int  fl_replay_feed(struct fl_replay *, const char *edge, struct fl_err *);
/* Records what leaves this stage of the replay, into OUT/recordings. */
void fl_replay_tap(struct fl_replay *, const char *name);
/* Runs it; attached: a stage that shares the terminal, or NULL. Exit status as of fl_run_graph. */
int  fl_replay_run(struct fl_replay *, const char *attached, bool slow, struct fl_err *);

/* Batches as --batch has them: "3,17", ascending. v: malloc'd; all: nothing was said. */
struct fl_batches { uint64_t *v, n; bool all; };

/* list: NULL = all. FL_E_CONFIG: it is no list of numbers. */
int  fl_batches_read(const char *list, struct fl_batches *, struct fl_err *);
bool fl_batches_have(const struct fl_batches *, uint64_t batch);

#endif
