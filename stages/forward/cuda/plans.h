/* Plans that were timed once, kept in a file: which engine runs which layer fastest on this card.
 *
 * Text, so that it can be read: a line of format, one of the target (card, driver, cuDNN), a line a layer, a checksum. A file that is
 * foreign, too large, cut off or written by hand is taken for none: plans are then timed again. */
#ifndef FL_CUDA_PLANS_H
#define FL_CUDA_PLANS_H

#include "proto/status.h"
#include "stages/forward/cuda/layer.h"

#define FL_CU_PLANS_MAX 4096u           /* layers in a file; the oldest go first */
#define FL_CU_PLANS_BYTES (4u << 20)
#define FL_CU_TARGET 200

struct fl_cu_choice { char key[FL_CU_KEY]; bool split; float micros; struct fl_cu_config config; };
struct fl_cu_plans { char target[FL_CU_TARGET]; uint32_t n, room; struct fl_cu_choice *choice; };

void fl_cu_plans_init(struct fl_cu_plans *, const char *target);
void fl_cu_plans_done(struct fl_cu_plans *);
const struct fl_cu_choice *fl_cu_plans_find(const struct fl_cu_plans *, const char *key);
/* Adds it, or puts it in place of the one with this key. */
int  fl_cu_plans_put(struct fl_cu_plans *, const struct fl_cu_choice *, struct fl_err *);

/* The bytes of a file for p->target, into p. FL_E_INPUT naming the line. */
int  fl_cu_plans_parse(struct fl_cu_plans *p, const char *text, size_t len, struct fl_err *);
/* NULL without memory; freed by the caller. */
char *fl_cu_plans_format(const struct fl_cu_plans *, size_t *len);

/* Where the file for this target lies: FLOWRUN_CACHE, else XDG_CACHE_HOME/flowrun, else HOME/.cache/flowrun; false when there is no place. */
bool fl_cu_plans_path(const char *target, char *path, size_t n);
/* Reads the file into p. FL_E_INPUT: not there, not ours alone to write, or as in parse; p is then empty. */
int  fl_cu_plans_load(struct fl_cu_plans *p, const char *path, struct fl_err *);
/* Writes a temporary name and renames it, with what others have put there meanwhile. */
int  fl_cu_plans_save(const struct fl_cu_plans *, const char *path, struct fl_err *);

#endif
