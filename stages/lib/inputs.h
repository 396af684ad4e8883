/* The ordered list of a run's tiles: paths, ids, order. In memory one heap of paths and an offset each, while it is made; then in the run directory alone. */
#ifndef FL_STAGES_LIB_INPUTS_H
#define FL_STAGES_LIB_INPUTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/batch.h"
#include "proto/status.h"
#include "runtime/index.h"

#define FL_INPUTS_PATH 4096     /* bytes of the longest path with its NUL */

/* A tile of the list, copied. span: where it lies in its archive, or 0 and 0 for a file of its own. The archive's path is the tile's without its last step. */
struct fl_inputs_row { char id[FL_ID_SIZE], path[FL_INPUTS_PATH]; uint64_t span[2]; };

/* Tiles from..to-1 of a list being made: lines of an @LIST, one a tile, or (archive) all of one line. */
struct fl_inputs_lines { const char *list; uint64_t from, to, line; bool archive; };

struct fl_inputs {
    uint64_t  n;
    uint64_t *off;              /* [n] of each path in the heap, in order */
    char     *heap;             /* a byte 0, then a NUL-terminated path; or a byte 1, the path, and 16 bytes: where it lies in its archive */
    size_t    used, room;
    uint64_t  cap;
    bool      archived;         /* some of them lie in archives */
    size_t    path_max;         /* bytes of a path with its NUL, at most FL_INPUTS_PATH; a longer one is refused */

    struct fl_inputs_lines *lines;   /* the lists by the names that fl_inputs_add was given, which must last until fl_inputs_check */
    uint64_t  nlines, lines_cap;

    char     *renames;          /* pairs of NUL-terminated texts, or NULL */
    uint64_t *rename_off;
    uint64_t  nrenames;
    struct fl_index rename_index;

    char     *file;             /* RUN/inputs once the list lies there alone (fl_inputs_leave), else NULL */
    int       fd;
    uint64_t *mark;             /* where every 16th line begins, and where the file ends */
    char     *block;            /* the lines from one mark to the next that were asked for last */
    uint64_t  have;             /* number of that mark; UINT64_MAX: none yet */
};

void fl_inputs_init(struct fl_inputs *, size_t path_max);
void fl_inputs_done(struct fl_inputs *);

/* Adds what `what` stands for: a file; a folder (every .jpg, .jpeg, .tif, .tiff in it and below); a pattern of * ? []; an archive NAME.tar (every
 * such member in it); @LIST or list:LIST, a file with one path a line. FL_E_INPUT when it stands for nothing. */
int  fl_inputs_add(struct fl_inputs *, const char *what, struct fl_err *err);
/* Adds one path as it is. FL_E_INPUT for a path with a tab or newline, FL_E_CONFIG for one too long. */
int  fl_inputs_path(struct fl_inputs *, const char *path, struct fl_err *err);
/* The same for a tile at span[1] bytes from span[0] of an archive; span NULL: a file of its own. */
int  fl_inputs_member(struct fl_inputs *, const char *path, const uint64_t span[2], struct fl_err *err);
/* Adds the tiles in a tar archive, each as ARCHIVE/NAME; folders within the archive don't count. FL_E_INPUT when it is damaged. */
int  fl_inputs_tar(struct fl_inputs *, const char *archive, struct fl_err *err);
/* Reads `old,new`: the file whose name is `old` is called `new` from now on. */
int  fl_inputs_renames(struct fl_inputs *, const char *csv, struct fl_err *err);

/* Puts the paths into natural order. */
void fl_inputs_sort(struct fl_inputs *);
/* Puts them into the order of an epoch (keys of fl_rng_order, ties by id bytes). */
int  fl_inputs_shuffle(struct fl_inputs *, uint64_t seed, uint32_t epoch, struct fl_err *err);
/* The tiles in the order of an epoch into order[n]; the list stays as it is. */
int  fl_inputs_order(struct fl_inputs *, uint64_t seed, uint32_t epoch, uint32_t *order, struct fl_err *err);
/* Keeps only the tiles for which keep[i] isn't 0. */
void fl_inputs_keep(struct fl_inputs *, const uint8_t *keep);
/* The id of tile i fits the grammar: else FL_E_LABEL naming the path. */
int  fl_inputs_check_id(const struct fl_inputs *, uint64_t i, struct fl_err *err);
/* Every id fits the grammar and comes once: else FL_E_LABEL naming the path, or both paths, with the lines of the lists they stand in. Before
 * the order is changed. */
int  fl_inputs_check(const struct fl_inputs *, struct fl_err *err);

/* By its extension: .jpg, .jpeg, .tif, .tiff. */
bool fl_inputs_is_tile(const char *name);
/* These three: of a list in memory. */
const char *fl_inputs_at(const struct fl_inputs *, uint64_t i);
/* As in fl_inputs_row. */
void fl_inputs_span(const struct fl_inputs *, uint64_t i, uint64_t *off, uint64_t *bytes);
/* The id of tile i: the file's name (after renaming) without folder and extension; not NUL-terminated, *len bytes. */
const char *fl_inputs_id(const struct fl_inputs *, uint64_t i, size_t *len);

/* Writes `id TAB path` a line to RUN_DIR/inputs (temporary name, fsync, rename), with offset and bytes behind it where the tile lies in an archive. A file
 * that is there already must be equal: else FL_E_CONFIG naming the first tile that differs. */
int  fl_inputs_save(const struct fl_inputs *, const char *run_dir, struct fl_err *err);
/* Once it is saved: frees the list, which is read from RUN_DIR/inputs from now on. Of a list that was left, only n, archived, fl_inputs_row, fl_inputs_order
 * and fl_inputs_done are of use. */
int  fl_inputs_leave(struct fl_inputs *, const char *run_dir, struct fl_err *err);
/* Tile i (below n), wherever the list lies. FL_E_IO when RUN/inputs can't be read or isn't what it was. */
int  fl_inputs_row(struct fl_inputs *, uint64_t i, struct fl_inputs_row *row, struct fl_err *err);
/* Most bytes that making the list takes, all that is freed again among them. */
uint64_t fl_inputs_bytes(const struct fl_inputs *);

#endif
