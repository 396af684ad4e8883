/* Options of a stage: a table into its state. Parsing, --describe, flowrun's check and the docs read the same table. */
#ifndef FL_RUNTIME_OPT_H
#define FL_RUNTIME_OPT_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/status.h"

/* type        field in the state     written in YAML as */
enum fl_opt_type {
    FL_OPT_BOOL = 1,    /* bool        true | false */
    FL_OPT_INT,         /* int64_t     12 */
    FL_OPT_FLOAT,       /* double      0.2 */
    FL_OPT_SIZE,        /* uint64_t    bytes: 2GB, 512MiB, 4096 */
    FL_OPT_STR,         /* char *      text */
    FL_OPT_PATH,        /* char *      a file or folder that must exist when the graph is checked */
    FL_OPT_OUT,         /* char *      a file to be written; its folder must exist */
    FL_OPT_CHOICE,      /* int         index into `choices` ("mean|gmean|logit_mean") */
    FL_OPT_LIST,        /* char **     NULL-terminated; one text or a list of texts */
    FL_OPT_PATHS,       /* char **     NULL-terminated list of files that must exist */
    FL_OPT_JSON         /* json_t *    anything: nested lists, maps; NULL when not given (borrowed from the host) */
};

struct fl_opt {
    const char *name;
    int         type;       /* enum fl_opt_type */
    size_t      off;        /* offsetof(struct state, field) */
    const char *def;        /* default as text ("0.2", "exact", "64MB"); NULL: zero, NULL or empty list */
    double      min, max;   /* for INT, FLOAT, SIZE; both 0 = no limits */
    const char *choices;    /* for CHOICE: names separated by | */
    const char *help;       /* one sentence */
    int         required;   /* non-zero: must be given */
    int         beside;     /* of OUT, non-zero: files of other names are written beside it */
};

/* Puts defaults, then the members of the JSON object `values` (may be NULL), into `state`. Unknown members,
 * wrong types, values out of range and missing required ones are FL_E_CONFIG and name the option. Strings and
 * lists are owned by the state until fl_opts_free. */
int fl_opts_apply(const struct fl_opt *opts, void *state, const json_t *values, struct fl_err *err);
void fl_opts_free(const struct fl_opt *opts, void *state);

/* "2GB" -> 2000000000, "512MiB", "4096", "1.5GB". FL_E_CONFIG for anything else. */
int fl_size_parse(const char *text, uint64_t *bytes, struct fl_err *err);

#endif
