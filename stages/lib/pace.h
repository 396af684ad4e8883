/* Whether one process holds the others up: the share of the time that it was at work, over stretches of some seconds. */
#ifndef FL_STAGES_LIB_PACE_H
#define FL_STAGES_LIB_PACE_H

#include <stdbool.h>
#include <stdint.h>

#define FL_PACE_STRETCH INT64_C(10000000000)     /* ns */
#define FL_PACE_FULL    0.9

struct fl_pace { int64_t start, busy; };         /* zeroed at first */

/* A piece of work from `began` to `ended` (ns of one clock, no piece before the last). True when a stretch ends with it in which work took
 * FL_PACE_FULL of the time or more; *seconds is then its length. */
bool fl_pace_work(struct fl_pace *, int64_t began, int64_t ended, double *seconds);

#endif
