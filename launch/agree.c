/* The labels of a graph: what the file states, what the stages' models state, and whether they agree. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launch/config.h"
#include "launch/mem.h"
#include "runtime/stage.h"

void fl_label_set_done(struct fl_label_set *s)
{
    for (uint32_t i = 0; i < s->n; i++)
        free(s->names[i]);
    free(s->names);
    *s = (struct fl_label_set){ 0 };
}

static void labels_add(struct fl_label_set *s, const char *name)
{
    s->names = fl_need_grow(s->names, s->n + 1, sizeof *s->names);
    s->names[s->n++] = fl_need_copy(name);
}

void fl_labels_default(struct fl_label_set *s)
{
    *s = (struct fl_label_set){ .exclusive = FL_DEFAULT_EXCLUSIVE, .rest_off = FL_DEFAULT_REST_OFF, .groups = true };
    for (const char *const *p = fl_default_labels; *p != NULL; p++)
        labels_add(s, *p);
}

bool fl_labels_same(const struct fl_label_set *a, const struct fl_label_set *b)
{
    if (a->n != b->n)
        return false;
    for (uint32_t i = 0; i < a->n; i++)
        if (strcmp(a->names[i], b->names[i]) != 0)
            return false;
    return true;
}

static uint32_t labels_index(const struct fl_label_set *s, const char *name)
{
    for (uint32_t i = 0; i < s->n; i++)
        if (strcmp(s->names[i], name) == 0)
            return i;
    return FL_NO_LABEL;
}

/* ---- the file's key ---- */

static void labels_names(struct fl_complaints *c, const struct fl_node *n, struct fl_label_set *s)
{
    if (n == NULL || n->kind != FL_NODE_LIST || n->n == 0 || n->n > FL_MAX_LABELS) {
        fl_complain(c, n != NULL ? n->mark : s->mark, "labels: want a list of 1 to %d names", FL_MAX_LABELS);
        return;
    }
    for (uint32_t i = 0; i < n->n; i++) {
        const struct fl_node *item = n->items[i];
        if (item->text == NULL || item->text[0] == '\0' || strpbrk(item->text, " \t\r\n,\"") != NULL)
            fl_complain(c, item->mark, "labels: %s, want a name without spaces, commas and quotes", fl_node_say(item));
        else if (labels_index(s, item->text) != FL_NO_LABEL)
            fl_complain(c, item->mark, "labels: %.60s is given twice", item->text);
        else
            labels_add(s, item->text);
    }
}

static uint32_t labels_known(struct fl_complaints *c, const struct fl_label_set *s, const struct fl_node *n, const char *key)
{
    uint32_t i = n->text != NULL ? labels_index(s, n->text) : FL_NO_LABEL;
    if (i != FL_NO_LABEL)
        return i;
    const char **names = fl_need((size_t)s->n + 1, sizeof *names);
    for (uint32_t k = 0; k < s->n; k++)
        names[k] = s->names[k];
    fl_complain(c, n->mark, "labels: %s: %s is no label%s", key, fl_node_say(n), n->text != NULL ? fl_did_you_mean(n->text, names) : "");
    free(names);
    return FL_NO_LABEL;
}

static void labels_groups(struct fl_complaints *c, const struct fl_node *map, struct fl_label_set *s)
{
    const struct fl_node *ex = fl_node_get(map, "exclusive", NULL), *rest = fl_node_get(map, "rest_off", NULL);
    s->groups = ex != NULL || rest != NULL;
    if (ex != NULL && ex->kind != FL_NODE_LIST && ex->kind != FL_NODE_NULL)
        fl_complain(c, ex->mark, "labels: exclusive is %s, want a list of labels", fl_node_say(ex));
    for (uint32_t i = 0; ex != NULL && ex->kind == FL_NODE_LIST && i < ex->n; i++) {
        uint32_t l = labels_known(c, s, ex->items[i], "exclusive");
        if (l != FL_NO_LABEL)
            s->exclusive |= UINT64_C(1) << l;
    }
    if (rest != NULL && rest->kind != FL_NODE_NULL)
        s->rest_off = labels_known(c, s, rest, "rest_off");
}

void fl_labels_read(struct fl_complaints *c, const struct fl_node *n, struct fl_label_set *s)
{
    static const char *const keys[] = { "names", "exclusive", "rest_off", NULL };
    *s = (struct fl_label_set){ .rest_off = FL_NO_LABEL };
    if (n == NULL || n->kind == FL_NODE_NULL)
        return;
    s->mark = n->mark;
    if (n->kind != FL_NODE_MAP) {
        labels_names(c, n, s);
        return;
    }
    for (uint32_t i = 0; i < n->n; i++)
        if (strcmp(n->keys[i], keys[0]) != 0 && strcmp(n->keys[i], keys[1]) != 0 && strcmp(n->keys[i], keys[2]) != 0)
            fl_complain(c, n->key_marks[i], "labels: unknown key %.60s%s", n->keys[i], fl_did_you_mean(n->keys[i], keys));
    labels_names(c, fl_node_get(n, "names", NULL), s);
    labels_groups(c, n, s);
}

/* ---- the stages ---- */

/* False when the stage states none or too many. */
static bool labels_of_stage(const json_t *describe, struct fl_label_set *s)
{
    const json_t *list = json_object_get(describe, "labels"), *ex = json_object_get(describe, "exclusive");
    const char *rest = json_string_value(json_object_get(describe, "rest_off"));
    size_t i;
    json_t *v;
    *s = (struct fl_label_set){ .rest_off = FL_NO_LABEL, .groups = ex != NULL };
    if (!json_is_array(list) || json_array_size(list) > FL_MAX_LABELS)
        return false;
    json_array_foreach(list, i, v)
        labels_add(s, json_string_value(v));
    json_array_foreach(ex, i, v) {
        uint32_t l = labels_index(s, json_string_value(v));
        if (l != FL_NO_LABEL)
            s->exclusive |= UINT64_C(1) << l;
    }
    if (rest != NULL)
        s->rest_off = labels_index(s, rest);
    return true;
}

static void labels_differ(const struct fl_config *c, const struct fl_entry *e, const struct fl_label_set *got,
                          const char *whose, const struct fl_label_set *want)
{
    uint32_t i = 0;
    while (i < got->n && i < want->n && strcmp(got->names[i], want->names[i]) == 0)
        i++;
    fl_complain(c->complaints, e->options_mark, "%s: its %u labels differ from the %u of %s: label %u is %.40s, want %.40s", e->name, got->n, want->n,
                whose, i, i < got->n ? got->names[i] : "missing", i < want->n ? want->names[i] : "none");
}

static void labels_move(struct fl_label_set *to, struct fl_label_set *from)
{
    fl_label_set_done(to);
    *to = *from;
    *from = (struct fl_label_set){ 0 };
}

static struct fl_label_set labels_copy(const struct fl_label_set *s)
{
    struct fl_label_set c = *s;
    c.names = NULL;
    c.n = 0;
    for (uint32_t i = 0; i < s->n; i++)
        labels_add(&c, s->names[i]);
    return c;
}

void fl_labels_agree(const struct fl_config *c, struct fl_label_set *out)
{
    struct fl_label_set all = labels_copy(&c->labels), fallback;
    const char *whose = "the key labels";
    for (uint32_t i = 0; i < c->nentries; i++) {
        const struct fl_entry *e = &c->entries[i];
        struct fl_label_set s;
        if (e->describe == NULL || !labels_of_stage(e->describe, &s)) {
            continue;
        } else if (all.n == 0) {
            labels_move(&all, &s);
            whose = e->name;
        } else if (!fl_labels_same(&all, &s)) {
            labels_differ(c, e, &s, whose, &all);
        } else if (!all.groups && s.groups) {
            labels_move(&all, &s);      /* the file's bare list leaves the groups to the model */
        }
        fl_label_set_done(&s);
    }
    fl_labels_default(&fallback);
    if (all.n == 0 || (!all.groups && fl_labels_same(&all, &fallback)))
        labels_move(&all, &fallback);
    fl_label_set_done(&fallback);
    *out = all;
}

json_t *fl_labels_json(const struct fl_label_set *s)
{
    json_t *j = fl_need_json(json_object()), *names = fl_need_json(json_array()), *ex = fl_need_json(json_array());
    for (uint32_t i = 0; i < s->n; i++) {
        fl_need_push(names, fl_need_str(s->names[i]));
        if (i < 64 && s->exclusive >> i & 1)
            fl_need_push(ex, fl_need_str(s->names[i]));
    }
    fl_need_put(j, "names", names);
    fl_need_put(j, "exclusive", ex);
    fl_need_put(j, "rest_off", s->rest_off < s->n ? fl_need_str(s->names[s->rest_off]) : json_null());
    return j;
}
