/* Small helpers on text and files that several parts need. */
#ifndef FL_RUNTIME_TEXT_H
#define FL_RUNTIME_TEXT_H

#include <stddef.h>
#include <stdint.h>

#include "proto/status.h"

/* The name in the NULL-terminated list nearest to `word` (edit distance at most 1 + len/3), or NULL. */
const char *fl_nearest(const char *word, const char *const *names);
/* Natural order: digits compare as numbers ("t2" < "t10"), the rest bytewise. */
int  fl_natural_cmp(const char *a, const char *b);
/* Whole file into malloc'd memory, NUL-terminated; FL_E_INPUT over `limit` bytes or unreadable. .gz is not unpacked. */
int  fl_read_file(const char *path, size_t limit, char **text, size_t *len, struct fl_err *);
/* FNV-1a 64 of bytes. */
uint64_t fl_fnv1a(const void *bytes, size_t len);

#endif
