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
#include "proto/crc32c.h"
#include "proto/journal.h"

/* have: of each "EDGE BATCH" that is in already, a checksum of its tiles' ids, where several are put together; seen: of the batches and tiles
 * that were asked for, those that were found; tiles: ids of those that are in, where an option names a folder (kept). */
struct cut { const struct fl_args *a; char *dir; uint64_t run, kept, missing, damaged; bool begun, folders; struct fl_batches batches; json_t *have, *seen, *tiles; struct fl_err err; };

static bool cut_word(const char *list, const char *word, size_t len)
{
    for (const char *p = list; p != NULL && *p != '\0'; p += strcspn(p, ","), p += *p == ',')
        if (strcspn(p, ",") == len && memcmp(p, word, len) == 0)
            return true;
    return false;
}

static void cut_see(struct cut *c, const char *kind, const char *name, size_t len)
{
    char *key = fl_need_text("%s %.*s", kind, (int)len, name);
    fl_need_put(c->seen, key, json_true());
    free(key);
}

/* A batch of good tiles alone has no marks; one of which only good rows are left looks the same. */
static void cut_marks(struct fl_batch *b)
{
    const struct fl_tensor *status = fl_batch_find(b, "status");
    for (uint32_t r = 0; status != NULL && status->dtype == FL_I32 && r < status->bytes / sizeof(int32_t); r++)
        if (((const int32_t *)status->data)[r] != 0)
            return;
    fl_batch_drop(b, "status");
    fl_batch_drop(b, "reason");
}

/* Keeps the rows of the chosen tiles: moves them to the front of every tensor that has a row for each tile. */
static void cut_rows(struct cut *c, struct fl_batch *b)
{
    const struct fl_tensor *id = fl_batch_find(b, "id");
    uint32_t n = b->n, kept = 0;
    if (c->a->tile == NULL || id == NULL || id->bytes != (uint64_t)n * FL_ID_SIZE)
        return;
    uint32_t *row = fl_need(n + (size_t)1, sizeof *row);
    for (uint32_t r = 0; r < n; r++) {
        const char *name = (const char *)id->data + (size_t)r * FL_ID_SIZE;
        if (!cut_word(c->a->tile, name, strnlen(name, FL_ID_SIZE)))
            continue;
        row[kept++] = r;
        cut_see(c, "tile", name, strnlen(name, FL_ID_SIZE));
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
    cut_marks(b);
    free(row);
}

static void cut_tiles(struct cut *c, const struct fl_batch *b)
{
    const struct fl_tensor *id = fl_batch_find(b, "id");
    for (uint32_t r = 0; c->folders && id != NULL && id->bytes == (uint64_t)b->n * FL_ID_SIZE && r < b->n; r++) {
        char *name = fl_need_text("%.*s", FL_ID_SIZE, (const char *)id->data + (size_t)r * FL_ID_SIZE);
        json_object_set_new(c->tiles, name, json_true());          /* one that is no text names no file */
        free(name);
    }
}

/* FL_END: this batch is in already, with the same tiles. */
static int cut_once(struct cut *c, const char *edge, const struct fl_batch *b)
{
    const struct fl_tensor *id = fl_batch_find(b, "id");
    if (c->a->nfiles == 1)
        return FL_OK;
    json_int_t sum = id != NULL ? (json_int_t)fl_crc32c(0, id->data, id->bytes) : b->n;
    char *key = fl_need_text("%s %" PRIu64, edge, b->batch);
    const json_t *had = json_object_get(c->have, key);
    int rc = had == NULL ? FL_OK : json_integer_value(had) == sum ? FL_END :
             fl_err_set(&c->err, FL_E_INPUT, "batch %" PRIu64 " of %s comes twice with other tiles: cut them out of the run together", b->batch, edge);
    if (had == NULL)
        fl_need_put(c->have, key, json_integer(sum));
    free(key);
    return rc;
}

static int cut_record(struct cut *c, const char *within, const char *edge, struct fl_rec_out *out, struct fl_rec_batch *b)
{
    uint32_t n = b->b.n;
    uint64_t found = 0;
    char number[24];
    if (!c->batches.all)
        cut_see(c, "batch", number, (size_t)snprintf(number, sizeof number, "%" PRIu64, b->b.batch));
    cut_rows(c, &b->b);
    cut_tiles(c, &b->b);
    int rc = b->b.n > 0 ? cut_once(c, edge, &b->b) : FL_END;
    if (rc == FL_OK)
        rc = fl_archive_tiles(c->dir, within, &b->b, &found, &c->missing, &c->err);
    if (rc == FL_OK)
        rc = fl_rec_append(out, &b->b, b->b.n == n && found == 0 ? &b->head : NULL, b->time, &c->err);
    c->kept += rc == FL_OK;
    return rc == FL_END ? FL_OK : rc;
}

static int cut_edge(struct cut *c, struct fl_replay *r, const char *edge)
{
    struct fl_rec *rec = NULL;
    struct fl_rec_out *out = NULL;
    struct fl_rec_batch b = { 0 };
    uint64_t *records = NULL, n = 0;
    char *dir = fl_need_text("%s/recordings", c->dir);
    int rc = fl_rec_open(fl_replay_path(r, edge), &rec, &c->err);
    if (rc == FL_E_INPUT) {
        fprintf(stderr, "flowrun: %s; edge %s is left out\n", c->err.text, edge);
        c->err = (struct fl_err){ 0 };
        c->damaged++;
        free(dir);
        return FL_OK;
    }
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
        if (!fl_batches_have(&c->batches, fl_rec_at(rec, records[k])->batch))
            continue;
        rc = fl_replay_read(r, rec, records[k], &b, &c->err);
        rc = rc == FL_END ? FL_OK : rc == FL_OK ? cut_record(c, r->foreign ? r->run : NULL, edge, out, &b) : rc;
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

/* ---- what the sinks kept ---- */

static int cut_journal_batch(struct cut *c, struct fl_journal *in, struct fl_journal **out, const char *dir, uint64_t batch)
{
    struct fl_journal_rec rec = { 0 };
    struct fl_journal_tile t;
    int rc = fl_journal_read(in, batch, &rec, &c->err);
    bool begun = false;
    while (rc == FL_OK && (rc = fl_journal_next(&rec, &t, &c->err)) == FL_OK) {
        if (c->a->tile != NULL && !cut_word(c->a->tile, t.id, strlen(t.id)))
            continue;
        if (*out == NULL)
            rc = fl_journal_open(dir, &(struct fl_journal_conf){ .L = rec.L }, out, &c->err);
        if (rc == FL_OK && !begun)
            rc = fl_journal_begin(*out, c->run, batch, rec.attempt, rec.columns, &c->err);
        begun = rc == FL_OK;
        if (begun)
            rc = fl_journal_add(*out, &t, &c->err);
    }
    if (rc == FL_END)                                /* of the record, or the batch is in already */
        rc = begun ? fl_journal_end(*out, &c->err) : FL_OK;
    fl_journal_rec_done(&rec);
    return rc;
}

static int cut_journal(struct cut *c, const struct fl_replay *r, const char *sink)
{
    struct fl_journal *in = NULL, *out = NULL;
    char *from = fl_need_text("%s/journal/%s", r->run, sink), *to = fl_need_text("%s/journal/%s", c->dir, sink);
    int rc = fl_journal_open(from, &(struct fl_journal_conf){ .readonly = true }, &in, &c->err);
    for (uint64_t i = rc == FL_OK ? fl_journal_after(in, 0) : FL_JOURNAL_NONE; rc == FL_OK && i != FL_JOURNAL_NONE; i = fl_journal_after(in, i + 1))
        if (fl_batches_have(&c->batches, i))
            rc = cut_journal_batch(c, in, &out, to, i);
    if (rc == FL_OK && out != NULL)
        rc = fl_journal_sync(out, &c->err);
    fl_journal_close(in);
    fl_journal_close(out);
    free(from);
    free(to);
    return rc;
}

static int cut_take(struct cut *c, const char *what, bool first)
{
    struct fl_replay r;
    const char *name;
    json_t *e;
    uint32_t n = 0;
    int rc = fl_replay_open(what, &r, &c->err);
    char **edges = rc == FL_OK ? fl_replay_edges(&r, &n) : NULL;
    if (rc == FL_OK && first)
        rc = fl_cut_config(c->dir, &r, &c->folders, &c->err);
    for (uint32_t i = 0; i < n; i++) {
        if (rc == FL_OK)
            rc = cut_edge(c, &r, edges[i]);
        free(edges[i]);
    }
    free(edges);
    if (rc == FL_OK)
        rc = fl_cut_tiles(c->dir, &r, c->tiles, &c->err);
    json_object_foreach(json_object_get(r.config, "stages"), name, e) {
        char *journal = fl_need_text("%s/journal/%s", r.run, name);
        if (rc == FL_OK && access(journal, R_OK) == 0)
            rc = cut_journal(c, &r, name);
        free(journal);
    }
    c->damaged += r.damaged;
    fl_replay_done(&r);
    return rc;
}

/* All that was chosen is to be in it. */
static int cut_whole(struct cut *c)
{
    int rc = FL_OK;
    for (uint64_t i = 0; i < c->batches.n; i++) {
        char key[40];
        snprintf(key, sizeof key, "batch %" PRIu64, c->batches.v[i]);
        if (json_object_get(c->seen, key) == NULL)
            return fl_err_set(&c->err, FL_E_INPUT, "%s was not recorded", key);
    }
    for (const char *p = c->a->tile; p != NULL && *p != '\0'; p += strcspn(p, ","), p += *p == ',') {
        char *key = fl_need_text("tile %.*s", (int)strcspn(p, ","), p);
        if (json_object_get(c->seen, key) == NULL)
            rc = fl_err_set(&c->err, FL_E_INPUT, "%s was not recorded%s", key, c->batches.all ? "" : " in these batches");
        free(key);
    }
    return rc != FL_OK ? rc : c->kept > 0 ? FL_OK : fl_err_set(&c->err, FL_E_INPUT, "nothing of what was chosen was recorded");
}

static int cut_folders(struct cut *c)
{
    static const char *const names[] = { "", "/recordings", "/files", "/tiles", "/journal" };
    int rc = FL_OK;
    for (size_t i = 0; rc == FL_OK && i < sizeof names / sizeof *names; i++) {
        char *dir = fl_need_text("%s%s", c->dir, names[i]);
        rc = mkdir(dir, 0777) == 0 ? FL_OK : fl_err_set(&c->err, FL_E_IO, "%s: %s", dir, strerror(errno));
        free(dir);
    }
    return rc;
}

int fl_cmd_cut(const struct fl_args *a)
{
    struct cut c = { .a = a };
    struct fl_folder place;
    if (a->out == NULL || strlen(a->out) < 5 || strcmp(a->out + strlen(a->out) - 4, ".tar") != 0) {
        fprintf(stderr, "flowrun: want --out FILE.tar\n");
        return 2;
    }
    if (fl_batches_read(a->batch, &c.batches, &c.err) != FL_OK || fl_folder_make("cut", &place, &c.err) != FL_OK) {
        fprintf(stderr, "flowrun: %s\n", c.err.text);
        free(c.batches.v);
        return 2;
    }
    c.dir = fl_need_text("%s/cut", place.path);
    c.have = fl_need_json(json_object());
    c.seen = fl_need_json(json_object());
    c.tiles = fl_need_json(json_object());
    int rc = cut_folders(&c);
    for (uint32_t i = 0; rc == FL_OK && i < a->nfiles; i++)
        rc = cut_take(&c, a->files[i], i == 0);
    if (rc == FL_OK)
        rc = cut_whole(&c);
    if (rc == FL_OK)
        rc = fl_archive_pack(c.dir, a->out, &c.err);
    if (rc == FL_OK)
        printf("%s: %" PRIu64 " records\n", a->out, c.kept);
    else
        fprintf(stderr, "flowrun: %s\n", c.err.text);
    if (rc == FL_OK)
        fl_cut_lacks(c.dir, c.tiles);
    if (rc == FL_OK && c.missing > 0)
        fprintf(stderr, "flowrun: %" PRIu64 " original files are not there any more: what reads them can't be replayed elsewhere\n", c.missing);
    json_decref(c.have);
    json_decref(c.seen);
    json_decref(c.tiles);
    free(c.batches.v);
    free(c.dir);
    fl_folder_done(&place);
    return rc == FL_E_CONFIG ? 2 : rc != FL_OK ? 1 : c.damaged > 0 ? 3 : 0;
}
