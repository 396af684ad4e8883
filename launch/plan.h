/* What the files of `flowrun plan` share. */
#ifndef FL_LAUNCH_PLAN_H
#define FL_LAUNCH_PLAN_H

#include "launch/graph.h"

const char *fl_plan_size(uint64_t bytes, char text[32]);          /* "1.5 MB"; returns text */
uint64_t fl_plan_bytes(const struct fl_flow_tensor *);            /* of the largest of the types it may have */
void fl_plan_places(const struct fl_graph *);                     /* plan_places.c: what runs on which hosts, and what travels between them */

#endif
