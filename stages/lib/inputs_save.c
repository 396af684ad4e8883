/* The ordered list in the run directory: written before the first batch, compared when a run goes on. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "stages/lib/inputs.h"

#define INPUTS_LINE (2 * (FL_INPUTS_PATH + 32))

/* Bytes of tile i's line. */
static size_t inputs_line(const struct fl_inputs *in, uint64_t i, char line[INPUTS_LINE])
{
    size_t len, n;
    uint64_t span[2];
    const char *id = fl_inputs_id(in, i, &n), *at = fl_inputs_at(in, i);
    memcpy(line, id, n);
    line[n++] = '\t';
    memcpy(line + n, at, len = strlen(at));
    n += len;
    fl_inputs_span(in, i, &span[0], &span[1]);
    if (span[1] > 0)
        n += (size_t)snprintf(line + n, INPUTS_LINE - n, "\t%" PRIu64 "\t%" PRIu64, span[0], span[1]);
    line[n++] = '\n';
    return n;
}

static int inputs_errno(const char *path, struct fl_err *err)
{
    return fl_err_set(err, errno == ENOMEM ? FL_E_NOMEM : FL_E_IO, "%s: %s", path, strerror(errno));
}

/* Equal line by line, or FL_E_CONFIG. */
static int inputs_compare(const struct fl_inputs *in, FILE *f, const char *path, struct fl_err *err)
{
    char *line = NULL, want[INPUTS_LINE];
    size_t cap = 0;
    int rc = FL_OK;
    for (uint64_t i = 0; rc == FL_OK && i <= in->n; i++) {
        ssize_t got = getline(&line, &cap, f);
        if (got < 0 && !feof(f)) {
            rc = inputs_errno(path, err);
            break;
        }
        if (i == in->n) {
            if (got >= 0)
                rc = fl_err_set(err, FL_E_CONFIG, "%s: the run has more tiles than the %llu of this source", path, (unsigned long long)in->n);
            break;
        }
        size_t len = inputs_line(in, i, want), idlen;
        const char *id = fl_inputs_id(in, i, &idlen);
        if (got != (ssize_t)len || memcmp(line, want, len) != 0)
            rc = fl_err_set(err, FL_E_CONFIG, "%s:%llu: the run was started with other tiles, here is %.*s (%.250s)", path,
                            (unsigned long long)i + 1, (int)idlen, id, fl_inputs_at(in, i));
    }
    free(line);
    return rc;
}

static int inputs_write(const struct fl_inputs *in, FILE *f, const char *path, struct fl_err *err)
{
    char line[INPUTS_LINE];
    for (uint64_t i = 0; i < in->n; i++)
        fwrite(line, 1, inputs_line(in, i, line), f);
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
        return inputs_errno(path, err);
    snprintf(tmp, sizeof tmp, "%s.%ld.tmp", path, (long)getpid());
    f = fopen(tmp, "we");
    if (f == NULL)
        return inputs_errno(tmp, err);
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
