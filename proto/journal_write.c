/* The journal written: records into memory, memory into the last segment, segments one after the other. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/journal_own.h"

#define JOURNAL_BUFFER (UINT32_C(1) << 20)       /* written out when the records in memory exceed this */

/* Writes out the whole records in memory. */
static int journal_flush(struct fl_journal *j, struct fl_err *err)
{
    for (size_t done = 0; done < j->rec;) {
        ssize_t n = pwrite(j->fd, j->buf + done, j->rec - done, (off_t)(j->end + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            int why = n < 0 ? errno : ENOSPC;
            j->torn = ftruncate(j->fd, (off_t)j->end) != 0;      /* if not here, the torn end is cut at the next opening */
            errno = why;
            return fl_jfail_errno(j, j->number, "write", err);
        }
        done += (size_t)n;
    }
    j->dirty |= j->rec > 0;
    j->end += j->rec;
    j->len -= j->rec;
    if (j->len > 0)
        memmove(j->buf, j->buf + j->rec, j->len);
    j->rec = 0;
    return FL_OK;
}

int fl_journal_sync(struct fl_journal *j, struct fl_err *err)
{
    if (j->failed)
        return fl_err_set(err, FL_E_IO, "%s: the journal failed before", j->dir);
    int rc = journal_flush(j, err);
    if (rc != FL_OK || !j->dirty)
        return rc;
    if (fdatasync(j->fd) != 0)                    /* never tried again: the kernel may have dropped the pages */
        return fl_jfail_errno(j, j->number, "fdatasync", err);
    j->dirty = false;
    return FL_OK;
}

static int journal_room(struct fl_journal *j, size_t more, struct fl_err *err)
{
    if (j->cap - j->len >= more)
        return FL_OK;
    size_t cap = 2 * j->cap > j->len + more ? 2 * j->cap : j->len + more;
    uint8_t *buf = realloc(j->buf, cap);
    if (buf == NULL)
        return fl_err_set(err, FL_E_NOMEM, "%s: no memory for a record of %zu bytes", j->dir, cap);
    j->buf = buf;
    j->cap = cap;
    return FL_OK;
}

int fl_journal_begin(struct fl_journal *j, uint64_t run, uint64_t batch, uint32_t attempt, uint32_t columns, struct fl_err *err)
{
    if (j->failed || j->readonly)
        return fl_err_set(err, FL_E_IO, "%s: %s", j->dir, j->failed ? "the journal failed before" : "the journal is open for reading");
    if (batch >= FL_JOURNAL_BATCHES)
        return fl_err_set(err, FL_E_PROTO, "batch %llu: numbers end at %llu", (unsigned long long)batch, (unsigned long long)FL_JOURNAL_BATCHES);
    if (fl_jindex_at(j, batch) != 0)
        return FL_END;
    j->len = j->rec;                              /* forgets a record that failed half way */
    int rc = journal_room(j, FL_JHEAD_SIZE, err);
    if (rc != FL_OK)
        return rc;
    j->run = run;
    j->len += FL_JHEAD_SIZE;
    j->head = (struct fl_jhead){ .batch = batch, .attempt = attempt, .columns = columns };
    return FL_OK;
}

int fl_journal_add(struct fl_journal *j, const struct fl_journal_tile *t, struct fl_err *err)
{
    if (t->status > 0 || t->status < -255 || (t->status == FL_OK && (j->head.columns & FL_JOURNAL_PROB) && t->prob == NULL))
        return fl_err_set(err, FL_E_BUG, "%s: status %d or no probabilities", t->id, t->status);
    if (j->len - j->rec + FL_JTILE_MAX > FL_JLENGTH_MAX)
        return fl_err_set(err, FL_E_SHAPE, "batch %llu: a record of more than %u bytes", (unsigned long long)j->head.batch, FL_JLENGTH_MAX);
    int rc = journal_room(j, FL_JTILE_MAX, err);
    if (rc != FL_OK)
        return rc;
    j->len += fl_jtile_put(j->buf + j->len, t, j->head.columns, j->L);
    j->head.n++;
    j->head.rejected += t->status != FL_OK;
    return FL_OK;
}

/* The record being written becomes the first of a new segment. */
static int journal_rotate(struct fl_journal *j, struct fl_err *err)
{
    if (j->fd >= 0) {
        int rc = journal_flush(j, err);
        if (rc != FL_OK)
            return rc;
        if (fdatasync(j->fd) != 0)
            return fl_jfail_errno(j, j->number, "fdatasync", err);
        close(j->fd);
        j->fd = -1;
        j->number++;
    }
    return fl_jseg_create(j, err);
}

int fl_journal_end(struct fl_journal *j, struct fl_err *err)
{
    int rc = journal_room(j, FL_JTAIL_SIZE, err);
    if (rc != FL_OK)
        return rc;
    uint8_t *head = j->buf + j->rec, *payload = head + FL_JHEAD_SIZE;
    j->head.length = (uint32_t)(j->len - j->rec - FL_JHEAD_SIZE);
    fl_jhead_put(head, &j->head);
    fl_put_u32(payload + j->head.length, fl_jhead_payload_crc(&j->head, payload));
    j->len += FL_JTAIL_SIZE;
    uint64_t off = j->end + j->rec;
    if (j->fd < 0 || (off > FL_JSEG_SIZE && off + (j->len - j->rec) > j->limit)) {
        if ((rc = journal_rotate(j, err)) != FL_OK)
            return rc;
        off = j->end + j->rec;
    }
    if ((rc = fl_jindex_put(j, &j->head, j->number, off, err)) != FL_OK)
        return rc;
    j->rec = j->len;
    return j->len > JOURNAL_BUFFER ? journal_flush(j, err) : FL_OK;
}
