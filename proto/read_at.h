/* Reading a stretch of a file, whole. */
#ifndef FL_PROTO_READ_AT_H
#define FL_PROTO_READ_AT_H

#include <stddef.h>
#include <stdint.h>

#include "proto/status.h"

/* Bytes `off`..`off + len` of the file. FL_END when it ends before; FL_E_IO with errno's text, without file name. */
int fl_read_at(int fd, uint64_t off, void *out, size_t len, struct fl_err *err);

#endif
