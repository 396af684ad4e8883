/* flowrun replay: a stage, or a stretch of the graph, on what was recorded at its input; what comes out against what was recorded. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launch/cmd.h"
#include "launch/complain.h"
#include "launch/diff.h"
#include "launch/mem.h"
#include "launch/replay.h"
#include "launch/versions.h"

struct again {
    const struct fl_args *a;
    struct fl_replay r;
    char   **names; uint32_t n;      /* the stretch, in the order of the graph */
    char   **edges; uint32_t nedges; /* recorded edges among what comes out */
    bool     fed;                    /* from recordings; else from the original files */
    struct fl_err err;
};

static bool again_in(const struct again *g, const char *name)
{
    for (uint32_t i = 0; i < g->n; i++)
        if (strcmp(g->names[i], name) == 0)
            return true;
    return false;
}

/* ---- the stretch ---- */

static void again_unknown(const struct again *g, const char *name)
{
    const json_t *stages = json_object_get(g->r.config, "stages");
    const char **names = fl_need(json_object_size(stages) + 1, sizeof *names), *key;
    json_t *e;
    uint32_t n = 0;
    json_object_foreach((json_t *)stages, key, e)
        names[n++] = key;
    fprintf(stderr, "flowrun: the run has no stage called %s%s\n", name, fl_did_you_mean(name, names));
    free(names);
}

static bool again_stretch(struct again *g)
{
    const char *from = g->a->stage != NULL ? g->a->stage : g->a->from, *to = g->a->stage != NULL ? g->a->stage : g->a->to, *name;
    json_t *e;
    if (from == NULL || to == NULL || (g->a->stage != NULL && (g->a->from != NULL || g->a->to != NULL))) {
        fprintf(stderr, "flowrun: want --stage NAME, or --from NAME and --to NAME\n");
        return false;
    }
    for (int i = 0; i < 2; i++)
        if (fl_replay_stage(&g->r, i ? to : from) == NULL) {
            again_unknown(g, i ? to : from);
            return false;
        }
    g->names = fl_need(json_object_size(json_object_get(g->r.config, "stages")), sizeof *g->names);
    json_object_foreach(json_object_get(g->r.config, "stages"), name, e)
        if (fl_replay_comes_to(&g->r, from, name) && fl_replay_comes_to(&g->r, name, to))
            g->names[g->n++] = fl_need_copy(name);
    if (g->n == 0)
        fprintf(stderr, "flowrun: %s doesn't come to %s\n", from, to);
    return g->n > 0;
}

static bool again_is_read(const struct fl_replay *r, const char *name)
{
    const char *other;
    json_t *e, *f;
    size_t i;
    json_object_foreach(json_object_get(r->config, "stages"), other, e)
        json_array_foreach(json_object_get(e, "from"), i, f)
            if (json_is_string(f) && strcmp(json_string_value(f), name) == 0)
                return true;
    return false;
}

/* The dynamic loader reads its strings by words; valgrind takes that for a fault of the stage that loads something. */
static const char again_loader[] = "{\n  loader\n  Memcheck:Addr8\n  obj:*/ld-*\n}\n";

static bool again_write(const char *path, const char *text)
{
    FILE *f = fopen(path, "we");
    bool ok = f != NULL && fputs(text, f) >= 0;
    if (f != NULL)
        ok = fclose(f) == 0 && ok;
    return ok;
}

/* A debugger stands before the stage only where it is set up; asked for its description it answers by itself. */
static char *again_wrap(struct again *g, const char *exe)
{
    char *path = fl_need_text("%s/under", g->r.tmp.path), *supp = fl_need_text("%s/under.supp", g->r.tmp.path);
    char *tool = g->a->gdb ? fl_need_copy("gdb -q --args") : fl_need_text("valgrind -q --error-exitcode=99 --child-silent-after-fork=yes --suppressions='%s'", supp);
    char *script = fl_need_text("#!/bin/sh\ncase \"$1\" in --setup) exec %s '%s' \"$@\";; *) exec '%s' \"$@\";; esac\n", tool, exe, exe);
    bool ok = strchr(exe, '\'') == NULL && strchr(supp, '\'') == NULL && again_write(supp, again_loader) && again_write(path, script) && chmod(path, 0700) == 0;
    free(supp);
    free(tool);
    free(script);
    if (ok)
        return path;
    free(path);
    return NULL;
}

static int again_debug(struct again *g, const char *name)
{
    const json_t *e = json_object_get(g->r.stages, name);
    char *wrap = again_wrap(g, json_string_value(json_object_get(e, "exe")));
    if (wrap == NULL)
        return fl_err_set(&g->err, FL_E_IO, "%s: the debugger can't be put before it", name);
    fl_need_put((json_t *)e, "exe", fl_need_str(wrap));
    free(wrap);
    return FL_OK;
}

static int again_graph(struct again *g)
{
    size_t k;
    json_t *f;
    for (uint32_t i = 0; g->r.foreign && i < g->n; i++)
        if (json_array_size(json_object_get(fl_replay_stage(&g->r, g->names[i]), "from")) == 0)
            return fl_err_set(&g->err, FL_E_CONFIG, "%s reads the original files, of which an archive holds only what later stages need: replay what reads from it, or %s out of its run directory", g->names[i], g->names[i]);
    for (uint32_t i = 0; i < g->n; i++)
        json_array_foreach(json_object_get(fl_replay_stage(&g->r, g->names[i]), "from"), k, f)
            if (json_is_string(f) && !again_in(g, json_string_value(f))) {
                g->fed = true;
                if (fl_replay_feed(&g->r, json_string_value(f), &g->err) != FL_OK)
                    return g->err.code;
            }
    g->edges = fl_need(g->n, sizeof *g->edges);
    for (uint32_t i = 0; i < g->n; i++) {
        bool last = i + 1 == g->n, recorded = fl_replay_recorded(&g->r, g->names[i]);
        if (fl_replay_add(&g->r, g->names[i], g->a->with, &g->err) != FL_OK)
            return g->err.code;
        if (again_is_read(&g->r, g->names[i]) && (last || recorded))
            fl_replay_tap(&g->r, g->names[i]);
        if (recorded)
            g->edges[g->nedges++] = g->names[i];
    }
    return g->a->gdb || g->a->valgrind ? again_debug(g, g->names[0]) : FL_OK;
}

/* ---- the batches ---- */

/* Keeps what the recording of this edge has too, undamaged. */
static int again_meet(struct again *g, struct fl_batches *s, const char *edge)
{
    struct fl_rec *rec;
    struct fl_rec_batch b = { 0 };
    uint64_t *records, n, kept = 0;
    int rc = FL_OK;
    if (fl_rec_open(fl_replay_path(&g->r, edge), &rec, &g->err) != FL_OK)
        return g->err.code;
    if (fl_rec_batches(rec, &records, &n, &g->err) != FL_OK) {
        fl_rec_close(rec);
        return g->err.code;
    }
    if (s->all)
        s->v = fl_need(n + 1, sizeof *s->v);
    for (uint64_t i = 0; rc == FL_OK && i < (s->all ? n : s->n); i++) {
        uint64_t at = s->all ? records[i] : fl_rec_find(rec, s->v[i], FL_REC_LAST);
        if (at == FL_REC_NONE && g->a->batch != NULL)
            rc = fl_err_set(&g->err, FL_E_INPUT, "batch %" PRIu64 " was not recorded on edge %s", s->v[i], edge);
        if (at == FL_REC_NONE)
            continue;
        rc = g->a->batch != NULL ? fl_rec_read(rec, at, &b, &g->err) : fl_replay_read(&g->r, rec, at, &b, &g->err);
        if (rc == FL_OK)
            s->v[kept++] = fl_rec_at(rec, at)->batch;
        else if (rc == FL_END)
            rc = FL_OK;
    }
    s->n = kept;
    s->all = false;
    free(records);
    fl_rec_batch_done(&b);
    fl_rec_close(rec);
    return rc;
}

static int again_batches(struct again *g)
{
    const char *name;
    json_t *e;
    struct fl_batches s;
    int rc = fl_batches_read(g->a->batch, &s, &g->err);
    if (rc != FL_OK)
        return rc;
    json_object_foreach(g->r.stages, name, e) {
        const char *stage = json_string_value(json_object_get(e, "stage"));
        if (rc == FL_OK && !again_in(g, name) && (strcmp(stage, "recording") == 0 || strcmp(stage, "recall") == 0))
            rc = again_meet(g, &s, name);
    }
    for (uint32_t i = 0; i < g->nedges && rc == FL_OK && (g->a->diff || !g->fed); i++)
        rc = again_meet(g, &s, g->edges[i]);
    g->r.batches = s.v;
    g->r.nbatches = s.all ? 0 : s.n;
    if (rc == FL_OK && !s.all && s.n == 0)
        rc = fl_err_set(&g->err, FL_E_INPUT, "no batch was recorded on every edge that is needed");
    return rc;
}

/* ---- what came out ---- */

/* Every batch that went in is to come out. */
static uint32_t again_whole(const struct again *g, const char *name, uint64_t compared)
{
    if (g->r.nbatches == 0 || compared == g->r.nbatches)
        return 0;
    printf("%s: %" PRIu64 " batches came out, want %" PRIu64 "\n", name, compared, g->r.nbatches);
    return 1;
}

static int again_diff(struct again *g)
{
    uint32_t bad = 0;
    uint64_t compared = 0;
    unsigned how = (g->a->valgrind ? FL_DIFF_LOOSE : 0) | (g->r.foreign ? FL_DIFF_MOVED : 0);
    for (uint32_t i = 0; i < g->nedges; i++) {
        char *got = fl_need_text("%s/recordings/%s", g->r.out, g->edges[i]);
        uint64_t before = compared;
        bad += fl_diff_edge(g->edges[i], fl_replay_path(&g->r, g->edges[i]), got, how, &compared);
        bad += again_whole(g, g->edges[i], compared - before);
        free(got);
    }
    for (uint32_t i = 0; i < g->n; i++)
        if (!again_is_read(&g->r, g->names[i])) {
            char *want = fl_need_text("%s/journal/%s", g->r.run, g->names[i]), *got = fl_need_text("%s/journal/%s", g->r.out, g->names[i]);
            uint64_t before = compared;
            bad += fl_diff_sink(g->names[i], want, got, how, &compared);
            bad += again_whole(g, g->names[i], compared - before);
            free(want);
            free(got);
        }
    if (compared == 0) {
        printf("nothing to compare: what leaves %s was not recorded\n", g->names[g->n - 1]);
        return 1;
    }
    printf(bad == 0 ? "the same: %" PRIu64 " batches compared\n" : "different: %" PRIu64 " batches compared\n", compared);
    return bad == 0 ? 0 : 1;
}

static int again_go(struct again *g)
{
    if (!again_stretch(g))
        return 2;
    if (g->a->gdb && g->a->valgrind) {
        fprintf(stderr, "flowrun: --gdb or --valgrind, not both\n");
        return 2;
    }
    if (g->n > 1 && (g->a->with != NULL || g->a->gdb || g->a->valgrind)) {
        fprintf(stderr, "flowrun: --with, --gdb and --valgrind go with --stage\n");
        return 2;
    }
    if ((g->a->keep != NULL && fl_replay_keep(&g->r, g->a->keep, &g->err) != FL_OK) || again_graph(g) != FL_OK || again_batches(g) != FL_OK) {
        fprintf(stderr, "flowrun: %s\n", g->err.text);
        return 2;
    }
    int status = fl_replay_run(&g->r, g->a->gdb ? g->names[0] : NULL, g->a->gdb || g->a->valgrind, &g->err);
    if (!g->a->gdb && !g->a->valgrind)
        fl_versions_compare(g->r.run, g->r.out, (const char *const *)g->names, g->n);
    if (status == 3)
        status = 0;                     /* rejected tiles were rejected then, too */
    if (status == 0 && g->a->diff)
        status = again_diff(g);
    else if (status == 0 && g->r.nbatches == 0)
        printf("done\n");
    else if (status == 0)
        printf("done: %" PRIu64 " batches\n", g->r.nbatches);
    if (status == 0 && g->r.damaged > 0)
        status = 3;
    fflush(stdout);
    return status;
}

int fl_cmd_replay(const struct fl_args *a)
{
    struct again g = { .a = a };
    int status = 2;
    if (fl_replay_open(a->files[0], &g.r, &g.err) != FL_OK)
        fprintf(stderr, "flowrun: %s\n", g.err.text);
    else
        status = again_go(&g);
    if (status == 2 && g.r.out != NULL)
        rmdir(g.r.out);                  /* nothing was started: nothing is kept */
    for (uint32_t i = 0; i < g.n; i++)
        free(g.names[i]);
    free(g.names);
    free(g.edges);
    fl_replay_done(&g.r);
    return status;
}
