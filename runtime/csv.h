/* Reads CSV records (RFC 4180, LF or CRLF) from memory; bounded, with line numbers. */
#ifndef FL_RUNTIME_CSV_H
#define FL_RUNTIME_CSV_H

#include <stddef.h>
#include <stdint.h>

#include "proto/status.h"

#define FL_CSV_MAX_FIELDS 4096u
#define FL_CSV_MAX_RECORD (1u << 20)           /* bytes of one record */
#define FL_CSV_MAX_FILE   ((size_t)4 << 30)    /* bytes of a table, unpacked */

struct fl_csv {
    const char *name;                          /* what messages call it; borrowed */
    const char *text;                          /* borrowed; need not be NUL-terminated */
    size_t      len, pos;
    uint64_t    next;                          /* line of pos, from 1 */

    /* The record last read: NUL-terminated fields, valid until the next call. */
    uint64_t    line;                          /* where it begins */
    uint32_t    nfields;
    char      **field;
    size_t     *width;                         /* bytes of each field */

    char       *buf;
    size_t      buf_cap;
    uint32_t    field_cap;
};

/* Starts reading; a UTF-8 byte order mark is passed over. No allocation yet. */
void fl_csv_init(struct fl_csv *, const char *name, const char *text, size_t len);
/* The next record: FL_OK, FL_END, or FL_E_INPUT naming file and line (open or misplaced quote, NUL byte, lone CR, record or
 * field count over the limits), FL_E_NOMEM. Empty lines are passed over. */
int  fl_csv_next(struct fl_csv *, struct fl_err *err);
/* Index of the field of this record that reads `name`, or -1. */
int64_t fl_csv_column(const struct fl_csv *, const char *name);
void fl_csv_done(struct fl_csv *);

/* The whole table into malloc'd memory; unpacked by zlib when the name ends in .gz. FL_E_INPUT naming the file. */
int  fl_csv_load(const char *path, char **text, size_t *len, struct fl_err *err);

#endif
