/* flowrun agent: the supervisor of a host's share of a graph that runs elsewhere (docs/hosts.md). It is an ordinary supervisor whose batches
 * come by and by, and which tells the other host how it fares over one connection of its own. */
#ifndef FL_LAUNCH_AGENT_H
#define FL_LAUNCH_AGENT_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

#include "runtime/stage.h"

struct fl_super;
struct fl_agent;

#define FL_AGENT_FDS 2
void fl_agent_poll(const struct fl_agent *, struct pollfd p[FL_AGENT_FDS]);
void fl_agent_step(struct fl_super *);                   /* hears, gives a sign of life; ends everything when the other host is gone */
void fl_agent_ready(struct fl_super *);                  /* every stage is */
void fl_agent_log(struct fl_agent *, const char *stage, uint32_t instance, int level, const char *text);
void fl_agent_fail(struct fl_agent *, const char *stage, uint32_t instance, const char *text);     /* this would end a run */
void fl_agent_killed(struct fl_agent *, const struct fl_killer *, const void *header, uint32_t len);      /* a tile has killed, and goes to quarantine; header: NULL = not known */
bool fl_agent_by_hand(const struct fl_agent *);         /* a signal makes it leave */
void fl_agent_lost(struct fl_super *);                   /* inlet or outlet is gone, and with it what was under way */

#endif
