/* pipeline.yaml to a checked graph: read, expand, ask the stages, match them, size the pools. */
#include "launch/graph.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launch/config.h"
#include "launch/cpus.h"
#include "launch/hosts.h"
#include "launch/mem.h"
#include "runtime/text.h"

/* The file as a tree, or NULL after complaints. */
struct fl_node *fl_graph_read(struct fl_complaints *all)
{
    struct fl_err err = { 0 };
    char *text = NULL;
    size_t len = 0;
    struct fl_node *root = NULL;
    if (fl_read_file(all->file, FL_YAML_MAX_BYTES, &text, &len, &err) != FL_OK) {
        /* The text may start with the file's name already, as this line will. */
        size_t skip = strlen(all->file);
        bool named = strncmp(err.text, all->file, skip) == 0 && strncmp(err.text + skip, ": ", 2) == 0;
        fl_complain(all, (struct fl_mark){ 0, 0 }, "%s", named ? err.text + skip + 2 : err.text);
        return NULL;
    }
    fl_yaml_parse(text, len, all, &root);
    free(text);
    return root;
}

/* ---- the stages' own word ---- */

static void graph_no_stage(struct fl_config *c, struct fl_entry *e)
{
    struct fl_found *all;
    uint32_t n;
    fl_find_all(c->path, c->npath, &all, &n);
    const char **names = fl_need((size_t)n + 1, sizeof *names);
    for (uint32_t i = 0; i < n; i++)
        names[i] = all[i].name;
    fl_complain(c->complaints, e->stage_mark, "%s: no stage is called %s%s", e->base, e->stage,
                n > 0 ? fl_did_you_mean(e->stage, names) : "; no folder of stages is found, set FLOWRUN_STAGES or stage_path");
    free(names);
    fl_found_free(all, n);
}

static void graph_find(struct fl_config *c)
{
    for (uint32_t i = 0; i < c->nentries; i++) {
        struct fl_entry *e = &c->entries[i];
        for (uint32_t k = 0; k < i && e->exe == NULL; k++)
            if (c->entries[k].exe != NULL && strcmp(c->entries[k].stage, e->stage) == 0)
                e->exe = fl_need_copy(c->entries[k].exe);
        if (e->exe != NULL || !fl_stage_name_ok(e->stage))
            continue;      /* a name that can't be one is told already */
        e->exe = fl_find_stage(e->stage, c->path, c->npath);
        if (e->exe == NULL)
            graph_no_stage(c, e);
    }
}

static void graph_tables(struct fl_config *c)
{
    struct fl_ask *asks = fl_need(c->nentries, sizeof *asks);
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->nentries; i++)
        if (c->entries[i].exe != NULL)
            asks[n++].exe = c->entries[i].exe;
    fl_ask_all(asks, n, FL_DESCRIBE_SECONDS);
    n = 0;
    for (uint32_t i = 0; i < c->nentries; i++) {
        struct fl_entry *e = &c->entries[i];
        if (e->exe == NULL)
            continue;
        struct fl_ask *a = &asks[n++];
        if (a->error != NULL)
            fl_complain(c->complaints, e->stage_mark, "%s: %s", e->name, a->error);
        e->table = json_incref(a->answer);
        fl_ask_done(a);
    }
    free(asks);
}

static void graph_options(struct fl_config *c)
{
    for (uint32_t i = 0; i < c->nentries; i++) {
        struct fl_entry *e = &c->entries[i];
        if (e->table == NULL)
            continue;
        char *prefix = fl_need_text("%s: ", e->base);
        if (!fl_check_options(c->complaints, prefix, e->table, e->options, e->options_mark, (struct fl_absent){ c->folders, c->made }, &e->given))
            e->bad = true;
        free(prefix);
    }
}

/* Asks every entry without complaints once more, with its options and these labels; changed: only those of them. */
static void graph_describe(struct fl_config *c, const struct fl_label_set *labels, const bool *changed)
{
    struct fl_ask *asks = fl_need(c->nentries, sizeof *asks);
    json_t *said = fl_labels_json(labels);
    char *text = json_dumps(said, JSON_COMPACT);
    for (uint32_t i = 0; i < c->nentries; i++) {
        struct fl_entry *e = &c->entries[i];
        if (e->given == NULL || e->bad || (changed != NULL && !changed[i]))
            continue;
        asks[i] = (struct fl_ask){ .exe = e->exe, .options = json_dumps(e->given, JSON_COMPACT | JSON_SORT_KEYS), .labels = fl_need_copy(text ? text : "{}") };
    }
    uint32_t n = 0, *who = fl_need(c->nentries, sizeof *who);
    for (uint32_t i = 0; i < c->nentries; i++)
        if (asks[i].exe != NULL) {
            who[n] = i;
            asks[n++] = asks[i];
        }
    fl_ask_all(asks, n, FL_DESCRIBE_SECONDS);
    for (uint32_t i = 0; i < n; i++) {
        struct fl_entry *e = &c->entries[who[i]];
        json_decref(e->describe);
        e->describe = json_incref(asks[i].answer);
        if (asks[i].answer == NULL) {
            fl_complain(c->complaints, e->options_mark, "%s: %s", e->name, asks[i].error);
            e->bad = true;
        }
        fl_ask_done(&asks[i]);
    }
    free(who);
    free(asks);
    free(text);
    json_decref(said);
}

/* The stage's text begins with this value (or with the file beside it: NAME.json for NAME.safetensors) or name. */
static bool graph_begins(const char *text, const char *with)
{
    const char *dot = with != NULL ? strrchr(with, '.') : NULL;
    size_t len = with != NULL ? strlen(with) : 0, stem = dot != NULL ? (size_t)(dot - with) : 0;
    return (len > 0 && strncmp(text, with, len) == 0 && (text[len] == '\0' || strchr(": ,", text[len]) != NULL))
           || (stem > 0 && strncmp(text, with, stem) == 0 && strncmp(text + stem, ".json", 5) == 0);
}

/* Stages know no places. Where the text begins with what stands in the options, that is the place, else the options are. */
static struct fl_mark graph_error_mark(const struct fl_entry *e, const char *text)
{
    const struct fl_node *all = e->options;
    const char *after = strncmp(text, "option ", 7) == 0 ? text + 7 : text;
    for (uint32_t i = 0; all != NULL && i < all->n; i++) {
        const struct fl_node *v = all->items[i];
        if (graph_begins(text, v->text) || graph_begins(after, all->keys[i]))
            return v->mark;
        for (uint32_t k = 0; v->kind == FL_NODE_LIST && k < v->n; k++)
            if (graph_begins(text, v->items[k]->text))
                return v->items[k]->mark;
    }
    return e->options_mark;
}

static void graph_stage_errors(struct fl_config *c)
{
    for (uint32_t i = 0; i < c->nentries; i++) {
        struct fl_entry *e = &c->entries[i];
        const json_t *error = json_object_get(e->describe, "error");
        if (error == NULL || json_is_null(error))
            continue;
        const char *text = json_string_value(json_object_get(error, "text"));
        fl_complain(c->complaints, text != NULL ? graph_error_mark(e, text) : e->options_mark, "%s: %s", e->name, text != NULL ? text : "refuses its options");
        e->bad = true;
    }
}

/* An option that left a choice to the machine has from here on the value that this machine came to: all instances get it, and
 * RUN/config.json keeps it for a resumed run. What is placed on other hosts is settled there (launch/agent.c). */
static void graph_settle(struct fl_config *c)
{
    const char *key;
    json_t *v;
    for (uint32_t i = 0; i < c->nentries; i++)
        json_object_foreach(json_object_get(c->entries[i].describe, "settled"), key, v)
            if (!c->entries[i].bad && c->entries[i].place == 0)
                fl_need_put(c->entries[i].given, key, fl_need_json(json_deep_copy(v)));
}

/* Mostly two rounds: one more when models state labels that nobody could know before, and for stages that want to know what the models are called. */
static void graph_ask(struct fl_config *c, struct fl_label_set *labels)
{
    struct fl_label_set first;
    bool *named = fl_need(c->nentries, sizeof *named);
    fl_labels_agree(c, &first);
    graph_describe(c, &first, NULL);
    fl_labels_agree(c, labels);
    if (!fl_labels_same(&first, labels) || first.exclusive != labels->exclusive || first.rest_off != labels->rest_off)
        graph_describe(c, labels, NULL);
    if (fl_models_name(c, named))
        graph_describe(c, labels, named);
    free(named);
    fl_snapshots_name(c);
    graph_stage_errors(c);
    graph_settle(c);
    fl_threads_settle(c, fl_cpus());
    fl_label_set_done(&first);
}

/* ---- the graph ---- */

static void graph_node(const uint32_t *place, const struct fl_entry *e, struct fl_stage_node *s)
{
    memcpy(s->name, e->name, sizeof s->name);
    snprintf(s->stage, sizeof s->stage, "%s", e->stage);
    s->exe = fl_need_copy(e->exe != NULL ? e->exe : "");
    s->options = json_incref(e->given);
    s->describe = json_incref(e->describe);
    s->mark = e->mark;
    s->memory = (uint64_t)json_integer_value(json_object_get(e->describe, "memory"));
    s->instances = e->instances;
    s->threads = e->threads;
    s->any_threads = e->any_threads;
    s->place = e->place;
    s->stays = e->stays;
    s->per_gpu = e->per_gpu;
    s->source = fl_entry_port(e, "in") == NULL;
    s->sink = fl_entry_port(e, "out") == NULL;
    s->many = json_is_true(json_object_get(fl_entry_port(e, "in"), "many"));
    s->tap = json_is_true(json_object_get(fl_entry_port(e, "in"), "tap"));
    s->again = json_is_true(json_object_get(fl_entry_port(e, "in"), "again"));
    s->from = fl_need(e->nfrom, sizeof *s->from);
    for (uint32_t k = 0; k < e->nfrom; k++)
        s->from[s->nfrom++] = place[e->from_ids[k]];
}

/* Batch size and totals, as the source says. */
static void graph_source(struct fl_config *c, const struct fl_entry *e, struct fl_graph *g)
{
    const json_t *d = e->describe, *b = json_object_get(d, "B");
    if (d == NULL || e->bad || fl_entry_port(e, "in") != NULL)
        return;
    json_int_t B = json_is_integer(b) ? json_integer_value(b) : json_integer_value(json_object_get(e->given, "batch"));
    size_t i;
    json_t *o;
    json_array_foreach(json_object_get(d, "options"), i, o)
        if (B == 0 && strcmp(json_string_value(json_object_get(o, "name")), "batch") == 0 && json_is_string(json_object_get(o, "default")))
            B = strtoll(json_string_value(json_object_get(o, "default")), NULL, 10);
    g->B = B >= 1 && B <= UINT32_MAX / FL_REASON_SIZE ? (uint32_t)B : 0;
    g->batches = (uint64_t)json_integer_value(json_object_get(d, "batches"));
    g->tiles = (uint64_t)json_integer_value(json_object_get(d, "tiles"));
    g->epochs = (uint32_t)json_integer_value(json_object_get(d, "epochs"));
    if (g->B == 0)
        fl_complain(c->complaints, e->mark, "%s: how many tiles a batch has isn't known, want an option batch of at least 1", e->name);
}

static void graph_labels(struct fl_graph *g, struct fl_label_set *labels)
{
    g->nlabels = labels->n;
    g->labels = labels->names;
    g->exclusive = labels->exclusive;
    g->rest_off = labels->rest_off;
    *labels = (struct fl_label_set){ 0 };
}

static struct fl_graph *graph_build(struct fl_config *c, const uint32_t *order, struct fl_label_set *labels)
{
    struct fl_graph *g = fl_need(1, sizeof *g);
    uint32_t *place = fl_need(c->nentries, sizeof *place);
    for (uint32_t i = 0; i < c->nentries; i++)
        place[order[i]] = i;
    g->file = fl_need_copy(c->file);
    memcpy(g->name, c->name, sizeof g->name);
    g->seed = c->seed;
    g->memory = c->memory;
    g->bounded = c->bounded;
    g->stall_timeout = c->stall_timeout;
    g->open_timeout = c->open_timeout;
    g->drain_timeout = c->drain_timeout;
    graph_labels(g, labels);
    g->hosts = c->hosts;
    c->hosts = NULL;
    g->nstages = c->nentries;
    g->stages = fl_need(g->nstages, sizeof *g->stages);
    for (uint32_t i = 0; i < g->nstages; i++)
        graph_node(place, &c->entries[order[i]], &g->stages[i]);
    graph_source(c, &c->entries[order[0]], g);
    if (g->B > 0)
        fl_flow_check(c, order, g);
    if (c->complaints->n == 0)
        fl_place(c, order, g);
    if (c->complaints->n == 0)
        fl_size_plan(c, order, g);
    if (c->complaints->n == 0)
        fl_taps_share(c, g);
    if (c->complaints->n == 0)
        g->resolved = fl_resolve(c, g);
    free(place);
    return g;
}

/* ---- a part of a graph ---- */

/* Entries that no chosen sink needs go; the others keep their order. */
static void graph_keep(struct fl_config *c, const struct fl_part *part, uint32_t *order)
{
    bool *keep = fl_need(c->nentries, sizeof *keep);
    for (uint32_t k = 0; k < part->nsinks; k++) {
        uint32_t i = 0;
        while (i < c->nentries && strcmp(c->entries[i].name, part->sinks[k]) != 0)
            i++;
        if (i < c->nentries)
            keep[i] = true;
        else
            fl_complain(c->complaints, c->stages_mark, "no stage is called %.60s", part->sinks[k]);
    }
    for (uint32_t k = c->nentries; k-- > 0;)         /* readers come after what they read */
        for (uint32_t i = 0; keep[order[k]] && i < c->entries[order[k]].nfrom; i++)
            keep[c->entries[order[k]].from_ids[i]] = true;
    uint32_t n = 0, m = 0, *place = fl_need(c->nentries, sizeof *place);
    for (uint32_t i = 0; i < c->nentries; i++)
        place[i] = keep[i] ? n++ : 0;
    for (uint32_t k = 0; k < c->nentries; k++)
        if (keep[order[k]])
            order[m++] = place[order[k]];
    for (uint32_t i = 0; i < c->nentries; i++) {
        struct fl_entry *e = &c->entries[i];
        if (!keep[i]) {
            fl_entry_done(e);
            continue;
        }
        for (uint32_t k = 0; k < e->nfrom; k++)
            e->from_ids[k] = place[e->from_ids[k]];
        c->entries[place[i]] = *e;
    }
    c->nentries = n;
    free(keep);
    free(place);
}

static void graph_texts(const json_t *v, json_t *into)
{
    const char *key;
    json_t *item;
    size_t i;
    if (json_is_string(v))
        fl_need_push(into, fl_need_str(json_string_value(v)));
    json_array_foreach(v, i, item)
        graph_texts(item, into);
    json_object_foreach((json_t *)v, key, item)
        graph_texts(item, into);
}

static void graph_files(const struct fl_config *c, const struct fl_part *part)
{
    for (uint32_t i = 0; i < c->nentries; i++) {
        size_t k;
        json_t *o;
        json_array_foreach(json_object_get(c->entries[i].table, "options"), k, o) {
            const json_t *given = json_object_get(c->entries[i].given, json_string_value(json_object_get(o, "name")));
            const char *type = json_string_value(json_object_get(o, "type"));
            const char *text = json_string_value(given), *slash = text != NULL ? strrchr(text, '/') : NULL;
            graph_texts(given, type != NULL && strcmp(type, "out") == 0 ? part->out : part->in);
            if (text != NULL && json_is_true(json_object_get(o, "beside"))) {
                char *all = fl_need_text("%.*s*", slash != NULL ? (int)(slash + 1 - text) : 0, text);
                fl_need_push(part->out, fl_need_str(all));
                free(all);
            }
        }
    }
}

/* ---- the whole ---- */

static struct fl_graph *graph_make(struct fl_config *c, const struct fl_part *part)
{
    struct fl_label_set labels = { 0 };
    struct fl_graph *g = NULL;
    fl_matrix_expand(c);
    fl_taps_expand(c);
    graph_find(c);
    graph_tables(c);
    uint32_t *order = fl_need(c->nentries, sizeof *order);
    bool ordered = fl_topology(c, order);
    if (part != NULL && part->nsinks > 0 && ordered)
        graph_keep(c, part, order);
    graph_options(c);
    if (part != NULL && part->in != NULL) {
        graph_files(c, part);
    } else {
        fl_clash_check(c);
        graph_ask(c, &labels);
        if (ordered && c->nentries > 0)
            g = graph_build(c, order, &labels);
    }
    free(order);
    fl_label_set_done(&labels);
    return g;
}

/* root is taken; NULL: it could not be read. */
static int graph_load(struct fl_complaints *all, struct fl_node *root, const struct fl_part *part, struct fl_graph **out, char **complaints)
{
    struct fl_config c = { .complaints = all, .file = all->file, .folders = part != NULL, .made = part != NULL ? part->made : NULL };
    struct fl_graph *g = NULL;
    if (root != NULL) {
        if (part == NULL)                /* a part's tree has them already */
            fl_config_sets(&c, root, all->sets, all->nsets);
        fl_config_read(&c, root);
        fl_node_free(root);
    }
    if (part != NULL && part->unbounded) {
        c.memory = UINT64_MAX;
        c.bounded = true;
    }
    if (c.nentries > 0)
        g = graph_make(&c, part);
    *complaints = fl_complaints_text(all);
    fl_config_done(&c);
    fl_complaints_done(all);
    if (*complaints == NULL && (g != NULL || (part != NULL && part->in != NULL))) {
        *out = g;
        return FL_OK;
    }
    fl_graph_free(g);
    return FL_E_CONFIG;
}

int fl_graph_load(const char *file, const char *const *sets, uint32_t nsets, struct fl_graph **out, char **complaints)
{
    struct fl_complaints all = { .file = file, .sets = sets, .nsets = nsets };
    return graph_load(&all, fl_graph_read(&all), NULL, out, complaints);
}

int fl_graph_load_part(const char *file, struct fl_node *root, const char *const *sets, uint32_t nsets, const struct fl_part *part,
                       struct fl_graph **out, char **complaints)
{
    struct fl_complaints all = { .file = file, .sets = sets, .nsets = nsets };
    return graph_load(&all, root, part, out, complaints);
}

void fl_graph_free(struct fl_graph *g)
{
    if (g == NULL)
        return;
    for (uint32_t i = 0; i < g->nstages; i++) {
        free(g->stages[i].exe);
        free(g->stages[i].from);
        json_decref(g->stages[i].options);
        json_decref(g->stages[i].describe);
    }
    free(g->stages);
    for (uint32_t i = 0; i < g->nlabels; i++)
        free(g->labels[i]);
    free(g->labels);
    free(g->file);
    json_decref(g->resolved);
    for (uint32_t i = 0; i < g->nsegments; i++)
        fl_segment_done(&g->segments[i]);
    free(g->segments);
    fl_hosts_free(g->hosts);
    free(g);
}
