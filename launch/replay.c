/* A part of a recorded run, run again: a small graph of the run's own entries, fed from its recordings. */
#include "launch/replay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "launch/describe.h"
#include "launch/graph.h"
#include "launch/mem.h"
#include "launch/run.h"

/* Files of one name that lay in several folders. */
static bool replay_taken(json_t *options, const char *path)
{
    const char *key;
    json_t *v;
    json_object_foreach(options, key, v)
        if (json_is_string(v) && strcmp(json_string_value(v), path) == 0)
            return true;
    return false;
}

/* Asks the executable what it is, and makes sure that it is `stage`. What it writes must not fall on the files of the run: names of files
 * to write move into the replay's run directory. */
static int replay_ask(const struct fl_replay *r, const char *exe, const char *name, const char *stage, json_t *options, struct fl_err *err)
{
    struct fl_ask ask = { .exe = exe };
    const char *is;
    size_t i;
    json_t *o;
    fl_ask_all(&ask, 1, FL_DESCRIBE_SECONDS);
    int rc = FL_OK;
    if (ask.error != NULL)
        rc = fl_err_set(err, FL_E_CONFIG, "%s: want a build of stage %s: %s", name, stage, ask.error);
    else if (strcmp(is = json_string_value(json_object_get(ask.answer, "name")), stage) != 0)
        rc = fl_err_set(err, FL_E_CONFIG, "%s: want a build of stage %s: %s is stage %s", name, stage, exe, is);
    if (rc != FL_OK) {
        fl_ask_done(&ask);
        return rc;
    }
    json_array_foreach(json_object_get(ask.answer, "options"), i, o) {
        const char *type = json_string_value(json_object_get(o, "type")), *key = json_string_value(json_object_get(o, "name"));
        if (strcmp(type, "out") != 0 || !json_is_string(json_object_get(options, key)))
            continue;
        const char *value = json_string_value(json_object_get(options, key)), *slash = strrchr(value, '/');
        char *to = fl_need_text("%s/%s-%s", r->out, name, slash != NULL ? slash + 1 : value);
        if (replay_taken(options, to)) {
            free(to);
            to = fl_need_text("%s/%s-%s-%s", r->out, name, key, slash != NULL ? slash + 1 : value);
        }
        fl_need_put(options, key, fl_need_str(to));
        free(to);
    }
    fl_ask_done(&ask);
    return FL_OK;
}

int fl_replay_add(struct fl_replay *r, const char *name, const char *with, struct fl_err *err)
{
    json_t *was = fl_replay_stage(r, name);
    if (was == NULL)
        return fl_err_set(err, FL_E_CONFIG, "the run has no stage called %s", name);
    json_t *e = fl_need_json(json_deep_copy(was));
    const char *stage = json_string_value(json_object_get(e, "stage")), *old = json_string_value(json_object_get(e, "exe"));
    stage = stage != NULL ? stage : name;
    char *found = with != NULL ? realpath(with, NULL) : r->foreign || old == NULL || access(old, X_OK) != 0 ? fl_find_stage(stage, NULL, 0) : fl_need_copy(old);
    if (found == NULL) {
        if (with != NULL)
            fl_err_set(err, FL_E_CONFIG, "--with %s: %s", with, strerror(errno));
        else
            fl_err_set(err, FL_E_CONFIG, "%s: no executable of stage %s is found", name, stage);
        json_decref(e);
        return err->code;
    }
    fl_need_put(e, "exe", fl_need_str(found));
    fl_need_put(e, "instances", json_integer(1));
    json_object_del(e, "hosts");
    int rc = replay_ask(r, found, name, stage, json_object_get(e, "options"), err);
    free(found);
    fl_need_put(r->stages, name, e);
    return rc;
}

static void replay_entry(struct fl_replay *r, const char *name, const char *stage, const char *from, json_t *options)
{
    json_t *e = fl_need_json(json_object());
    fl_need_put(e, "stage", fl_need_str(stage));
    if (from != NULL)
        fl_need_put(e, "from", fl_need_str(from));
    fl_need_put(e, "options", options);
    fl_need_put(r->stages, name, e);
}

/* The first edge is the source; the others give their batch whenever the first gives one. */
int fl_replay_feed(struct fl_replay *r, const char *edge, struct fl_err *err)
{
    const char *name, *source = NULL;
    struct fl_rec *rec;
    struct fl_err why = { 0 };
    json_t *e;
    if (json_object_get(r->stages, edge) != NULL)
        return FL_OK;
    if (fl_rec_open(fl_replay_path(r, edge), &rec, &why) != FL_OK)
        return fl_err_set(err, FL_E_INPUT, "edge %s was not recorded, or can't be read: %.400s", edge, why.text);
    fl_rec_close(rec);
    json_object_foreach(r->stages, name, e)
        if (strcmp(json_string_value(json_object_get(e, "stage")), "recording") == 0)
            source = name;
    json_t *options = fl_need_json(json_object());
    fl_need_put(options, "recording", fl_need_str(fl_replay_path(r, edge)));
    if (source == NULL)
        fl_need_put(options, "numbers", fl_need_str("stored"));
    replay_entry(r, edge, source == NULL ? "recording" : "recall", source, options);
    return FL_OK;
}

int fl_replay_read(struct fl_replay *r, struct fl_rec *rec, uint64_t i, struct fl_rec_batch *b, struct fl_err *err)
{
    int rc = fl_rec_read(rec, i, b, err);
    if (rc != FL_E_INPUT)
        return rc;
    fprintf(stderr, "flowrun: %s; it is left out\n", err->text);
    r->damaged++;
    return FL_END;
}

void fl_replay_tap(struct fl_replay *r, const char *name)
{
    char tap[FL_NAME_MAX];
    size_t i = json_object_size(r->stages);
    do                                               /* a name that no stage of the run has */
        snprintf(tap, sizeof tap, "replay-%zu", i++);
    while (fl_replay_stage(r, tap) != NULL || json_object_get(r->stages, tap) != NULL);
    json_t *options = fl_need_json(json_object());
    fl_need_put(options, "limit", json_integer(0));
    replay_entry(r, tap, "record", name, options);
}

static int replay_write(const struct fl_replay *r, const char *path, bool slow, struct fl_err *err)
{
    json_t *c = fl_need_json(json_copy(r->config));
    fl_need_put(c, "stages", json_incref(r->stages));
    fl_need_put(c, "local", json_true());
    fl_need_put(c, "memory", json_integer(INT64_C(1) << 40));      /* bounded by the window below */
    if (slow) {
        fl_need_put(c, "stall_timeout", json_real(86400));
        fl_need_put(c, "open_timeout", json_real(86400));
    }
    if (r->foreign)
        json_object_del(c, "stage_path");
    int rc = json_dump_file(c, path, JSON_INDENT(2)) == 0 ? FL_OK : fl_err_set(err, FL_E_IO, "%s: %s", path, strerror(errno));
    json_decref(c);
    return rc;
}

int fl_replay_run(struct fl_replay *r, const char *attached, bool slow, struct fl_err *err)
{
    char *path = fl_need_text("%s/config.json", r->tmp.path), *complaints = NULL;
    struct fl_graph *g = NULL;
    int status = 1;
    if (replay_write(r, path, slow, err) != FL_OK) {
        fprintf(stderr, "flowrun: %s\n", err->text);
    } else if (fl_graph_load(path, NULL, 0, &g, &complaints) != FL_OK) {
        fputs(complaints != NULL ? complaints : "", stderr);
        status = 2;
    } else {
        g->window = g->window > 4 ? 4 : g->window;
        status = fl_run_graph(g, &(struct fl_run_conf){ .run_dir = r->out, .quiet = true, .replay_of = r->run, .only = r->batches, .nonly = r->nbatches, .attached = attached });
    }
    free(complaints);
    fl_graph_free(g);
    free(path);
    return status;
}
