/* A folder as one file, by tar. */
#ifndef FL_LAUNCH_ARCHIVE_H
#define FL_LAUNCH_ARCHIVE_H

#include "launch/describe.h"
#include "launch/config.h"
#include "proto/status.h"

int fl_archive_pack(const char *dir, const char *tar, struct fl_err *);
/* Into `dir`, which is made. What is in it is data: nothing of it is run. */
int fl_archive_unpack(const char *tar, const char *dir, struct fl_err *);

#endif
