/* Packing and unpacking by the tar that every system has. */
#include "launch/archive.h"

#include <errno.h>
#include <ftw.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launch/mem.h"

extern char **environ;

static int archive_tar(const char *const *argv, const char *what, struct fl_err *err)
{
    pid_t pid;
    int status = 0, rc = posix_spawnp(&pid, argv[0], NULL, NULL, (char *const *)argv, environ);
    if (rc != 0)
        return fl_err_set(err, FL_E_IO, "tar can't be run: %s", strerror(rc));
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return fl_err_set(err, FL_E_IO, "tar: %s", strerror(errno));
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return fl_err_set(err, FL_E_INPUT, "%.300s: tar can't read or write it", what);
    return FL_OK;
}

int fl_archive_pack(const char *dir, const char *tar, struct fl_err *err)
{
    char *part = fl_need_text("%s.tmp", tar);
    const char *argv[] = { "tar", "--force-local", "--owner=0", "--group=0", "--numeric-owner", "-C", dir, "-cf", part, ".", NULL };
    int rc = archive_tar(argv, tar, err);
    if (rc == FL_OK && rename(part, tar) != 0)
        rc = fl_err_set(err, FL_E_IO, "%.300s: %s", tar, strerror(errno));
    if (rc != FL_OK)
        unlink(part);
    free(part);
    return rc;
}

/* Files are written into folders of it later on: a link in their place would lead out of it. */
static int archive_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)path; (void)type; (void)ftw;
    return S_ISREG(st->st_mode) || S_ISDIR(st->st_mode) ? 0 : 1;
}

int fl_archive_unpack(const char *tar, const char *dir, struct fl_err *err)
{
    const char *argv[] = { "tar", "--force-local", "--no-same-owner", "--no-same-permissions", "-C", dir, "-xf", tar, NULL };
    if (mkdir(dir, 0700) != 0)
        return fl_err_set(err, FL_E_IO, "%.300s: %s", dir, strerror(errno));
    int rc = archive_tar(argv, tar, err);
    return rc == FL_OK && nftw(dir, archive_entry, 16, FTW_PHYS) != 0 ? fl_err_set(err, FL_E_INPUT, "%.300s: holds what is neither file nor folder", tar) : rc;
}
