/* Rows of a second level: arrays, and one record a batch on disk. */
#include "stages/stack_fit/rows.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/crc32c.h"

#define ROWS_MAX (UINT64_C(1) << 26)

struct rows_head { uint64_t batch; uint32_t n, M, L, crc; };      /* crc: of what stands before it, and of the arrays behind */

enum { ROWS_PARTS = 5 };

/* The arrays of `n` rows from row `at`. */
static void rows_parts(const struct fit_rows *r, uint64_t at, uint64_t n, void *part[ROWS_PARTS], size_t bytes[ROWS_PARTS])
{
    size_t P = (size_t)r->M * r->L;
    part[0] = r->ids[at], bytes[0] = n * sizeof *r->ids;
    part[1] = r->ordinal + at, bytes[1] = n * sizeof *r->ordinal;
    part[2] = r->x + at * P, bytes[2] = n * P * sizeof *r->x;
    part[3] = r->y + at * r->L, bytes[3] = n * r->L;
    part[4] = r->fold + at, bytes[4] = n;
}

static uint32_t rows_crc(const struct rows_head *h, void *const part[ROWS_PARTS], const size_t bytes[ROWS_PARTS])
{
    uint32_t crc = fl_crc32c(0, h, offsetof(struct rows_head, crc));
    for (int i = 0; i < ROWS_PARTS; i++)
        crc = fl_crc32c(crc, part[i], bytes[i]);
    return crc;
}

static int rows_grow(void *field, size_t size)
{
    void *p;
    memcpy(&p, field, sizeof p);
    void *more = realloc(p, size);
    if (more == NULL)
        return 0;
    memcpy(field, &more, sizeof more);
    return 1;
}

int fit_rows_room(struct fit_rows *r, uint64_t more, struct fl_err *err)
{
    size_t P = (size_t)r->M * r->L;
    uint64_t room = r->room > 0 ? r->room : 4096;
    if (r->n + more > ROWS_MAX)
        return fl_err_set(err, FL_E_CONFIG, "more than %llu rows", (unsigned long long)ROWS_MAX);
    while (room < r->n + more)
        room += room / 2;
    if (room == r->room)
        return FL_OK;
    if (!rows_grow(&r->ids, room * sizeof *r->ids) || !rows_grow(&r->ordinal, room * sizeof *r->ordinal) || !rows_grow(&r->x, room * P * sizeof *r->x) ||
        !rows_grow(&r->y, room * r->L) || !rows_grow(&r->fold, room))
        return fl_err_set(err, FL_E_NOMEM, "no memory for %llu rows", (unsigned long long)room);
    r->room = room;
    return FL_OK;
}

int fit_rows_has(const struct fit_rows *r, uint64_t batch)
{
    return fl_seen_has(&r->seen, batch);
}

static int rows_seen(struct fit_rows *r, uint64_t batch, uint64_t n, struct fl_err *err)
{
    r->n += n;
    return fl_seen_add(&r->seen, batch, err);
}

static int rows_write(int fd, const void *p, size_t n)
{
    for (ssize_t got; n > 0; p = (const char *)p + got, n -= (size_t)got)
        if ((got = write(fd, p, n)) < 0) {
            if (errno != EINTR)
                return 0;
            got = 0;
        }
    return 1;
}

int fit_rows_keep(struct fit_rows *r, uint64_t batch, uint64_t more, struct fl_err *err)
{
    struct rows_head h;
    void *part[ROWS_PARTS];
    size_t bytes[ROWS_PARTS];
    memset(&h, 0, sizeof h);
    h.batch = batch;
    h.n = (uint32_t)more;
    h.M = r->M;
    h.L = r->L;
    rows_parts(r, r->n, more, part, bytes);
    h.crc = rows_crc(&h, part, bytes);
    int ok = r->fd < 0 || rows_write(r->fd, &h, sizeof h);
    for (int i = 0; i < ROWS_PARTS && ok && r->fd >= 0; i++)
        ok = rows_write(r->fd, part[i], bytes[i]);
    return ok ? rows_seen(r, batch, more, err) : fl_err_set(err, FL_E_IO, "rows: %s", strerror(errno));
}

static int rows_read(int fd, void *p, size_t n)
{
    for (ssize_t got; n > 0; p = (char *)p + got, n -= (size_t)got)
        if ((got = read(fd, p, n)) <= 0) {
            if (got == 0 || errno != EINTR)
                return 0;
            got = 0;
        }
    return 1;
}

int fit_rows_open(struct fit_rows *r, const char *path, uint32_t M, uint32_t L, struct fl_err *err)
{
    struct rows_head h;
    void *part[ROWS_PARTS];
    size_t bytes[ROWS_PARTS];
    *r = (struct fit_rows){ .fd = -1, .M = M, .L = L };
    int rc = fit_rows_room(r, 1, err);
    if (path == NULL || rc != FL_OK)
        return rc;
    r->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (r->fd < 0)
        return fl_err_set(err, FL_E_IO, "%s: %s", path, strerror(errno));
    off_t at = 0;
    while (rows_read(r->fd, &h, sizeof h) && h.M == M && h.L == L && h.n <= ROWS_MAX - r->n) {
        if ((rc = fit_rows_room(r, h.n, err)) != FL_OK)
            return rc;
        rows_parts(r, r->n, h.n, part, bytes);
        int whole = 1;
        for (int i = 0; i < ROWS_PARTS && whole; i++)
            whole = rows_read(r->fd, part[i], bytes[i]);
        if (!whole || h.crc != rows_crc(&h, part, bytes))
            break;
        if ((rc = rows_seen(r, h.batch, h.n, err)) != FL_OK)
            return rc;
        at = lseek(r->fd, 0, SEEK_CUR);
    }
    if (ftruncate(r->fd, at) != 0 || lseek(r->fd, at, SEEK_SET) != at)
        return fl_err_set(err, FL_E_IO, "%s: %s", path, strerror(errno));
    return FL_OK;
}

/* ---- order ---- */

struct rows_place { uint64_t ordinal; uint32_t row; };

static int rows_order(const void *a, const void *b)
{
    const struct rows_place *x = a, *y = b;
    return x->ordinal < y->ordinal ? -1 : x->ordinal > y->ordinal;
}

/* Elements of `size` bytes into the order of `place`; frees the old array. */
static int rows_permute(void *field, const struct rows_place *place, uint64_t n, size_t size)
{
    char *old, *p = malloc(n * size);
    memcpy(&old, field, sizeof old);
    if (p == NULL)
        return 0;
    for (uint64_t i = 0; i < n; i++)
        memcpy(p + i * size, old + place[i].row * size, size);
    free(old);
    memcpy(field, &p, sizeof p);
    return 1;
}

int fit_rows_sort(struct fit_rows *r, struct fl_err *err)
{
    uint64_t n = r->n, rising = 1;
    while (rising < n && r->ordinal[rising - 1] < r->ordinal[rising])
        rising++;
    if (rising >= n)
        return FL_OK;
    struct rows_place *place = malloc(n * sizeof *place);
    for (uint64_t i = 0; place != NULL && i < n; i++)
        place[i] = (struct rows_place){ r->ordinal[i], (uint32_t)i };
    int ok = place != NULL;
    if (ok)
        qsort(place, n, sizeof *place, rows_order);
    ok = ok && rows_permute(&r->x, place, n, (size_t)r->M * r->L * sizeof *r->x) && rows_permute(&r->y, place, n, r->L) &&
         rows_permute(&r->fold, place, n, 1) && rows_permute(&r->ids, place, n, sizeof *r->ids) && rows_permute(&r->ordinal, place, n, sizeof *r->ordinal);
    free(place);
    r->room = 0;
    if (!ok)
        return fl_err_set(err, FL_E_NOMEM, "no memory for %llu rows", (unsigned long long)n);
    for (uint64_t i = 1; i < n; i++)
        if (r->ordinal[i - 1] == r->ordinal[i])
            return fl_err_set(err, FL_E_LABEL, "%s and %s have the same place in the order of the source", r->ids[i - 1], r->ids[i]);
    return FL_OK;
}

void fit_rows_done(struct fit_rows *r)
{
    if (r->fd >= 0)
        close(r->fd);
    free(r->ids);
    free(r->ordinal);
    free(r->x);
    free(r->y);
    free(r->fold);
    fl_seen_done(&r->seen);
    *r = (struct fit_rows){ .fd = -1 };
}
