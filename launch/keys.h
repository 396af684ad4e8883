/* The keys of a pipeline file: read by the check, by `flowrun describe` and so by the documentation. */
#ifndef FL_LAUNCH_KEYS_H
#define FL_LAUNCH_KEYS_H

#include <stdbool.h>

struct fl_key {
    const char *name, *value, *def, *help;     /* value: what it looks like; def: default, NULL = none */
    bool resolved, written;                    /* may stand in RUN/config.json; in a file that a person writes */
};

extern const struct fl_key fl_top_keys[], fl_entry_keys[];     /* end with a NULL name */

/* Names of those that may stand in this kind of file, NULL-terminated; a static buffer, good until the next call. */
const char *const *fl_key_names(const struct fl_key *, bool resolved);

#endif
