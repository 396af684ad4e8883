/* A folder as one file, by tar. */
#ifndef FL_LAUNCH_ARCHIVE_H
#define FL_LAUNCH_ARCHIVE_H

#include <jansson.h>
#include <stdbool.h>

#include "proto/batch.h"
#include "proto/status.h"

int fl_archive_pack(const char *dir, const char *tar, struct fl_err *);
/* Into `dir`, which is made. What is in it is data: nothing of it is run. */
int fl_archive_unpack(const char *tar, const char *dir, struct fl_err *);

/* Whether a file may be taken along: any that a run of this machine names (within: NULL); of those that an archive names, what is in it. */
bool fl_archive_may(const char *within, const char *path);
/* Copies the files that the tensor `path` of b names, and that may be taken, into DIR/tiles and points it there (archive:NAME). *found and
 * *missing go up by the files that are taken and that are not. */
int fl_archive_tiles(const char *dir, const char *within, struct fl_batch *b, uint64_t *found, uint64_t *missing, struct fl_err *);
/* Points `path` at the files in DIR/tiles again: the tensor's new bytes, owned by the caller; NULL: it names none of them. */
char *fl_archive_tiles_here(const char *dir, struct fl_batch *b);

struct fl_replay;
/* DIR/config.json, versions.json and files/: the run's, with the files that options name (cut_files.c); what stages write is left out. *folders: an
 * option names a folder. */
int fl_cut_config(const char *dir, const struct fl_replay *, bool *folders, struct fl_err *);
/* Of folders that options of the run name: copies the files that are called after one of the tiles (an object whose keys are ids). */
int fl_cut_tiles(const char *dir, const struct fl_replay *, const json_t *tiles, struct fl_err *);
/* Tells on stderr of such folders that don't have a file for each tile. */
void fl_cut_lacks(const char *dir, const json_t *tiles);

#endif
