/* A recording written: tensors first, then the head that makes a record of them; segments one after the other. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>
#include <zstd.h>

#include "proto/crc32c.h"
#include "proto/recording_own.h"

#define REC_SEGMENT (UINT64_C(1) << 30)
#define REC_ENTRIES (UINT32_C(1) << 26)      /* most records of a segment */

struct fl_rec_out {
    char    *dir, *text;
    struct fl_rseg seg;                      /* of the segment that is open, or of the next */
    uint64_t segment, limit;
    int      zstd, fd;                       /* fd: -1 = no segment is open */
    uint64_t end, bytes;                     /* bytes: of all segments that are there */
    uint64_t written;
    uint32_t dropped, oldest;
    bool     old;                            /* oldest: number of a segment that is there */
    bool     trying;                         /* nothing is written */
    struct fl_rec_entry *index; uint32_t n, cap;
    ZSTD_CCtx *cctx;
    uint8_t *scratch; size_t room;           /* a compressed tensor */
};

static void rec_path(const struct fl_rec_out *o, uint32_t number, char path[4096])
{
    snprintf(path, 4096, "%s/%s.%04u.flr", o->dir, o->seg.edge, number);
}

static int rec_fail(const struct fl_rec_out *o, const char *what, struct fl_err *err)
{
    int why = errno;
    return fl_err_set(err, FL_E_IO, "%.300s/%s.%04u.flr: %s: %s", o->dir, o->seg.edge, o->seg.number, what, strerror(why));
}

static bool rec_name_ok(const char *s)
{
    size_t n = strlen(s);
    return n > 0 && n < FL_NAME_MAX && s[0] != '.' && s[strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-")] == '\0';
}

/* ---- segments ---- */

static int rec_write(struct fl_rec_out *o, uint64_t off, struct iovec *v, int n, struct fl_err *err)
{
    while (n > 0 && !o->trying) {
        ssize_t w = pwritev(o->fd, v, n, (off_t)off);
        if (w < 0 && errno == EINTR)
            continue;
        if (w <= 0) {
            if (w == 0)
                errno = ENOSPC;
            return rec_fail(o, "write", err);
        }
        off += (uint64_t)w;
        for (; n > 0 && (size_t)w >= v->iov_len; n--, v++)
            w -= (ssize_t)v->iov_len;
        if (n > 0) {
            v->iov_base = (char *)v->iov_base + w;
            v->iov_len -= (size_t)w;
        }
    }
    return FL_OK;
}

static int rec_begin(struct fl_rec_out *o, struct fl_err *err)
{
    char path[4096];
    uint32_t size = fl_rseg_size(o->seg.text);
    uint8_t *head = malloc(size);
    if (head == NULL)
        return fl_err_set(err, FL_E_NOMEM, "recording of %s: no memory", o->seg.edge);
    rec_path(o, o->seg.number, path);
    fl_rseg_put(head, &o->seg, o->text);
    o->fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    struct iovec v = { head, size };
    int rc = o->fd >= 0 ? rec_write(o, 0, &v, 1, err) : rec_fail(o, "create", err);
    free(head);
    if (rc != FL_OK && o->fd >= 0) {
        close(o->fd);
        unlink(path);
        o->fd = -1;
    }
    if (rc != FL_OK)
        return rc;
    o->end = size;
    o->bytes += size;
    o->written += size;
    o->n = 0;
    if (!o->old)
        o->oldest = o->seg.number;
    o->old = true;
    return FL_OK;
}

int fl_rec_finish(struct fl_rec_out *o, struct fl_err *err)
{
    if (o->fd < 0)
        return FL_OK;
    size_t len = FL_RINDEX_HEAD + (size_t)o->n * FL_RINDEX + FL_RTAIL;
    uint8_t *all = malloc(len);
    if (all == NULL)
        return fl_err_set(err, FL_E_NOMEM, "recording of %s: no memory for the index", o->seg.edge);
    fl_rindex_head(all, o->n);
    for (uint32_t i = 0; i < o->n; i++)
        fl_rindex_put(all + FL_RINDEX_HEAD + (size_t)i * FL_RINDEX, &o->index[i]);
    fl_rtail_put(all + len - FL_RTAIL, o->end, o->n, fl_crc32c(0, all, len - FL_RTAIL));
    struct iovec v = { all, len };
    int rc = rec_write(o, o->end, &v, 1, err);
    if (rc != FL_OK && ftruncate(o->fd, (off_t)o->end) != 0)      /* half an index is passed over by readers */
        fl_err_context(err, "can't be cut");
    if (close(o->fd) != 0 && rc == FL_OK)
        rc = rec_fail(o, "close", err);
    free(all);
    o->fd = -1;
    o->seg.number++;
    o->bytes += len;
    o->written += len;
    return rc;
}

/* The oldest segments go until `more` bytes fit; the one that is written stays. */
static void rec_make_room(struct fl_rec_out *o, uint64_t more)
{
    while (o->limit > 0 && o->bytes + more > o->limit && o->old && o->oldest < o->seg.number) {
        char path[4096];
        rec_path(o, o->oldest++, path);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            continue;                                 /* numbers need not be without gaps */
        off_t size = lseek(fd, 0, SEEK_END);
        close(fd);
        unlink(path);
        o->dropped++;
        o->bytes -= size > 0 && (uint64_t)size < o->bytes ? (uint64_t)size : o->bytes;
    }
}

/* ---- records ---- */

static int rec_compress(struct fl_rec_out *o, const struct fl_tensor *t, const void **data, struct fl_rtensor *e, struct fl_err *err)
{
    size_t bound = ZSTD_compressBound(t->bytes);
    if (o->cctx == NULL)
        o->cctx = ZSTD_createCCtx();
    if (bound > o->room) {
        uint8_t *p = realloc(o->scratch, bound);
        if (p == NULL)
            return fl_err_set(err, FL_E_NOMEM, "recording of %s: no memory to compress %zu bytes", o->seg.edge, (size_t)t->bytes);
        o->scratch = p;
        o->room = bound;
    }
    size_t n = o->cctx != NULL ? ZSTD_compressCCtx(o->cctx, o->scratch, o->room, t->data, t->bytes, o->zstd) : 0;
    if (o->cctx == NULL || ZSTD_isError(n))
        return fl_err_set(err, FL_E_NOMEM, "recording of %s: zstd: %s", o->seg.edge, o->cctx != NULL ? ZSTD_getErrorName(n) : "no memory");
    if (n < t->bytes) {
        *data = o->scratch;
        e->stored = n;
        e->codec = FL_RCODEC_ZSTD;
    }
    return FL_OK;
}

static int rec_tensor(struct fl_rec_out *o, const struct fl_tensor *t, uint64_t off, struct fl_rtensor *e, struct fl_err *err)
{
    static const uint8_t zeros[FL_ALIGN];
    const void *data = t->data;
    *e = (struct fl_rtensor){ .stored = t->bytes, .codec = FL_RCODEC_PLAIN };
    if (t->bytes > FL_REC_TENSOR)
        return fl_err_set(err, FL_E_CONFIG, "recording of %s: tensor %s has %llu bytes, at most 4 GiB are recorded", o->seg.edge, t->name, (unsigned long long)t->bytes);
    int rc = o->zstd > 0 && t->bytes > 0 ? rec_compress(o, t, &data, e, err) : FL_OK;
    if (rc != FL_OK)
        return rc;
    e->crc = fl_crc32c(0, data, e->stored);
    struct iovec v[2] = { { (void *)data, e->stored }, { (void *)zeros, fl_ralign(e->stored) - e->stored } };
    return rec_write(o, off, v, 2, err);
}

static int rec_index(struct fl_rec_out *o, const struct fl_batch *b, uint64_t time, struct fl_err *err)
{
    if (o->n == o->cap) {
        uint32_t cap = o->cap > 0 ? 2 * o->cap : 256;
        struct fl_rec_entry *p = realloc(o->index, cap * sizeof *p);
        if (p == NULL)
            return fl_err_set(err, FL_E_NOMEM, "recording of %s: no memory for the index", o->seg.edge);
        o->index = p;
        o->cap = cap;
    }
    o->index[o->n] = (struct fl_rec_entry){ .batch = b->batch, .off = o->end, .time = time, .attempt = b->attempt, .n = b->n };
    return FL_OK;
}

static int rec_head(const struct fl_batch *b, const struct fl_frame *head, uint8_t *out, size_t *len, struct fl_err *err)
{
    if (head == NULL)
        return fl_frame_pack(b, out, FL_FRAME_MAX, len, err);
    memcpy(out, head->bytes, head->len);
    *len = head->len;
    return FL_OK;
}

static int rec_record(struct fl_rec_out *o, const struct fl_batch *b, const struct fl_frame *wire, uint64_t time, struct fl_err *err)
{
    uint8_t head[FL_RHEAD_MAX + FL_ALIGN];
    struct fl_rtensor table[FL_MAX_TENSORS];
    size_t hlen;
    int rc = rec_head(b, wire, head + FL_RHEAD_SIZE, &hlen, err);
    if (rc == FL_OK)
        rc = rec_index(o, b, time, err);
    struct fl_rhead h = { .hlen = (uint32_t)hlen, .ntensors = b->ntensors, .time = time };
    uint64_t off = rc == FL_OK ? o->end + fl_ralign(fl_rhead_size(&h)) : 0;
    for (uint32_t i = 0; rc == FL_OK && i < b->ntensors; i++) {
        rc = rec_tensor(o, &b->t[i], off, &table[i], err);
        off += rc == FL_OK ? fl_ralign(table[i].stored) : 0;
    }
    if (rc != FL_OK)
        return rc;
    h.bytes = off - o->end;
    size_t size = fl_rhead_put(head, &h, table);
    memset(head + size, 0, fl_ralign(size) - size);
    struct iovec v = { head, fl_ralign(size) };
    rc = rec_write(o, o->end, &v, 1, err);
    if (rc == FL_OK) {
        o->n++;
        o->end = off;
        o->bytes += h.bytes;
        o->written += h.bytes;
    }
    return rc;
}

int fl_rec_append(struct fl_rec_out *o, const struct fl_batch *b, const struct fl_frame *head, uint64_t time, struct fl_err *err)
{
    uint64_t bytes = FL_RHEAD_SIZE + (head != NULL ? head->len : FL_FRAME_MAX) + b->ntensors * (uint64_t)FL_RTENSOR + FL_ALIGN;
    for (uint32_t i = 0; i < b->ntensors; i++)
        bytes += fl_ralign(b->t[i].bytes);
    int rc = FL_OK;
    if (o->fd >= 0 && (o->end + bytes > o->segment || o->n == REC_ENTRIES) && o->n > 0)
        rc = fl_rec_finish(o, err);
    rec_make_room(o, bytes + fl_rseg_size(o->seg.text) + FL_RINDEX_HEAD + (o->n + UINT64_C(1)) * FL_RINDEX + FL_RTAIL);
    if (rc == FL_OK && o->fd < 0)
        rc = rec_begin(o, err);
    if (rc != FL_OK)
        return rc;
    rc = rec_record(o, b, head, time, err);
    if (rc != FL_OK && ftruncate(o->fd, (off_t)o->end) != 0)      /* a torn end is passed over by readers */
        fl_err_context(err, "can't be cut");
    return rc;
}

int fl_rec_try(struct fl_rec_out *o, const struct fl_batch *b, const struct fl_frame *head, struct fl_err *err)
{
    uint64_t end = o->end, bytes = o->bytes, written = o->written;
    uint32_t n = o->n;
    o->trying = true;
    int rc = rec_record(o, b, head, 0, err);
    o->trying = false;
    o->end = end;
    o->bytes = bytes;
    o->written = written;
    o->n = n;
    return rc;
}

/* ---- begin and end ---- */

static int rec_look(struct fl_rec_out *o, struct fl_err *err)
{
    uint32_t *numbers, n;
    int rc = fl_rec_segments(o->dir, o->seg.edge, &numbers, &n, err);
    for (uint32_t i = 0; rc == FL_OK && i < n; i++) {
        char path[4096];
        rec_path(o, numbers[i], path);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        off_t size = fd >= 0 ? lseek(fd, 0, SEEK_END) : 0;
        if (fd >= 0)
            close(fd);
        o->bytes += size > 0 ? (uint64_t)size : 0;
    }
    if (rc == FL_OK && n > 0) {
        o->oldest = numbers[0];
        o->old = true;
        o->seg.number = numbers[n - 1] + 1;
    }
    free(numbers);
    return rc;
}

int fl_rec_out_new(const struct fl_rec_conf *c, struct fl_rec_out **out, struct fl_err *err)
{
    const char *text = c->text != NULL ? c->text : "{}";
    if (!rec_name_ok(c->edge))
        return fl_err_set(err, FL_E_CONFIG, "recording: %.60s is no name of an edge", c->edge);
    if (strlen(c->dir) > 4000 || strlen(text) > FL_REC_TEXT_MAX)
        return fl_err_set(err, FL_E_CONFIG, "recording of %s: the name of the folder or the text is too long", c->edge);
    struct fl_rec_out *o = calloc(1, sizeof *o);
    if (o != NULL)
        o->fd = -1;
    if (o == NULL || (o->dir = strdup(c->dir)) == NULL || (o->text = strdup(text)) == NULL) {
        fl_rec_out_free(o);
        return fl_err_set(err, FL_E_NOMEM, "recording of %s: no memory", c->edge);
    }
    o->seg = (struct fl_rseg){ .run = c->run, .B = c->B, .text = (uint32_t)strlen(text) };
    memcpy(o->seg.edge, c->edge, strlen(c->edge));
    o->segment = c->segment != 0 ? c->segment : REC_SEGMENT;
    o->limit = c->limit;
    if (o->limit > 0 && o->segment > o->limit / 4)       /* so that what goes at the limit is a small part */
        o->segment = o->limit / 4;
    o->zstd = c->zstd;
    int rc = rec_look(o, err);
    if (rc != FL_OK) {
        fl_rec_out_free(o);
        return rc;
    }
    *out = o;
    return FL_OK;
}

uint64_t fl_rec_out_bytes(const struct fl_rec_out *o) { return o->written; }
uint32_t fl_rec_out_dropped(const struct fl_rec_out *o) { return o->dropped; }

void fl_rec_out_free(struct fl_rec_out *o)
{
    if (o == NULL)
        return;
    if (o->fd >= 0)
        close(o->fd);
    ZSTD_freeCCtx(o->cctx);
    free(o->scratch);
    free(o->index);
    free(o->dir);
    free(o->text);
    free(o);
}
