/* A recording read: opened, records found, proven and unpacked. */
#include "proto/recording.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "proto/crc32c.h"
#include "proto/read_at.h"
#include "proto/recording_own.h"

#define REC_ZSTD_MOST 65536u             /* a byte of a zstd frame stands for no more than this: a block of 128 KiB takes 4 */

/* ---- opening ---- */

static int rec_head(struct fl_rec *r, uint32_t file, uint64_t *first, struct fl_err *err)
{
    const struct fl_rec_segment *f = &r->files[file];
    uint8_t fixed[FL_RSEG_SIZE];
    struct fl_rseg s;
    int rc = fl_read_at(f->fd, 0, fixed, sizeof fixed, err);
    if (rc == FL_END)
        return fl_err_set(err, FL_E_INPUT, "shorter than the head of a recording");
    if (rc != FL_OK || (rc = fl_rseg_get(fixed, &s, err)) != FL_OK)
        return rc;
    char *head = malloc((size_t)s.size + 1);                  /* at most 64 KiB and a bit */
    if (head == NULL)
        return fl_err_set(err, FL_E_NOMEM, "no memory");
    rc = fl_read_at(f->fd, 0, head, s.size, err);
    if (rc == FL_END || (rc == FL_OK && !fl_rseg_prove((uint8_t *)head, &s)))
        rc = fl_err_set(err, FL_E_INPUT, "damaged head of a recording");
    if (rc == FL_OK && file > 0 && (s.run != r->info.run || strcmp(s.edge, r->info.edge) != 0))
        rc = fl_err_set(err, FL_E_INPUT, "of edge %s of run %016llx, but the first segment is of %s of %016llx", s.edge, (unsigned long long)s.run, r->info.edge,
                        (unsigned long long)r->info.run);
    if (rc == FL_OK && file == 0) {
        memcpy(r->info.edge, s.edge, sizeof s.edge);
        r->info.run = s.run;
        r->info.B = s.B;
        head[FL_RSEG_SIZE + s.text] = '\0';
        r->text = strdup(head + FL_RSEG_SIZE);
        rc = r->text != NULL ? FL_OK : fl_err_set(err, FL_E_NOMEM, "no memory");
        r->info.text = r->text;
    }
    free(head);
    *first = s.size;
    return rc;
}

static int rec_take(struct fl_rec *r, char *path, struct fl_err *err)
{
    struct stat st;
    struct fl_rec_segment *p = realloc(r->files, (r->nfiles + (size_t)1) * sizeof *p);
    if (p == NULL) {
        free(path);
        return fl_err_set(err, FL_E_NOMEM, "no memory");
    }
    r->files = p;
    uint32_t file = r->nfiles++;
    p[file] = (struct fl_rec_segment){ .path = path, .fd = open(path, O_RDONLY | O_CLOEXEC) };
    r->info.files = r->nfiles;
    if (p[file].fd < 0 || fstat(p[file].fd, &st) != 0)
        return fl_err_set(err, FL_E_IO, "%.300s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return fl_err_set(err, FL_E_INPUT, "%.300s: no file", path);
    p[file].size = (uint64_t)st.st_size;
    uint64_t first = 0;
    int rc = rec_head(r, file, &first, err);
    if (rc == FL_OK)
        rc = fl_rscan(r, file, first, err);
    return rc == FL_OK ? FL_OK : fl_err_context(err, "%.300s", path);
}

/* DIR/EDGE: all its segments. What a killed writer had only begun is no segment yet. */
static int rec_take_all(struct fl_rec *r, const char *path, struct fl_err *err)
{
    const char *slash = strrchr(path, '/'), *edge = slash != NULL ? slash + 1 : path;
    char *dir = slash == NULL ? strdup(".") : strndup(path, (size_t)(slash == path ? 1 : slash - path));
    uint32_t *numbers = NULL, n = 0;
    int rc = dir != NULL ? fl_rec_segments(dir, edge, &numbers, &n, err) : fl_err_set(err, FL_E_NOMEM, "no memory");
    if (rc == FL_OK && n == 0)
        rc = fl_err_set(err, FL_E_INPUT, "%.300s: no recording: neither a file nor the beginning of .0000.flr and so on", path);
    for (uint32_t i = 0; rc == FL_OK && i < n; i++) {
        char *file;
        struct stat st;
        if (asprintf(&file, "%s/%s.%04u.flr", dir, edge, numbers[i]) < 0)
            rc = fl_err_set(err, FL_E_NOMEM, "no memory");
        else if (i + 1 == n && i > 0 && stat(file, &st) == 0 && st.st_size < (off_t)FL_RSEG_SIZE)
            free(file);
        else
            rc = rec_take(r, file, err);
    }
    free(numbers);
    free(dir);
    return rc;
}

static int rec_by_batch(const void *a, const void *b)
{
    const struct fl_rec_key *x = a, *y = b;
    if (x->batch != y->batch)
        return x->batch < y->batch ? -1 : 1;
    return (x->record > y->record) - (x->record < y->record);
}

static int rec_sort(struct fl_rec *r, struct fl_err *err)
{
    r->keys = calloc(r->nentries + 1, sizeof *r->keys);
    if (r->keys == NULL)
        return fl_err_set(err, FL_E_NOMEM, "no memory for the batches of a recording");
    for (uint64_t i = 0; i < r->nentries; i++)
        r->keys[i] = (struct fl_rec_key){ r->entries[i].batch, i };
    qsort(r->keys, r->nentries, sizeof *r->keys, rec_by_batch);
    return FL_OK;
}

int fl_rec_open(const char *path, struct fl_rec **out, struct fl_err *err)
{
    struct stat st;
    struct fl_err local;
    err = err != NULL ? err : &local;
    struct fl_rec *r = calloc(1, sizeof *r);
    char *copy = r != NULL ? strdup(path) : NULL;
    if (copy == NULL) {
        free(r);
        return fl_err_set(err, FL_E_NOMEM, "no memory");
    }
    int rc;
    if (stat(path, &st) == 0 && S_ISREG(st.st_mode)) {
        rc = rec_take(r, copy, err);
    } else {
        free(copy);
        rc = rec_take_all(r, path, err);
    }
    if (rc == FL_OK)
        rc = rec_sort(r, err);
    if (rc != FL_OK) {
        fl_rec_close(r);
        return rc;
    }
    *out = r;
    return FL_OK;
}

void fl_rec_close(struct fl_rec *r)
{
    if (r == NULL)
        return;
    for (uint32_t i = 0; i < r->nfiles; i++) {
        if (r->files[i].fd >= 0)
            close(r->files[i].fd);
        free(r->files[i].path);
    }
    free(r->files);
    free(r->entries);
    free(r->keys);
    free(r->text);
    free(r);
}

const struct fl_rec_info *fl_rec_info(const struct fl_rec *r) { return &r->info; }
uint64_t fl_rec_count(const struct fl_rec *r) { return r->nentries; }
const struct fl_rec_entry *fl_rec_at(const struct fl_rec *r, uint64_t i) { return &r->entries[i]; }
const char *fl_rec_file(const struct fl_rec *r, uint32_t file) { return r->files[file].path; }

/* Number of the first key whose batch is greater. */
static uint64_t rec_behind(const struct fl_rec *r, uint64_t batch)
{
    uint64_t low = 0, high = r->nentries;
    while (low < high) {
        uint64_t mid = low + (high - low) / 2;
        if (r->keys[mid].batch <= batch)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

uint64_t fl_rec_find(const struct fl_rec *r, uint64_t batch, uint32_t attempt)
{
    for (uint64_t i = rec_behind(r, batch); i-- > 0 && r->keys[i].batch == batch;)
        if (attempt == FL_REC_LAST || r->entries[r->keys[i].record].attempt == attempt)
            return r->keys[i].record;
    return FL_REC_NONE;
}

int fl_rec_batches(const struct fl_rec *r, uint64_t **records, uint64_t *n, struct fl_err *err)
{
    *records = calloc(r->nentries + 1, sizeof **records);
    *n = 0;
    if (*records == NULL)
        return fl_err_set(err, FL_E_NOMEM, "no memory for the batches of a recording");
    for (uint64_t i = 0; i < r->nentries; i++)
        if (i + 1 == r->nentries || r->keys[i + 1].batch != r->keys[i].batch)
            (*records)[(*n)++] = r->keys[i].record;
    return FL_OK;
}

/* ---- records ---- */

static int rec_damaged(const struct fl_rec *r, const struct fl_rec_entry *e, const char *what, struct fl_err *err)
{
    return fl_err_set(err, FL_E_INPUT, "%.300s: batch %llu, attempt %u: damaged: %s", r->files[e->file].path, (unsigned long long)e->batch, e->attempt, what);
}

static int rec_room(struct fl_rec_batch *b, size_t bytes, struct fl_err *err)
{
    if (bytes <= b->cap)
        return FL_OK;
    free(b->mem);
    b->cap = 0;
    b->mem = aligned_alloc(FL_ALIGN, fl_ralign(bytes));
    if (b->mem == NULL)
        return fl_err_set(err, FL_E_NOMEM, "no memory for a record of %zu bytes", bytes);
    b->cap = fl_ralign(bytes);
    return FL_OK;
}

static int rec_read_head(struct fl_rec *r, const struct fl_rec_entry *e, struct fl_rhead *h, struct fl_rtensor *table, struct fl_rec_batch *to, struct fl_err *err)
{
    struct fl_batch *b = &to->b;
    const struct fl_rec_segment *f = &r->files[e->file];
    uint8_t head[FL_RHEAD_MAX];
    int rc = fl_read_at(f->fd, e->off, head, FL_RHEAD_SIZE, err);
    if (rc == FL_OK && (!fl_rhead_get(head, h) || h->bytes > f->size - e->off))
        rc = FL_END;
    if (rc == FL_OK)
        rc = fl_read_at(f->fd, e->off + FL_RHEAD_SIZE, head + FL_RHEAD_SIZE, fl_rhead_size(h) - FL_RHEAD_SIZE, err);
    if (rc == FL_E_IO) {
        fl_err_context(err, "%.300s", f->path);
        return FL_E_IO;
    }
    if (rc != FL_OK || !fl_rhead_prove(head, h, table))
        return rec_damaged(r, e, "its head", err);
    if (fl_frame_unpack(head + FL_RHEAD_SIZE, h->hlen, b, err) != FL_OK)
        return rec_damaged(r, e, err->text, err);
    if (b->batch != e->batch || b->attempt != e->attempt || b->n != e->n || b->ntensors != h->ntensors)
        return rec_damaged(r, e, "its head is of another batch", err);
    if (b->n > r->info.B)
        return rec_damaged(r, e, "more tiles than a batch of its run has", err);
    to->head.len = h->hlen;
    memcpy(to->head.bytes, head + FL_RHEAD_SIZE, h->hlen);
    for (uint32_t i = 0; i < b->ntensors; i++) {
        uint64_t stored = table[i].stored, bytes = b->t[i].bytes;
        bool fits = table[i].codec == FL_RCODEC_PLAIN ? stored == bytes : bytes <= FL_REC_TENSOR && bytes / REC_ZSTD_MOST <= stored;
        if (!fits)
            return rec_damaged(r, e, "a tensor's size", err);
    }
    return FL_OK;
}

static int rec_tensor(const struct fl_rec *r, const struct fl_rec_entry *e, const struct fl_rtensor *t, uint64_t off, struct fl_tensor *to, uint8_t *at, uint8_t *packed, struct fl_err *err)
{
    const struct fl_rec_segment *f = &r->files[e->file];
    uint8_t *into = t->codec == FL_RCODEC_PLAIN ? at : packed;
    to->data = at;
    int rc = fl_read_at(f->fd, off, into, t->stored, err);
    if (rc == FL_E_IO) {
        fl_err_context(err, "%.300s", f->path);
        return FL_E_IO;
    }
    if (rc != FL_OK || fl_crc32c(0, into, t->stored) != t->crc)
        return rec_damaged(r, e, to->name, err);
    if (t->codec == FL_RCODEC_ZSTD) {
        size_t n = ZSTD_getFrameContentSize(packed, t->stored) == to->bytes ? ZSTD_decompress(at, to->bytes, packed, t->stored) : 0;
        if (ZSTD_getErrorCode(n) == ZSTD_error_memory_allocation)
            return fl_err_set(err, FL_E_NOMEM, "%.300s: no memory to unpack %s", f->path, to->name);
        if (ZSTD_isError(n) || n != to->bytes)
            return rec_damaged(r, e, to->name, err);
    }
    return FL_OK;
}

int fl_rec_peek(struct fl_rec *r, uint64_t i, struct fl_rec_batch *b, struct fl_err *err)
{
    struct fl_rhead h;
    struct fl_rtensor table[FL_MAX_TENSORS];
    struct fl_err local;
    int rc = rec_read_head(r, &r->entries[i], &h, table, b, err != NULL ? err : &local);
    for (uint32_t k = 0; rc == FL_OK && k < b->b.ntensors; k++)
        b->stored[k] = table[k].stored;
    b->time = rc == FL_OK ? h.time : 0;
    return rc;
}

int fl_rec_read(struct fl_rec *r, uint64_t i, struct fl_rec_batch *b, struct fl_err *err)
{
    const struct fl_rec_entry *e = &r->entries[i];
    struct fl_rhead h;
    struct fl_rtensor table[FL_MAX_TENSORS];
    struct fl_err local;
    uint64_t sum = 0, packed = 0;
    err = err != NULL ? err : &local;
    int rc = rec_read_head(r, e, &h, table, b, err);
    for (uint32_t k = 0; rc == FL_OK && k < h.ntensors; k++) {
        sum += fl_ralign(b->b.t[k].bytes);                     /* each at most 4 GiB, at most 256 of them */
        packed = table[k].codec == FL_RCODEC_ZSTD && table[k].stored > packed ? table[k].stored : packed;
        b->stored[k] = table[k].stored;
    }
    if (rc == FL_OK)
        rc = rec_room(b, sum + fl_ralign(packed) + FL_ALIGN, err);
    uint64_t off = rc == FL_OK ? e->off + fl_ralign(fl_rhead_size(&h)) : 0;
    uint8_t *at = b->mem;
    for (uint32_t k = 0; rc == FL_OK && k < h.ntensors; k++) {
        rc = rec_tensor(r, e, &table[k], off, &b->b.t[k], at, (uint8_t *)b->mem + sum, err);
        at += fl_ralign(b->b.t[k].bytes);
        off += fl_ralign(table[k].stored);
    }
    b->time = rc == FL_OK ? h.time : 0;
    return rc;
}

void fl_rec_batch_done(struct fl_rec_batch *b)
{
    free(b->mem);
    b->mem = NULL;
    b->cap = 0;
}
