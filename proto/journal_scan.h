/* Finding the records of a segment. Of proto/journal.c. */
#ifndef FL_PROTO_JOURNAL_SCAN_H
#define FL_PROTO_JOURNAL_SCAN_H

#include "proto/journal_rec.h"

/* Bytes `off`..`off + len` of the file. FL_END when it ends before; FL_E_IO with errno's text, without file name. */
int fl_jread(int fd, uint64_t off, void *out, size_t len, struct fl_err *err);

struct fl_jscan {
    int  (*found)(void *user, const struct fl_jhead *, uint64_t off, struct fl_err *err);   /* each proven record, in file order */
    void  *user;
    uint64_t end;          /* out: where the last proven record ends */
    uint64_t damaged;      /* out: gaps between proven records */
};

/* Goes through a segment of `size` bytes whose header is proven. Errors come without file name. */
int fl_jscan(int fd, uint64_t size, struct fl_jscan *, struct fl_err *err);

#endif
