/* Processors: how many threads stages get that can use several, and which processors. */
#ifndef FL_LAUNCH_CPUS_H
#define FL_LAUNCH_CPUS_H

#include <jansson.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>

struct fl_config;
struct fl_graph;
struct fl_stage_node;

/* Processors that this process may use, by its affinity and by the quota of its control group; at least 1. */
uint32_t fl_cpus(void);

/* Entries whose threads are left to flowrun (auto): those of stages that can use threads share `cpus`, less what others of them were given, evenly among their processes, each
 * getting at least 1. All others get 1. Needs what the stages said of themselves. */
void fl_threads_settle(struct fl_config *, uint32_t cpus);

/* For a run that goes on: where the file leaves threads to flowrun, what the run began with (its config.json) stays, since bits depend on it. */
void fl_threads_keep(struct fl_graph *, const json_t *was);

/* Whether the stage said that it can use threads. */
bool fl_threads_used(const struct fl_stage_node *);

/* Whether processes with threads get processors of their own, cut from `have` in the order of stages and instances: where there are several
 * such processes, one of them has several threads (a lone thread finds an idle processor by itself, a team waits for its slowest), and all find room. */
bool fl_cpus_cut(const struct fl_graph *, const cpu_set_t *have);
/* Those of one process; nothing is set for a stage without threads. */
void fl_cpus_own(const struct fl_graph *, const cpu_set_t *have, uint32_t stage, uint32_t instance, cpu_set_t *own);

#endif
