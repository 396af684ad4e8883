/* Two graphs out of one: what runs on this host, with an entry of stage `remote` for each stretch that is placed elsewhere, and what the
 * agent of such a host runs, between an inlet and an outlet. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "launch/config.h"
#include "launch/cpus.h"
#include "launch/hosts.h"
#include "launch/mem.h"
#include "launch/versions.h"

/* ---- the part of a host ---- */

static json_t *fold_stage(const struct fl_graph *g, const uint32_t *index, const struct fl_stage_node *n, uint32_t host)
{
    char id[130];
    json_t *j = fl_need_json(json_object()), *from = fl_need_json(json_array());
    fl_versions_id(n->exe, id);
    fl_need_put(j, "name", fl_need_str(n->name));
    fl_need_put(j, "stage", fl_need_str(n->stage));
    fl_need_put(j, "build", fl_need_str(id));
    fl_need_put(j, "options", json_incref(n->options));
    fl_need_put(j, "instances", json_integer(fl_hosts_instances(g, n, host)));
    fl_need_put(j, "threads", json_integer(n->threads));
    fl_need_put(j, "team", json_boolean(fl_threads_used(n)));
    fl_need_put(j, "slab", json_integer((json_int_t)n->slab));
    fl_need_put(j, "many", json_boolean(n->many));
    fl_need_put(j, "per_gpu", json_boolean(n->per_gpu));
    fl_need_put(j, "settle", json_boolean(json_object_size(json_object_get(n->describe, "settled")) > 0));
    for (uint32_t k = 0; k < n->nfrom; k++)
        fl_need_push(from, json_integer(index[n->from[k]]));
    fl_need_put(j, "from", from);
    return j;
}

/* Stages are numbered from 1: 0 is the inlet, which stands for what the stretch reads. */
static json_t *fold_part(const struct fl_graph *g, uint32_t number, uint32_t host)
{
    const struct fl_segment *s = &g->segments[number - 1];
    const struct fl_label_set labels = { .n = g->nlabels, .names = g->labels, .exclusive = g->exclusive, .rest_off = g->rest_off };
    uint32_t *index = fl_need(g->nstages, sizeof *index), n = 1;
    char cwd[PATH_MAX];
    json_t *j = fl_need_json(json_object()), *stages = fl_need_json(json_array());
    for (uint32_t i = 0; i < g->nstages; i++)
        if (g->stages[i].segment == number) {
            index[i] = n++;
            fl_need_push(stages, fold_stage(g, index, &g->stages[i], host));
        }
    fl_need_put(j, "name", fl_need_str(g->name));
    fl_need_put(j, "dir", fl_need_str(getcwd(cwd, sizeof cwd) != NULL ? cwd : "/"));
    fl_need_put(j, "seed", json_integer((json_int_t)g->seed));
    fl_need_put(j, "B", json_integer(g->B));
    fl_need_put(j, "batches", json_integer((json_int_t)g->batches));
    fl_need_put(j, "epochs", json_integer(g->epochs));
    fl_need_put(j, "window", json_integer(s->window[host]));
    fl_need_put(j, "stall_timeout", json_real(g->stall_timeout));
    fl_need_put(j, "open_timeout", json_real(g->open_timeout));
    fl_need_put(j, "labels", fl_labels_json(&labels));
    fl_need_put(j, "in_slab", json_integer((json_int_t)s->in_slab));
    fl_need_put(j, "give", json_incref(s->give));
    fl_need_put(j, "exit", json_integer(index[s->exit]));
    fl_need_put(j, "mixed", json_boolean(g->hosts->mixed));
    fl_need_put(j, "stage_path", json_deep_copy(json_object_get(g->resolved, "stage_path")));
    fl_need_put(j, "stages", stages);
    free(index);
    return j;
}

/* ---- this host ---- */

static json_t *fold_hosts(const struct fl_graph *g, uint32_t number)
{
    const struct fl_segment *s = &g->segments[number - 1];
    const struct fl_group *group = &g->hosts->groups[s->group];
    uint32_t writers = g->stages[s->entry].instances;
    json_t *hosts = fl_need_json(json_array());
    for (uint32_t h = 0; h < group->n; h++) {
        json_t *one = fl_need_json(json_object());
        fl_need_put(one, "name", fl_need_str(group->hosts[h].name));
        if (group->hosts[h].join)
            fl_need_put(one, "join", json_true());
        else
            fl_need_put(one, "argv", fl_need_json(g->hosts->launcher->argv(g->hosts, group->hosts[h].name)));
        fl_need_put(one, "share", json_integer((s->window[h] + writers - 1) / writers));
        fl_need_put(one, "part", fold_part(g, number, h));
        fl_need_push(hosts, one);
    }
    return hosts;
}

static json_t *fold_options(const struct fl_graph *g, uint32_t number)
{
    const struct fl_segment *s = &g->segments[number - 1];
    json_t *j = fl_need_json(json_object());
    char *listen = fl_need_text("tcp://%s:*", g->hosts->listen), *processor = fl_versions_processor(), id[130];
    fl_versions_id("/proc/self/exe", id);
    fl_need_put(j, "hosts", fold_hosts(g, number));
    fl_need_put(j, "listen", fl_need_str(listen));
    fl_need_put(j, "send", json_incref(s->send));
    fl_need_put(j, "give", json_incref(s->give));
    fl_need_put(j, "pass", json_incref(s->pass));
    fl_need_put(j, "silence", json_real(g->hosts->silence));
    fl_need_put(j, "insecure", json_boolean(g->hosts->insecure));
    fl_need_put(j, "mixed", json_boolean(g->hosts->mixed));
    fl_need_put(j, "build", fl_need_str(id));
    fl_need_put(j, "processor", fl_need_str(processor));
    free(listen);
    free(processor);
    return j;
}

static struct fl_stage_node fold_copy(const struct fl_stage_node *n, const uint32_t *index)
{
    struct fl_stage_node c = *n;
    c.exe = fl_need_copy(n->exe);
    json_incref(c.options);
    json_incref(c.describe);
    c.from = fl_need(n->nfrom, sizeof *c.from);
    for (uint32_t k = 0; k < n->nfrom; k++)
        c.from[k] = index[n->from[k]];
    for (uint32_t t = 0; t < c.ntensors; t++)
        c.tensors[t].maker = index[c.tensors[t].maker];
    return c;
}

static bool fold_remote(const struct fl_graph *g, uint32_t number, const uint32_t *index, struct fl_stage_node *c)
{
    const struct fl_segment *s = &g->segments[number - 1];
    *c = g->stages[s->exit];
    snprintf(c->stage, sizeof c->stage, "remote");
    c->exe = fl_find_stage("remote", NULL, 0);
    if (c->exe == NULL) {
        fprintf(stderr, "flowrun: stage remote isn't found: hosts need it\n");
        c->exe = fl_need_copy("");
    }
    c->options = fold_options(g, number);
    struct fl_ask ask = { .exe = c->exe };
    if (c->exe[0] != '\0')
        fl_ask_all(&ask, 1, FL_DESCRIBE_SECONDS);
    c->describe = ask.answer != NULL ? json_incref(ask.answer) : fl_need_json(json_object());
    fl_ask_done(&ask);
    c->instances = g->hosts->groups[s->group].n;
    c->threads = 1;
    c->remote = true;
    c->memory = 0;
    c->nfrom = 1;
    c->from = fl_need(1, sizeof *c->from);
    c->from[0] = index[s->entry];
    c->many = false;
    c->slab = s->out_slab;
    c->cost = c->slab;
    for (uint32_t t = 0; t < c->ntensors; t++)
        c->tensors[t].maker = index[c->tensors[t].maker];
    return c->exe[0] != '\0';
}

struct fl_graph *fl_fold(const struct fl_graph *g)
{
    struct fl_graph *f = fl_need(1, sizeof *f);
    uint32_t *index = fl_need(g->nstages, sizeof *index), n = 0;
    bool ok = true;
    *f = *g;
    f->file = fl_need_copy(g->file);
    f->labels = fl_need(g->nlabels, sizeof *f->labels);
    for (uint32_t i = 0; i < g->nlabels; i++)
        f->labels[i] = fl_need_copy(g->labels[i]);
    f->resolved = json_incref(g->resolved);
    f->hosts = NULL;
    f->segments = NULL;
    f->nsegments = 0;
    /* A stretch stands where its exit stood: what it reads comes before, what reads it after. */
    for (uint32_t i = 0; i < g->nstages; i++)
        if (g->stages[i].segment == 0 || g->segments[g->stages[i].segment - 1].exit == i)
            index[i] = n++;
    for (uint32_t i = 0; i < g->nstages; i++)
        if (g->stages[i].segment > 0)
            index[i] = index[g->segments[g->stages[i].segment - 1].exit];
    f->nstages = 0;
    f->stages = fl_need(n, sizeof *f->stages);
    for (uint32_t i = 0; i < g->nstages; i++)
        if (g->stages[i].segment == 0)
            f->stages[f->nstages++] = fold_copy(&g->stages[i], index);
        else if (g->segments[g->stages[i].segment - 1].exit == i)
            ok &= fold_remote(g, g->stages[i].segment, index, &f->stages[f->nstages++]);
    free(index);
    if (ok)
        return f;
    fl_graph_free(f);
    return NULL;
}

/* ---- on the other host ---- */

static uint64_t part_u64(const json_t *j, const char *key)
{
    json_int_t v = json_integer_value(json_object_get(j, key));
    return v > 0 ? (uint64_t)v : 0;
}

static int part_exe(const json_t *part, struct fl_stage_node *n, const char *build, struct fl_err *err)
{
    const json_t *dirs = json_object_get(part, "stage_path");
    uint32_t npath = 0;
    char **path = fl_need(json_array_size(dirs) + 1, sizeof *path), id[130];
    for (size_t i = 0; i < json_array_size(dirs); i++)
        if (json_is_string(json_array_get(dirs, i)))
            path[npath++] = (char *)json_string_value(json_array_get(dirs, i));
    n->exe = fl_find_stage(n->stage, path, npath);
    free(path);
    if (n->exe == NULL) {
        n->exe = fl_need_copy("");
        return fl_err_set(err, FL_E_CONFIG, "no stage is called %s here", n->stage);
    }
    fl_versions_id(n->exe, id);
    if (build == NULL || strcmp(id, build) == 0 || json_is_true(json_object_get(part, "mixed")))
        return FL_OK;
    return fl_err_set(err, FL_E_CONFIG, "%s is build %.40s here, %.40s there", n->stage, id, build);
}

/* Options go on as they came: they are the stage's to read. */
static int part_stage(const json_t *part, const json_t *j, uint32_t at, struct fl_stage_node *n, struct fl_err *err)
{
    const json_t *from = json_object_get(j, "from"), *name = json_object_get(j, "name"), *stage = json_object_get(j, "stage");
    uint64_t instances = part_u64(j, "instances"), threads = part_u64(j, "threads");
    n->nfrom = (uint32_t)json_array_size(from);
    n->from = fl_need(n->nfrom + (size_t)1, sizeof *n->from);
    n->options = json_incref(json_object_get(j, "options"));
    n->describe = fl_need_json(json_pack("{s:b}", "threads", json_is_true(json_object_get(j, "team"))));
    if (!json_is_string(name) || !json_is_string(stage) || !fl_stage_name_ok(json_string_value(name)) || !fl_stage_name_ok(json_string_value(stage)) ||
        !json_is_object(n->options) || instances == 0 || instances > FL_MAX_INSTANCES || threads > FL_MAX_INSTANCES || n->nfrom == 0) {
        n->exe = fl_need_copy("");
        return fl_err_set(err, FL_E_PROTO, "stage %u of the part can't be read", at);
    }
    snprintf(n->name, sizeof n->name, "%s", json_string_value(name));
    snprintf(n->stage, sizeof n->stage, "%s", json_string_value(stage));
    n->instances = (uint32_t)instances;
    n->threads = threads > 0 ? (uint32_t)threads : 1;
    n->slab = part_u64(j, "slab");
    n->cost = n->slab > 0 ? n->slab : 1;
    n->many = json_is_true(json_object_get(j, "many"));
    n->per_gpu = json_is_true(json_object_get(j, "per_gpu"));
    for (uint32_t k = 0; k < n->nfrom; k++) {
        json_int_t up = json_integer_value(json_array_get(from, k));
        if (up < 0 || up >= (json_int_t)at) {
            n->exe = fl_need_copy("");
            return fl_err_set(err, FL_E_PROTO, "stage %u of the part reads what isn't there", at);
        }
        n->from[k] = (uint32_t)up;
    }
    return part_exe(part, n, json_string_value(json_object_get(j, "build")), err);
}

static int part_end(const json_t *part, const char *stage, const json_t *line, struct fl_stage_node *n, struct fl_err *err)
{
    snprintf(n->name, sizeof n->name, "%s", stage);
    snprintf(n->stage, sizeof n->stage, "%s", stage);
    n->instances = n->threads = 1;
    n->cost = 1;
    n->options = fl_need_json(json_deep_copy(line));
    n->describe = fl_need_json(json_object());
    n->from = fl_need(1, sizeof *n->from);
    return part_exe(part, n, NULL, err);
}

static int part_ends(const json_t *part, const json_t *line, struct fl_graph *g, struct fl_err *err)
{
    struct fl_stage_node *in = &g->stages[0], *out = &g->stages[g->nstages - 1];
    uint64_t exit = part_u64(part, "exit");
    int rc = part_end(part, "inlet", line, in, err), also = part_end(part, "outlet", line, out, err);
    in->source = true;
    in->slab = part_u64(part, "in_slab");
    in->cost = in->slab > 0 ? in->slab : 1;
    fl_need_put(in->options, "limit", json_integer((json_int_t)in->slab));
    out->sink = out->tap = true;
    out->nfrom = 1;
    out->from[0] = exit >= 1 && exit + 1 < g->nstages ? (uint32_t)exit : 0;
    json_t *tensors = fl_need_json(json_deep_copy(json_object_get(part, "give")));
    fl_need_push(tensors, fl_need_str("status"));
    fl_need_push(tensors, fl_need_str("reason"));
    fl_need_put(out->options, "tensors", tensors);
    return rc != FL_OK ? rc : also;
}

static int part_labels(const json_t *labels, struct fl_graph *g, struct fl_err *err)
{
    const json_t *names = json_object_get(labels, "names"), *ex = json_object_get(labels, "exclusive");
    const char *off = json_string_value(json_object_get(labels, "rest_off"));
    size_t n = json_array_size(names);
    if (n == 0 || n > 64)
        return fl_err_set(err, FL_E_PROTO, "the labels of the part can't be read");
    g->labels = fl_need(n, sizeof *g->labels);
    g->rest_off = UINT32_MAX;
    for (size_t i = 0; i < n; i++) {
        const char *name = json_string_value(json_array_get(names, i));
        g->labels[g->nlabels++] = fl_need_copy(name != NULL ? name : "");
        for (size_t k = 0; name != NULL && k < json_array_size(ex); k++)
            if (json_is_string(json_array_get(ex, k)) && strcmp(name, json_string_value(json_array_get(ex, k))) == 0)
                g->exclusive |= UINT64_C(1) << i;
        if (name != NULL && off != NULL && strcmp(name, off) == 0)
            g->rest_off = (uint32_t)i;
    }
    return FL_OK;
}

struct fl_graph *fl_part_graph(const json_t *part, const json_t *line, struct fl_err *err)
{
    struct fl_graph *g = fl_need(1, sizeof *g);
    const json_t *stages = json_object_get(part, "stages");
    const char *name = json_string_value(json_object_get(part, "name"));
    size_t n = json_array_size(stages);
    uint64_t window = part_u64(part, "window"), B = part_u64(part, "B");
    g->file = fl_need_copy("part");
    snprintf(g->name, sizeof g->name, "%s", name != NULL ? name : "part");
    g->seed = part_u64(part, "seed");
    g->B = B <= UINT32_MAX ? (uint32_t)B : 0;
    g->window = window <= 1024 ? (uint32_t)window : 0;
    g->batches = part_u64(part, "batches");
    g->epochs = (uint32_t)part_u64(part, "epochs");
    g->stall_timeout = json_number_value(json_object_get(part, "stall_timeout"));
    g->open_timeout = json_number_value(json_object_get(part, "open_timeout"));
    g->drain_timeout = g->stall_timeout;
    g->resolved = fl_need_json(json_deep_copy(part));
    int rc = n > 0 && n <= FL_MAX_ENTRIES && g->B > 0 && g->window > 0 && g->stall_timeout > 0 && g->open_timeout > 0 ? part_labels(json_object_get(part, "labels"), g, err)
                                                                                              : fl_err_set(err, FL_E_PROTO, "the part can't be read");
    if (rc == FL_OK) {
        g->stages = fl_need(n + 2, sizeof *g->stages);
        g->nstages = (uint32_t)n + 2;
        rc = part_ends(part, line, g, err);
    }
    for (size_t i = 0; rc == FL_OK && i < n; i++)
        rc = part_stage(part, json_array_get(stages, i), (uint32_t)i + 1, &g->stages[i + 1], err);
    if (rc == FL_OK)
        return g;
    fl_graph_free(g);
    return NULL;
}
