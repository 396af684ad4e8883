/* Which ops are drawn in which epoch. */
#ifndef FL_AUGMENT_PHASES_H
#define FL_AUGMENT_PHASES_H

#include <jansson.h>

#include "stages/augment/ops.h"

#define FL_PHASES_MAX 32u

struct fl_phases {
    uint32_t n;
    struct { uint32_t from; int phase; } at[FL_PHASES_MAX];      /* by rising epoch; the first from 0 */
};

/* spec: NULL (full), "full", "unbiased", "none", or a map of such by the epoch from which it holds (before the first: full). FL_E_CONFIG. */
int fl_phases_read(const json_t *spec, struct fl_phases *, struct fl_err *);
int fl_phase_at(const struct fl_phases *, uint32_t epoch);

#endif
