/* Tar archives: headers of 512 bytes, each proven by its checksum, names in the header or in a member before it. */
#include "stages/lib/tar.h"

#include <string.h>

#include "proto/read_at.h"

#define TAR_BLOCK 512u
#define TAR_EXTRA 65536u           /* bytes of a long name or of pax records at most */

/* Fields of a header: offset and length. */
enum { TAR_SIZE = 124, TAR_SUM = 148, TAR_TYPE = 156, TAR_MAGIC = 257, TAR_PREFIX = 345 };

static int tar_damaged(const struct fl_tar *t, const char *what, struct fl_err *err)
{
    return fl_err_set(err, FL_E_INPUT, "byte %llu of the archive: %s", (unsigned long long)t->at, what);
}

static int tar_read(const struct fl_tar *t, uint64_t off, void *buf, size_t n, struct fl_err *err)
{
    if (n > t->size || off > t->size - n)
        return tar_damaged(t, "it is cut off", err);
    if (t->mem != NULL) {
        memcpy(buf, t->mem + off, n);
        return FL_OK;
    }
    struct fl_err why = { 0 };
    int rc = fl_read_at(t->fd, off, buf, n, &why);
    return rc == FL_OK ? FL_OK : tar_damaged(t, rc == FL_END ? "it is cut off" : why.text, err);
}

/* Octal text, or, with the top bit set, a binary number. False when it is neither. */
static bool tar_number(const unsigned char *p, size_t n, uint64_t *out)
{
    uint64_t v = 0;
    size_t i = 0;
    if (p[0] & 0x80) {
        for (v = p[0] & 0x7f, i = 1; i < n; i++) {
            if (v >> 55 != 0)
                return false;
            v = v << 8 | p[i];
        }
        *out = v;
        return true;
    }
    while (i < n && p[i] == ' ')
        i++;
    size_t digits = i;
    for (; i < n && p[i] >= '0' && p[i] <= '7'; i++)
        v = v << 3 | (uint64_t)(p[i] - '0');
    *out = v;
    return i > digits && (i == n || p[i] == ' ' || p[i] == '\0');
}

static bool tar_sum_ok(const unsigned char *h)
{
    uint64_t want, sum = 8 * ' ';
    for (size_t i = 0; i < TAR_BLOCK; i++)
        sum += i >= TAR_SUM && i < TAR_SUM + 8 ? 0 : h[i];
    return tar_number(h + TAR_SUM, 8, &want) && want == sum;
}

static bool tar_is_zero(const unsigned char *h)
{
    return h[0] == 0 && memcmp(h, h + 1, TAR_BLOCK - 1) == 0;
}

static int tar_name(const struct fl_tar *t, const unsigned char *h, char *name, struct fl_err *err)
{
    size_t len = strnlen((const char *)h, 100), prefix = memcmp(h + TAR_MAGIC, "ustar", 6) == 0 ? strnlen((const char *)h + TAR_PREFIX, 155) : 0;
    if (len == 0)
        return tar_damaged(t, "a member without a name", err);
    memcpy(name, h + TAR_PREFIX, prefix);
    if (prefix > 0)
        name[prefix++] = '/';
    memcpy(name + prefix, h, len);
    name[prefix + len] = '\0';
    return FL_OK;
}

static int tar_take_name(const struct fl_tar *t, const char *from, size_t len, char *name, struct fl_err *err)
{
    len = strnlen(from, len);
    if (len == 0 || len >= FL_TAR_NAME)
        return tar_damaged(t, "a name that is empty or longer than 1023 bytes", err);
    memcpy(name, from, len);
    name[len] = '\0';
    return FL_OK;
}

/* Pax records "LENGTH key=value\n"; the one of interest is path. */
static int tar_pax(const struct fl_tar *t, const char *p, size_t n, char *name, struct fl_err *err)
{
    while (n > 0) {
        size_t len = 0, i = 0;
        for (; i < n && i < 6 && p[i] >= '0' && p[i] <= '9'; i++)
            len = len * 10 + (size_t)(p[i] - '0');
        if (i == 0 || i >= n || p[i] != ' ' || len <= i + 1 || len > n || p[len - 1] != '\n')
            return tar_damaged(t, "pax records that don't add up", err);
        if (len - i > 6 && memcmp(p + i + 1, "path=", 5) == 0) {
            int rc = tar_take_name(t, p + i + 6, len - i - 7, name, err);
            if (rc != FL_OK)
                return rc;
        } else if (len - i > 6 && memcmp(p + i + 1, "size=", 5) == 0) {
            return tar_damaged(t, "a size in pax records, which no tile needs", err);
        }
        p += len;
        n -= len;
    }
    return FL_OK;
}

/* A member that says something of the next one: GNU long name (L), pax records (x). */
static int tar_extra(const struct fl_tar *t, char type, uint64_t off, uint64_t bytes, char *name, struct fl_err *err)
{
    char buf[TAR_EXTRA];
    if (bytes > sizeof buf)
        return tar_damaged(t, "a name of more than 65536 bytes", err);
    int rc = tar_read(t, off, buf, bytes, err);
    if (rc != FL_OK)
        return rc;
    return type == 'L' ? tar_take_name(t, buf, bytes, name, err) : tar_pax(t, buf, bytes, name, err);
}

int fl_tar_next(struct fl_tar *t, struct fl_tar_member *m, struct fl_err *err)
{
    unsigned char h[TAR_BLOCK];
    m->name[0] = '\0';
    for (;;) {
        uint64_t bytes;
        if (t->at == t->size)
            return tar_damaged(t, "it ends without an end mark: cut off?", err);
        int rc = tar_read(t, t->at, h, sizeof h, err);
        if (rc != FL_OK)
            return rc;
        if (tar_is_zero(h))
            return m->name[0] == '\0' ? FL_END : tar_damaged(t, "a long name without a member", err);
        if (!tar_sum_ok(h) || !tar_number(h + TAR_SIZE, 12, &bytes))
            return tar_damaged(t, "no header of a member (wrong checksum)", err);
        char type = (char)h[TAR_TYPE];
        bool data = type != '1' && type != '2' && type != '3' && type != '4' && type != '5' && type != '6';
        bytes = data ? bytes : 0;
        if (bytes > t->size - t->at - TAR_BLOCK)
            return tar_damaged(t, "a member that reaches beyond the end: cut off?", err);
        uint64_t off = t->at + TAR_BLOCK, next = off + (bytes + TAR_BLOCK - 1) / TAR_BLOCK * TAR_BLOCK;
        if (type == 'S')
            return tar_damaged(t, "a sparse member", err);
        if (type == 'L' || type == 'x')
            rc = tar_extra(t, type, off, bytes, m->name, err);
        else if (type != 'K' && type != 'g' && m->name[0] == '\0')
            rc = tar_name(t, h, m->name, err);
        if (rc != FL_OK)
            return rc;
        t->at = next < t->size ? next : t->size;
        if (type == 'L' || type == 'x' || type == 'K' || type == 'g')
            continue;
        m->off = off;
        m->bytes = bytes;
        m->file = type == '0' || type == '\0' || type == '7';
        return FL_OK;
    }
}
