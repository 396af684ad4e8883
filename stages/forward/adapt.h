/* Weights of a file as parameters of a net: exact names and shapes, old DenseNet names, a fourth channel where it is asked for. */
#ifndef FL_FORWARD_ADAPT_H
#define FL_FORWARD_ADAPT_H

#include "runtime/model.h"
#include "stages/forward/backend.h"

/* Where the near-infrared weights of a first convolution made for R, G, B come from. */
enum fl_adapt {
    FL_ADAPT_NONE = -1,        /* the file must have the net's channels */
    FL_ADAPT_ZERO,             /* zeros: the logits are those of the RGB model, whatever the band holds */
    FL_ADAPT_MEAN,             /* the mean of R, G, B, then all four times 3/4 */
    FL_ADAPT_TIMM              /* a copy of R's, then all four times 3/4 */
};

/* By the header alone: every parameter of the net is there with its shape, and nothing else but num_batches_tracked.
 * FL_E_SHAPE naming file and tensor. */
int fl_adapt_check(const struct fl_net *, const struct fl_safetensors *, const char *file, int adapt, struct fl_err *);

/* The weights in the order of fl_net_param; *out is freed with fl_adapt_free. What is f32 in the file is not copied: that stays open until
 * then. Checks as above, and FL_E_NUM for a weight that is not finite. */
struct fl_adapted { float *all; const float **data; struct fl_weights weights; };
int  fl_adapt_load(const struct fl_net *, const struct fl_safetensors *, const char *file, int adapt, struct fl_adapted *out, struct fl_err *);
void fl_adapt_free(struct fl_adapted *);

#endif
