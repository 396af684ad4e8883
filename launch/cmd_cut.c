/* flowrun cut, flowrun merge: chosen batches or tiles of recordings into one archive that can be replayed elsewhere. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launch/archive.h"
#include "launch/cmd.h"
#include "launch/mem.h"
#include "launch/replay.h"

struct cut { const struct fl_args *a; char *dir; uint64_t run, kept; bool begun; struct fl_err err; };

static bool cut_word(const char *list, const char *word, size_t len)
{
    for (const char *p = list; p != NULL && *p != '\0'; p += strcspn(p, ","), p += *p == ',')
        if (strcspn(p, ",") == len && memcmp(p, word, len) == 0)
            return true;
    return false;
}

static bool cut_batch(const struct cut *c, uint64_t batch)
{
    char word[24];
    snprintf(word, sizeof word, "%" PRIu64, batch);
    return c->a->batch == NULL || cut_word(c->a->batch, word, strlen(word));
}

/* Keeps the rows of the chosen tiles: moves them to the front of every tensor that has a row for each tile. */
static void cut_rows(const struct cut *c, struct fl_batch *b)
{
    const struct fl_tensor *id = fl_batch_find(b, "id");
    uint32_t n = b->n, kept = 0;
    if (c->a->tile == NULL || id == NULL || id->bytes != (uint64_t)n * FL_ID_SIZE)
        return;
    uint32_t *row = fl_need(n + (size_t)1, sizeof *row);
    for (uint32_t r = 0; r < n; r++) {
        const char *name = (const char *)id->data + (size_t)r * FL_ID_SIZE;
        if (cut_word(c->a->tile, name, strnlen(name, FL_ID_SIZE)))
            row[kept++] = r;
    }
    for (uint32_t i = 0; i < b->ntensors; i++) {
        struct fl_tensor *t = &b->t[i];
        if (t->ndim == 0 || t->shape[0] != n || n == 0)
            continue;
        uint64_t bytes = t->bytes / n;
        for (uint32_t k = 0; k < kept; k++)
            memmove((char *)t->data + k * bytes, (char *)t->data + row[k] * bytes, bytes);
        t->shape[0] = kept;
        t->bytes = kept * bytes;
    }
    b->n = kept;
    free(row);
}

static int cut_edge(struct cut *c, const struct fl_replay *r, const char *edge)
{
    struct fl_rec *rec = NULL;
    struct fl_rec_out *out = NULL;
    struct fl_rec_batch b = { 0 };
    uint64_t *records = NULL, n = 0;
    char *dir = fl_need_text("%s/recordings", c->dir);
    int rc = fl_rec_open(fl_replay_path(r, edge), &rec, &c->err);
    if (rc == FL_OK) {
        const struct fl_rec_info *i = fl_rec_info(rec);
        rc = c->begun && i->run != c->run ? fl_err_set(&c->err, FL_E_INPUT, "%s is of another run; recordings of one run can be merged", fl_replay_path(r, edge)) : FL_OK;
        c->run = i->run;
        c->begun = true;
        if (rc == FL_OK)
            rc = fl_rec_out_new(&(struct fl_rec_conf){ .dir = dir, .edge = edge, .run = i->run, .B = i->B, .text = i->text, .zstd = 3 }, &out, &c->err);
    }
    if (rc == FL_OK)
        rc = fl_rec_batches(rec, &records, &n, &c->err);
    for (uint64_t k = 0; rc == FL_OK && k < n; k++) {
        if (!cut_batch(c, fl_rec_at(rec, records[k])->batch))
            continue;
        rc = fl_rec_read(rec, records[k], &b, &c->err);
        if (rc == FL_OK)
            cut_rows(c, &b.b);
        if (rc == FL_OK && b.b.n > 0) {
            rc = fl_rec_append(out, &b.b, NULL, b.time, &c->err);
            c->kept++;
        }
    }
    if (rc == FL_OK)
        rc = fl_rec_finish(out, &c->err);
    free(records);
    free(dir);
    fl_rec_out_free(out);
    fl_rec_batch_done(&b);
    fl_rec_close(rec);
    return rc;
}

/* ---- what goes with it ---- */

static int cut_copy(const char *from, const char *to, struct fl_err *err)
{
    char buf[65536];
    size_t n;
    FILE *in = fopen(from, "rbe"), *out = in != NULL ? fopen(to, "wbe") : NULL;
    bool ok = in != NULL && out != NULL;
    while (ok && (n = fread(buf, 1, sizeof buf, in)) > 0)
        ok = fwrite(buf, 1, n, out) == n;
    ok = ok && !ferror(in);
    if (in != NULL)
        fclose(in);
    if (out != NULL && fclose(out) != 0)
        ok = false;
    return ok ? FL_OK : fl_err_set(err, FL_E_IO, "%.200s to %.200s: %s", from, to, strerror(errno));
}

/* A file that an option names goes into files/; the option is changed to archive:NAME, which replay makes a path again. */
static int cut_value(struct cut *c, json_t **value)
{
    struct stat st;
    const char *path = json_string_value(*value);
    if (path == NULL || stat(path, &st) != 0 || !S_ISREG(st.st_mode))
        return FL_OK;
    const char *slash = strrchr(path, '/'), *base = slash != NULL ? slash + 1 : path, *dot = strrchr(path, '.');
    char *to = fl_need_text("%s/files/%s", c->dir, base);
    int rc = access(to, F_OK) == 0 ? FL_OK : cut_copy(path, to, &c->err);
    char *beside = fl_need_text("%.*s.json", (int)(dot != NULL ? dot - path : 0), path);
    if (rc == FL_OK && dot != NULL && strcmp(dot, ".safetensors") == 0 && access(beside, R_OK) == 0) {
        char *there = fl_need_text("%s/files/%.*s.json", c->dir, (int)(dot - base), base);
        rc = cut_copy(beside, there, &c->err);
        free(there);
    }
    free(beside);
    free(to);
    char *name = fl_need_text("archive:%s", base);
    *value = fl_need_str(name);
    free(name);
    return rc;
}

static int cut_options(struct cut *c, json_t *options)
{
    const char *key;
    json_t *v, *one;
    size_t i;
    void *next;
    int rc = FL_OK;
    json_object_foreach_safe(options, next, key, v) {
        json_t *value = v;
        json_array_foreach(v, i, one) {
            json_t *item = one;
            if (rc == FL_OK && (rc = cut_value(c, &item)) == FL_OK && item != one)
                json_array_set_new(v, i, item);
        }
        if (rc == FL_OK && (rc = cut_value(c, &value)) == FL_OK && value != v)
            json_object_set_new(options, key, value);          /* v is gone from here on */
    }
    return rc;
}

static int cut_config(struct cut *c, const struct fl_replay *r)
{
    const char *name;
    json_t *e, *config = fl_need_json(json_deep_copy(r->config));
    int rc = FL_OK;
    json_object_foreach(json_object_get(config, "stages"), name, e)
        if (rc == FL_OK)
            rc = cut_options(c, json_object_get(e, "options"));
    char *path = fl_need_text("%s/config.json", c->dir), *versions = fl_need_text("%s/versions.json", r->run), *to = fl_need_text("%s/versions.json", c->dir);
    if (rc == FL_OK && json_dump_file(config, path, JSON_INDENT(2)) != 0)
        rc = fl_err_set(&c->err, FL_E_IO, "%s can't be written", path);
    if (rc == FL_OK && access(versions, R_OK) == 0)
        rc = cut_copy(versions, to, &c->err);
    free(path);
    free(versions);
    free(to);
    json_decref(config);
    return rc;
}

static int cut_take(struct cut *c, const char *what, bool first)
{
    struct fl_replay r;
    uint32_t n = 0;
    int rc = fl_replay_open(what, &r, &c->err);
    char **edges = rc == FL_OK ? fl_replay_edges(&r, &n) : NULL;
    if (rc == FL_OK && first)
        rc = cut_config(c, &r);
    for (uint32_t i = 0; i < n; i++) {
        if (rc == FL_OK)
            rc = cut_edge(c, &r, edges[i]);
        free(edges[i]);
    }
    free(edges);
    fl_replay_done(&r, false);
    return rc;
}

int fl_cmd_cut(const struct fl_args *a)
{
    struct cut c = { .a = a };
    struct fl_replay place;                      /* for its folder alone */
    if (a->out == NULL || strlen(a->out) < 5 || strcmp(a->out + strlen(a->out) - 4, ".tar") != 0) {
        fprintf(stderr, "flowrun: want --out FILE.tar\n");
        return 2;
    }
    if (fl_replay_open(a->files[0], &place, &c.err) != FL_OK) {
        fprintf(stderr, "flowrun: %s\n", c.err.text);
        fl_replay_done(&place, false);
        return 2;
    }
    c.dir = fl_need_text("%s/cut", place.tmp);
    char *recordings = fl_need_text("%s/recordings", c.dir), *files = fl_need_text("%s/files", c.dir);
    int rc = mkdir(c.dir, 0777) == 0 && mkdir(recordings, 0777) == 0 && mkdir(files, 0777) == 0 ? FL_OK : fl_err_set(&c.err, FL_E_IO, "%s: %s", c.dir, strerror(errno));
    for (uint32_t i = 0; rc == FL_OK && i < a->nfiles; i++)
        rc = cut_take(&c, a->files[i], i == 0);
    if (rc == FL_OK && c.kept == 0)
        rc = fl_err_set(&c.err, FL_E_INPUT, "nothing of what was chosen was recorded");
    if (rc == FL_OK)
        rc = fl_archive_pack(c.dir, a->out, &c.err);
    if (rc == FL_OK)
        printf("%s: %" PRIu64 " records\n", a->out, c.kept);
    else
        fprintf(stderr, "flowrun: %s\n", c.err.text);
    free(recordings);
    free(files);
    free(c.dir);
    fl_replay_done(&place, false);
    return rc == FL_OK ? 0 : 1;
}
