/* Small helpers on text and files that several parts need. */
#ifndef FL_RUNTIME_TEXT_H
#define FL_RUNTIME_TEXT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/status.h"

/* The name in the NULL-terminated list nearest to `word` (edit distance at most 1 + len/3), or NULL. Of several as near: of the same length,
 * with the longer common beginning, with the nearest number, the first. */
const char *fl_nearest(const char *word, const char *const *names);
/* Natural order: digits compare as numbers ("t2" < "t10"), the rest bytewise. */
int  fl_natural_cmp(const char *a, const char *b);
/* Whole file into malloc'd memory, NUL-terminated; FL_E_INPUT over `limit` bytes or unreadable. .gz is not unpacked. */
int  fl_read_file(const char *path, size_t limit, char **text, size_t *len, struct fl_err *);
/* Fills buf as far as the file goes: the number of bytes, or < 0 with errno. */
ssize_t fl_read_fill(int fd, void *buf, size_t room);
/* The whole file anew or nothing: a temporary beside it is written, synced and renamed. mode: as of open. FL_E_IO. */
int  fl_write_file(const char *path, unsigned mode, const void *bytes, size_t len, struct fl_err *);
/* FNV-1a 64 of bytes. */
uint64_t fl_fnv1a(const void *bytes, size_t len);

#endif
