/* Small helpers on text and files: nearest name, natural order, whole files, FNV-1a. */
#include "runtime/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TEXT_WORD 128          /* a longer word is nobody's typing error */
#define TEXT_CHUNK 65536u

static uint32_t text_min(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* Edit distance with swaps of neighbours, so that "widht" is one step from "width". */
static uint32_t text_distance(const char *a, size_t na, const char *b, size_t nb)
{
    uint32_t rows[3][TEXT_WORD + 1];
    uint32_t *before = rows[0], *last = rows[1], *now = rows[2];
    for (size_t j = 0; j <= nb; j++)
        last[j] = (uint32_t)j;
    for (size_t i = 1; i <= na; i++) {
        now[0] = (uint32_t)i;
        for (size_t j = 1; j <= nb; j++) {
            uint32_t d = last[j - 1] + (a[i - 1] != b[j - 1]);
            d = text_min(d, text_min(last[j], now[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                d = text_min(d, before[j - 2] + 1);
            now[j] = d;
        }
        uint32_t *spare = before;
        before = last;
        last = now;
        now = spare;
    }
    return last[nb];
}

static int text_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* The numbers that stand where a and b first differ, at `at`: how far apart. */
static uint64_t text_apart(const char *a, const char *b, size_t at)
{
    while (at > 0 && text_digit(a[at - 1]))
        at--;
    if (!text_digit(a[at]) || !text_digit(b[at]))
        return UINT64_MAX;
    uint64_t x = strtoull(a + at, NULL, 10), y = strtoull(b + at, NULL, 10);
    return x > y ? x - y : y - x;
}

/* How far a name is from a word, what counts most first: edits, difference of lengths, letters of the word not in the common beginning, difference
 * of the numbers behind it. */
#define TEXT_FAR 4
static void text_far(const char *word, size_t len, const char *name, size_t n, uint64_t far[TEXT_FAR])
{
    size_t same = 0;
    while (same < len && word[same] == name[same])
        same++;
    far[0] = text_distance(word, len, name, n);
    far[1] = n > len ? n - len : len - n;
    far[2] = len - same;
    far[3] = text_apart(word, name, same);
}

const char *fl_nearest(const char *word, const char *const *names)
{
    size_t len = strlen(word);
    if (len > TEXT_WORD)
        return NULL;
    uint64_t best[TEXT_FAR] = { 1 + len / 3 + 1 }, far[TEXT_FAR];
    const char *found = NULL;
    for (; *names != NULL; names++) {
        size_t n = strlen(*names), i = 0;
        if (n > TEXT_WORD)
            continue;
        text_far(word, len, *names, n, far);
        while (i < TEXT_FAR - 1 && far[i] == best[i])
            i++;
        if (far[i] < best[i]) {
            memcpy(best, far, sizeof best);
            found = *names;
        }
    }
    return found;
}

/* Compares two runs of digits of any length as numbers and steps over both. */
static int text_number_cmp(const char **a, const char **b)
{
    while (**a == '0')
        ++*a;
    while (**b == '0')
        ++*b;
    size_t na = 0, nb = 0;
    while (text_digit((*a)[na]))
        na++;
    while (text_digit((*b)[nb]))
        nb++;
    int c = na != nb ? (na < nb ? -1 : 1) : memcmp(*a, *b, na);
    *a += na;
    *b += nb;
    return c;
}

int fl_natural_cmp(const char *a, const char *b)
{
    const char *p = a, *q = b;
    while (*p != '\0' && *q != '\0') {
        if (text_digit(*p) && text_digit(*q)) {
            int c = text_number_cmp(&p, &q);
            if (c != 0)
                return c;
        } else {
            if (*p != *q)
                return (unsigned char)*p < (unsigned char)*q ? -1 : 1;
            p++;
            q++;
        }
    }
    if (*p != *q)
        return *p == '\0' ? -1 : 1;
    return strcmp(a, b);        /* "t02" and "t2" are different names: the order must be total */
}

/* Reads to the end in growing steps: a pipe or /proc file has no size to trust. */
static int text_read_fd(int fd, const char *path, size_t limit, char **text, size_t *len, struct fl_err *err)
{
    size_t room = TEXT_CHUNK, n = 0;
    char *buf = malloc(room + 1);
    while (buf != NULL) {
        ssize_t got = read(fd, buf + n, room - n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            int saved = errno;
            free(buf);
            return fl_err_set(err, FL_E_INPUT, "%s: %s", path, strerror(saved));
        }
        n += (size_t)got;
        if (n > limit) {
            free(buf);
            return fl_err_set(err, FL_E_INPUT, "%s: larger than %zu bytes", path, limit);
        }
        if (got == 0) {
            buf[n] = '\0';
            *text = buf;
            *len = n;
            return FL_OK;
        }
        if (n == room) {
            char *more = room > SIZE_MAX / 2 - 1 ? NULL : realloc(buf, 2 * room + 1);
            if (more == NULL)
                free(buf);
            buf = more;
            room *= 2;
        }
    }
    return fl_err_set(err, FL_E_NOMEM, "%s: no memory to read it", path);
}

int fl_read_file(const char *path, size_t limit, char **text, size_t *len, struct fl_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return fl_err_set(err, FL_E_INPUT, "%s: %s", path, strerror(errno));
    int code = text_read_fd(fd, path, limit, text, len, err);
    close(fd);
    return code;
}

ssize_t fl_read_fill(int fd, void *buf, size_t room)
{
    size_t n = 0;
    while (n < room) {
        ssize_t got = read(fd, (char *)buf + n, room - n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        n += (size_t)got;
    }
    return (ssize_t)n;
}

static bool text_write_fd(int fd, const char *p, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, p, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        p += n;
        len -= (size_t)n;
    }
    return fsync(fd) == 0;
}

int fl_write_file(const char *path, unsigned mode, const void *bytes, size_t len, struct fl_err *err)
{
    char tmp[4200];
    if (snprintf(tmp, sizeof tmp, "%s.tmp", path) >= (int)sizeof tmp)
        return fl_err_set(err, FL_E_IO, "%.300s...: name too long", path);
    unlink(tmp);                                 /* of a writer that died; `mode` must hold */
    int fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    bool ok = fd >= 0 && text_write_fd(fd, bytes, len);
    if (fd >= 0)
        ok = close(fd) == 0 && ok;
    return ok && rename(tmp, path) == 0 ? FL_OK : fl_err_set(err, FL_E_IO, "%s: %s", path, strerror(errno));
}

uint64_t fl_fnv1a(const void *bytes, size_t len)
{
    const unsigned char *p = bytes;
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < len; i++)
        h = (h ^ p[i]) * UINT64_C(0x100000001b3);
    return h;
}
