/* Trainers on other hosts: RUN/NAME.json tells them address and keys, tensors travel in-line. One that asks for the tensor `file` gets the
 * tiles as they lie on disk: u8 of all bytes of the batch, with `file_end` u64 of each row. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/frame.h"
#include "proto/read_at.h"
#include "runtime/text.h"
#include "stages/feed/feed.h"

#define REMOTE_FILE_MAX (64u << 20)              /* bytes of one tile's file */

/* ---- opening ---- */

int feed_remote_open(struct fl_ctx *ctx)
{
    struct feed *s = ctx->state;
    struct epoll_event e = { .events = EPOLLIN, .data.u32 = FL_LEDGER_CLIENTS + 1 };
    struct fl_err err;
    char path[1300];
    int rc = fl_door_open(&(struct fl_door_conf){ .endpoint = s->listen, .most = FEED_TCP_MAX }, &s->door, &err);
    if (rc != FL_OK)
        return fl_fail(ctx, rc, "option listen: %s", err.text);
    if (epoll_ctl(s->epoll - 1, EPOLL_CTL_ADD, fl_door_fd(s->door), &e) != 0)
        return fl_fail(ctx, FL_E_IO, "epoll: %s", strerror(errno));
    const char *address = s->address != NULL && s->address[0] != '\0' ? s->address : fl_door_address(s->door);
    json_t *j = json_pack("{s:i, s:s, s:s, s:s, s:s}", "flowrun_feed", 1, "address", address, "server_key", fl_door_key(s->door, FL_DOOR_SERVER),
                          "public_key", fl_door_key(s->door, FL_DOOR_PUBLIC), "secret_key", fl_door_key(s->door, FL_DOOR_SECRET));
    snprintf(path, sizeof path, "%s/%s.json", ctx->run_dir, ctx->name);
    char *text = j != NULL ? json_dumps(j, JSON_INDENT(2)) : NULL;
    rc = text != NULL ? fl_write_file(path, 0600, text, strlen(text), &err) : fl_err_set(&err, FL_E_NOMEM, "%s: no memory", path);
    free(text);
    json_decref(j);
    return rc == FL_OK ? FL_OK : fl_fail(ctx, rc, "%s", err.text);
}

/* ---- encoded tiles ---- */

struct remote_files { unsigned char *bytes; size_t len, room; uint64_t *ends; };

static unsigned char *remote_room(struct remote_files *f, size_t want)
{
    if (f->len + want > f->room) {
        size_t room = 2 * (f->len + want);
        unsigned char *grown = realloc(f->bytes, room);
        if (grown == NULL)
            return NULL;
        f->bytes = grown;
        f->room = room;
    }
    return f->bytes + f->len;
}

/* span: NULL, or begin and length within an archive, which the path without its last step names; length 0 is the whole file. */
static void remote_file(struct remote_files *f, const char *path, const uint64_t *span)
{
    struct stat st;
    bool part = span != NULL && span[1] > 0;
    char archive[4200];
    snprintf(archive, sizeof archive, "%s", path);
    if (part && strrchr(archive, '/') != NULL)
        *strrchr(archive, '/') = '\0';
    int fd = open(archive, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    bool ok = fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (part ? span[1] : (uint64_t)st.st_size) <= REMOTE_FILE_MAX;
    size_t want = !ok ? 0 : part ? (size_t)span[1] : (size_t)st.st_size;
    unsigned char *to = ok ? remote_room(f, want) : NULL;
    ok = to != NULL && fl_read_at(fd, part ? span[0] : 0, to, want, NULL) == FL_OK;
    if (fd >= 0)
        close(fd);
    f->len += ok ? want : 0;
}

/* A rejected row has no bytes; so has one whose file is gone, which the trainer will find out. */
static int remote_files(const struct fl_batch *b, struct remote_files *f, struct fl_err *err)
{
    const struct fl_tensor *path = fl_batch_find(b, "path"), *span = fl_batch_find(b, "span");
    if (path == NULL || path->ndim != 2 || path->dtype != FL_U8)
        return fl_err_set(err, FL_E_CONFIG, "encoded tiles need the tensor path: let feed read from the source too (from: [..., tiles])");
    f->ends = calloc(b->n > 0 ? b->n : 1, sizeof *f->ends);
    if (f->ends == NULL)
        return fl_err_set(err, FL_E_NOMEM, "encoded tiles");
    for (uint32_t i = 0; i < b->n; i++) {
        const char *p = (const char *)path->data + (size_t)i * path->shape[1];
        if (memchr(p, '\0', path->shape[1]) != NULL && fl_rejected(b, i) == 0)
            remote_file(f, p, span != NULL ? (const uint64_t *)span->data + 2 * (size_t)i : NULL);
        f->ends[i] = f->len;
    }
    return FL_OK;
}

static void remote_free(void *data, void *hint)
{
    (void)hint;
    free(data);
}

/* ---- batches ---- */

/* Takes *data: it goes with the parts, or, where the batch is full, is freed and nulled. */
static void remote_add(struct fl_batch *out, struct fl_door_part *parts, const char *name, int dtype, uint64_t n, void **data, size_t bytes)
{
    struct fl_tensor *t = fl_batch_add(out, name);
    if (t == NULL) {
        free(*data);
        *data = NULL;
        return;
    }
    t->dtype = (uint8_t)dtype;
    t->ndim = 1;
    t->shape[0] = (uint32_t)n;
    t->bytes = bytes;
    parts[out->ntensors - 1] = (struct fl_door_part){ .data = *data, .len = bytes, .free = remote_free };
}

static bool remote_asks_files(const struct feed_client *c)
{
    for (uint32_t i = 0; i < c->nnames; i++)
        if (strcmp(c->names[i], "file") == 0)
            return true;
    return false;
}

int feed_remote_batch(struct fl_ctx *ctx, struct feed_client *c, const struct fl_batch *b, struct fl_err *err)
{
    struct feed *s = ctx->state;
    struct fl_door_part parts[FL_MAX_TENSORS] = { { 0 } };
    unsigned char head[FL_CLIENT_PREFIX + FL_FRAME_MAX];
    size_t len;
    feed_client_select(c, b, &s->out);
    for (uint32_t i = 0; i < s->out.ntensors; i++)      /* the slab stays until the trainer has released the batch, or is gone */
        parts[i] = (struct fl_door_part){ .data = s->out.t[i].data, .len = s->out.t[i].bytes };
    struct remote_files f = { 0 };
    if (remote_asks_files(c)) {
        int rc = remote_files(b, &f, err);
        if (rc != FL_OK || f.len > UINT32_MAX) {
            free(f.bytes);
            free(f.ends);
            return rc != FL_OK ? rc : fl_err_set(err, FL_E_INPUT, "the batch's files have %zu bytes", f.len);
        }
        remote_add(&s->out, parts, "file", FL_U8, f.len, (void **)&f.bytes, f.len);
        remote_add(&s->out, parts, "file_end", FL_U64, b->n, (void **)&f.ends, b->n * sizeof *f.ends);
    }
    for (uint32_t i = 0; i < s->out.ntensors; i++) {
        s->out.t[i].place = -1;
        s->out.t[i].off = i + 1;
    }
    fl_client_msg_prefix('B', head);
    int rc = fl_frame_pack(&s->out, head + FL_CLIENT_PREFIX, FL_FRAME_MAX, &len, err);
    if (rc == FL_OK)
        return fl_door_send(s->door, c->peer, head, FL_CLIENT_PREFIX + len, parts, s->out.ntensors, err);
    free(f.bytes);
    free(f.ends);
    return rc;
}
