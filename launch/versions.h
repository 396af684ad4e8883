/* What a run computed with: RUN/versions.json. */
#ifndef FL_LAUNCH_VERSIONS_H
#define FL_LAUNCH_VERSIONS_H

#include <stdint.h>

struct fl_super;

/* Once every stage is ready: flowrun, processor, and of each stage its executable and libraries (build ids, as they are mapped) and the
 * files its options name (bytes, time, SHA-256 up to 64 MiB). A failure is a warning. */
void fl_versions_write(struct fl_super *);
/* Once all batches are done, before the stages end: libraries that were loaded since (oneDNN's, cuDNN's parts), SHA-256 of larger files. */
void fl_versions_complete(struct fl_super *);
/* Says on stderr what differs between the run in `run` and the replay in TMP/run, as far as it concerns these stages. */
void fl_versions_compare(const char *run, const char *tmp, const char *const *stages, uint32_t n);

#endif
