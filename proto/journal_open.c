/* The journal opened: segments found, proven, the torn end cut off. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "proto/journal_own.h"
#include "proto/journal_scan.h"
#include "proto/read_at.h"

#define JOURNAL_SEGMENT (UINT64_C(1) << 30)
#define JOURNAL_PATIENCE 500                   /* times 10 ms, until who holds the lock counts as a living writer */

/* The names of the segment, of the journal's folder, of the one it is in and of the run's: each may have just been made. */
static int journal_sync_dir(struct fl_journal *j, struct fl_err *err)
{
    static const char *const up[] = { ".", "..", "../..", "../../.." };
    for (size_t i = 0; i < sizeof up / sizeof *up; i++) {
        int fd = openat(j->lock, up[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        bool bad = fd >= 0 && fsync(fd) != 0 && errno != EINVAL;      /* some file systems have nothing to sync for a folder */
        int why = errno;
        if (fd >= 0)
            close(fd);
        if (bad)
            return fl_err_set(err, FL_E_IO, "%s/%s: fsync: %s", j->dir, up[i], strerror(why));
    }
    return FL_OK;
}

/* Writes the header into the file open as j->fd; an empty segment is on disk before its first record. */
int fl_jseg_start(struct fl_journal *j, struct fl_err *err)
{
    uint8_t head[FL_JSEG_SIZE];
    fl_jseg_put(head, &(struct fl_jseg){ .run = j->run, .L = j->L, .number = j->number });
    if (ftruncate(j->fd, 0) != 0)
        return fl_jfail_errno(j, j->number, "cut", err);
    ssize_t n = pwrite(j->fd, head, sizeof head, 0);
    if (n != (ssize_t)sizeof head) {
        if (n >= 0)
            errno = ENOSPC;
        return fl_jfail_errno(j, j->number, "write", err);
    }
    if (fdatasync(j->fd) != 0)
        return fl_jfail_errno(j, j->number, "fdatasync", err);
    j->end = FL_JSEG_SIZE;
    return journal_sync_dir(j, err);
}

int fl_jseg_create(struct fl_journal *j, struct fl_err *err)
{
    char path[FL_JPATH];
    fl_jpath(j, j->number, path);
    j->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    return j->fd < 0 ? fl_jfail_errno(j, j->number, "create", err) : fl_jseg_start(j, err);
}

/* Highest number + 1 of the segments in the folder. */
static int journal_count(const struct fl_journal *j, uint32_t *count, struct fl_err *err)
{
    DIR *d = opendir(j->dir);
    if (d == NULL)
        return fl_err_set(err, errno == ENOMEM ? FL_E_NOMEM : FL_E_IO, "%s: %s", j->dir, strerror(errno));
    *count = 0;
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        unsigned number;
        int used = 0;
        if (sscanf(e->d_name, "%8u.j%n", &number, &used) == 1 && used == 10 && e->d_name[used] == '\0' && number >= *count)
            *count = number + 1;
    }
    closedir(d);
    return FL_OK;
}

struct journal_found { struct fl_journal *j; uint32_t number; };

static int journal_found(void *user, const struct fl_jhead *h, uint64_t off, struct fl_err *err)
{
    struct journal_found *f = user;
    if (off > UINT32_MAX)
        return fl_err_set(err, FL_E_INPUT, "a journal segment of more than 4 GiB");
    return fl_jindex_put(f->j, h, f->number, off, err);
}

static int journal_check_header(struct fl_journal *j, int fd, uint32_t number, struct fl_err *err)
{
    uint8_t bytes[FL_JSEG_SIZE];
    struct fl_jseg seg;
    int rc = fl_read_at(fd, 0, bytes, sizeof bytes, err);
    if (rc == FL_END)
        return fl_err_set(err, FL_E_INPUT, "shorter than a journal header");
    if (rc != FL_OK || (rc = fl_jseg_get(bytes, &seg, err)) != FL_OK)
        return rc;
    if (seg.number != number)
        return fl_err_set(err, FL_E_INPUT, "is segment %u of its journal", seg.number);
    if (j->L == 0)
        j->L = seg.L;
    if (seg.L != j->L)
        return fl_err_set(err, FL_E_CONFIG, "journal of %u labels, want %u", seg.L, j->L);
    j->run = seg.run;
    return FL_OK;
}

/* Takes in one segment. FL_END: it has yet to be begun. Errors come without file name. */
static int journal_take(struct fl_journal *j, int fd, uint32_t number, bool last, struct fl_err *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return fl_err_set(err, FL_E_IO, "%s", strerror(errno));
    /* A crash between creation and the first sync leaves less than a header, or one without its bytes. */
    int rc = journal_check_header(j, fd, number, err);
    if (rc == FL_E_INPUT && last && st.st_size <= (off_t)FL_JSEG_SIZE) {
        j->sum.cut += (uint64_t)st.st_size;
        return FL_END;
    }
    struct journal_found user = { j, number };
    struct fl_jscan scan = { .found = journal_found, .user = &user };
    if (rc != FL_OK || (rc = fl_jscan(fd, (uint64_t)st.st_size, &scan, err)) != FL_OK)
        return rc;
    j->sum.damaged += scan.damaged;
    if (!last) {
        j->sum.damaged += scan.end != (uint64_t)st.st_size;
        return FL_OK;
    }
    j->end = scan.end;
    j->sum.cut += (uint64_t)st.st_size - scan.end;
    if (j->readonly)
        return FL_OK;
    if (ftruncate(fd, (off_t)scan.end) != 0 || fdatasync(fd) != 0)     /* what a killed writer left is acknowledged from now on */
        return fl_err_set(err, FL_E_IO, "%s", strerror(errno));
    return FL_OK;
}

static int journal_take_number(struct fl_journal *j, uint32_t number, bool last, struct fl_err *err)
{
    char path[FL_JPATH];
    fl_jpath(j, number, path);
    int fd = open(path, (last && !j->readonly ? O_RDWR : O_RDONLY) | O_CLOEXEC);
    if (fd < 0)
        return fl_err_set(err, errno == ENOENT ? FL_E_INPUT : FL_E_IO, "%s: %s", path, errno == ENOENT ? "segment is missing" : strerror(errno));
    if (last) {
        j->fd = fd;
        j->number = number;
    }
    int rc = journal_take(j, fd, number, last, err);
    if (!last)
        close(fd);
    if (rc < 0)
        return fl_err_context(err, "%s", path);
    return rc == FL_END && !j->readonly ? fl_jseg_start(j, err) : FL_OK;
}

/* A writer that was killed may be in the midst of a sync: it is waited for. */
static int journal_lock(struct fl_journal *j, struct fl_err *err)
{
    const struct timespec nap = { .tv_nsec = 10000000 };
    for (int i = 0; flock(j->lock, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK; i++) {
        if (i == JOURNAL_PATIENCE)
            return fl_err_set(err, FL_E_IO, "%s: another process writes to this journal", j->dir);
        nanosleep(&nap, NULL);
    }
    return FL_OK;
}

static int journal_open_dir(struct fl_journal *j, struct fl_err *err)
{
    if (!j->readonly && mkdir(j->dir, 0777) != 0 && errno != EEXIST)
        return fl_err_set(err, FL_E_IO, "%s: %s", j->dir, strerror(errno));
    j->lock = open(j->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (j->lock < 0)
        return j->readonly && errno == ENOENT ? FL_END : fl_err_set(err, FL_E_IO, "%s: %s", j->dir, strerror(errno));
    return j->readonly ? FL_OK : journal_lock(j, err);
}

static int journal_recover(struct fl_journal *j, struct fl_err *err)
{
    uint32_t count = 0;
    int rc = journal_open_dir(j, err);
    if (rc != FL_OK)
        return rc == FL_END ? FL_OK : rc;
    rc = journal_count(j, &count, err);
    for (uint32_t i = 0; rc == FL_OK && i < count; i++)
        rc = journal_take_number(j, i, i + 1 == count, err);
    return rc;
}

int fl_journal_open(const char *dir, const struct fl_journal_conf *conf, struct fl_journal **out, struct fl_err *err)
{
    struct fl_err local;
    err = err != NULL ? err : &local;
    if (conf->L > FL_JOURNAL_LABELS || (conf->L == 0 && !conf->readonly))
        return fl_err_set(err, FL_E_CONFIG, "journal of %u labels, want 1..%u", conf->L, FL_JOURNAL_LABELS);
    struct fl_journal *j = calloc(1, sizeof *j);
    if (j == NULL || (j->dir = strdup(dir)) == NULL) {
        free(j);
        return fl_err_set(err, FL_E_NOMEM, "%s: no memory for the journal", dir);
    }
    j->lock = j->fd = j->old = -1;
    j->L = conf->L;
    j->limit = conf->segment != 0 && conf->segment < JOURNAL_SEGMENT ? conf->segment : JOURNAL_SEGMENT;
    j->readonly = conf->readonly;
    int rc = journal_recover(j, err);
    if (rc != FL_OK) {
        fl_journal_close(j);
        return rc;
    }
    *out = j;
    return FL_OK;
}

void fl_journal_close(struct fl_journal *j)
{
    if (j == NULL)
        return;
    int fds[] = { j->fd, j->old, j->lock };
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    for (uint64_t i = 0; i < j->npages; i++)
        free(j->pages[i]);
    free(j->pages);
    free(j->buf);
    free(j->dir);
    free(j);
}
