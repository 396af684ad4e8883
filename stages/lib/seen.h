/* Which batches a sink has had already: a bit each, as far as the greatest. */
#ifndef FL_STAGES_LIB_SEEN_H
#define FL_STAGES_LIB_SEEN_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/status.h"

struct fl_seen { uint64_t *bits, words; };      /* zeroed at first */

bool fl_seen_has(const struct fl_seen *, uint64_t batch);
/* FL_E_NOMEM; FL_E_BUG for a number from 2^32 up. */
int  fl_seen_add(struct fl_seen *, uint64_t batch, struct fl_err *err);
void fl_seen_done(struct fl_seen *);

#endif
