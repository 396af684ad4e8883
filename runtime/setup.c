/* Reading the set-up of a stage process. */
#include "runtime/setup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/json.h"
#include "runtime/text.h"

#define SETUP_MOST ((size_t)64 << 20)      /* bytes: thousands of instances and long paths */

int fl_labels_conf_read(const json_t *j, struct fl_labels_conf *conf, struct fl_ctx *ctx, struct fl_err *err)
{
    const json_t *names = json_object_get(j, "names"), *ex = json_object_get(j, "exclusive"), *off = json_object_get(j, "rest_off");
    size_t n = json_array_size(names);
    if (n == 0 || n > 64)
        return fl_err_set(err, FL_E_CONFIG, "labels: %zu names, want 1 to 64", n);
    conf->names = calloc(n, sizeof *conf->names);
    if (conf->names == NULL)
        return fl_err_set(err, FL_E_NOMEM, "labels");
    conf->n = (uint32_t)n;
    ctx->exclusive = 0;
    ctx->rest_off = FL_NO_LABEL;
    for (size_t i = 0; i < n; i++) {
        const char *s = json_string_value(json_array_get(names, i));
        if (s == NULL || (conf->names[i] = strdup(s)) == NULL)
            return fl_err_set(err, FL_E_CONFIG, "labels: name %zu is no text", i);
        for (size_t k = 0; k < json_array_size(ex); k++)
            if (json_is_string(json_array_get(ex, k)) && strcmp(s, json_string_value(json_array_get(ex, k))) == 0)
                ctx->exclusive |= UINT64_C(1) << i;
        if (json_is_string(off) && strcmp(s, json_string_value(off)) == 0)
            ctx->rest_off = (uint32_t)i;
    }
    ctx->nlabels = conf->n;
    ctx->labels = (const char *const *)conf->names;
    return FL_OK;
}

void fl_labels_conf_free(struct fl_labels_conf *conf)
{
    for (uint32_t i = 0; i < conf->n; i++)
        free(conf->names[i]);
    free(conf->names);
    memset(conf, 0, sizeof *conf);
}

static uint64_t setup_u64(const json_t *j, const char *key)
{
    return (uint64_t)json_integer_value(json_object_get(j, key));
}

static int setup_pools(const json_t *list, struct fl_setup *s, struct fl_err *err)
{
    size_t n = json_array_size(list);
    s->pools = calloc(n > 0 ? n : 1, sizeof *s->pools);
    if (s->pools == NULL)
        return fl_err_set(err, FL_E_NOMEM, "pools");
    for (size_t i = 0; i < n; i++) {
        const json_t *p = json_array_get(list, i);
        s->pools[i] = (struct fl_pool){ .id = (uint32_t)setup_u64(p, "id"), .fd = (int)setup_u64(p, "fd"), .slab = setup_u64(p, "slab"),
                                        .slots = s->window, .write = json_is_true(json_object_get(p, "write")) };
        s->npools++;
        int rc = fl_pool_map(&s->pools[i], err);
        if (rc != FL_OK)
            return rc;
    }
    return FL_OK;
}

static int setup_in(const json_t *list, struct fl_setup *s, struct fl_err *err)
{
    s->nedges = (uint32_t)json_array_size(list);
    size_t n = s->nedges > 0 ? s->nedges : 1;
    s->from = calloc(n, sizeof *s->from);
    s->writers = calloc(n, sizeof *s->writers);
    s->grants = calloc(n, sizeof *s->grants);
    s->costs = calloc(n, sizeof *s->costs);
    if (s->from == NULL || s->writers == NULL || s->grants == NULL || s->costs == NULL)
        return fl_err_set(err, FL_E_NOMEM, "edges");
    for (uint32_t i = 0; i < s->nedges; i++) {
        const json_t *e = json_array_get(list, i);
        s->from[i] = json_string_value(json_object_get(e, "from"));
        s->writers[i] = (uint32_t)setup_u64(e, "writers");
        if (s->from[i] == NULL)
            return fl_err_set(err, FL_E_PROTO, "set-up: edge %u comes from nobody", i);
        s->grants[i] = setup_u64(e, "grant");
        s->costs[i] = setup_u64(e, "cost");
    }
    return FL_OK;
}

static int setup_out(const json_t *list, struct fl_setup *s, struct fl_err *err)
{
    size_t n = json_array_size(list);
    s->out = calloc(n > 0 ? n : 1, sizeof *s->out);
    if (s->out == NULL)
        return fl_err_set(err, FL_E_NOMEM, "edges");
    for (size_t i = 0; i < n; i++) {
        const json_t *e = json_array_get(list, i), *eps = json_object_get(e, "endpoints");
        struct fl_setup_out *o = &s->out[i];
        *o = (struct fl_setup_out){ .edge = (uint32_t)setup_u64(e, "edge"), .cost = setup_u64(e, "cost"), .keyed = json_is_true(json_object_get(e, "keyed")),
                                    .readers = (uint32_t)json_array_size(eps) };
        o->endpoints = calloc(o->readers > 0 ? o->readers : 1, sizeof *o->endpoints);
        s->nout++;
        if (o->endpoints == NULL)
            return fl_err_set(err, FL_E_NOMEM, "edges");
        for (uint32_t k = 0; k < o->readers; k++)
            o->endpoints[k] = json_string_value(json_array_get(eps, k));     /* NULL: not there yet */
    }
    return FL_OK;
}

static int setup_load(int fd, json_t **out, struct fl_err *err)
{
    char path[64], *text;
    size_t len;
    json_error_t why;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int rc = fl_read_file(path, SETUP_MOST, &text, &len, err);
    if (rc != FL_OK)
        return rc;
    rc = fl_json_parse(text, len, JSON_REJECT_DUPLICATES, out, &why);
    free(text);
    return rc == FL_OK ? FL_OK : fl_err_set(err, rc == FL_E_NOMEM ? rc : FL_E_PROTO, "set-up in descriptor %d: %s", fd, why.text);
}

int fl_setup_read(int fd, struct fl_setup *s, struct fl_ctx *ctx, struct fl_err *err)
{
    memset(s, 0, sizeof *s);
    int rc = setup_load(fd, &s->json, err);
    if (rc != FL_OK)
        return rc;
    const json_t *j = s->json;
    s->run = setup_u64(j, "run");
    s->name = json_string_value(json_object_get(j, "name"));
    s->run_dir = json_string_value(json_object_get(j, "run_dir"));
    s->listen = json_string_value(json_object_get(j, "listen"));
    s->instance = (uint32_t)setup_u64(j, "instance");
    s->incarnation = (uint32_t)setup_u64(j, "incarnation");
    s->window = (uint32_t)setup_u64(j, "window");
    s->B = (uint32_t)setup_u64(j, "B");
    s->threads = (uint32_t)setup_u64(j, "threads");
    s->seed = setup_u64(j, "seed");
    s->batches = setup_u64(j, "batches");
    s->start = setup_u64(j, "start");
    s->epochs = (uint32_t)setup_u64(j, "epochs");
    s->control = (int)setup_u64(j, "control");
    s->page_fd = (int)setup_u64(j, "page");
    s->gens_fd = (int)setup_u64(j, "gens");
    s->pool = (int32_t)json_integer_value(json_object_get(j, "pool"));
    if (s->name == NULL || s->window == 0 || s->window > FL_MAX_SLOTS)
        return fl_err_set(err, FL_E_PROTO, "set-up: no name, or a window of %u", s->window);
    rc = setup_pools(json_object_get(j, "pools"), s, err);
    if (rc == FL_OK)
        rc = setup_in(json_object_get(j, "in"), s, err);
    if (rc == FL_OK)
        rc = setup_out(json_object_get(j, "out"), s, err);
    if (rc == FL_OK)
        rc = fl_labels_conf_read(json_object_get(j, "labels"), &s->labels, ctx, err);
    return rc;
}

void fl_setup_free(struct fl_setup *s)
{
    for (uint32_t i = 0; i < s->npools; i++)
        fl_pool_unmap(&s->pools[i]);
    for (uint32_t i = 0; i < s->nout; i++)
        free(s->out[i].endpoints);
    free(s->out);
    free(s->pools);
    free(s->from);
    free(s->writers);
    free(s->grants);
    free(s->costs);
    fl_labels_conf_free(&s->labels);
    json_decref(s->json);
    memset(s, 0, sizeof *s);
}
