/* Configurations fitted by a few threads that share rows and sums of products. */
#include "stages/stack_fit/jobs.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "runtime/model.h"
#include "runtime/predictions.h"
#include "runtime/text.h"
#include "stages/stack_fit/table.h"

struct jobs {
    const struct fit_jobs *j;
    struct fit_result *result;
    char     digest[65];               /* of rows, names, labels */
    char    *dir;
    pthread_mutex_t lock;              /* of what is below, and of writing predictions */
    pthread_cond_t  changed;
    uint32_t next, done, failed, working;
    atomic_ullong progress;
    pthread_mutex_t gram_lock[2];      /* by transform */
    struct fl_l2_gram gram[2];
    bool     has_gram[2];
};

static char *jobs_path(const struct jobs *s, const char *name, const char *ending)
{
    char *path;
    return asprintf(&path, "%s/%s%s", s->dir, name, ending) < 0 ? NULL : path;
}

static const char *jobs_oof_ending(const struct fit_jobs *j)
{
    static const char *const endings[] = { ".h5", ".npy", ".csv", "" };
    return endings[j->oof];
}

/* ---- what a configuration stands for ---- */

static int jobs_digest(struct jobs *s, struct fl_err *err)
{
    const struct fit_jobs *j = s->j;
    const struct fl_l2_data *d = j->d;
    char hex[5][65];
    fl_sha256(d->x, (size_t)d->n * d->M * d->L * sizeof *d->x, hex[0]);
    fl_sha256(d->y, (size_t)d->n * d->L, hex[1]);
    fl_sha256(d->fold, d->n, hex[2]);
    fl_sha256(j->ids, (size_t)d->n * sizeof *j->ids, hex[3]);
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    for (uint32_t i = 0; f != NULL && i < d->M; i++)
        fprintf(f, "%s\n", j->names.models[i]);
    for (uint32_t l = 0; f != NULL && l < d->L; l++)
        fprintf(f, "%s\n", j->names.labels[l]);
    if (f == NULL || fprintf(f, "%llx %x %s %s %s %s %s\n", (unsigned long long)j->names.exclusive, j->names.rest_off, hex[0], hex[1], hex[2], hex[3], FL_VERSION) < 0 ||
        fclose(f) != 0) {
        free(text);
        return fl_err_set(err, FL_E_NOMEM, "no memory for a digest");
    }
    fl_sha256(text, size, s->digest);
    free(text);
    return FL_OK;
}

static void jobs_digest_of(const struct jobs *s, const json_t *options, char hex[65])
{
    char *text = json_dumps(options, JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(17)), *all = NULL;
    hex[0] = '\0';
    if (text != NULL && asprintf(&all, "%s %s", s->digest, text) >= 0)
        fl_sha256(all, strlen(all), hex);
    free(text);
    free(all);
}

/* ---- done before ---- */

static int jobs_score(const json_t *j, struct fl_l2_score *s)
{
    json_t *a = json_object_get(j, "log_loss"), *b = json_object_get(j, "f2"), *c = json_object_get(j, "f2_exact");
    *s = (struct fl_l2_score){ json_number_value(a), json_number_value(b), json_number_value(c) };
    return json_is_number(a) && json_is_number(b) && json_is_number(c);
}

/* True when all of its files are there and say what they should. */
static bool jobs_before(const struct jobs *s, const struct fit_conf *c, const char *digest, struct fit_result *r)
{
    char *path = jobs_path(s, c->name, ".json"), *model = jobs_path(s, c->name, ".safetensors");
    char *oof = jobs_path(s, c->name, s->j->oof != FIT_OOF_NONE ? jobs_oof_ending(s->j) : ".json");
    json_t *j = path != NULL ? json_load_file(path, 0, NULL) : NULL;
    const char *was = json_string_value(json_object_get(j, "digest"));
    bool ok = was != NULL && strcmp(was, digest) == 0 && model != NULL && access(model, R_OK) == 0 && oof != NULL && access(oof, R_OK) == 0 &&
              jobs_score(json_object_get(j, "in_sample"), &r->in_sample) && jobs_score(json_object_get(j, "cross_fitted"), &r->cross_fitted);
    r->has_nested = ok && jobs_score(json_object_get(j, "nested"), &r->nested);
    r->dropped = (uint32_t)json_integer_value(json_object_get(j, "dropped"));
    const char *unsettled = json_string_value(json_object_get(j, "unsettled"));
    snprintf(r->unsettled, sizeof r->unsettled, "%s", unsettled != NULL ? unsettled : "");
    ok = ok && r->has_nested == c->conf.nested;
    json_decref(j);
    free(path);
    free(model);
    free(oof);
    return ok;
}

/* ---- its files ---- */

static int jobs_write_oof(const struct jobs *s, const struct fit_conf *c, const float *p, struct fl_err *err)
{
    const struct fl_l2_data *d = s->j->d;
    struct fl_predictions out = { .meta = { .fold = -1 } };
    char *path = jobs_path(s, c->name, jobs_oof_ending(s->j));
    snprintf(out.meta.model, sizeof out.meta.model, "%.63s", c->name);
    snprintf(out.meta.split, sizeof out.meta.split, "val");
    snprintf(out.meta.created_by, sizeof out.meta.created_by, "flowrun %s", FL_VERSION);
    int rc = path != NULL ? FL_OK : fl_err_set(err, FL_E_NOMEM, "no memory for a path");
    for (uint32_t l = 0; rc == FL_OK && l < d->L; l++)
        rc = fl_predictions_label(&out, s->j->names.labels[l], err);
    for (uint32_t i = 0; rc == FL_OK && i < d->n; i++)
        rc = fl_predictions_add(&out, s->j->ids[i], p + (size_t)i * d->L, err);
    if (rc == FL_OK)
        rc = fl_predictions_write(path, &out, err);
    fl_predictions_free(&out);
    free(path);
    return rc;
}

static json_t *jobs_names(uint32_t n, char *const *names)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < n; i++)
        json_array_append_new(list, json_string(names[i]));
    return list;
}

static json_t *jobs_json(const struct jobs *s, const struct fit_conf *c, const json_t *options, const char *digest, const struct fl_l2_fit *f)
{
    const struct fl_l2_data *d = s->j->d;
    json_t *cross = fit_score_json(&f->cross_fitted), *folds = json_array();
    for (uint32_t k = 0; k < d->K; k++)
        json_array_append_new(folds, fit_score_json(&f->by_fold[k]));
    json_object_set_new(cross, "by_fold", folds);
    json_t *o = json_pack("{s:s, s:s, s:O, s:i, s:i, s:i, s:o, s:o}", "name", c->name, "digest", digest, "options", options, "rows", (int)d->n, "folds", (int)d->K,
                          "dropped", (int)f->dropped, "in_sample", fit_score_json(&f->in_sample), "cross_fitted", cross);
    json_object_set_new(o, "nested", f->nested != NULL ? fit_score_json(&f->nested_score) : json_null());
    json_object_set_new(o, "unsettled", f->unsettled[0] != '\0' ? json_string(f->unsettled) : json_null());
    json_object_set_new(o, "models", jobs_names(d->M, s->j->names.models));
    json_object_set_new(o, "not_removed", json_pack("[s, s]", "first-level models behind the other folds' predictions were trained on the labels of the fold that is scored",
                                                    "checkpoints of the first level may have been chosen by the loss on the fold that is scored"));
    return o;
}

static int jobs_write(struct jobs *s, const struct fit_conf *c, const json_t *options, const char *digest, const struct fl_l2_fit *f, struct fl_err *err)
{
    char *model = jobs_path(s, c->name, ".safetensors"), *path = jobs_path(s, c->name, ".json"), *text = json_dumps(options, JSON_COMPACT | JSON_SORT_KEYS), *score = NULL;
    if (path != NULL)
        unlink(path);                  /* what it tells of is overwritten; it comes last again */
    int rc = model != NULL && path != NULL && text != NULL ? fl_l2_model_write(&f->model, model, text, err) : fl_err_set(err, FL_E_NOMEM, "no memory for %s", c->name);
    pthread_mutex_lock(&s->lock);
    if (rc == FL_OK && s->j->oof != FIT_OOF_NONE)
        rc = jobs_write_oof(s, c, f->oof, err);
    pthread_mutex_unlock(&s->lock);
    if (rc == FL_OK) {
        json_t *o = jobs_json(s, c, options, digest, f);
        score = json_dumps(o, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
        json_decref(o);
        rc = score != NULL ? fl_write_file(path, 0644, score, strlen(score), err) : fl_err_set(err, FL_E_NOMEM, "no memory for %s", c->name);
    }
    free(model);
    free(path);
    free(text);
    free(score);
    return rc;
}

/* ---- one configuration ---- */

static int jobs_gram(struct jobs *s, int transform, const struct fl_l2_gram **out, struct fl_err *err)
{
    int rc = FL_OK;
    pthread_mutex_lock(&s->gram_lock[transform]);
    if (!s->has_gram[transform]) {
        rc = fl_l2_gram(s->j->d, transform, NULL, &s->progress, &s->gram[transform], err);
        s->has_gram[transform] = rc == FL_OK;
    }
    pthread_mutex_unlock(&s->gram_lock[transform]);
    *out = &s->gram[transform];
    return rc;
}

static void jobs_one(struct jobs *s, uint32_t i, uint32_t threads)
{
    const struct fit_conf *c = &s->j->grid->c[i];
    struct fit_result *r = &s->result[i];
    struct fl_l2_run run = { .threads = threads, .progress = &s->progress };
    struct fl_l2_fit f;
    struct fl_err err = { 0 };
    char digest[65];
    json_t *options = fl_l2_conf_json(&c->conf);
    int rc = FL_OK, state = 2;
    jobs_digest_of(s, options, digest);
    if (!jobs_before(s, c, digest, r)) {
        if (fl_l2_kind_is_linear(c->conf.kind))
            rc = jobs_gram(s, c->conf.transform, &run.gram, &err);
        if (rc == FL_OK && (rc = fl_l2_fit(s->j->d, &s->j->names, &c->conf, &run, &f, &err)) == FL_OK) {
            *r = (struct fit_result){ .in_sample = f.in_sample, .cross_fitted = f.cross_fitted, .nested = f.nested_score, .has_nested = f.nested != NULL, .dropped = f.dropped };
            memcpy(r->unsettled, f.unsettled, sizeof r->unsettled);
            rc = jobs_write(s, c, options, digest, &f, &err);
            fl_l2_fit_done(&f);
        }
        state = 1;
    }
    json_decref(options);
    if (rc != FL_OK)
        snprintf(r->why, sizeof r->why, "%s: %.300s", fl_status_name(rc), err.text);
    pthread_mutex_lock(&s->lock);
    r->state = rc == FL_OK ? state : 3;
    s->failed += rc != FL_OK;
    s->done++;
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

struct jobs_worker { struct jobs *s; uint32_t threads; pthread_t thread; };

static void *jobs_work(void *arg)
{
    struct jobs_worker *w = arg;
    struct jobs *s = w->s;
    for (;;) {
        pthread_mutex_lock(&s->lock);
        uint32_t i = s->next < s->j->grid->n ? s->next++ : UINT32_MAX;
        if (i == UINT32_MAX && --s->working == 0)
            pthread_cond_signal(&s->changed);
        pthread_mutex_unlock(&s->lock);
        if (i == UINT32_MAX)
            return NULL;
        jobs_one(s, i, w->threads);
    }
}

/* ---- all of them ---- */

static void jobs_tell(struct jobs *s, uint32_t done)
{
    uint32_t n = s->j->grid->n, best = n;
    char line[300];
    for (uint32_t i = 0; i < n; i++)
        if ((s->result[i].state == 1 || s->result[i].state == 2) && (best == n || s->result[i].cross_fitted.log_loss < s->result[best].cross_fitted.log_loss))
            best = i;
    int len = snprintf(line, sizeof line, "%u of %u configurations done, %u failed", done, n, s->failed);
    if (best < n)
        snprintf(line + len, sizeof line - (size_t)len, "; least log-loss %.6f: %s", s->result[best].cross_fitted.log_loss, s->j->grid->c[best].name);
    s->j->told(s->j->user, line);
}

/* Tells the caller's thread that work goes on, at least once a second while it does. */
static void jobs_watch(struct jobs *s)
{
    unsigned long long seen = 0;
    uint32_t told = 0;
    pthread_mutex_lock(&s->lock);
    while (s->working > 0) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec++;
        if (s->done == told)
            pthread_cond_timedwait(&s->changed, &s->lock, &until);
        unsigned long long now = atomic_load(&s->progress) + s->done;
        if (now != seen)
            s->j->alive(s->j->user);
        seen = now;
        if (s->done != told)
            jobs_tell(s, told = s->done);
    }
    pthread_mutex_unlock(&s->lock);
}

static int jobs_start(struct jobs *s, struct fl_err *err)
{
    uint32_t n = s->j->grid->n, threads = s->j->threads > 0 ? s->j->threads : 1, workers = threads < n ? threads : n, started = 0;
    struct jobs_worker *w = calloc(workers, sizeof *w);
    if (w == NULL)
        return fl_err_set(err, FL_E_NOMEM, "no memory for %u threads", workers);
    pthread_mutex_lock(&s->lock);
    for (; started < workers; started++) {
        w[started] = (struct jobs_worker){ .s = s, .threads = threads / workers };
        if (pthread_create(&w[started].thread, NULL, jobs_work, &w[started]) != 0)
            break;
        s->working++;
    }
    pthread_mutex_unlock(&s->lock);
    if (started > 0)
        jobs_watch(s);
    for (uint32_t i = 0; i < started; i++)
        pthread_join(w[i].thread, NULL);
    free(w);
    return started > 0 ? FL_OK : fl_err_set(err, FL_E_NOMEM, "no thread can be started");
}

/* What the labels' frequencies in the other folds score as predictions. */
static int jobs_prior(const struct fl_l2_data *d, struct fl_l2_score *out, struct fl_err *err)
{
    double *sum = calloc((size_t)(d->K + 1u) * (d->L + 1u), sizeof *sum);       /* [K + 1][L + 1]: last row all, last column rows */
    float *p = malloc((size_t)d->n * d->L * sizeof *p);
    uint32_t W = d->L + 1;
    for (uint32_t i = 0; sum != NULL && i < d->n; i++)
        for (uint32_t l = 0; l < W; l++) {
            double v = l < d->L ? d->y[(size_t)i * d->L + l] : 1.0;
            sum[d->fold[i] * W + l] += v;
            sum[d->K * W + l] += v;
        }
    for (uint32_t i = 0; sum != NULL && p != NULL && i < d->n; i++)
        for (uint32_t l = 0; l < d->L; l++) {
            const double *own = sum + d->fold[i] * W, *all = sum + d->K * W;
            p[(size_t)i * d->L + l] = (float)((all[l] - own[l]) / (all[d->L] - own[d->L]));
        }
    int rc = sum != NULL && p != NULL ? fl_l2_score(d, p, UINT32_MAX, out, err) : fl_err_set(err, FL_E_NOMEM, "no memory for %u rows", d->n);
    free(sum);
    free(p);
    return rc;
}

int fit_jobs_run(const struct fit_jobs *j, struct fit_result *result, uint32_t *best, struct fl_err *err)
{
    struct jobs s = { .j = j, .result = result, .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER,
                      .gram_lock = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER } };
    const char *slash = strrchr(j->out, '/');
    struct fl_l2_score prior;
    uint32_t *order = calloc(j->grid->n, sizeof *order);
    s.dir = slash == NULL ? strdup(".") : strndup(j->out, slash > j->out ? (size_t)(slash - j->out) : 1);
    int rc = order != NULL && s.dir != NULL ? jobs_digest(&s, err) : fl_err_set(err, FL_E_NOMEM, "no memory for a fit");
    if (rc == FL_OK)
        rc = jobs_prior(j->d, &prior, err);
    if (rc == FL_OK)
        rc = jobs_start(&s, err);
    if (rc == FL_OK)
        rc = fit_table_write(j, result, &prior, err);
    if (rc == FL_OK) {
        fit_table_sort(j, result, order);
        *best = result[order[0]].state != 3 ? order[0] : j->grid->n;
    }
    for (int t = 0; t < 2; t++)
        fl_l2_gram_done(&s.gram[t]);
    free(order);
    free(s.dir);
    return rc;
}
