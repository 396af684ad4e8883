/* The tree of a configuration: building, copying, looking up, turning into JSON. */
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launch/mem.h"
#include "launch/yaml.h"

struct fl_node *fl_node_new(enum fl_node_kind kind, struct fl_mark mark)
{
    struct fl_node *n = fl_need(1, sizeof *n);
    n->kind = kind;
    n->mark = mark;
    return n;
}

void fl_node_free(struct fl_node *n)
{
    if (n == NULL)
        return;
    for (uint32_t i = 0; i < n->n; i++) {
        fl_node_free(n->items[i]);
        if (n->keys != NULL)
            free(n->keys[i]);
    }
    free(n->items);
    free(n->keys);
    free(n->key_marks);
    free(n->text);
    free(n);
}

static bool node_one_of(const char *s, const char *const *words)
{
    for (; *words != NULL; words++)
        if (strcmp(s, *words) == 0)
            return true;
    return false;
}

static bool node_int(const char *s, int64_t *value)
{
    const char *p = s + (*s == '-' || *s == '+');
    int base = 10;
    if (p == s && p[0] == '0' && (p[1] == 'x' || p[1] == 'o')) {
        base = p[1] == 'x' ? 16 : 8;
        s = p += 2;
    }
    if (!isxdigit((unsigned char)*p))
        return false;
    char *end;
    errno = 0;
    long long v = strtoll(s, &end, base);
    if (*end != '\0' || errno != 0)
        return false;
    *value = v;
    return true;
}

/* Numbers of the core schema only: strtod alone would also take "nan", "infinity" and hexadecimal floats. */
static bool node_float(const char *s, double *value)
{
    static const char *const nan_words[] = { ".nan", ".NaN", ".NAN", NULL }, *const inf_words[] = { ".inf", ".Inf", ".INF", NULL };
    const char *p = s + (*s == '-' || *s == '+');
    if (node_one_of(s, nan_words)) {
        *value = NAN;
        return true;
    }
    if (node_one_of(p, inf_words)) {
        *value = *s == '-' ? -INFINITY : INFINITY;
        return true;
    }
    if (!isdigit((unsigned char)p[*p == '.']) || s[strspn(s, "+-.0123456789eE")] != '\0')
        return false;
    char *end;
    double v = strtod(s, &end);
    if (*end == '\0')
        *value = v;
    return *end == '\0';
}

struct fl_node *fl_node_scalar(const char *text, bool plain, struct fl_mark mark)
{
    static const char *const null_words[] = { "", "~", "null", "Null", "NULL", NULL };
    static const char *const true_words[] = { "true", "True", "TRUE", NULL }, *const false_words[] = { "false", "False", "FALSE", NULL };
    struct fl_node *n = fl_node_new(FL_NODE_STR, mark);
    n->text = fl_need_copy(text);
    if (!plain)
        return n;
    if (node_one_of(text, null_words)) {
        n->kind = FL_NODE_NULL;
    } else if (node_one_of(text, true_words) || node_one_of(text, false_words)) {
        n->kind = FL_NODE_BOOL;
        n->b = node_one_of(text, true_words);
    } else if (node_int(text, &n->i)) {
        n->kind = FL_NODE_INT;
        n->f = (double)n->i;
    } else if (node_float(text, &n->f)) {
        n->kind = FL_NODE_FLOAT;
    }
    return n;
}

struct fl_node *fl_node_copy(const struct fl_node *n)
{
    struct fl_node *c = fl_node_new(n->kind, n->mark);
    c->b = n->b;
    c->i = n->i;
    c->f = n->f;
    c->text = n->text != NULL ? fl_need_copy(n->text) : NULL;
    for (uint32_t i = 0; i < n->n; i++)
        if (n->kind == FL_NODE_MAP)
            fl_node_set(c, n->keys[i], n->key_marks[i], fl_node_copy(n->items[i]));
        else
            fl_node_push(c, fl_node_copy(n->items[i]));
    return c;
}

static uint32_t node_index(const struct fl_node *map, const char *key)
{
    for (uint32_t i = 0; map != NULL && map->kind == FL_NODE_MAP && i < map->n; i++)
        if (strcmp(map->keys[i], key) == 0)
            return i;
    return UINT32_MAX;
}

struct fl_node *fl_node_get(const struct fl_node *map, const char *key, struct fl_mark *key_mark)
{
    uint32_t i = node_index(map, key);
    if (i == UINT32_MAX)
        return NULL;
    if (key_mark != NULL)
        *key_mark = map->key_marks[i];
    return map->items[i];
}

static void node_room(struct fl_node *n)
{
    if (n->n < n->cap)
        return;
    n->cap = n->cap ? 2 * n->cap : 8;
    n->items = fl_need_grow(n->items, n->cap, sizeof *n->items);
    if (n->kind == FL_NODE_MAP) {
        n->keys = fl_need_grow(n->keys, n->cap, sizeof *n->keys);
        n->key_marks = fl_need_grow(n->key_marks, n->cap, sizeof *n->key_marks);
    }
}

void fl_node_set(struct fl_node *map, const char *key, struct fl_mark key_mark, struct fl_node *value)
{
    uint32_t i = node_index(map, key);
    if (i != UINT32_MAX) {
        fl_node_free(map->items[i]);
    } else {
        node_room(map);
        i = map->n++;
        map->keys[i] = fl_need_copy(key);
    }
    map->key_marks[i] = key_mark;
    map->items[i] = value;
}

void fl_node_push(struct fl_node *list, struct fl_node *value)
{
    node_room(list);
    list->items[list->n++] = value;
}

json_t *fl_node_json(const struct fl_node *n)
{
    json_t *j;
    switch (n->kind) {
    case FL_NODE_NULL: return fl_need_json(json_null());
    case FL_NODE_BOOL: return fl_need_json(json_boolean(n->b));
    case FL_NODE_INT:  return fl_need_json(json_integer(n->i));
    case FL_NODE_FLOAT: return isfinite(n->f) ? fl_need_json(json_real(n->f)) : fl_need_str(n->text);
    case FL_NODE_STR:  return fl_need_str(n->text);
    case FL_NODE_LIST:
        j = fl_need_json(json_array());
        for (uint32_t i = 0; i < n->n; i++)
            fl_need_push(j, fl_node_json(n->items[i]));
        return j;
    case FL_NODE_MAP:
        j = fl_need_json(json_object());
        for (uint32_t i = 0; i < n->n; i++)
            fl_need_put(j, n->keys[i], fl_node_json(n->items[i]));
        return j;
    }
    return fl_need_json(json_null());
}

const char *fl_node_say(const struct fl_node *n)
{
    static char text[96];
    switch (n->kind) {
    case FL_NODE_NULL: return "nothing";
    case FL_NODE_BOOL: return n->b ? "true" : "false";
    case FL_NODE_INT:
    case FL_NODE_FLOAT: snprintf(text, sizeof text, "%.60s", n->text); return text;
    case FL_NODE_STR: snprintf(text, sizeof text, "text \"%.60s\"", n->text); return text;
    case FL_NODE_LIST: return "a list";
    case FL_NODE_MAP: return "a map";
    }
    return "?";
}
