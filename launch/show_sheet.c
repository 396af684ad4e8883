/* flowrun show --png: a contact sheet of recorded tiles, painted by the graph recording -> sheet. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "launch/mem.h"
#include "launch/show.h"

static bool show_reads(const json_t *entry, const char *edge)
{
    size_t i;
    json_t *f;
    json_array_foreach(json_object_get(entry, "from"), i, f)
        if (json_is_string(f) && strcmp(json_string_value(f), edge) == 0)
            return true;
    return false;
}

/* The first stage with weights behind this edge says what the network sees: the stage's name, or NULL. */
static const char *show_network(const struct fl_replay *r, const char *edge)
{
    const char *name;
    json_t *e;
    json_object_foreach(json_object_get(r->config, "stages"), name, e) {
        const json_t *w = json_object_get(json_object_get(e, "options"), "weights");
        if (json_array_size(w) > 0 && json_is_string(json_array_get(w, 0)) && fl_replay_comes_to(r, edge, name))
            return name;
    }
    return NULL;
}

/* Stages between the recorded edge and the network make the views again, where they were not recorded. The edge that the sheet reads. */
static const char *show_views(struct fl_replay *r, const char *edge, const char *network, struct fl_err *err)
{
    const json_t *from = json_object_get(fl_replay_stage(r, network), "from");
    const char *last = json_string_value(json_array_get(from, 0)), *name;
    json_t *e;
    json_object_foreach(json_object_get(r->config, "stages"), name, e)
        if (strcmp(name, edge) != 0 && fl_replay_comes_to(r, edge, name) && fl_replay_comes_to(r, name, last) &&
            (json_array_size(json_object_get(e, "from")) != 1 || fl_replay_add(r, name, NULL, err) != FL_OK))
            return NULL;
    return last;
}

/* The sink whose labels are told: the one asked for, else the first behind this edge that kept a journal. */
static const char *show_sink(const struct fl_replay *r, const char *edge, const char *asked)
{
    const char *name, *found = NULL;
    json_t *e;
    json_object_foreach(json_object_get(r->config, "stages"), name, e) {
        char *dir = fl_need_text("%s/journal/%s", r->run, name);
        bool fits = access(dir, R_OK) == 0 && fl_replay_comes_to(r, edge, name) && (asked == NULL || strcmp(asked, name) == 0);
        free(dir);
        if (fits && found != NULL)
            printf("labels are those of %s; %s has some too (--stage %s)\n", found, name, name);
        else if (fits)
            found = name;
    }
    return found;
}

static bool show_has(const struct fl_replay *r, const char *edge, const char *tensor)
{
    struct fl_rec *rec;
    struct fl_rec_batch b = { 0 };
    bool has = false;
    if (fl_rec_open(fl_replay_path(r, edge), &rec, NULL) != FL_OK)
        return false;
    if (fl_rec_count(rec) > 0 && fl_rec_peek(rec, 0, &b, NULL) == FL_OK)
        has = fl_batch_find(&b.b, tensor) != NULL;
    fl_rec_close(rec);
    return has;
}

/* The edge with views if there is one, else any with pixels. */
static const char *show_edge(const struct fl_replay *r, char *const *edges, uint32_t n)
{
    static const char *const want[] = { "view", "pixels" };
    for (int w = 0; w < 2; w++)
        for (uint32_t i = 0; i < n; i++)
            if (show_has(r, edges[i], want[w]) && show_has(r, edges[i], "pixels"))
                return edges[i];
    return NULL;
}

static bool show_has_tile(const struct fl_batch *b, const char *name, size_t len)
{
    const struct fl_tensor *id = fl_batch_find(b, "id");
    for (uint32_t r = 0; id != NULL && id->bytes == (uint64_t)b->n * FL_ID_SIZE && r < b->n; r++) {
        const char *is = (const char *)id->data + (size_t)r * FL_ID_SIZE;
        if (strnlen(is, FL_ID_SIZE) == len && memcmp(is, name, len) == 0)
            return true;
    }
    return false;
}

/* Of the tiles A,B,C those that b has become seen; true: there is one, or none was asked for. */
static bool show_tiles(const char *list, const struct fl_batch *b, json_t *seen)
{
    bool any = list == NULL;
    for (const char *p = list; p != NULL && *p != '\0'; p += strcspn(p, ","), p += *p == ',') {
        size_t len = strcspn(p, ",");
        if (!show_has_tile(b, p, len))
            continue;
        char *name = fl_need_text("%.*s", (int)len, p);
        fl_need_put(seen, name, json_true());
        free(name);
        any = true;
    }
    return any;
}

static int show_unseen(const char *list, const json_t *seen, bool all, struct fl_err *err)
{
    for (const char *p = list; p != NULL && *p != '\0'; p += strcspn(p, ","), p += *p == ',') {
        char *name = fl_need_text("%.*s", (int)strcspn(p, ","), p);
        if (json_object_get(seen, name) == NULL)
            fl_err_set(err, FL_E_INPUT, "tile %s was not recorded%s", name, all ? "" : " in these batches");
        free(name);
        if (err->code != FL_OK)
            return err->code;
    }
    return FL_OK;
}

static int show_all_batches(struct fl_replay *r, const char *edge, const struct fl_args *a, struct fl_err *err)
{
    struct fl_rec *rec;
    struct fl_rec_batch b = { 0 };
    struct fl_batches wanted;
    uint64_t *records, n;
    int rc = fl_batches_read(a->batch, &wanted, err);
    if (rc == FL_OK && (rc = fl_rec_open(fl_replay_path(r, edge), &rec, err)) != FL_OK)
        free(wanted.v);
    if (rc != FL_OK)
        return rc;
    rc = fl_rec_batches(rec, &records, &n, err);
    json_t *seen = fl_need_json(json_object());
    r->batches = rc == FL_OK ? fl_need(n + 1, sizeof *r->batches) : NULL;
    for (uint64_t i = 0; rc == FL_OK && i < n; i++) {
        if (!fl_batches_have(&wanted, fl_rec_at(rec, records[i])->batch))
            continue;
        rc = fl_replay_read(r, rec, records[i], &b, err);
        if (rc == FL_OK && show_tiles(a->tile, &b.b, seen))
            r->batches[r->nbatches++] = fl_rec_at(rec, records[i])->batch;
        rc = rc == FL_END ? FL_OK : rc;
    }
    if (rc == FL_OK)
        rc = show_unseen(a->tile, seen, wanted.all, err);
    json_decref(seen);
    fl_rec_batch_done(&b);
    free(records);
    free(wanted.v);
    fl_rec_close(rec);
    return rc == FL_OK && r->nbatches == 0 ? fl_err_set(err, FL_E_INPUT, "none of these batches was recorded") : rc;
}

static json_t *show_options(const struct fl_replay *r, const char *network, const char *sink, const struct fl_args *a)
{
    json_t *options = fl_need_json(json_object());
    json_t *weights = network != NULL ? json_array_get(json_object_get(json_object_get(fl_replay_stage(r, network), "options"), "weights"), 0) : NULL;
    fl_need_put(options, "out", fl_need_str(a->png));
    if (weights != NULL && access(json_string_value(weights), R_OK) == 0)
        fl_need_put(options, "weights", json_incref(weights));
    if (sink != NULL) {
        char *journal = fl_need_text("%s/journal/%s", r->run, sink);
        fl_need_put(options, "journal", fl_need_str(journal));
        free(journal);
    }
    if (a->tile != NULL)
        fl_need_put(options, "tiles", fl_need_str(a->tile));
    return options;
}

static int show_graph(struct fl_replay *r, const char *edge, const struct fl_args *a, struct fl_err *err)
{
    const char *network = show_network(r, edge), *sink = show_sink(r, edge, a->stage), *from = edge;
    if (a->stage != NULL && sink == NULL)
        return fl_err_set(err, FL_E_INPUT, "%s is no sink behind %s that kept a journal", a->stage, edge);
    int rc = fl_replay_feed(r, edge, err);
    if (rc == FL_OK && network != NULL && !show_reads(fl_replay_stage(r, network), edge) && (from = show_views(r, edge, network, err)) == NULL)
        return err->code != FL_OK ? err->code : fl_err_set(err, FL_E_CONFIG, "the way from %s to %s joins other edges: record %s's input", edge, network, network);
    json_t *e = fl_need_json(json_object());
    fl_need_put(e, "stage", fl_need_str("sheet"));
    fl_need_put(e, "from", fl_need_str(from));
    fl_need_put(e, "options", show_options(r, network, sink, a));
    fl_need_put(r->stages, "sheet", e);
    return rc == FL_OK ? show_all_batches(r, edge, a, err) : rc;
}

int fl_show_sheet(struct fl_replay *r, char *const *edges, uint32_t n, const struct fl_args *a)
{
    struct fl_err err = { 0 };
    const char *edge = show_edge(r, edges, n);
    int rc = edge != NULL ? show_graph(r, edge, a, &err) : fl_err_set(&err, FL_E_INPUT, "%.300s: no edge with pixels was recorded", r->run);
    if (rc != FL_OK) {
        fprintf(stderr, "flowrun: %s\n", err.text);
        return 2;
    }
    int status = fl_replay_run(r, NULL, false, &err);
    return status == 0 || status == 3 ? r->damaged > 0 ? 3 : 0 : status;
}
