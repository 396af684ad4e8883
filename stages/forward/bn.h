/* Statistics of a network's BN layers, estimated anew by one pass in training mode: torch.optim.swa_utils.update_bn. */
#ifndef FL_FORWARD_BN_H
#define FL_FORWARD_BN_H

#include "stages/forward/backend.h"

struct fl_bn;

/* Whether a network has such layers. */
bool fl_bn_any(const struct fl_net *);
/* Both are borrowed until fl_bn_free. FL_E_NUM for weights that aren't finite comes with the first batch. */
int  fl_bn_new(const struct fl_net *, const struct fl_weights *, uint32_t threads, struct fl_bn **, struct fl_err *);
void fl_bn_free(struct fl_bn *);

/* Where a batch of so many rows is filled in, NHWC f32 [rows][size][size][channels], normalised; valid until the next call. */
int  fl_bn_batch(struct fl_bn *, uint32_t rows, float **input, struct fl_err *);
/* Runs it: every BN normalises by mean and biased variance of this batch, and mean and unbiased variance enter the running
 * ones with weight 1/(b+1), b = batches before it. FL_E_SHAPE where a layer has one value a channel: it has no variance. */
int  fl_bn_take(struct fl_bn *, struct fl_err *);
/* Running mean and variance of the BN whose first parameter is `par` (bn: weight, bias, running_mean, running_var), as f32. */
void fl_bn_result(const struct fl_bn *, uint32_t par, float *mean, float *var);
/* First parameters of BN layers, i = 0, 1, ...; -1 behind the last. */
int32_t fl_bn_layer(const struct fl_bn *, uint32_t i);

#endif
