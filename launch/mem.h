/* Allocation for the part of flowrun that runs before anything is started: a failure ends the program with a sentence and status 1. */
#ifndef FL_LAUNCH_MEM_H
#define FL_LAUNCH_MEM_H

#include <jansson.h>
#include <stddef.h>

void   *fl_need(size_t n, size_t size);                       /* zeroed; never NULL */
void   *fl_need_grow(void *old, size_t n, size_t size);       /* realloc; the new part is not zeroed */
char   *fl_need_copy(const char *text);
char   *fl_need_text(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
json_t *fl_need_json(json_t *);                               /* gives back what it got, which must not be NULL */
json_t *fl_need_str(const char *text);                        /* JSON text; bytes that are no UTF-8 become '?' */
void    fl_need_put(json_t *object, const char *key, json_t *value);   /* takes value */
void    fl_need_push(json_t *array, json_t *value);                    /* takes value */

#endif
