/* Predictions as HDF5, by way of a process of its own: libhdf5 has a long record of crashes on damaged and hostile files, and what
 * it does to that process is told here as an error like any other. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/predictions_io.h"

/* ---- the process ---- */

/* Beside the folder of stages: next to bin/ where it is built, in libexec/flowrun where it is installed. */
static bool hdf5_helper(char path[PATH_MAX + 64])
{
    static const char *const places[] = { "../flowrun-hdf5", "../libexec/flowrun/flowrun-hdf5", "../../flowrun-hdf5" };
    const char *env = getenv("FLOWRUN_HDF5");
    if (env != NULL && *env != '\0')
        return snprintf(path, PATH_MAX, "%s", env) < PATH_MAX && access(path, X_OK) == 0;
    char self[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
    while (len > 0 && self[len - 1] != '/')
        len--;
    for (size_t i = 0; len > 0 && i < sizeof places / sizeof *places; i++) {
        snprintf(path, PATH_MAX + 64, "%.*s%s", (int)len, self, places[i]);
        if (access(path, X_OK) == 0)
            return true;
    }
    return false;
}

static int hdf5_start(const char *mode, int file, int memfd, pid_t *pid, struct fl_err *err)
{
    char helper[PATH_MAX + 64], locking[] = "HDF5_USE_FILE_LOCKING=FALSE", *env[] = { locking, NULL };
    char *argv[] = { "flowrun-hdf5", (char *)mode, NULL };
    if (!hdf5_helper(helper))
        return fl_err_set(err, FL_E_IO, "flowrun-hdf5 is neither beside the other executables nor where FLOWRUN_HDF5 says");
    /* Above what the process is given, so that neither hits the other on its way down. */
    int high[2] = { fcntl(file, F_DUPFD_CLOEXEC, 10), fcntl(memfd, F_DUPFD_CLOEXEC, 10) };
    posix_spawn_file_actions_t fa;
    posix_spawnattr_t attr;
    sigset_t none;
    sigemptyset(&none);
    posix_spawn_file_actions_init(&fa);
    posix_spawnattr_init(&attr);
    int rc = high[0] < 0 || high[1] < 0 ? EMFILE : posix_spawn_file_actions_adddup2(&fa, high[0], 3);
    rc = rc ? rc : posix_spawn_file_actions_adddup2(&fa, high[1], 4);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK);      /* Ctrl-C is the caller's */
    posix_spawnattr_setsigmask(&attr, &none);
    rc = rc ? rc : posix_spawn(pid, helper, &fa, &attr, argv, env);
    posix_spawn_file_actions_destroy(&fa);
    posix_spawnattr_destroy(&attr);
    for (int i = 0; i < 2; i++)
        if (high[i] >= 0)
            close(high[i]);
    return rc == 0 ? FL_OK : fl_err_set(err, rc == ENOMEM ? FL_E_NOMEM : FL_E_IO, "%s: can't be started: %s", helper, strerror(rc));
}

#define HDF5_LOOK_MS 10
#define HDF5_SLOWEST (4u << 20)        /* bytes of a second, of a slow disk */

/* Looks again and again, where nothing tells of an end: valgrind has no pidfd_open. Whether it has ended. */
static bool hdf5_look(pid_t pid, unsigned seconds)
{
    siginfo_t info = { 0 };
    for (unsigned ms = 0; info.si_pid == 0 && ms < 1000 * seconds; ms += HDF5_LOOK_MS)
        if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT | WNOHANG) == 0 && info.si_pid == 0)
            poll(NULL, 0, HDF5_LOOK_MS);
    return info.si_pid != 0;
}

/* False when it did not end in time (and was killed). */
static bool hdf5_wait(pid_t pid, unsigned seconds, int *status)
{
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0), ready = 0;
    struct pollfd p = { .fd = pidfd, .events = POLLIN };
    if (pidfd < 0)
        ready = hdf5_look(pid, seconds);
    else
        do
            ready = poll(&p, 1, (int)(1000 * seconds));
        while (ready < 0 && errno == EINTR);
    if (ready == 0)
        kill(pid, SIGKILL);
    while (waitpid(pid, status, 0) < 0 && errno == EINTR)
        ;
    if (pidfd >= 0)
        close(pidfd);
    return ready != 0;
}

int fl_hdf5_run(const char *mode, const char *path, int file, int memfd, unsigned seconds, struct fl_err *err)
{
    pid_t pid = 0;
    int status = 0, rc = hdf5_start(mode, file, memfd, &pid, err);
    if (rc != FL_OK)
        return fl_err_context(err, "%s", path);
    if (!hdf5_wait(pid, seconds, &status))
        return fl_err_set(err, FL_E_INPUT, "%s: libhdf5 came to no end within %u s", path, seconds);
    if (WIFSIGNALED(status))
        return fl_err_set(err, FL_E_INPUT, "%s: libhdf5 was stopped by it (%s): a damaged or hostile file", path, strsignal(WTERMSIG(status)));
    if (WEXITSTATUS(status) != 0)
        return fl_err_set(err, FL_E_INPUT, "%s: libhdf5 ended with status %d", path, WEXITSTATUS(status));
    return FL_OK;
}

/* Large files on a slow disk take longer. */
static unsigned hdf5_seconds(uint64_t bytes)
{
    return FL_HDF5_SECONDS + (unsigned)((bytes < FL_HDF5_BYTES ? bytes : FL_HDF5_BYTES) / HDF5_SLOWEST);
}

/* ---- reading ---- */

/* Nothing that comes back is believed: the process may have been taken over by the file. */
static int hdf5_header(const char *path, const struct fl_hdf5_wire *w, size_t bytes, struct fl_err *err)
{
    if (bytes < sizeof *w || memcmp(w->magic, FL_HDF5_MAGIC, sizeof w->magic) != 0 || w->text[sizeof w->text - 1] != '\0')
        return fl_err_set(err, FL_E_INPUT, "%s: no answer from libhdf5", path);
    if (w->status != FL_OK)
        return fl_err_set(err, w->status < 0 && w->status > -256 ? w->status : FL_E_INPUT, "%s: %s", path, w->text);
    if (w->L == 0 || w->L > FL_MAX_LABELS || w->n > FL_HDF5_BYTES / 64 || (bytes - sizeof *w) / (64 + 4 * (uint64_t)w->L) < w->n)
        return fl_err_set(err, FL_E_INPUT, "%s: a broken answer from libhdf5", path);
    const struct fl_pred_meta *m = &w->meta;
    const struct { const char *text; size_t size; } texts[] = {
        { m->model, sizeof m->model }, { m->member, sizeof m->member }, { m->split, sizeof m->split }, { m->tta, sizeof m->tta },
        { m->merge, sizeof m->merge }, { m->created_by, sizeof m->created_by },
    };
    bool whole = m->nsnapshots <= FL_PRED_MAX_SNAPSHOTS;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        whole = whole && memchr(texts[i].text, '\0', texts[i].size) != NULL;
    for (uint32_t i = 0; whole && i < m->nsnapshots; i++)
        whole = memchr(m->snapshots[i], '\0', sizeof m->snapshots[i]) != NULL;
    return whole ? FL_OK : fl_err_set(err, FL_E_INPUT, "%s: a broken answer from libhdf5", path);
}

static int hdf5_take(const char *path, const struct fl_hdf5_wire *w, size_t bytes, struct fl_predictions *out, struct fl_err *err)
{
    int rc = hdf5_header(path, w, bytes, err);
    for (uint32_t l = 0; rc == FL_OK && l < w->L; l++)
        if ((rc = fl_pred_label(out, w->labels[l], strnlen(w->labels[l], 64), err)) != FL_OK)
            fl_err_context(err, "%s", path);
    if (rc != FL_OK)
        return rc;
    const char *rows = (const char *)(w + 1);
    out->ids = malloc((w->n + 1) * 64);
    out->p = malloc((w->n * w->L + 1) * sizeof *out->p);
    if (out->ids == NULL || out->p == NULL)
        return fl_err_set(err, FL_E_NOMEM, "%s: no memory for %llu rows", path, (unsigned long long)w->n);
    memcpy(out->ids, rows, w->n * 64);
    memcpy(out->p, rows + w->n * 64, w->n * w->L * sizeof *out->p);
    out->n = w->n;
    out->meta = w->meta;
    return FL_OK;
}

static int hdf5_memfd(uint64_t bytes, int *fd, void **map, struct fl_err *err)
{
    *map = MAP_FAILED;
    *fd = memfd_create("flowrun-hdf5", MFD_CLOEXEC);
    if (*fd >= 0 && ftruncate(*fd, (off_t)bytes) == 0)
        *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
    if (*map != MAP_FAILED)
        return FL_OK;
    int why = errno;
    if (*fd >= 0)
        close(*fd);
    return fl_err_set(err, FL_E_IO, "memfd of %llu bytes: %s", (unsigned long long)bytes, strerror(why));
}

/* Copied out of the memfd before it is looked at, since the process could leave one behind that goes on writing. */
static int hdf5_answer(const char *path, int memfd, struct fl_predictions *out, struct fl_err *err)
{
    struct stat st;
    char *copy = NULL;
    if (fstat(memfd, &st) != 0 || st.st_size < 0 || (uint64_t)st.st_size > FL_HDF5_BYTES)
        return fl_err_set(err, FL_E_INPUT, "%s: an answer of more than %llu bytes from libhdf5", path, (unsigned long long)FL_HDF5_BYTES);
    size_t len = (size_t)st.st_size, got = 0;
    copy = calloc(1, len + sizeof(struct fl_hdf5_wire));
    if (copy == NULL)
        return fl_err_set(err, FL_E_NOMEM, "%s: no memory for %zu bytes", path, len);
    for (ssize_t n; got < len && (n = pread(memfd, copy + got, len - got, (off_t)got)) > 0; )
        got += (size_t)n;
    int rc = hdf5_take(path, (const struct fl_hdf5_wire *)(void *)copy, got, out, err);
    free(copy);
    return rc;
}

int fl_pred_read_hdf5(const char *path, const struct fl_pred_want *want, struct fl_predictions *out, struct fl_err *err)
{
    void *map;
    struct stat st;
    int memfd, file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0 || fstat(file, &st) != 0)
        return fl_err_set(err, FL_E_INPUT, "%s: %s", path, strerror(errno));
    int rc = hdf5_memfd(sizeof(struct fl_hdf5_wire), &memfd, &map, err);
    if (rc == FL_OK) {
        struct fl_hdf5_wire *w = map;
        memcpy(w->magic, FL_HDF5_MAGIC, sizeof w->magic);
        w->status = FL_E_INPUT;
        if (want->group != NULL && strlen(want->group) < sizeof w->group)
            strcpy(w->group, want->group);
        else if (want->group != NULL)
            rc = fl_err_set(err, FL_E_CONFIG, "%s: a group's name of more than 63 bytes", path);
        munmap(map, sizeof *w);
        if (rc == FL_OK)
            rc = fl_hdf5_run("read", path, file, memfd, hdf5_seconds((uint64_t)st.st_size), err);
        if (rc == FL_OK)
            rc = hdf5_answer(path, memfd, out, err);
        close(memfd);
    }
    close(file);
    return rc;
}

/* ---- writing ---- */

int fl_pred_write_hdf5(const char *path, int fd, const struct fl_predictions *p, struct fl_err *err)
{
    uint64_t bytes = sizeof(struct fl_hdf5_wire) + p->n * (64 + 4 * (uint64_t)p->L);
    int memfd;
    void *map;
    if (bytes > FL_HDF5_BYTES)
        return fl_err_set(err, FL_E_CONFIG, "%s: %llu rows are too many for one file", path, (unsigned long long)p->n);
    int rc = hdf5_memfd(bytes, &memfd, &map, err);
    if (rc != FL_OK)
        return fl_err_context(err, "%s", path);
    struct fl_hdf5_wire *w = map;
    memcpy(w->magic, FL_HDF5_MAGIC, sizeof w->magic);
    w->status = FL_E_IO;
    w->L = p->L;
    w->n = p->n;
    w->meta = p->meta;
    for (uint32_t l = 0; l < p->L; l++)
        snprintf(w->labels[l], sizeof w->labels[l], "%s", p->labels[l]);
    char *rows = (char *)(w + 1);
    memcpy(rows, p->ids, p->n * 64);
    memcpy(rows + p->n * 64, p->p, p->n * p->L * sizeof *p->p);
    rc = fl_hdf5_run("write", path, fd, memfd, hdf5_seconds(bytes), err);
    if (rc == FL_E_INPUT)                /* as a reader would say it */
        rc = err != NULL ? err->code = FL_E_IO : FL_E_IO;
    else if (rc == FL_OK && w->status != FL_OK)
        rc = fl_err_set(err, FL_E_IO, "%s: %.399s", path, w->text);
    munmap(map, bytes);
    close(memfd);
    return rc;
}
