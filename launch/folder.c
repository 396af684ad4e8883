/* Folders of a flowrun in TMPDIR, and what others left there. */
#include "launch/folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launch/mem.h"

static int folder_unlink(const char *path, const struct stat *st, int flag, struct FTW *at)
{
    (void)st; (void)flag; (void)at;
    remove(path);
    return 0;
}

void fl_folder_remove(const char *path)
{
    nftw(path, folder_unlink, 16, FTW_DEPTH | FTW_PHYS);
}

/* A descriptor, or -1 when somebody has it, or it isn't a folder of ours. */
static int folder_lock(const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0 && fstat(fd, &st) == 0 && st.st_uid == geteuid() && flock(fd, LOCK_EX | LOCK_NB) == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

static void folder_sweep(const char *tmp, const char *prefix)
{
    DIR *d = opendir(tmp);
    for (const struct dirent *e; d != NULL && (e = readdir(d)) != NULL; ) {
        if (strncmp(e->d_name, prefix, strlen(prefix)) != 0)
            continue;
        char *path = fl_need_text("%s/%s", tmp, e->d_name);
        int fd = folder_lock(path);
        if (fd >= 0) {
            fl_folder_remove(path);
            close(fd);
        }
        free(path);
    }
    if (d != NULL)
        closedir(d);
}

/* Another flowrun may sweep it before it is locked: then another one is made. */
int fl_folder_make(const char *kind, struct fl_folder *f, struct fl_err *err)
{
    const char *said = getenv("TMPDIR");
    char *tmp = realpath(said != NULL && *said != '\0' ? said : "/tmp", NULL);
    char *prefix = fl_need_text("flowrun-%s-", kind);
    struct stat st;
    int rc = FL_E_IO;
    *f = (struct fl_folder){ .lock = -1 };
    if (tmp == NULL) {
        free(prefix);
        return fl_err_set(err, FL_E_IO, "TMPDIR %s: %s", said, strerror(errno));
    }
    folder_sweep(tmp, prefix);
    for (int i = 0; i < 10 && f->path == NULL; i++) {
        char *path = fl_need_text("%s/%sXXXXXX", tmp, prefix);
        rc = mkdtemp(path) != NULL ? FL_OK : fl_err_set(err, FL_E_IO, "%s: %s", path, strerror(errno));
        f->lock = rc == FL_OK ? folder_lock(path) : -1;
        if (f->lock >= 0 && stat(path, &st) == 0)
            f->path = path;
        else
            free(path);
        if (f->lock >= 0 && f->path == NULL)
            close(f->lock);
        if (rc != FL_OK)
            break;
    }
    if (f->path == NULL && rc == FL_OK)
        rc = fl_err_set(err, FL_E_IO, "%s: no folder can be kept there", tmp);
    free(prefix);
    free(tmp);
    return rc;
}

void fl_folder_done(struct fl_folder *f)
{
    if (f->path == NULL)
        return;
    fl_folder_remove(f->path);
    close(f->lock);
    free(f->path);
    *f = (struct fl_folder){ .lock = -1 };
}
