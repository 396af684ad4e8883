/* What the weights of a forward stage are: their manifests read and in agreement, their tensors proven against the network. */
#ifndef FL_FORWARD_PLAN_H
#define FL_FORWARD_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/model.h"
#include "stages/forward/adapt.h"
#include "stages/forward/backend.h"

#define FL_PLAN_MODES "manifest|rgb|rgbn|ngb"      /* option `mode`: what the tiles are; the first takes the manifest's word */

struct fl_plan {
    uint32_t k;                        /* files */
    struct fl_manifest m;              /* of the first; the others agree */
    char   (*sha256)[65];              /* [k] of the files, as their manifests say; "" where one doesn't */
    unsigned proven;                   /* bits 1 << enum fl_prec that every manifest records a passed check of, on weights that answer as these do */
    int      adapt;                    /* enum fl_adapt */
    uint32_t channels;                 /* of the tiles */
    double   mean[8], std[8];          /* for these channels */
    struct fl_net *net;
};

/* weights: NULL-terminated, at least one. mode: index into FL_PLAN_MODES. adapt: enum fl_adapt, used for rgbn tiles into an rgb network. */
int  fl_plan_make(char *const *weights, int mode, int adapt, struct fl_plan *, struct fl_err *);
void fl_plan_free(struct fl_plan *);
/* Probabilities of finite logits [nlabels]: the sigmoid of each, but the softmax over the exclusive labels where the manifest says softmax. */
void fl_plan_probs(const struct fl_manifest *, const float *logits, float *out);

#endif
