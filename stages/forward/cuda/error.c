/* CUDA's errors in the project's. */
#include <stdio.h>

#include "stages/forward/cuda/device.h"

/* After these the context is lost: every later call of this process fails. The stage fails, and its successor gets a new one. */
static bool error_stays(cudaError_t e)
{
    switch (e) {
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchFailure:
    case cudaErrorLaunchTimeout:
    case cudaErrorAssert:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable:
    case cudaErrorContextIsDestroyed:
        return true;
    default:
        return false;
    }
}

int fl_cu_fail(struct fl_err *err, cudaError_t e, const char *what)
{
    (void)cudaGetLastError();
    return fl_err_set(err, e == cudaErrorMemoryAllocation ? FL_E_NOMEM : FL_E_DEVICE, "cuda: %s: %s (%d): %s%s", what, cudaGetErrorName(e), (int)e,
                      cudaGetErrorString(e), error_stays(e) ? "; the card can't be used by this process any more" : "");
}

int fl_cu_alloc(void **out, size_t bytes, const char *what, struct fl_err *err)
{
    void *p = NULL;
    size_t left = 0, all = 0;
    cudaError_t e = cudaMalloc(&p, bytes > 0 ? bytes : 1);
    if (e == cudaSuccess) {
        *out = p;
        return FL_OK;
    }
    if (e != cudaErrorMemoryAllocation)
        return fl_cu_fail(err, e, what);
    (void)cudaGetLastError();
    (void)cudaMemGetInfo(&left, &all);
    return fl_err_set(err, FL_E_NOMEM, "cuda: %s: no %.0f MB on the card, %.0f of %.0f MB are free", what, (double)bytes / 1e6, (double)left / 1e6, (double)all / 1e6);
}
