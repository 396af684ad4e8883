/* flowrun show: what is in a recording; a contact sheet of its tiles. */
#include <dirent.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "launch/cmd.h"
#include "launch/diff.h"
#include "launch/mem.h"
#include "launch/replay.h"

static void show_statistics(const struct fl_tensor *t)
{
    uint64_t n = t->bytes / fl_dtype_size(t->dtype), nan = 0;
    double low = INFINITY, high = -INFINITY, sum = 0, square = 0;
    if (t->dtype == FL_F16 || t->dtype == FL_BF16)
        return;
    for (uint64_t i = 0; i < n; i++) {
        double v = fl_diff_value(t->dtype, (const unsigned char *)t->data + i * fl_dtype_size(t->dtype));
        if (isnan(v)) {
            nan++;
            continue;
        }
        low = v < low ? v : low;
        high = v > high ? v : high;
        sum += v;
        square += v * v;
    }
    double mean = n > nan ? sum / (double)(n - nan) : NAN, var = n > nan ? square / (double)(n - nan) - mean * mean : NAN;
    printf("      least %.6g, greatest %.6g, mean %.6g, deviation %.6g", low, high, mean, var > 0 ? sqrt(var) : 0.0);
    printf(nan > 0 ? ", %" PRIu64 " not a number\n" : "\n", nan);
}

static void show_record(const struct fl_rec_batch *b, bool tensors)
{
    char stamp[40];
    time_t t = (time_t)(b->time / 1000000000u);
    struct tm tm;
    uint64_t bytes = 0, stored = 0, rejected = 0;
    strftime(stamp, sizeof stamp, "%Y-%m-%d %H:%M:%S", localtime_r(&t, &tm));
    for (uint32_t i = 0; i < b->b.ntensors; i++) {
        bytes += b->b.t[i].bytes;
        stored += b->stored[i];
    }
    const struct fl_tensor *status = fl_batch_find(&b->b, "status");
    for (uint32_t r = 0; status != NULL && status->data != NULL && r < b->b.n && r < status->bytes / 4; r++)
        rejected += ((const int32_t *)status->data)[r] != 0;
    printf("  batch %" PRIu64 ", attempt %u: %u tiles, %u tensors, %" PRIu64 " bytes (%" PRIu64 " stored), %s.%03u", b->b.batch, b->b.attempt, b->b.n, b->b.ntensors, bytes, stored,
           stamp, (unsigned)(b->time / 1000000u % 1000u));
    printf(rejected > 0 ? ", %" PRIu64 " rejected\n" : "\n", rejected);
    for (uint32_t i = 0; tensors && i < b->b.ntensors; i++) {
        const struct fl_tensor *e = &b->b.t[i];
        printf("    %-16s %-4s [", e->name, fl_dtype_name(e->dtype));
        for (uint32_t d = 0; d < e->ndim; d++)
            printf("%s%u", d ? "," : "", e->shape[d]);
        printf("]\n");
        show_statistics(e);
    }
}

static bool show_wanted(const char *list, uint64_t batch)
{
    char word[24];
    snprintf(word, sizeof word, "%" PRIu64, batch);
    size_t len = strlen(word);
    for (const char *p = list; p != NULL && *p != '\0'; p += strcspn(p, ","), p += *p == ',')
        if (strcspn(p, ",") == len && memcmp(p, word, len) == 0)
            return true;
    return list == NULL;
}

static int show_recording(const char *path, const struct fl_args *a)
{
    struct fl_rec *r;
    struct fl_rec_batch b = { 0 };
    struct fl_err err = { 0 };
    int status = 0;
    if (fl_rec_open(path, &r, &err) != FL_OK) {
        fprintf(stderr, "flowrun: %s\n", err.text);
        return 2;
    }
    const struct fl_rec_info *info = fl_rec_info(r);
    printf("%s: run %016" PRIx64 ", %" PRIu64 " records in %u segments, at most %u tiles a batch", info->edge, info->run, fl_rec_count(r), info->files, info->B);
    if (info->damaged + info->torn > 0)
        printf(", %" PRIu64 " damaged places, %" PRIu64 " bytes torn off", info->damaged, info->torn);
    printf("\n");
    for (uint64_t i = 0; i < fl_rec_count(r); i++) {
        if (!show_wanted(a->batch, fl_rec_at(r, i)->batch))
            continue;
        if (fl_rec_read(r, i, &b, &err) == FL_OK) {
            show_record(&b, a->tensor);
        } else {
            printf("  %s\n", err.text);
            status = 1;
        }
    }
    fl_rec_batch_done(&b);
    fl_rec_close(r);
    return status;
}

static int show_order(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

char **fl_replay_edges(const struct fl_replay *r, uint32_t *n)
{
    char *dir = fl_need_text("%s/recordings", r->run), **edges = fl_need(1, sizeof *edges);
    DIR *d = opendir(dir);
    *n = 0;
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        size_t len = strlen(e->d_name);
        if (len < 10 || strcmp(e->d_name + len - 4, ".flr") != 0)
            continue;
        char *edge = fl_need_text("%.*s", (int)(len - 9), e->d_name);
        bool known = false;
        for (uint32_t i = 0; i < *n; i++)
            known |= strcmp(edges[i], edge) == 0;
        if (known || edge[strlen(edge)] == '.') {
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
        qsort(edges, *n, sizeof *edges, show_order);
    return edges;
}

/* ---- the contact sheet: recording -> sheet ---- */

/* The first stage that reads this edge and has weights says what the network sees. */
static const json_t *show_weights(const struct fl_replay *r, const char *edge)
{
    const char *name;
    json_t *e, *f;
    size_t i;
    json_object_foreach(json_object_get(r->config, "stages"), name, e)
        json_array_foreach(json_object_get(e, "from"), i, f)
            if (json_is_string(f) && strcmp(json_string_value(f), edge) == 0) {
                json_t *w = json_object_get(json_object_get(e, "options"), "weights");
                if (json_is_array(w) && json_array_size(w) > 0)
                    return json_array_get(w, 0);
            }
    return NULL;
}

static char *show_journal(const struct fl_replay *r)
{
    char *dir = fl_need_text("%s/journal", r->run), *found = NULL;
    DIR *d = opendir(dir);
    for (struct dirent *e; d != NULL && found == NULL && (e = readdir(d)) != NULL;)
        if (e->d_name[0] != '.')
            found = fl_need_text("%s/%s", dir, e->d_name);
    if (d != NULL)
        closedir(d);
    free(dir);
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

static int show_all_batches(struct fl_replay *r, const char *edge, const char *list, struct fl_err *err)
{
    struct fl_rec *rec;
    uint64_t *records, n;
    int rc = fl_rec_open(fl_replay_path(r, edge), &rec, err);
    if (rc != FL_OK)
        return rc;
    rc = fl_rec_batches(rec, &records, &n, err);
    r->batches = rc == FL_OK ? fl_need(n + 1, sizeof *r->batches) : NULL;
    for (uint64_t i = 0; rc == FL_OK && i < n; i++)
        if (show_wanted(list, fl_rec_at(rec, records[i])->batch))
            r->batches[r->nbatches++] = fl_rec_at(rec, records[i])->batch;
    free(records);
    fl_rec_close(rec);
    return rc == FL_OK && r->nbatches == 0 ? fl_err_set(err, FL_E_INPUT, "none of these batches was recorded") : rc;
}

static int show_sheet(struct fl_replay *r, const char *edge, const struct fl_args *a)
{
    struct fl_err err = { 0 };
    json_t *options = fl_need_json(json_object()), *e = fl_need_json(json_object());
    const json_t *weights = show_weights(r, edge);
    char *journal = show_journal(r);
    fl_need_put(options, "out", fl_need_str(a->png));
    if (weights != NULL && json_is_string(weights) && access(json_string_value(weights), R_OK) == 0)
        fl_need_put(options, "weights", json_incref((json_t *)weights));
    if (journal != NULL)
        fl_need_put(options, "journal", fl_need_str(journal));
    if (a->tile != NULL)
        fl_need_put(options, "tiles", fl_need_str(a->tile));
    free(journal);
    fl_need_put(e, "stage", fl_need_str("sheet"));
    fl_need_put(e, "from", fl_need_str(edge));
    fl_need_put(e, "options", options);
    int rc = fl_replay_feed(r, edge, &err);
    fl_need_put(r->stages, "sheet", e);
    if (rc == FL_OK)
        rc = show_all_batches(r, edge, a->batch, &err);
    if (rc != FL_OK) {
        fprintf(stderr, "flowrun: %s\n", err.text);
        return 2;
    }
    int status = fl_replay_run(r, NULL, false, &err);
    return status == 3 ? 0 : status;
}

int fl_cmd_show(const struct fl_args *a)
{
    struct fl_replay r;
    struct fl_err err = { 0 };
    const char *what = a->files[0];
    size_t len = strlen(what);
    bool one = len > 4 && strcmp(what + len - 4, ".flr") == 0;
    if (one && a->png == NULL)
        return show_recording(what, a);
    int status = 0;
    uint32_t n = 0;
    if (fl_replay_open(what, &r, &err) != FL_OK) {
        fprintf(stderr, "flowrun: %s\n", err.text);
        fl_replay_done(&r, false);
        return 2;
    }
    char **edges = fl_replay_edges(&r, &n);
    if (a->png != NULL) {
        const char *edge = show_edge(&r, edges, n);
        if (edge == NULL)
            fprintf(stderr, "flowrun: %s: no edge with pixels was recorded\n", what);
        status = edge != NULL ? show_sheet(&r, edge, a) : 2;
    } else {
        for (uint32_t i = 0; i < n; i++) {
            int s = show_recording(fl_replay_path(&r, edges[i]), a);
            status = s > status ? s : status;
        }
        if (n == 0)
            printf("no edge was recorded\n");
    }
    for (uint32_t i = 0; i < n; i++)
        free(edges[i]);
    free(edges);
    fl_replay_done(&r, false);
    return status;
}
