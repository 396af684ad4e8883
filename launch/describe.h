/* Asks stages what they are: finds their executables, runs `STAGE --describe` and proves the answer. */
#ifndef FL_LAUNCH_DESCRIBE_H
#define FL_LAUNCH_DESCRIBE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define FL_DESCRIBE_SECONDS 30
#define FL_DESCRIBE_JOBS    4
#define FL_DESCRIBE_MAX     (4u << 20)    /* bytes of an answer */

struct fl_ask {
    const char *exe;
    char   *options, *labels;     /* JSON text or NULL; owned */
    json_t *answer;               /* proven; NULL when there is an error */
    char   *error;                /* one line; owned */
};

/* Runs all of them, at most FL_DESCRIBE_JOBS at a time; equal questions are asked once. seconds: time-out of each. */
void fl_ask_all(struct fl_ask *, uint32_t n, double seconds);
/* Likewise; go_on is called some twenty times a second meanwhile, and when it says false who still answers is ended, an error for each. */
void fl_ask_while(struct fl_ask *, uint32_t n, double seconds, bool (*go_on)(void *of), void *of);
void fl_ask_done(struct fl_ask *);

/* prove.c: true when `answer` has the shape of a describe answer; else *why (owned by the caller) says what is wrong. */
bool fl_describe_prove(const json_t *answer, char **why);

struct fl_found { char *name, *exe; };

/* find.c: folders in order: path[0..npath), $FLOWRUN_STAGES, BIN/../stages, BIN/../libexec/flowrun/stages. */
char *fl_find_stage(const char *name, char *const *path, uint32_t npath);         /* absolute, owned by the caller; NULL = none */
void  fl_find_all(char *const *path, uint32_t npath, struct fl_found **out, uint32_t *n);   /* by name; the first folder wins */
void  fl_found_free(struct fl_found *, uint32_t n);

bool fl_listed(const json_t *names, const char *name);          /* of an array of texts */

#endif
