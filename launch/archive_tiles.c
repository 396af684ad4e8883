/* The original files of tiles in an archive: tiles/NAME, to which the tensor `path` points as archive:NAME. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launch/archive.h"
#include "launch/mem.h"
#include "proto/read_at.h"

#define TILES_MARK "archive:"
#define TILES_MOST (UINT64_C(1) << 32)       /* bytes of one file */

/* ---- into the archive ---- */

static struct fl_tensor *tiles_paths(const struct fl_batch *b)
{
    struct fl_tensor *t = fl_batch_find(b, "path");
    return t != NULL && t->dtype == FL_U8 && t->ndim == 2 && t->shape[0] == b->n ? t : NULL;
}

static int tiles_read(const char *path, uint64_t off, uint64_t bytes, bool whole, char **data, size_t *len, struct fl_err *err)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        if (fd >= 0)
            close(fd);
        return fl_err_set(err, FL_E_IO, "%.300s: %s", path, fd < 0 ? strerror(errno) : "no file");
    }
    uint64_t n = whole ? (uint64_t)st.st_size : bytes;
    char *p = n < TILES_MOST ? malloc(n + 1) : NULL;
    int rc = p != NULL ? fl_read_at(fd, off, p, n, err) : fl_err_set(err, FL_E_NOMEM, "%llu bytes are too many for a tile", (unsigned long long)n);
    close(fd);
    if (rc != FL_OK) {
        free(p);
        if (rc == FL_END)
            return fl_err_set(err, FL_E_IO, "%.300s: ends before the tile does", path);
        fl_err_context(err, "%.300s", path);
        return rc;
    }
    *data = p;
    *len = n;
    return FL_OK;
}

/* FL_OK: a file of these bytes is there, or now is; FL_END: another is. */
static int tiles_write(const char *path, const char *data, size_t len, struct fl_err *err)
{
    char *old;
    size_t n;
    if (access(path, F_OK) == 0) {
        if (tiles_read(path, 0, 0, true, &old, &n, err) != FL_OK)
            return err->code;
        bool same = n == len && memcmp(old, data, len) == 0;
        free(old);
        return same ? FL_OK : FL_END;
    }
    FILE *f = fopen(path, "wbe");
    bool ok = f != NULL && fwrite(data, 1, len, f) == len;
    if (f != NULL)
        ok = fclose(f) == 0 && ok;
    return ok ? FL_OK : fl_err_set(err, FL_E_IO, "%.300s: %s", path, strerror(errno));
}

bool fl_archive_may(const char *within, const char *path)
{
    size_t len = within != NULL ? strlen(within) : 0;
    return within == NULL || (strncmp(path, within, len) == 0 && path[len] == '/' && strstr(path, "/../") == NULL);
}

/* FL_END: there is no such file. */
static int tiles_put(const char *dir, const char *within, char *path, size_t cap, uint64_t span[2], struct fl_err *err)
{
    char *slash = strrchr(path, '/'), *data, *from = fl_need_text("%.*s", (int)(span != NULL && span[1] > 0 && slash != NULL ? (size_t)(slash - path) : strlen(path)), path);
    const char *base = slash != NULL ? slash + 1 : path;
    size_t len;
    bool whole = span == NULL || span[1] == 0;
    if (!fl_archive_may(within, from) || access(from, R_OK) != 0) {
        free(from);
        return FL_END;
    }
    int rc = tiles_read(from, whole ? 0 : span[0], whole ? 0 : span[1], whole, &data, &len, err);
    free(from);
    if (rc != FL_OK)
        return rc;
    char *name = fl_need_copy(base);
    for (uint32_t k = 2;; k++) {
        char *to = fl_need_text("%s/tiles/%s", dir, name);
        rc = tiles_write(to, data, len, err);
        free(to);
        if (rc != FL_END)
            break;
        free(name);
        name = fl_need_text("%u-%s", k, base);
    }
    free(data);
    if (rc == FL_OK && strlen(TILES_MARK) + strlen(name) >= cap)
        rc = fl_err_set(err, FL_E_INPUT, "%s: paths of at most %zu bytes don't hold its name in the archive", name, cap - 1);
    if (rc == FL_OK) {
        memset(path, 0, cap);
        snprintf(path, cap, TILES_MARK "%s", name);
        if (span != NULL)
            span[0] = span[1] = 0;
    }
    free(name);
    return rc;
}

int fl_archive_tiles(const char *dir, const char *within, struct fl_batch *b, uint64_t *found, uint64_t *missing, struct fl_err *err)
{
    const struct fl_tensor *t = tiles_paths(b), *span = fl_batch_find(b, "span");
    bool spans = span != NULL && span->dtype == FL_U64 && span->bytes == UINT64_C(16) * b->n;
    int rc = FL_OK;
    for (uint32_t r = 0; t != NULL && rc == FL_OK && r < b->n; r++) {
        char *path = (char *)t->data + (size_t)r * t->shape[1];
        if (memchr(path, '\0', t->shape[1]) == NULL)
            continue;
        rc = tiles_put(dir, within, path, t->shape[1], spans ? (uint64_t *)span->data + 2 * (size_t)r : NULL, err);
        *found += rc == FL_OK;
        *missing += rc == FL_END;
        rc = rc == FL_END ? FL_OK : rc;
    }
    return rc;
}

/* ---- out of it ---- */

static bool tiles_marked(const char *path, size_t cap)
{
    size_t mark = strlen(TILES_MARK);
    return memchr(path, '\0', cap) != NULL && strncmp(path, TILES_MARK, mark) == 0 && strchr(path, '/') == NULL && path[mark] != '.';
}

char *fl_archive_tiles_here(const char *dir, struct fl_batch *b)
{
    struct fl_tensor *t = tiles_paths(b);
    size_t most = 0, mark = strlen(TILES_MARK);
    for (uint32_t r = 0; t != NULL && r < b->n; r++) {
        const char *path = (const char *)t->data + (size_t)r * t->shape[1];
        size_t len = tiles_marked(path, t->shape[1]) ? strlen(dir) + strlen("/tiles/") + strlen(path) - mark + 1 : 0;
        most = len > most ? len : most;
    }
    if (most == 0)
        return NULL;
    most = most > t->shape[1] ? most : t->shape[1];
    char *all = fl_need(b->n, most);
    for (uint32_t r = 0; r < b->n; r++) {
        const char *path = (const char *)t->data + (size_t)r * t->shape[1];
        if (tiles_marked(path, t->shape[1]))
            snprintf(all + r * most, most, "%s/tiles/%s", dir, path + mark);
        else
            memcpy(all + r * most, path, t->shape[1]);
    }
    t->shape[1] = (uint32_t)most;
    t->bytes = (uint64_t)b->n * most;
    t->data = all;
    return all;
}
