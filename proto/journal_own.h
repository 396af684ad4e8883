/* What the parts of the journal share: its state, segments, index. Of proto/journal*.c. */
#ifndef FL_PROTO_JOURNAL_OWN_H
#define FL_PROTO_JOURNAL_OWN_H

#include "proto/journal_rec.h"

#define FL_JPATH 4096

struct fl_journal {
    char     *dir;
    int       lock, fd;                           /* the folder; the last segment, -1 before the first */
    int       old;                                /* an earlier segment, opened for reading, or -1 */
    uint32_t  old_number, number;                 /* of `old`; of the last segment */
    uint32_t  L;
    uint64_t  limit;
    bool      readonly, failed, torn, dirty;
    uint64_t **pages, npages;                     /* index: segment << 32 | offset of each batch, 0 = absent */
    uint64_t  end;                                /* bytes of the last segment that are in the file */
    uint8_t  *buf;                                /* what comes after them */
    size_t    len, cap, rec;                      /* bytes in buf; of them whole records. What follows is being written */
    struct fl_jhead head;                         /* of that record */
    uint64_t  run;
    struct fl_journal_sum sum;
};

/* DIR/NUMBER.j into out[FL_JPATH]. */
void fl_jpath(const struct fl_journal *, uint32_t number, char *out);
/* Errors that name the segment's file; the second adds errno's text, is FL_E_IO and marks the journal as failed. */
int  fl_jfail(const struct fl_journal *, uint32_t number, int code, const char *what, struct fl_err *err);
int  fl_jfail_errno(struct fl_journal *, uint32_t number, const char *what, struct fl_err *err);

/* Index entry of the batch, 0 when absent. */
uint64_t fl_jindex_at(const struct fl_journal *, uint64_t batch);
/* Enters a record; the first record of a batch is the one that counts. */
int  fl_jindex_put(struct fl_journal *, const struct fl_jhead *, uint32_t number, uint64_t off, struct fl_err *err);

/* Begins segment j->number: a new file, or the one open as j->fd. Its header is on disk before its first record. */
int  fl_jseg_create(struct fl_journal *, struct fl_err *err);
int  fl_jseg_start(struct fl_journal *, struct fl_err *err);

#endif
