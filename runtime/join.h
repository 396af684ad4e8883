/* Collects the parts of a batch that come by several edges, until all are there.
 *
 * A batch in flight has a slot of its own, so the table has one entry a slot and memory is bounded by the window. A part of
 * another generation than the entry's ends that entry: it belonged to an attempt that was given up. */
#ifndef FL_RUNTIME_JOIN_H
#define FL_RUNTIME_JOIN_H

#include "runtime/host.h"

struct fl_join;

int  fl_join_new(uint32_t window, uint32_t edges, struct fl_join **, struct fl_err *);
void fl_join_free(struct fl_join *);
/* Takes a part (one entry in parts[]). FL_OK: all parts are there and *whole owns them; FL_END: not yet; *dropped is a batch to be let
 * go of (a part that came twice, or what was held of an attempt given up), or NULL. */
int  fl_join_add(struct fl_join *, struct fl_hosted *part, struct fl_hosted **whole, struct fl_hosted **dropped, struct fl_err *);
/* Gives up what waits in a slot, if it is of generation gen: returned to be let go of, or NULL. */
struct fl_hosted *fl_join_cancel(struct fl_join *, uint32_t slot, uint32_t gen);
uint32_t fl_join_open(const struct fl_join *);        /* batches that wait for parts */

#endif
