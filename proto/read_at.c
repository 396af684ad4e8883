#include "proto/read_at.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

int fl_read_at(int fd, uint64_t off, void *out, size_t len, struct fl_err *err)
{
    for (size_t got = 0; got < len;) {
        ssize_t n = pread(fd, (char *)out + got, len - got, (off_t)(off + got));
        if (n == 0)
            return FL_END;
        if (n < 0 && errno != EINTR)
            return fl_err_set(err, FL_E_IO, "%s", strerror(errno));
        if (n > 0)
            got += (size_t)n;
    }
    return FL_OK;
}
