/* What a run in its directory was begun with, against what it is to go on with. */
#ifndef FL_LAUNCH_CHANGED_H
#define FL_LAUNCH_CHANGED_H

#include <jansson.h>

enum fl_changed {
    FL_CHANGED_NOTHING,      /* or only what leaves results as they are: instances, memory, time-outs, where things lie */
    FL_CHANGED_RESULTS,      /* tiles done and tiles to come would not be treated alike */
    FL_CHANGED_BATCHES       /* batch numbers or labels mean something else: can't be mixed */
};

/* Compares two resolved configurations. *text: one line a difference that matters, "  what: was -> is\n", malloc'd. */
enum fl_changed fl_config_changed(const json_t *was, const json_t *is, char **text);

#endif
