/* Finding the records of a segment. Of proto/journal.c. */
#ifndef FL_PROTO_JOURNAL_SCAN_H
#define FL_PROTO_JOURNAL_SCAN_H

#include "proto/journal_rec.h"

struct fl_jscan {
    int  (*found)(void *user, const struct fl_jhead *, uint64_t off, struct fl_err *err);   /* each proven record, in file order */
    void  *user;
    uint64_t end;          /* out: where the last proven record ends */
    uint64_t damaged;      /* out: gaps between proven records */
};

/* Goes through a segment of `size` bytes whose header is proven. Errors come without file name. */
int fl_jscan(int fd, uint64_t size, struct fl_jscan *, struct fl_err *err);

#endif
