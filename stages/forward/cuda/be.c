/* cuDNN's backend descriptors in a bag. */
#include "stages/forward/cuda/be.h"

#include <stdio.h>
#include <string.h>

int fl_be_fail(struct fl_err *err, cudnnStatus_t st, const char *what)
{
    char last[160] = "";
    bool memory = st == CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED || st == CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED;
    cudnnGetLastErrorString(last, sizeof last);
    for (char *p = last; *p != '\0'; p++)          /* an error is one line */
        if (*p == '\n' || *p == '\r')
            *p = ' ';
    return fl_err_set(err, memory ? FL_E_NOMEM : FL_E_DEVICE, "cuDNN: %s: %s (%d)%s%s", what, cudnnGetErrorString(st), (int)st,
                      last[0] != '\0' ? ": " : "", last);
}

void fl_be_init(struct fl_be_bag *b, struct fl_err *err)
{
    memset(b, 0, sizeof *b);
    b->err = err;
}

void fl_be_done(struct fl_be_bag *b)
{
    while (b->n > 0)        /* last made first: graphs before what they refer to */
        cudnnBackendDestroyDescriptor(b->d[--b->n]);
}

cudnnBackendDescriptor_t fl_be_new(struct fl_be_bag *b, cudnnBackendDescriptorType_t type)
{
    cudnnBackendDescriptor_t d = NULL;
    if (b->code != FL_OK)
        return NULL;
    if (b->n == FL_BE_ROOM) {
        b->code = fl_err_set(b->err, FL_E_BUG, "cuDNN: more than %d descriptors", FL_BE_ROOM);
        return NULL;
    }
    cudnnStatus_t st = cudnnBackendCreateDescriptor(type, &d);
    if (st != CUDNN_STATUS_SUCCESS) {
        b->code = fl_be_fail(b->err, st, "a descriptor");
        return NULL;
    }
    b->d[b->n++] = d;
    return d;
}

void fl_be_set(struct fl_be_bag *b, cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count,
               const void *value)
{
    char what[32];
    if (b->code != FL_OK)
        return;
    cudnnStatus_t st = cudnnBackendSetAttribute(d, name, type, count, value);
    if (st == CUDNN_STATUS_SUCCESS)
        return;
    snprintf(what, sizeof what, "attribute %d", (int)name);
    b->code = fl_be_fail(b->err, st, what);
}

void fl_be_finalize(struct fl_be_bag *b, cudnnBackendDescriptor_t d, const char *what)
{
    if (b->code != FL_OK)
        return;
    cudnnStatus_t st = cudnnBackendFinalize(d);
    if (st != CUDNN_STATUS_SUCCESS)
        b->code = fl_be_fail(b->err, st, what);
}

bool fl_be_get(cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, void *out)
{
    int64_t got = 0;
    return cudnnBackendGetAttribute(d, name, type, 1, &got, out) == CUDNN_STATUS_SUCCESS && got == 1;
}

cudnnBackendDescriptor_t fl_be_take(struct fl_be_bag *b, cudnnBackendDescriptor_t d)
{
    for (uint32_t i = b->n; i-- > 0; ) {
        if (b->d[i] != d)
            continue;
        memmove(&b->d[i], &b->d[i + 1], (b->n - i - 1) * sizeof b->d[0]);
        b->n--;
        return d;
    }
    return NULL;
}
