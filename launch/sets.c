/* --set stage.option=value: changes the tree before it is read, so that one check covers both. */
#include <stdlib.h>
#include <string.h>

#include "launch/config.h"
#include "launch/mem.h"

static const char *const set_top[] = { "name", "seed", "memory", "labels", "stage_path", "stall_timeout", "open_timeout", "drain_timeout", "record", "local", NULL };
static const char *const set_entry[] = { "instances", "threads", "stage", "from", "place", NULL };

static bool set_one_of(const char *word, const char *const *words)
{
    for (; *words != NULL; words++)
        if (strcmp(word, *words) == 0)
            return true;
    return false;
}

static void set_remark(struct fl_node *n, struct fl_mark mark)
{
    n->mark = mark;
    for (uint32_t i = 0; i < n->n; i++) {
        if (n->kind == FL_NODE_MAP)
            n->key_marks[i] = mark;
        set_remark(n->items[i], mark);
    }
}

/* Flow and quoted values are YAML; anything else is a plain scalar, whatever signs it holds ("*.jpg"). */
static struct fl_node *set_value(struct fl_config *c, const char *text, struct fl_mark mark)
{
    if (*text == '\0' || strchr("[{\"'", *text) == NULL)
        return fl_node_scalar(text, true, mark);
    struct fl_complaints own = { 0 };
    struct fl_node *n = NULL;
    fl_yaml_parse(text, strlen(text), &own, &n);
    if (own.n != 0) {
        fl_complain(c->complaints, mark, "value: %s", own.v[0].text);
        fl_node_free(n);
        n = NULL;
    }
    fl_complaints_done(&own);
    if (n != NULL)
        set_remark(n, mark);
    return n;
}

static void set_unknown_stage(struct fl_config *c, const struct fl_node *stages, const char *name, struct fl_mark mark)
{
    const char **names = fl_need((size_t)stages->n + 1, sizeof *names);
    for (uint32_t i = 0; i < stages->n; i++)
        names[i] = stages->keys[i];
    fl_complain(c->complaints, mark, "no stage is called %.60s%s", name, fl_did_you_mean(name, names));
    free(names);
}

static struct fl_node *set_map(struct fl_node *parent, const char *key, struct fl_mark mark)
{
    struct fl_node *n = fl_node_get(parent, key, NULL);
    if (n == NULL || n->kind == FL_NODE_NULL) {
        struct fl_mark at = mark;
        fl_node_get(parent, key, &at);
        fl_node_set(parent, key, at, fl_node_new(FL_NODE_MAP, at));
        n = fl_node_get(parent, key, NULL);
    }
    return n->kind == FL_NODE_MAP ? n : NULL;
}

static void set_in_stage(struct fl_config *c, struct fl_node *root, const char *stage, const char *key, struct fl_node *value, struct fl_mark mark)
{
    struct fl_node *stages = fl_node_get(root, "stages", NULL);
    if (stages == NULL || stages->kind != FL_NODE_MAP) {
        fl_node_free(value);
        return;
    }
    if (fl_node_get(stages, stage, NULL) == NULL) {
        set_unknown_stage(c, stages, stage, mark);
        fl_node_free(value);
        return;
    }
    struct fl_node *entry = set_map(stages, stage, mark);
    struct fl_node *into = entry == NULL || set_one_of(key, set_entry) ? entry : set_map(entry, "options", mark);
    if (into == NULL)       /* not a map: reading the entry tells it */
        fl_node_free(value);
    else
        fl_node_set(into, key, mark, value);
}

/* cluster.listen, hosts.gpu and so on. */
static void set_in_top(struct fl_node *root, const char *top, const char *key, struct fl_node *value, struct fl_mark mark)
{
    struct fl_node *map = set_map(root, top, mark);
    if (map != NULL)
        fl_node_set(map, key, mark, value);
    else
        fl_node_free(value);
}

/* record.edges and so on: part of the key, whatever short form the file has. */
static void set_in_record(struct fl_node *root, const char *key, struct fl_node *value, struct fl_mark mark)
{
    struct fl_node *n = fl_node_get(root, "record", NULL);
    if (n == NULL || n->kind != FL_NODE_MAP) {
        struct fl_node *map = fl_node_new(FL_NODE_MAP, mark);
        if (n != NULL && n->kind != FL_NODE_NULL)
            fl_node_set(map, "edges", n->mark, fl_node_copy(n));
        fl_node_set(root, "record", mark, map);
        n = map;
    }
    fl_node_set(n, key, mark, value);
}

void fl_config_set(struct fl_config *c, struct fl_node *root, const char *text, uint32_t i)
{
    const struct fl_mark mark = { 0, i + 1 };
    const char *eq = strchr(text, '=');
    if (eq == NULL || eq == text) {
        fl_complain(c->complaints, mark, "want stage.option=value");
        return;
    }
    struct fl_node *value = set_value(c, eq + 1, mark);
    if (value == NULL)
        return;
    char *key = fl_need_copy(text);
    key[eq - text] = '\0';
    char *dot = strchr(key, '.');
    if (strncmp(key, "record.", 7) == 0) {
        set_in_record(root, key + 7, value, mark);
    } else if (strncmp(key, "cluster.", 8) == 0 || strncmp(key, "hosts.", 6) == 0) {
        *dot = '\0';
        set_in_top(root, key, dot + 1, value, mark);
    } else if (dot != NULL) {
        *dot = '\0';
        set_in_stage(c, root, key, dot + 1, value, mark);
    } else if (set_one_of(key, set_top)) {
        fl_node_set(root, key, mark, value);
    } else {
        fl_complain(c->complaints, mark, "no key is called %.60s%s", key, fl_did_you_mean(key, set_top));
        fl_node_free(value);
    }
    free(key);
}

void fl_config_sets(struct fl_config *c, struct fl_node *root, const char *const *sets, uint32_t nsets)
{
    if (root->kind != FL_NODE_MAP)
        return;
    for (uint32_t i = 0; i < nsets; i++)
        fl_config_set(c, root, sets[i], i);
}
