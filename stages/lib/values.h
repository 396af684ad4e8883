/* One number a label from an option: a number for all, a list in label order, a map, or a file. */
#ifndef FL_STAGES_LIB_VALUES_H
#define FL_STAGES_LIB_VALUES_H

#include <jansson.h>
#include <stdint.h>

#include "proto/status.h"

/* value: a number; a list of L numbers; {label: number}, where labels left out get `other` (NAN: none may be left out); or text: the
 * name of a file that holds L numbers in label order, or lines `label number` (also with a comma), in any order, # to the end of a
 * line is left out. Numbers lie in [0,1]. FL_E_CONFIG, FL_E_LABEL, FL_E_INPUT naming `what`, file and line. */
int fl_values_read(const char *what, const json_t *value, uint32_t L, const char *const *labels, double other, double *out,
                   struct fl_err *err);

#endif
