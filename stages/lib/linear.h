/* A linear second level read from safetensors: out = coef . x + intercept. */
#ifndef FL_STAGES_LIB_LINEAR_H
#define FL_STAGES_LIB_LINEAR_H

#include <stdint.h>

#include "proto/status.h"

struct fl_linear { uint32_t L, models; double *coef, *intercept; };      /* coef: [L][L*models], column L*j + l = model j, label l */

/* Reads the manifest of `path`, whose kind must be `kind` and whose labels these, in this order. */
int  fl_linear_check(const char *path, const char *kind, uint32_t L, const char *const *labels, struct fl_err *);

/* The same, then the tensors coef [L, L*models] and intercept [L], f64 or f32, finite. FL_E_CONFIG, FL_E_LABEL, FL_E_SHAPE,
 * FL_E_NUM and what reading gives, naming the file. */
int  fl_linear_read(const char *path, const char *kind, uint32_t L, const char *const *labels, uint32_t models, struct fl_linear *,
                    struct fl_err *);
void fl_linear_done(struct fl_linear *);

/* x: [L*models]; out: [L], not clipped. */
void fl_linear_apply(const struct fl_linear *, const double *x, double *out);

#endif
