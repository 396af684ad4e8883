/* Reads the keys of the graph from the tree; options stay as they are until the stage's table is known. */
#include "launch/config.h"

#include <ctype.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launch/hosts.h"
#include "launch/keys.h"
#include "launch/mem.h"
#include "runtime/opt.h"

static void config_keys(struct fl_config *c, const struct fl_node *map, const char *const *known, const char *prefix)
{
    for (uint32_t i = 0; i < map->n; i++) {
        const char *const *k = known;
        while (*k != NULL && strcmp(*k, map->keys[i]) != 0)
            k++;
        if (*k == NULL)
            fl_complain(c->complaints, map->key_marks[i], "%sunknown key %.60s%s", prefix, map->keys[i], fl_did_you_mean(map->keys[i], known));
    }
}

/* ---- single values ---- */

static void config_int(struct fl_config *c, const struct fl_node *n, const char *what, int64_t min, int64_t max, int64_t *out)
{
    if (n == NULL)
        return;
    if (n->kind != FL_NODE_INT)
        fl_complain(c->complaints, n->mark, "%s is %s, want a whole number", what, fl_node_say(n));
    else if (n->i < min || n->i > max)
        fl_complain(c->complaints, n->mark, "%s is %lld, want %lld to %lld", what, (long long)n->i, (long long)min, (long long)max);
    else
        *out = n->i;
}

static void config_seconds(struct fl_config *c, const struct fl_node *n, const char *what, double *out)
{
    if (n == NULL)
        return;
    if (n->kind != FL_NODE_INT && n->kind != FL_NODE_FLOAT)
        fl_complain(c->complaints, n->mark, "%s is %s, want seconds", what, fl_node_say(n));
    else if (!(n->f > 0 && n->f <= 86400))
        fl_complain(c->complaints, n->mark, "%s is %s, want seconds, more than 0 and at most 86400", what, n->text);
    else
        *out = n->f;
}

static void config_memory(struct fl_config *c, const struct fl_node *n)
{
    if (n == NULL)
        return;
    uint64_t bytes = 0;
    c->memory_mark = n->mark;
    if ((n->kind != FL_NODE_INT && n->kind != FL_NODE_STR) || fl_size_parse(n->text, &bytes, NULL) != FL_OK || bytes == 0)
        fl_complain(c->complaints, n->mark, "memory is %s, want a size like 2GB or 512MiB", fl_node_say(n));
    else
        c->memory = bytes;
    c->bounded = true;
}

/* A run's name becomes a folder's. */
static void config_name(struct fl_config *c, const struct fl_node *n)
{
    if (n == NULL)
        return;
    const char *t = n->text;
    size_t len = t != NULL ? strlen(t) : 0;
    if (len == 0 || len >= sizeof c->name || t[strspn(t, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")] != '\0' || t[0] == '.')
        fl_complain(c->complaints, n->mark, "name is %s, want 1 to 63 letters, digits, '_', '-' or '.', not a '.' first", fl_node_say(n));
    else
        memcpy(c->name, t, len + 1);
}

static void config_path(struct fl_config *c, const struct fl_node *n)
{
    if (n == NULL)
        return;
    bool one = n->kind == FL_NODE_STR;
    if (!one && n->kind != FL_NODE_LIST) {
        fl_complain(c->complaints, n->mark, "stage_path is %s, want a list of folders", fl_node_say(n));
        return;
    }
    for (uint32_t i = 0; i < (one ? 1 : n->n); i++) {
        const struct fl_node *d = one ? n : n->items[i];
        char real[PATH_MAX];
        struct stat st;
        if (d->text == NULL || realpath(d->text, real) == NULL || stat(real, &st) != 0 || !S_ISDIR(st.st_mode)) {
            fl_complain(c->complaints, d->mark, "stage_path: %s is no folder", fl_node_say(d));
            continue;
        }
        c->path = fl_need_grow(c->path, c->npath + 1, sizeof *c->path);
        c->path[c->npath++] = fl_need_copy(real);
    }
}

/* ---- entries ---- */

bool fl_stage_name_ok(const char *s)
{
    size_t len = strlen(s);
    if (len == 0 || len >= FL_NAME_MAX || !isalpha((unsigned char)s[0]))
        return false;
    for (; *s != '\0'; s++)
        if (!isalnum((unsigned char)*s) && *s != '_' && *s != '-')
            return false;
    return true;
}

static void entry_from(struct fl_config *c, struct fl_entry *e, const struct fl_node *n)
{
    if (n == NULL || n->kind == FL_NODE_NULL)
        return;
    e->from = fl_node_new(FL_NODE_LIST, n->mark);
    if (n->kind == FL_NODE_MAP) {
        fl_complain(c->complaints, n->mark, "%s: from is a map, want a name or a list of names", e->base);
        e->bad = true;
        return;
    }
    for (uint32_t i = 0; i < (n->kind == FL_NODE_LIST ? n->n : 1); i++) {
        const struct fl_node *item = n->kind == FL_NODE_LIST ? n->items[i] : n;
        if (item->kind != FL_NODE_STR) {
            fl_complain(c->complaints, item->mark, "%s: from has %s, want a name", e->base, fl_node_say(item));
            e->bad = true;
        } else {
            fl_node_push(e->from, fl_node_copy(item));
        }
    }
}

static struct fl_node *entry_map(struct fl_config *c, struct fl_entry *e, const struct fl_node *map, const char *key, struct fl_mark *mark)
{
    const struct fl_node *n = fl_node_get(map, key, mark);
    if (n == NULL || n->kind == FL_NODE_NULL)
        return NULL;
    if (n->kind == FL_NODE_MAP)
        return fl_node_copy(n);
    fl_complain(c->complaints, n->mark, "%s: %s is %s, want a map", e->base, key, fl_node_say(n));
    e->bad = true;
    return NULL;
}

struct fl_node *fl_matrix_read(struct fl_complaints *all, const char *name, const struct fl_node *n, const struct fl_node *shared)
{
    if (n->kind == FL_NODE_MAP)
        return fl_node_copy(n);
    if (n->kind != FL_NODE_LIST) {
        fl_complain(all, n->mark, "%s: matrix is %s, want a map", name, fl_node_say(n));
        return NULL;
    }
    struct fl_node *vars = fl_node_new(FL_NODE_MAP, n->mark);
    for (uint32_t i = 0; i < n->n; i++) {
        const struct fl_node *one = n->items[i], *values = shared != NULL && one->text != NULL ? fl_node_get(shared, one->text, NULL) : NULL;
        if (values != NULL) {
            fl_node_set(vars, one->text, one->mark, fl_node_copy(values));
            continue;
        }
        fl_complain(all, one->mark, "%s: matrix: %s is no variable of the file's matrix", name, fl_node_say(one));
        fl_node_free(vars);
        return NULL;
    }
    return vars;
}

static void entry_matrix(struct fl_config *c, struct fl_entry *e, const struct fl_node *map)
{
    const struct fl_node *n = fl_node_get(map, "matrix", NULL);
    if (n == NULL || n->kind == FL_NODE_NULL)
        return;
    e->matrix = fl_matrix_read(c->complaints, e->base, n, c->matrix);
    e->bad |= e->matrix == NULL;
}

static void entry_stage(struct fl_config *c, struct fl_entry *e, const struct fl_node *map)
{
    const struct fl_node *n = fl_node_get(map, "stage", NULL);
    if (n == NULL) {
        e->stage = fl_need_copy(e->base);
    } else if (n->kind != FL_NODE_STR || !fl_stage_name_ok(n->text)) {
        fl_complain(c->complaints, n->mark, "%s: stage is %s, want the name of a stage", e->base, fl_node_say(n));
        e->bad = true;
        e->stage = fl_need_copy("");
    } else {
        e->stage_mark = n->mark;
        e->stage = fl_need_copy(n->text);
    }
}

/* A resumed run goes on with the executable it began with, where that is still there. */
static void entry_exe(const struct fl_config *c, struct fl_entry *e, const struct fl_node *n)
{
    if (c->resolved && n != NULL && n->kind == FL_NODE_STR && n->text[0] == '/' && access(n->text, X_OK) == 0)
        e->exe = fl_need_copy(n->text);
}

/* How many processes: a number, or one for each device of the host. */
static void entry_instances(struct fl_config *c, struct fl_entry *e, const struct fl_node *n, const char *what)
{
    int64_t value = 1;
    if (n != NULL && n->kind == FL_NODE_STR && strcmp(n->text, "per_gpu") == 0) {
        e->per_gpu = true;
    } else if (n != NULL && n->kind != FL_NODE_INT) {
        fl_complain(c->complaints, n->mark, "%s is %s, want a whole number, or per_gpu", what, fl_node_say(n));
    } else {
        config_int(c, n, what, 1, FL_MAX_INSTANCES, &value);
    }
    e->instances = (uint32_t)value;
}

static void entry_place(struct fl_config *c, struct fl_entry *e, const struct fl_node *n)
{
    if (n == NULL || n->kind == FL_NODE_NULL || c->local)
        return;
    e->place_mark = n->mark;
    e->stays = n->kind == FL_NODE_STR && strcmp(n->text, "here") == 0;
    if (e->stays)
        return;
    e->place = n->kind == FL_NODE_STR ? fl_hosts_find(c->hosts, n->text) : 0;
    if (e->place > 0)
        return;
    const char **names = fl_need((c->hosts != NULL ? c->hosts->ngroups : 0) + (size_t)1, sizeof *names);
    for (uint32_t i = 0; c->hosts != NULL && i < c->hosts->ngroups; i++)
        names[i] = c->hosts->groups[i].name;
    fl_complain(c->complaints, n->mark, "%s: place is %s, want a group of hosts%s%s", e->base, fl_node_say(n), names[0] == NULL ? "; the key hosts names none" : "",
                n->text != NULL ? fl_did_you_mean(n->text, names) : "");
    free(names);
    e->bad = true;
}

static void entry_read(struct fl_config *c, const char *name, struct fl_mark mark, const struct fl_node *map)
{
    struct fl_entry *e = &c->entries[c->nentries++];
    static const struct fl_node none = { .kind = FL_NODE_MAP };
    *e = (struct fl_entry){ .base = fl_need_copy(name), .full = fl_need_copy(name), .mark = mark, .stage_mark = mark, .options_mark = mark,
                            .instances_mark = mark, .instances = 1 };
    if (!fl_stage_name_ok(name)) {
        fl_complain(c->complaints, mark, "%.60s is no name for a stage, want a letter, then letters, digits, '_' or '-', at most 31", name);
        e->bad = true;
    } else {
        memcpy(e->name, name, strlen(name) + 1);
    }
    if (map->kind == FL_NODE_NULL)
        map = &none;
    if (map->kind != FL_NODE_MAP) {
        fl_complain(c->complaints, map->mark, "%.60s is %s, want a map of %s", name, fl_node_say(map), "stage, from, instances, threads, place, options, matrix");
        e->bad = true;
        map = &none;
    }
    char *prefix = fl_need_text("%.60s: ", name), *what = fl_need_text("%.60s: instances", name), *threads = fl_need_text("%.60s: threads", name);
    config_keys(c, map, fl_key_names(fl_entry_keys, c->resolved), prefix);
    entry_stage(c, e, map);
    entry_from(c, e, fl_node_get(map, "from", NULL));
    entry_exe(c, e, fl_node_get(map, "exe", NULL));
    int64_t value = 1;
    const struct fl_node *instances = fl_node_get(map, "instances", NULL);
    entry_instances(c, e, instances, what);
    entry_place(c, e, fl_node_get(map, "place", NULL));
    e->instances_mark = instances != NULL ? instances->mark : mark;
    const struct fl_node *given = fl_node_get(map, "threads", NULL);
    value = 0;
    if (given == NULL || given->kind != FL_NODE_STR || strcmp(given->text, "auto") != 0)
        config_int(c, given, threads, 1, FL_MAX_INSTANCES, &value);
    e->threads = (uint32_t)value;
    e->any_threads = value == 0;
    e->options = entry_map(c, e, map, "options", &e->options_mark);
    entry_matrix(c, e, map);
    free(prefix);
    free(what);
    free(threads);
}

static void config_stages(struct fl_config *c, const struct fl_node *root)
{
    c->stages_mark = root->mark;
    const struct fl_node *stages = fl_node_get(root, "stages", &c->stages_mark), *programme = fl_node_get(root, "programme", NULL);
    if (programme != NULL) {
        fl_complain(c->complaints, programme->mark, "a programme is several graphs: `flowrun FILE`, plan and check take it, nothing else does");
    } else if (stages == NULL || stages->kind == FL_NODE_NULL) {
        fl_complain(c->complaints, c->stages_mark, "no stages: want a map of stages under the key stages");
    } else if (stages->kind != FL_NODE_MAP) {
        fl_complain(c->complaints, stages->mark, "stages is %s, want a map of names to entries", fl_node_say(stages));
    } else if (stages->n > FL_MAX_ENTRIES) {
        fl_complain(c->complaints, stages->mark, "%u stages, at most %d", stages->n, FL_MAX_ENTRIES);
    } else {
        c->entries = fl_need(stages->n, sizeof *c->entries);
        for (uint32_t i = 0; i < stages->n; i++)
            entry_read(c, stages->keys[i], stages->key_marks[i], stages->items[i]);
        if (stages->n == 0)
            fl_complain(c->complaints, c->stages_mark, "no stages: want a map of stages under the key stages");
    }
}

/* pipeline.yaml -> "pipeline"; what can't stand in a name becomes '_'. */
static void config_stem(struct fl_config *c)
{
    const char *slash = strrchr(c->file, '/'), *base = slash != NULL ? slash + 1 : c->file, *dot = strrchr(base, '.');
    size_t len = dot != NULL && dot != base ? (size_t)(dot - base) : strlen(base);
    len = len < sizeof c->name ? len : sizeof c->name - 1;
    for (size_t i = 0; i < len; i++)
        c->name[i] = isalnum((unsigned char)base[i]) || base[i] == '-' || (base[i] == '.' && i > 0) ? base[i] : '_';
    c->name[len] = '\0';
}

void fl_config_name(struct fl_config *c, const struct fl_node *root)
{
    config_stem(c);
    config_name(c, fl_node_get(root, "name", NULL));
}

static void config_hosts(struct fl_config *c, const struct fl_node *root)
{
    const struct fl_node *local = fl_node_get(root, "local", NULL), *hosts = fl_node_get(root, "hosts", NULL), *cluster = fl_node_get(root, "cluster", NULL);
    if (local != NULL && local->kind != FL_NODE_BOOL)
        fl_complain(c->complaints, local->mark, "local is %s, want true or false", fl_node_say(local));
    c->local = local != NULL && local->b;
    c->hosts_text = hosts != NULL ? fl_node_json(hosts) : NULL;
    c->cluster_text = cluster != NULL ? fl_node_json(cluster) : NULL;
    c->hosts = fl_hosts_read(c, root);
}

void fl_config_read(struct fl_config *c, const struct fl_node *root)
{
    c->seed = 42;
    c->memory = UINT64_C(1000000000);
    c->stall_timeout = c->drain_timeout = 60;
    c->open_timeout = 600;
    c->memory_mark = root->mark;
    if (root->kind != FL_NODE_MAP) {
        fl_complain(c->complaints, root->mark, "the file holds %s, want a map with the key stages", fl_node_say(root));
        return;
    }
    fl_config_name(c, root);
    const struct fl_node *origin = fl_node_get(root, "file", NULL);
    c->resolved = origin != NULL && origin->kind == FL_NODE_STR && fl_node_get(root, "window", NULL) != NULL;
    if (c->resolved)
        c->origin = fl_need_copy(origin->text);
    config_keys(c, root, fl_key_names(fl_top_keys, c->resolved), "");
    int64_t seed = 42;
    config_int(c, fl_node_get(root, "seed", NULL), "seed", 0, INT64_MAX, &seed);
    c->seed = (uint64_t)seed;
    config_memory(c, fl_node_get(root, "memory", NULL));
    config_seconds(c, fl_node_get(root, "stall_timeout", NULL), "stall_timeout", &c->stall_timeout);
    config_seconds(c, fl_node_get(root, "open_timeout", NULL), "open_timeout", &c->open_timeout);
    config_seconds(c, fl_node_get(root, "drain_timeout", NULL), "drain_timeout", &c->drain_timeout);
    config_path(c, fl_node_get(root, "stage_path", NULL));
    fl_labels_read(c->complaints, fl_node_get(root, "labels", NULL), &c->labels);
    const struct fl_node *record = fl_node_get(root, "record", NULL);
    c->record = record != NULL ? fl_node_copy(record) : NULL;
    const struct fl_node *matrix = fl_node_get(root, "matrix", NULL);
    if (matrix != NULL && matrix->kind != FL_NODE_MAP)
        fl_complain(c->complaints, matrix->mark, "matrix is %s, want a map of variables", fl_node_say(matrix));
    else
        c->matrix = matrix != NULL ? fl_node_copy(matrix) : NULL;
    config_hosts(c, root);
    config_stages(c, root);
}

void fl_entry_done(struct fl_entry *e)
{
    free(e->full);
    free(e->base);
    free(e->stage);
    free(e->exe);
    fl_node_free(e->from);
    fl_node_free(e->options);
    fl_node_free(e->matrix);
    json_decref(e->table);
    json_decref(e->given);
    json_decref(e->describe);
    free(e->from_ids);
    *e = (struct fl_entry){ 0 };
}

void fl_config_done(struct fl_config *c)
{
    for (uint32_t i = 0; i < c->nentries; i++)
        fl_entry_done(&c->entries[i]);
    free(c->entries);
    for (uint32_t i = 0; i < c->npath; i++)
        free(c->path[i]);
    free(c->path);
    free(c->origin);
    fl_node_free(c->record);
    fl_node_free(c->matrix);
    fl_hosts_free(c->hosts);
    json_decref(c->hosts_text);
    json_decref(c->cluster_text);
    fl_label_set_done(&c->labels);
}
