/* Tiles in tar archives: named and located, not unpacked. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "stages/lib/inputs.h"
#include "stages/lib/tar.h"

static int inputs_members(struct fl_inputs *in, struct fl_tar *tar, const char *archive, struct fl_err *err)
{
    struct fl_tar_member m;
    char path[4200 + FL_TAR_NAME];
    int rc;
    while ((rc = fl_tar_next(tar, &m, err)) == FL_OK) {
        const char *slash = strrchr(m.name, '/'), *base = slash != NULL ? slash + 1 : m.name;
        if (!m.file || base[0] == '.' || !fl_inputs_is_tile(base))
            continue;
        snprintf(path, sizeof path, "%.4199s/%s", archive, base);
        rc = fl_inputs_member(in, path, (uint64_t[]){ m.off, m.bytes }, err);
        if (rc != FL_OK)
            return rc;
    }
    return rc == FL_END ? FL_OK : rc;
}

int fl_inputs_tar(struct fl_inputs *in, const char *archive, struct fl_err *err)
{
    struct stat st;
    int fd = open(archive, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        int rc = fl_err_set(err, FL_E_INPUT, "%.300s: %s", archive, fd < 0 ? strerror(errno) : "not a regular file");
        if (fd >= 0)
            close(fd);
        return rc;
    }
    struct fl_tar tar = { .fd = fd, .size = (uint64_t)st.st_size };
    int rc = inputs_members(in, &tar, archive, err);
    close(fd);
    return rc == FL_OK ? FL_OK : fl_err_context(err, "%.200s", archive);
}
