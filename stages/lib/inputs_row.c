/* The list where it lies in the run directory: of 10^7 tiles, a few megabytes are in memory. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/read_at.h"
#include "runtime/text.h"
#include "stages/lib/inputs.h"

#define ROW_BLOCK UINT64_C(16)               /* lines from one mark to the next */
#define ROW_CHUNK ((size_t)1 << 16)

static int row_odd(const struct fl_inputs *in, uint64_t i, struct fl_err *err)
{
    return fl_err_set(err, FL_E_IO, "%s:%llu: it isn't the list any more that was written there", in->file, (unsigned long long)i + 1);
}

/* ---- marks ---- */

static int row_marks(struct fl_inputs *in, char *chunk, struct fl_err *err)
{
    uint64_t at = 0, lines = 0;
    ssize_t got;
    in->mark[0] = 0;
    while ((got = fl_read_fill(in->fd, chunk, ROW_CHUNK)) > 0) {
        for (char *p = chunk, *end = chunk + got; lines < in->n && (p = memchr(p, '\n', (size_t)(end - p))) != NULL; )
            if (++lines % ROW_BLOCK == 0 || lines == in->n)
                in->mark[(lines + ROW_BLOCK - 1) / ROW_BLOCK] = at + (uint64_t)(++p - chunk);
            else
                p++;
        at += (uint64_t)got;
    }
    if (got < 0)
        return fl_err_set(err, FL_E_IO, "%s: %s", in->file, strerror(errno));
    return lines == in->n && at == in->mark[(lines + ROW_BLOCK - 1) / ROW_BLOCK] ? FL_OK : row_odd(in, lines, err);
}

/* The block with most bytes must have room. */
static int row_room(struct fl_inputs *in, struct fl_err *err)
{
    uint64_t most = 0;
    for (uint64_t k = 0; k * ROW_BLOCK < in->n; k++)
        most = in->mark[k + 1] - in->mark[k] > most ? in->mark[k + 1] - in->mark[k] : most;
    in->block = malloc(most + 1);
    return in->block != NULL ? FL_OK : fl_err_set(err, FL_E_NOMEM, "%s: no memory for %llu bytes", in->file, (unsigned long long)most);
}

int fl_inputs_leave(struct fl_inputs *in, const char *run_dir, struct fl_err *err)
{
    char *file, *chunk = malloc(ROW_CHUNK);
    if (asprintf(&file, "%s/inputs", run_dir) < 0)
        file = NULL;
    uint64_t *mark = malloc(((in->n + ROW_BLOCK - 1) / ROW_BLOCK + 1) * sizeof *mark);
    int fd = file != NULL ? open(file, O_RDONLY | O_CLOEXEC) : -1, rc = FL_OK;
    if (file == NULL || chunk == NULL || mark == NULL)
        rc = fl_err_set(err, FL_E_NOMEM, "no memory for the places of %llu tiles", (unsigned long long)in->n);
    else if (fd < 0)
        rc = fl_err_set(err, FL_E_IO, "%s: %s", file, strerror(errno));
    if (rc != FL_OK) {
        if (fd >= 0)
            close(fd);
        free(file);
        free(chunk);
        free(mark);
        return rc;
    }
    struct fl_inputs left = { .n = in->n, .archived = in->archived, .path_max = in->path_max, .file = file, .fd = fd, .mark = mark, .have = UINT64_MAX };
    fl_inputs_done(in);
    *in = left;
    rc = row_marks(in, chunk, err);
    free(chunk);
    return rc == FL_OK ? row_room(in, err) : rc;
}

/* ---- a row ---- */

static int row_block(struct fl_inputs *in, uint64_t k, struct fl_err *err)
{
    if (in->have == k)
        return FL_OK;
    size_t len = in->mark[k + 1] - in->mark[k];
    in->have = UINT64_MAX;
    int rc = fl_read_at(in->fd, in->mark[k], in->block, len, err);
    if (rc != FL_OK)
        return rc == FL_END ? row_odd(in, k * ROW_BLOCK, err) : fl_err_context(err, "%s", in->file);
    in->block[len] = '\0';
    in->have = k;
    return FL_OK;
}

/* Copies the text up to one of `ends`; where it ends, or NULL when it doesn't, or takes more than `room` with its NUL. */
static const char *row_field(const char *p, const char *ends, char *out, size_t room)
{
    size_t n = strcspn(p, ends);
    if (n == 0 || n >= room || p[n] == '\0')
        return NULL;
    memcpy(out, p, n);
    out[n] = '\0';
    return p + n;
}

static bool row_parse(const char *p, size_t path_max, struct fl_inputs_row *row)
{
    char text[2][24];
    row->span[0] = row->span[1] = 0;
    if ((p = row_field(p, "\t\n", row->id, sizeof row->id)) == NULL || *p != '\t' || (p = row_field(p + 1, "\t\n", row->path, path_max)) == NULL)
        return false;
    if (*p == '\n')
        return true;
    return (p = row_field(p + 1, "\t\n", text[0], sizeof text[0])) != NULL && *p == '\t' && (p = row_field(p + 1, "\t\n", text[1], sizeof text[1])) != NULL && *p == '\n' &&
           sscanf(text[0], "%lu", &row->span[0]) == 1 && sscanf(text[1], "%lu", &row->span[1]) == 1;
}

static void row_from_memory(const struct fl_inputs *in, uint64_t i, struct fl_inputs_row *row)
{
    size_t len;
    const char *id = fl_inputs_id(in, i, &len), *at = fl_inputs_at(in, i);
    len = len < sizeof row->id ? len : sizeof row->id - 1;
    memcpy(row->id, id, len);
    row->id[len] = '\0';
    memcpy(row->path, at, strlen(at) + 1);
    fl_inputs_span(in, i, &row->span[0], &row->span[1]);
}

int fl_inputs_row(struct fl_inputs *in, uint64_t i, struct fl_inputs_row *row, struct fl_err *err)
{
    if (in->file == NULL) {
        row_from_memory(in, i, row);
        return FL_OK;
    }
    int rc = row_block(in, i / ROW_BLOCK, err);
    if (rc != FL_OK)
        return rc;
    const char *p = in->block;
    for (uint64_t k = 0; p != NULL && k < i % ROW_BLOCK; k++)
        if ((p = strchr(p, '\n')) != NULL)
            p++;
    return p != NULL && row_parse(p, in->path_max, row) ? FL_OK : row_odd(in, i, err);
}
