/* flowrun why RUN TILE: how one tile's labels came about. The part of the run that made them is run again for the tile's batch, every
 * edge of it recorded, and held against what the journal says. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launch/cmd.h"
#include "launch/describe.h"
#include "launch/diff.h"
#include "launch/mem.h"
#include "launch/replay.h"
#include "proto/journal.h"

struct why {
    struct fl_replay r;
    const char *tile;
    char     path[4096];
    uint64_t ordinal, batch;
    const char *source, *sink;
    char   **order; uint32_t n;      /* stages of the run but taps, in its order */
    char    *no_second;              /* why a decoder tells no second choice; NULL: it does */
    bool     differs;
    struct fl_err err;
};

/* ---- the tile ---- */

/* RUN/inputs: id TAB path a line, in the order of the source. */
static bool why_find(struct why *w)
{
    char *name = fl_need_text("%s/inputs", w->r.run), *line = NULL;
    size_t cap = 0, len = strlen(w->tile);
    uint64_t i = 0;
    bool found = false;
    FILE *f = fopen(name, "re");
    for (; f != NULL && !found && getline(&line, &cap, f) > 0; i++)
        if (strncmp(line, w->tile, len) == 0 && line[len] == '\t') {
            snprintf(w->path, sizeof w->path, "%.*s", (int)strcspn(line + len + 1, "\t\n"), line + len + 1);
            w->ordinal = i;
            found = true;
        }
    if (f == NULL)
        fprintf(stderr, "flowrun: %s: %s\n", name, strerror(errno));
    else if (!found)
        fprintf(stderr, "flowrun: %s: no tile is called %s\n", name, w->tile);
    if (f != NULL)
        fclose(f);
    free(line);
    free(name);
    return found;
}

static bool why_is_tap(const json_t *e)
{
    const char *stage = json_string_value(json_object_get(e, "stage"));
    return stage != NULL && (strcmp(stage, "record") == 0 || strcmp(stage, "sheet") == 0 || strcmp(stage, "feed") == 0);
}

static bool why_read(const struct why *w, const char *name)
{
    const char *other;
    json_t *e, *f;
    size_t i;
    json_object_foreach(json_object_get(w->r.config, "stages"), other, e)
        json_array_foreach(json_object_get(e, "from"), i, f)
            if (!why_is_tap(e) && json_is_string(f) && strcmp(json_string_value(f), name) == 0)
                return true;
    return false;
}

/* A decoder that can tell its second choice is made to; how it chooses the first doesn't depend on it. */
static void why_runner_up(struct why *w, const char *name)
{
    json_t *e = json_object_get(w->r.stages, name), *options = json_object_get(e, "options");
    if (!json_is_boolean(json_object_get(options, "runner_up")))
        return;
    json_t *asked = fl_need_json(json_copy(options));
    fl_need_put(asked, "runner_up", json_true());
    struct fl_ask ask = { .exe = json_string_value(json_object_get(e, "exe")), .options = json_dumps(asked, JSON_COMPACT) };
    fl_ask_all(&ask, 1, FL_DESCRIBE_SECONDS);
    const char *why = ask.error != NULL ? ask.error : json_string_value(json_object_get(json_object_get(ask.answer, "error"), "text"));
    if (why == NULL)
        fl_need_put(options, "runner_up", json_true());
    else
        w->no_second = fl_need_copy(why);
    fl_ask_done(&ask);
    json_decref(asked);
}

static int why_graph(struct why *w)
{
    const char *name;
    json_t *e;
    w->order = fl_need(json_object_size(json_object_get(w->r.config, "stages")), sizeof *w->order);
    json_object_foreach(json_object_get(w->r.config, "stages"), name, e) {
        if (why_is_tap(e))
            continue;
        if (json_object_get(e, "from") == NULL)
            w->source = name;
        w->order[w->n++] = (char *)name;
        if (fl_replay_add(&w->r, name, NULL, &w->err) != FL_OK)
            return w->err.code;
        why_runner_up(w, name);
        if (why_read(w, name))
            fl_replay_tap(&w->r, name);
        else if (w->sink == NULL)
            w->sink = name;
    }
    return w->source != NULL && w->sink != NULL ? FL_OK : fl_err_set(&w->err, FL_E_CONFIG, "the run has no sink that keeps a journal");
}

/* ---- what came out ---- */

static void why_row(const struct why *w, const struct fl_tensor *t, uint64_t row, uint32_t first)
{
    const json_t *names = json_object_get(json_object_get(w->r.config, "labels"), "names");
    uint32_t L = t->shape[t->ndim - 1];
    const float *p = (const float *)t->data + row * (t->bytes / 4 / t->shape[0]) + (uint64_t)first * L;
    bool done[64] = { false };
    for (uint32_t k = 0; k < L && k < 64 && k < 6; k++) {
        uint32_t best = 64;
        for (uint32_t l = 0; l < L && l < 64; l++)
            if (!done[l] && (best == 64 || p[l] > p[best]))
                best = l;
        done[best] = true;
        if (k > 0 && p[best] < 0.01f)
            break;
        const char *label = json_string_value(json_array_get(names, best));
        printf("%s%s %.4f", k ? ", " : "", label != NULL ? label : "?", (double)p[best]);
    }
    printf("\n");
}

/* prob [B,V,K,L]: each view and snapshot; [B,L]: one line. */
static void why_prob(const struct why *w, const struct fl_tensor *t, uint64_t row)
{
    if (t->dtype != FL_F32 || t->ndim < 2)
        return;
    uint32_t V = t->ndim == 4 ? t->shape[1] : 1, K = t->ndim == 4 ? t->shape[2] : t->ndim == 3 ? t->shape[1] : 1;
    for (uint32_t v = 0; v < V; v++)
        for (uint32_t k = 0; k < K; k++) {
            if (t->ndim == 4)
                printf("    view %u, snapshot %u: ", v, k);
            else if (t->ndim == 3)
                printf("    model %u: ", k);
            else
                printf("    ");
            why_row(w, t, row, v * K + k);
        }
}

static void why_views(const struct fl_tensor *t, uint64_t row)
{
    if (t->dtype != FL_F32 || t->ndim != 3 || t->shape[2] != 5)
        return;
    const float *p = (const float *)t->data + row * t->shape[1] * 5;
    for (uint32_t v = 0; v < t->shape[1]; v++, p += 5)
        printf("    view %u: symmetry %g (4 transpose + 2 flip rows + 1 flip columns), window x %g, y %g, %g x %g\n", v, (double)p[0], (double)p[1], (double)p[2], (double)p[3], (double)p[4]);
}

static void why_labels(const struct why *w, uint64_t bits)
{
    const json_t *names = json_object_get(json_object_get(w->r.config, "labels"), "names");
    for (uint32_t l = 0; l < json_array_size(names); l++)
        if (bits >> l & 1)
            printf(" %s", json_string_value(json_array_get(names, l)));
}

static uint64_t why_bits(const struct fl_tensor *t, uint64_t row)
{
    uint64_t bits = 0;
    for (uint32_t l = 0; t->dtype == FL_U8 && t->ndim == 2 && l < t->shape[1] && l < 64; l++)
        bits |= (uint64_t)(((const uint8_t *)t->data)[row * t->shape[1] + l] & 1) << l;
    return bits;
}

static void why_files(const struct why *w, const char *name)
{
    char *path = fl_need_text("%s/versions.json", w->r.out);
    json_t *versions = json_load_file(path, 0, NULL), *f;
    const char *file;
    json_object_foreach(json_object_get(json_object_get(json_object_get(versions, "stages"), name), "files"), file, f)
        if (json_object_get(f, "sha256") != NULL)
            printf("    %s: sha256 %s\n", file, json_string_value(json_object_get(f, "sha256")));
    json_decref(versions);
    free(path);
}

/* A tensor that the stages before had as well is told once, where it was made: by its place, the pool of its maker. */
static void why_stage(struct why *w, const char *name, const struct fl_rec_batch *b, const struct fl_rec_batch *before)
{
    uint64_t row = w->ordinal % (uint64_t)json_integer_value(json_object_get(w->r.config, "batch"));
    const char *stage = json_string_value(json_object_get(fl_replay_stage(&w->r, name), "stage"));
    printf("  %s (%s)\n", name, stage != NULL ? stage : "?");
    why_files(w, name);
    for (uint32_t i = 0; i < b->b.ntensors; i++) {
        const struct fl_tensor *t = &b->b.t[i], *old = before != NULL ? fl_batch_find(&before->b, t->name) : NULL;
        if ((old != NULL && old->place == t->place) || t->ndim == 0 || t->shape[0] != b->b.n || row >= b->b.n)
            continue;
        if (strcmp(t->name, "view") == 0)
            why_views(t, row);
        else if (strcmp(t->name, "prob") == 0 || strcmp(t->name, "models") == 0)
            why_prob(w, t, row);
        else if (strcmp(t->name, "pixels") == 0 && t->ndim == 4)
            printf("    pixels: %u x %u, %u bands, %s\n", t->shape[2], t->shape[1], t->shape[3], fl_dtype_name(t->dtype));
        else if (strcmp(t->name, "pred") == 0) {
            printf("    labels:");
            why_labels(w, why_bits(t, row));
            printf("\n");
        } else if (strcmp(t->name, "ef2") == 0 && t->dtype == FL_F64) {
            printf("    expected F2 of these: %.6f\n", ((const double *)t->data)[row]);
        } else if (strcmp(t->name, "second") == 0) {
            printf("    runner-up:");
            why_labels(w, why_bits(t, row));
            printf("\n");
        } else if (strcmp(t->name, "second_ef2") == 0 && t->dtype == FL_F64)
            printf("    expected F2 of the runner-up: %.6f\n", ((const double *)t->data)[row]);
        else if (strcmp(t->name, "reason") == 0)
            printf("    rejected: %.191s\n", (const char *)t->data + row * FL_REASON_SIZE);
    }
}

static void why_edges(struct why *w)
{
    struct fl_rec_batch *b = fl_need(2, sizeof *b), *before = NULL;
    uint32_t turn = 0;
    for (uint32_t i = 0; i < w->n; i++) {
        struct fl_rec *rec;
        char *path = fl_need_text("%s/recordings/%s", w->r.out, w->order[i]);
        if (fl_rec_open(path, &rec, &w->err) == FL_OK) {
            uint64_t at = fl_rec_find(rec, w->batch, FL_REC_LAST);
            if (at != FL_REC_NONE && fl_rec_read(rec, at, &b[turn], &w->err) == FL_OK) {
                why_stage(w, w->order[i], &b[turn], before);
                before = &b[turn];
                turn ^= 1;
            }
            fl_rec_close(rec);
        }
        free(path);
    }
    fl_rec_batch_done(&b[0]);
    fl_rec_batch_done(&b[1]);
    free(b);
}

/* ---- the journals ---- */

static bool why_of_journal(struct why *w, const char *run, struct fl_journal_rec *rec, struct fl_journal_tile *t)
{
    struct fl_journal *j;
    char *dir = fl_need_text("%s/journal/%s", run, w->sink);
    bool found = false;
    int rc = fl_journal_open(dir, &(struct fl_journal_conf){ .readonly = true }, &j, &w->err);
    free(dir);
    if (rc != FL_OK)
        return false;
    if (fl_journal_read(j, w->batch, rec, &w->err) == FL_OK)
        while (!found && fl_journal_next(rec, t, &w->err) == FL_OK)
            found = t->ordinal == w->ordinal;
    fl_journal_close(j);
    return found;
}

static void why_journal(struct why *w)
{
    struct fl_journal_rec then = { 0 }, now = { 0 };
    struct fl_journal_tile a, b;
    if (!why_of_journal(w, w->r.run, &then, &a)) {
        printf("  the journal of %s doesn't hold it\n", w->sink);
        w->differs = true;
    } else {
        printf("  the journal of %s, attempt %u:", w->sink, then.attempt);
        if (a.status != 0)
            printf(" rejected: %s", a.reason);
        else
            why_labels(w, a.pred);
        printf("\n");
        bool same = why_of_journal(w, w->r.out, &now, &b) && then.L == now.L && fl_diff_same_tile(&a, &b, then.L, 0);
        printf(same ? "  this computation gives the same, bit by bit\n" : "  THIS COMPUTATION GIVES SOMETHING ELSE\n");
        w->differs = !same;
    }
    fl_journal_rec_done(&then);
    fl_journal_rec_done(&now);
}

static int why_go(struct why *w)
{
    uint64_t B = (uint64_t)json_integer_value(json_object_get(w->r.config, "batch"));
    if (B == 0 || !why_find(w))
        return 2;
    w->batch = w->ordinal / B;
    if (why_graph(w) != FL_OK) {
        fprintf(stderr, "flowrun: %s\n", w->err.text);
        return 2;
    }
    w->r.batches = fl_need(1, sizeof *w->r.batches);
    w->r.batches[0] = w->batch;
    w->r.nbatches = 1;
    int status = fl_replay_run(&w->r, NULL, false, &w->err);
    if (status != 0 && status != 3)
        return status;
    printf("%s: %s, number %" PRIu64 ", row %" PRIu64 " of batch %" PRIu64 "\n", w->tile, w->path, w->ordinal, w->ordinal % B, w->batch);
    why_edges(w);
    if (w->no_second != NULL)
        printf("  no runner-up is told: %s\n", w->no_second);
    why_journal(w);
    return w->differs ? 1 : 0;
}

int fl_cmd_why(const struct fl_args *a)
{
    struct why w = { .tile = a->files[1] };
    int status = 2;
    if (fl_replay_open(a->files[0], &w.r, &w.err) != FL_OK)
        fprintf(stderr, "flowrun: %s\n", w.err.text);
    else
        status = why_go(&w);
    free(w.order);
    free(w.no_second);
    fl_replay_done(&w.r);
    return status;
}
