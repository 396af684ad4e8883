/* A recorded run opened for replay: where it lies, what it is made of; an archive unpacked. */
#include "launch/replay.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launch/archive.h"
#include "launch/mem.h"
#include "launch/versions.h"

static bool replay_is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* RUN of RUN/recordings/FILE. */
static char *replay_run_of(const char *file)
{
    char *path = realpath(file, NULL), *slash = NULL;
    for (int i = 0; i < 2 && path != NULL; i++)
        if ((slash = strrchr(path, '/')) != NULL)
            *slash = '\0';
    return path;
}

/* DIR/EDGE names no file: its folder does. */
static char *replay_run_of_prefix(const char *what)
{
    char *copy = fl_need_copy(what), *slash = strrchr(copy, '/');
    if (slash != NULL)
        *slash = '\0';
    char *dir = realpath(slash != NULL ? copy : ".", NULL), *path = NULL;
    if (dir != NULL && (slash = strrchr(dir, '/')) != NULL) {
        *slash = '\0';
        path = fl_need_copy(dir);
    }
    free(dir);
    free(copy);
    return path;
}

/* archive:NAME is a file that `flowrun cut` put in. */
static json_t *replay_unarchive(const struct fl_replay *r, const json_t *v)
{
    const char *s = json_string_value(v), *name = s != NULL && strncmp(s, "archive:", 8) == 0 ? s + 8 : NULL;
    if (name == NULL || strchr(name, '/') != NULL || name[0] == '.')
        return NULL;
    char *path = fl_need_text("%s/files/%s", r->run, name);
    json_t *j = fl_need_str(path);
    free(path);
    return j;
}

static void replay_unpack_options(const struct fl_replay *r, json_t *options)
{
    const char *key;
    json_t *v, *one, *path;
    size_t i;
    void *next;
    json_object_foreach_safe(options, next, key, v) {
        if ((path = replay_unarchive(r, v)) != NULL)
            fl_need_put(options, key, path);
        else if (json_is_array(v))
            json_array_foreach(v, i, one)
                if ((path = replay_unarchive(r, one)) != NULL)
                    json_array_set_new(v, i, path);
    }
}

static void replay_unpack_config(const struct fl_replay *r)
{
    const char *name;
    json_t *e;
    json_object_foreach(json_object_get(r->config, "stages"), name, e)
        replay_unpack_options(r, json_object_get(e, "options"));
}

/* The tiles' original files lie where the archive was unpacked: recordings that say where they are written anew. */
static int replay_unpack_edge(struct fl_replay *r, const char *edge, struct fl_err *err)
{
    struct fl_rec *rec;
    struct fl_rec_out *out = NULL;
    struct fl_rec_batch b = { 0 };
    char *dir = fl_need_text("%s/here", r->tmp.path), *mem = NULL;
    int rc = fl_rec_open(fl_replay_path(r, edge), &rec, err);
    if (rc != FL_OK) {
        free(dir);
        return rc;
    }
    const struct fl_rec_info *info = fl_rec_info(rec);
    for (uint64_t i = 0; rc == FL_OK && i < fl_rec_count(rec); i++) {
        if ((rc = fl_replay_read(r, rec, i, &b, err)) == FL_END) {
            rc = FL_OK;
            continue;
        }
        mem = rc == FL_OK ? fl_archive_tiles_here(r->run, &b.b) : NULL;
        if (rc == FL_OK && fl_batch_find(&b.b, "path") == NULL)
            break;
        if (rc == FL_OK && out == NULL)
            rc = mkdir(dir, 0700) == 0 || errno == EEXIST ? fl_rec_out_new(&(struct fl_rec_conf){ .dir = dir, .edge = edge, .run = info->run, .B = info->B, .text = info->text }, &out, err) :
                 fl_err_set(err, FL_E_IO, "%s: %s", dir, strerror(errno));
        if (rc == FL_OK)
            rc = fl_rec_append(out, &b.b, mem != NULL ? NULL : &b.head, b.time, err);
        free(mem);
    }
    if (rc == FL_OK && out != NULL)
        rc = fl_rec_finish(out, err);
    for (uint32_t i = 0; rc == FL_OK && out != NULL && i < info->files; i++)
        unlink(fl_rec_file(rec, i));
    for (uint32_t i = 0; rc == FL_OK && out != NULL; i++) {
        char *from = fl_need_text("%s/%s.%04u.flr", dir, edge, i), *to = fl_need_text("%s.%04u.flr", fl_replay_path(r, edge), i);
        int moved = rename(from, to);
        free(from);
        free(to);
        if (moved != 0)
            break;
    }
    fl_rec_out_free(out);
    fl_rec_batch_done(&b);
    fl_rec_close(rec);
    free(dir);
    return rc;
}

static int replay_unpack_tiles(struct fl_replay *r, struct fl_err *err)
{
    uint32_t n;
    char **edges = fl_replay_edges(r, &n);
    int rc = FL_OK;
    for (uint32_t i = 0; i < n; i++) {
        if (rc == FL_OK)
            rc = replay_unpack_edge(r, edges[i], err);
        free(edges[i]);
    }
    free(edges);
    return rc;
}

int fl_replay_open(const char *what, struct fl_replay *r, struct fl_err *err)
{
    size_t len = strlen(what);
    struct fl_rec *rec = NULL;
    struct fl_err why = { 0 };
    bool there = true;
    *r = (struct fl_replay){ 0 };
    if (fl_folder_make("replay", &r->tmp, err) != FL_OK)
        return err->code;
    r->out = fl_need_text("%s/run", r->tmp.path);
    if (mkdir(r->out, 0700) != 0)
        return fl_err_set(err, FL_E_IO, "%s: %s", r->out, strerror(errno));
    if (len > 4 && strcmp(what + len - 4, ".tar") == 0) {
        r->unpacked = fl_need_text("%s/archive", r->tmp.path);
        r->foreign = true;
        int rc = fl_archive_unpack(what, r->unpacked, err);
        if (rc != FL_OK)
            return rc;
        r->run = fl_need_copy(r->unpacked);
    } else if (replay_is_dir(what)) {
        r->run = realpath(what, NULL);
    } else {
        r->run = access(what, F_OK) == 0 ? replay_run_of(what) : replay_run_of_prefix(what);
        there = access(what, F_OK) == 0 || fl_rec_open(what, &rec, &why) == FL_OK;
        fl_rec_close(rec);
    }
    char *path = fl_need_text("%s/config.json", r->run != NULL ? r->run : what);
    json_error_t je;
    r->config = r->run != NULL ? json_load_file(path, JSON_REJECT_DUPLICATES, &je) : NULL;
    int rc = FL_OK;
    if (!there)
        rc = fl_err_set(err, FL_E_INPUT, "%.200s: no run directory, recording or archive is there (%.300s)", what, why.text);
    else if (!json_is_object(json_object_get(r->config, "stages")))
        rc = fl_err_set(err, FL_E_INPUT, "%.300s belongs to no run (no %.300s), and is no archive (NAME.tar)", what, path);
    free(path);
    r->stages = fl_need_json(json_object());
    if (rc == FL_OK && !r->foreign)
        fl_versions_go(r->run);
    if (rc == FL_OK && r->foreign)
        replay_unpack_config(r);
    if (rc == FL_OK && r->foreign)
        rc = replay_unpack_tiles(r, err);
    return rc;
}

void fl_replay_done(struct fl_replay *r)
{
    fl_folder_done(&r->tmp);
    free(r->out);
    free(r->run);
    free(r->unpacked);
    free(r->batches);
    json_decref(r->config);
    json_decref(r->stages);
    *r = (struct fl_replay){ 0 };
}

int fl_replay_keep(struct fl_replay *r, const char *dir, struct fl_err *err)
{
    rmdir(dir);                                     /* an empty one will do */
    if (mkdir(dir, 0777) != 0)
        return fl_err_set(err, FL_E_CONFIG, "--keep %s: %s", dir, strerror(errno));
    free(r->out);
    r->out = realpath(dir, NULL);
    return r->out != NULL ? FL_OK : fl_err_set(err, FL_E_IO, "--keep %s: %s", dir, strerror(errno));
}

const char *fl_replay_path(const struct fl_replay *r, const char *edge)
{
    static char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/recordings/%s", r->run, edge);
    return path;
}

bool fl_replay_recorded(const struct fl_replay *r, const char *edge)
{
    struct fl_rec *rec;
    if (fl_rec_open(fl_replay_path(r, edge), &rec, NULL) != FL_OK)
        return false;
    fl_rec_close(rec);
    return true;
}

json_t *fl_replay_stage(const struct fl_replay *r, const char *name)
{
    return json_object_get(json_object_get(r->config, "stages"), name);
}

static int replay_order(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

char **fl_replay_edges(const struct fl_replay *r, uint32_t *n)
{
    char *dir = fl_need_text("%s/recordings", r->run), **edges = fl_need(1, sizeof *edges);
    DIR *d = opendir(dir);
    *n = 0;
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        size_t len = strlen(e->d_name), end = len > 4 && strcmp(e->d_name + len - 4, ".flr") == 0 ? len - 4 : 0, dot = end;
        while (dot > 0 && e->d_name[dot - 1] >= '0' && e->d_name[dot - 1] <= '9')
            dot--;                                          /* EDGE.0000.flr */
        if (dot < 2 || end - dot < 4 || e->d_name[dot - 1] != '.')
            continue;
        char *edge = fl_need_text("%.*s", (int)(dot - 1), e->d_name);
        bool known = false;
        for (uint32_t i = 0; i < *n; i++)
            known |= strcmp(edges[i], edge) == 0;
        if (known) {
            free(edge);
            continue;
        }
        edges = fl_need_grow(edges, *n + (size_t)1, sizeof *edges);
        edges[(*n)++] = edge;
    }
    if (d != NULL)
        closedir(d);
    free(dir);
    if (*n > 0)
        qsort(edges, *n, sizeof *edges, replay_order);
    return edges;
}

bool fl_replay_comes_to(const struct fl_replay *r, const char *from, const char *name)
{
    size_t i;
    json_t *f;
    if (strcmp(name, from) == 0)
        return true;
    json_array_foreach(json_object_get(fl_replay_stage(r, name), "from"), i, f)
        if (json_is_string(f) && fl_replay_comes_to(r, from, json_string_value(f)))
            return true;
    return false;
}

static int replay_by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

int fl_batches_read(const char *list, struct fl_batches *b, struct fl_err *err)
{
    *b = (struct fl_batches){ .all = list == NULL };
    for (const char *p = list; p != NULL; p = *p == ',' ? p + 1 : NULL) {
        char *end;
        errno = 0;
        uint64_t n = strtoull(p, &end, 10);
        if (*p < '0' || *p > '9' || (*end != ',' && *end != '\0') || errno != 0) {
            free(b->v);
            b->v = NULL;
            return fl_err_set(err, FL_E_CONFIG, "--batch %s: want numbers from 0 up, separated by commas", list);
        }
        p = end;
        if (fl_batches_have(b, n))
            continue;
        b->v = fl_need_grow(b->v, b->n + 1, sizeof *b->v);
        b->v[b->n++] = n;
        qsort(b->v, b->n, sizeof *b->v, replay_by_number);
    }
    return FL_OK;
}

bool fl_batches_have(const struct fl_batches *b, uint64_t batch)
{
    return b->all || (b->n > 0 && bsearch(&batch, b->v, b->n, sizeof batch, replay_by_number) != NULL);
}
