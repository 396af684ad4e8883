/* What is wrong with a configuration, gathered so that all of it is told at once. */
#ifndef FL_LAUNCH_COMPLAIN_H
#define FL_LAUNCH_COMPLAIN_H

#include <stdint.h>

#include "launch/graph.h"

#define FL_MAX_COMPLAINTS 1000      /* more are counted, not kept */

struct fl_complaint { struct fl_mark mark; uint32_t order; char *text; };

/* Zeroed is empty. file and sets are borrowed: they name the place. */
struct fl_complaints {
    const char *file;
    const char *const *sets;         /* texts of --set; a mark {0, i} is sets[i-1], {0, 0} the file as a whole */
    uint32_t nsets, n, cap;
    uint64_t dropped;
    struct fl_complaint *v;
};

void fl_complain(struct fl_complaints *, struct fl_mark, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Lines "file:line:column: text\n" by position, those of the command line first; malloc'd, NULL when there is none. */
char *fl_complaints_text(struct fl_complaints *);
void fl_complaints_done(struct fl_complaints *);

/* "; did you mean X?" for the name nearest to word, or ""; in a static buffer. names ends with NULL. */
const char *fl_did_you_mean(const char *word, const char *const *names);

#endif
