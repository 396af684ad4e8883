/* Result files: CSV under a temporary name, renamed when complete. */
#include "runtime/pred_file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/number.h"

#define PRED_BUFFER (1u << 18)

struct fl_pred_file {
    char    *path, *target, *part;      /* as given; where links lead; the temporary file */
    int      fd;
    int      why;                       /* errno of the first failure */
    bool     mid_row, committed;
    size_t   len;
    char     buf[PRED_BUFFER];
};

const char *fl_pred_path(const struct fl_pred_file *f)
{
    return f->path;
}

/* ---- opening ---- */

static int pred_names(struct fl_pred_file *f, const char *path, struct fl_err *err)
{
    f->path = strdup(path);
    f->target = realpath(path, NULL);
    if (f->target == NULL)
        f->target = strdup(path);
    if (f->path == NULL || f->target == NULL)
        return fl_err_set(err, FL_E_NOMEM, "%s: no memory", path);
    const char *slash = strrchr(f->target, '/'), *name = slash != NULL ? slash + 1 : f->target;
    if (*name == '\0')
        return fl_err_set(err, FL_E_CONFIG, "%s: no file name", path);
    if (asprintf(&f->part, "%.*s.%s.part", (int)(name - f->target), f->target, name) < 0) {
        f->part = NULL;
        return fl_err_set(err, FL_E_NOMEM, "%s: no memory", path);
    }
    struct stat st;
    if (stat(f->target, &st) == 0 && !S_ISREG(st.st_mode))
        return fl_err_set(err, FL_E_CONFIG, "%s: is there, and no regular file", path);
    return FL_OK;
}

/* Opens and locks the temporary file. FL_END: its last owner renamed or removed it in between; once more. */
static int pred_lock(struct fl_pred_file *f, struct fl_err *err)
{
    struct stat ours, there;
    f->fd = open(f->part, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (f->fd < 0)
        return fl_err_set(err, FL_E_IO, "%s: can't write: %s", f->part, strerror(errno));
    if (flock(f->fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
        close(f->fd);
        f->fd = -1;
        return fl_err_set(err, FL_E_IO, "%s: another run, or another option of this one, writes to it", f->path);
    }
    if (fstat(f->fd, &ours) == 0 && stat(f->part, &there) == 0 && ours.st_ino == there.st_ino && ours.st_dev == there.st_dev) {
        if (ftruncate(f->fd, 0) == 0)
            return FL_OK;
        return fl_err_set(err, FL_E_IO, "%s: can't write: %s", f->part, strerror(errno));
    }
    close(f->fd);
    f->fd = -1;
    return FL_END;
}

int fl_pred_open(const char *path, struct fl_pred_file **out, struct fl_err *err)
{
    struct fl_pred_file *f = calloc(1, sizeof *f);
    if (f == NULL)
        return fl_err_set(err, FL_E_NOMEM, "%s: no memory", path);
    f->fd = -1;
    int rc = pred_names(f, path, err);
    if (rc == FL_OK)
        while ((rc = pred_lock(f, err)) == FL_END)
            ;
    if (rc != FL_OK) {
        fl_pred_close(f);
        return rc;
    }
    *out = f;
    return FL_OK;
}

void fl_pred_close(struct fl_pred_file *f)
{
    if (f == NULL)
        return;
    if (f->fd >= 0) {
        if (!f->committed && f->part != NULL)
            unlink(f->part);
        close(f->fd);
    }
    free(f->path);
    free(f->target);
    free(f->part);
    free(f);
}

/* ---- fields ---- */

static void pred_flush(struct fl_pred_file *f)
{
    for (size_t done = 0; done < f->len && f->why == 0;) {
        ssize_t n = write(f->fd, f->buf + done, f->len - done);
        if (n > 0)
            done += (size_t)n;
        else if (n == 0 || errno != EINTR)
            f->why = n == 0 ? ENOSPC : errno;
    }
    f->len = 0;
}

static void pred_put(struct fl_pred_file *f, const char *text, size_t len)
{
    while (len > 0) {
        if (f->len == sizeof f->buf)
            pred_flush(f);
        size_t n = len < sizeof f->buf - f->len ? len : sizeof f->buf - f->len;
        memcpy(f->buf + f->len, text, n);
        f->len += n;
        text += n;
        len -= n;
    }
}

static void pred_comma(struct fl_pred_file *f)
{
    if (f->mid_row)
        pred_put(f, ",", 1);
    f->mid_row = true;
}

void fl_pred_text(struct fl_pred_file *f, const char *text)
{
    pred_comma(f);
    if (strpbrk(text, ",\"\r\n") == NULL) {
        pred_put(f, text, strlen(text));
        return;
    }
    pred_put(f, "\"", 1);
    for (const char *quote; (quote = strchr(text, '"')) != NULL; text = quote + 1) {
        pred_put(f, text, (size_t)(quote - text));
        pred_put(f, "\"\"", 2);
    }
    pred_put(f, text, strlen(text));
    pred_put(f, "\"", 1);
}

void fl_pred_end(struct fl_pred_file *f)
{
    pred_put(f, "\n", 1);
    f->mid_row = false;
}

void fl_pred_bytes(struct fl_pred_file *f, const void *bytes, size_t len)
{
    pred_put(f, bytes, len);
}

int fl_pred_fd(const struct fl_pred_file *f)
{
    return f->fd;
}

/* ---- kinds of rows ---- */

void fl_pred_submission_head(struct fl_pred_file *f)
{
    fl_pred_text(f, "image_name");
    fl_pred_text(f, "tags");
    fl_pred_end(f);
}

void fl_pred_submission(struct fl_pred_file *f, const char *id, uint64_t pred, uint32_t L, const char *const *labels)
{
    const char *gap = "";
    fl_pred_text(f, id);
    pred_comma(f);
    for (uint32_t l = 0; l < L; l++)
        if (pred >> l & 1) {
            pred_put(f, gap, strlen(gap));
            pred_put(f, labels[l], strlen(labels[l]));
            gap = " ";
        }
    fl_pred_end(f);
}

void fl_pred_probabilities_head(struct fl_pred_file *f, uint32_t L, const char *const *labels)
{
    fl_pred_text(f, "image_name");
    for (uint32_t l = 0; l < L; l++)
        fl_pred_text(f, labels[l]);
    fl_pred_end(f);
}

void fl_pred_probabilities(struct fl_pred_file *f, const char *id, const float *prob, uint32_t L)
{
    fl_pred_text(f, id);
    for (uint32_t l = 0; l < L; l++) {
        char number[32];
        size_t len = fl_f32_text(prob[l], number);
        pred_comma(f);
        pred_put(f, number, len);
    }
    fl_pred_end(f);
}

void fl_pred_rejects_head(struct fl_pred_file *f)
{
    fl_pred_text(f, "id");
    fl_pred_text(f, "stage");
    fl_pred_text(f, "reason");
    fl_pred_end(f);
}

void fl_pred_reject(struct fl_pred_file *f, const char *id, const char *reason)
{
    char stage[64] = "";
    const char *colon = strstr(reason, ": ");
    if (colon != NULL && (size_t)(colon - reason) < sizeof stage) {
        memcpy(stage, reason, (size_t)(colon - reason));
        reason = colon + 2;
    }
    fl_pred_text(f, id);
    fl_pred_text(f, stage);
    fl_pred_text(f, reason);
    fl_pred_end(f);
}

/* ---- the end ---- */

int fl_pred_finish(struct fl_pred_file *f, struct fl_err *err)
{
    pred_flush(f);
    if (f->why == 0 && fsync(f->fd) != 0)
        f->why = errno;
    return f->why == 0 ? FL_OK : fl_err_set(err, FL_E_IO, "%s: can't write: %s", f->part, strerror(f->why));
}

int fl_pred_commit(struct fl_pred_file *f, struct fl_err *err)
{
    if (rename(f->part, f->target) != 0)
        return fl_err_set(err, FL_E_IO, "%s: can't rename to %s: %s", f->part, f->target, strerror(errno));
    f->committed = true;
    int dir = open(dirname(f->part), O_RDONLY | O_DIRECTORY | O_CLOEXEC);      /* the name is on disk too */
    if (dir < 0 || (fsync(dir) != 0 && errno != EINVAL))
        f->why = errno;
    if (dir >= 0)
        close(dir);
    return f->why == 0 ? FL_OK : fl_err_set(err, FL_E_IO, "%s: %s", f->path, strerror(f->why));
}
