/* The journal read: which batches it holds, and their records. */
#include "proto/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/journal_own.h"
#include "proto/journal_scan.h"
#include "proto/read_at.h"

#define JOURNAL_PAGE 4096u                     /* batches in a page of the index */

/* ---- errors ---- */

void fl_jpath(const struct fl_journal *j, uint32_t number, char *out)
{
    snprintf(out, FL_JPATH, "%s/%08u.j", j->dir, number);
}

int fl_jfail(const struct fl_journal *j, uint32_t number, int code, const char *what, struct fl_err *err)
{
    char path[FL_JPATH];
    fl_jpath(j, number, path);
    return fl_err_set(err, code, "%s: %s", path, what);
}

int fl_jfail_errno(struct fl_journal *j, uint32_t number, const char *what, struct fl_err *err)
{
    char text[256];
    snprintf(text, sizeof text, "%s: %s", what, strerror(errno));
    j->failed = true;
    return fl_jfail(j, number, FL_E_IO, text, err);
}

/* ---- index ---- */

uint64_t fl_jindex_at(const struct fl_journal *j, uint64_t batch)
{
    uint64_t page = batch / JOURNAL_PAGE;
    return page < j->npages && j->pages[page] != NULL ? j->pages[page][batch % JOURNAL_PAGE] : 0;
}

int fl_jindex_put(struct fl_journal *j, const struct fl_jhead *h, uint32_t number, uint64_t off, struct fl_err *err)
{
    uint64_t page = h->batch / JOURNAL_PAGE;
    if (page >= j->npages) {
        uint64_t want = page + 1 > 2 * j->npages ? page + 1 : 2 * j->npages;
        uint64_t **pages = realloc(j->pages, want * sizeof *pages);
        if (pages == NULL)
            return fl_err_set(err, FL_E_NOMEM, "no memory for the index of batch %llu", (unsigned long long)h->batch);
        memset(pages + j->npages, 0, (want - j->npages) * sizeof *pages);
        j->pages = pages;
        j->npages = want;
    }
    if (j->pages[page] == NULL && (j->pages[page] = calloc(JOURNAL_PAGE, sizeof **j->pages)) == NULL)
        return fl_err_set(err, FL_E_NOMEM, "no memory for the index of batch %llu", (unsigned long long)h->batch);
    uint64_t *at = &j->pages[page][h->batch % JOURNAL_PAGE];
    if (*at != 0)
        return FL_OK;                             /* the first record of a batch is the one that counts */
    *at = (uint64_t)number << 32 | off;
    j->sum.batches++;
    j->sum.tiles += h->n;
    j->sum.rejected += h->rejected;
    return FL_OK;
}

uint64_t fl_journal_after(const struct fl_journal *j, uint64_t from)
{
    for (uint64_t page = from / JOURNAL_PAGE; page < j->npages; page++) {
        uint64_t first = page == from / JOURNAL_PAGE ? from % JOURNAL_PAGE : 0;
        for (uint64_t i = first; j->pages[page] != NULL && i < JOURNAL_PAGE; i++)
            if (j->pages[page][i] != 0)
                return page * JOURNAL_PAGE + i;
    }
    return FL_JOURNAL_NONE;
}

struct fl_journal_sum fl_journal_sum(const struct fl_journal *j)
{
    return j->sum;
}

/* ---- reading ---- */

static int journal_fd(struct fl_journal *j, uint32_t number, int *fd, struct fl_err *err)
{
    if (number == j->number && j->fd >= 0) {
        *fd = j->fd;
        return FL_OK;
    }
    if (j->old < 0 || j->old_number != number) {
        char path[FL_JPATH];
        fl_jpath(j, number, path);
        if (j->old >= 0)
            close(j->old);
        j->old = open(path, O_RDONLY | O_CLOEXEC);
        j->old_number = number;
        if (j->old < 0)
            return fl_jfail(j, number, FL_E_IO, strerror(errno), err);
    }
    *fd = j->old;
    return FL_OK;
}

/* `len` bytes, `skip` behind the start of the record at index entry `at`. */
static int journal_bytes(struct fl_journal *j, uint64_t at, size_t skip, void *out, size_t len, struct fl_err *err)
{
    uint32_t number = (uint32_t)(at >> 32);
    uint64_t off = (at & UINT32_MAX) + skip;
    if (number == j->number && off >= j->end) {   /* still in memory: records go out whole */
        memcpy(out, j->buf + (off - j->end), len);
        return FL_OK;
    }
    int fd = -1, rc = journal_fd(j, number, &fd, err);
    if (rc != FL_OK)
        return rc;
    struct fl_err why;
    rc = fl_read_at(fd, off, out, len, &why);
    return rc == FL_OK ? FL_OK : fl_jfail(j, number, FL_E_IO, rc == FL_END ? "became shorter" : why.text, err);
}

static int journal_head(struct fl_journal *j, uint64_t at, struct fl_journal_rec *r, struct fl_jhead *h, struct fl_err *err)
{
    uint8_t bytes[FL_JHEAD_SIZE];
    int rc = journal_bytes(j, at, 0, bytes, sizeof bytes, err);
    if (rc != FL_OK)
        return rc;
    if (!fl_jhead_get(bytes, h))
        return fl_jfail(j, (uint32_t)(at >> 32), FL_E_INPUT, "a record was damaged after it was read", err);
    r->batch = h->batch;
    r->attempt = h->attempt;
    r->n = h->n;
    r->rejected = h->rejected;
    r->columns = h->columns;
    r->L = j->L;
    r->row = r->seen_rejected = 0;
    r->p = r->end = r->buf;
    return FL_OK;
}

int fl_journal_peek(struct fl_journal *j, uint64_t batch, struct fl_journal_rec *r, struct fl_err *err)
{
    struct fl_jhead h;
    uint64_t at = fl_jindex_at(j, batch);
    return at == 0 ? FL_END : journal_head(j, at, r, &h, err);
}

int fl_journal_read(struct fl_journal *j, uint64_t batch, struct fl_journal_rec *r, struct fl_err *err)
{
    struct fl_jhead h;
    uint64_t at = fl_jindex_at(j, batch);
    int rc = at == 0 ? FL_END : journal_head(j, at, r, &h, err);
    if (rc != FL_OK)
        return rc;
    size_t len = h.length + FL_JTAIL_SIZE;
    if (len > r->cap) {
        uint8_t *buf = realloc(r->buf, len);
        if (buf == NULL)
            return fl_err_set(err, FL_E_NOMEM, "%s: no memory for a record of %zu bytes", j->dir, len);
        r->buf = buf;
        r->cap = len;
    }
    if ((rc = journal_bytes(j, at, FL_JHEAD_SIZE, r->buf, len, err)) != FL_OK)
        return rc;
    if (fl_get_u32(r->buf + h.length) != fl_jhead_payload_crc(&h, r->buf))
        return fl_jfail(j, (uint32_t)(at >> 32), FL_E_INPUT, "a record was damaged after it was read", err);
    r->p = r->buf;
    r->end = r->buf + h.length;
    return FL_OK;
}

void fl_journal_rec_done(struct fl_journal_rec *r)
{
    free(r->buf);
    r->buf = NULL;
    r->cap = 0;
}

int fl_journal_committed(const char *dir, uint64_t **batches, uint64_t *n, struct fl_journal_sum *sum, struct fl_err *err)
{
    struct fl_journal *j;
    int rc = fl_journal_open(dir, &(struct fl_journal_conf){ .readonly = true }, &j, err);
    if (rc != FL_OK)
        return rc;
    uint64_t *list = NULL, count = 0;
    if (j->sum.batches > 0 && (list = malloc(j->sum.batches * sizeof *list)) == NULL) {
        fl_journal_close(j);
        return fl_err_set(err, FL_E_NOMEM, "%s: no memory for a list of batches", dir);
    }
    for (uint64_t b = fl_journal_after(j, 0); b != FL_JOURNAL_NONE && count < j->sum.batches; b = fl_journal_after(j, b + 1))
        list[count++] = b;
    if (sum != NULL)
        *sum = j->sum;
    *batches = list;
    *n = count;
    fl_journal_close(j);
    return FL_OK;
}
