/* What a run computed with: RUN/versions.json. */
#ifndef FL_LAUNCH_VERSIONS_H
#define FL_LAUNCH_VERSIONS_H

#include <stdbool.h>
#include <stdint.h>

struct fl_super;

/* The build id of an ELF file in hex, or "SIZE bytes" where it has none. */
void fl_versions_id(const char *path, char hex[130]);
char *fl_versions_processor(void);                     /* its model's name; owned by the caller */

/* While the stages open: flowrun, processor, and the files that each stage's options name (bytes, time, SHA-256 up to 64 MiB; a script stage's
 * own, too), into s->versions. */
void fl_versions_files(struct fl_super *);
/* Once every stage is ready, before the first batch: adds executables and libraries (build ids, as they are mapped) and writes RUN/versions.json.
 * On resume what is there is compared first: a difference is shown and refused (s->refused), with --force the old file is kept as
 * versions-1.json and so on. On failure the run has failed. */
int  fl_versions_settle(struct fl_super *);
/* Once all batches are done, before the stages end: libraries that were loaded since (oneDNN's, cuDNN's parts), SHA-256 of larger files. */
void fl_versions_complete(struct fl_super *);
/* Says on stderr what differs between the run in `run` and the replay whose run directory is `replay`, as far as it concerns these stages. */
void fl_versions_compare(const char *run, const char *replay, const char *const *stages, uint32_t n);
/* Goes to the folder that the run (or programme) in `run` was started in: relative names of files in it are that folder's. Where it is not there
 * any more, that is told, and nothing happens. True: it is another one than before; `run`, too, must be absolute from here on. */
bool fl_versions_go(const char *run);

#endif
