/* Arguments of commands that work on files of results: one table is parsing and help. */
#ifndef FL_LAUNCH_RAW_H
#define FL_LAUNCH_RAW_H

#include <stdbool.h>
#include <stdint.h>

enum fl_raw_type {
    FL_RAW_FLAG = 1,     /* bool: set to true */
    FL_RAW_TEXT,         /* const char *: of argv */
    FL_RAW_UNIT,         /* double: from 0 to 1 */
    FL_RAW_POSITIVE,     /* double: above 0, at most 1000 */
    FL_RAW_CHOICE,       /* int: index into choices */
    FL_RAW_EACH          /* struct fl_raw_list: each time it is given, of argv */
};

#define FL_RAW_MOST 64u
struct fl_raw_list { const char *text[FL_RAW_MOST]; uint32_t n; };

struct fl_raw_opt {
    const char *name, *value;      /* "--out", "FILE"; value NULL for a flag */
    int         type;
    void       *to;
    const char *choices;           /* "val|test" */
    const char *help;
};

struct fl_raw {
    const char *name;              /* "score" */
    const char *usage;             /* after "flowrun NAME " */
    const char *help;              /* a paragraph above the options, with what the arguments are */
    const struct fl_raw_opt *opts; /* ends with { 0 } */
    uint32_t    min, max;          /* arguments that are no options */
    const char *want;              /* what is wanted when they are too few */
};

/* argv[0] is the command's name. -1: go on, files holds *n words of argv (room for max). Otherwise the exit status: 0 after --help or
 * --version, 2 after a line on stderr. */
int fl_raw_read(const struct fl_raw *, int argc, char **argv, const char **files, uint32_t *n);
/* A line on stderr, then the usage; returns 2. */
int fl_raw_wrong(const struct fl_raw *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
