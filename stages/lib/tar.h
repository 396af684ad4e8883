/* Walks the members of a tar archive (ustar, GNU and pax long names) without unpacking it. */
#ifndef FL_STAGES_LIB_TAR_H
#define FL_STAGES_LIB_TAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/status.h"

#define FL_TAR_NAME 1024           /* longest name of a member, with its NUL */

struct fl_tar {
    int         fd;                /* read from here, or, when mem isn't NULL, from memory */
    const char *mem;
    uint64_t    size, at;          /* of the archive; of the next header */
};

struct fl_tar_member {
    char     name[FL_TAR_NAME];    /* with its folders */
    uint64_t off, bytes;           /* of its data, which lie within the archive */
    bool     file;                 /* a plain file; else a folder, link, ... */
};

/* FL_OK, FL_END behind the end mark, or FL_E_INPUT saying at which byte the archive is damaged or cut off. */
int fl_tar_next(struct fl_tar *, struct fl_tar_member *, struct fl_err *);

#endif
