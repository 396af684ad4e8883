/* Finding the records of a segment: by its index, or by walking over the heads, past damaged places too. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "proto/crc32c.h"
#include "proto/read_at.h"
#include "proto/recording_own.h"

#define RSCAN_CHUNK 65536u               /* a multiple of 64 */

static int rscan_add(struct fl_rec *r, struct fl_rec_entry e, struct fl_err *err)
{
    if (r->nentries == r->cap) {
        uint64_t cap = r->cap > 0 ? 2 * r->cap : 256;
        struct fl_rec_entry *p = realloc(r->entries, cap * sizeof *p);
        if (p == NULL)
            return fl_err_set(err, FL_E_NOMEM, "no memory for the index of a recording");
        r->entries = p;
        r->cap = cap;
    }
    r->entries[r->nentries++] = e;
    return FL_OK;
}

/* ---- the index ---- */

/* The index is taken only whole: every entry lies before it, in order. */
static int rscan_entries(struct fl_rec *r, uint32_t file, uint64_t first, uint64_t at, const uint8_t *bytes, uint32_t n, struct fl_err *err)
{
    uint64_t last = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct fl_rec_entry e;
        fl_rindex_get(bytes + FL_RINDEX_HEAD + (size_t)i * FL_RINDEX, &e);
        if (e.off < first || e.off % FL_ALIGN != 0 || e.off >= at || (i > 0 && e.off <= last))
            return FL_END;
        last = e.off;
    }
    for (uint32_t i = 0; i < n; i++) {
        struct fl_rec_entry e;
        fl_rindex_get(bytes + FL_RINDEX_HEAD + (size_t)i * FL_RINDEX, &e);
        e.file = file;
        int rc = rscan_add(r, e, err);
        if (rc != FL_OK)
            return rc;
    }
    return FL_OK;
}

/* FL_END: there is none, or it is damaged. */
static int rscan_index(struct fl_rec *r, uint32_t file, uint64_t first, struct fl_err *err)
{
    const struct fl_rec_segment *f = &r->files[file];
    uint8_t tail[FL_RTAIL];
    uint64_t at;
    uint32_t n, crc;
    if (f->size < first + FL_RINDEX_HEAD + FL_RTAIL)
        return FL_END;
    int rc = fl_read_at(f->fd, f->size - FL_RTAIL, tail, sizeof tail, err);
    if (rc != FL_OK)
        return rc;
    if (!fl_rtail_get(tail, &at, &n, &crc) || at < first || at > f->size || f->size - at != FL_RINDEX_HEAD + (uint64_t)n * FL_RINDEX + FL_RTAIL)
        return FL_END;
    size_t len = f->size - at - FL_RTAIL;             /* no more than the file has */
    uint8_t *bytes = malloc(len), head[FL_RINDEX_HEAD];
    if (bytes == NULL)
        return fl_err_set(err, FL_E_NOMEM, "no memory for the index of a recording");
    fl_rindex_head(head, n);
    rc = fl_read_at(f->fd, at, bytes, len, err);
    if (rc == FL_OK && (memcmp(bytes, head, sizeof head) != 0 || fl_crc32c(0, bytes, len) != crc))
        rc = FL_END;
    if (rc == FL_OK)
        rc = rscan_entries(r, file, first, at, bytes, n, err);
    free(bytes);
    return rc;
}

/* ---- the walk ---- */

/* FL_OK: a record begins at off; FL_END: none does. */
static int rscan_prove(const struct fl_rec_segment *f, uint64_t off, struct fl_rhead *h, struct fl_rec_entry *e, struct fl_err *err)
{
    uint8_t head[FL_RHEAD_MAX];
    struct fl_rtensor table[FL_MAX_TENSORS];
    struct fl_batch b;
    int rc = fl_read_at(f->fd, off, head, FL_RHEAD_SIZE, err);
    if (rc != FL_OK)
        return rc;
    if (!fl_rhead_get(head, h) || h->bytes > f->size - off)
        return FL_END;
    rc = fl_read_at(f->fd, off + FL_RHEAD_SIZE, head + FL_RHEAD_SIZE, fl_rhead_size(h) - FL_RHEAD_SIZE, err);
    if (rc != FL_OK)
        return rc;
    if (!fl_rhead_prove(head, h, table) || fl_frame_unpack(head + FL_RHEAD_SIZE, h->hlen, &b, NULL) != FL_OK)
        return FL_END;
    *e = (struct fl_rec_entry){ .batch = b.batch, .off = off, .time = h->time, .attempt = b.attempt, .n = b.n };
    return FL_OK;
}

/* *off moves to the next place where a record or the index may begin, or to the end. */
static int rscan_next(const struct fl_rec_segment *f, uint64_t *off, struct fl_err *err)
{
    uint8_t chunk[RSCAN_CHUNK];
    while (*off < f->size) {
        size_t len = f->size - *off < sizeof chunk ? (size_t)(f->size - *off) : sizeof chunk;
        int rc = fl_read_at(f->fd, *off, chunk, len, err);
        if (rc != FL_OK)
            return rc;
        for (size_t i = 0; i + 4 <= len; i += FL_ALIGN)
            if (memcmp(chunk + i, "FLRC", 4) == 0 || memcmp(chunk + i, "FLIX", 4) == 0) {
                *off += i;
                return FL_OK;
            }
        *off += len;
    }
    *off = f->size;
    return FL_OK;
}

static bool rscan_is_index(const struct fl_rec_segment *f, uint64_t off)
{
    uint8_t magic[4];
    return fl_read_at(f->fd, off, magic, sizeof magic, NULL) == FL_OK && memcmp(magic, "FLIX", 4) == 0;
}

static int rscan_walk(struct fl_rec *r, uint32_t file, uint64_t first, struct fl_err *err)
{
    const struct fl_rec_segment *f = &r->files[file];
    uint64_t off = first, end = first;
    while (off < f->size) {
        struct fl_rhead h;
        struct fl_rec_entry e;
        int rc = rscan_prove(f, off, &h, &e, err);
        if (rc == FL_OK) {
            r->info.damaged += off != end;
            e.file = file;
            if ((rc = rscan_add(r, e, err)) != FL_OK)
                return rc;
            end = off += h.bytes;
            continue;
        }
        if (rc < 0)
            return rc;
        if (rscan_is_index(f, off))
            break;
        off += FL_ALIGN;
        rc = rscan_next(f, &off, err);
        if (rc != FL_OK)
            return rc < 0 ? rc : FL_OK;
    }
    r->info.torn += f->size - end;
    return FL_OK;
}

int fl_rscan(struct fl_rec *r, uint32_t file, uint64_t first, struct fl_err *err)
{
    int rc = rscan_index(r, file, first, err);
    return rc == FL_END ? rscan_walk(r, file, first, err) : rc;
}

/* ---- files ---- */

static int rscan_by_number(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

int fl_rec_segments(const char *dir, const char *edge, uint32_t **numbers, uint32_t *n, struct fl_err *err)
{
    size_t len = strlen(edge);
    *numbers = NULL;
    *n = 0;
    DIR *d = opendir(dir);
    if (d == NULL)
        return fl_err_set(err, errno == ENOMEM ? FL_E_NOMEM : FL_E_IO, "%.300s: %s", dir, strerror(errno));
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        unsigned number;
        int used = 0;
        if (strncmp(e->d_name, edge, len) != 0 || sscanf(e->d_name + len, ".%9u.flr%n", &number, &used) != 1 || used < 9 || e->d_name[len + (size_t)used] != '\0')
            continue;
        uint32_t *p = realloc(*numbers, (*n + (size_t)1) * sizeof *p);
        if (p == NULL) {
            closedir(d);
            free(*numbers);
            *numbers = NULL;
            return fl_err_set(err, FL_E_NOMEM, "%.300s: no memory", dir);
        }
        *numbers = p;
        p[(*n)++] = number;
    }
    closedir(d);
    if (*n > 0)
        qsort(*numbers, *n, sizeof **numbers, rscan_by_number);
    return FL_OK;
}
