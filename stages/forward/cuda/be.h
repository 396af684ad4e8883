/* cuDNN's backend descriptors: made, filled and finalized in a bag that remembers the first failure and frees them all. */
#ifndef FL_CUDA_BE_H
#define FL_CUDA_BE_H

#include <stdbool.h>
#include <stdint.h>

#include <cudnn_graph.h>

#include "proto/status.h"

#define FL_BE_ROOM 64

/* Owns its descriptors. After a failure (code not FL_OK, *err says what) every call does nothing and gives NULL. */
struct fl_be_bag {
    cudnnBackendDescriptor_t d[FL_BE_ROOM];
    uint32_t n;
    int code;
    struct fl_err *err;
};

void fl_be_init(struct fl_be_bag *, struct fl_err *);
void fl_be_done(struct fl_be_bag *);                                   /* frees all; accepts a zeroed bag */
cudnnBackendDescriptor_t fl_be_new(struct fl_be_bag *, cudnnBackendDescriptorType_t);
void fl_be_set(struct fl_be_bag *, cudnnBackendDescriptor_t, cudnnBackendAttributeName_t, cudnnBackendAttributeType_t, int64_t count, const void *);
/* what: names the descriptor in the message. */
void fl_be_finalize(struct fl_be_bag *, cudnnBackendDescriptor_t, const char *what);
/* One value of a finalized descriptor; false when cuDNN doesn't tell (the bag is not marked as failed). */
bool fl_be_get(cudnnBackendDescriptor_t, cudnnBackendAttributeName_t, cudnnBackendAttributeType_t, void *);
/* Lets go of the descriptor made last, which the caller frees now. */
cudnnBackendDescriptor_t fl_be_take(struct fl_be_bag *, cudnnBackendDescriptor_t);

/* FL_E_DEVICE (FL_E_NOMEM for memory) with cuDNN's words for the status and what it wrote last. */
int fl_be_fail(struct fl_err *, cudnnStatus_t, const char *what);

#endif
