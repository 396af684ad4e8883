/* JSON from memory that may run out. */
#ifndef FL_RUNTIME_JSON_H
#define FL_RUNTIME_JSON_H

#include <jansson.h>

#include "proto/status.h"

/* json_loadb, but FL_E_NOMEM where an allocation fails, which jansson itself neither tells nor always survives. FL_E_INPUT: no such JSON. What is
 * wrong is in *why, as ever; *out, the caller's, is NULL on failure. */
int fl_json_parse(const char *text, size_t len, size_t flags, json_t **out, json_error_t *why);
/* json_dumps, but NULL where an allocation fails, of which jansson may make a text that lacks something. Owned by the caller. */
char *fl_json_text(const json_t *j, size_t flags);

#endif
