/* The ordered list in the run directory: written before the first batch, compared when a run goes on. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "stages/lib/inputs.h"

/* Equal line by line, or FL_E_CONFIG. */
static int inputs_compare(const struct fl_inputs *in, FILE *f, const char *path, struct fl_err *err)
{
    char *line = NULL;
    size_t cap = 0;
    int rc = FL_OK;
    for (uint64_t i = 0; rc == FL_OK && i <= in->n; i++) {
        ssize_t got = getline(&line, &cap, f);
        if (i == in->n) {
            if (got >= 0)
                rc = fl_err_set(err, FL_E_CONFIG, "%s: the run has more tiles than the %llu of this source", path, (unsigned long long)in->n);
            break;
        }
        size_t idlen, len = got > 0 ? (size_t)got : 0;
        const char *id = fl_inputs_id(in, i, &idlen), *at = fl_inputs_at(in, i);
        size_t atlen = strlen(at);
        bool same = len == idlen + 1 + atlen + 1 && memcmp(line, id, idlen) == 0 && line[idlen] == '\t' &&
                    memcmp(line + idlen + 1, at, atlen) == 0 && line[len - 1] == '\n';
        if (!same)
            rc = fl_err_set(err, FL_E_CONFIG, "%s:%llu: the run was started with other tiles, here is %.*s (%.250s)", path,
                            (unsigned long long)i + 1, (int)idlen, id, at);
    }
    free(line);
    return rc;
}

static int inputs_write(const struct fl_inputs *in, FILE *f, const char *path, struct fl_err *err)
{
    for (uint64_t i = 0; i < in->n; i++) {
        size_t len;
        const char *id = fl_inputs_id(in, i, &len);
        fwrite(id, 1, len, f);
        fputc('\t', f);
        fputs(fl_inputs_at(in, i), f);
        fputc('\n', f);
    }
    if (fflush(f) != 0 || ferror(f) || fsync(fileno(f)) != 0)
        return fl_err_set(err, FL_E_IO, "%s: %s", path, strerror(errno));
    return FL_OK;
}

static void inputs_sync_dir(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    fsync(fd);
    close(fd);
}

int fl_inputs_save(const struct fl_inputs *in, const char *run_dir, struct fl_err *err)
{
    char path[4200], tmp[4232];
    if ((size_t)snprintf(path, sizeof path, "%s/inputs", run_dir) >= sizeof path)
        return fl_err_set(err, FL_E_CONFIG, "%.300s...: a path over 4096 bytes", run_dir);
    FILE *f = fopen(path, "re");
    if (f != NULL) {
        int rc = inputs_compare(in, f, path, err);
        fclose(f);
        return rc;
    }
    if (errno != ENOENT)
        return fl_err_set(err, FL_E_IO, "%s: %s", path, strerror(errno));
    snprintf(tmp, sizeof tmp, "%s.%ld.tmp", path, (long)getpid());
    f = fopen(tmp, "we");
    if (f == NULL)
        return fl_err_set(err, FL_E_IO, "%s: %s", tmp, strerror(errno));
    int rc = inputs_write(in, f, tmp, err);
    if (fclose(f) != 0 && rc == FL_OK)
        rc = fl_err_set(err, FL_E_IO, "%s: %s", tmp, strerror(errno));
    if (rc == FL_OK && rename(tmp, path) != 0)
        rc = fl_err_set(err, FL_E_IO, "%s: %s", path, strerror(errno));
    if (rc != FL_OK) {
        unlink(tmp);
        return rc;
    }
    inputs_sync_dir(run_dir);
    return FL_OK;
}
