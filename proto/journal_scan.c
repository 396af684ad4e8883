/* Finding the records of a segment, over damaged places too. */
#include "proto/journal_scan.h"

#include <stdlib.h>
#include <string.h>

#include "proto/read_at.h"

#define JSCAN_CHUNK 65536u

struct jscan_buf { uint8_t *p; size_t cap; };

/* FL_OK when a whole record with right checksums begins at off, FL_END when none does. */
static int jscan_prove(int fd, uint64_t off, uint64_t size, struct jscan_buf *buf, struct fl_jhead *h, struct fl_err *err)
{
    uint8_t head[FL_JHEAD_SIZE];
    int rc = fl_read_at(fd, off, head, sizeof head, err);
    if (rc != FL_OK)
        return rc;
    if (!fl_jhead_get(head, h) || off + FL_JHEAD_SIZE + h->length + FL_JTAIL_SIZE > size)
        return FL_END;
    size_t len = h->length + FL_JTAIL_SIZE;
    if (len > buf->cap) {
        uint8_t *p = realloc(buf->p, len);
        if (p == NULL)
            return fl_err_set(err, FL_E_NOMEM, "%zu bytes for a record", len);
        *buf = (struct jscan_buf){ p, len };
    }
    if ((rc = fl_read_at(fd, off + FL_JHEAD_SIZE, buf->p, len, err)) != FL_OK)
        return rc;
    return fl_get_u32(buf->p + h->length) == fl_jhead_payload_crc(h, buf->p) ? FL_OK : FL_END;
}

/* *off moves to the next place where a record may begin, or to size. */
static int jscan_next_magic(int fd, uint64_t *off, uint64_t size, struct fl_err *err)
{
    uint8_t chunk[JSCAN_CHUNK];
    while (*off + 4 <= size) {
        size_t len = size - *off < sizeof chunk ? (size_t)(size - *off) : sizeof chunk;
        int rc = fl_read_at(fd, *off, chunk, len, err);
        if (rc != FL_OK)
            return rc;
        const uint8_t *at = memmem(chunk, len, FL_JMAGIC, 4);
        if (at != NULL) {
            *off += (uint64_t)(at - chunk);
            return FL_OK;
        }
        *off += len - 3;         /* the magic may lie across the chunk's end */
    }
    *off = size;
    return FL_OK;
}

static int jscan_run(int fd, uint64_t size, struct fl_jscan *s, struct jscan_buf *buf, struct fl_err *err)
{
    for (uint64_t off = FL_JSEG_SIZE; off < size;) {
        struct fl_jhead h;
        int rc = jscan_prove(fd, off, size, buf, &h, err);
        if (rc == FL_OK) {
            s->damaged += off != s->end;
            if ((rc = s->found(s->user, &h, off, err)) != FL_OK)
                return rc;
            off += FL_JHEAD_SIZE + h.length + FL_JTAIL_SIZE;
            s->end = off;
            continue;
        }
        if (rc < 0)
            return rc;
        off++;
        if ((rc = jscan_next_magic(fd, &off, size, err)) < 0)
            return rc;
        if (rc == FL_END)        /* the file became shorter while it was read */
            return FL_OK;
    }
    return FL_OK;
}

int fl_jscan(int fd, uint64_t size, struct fl_jscan *s, struct fl_err *err)
{
    struct jscan_buf buf = { 0 };
    s->end = FL_JSEG_SIZE;
    s->damaged = 0;
    int rc = jscan_run(fd, size, s, &buf, err);
    free(buf.p);
    return rc;
}
