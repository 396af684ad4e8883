/* Any bytes as an HDF5 file, by way of flowrun-hdf5: whatever libhdf5 does, the caller gets predictions that hold or an error with a
 * name. A process an input takes its time, so that of the mutations one in sixteen is tried. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "runtime/predictions_io.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static unsigned turn;
    struct fl_predictions p = { 0 };
    struct fl_err err = { 0 };
    char path[64];
    if (turn++ >= 4 && turn % 16 != 0)
        return 0;
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int rc = fl_pred_read_hdf5(path, &(struct fl_pred_want){ 0 }, &p, &err);
    if (rc > 0 || rc == FL_E_BUG || rc == FL_E_IO || (rc != FL_OK && strncmp(err.text, path, strlen(path)) != 0))
        abort();
    if (rc == FL_OK && (p.L == 0 || p.L > FL_MAX_LABELS))
        abort();
    fl_predictions_free(&p);
    close(fd);
    return 0;
}
