/* Entries with a matrix: one entry for each combination, {var} and {var.attribute} replaced in options and in `from`. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launch/config.h"
#include "launch/mem.h"
#include "runtime/text.h"

#define MATRIX_DEPTH 4        /* of attributes that name variables in their turn */

/* vars: a map of variables; each a list of values, or a map of values to their attributes (a map, or nothing). */
struct matrix_pick {
    const char *name;
    const struct fl_node *vars;
    char ***tags;
    uint32_t *index;
    bool loose;               /* what is no variable here stays as it is: an entry's own matrix may know it */
};

static const char *matrix_value(const struct fl_node *values, uint32_t i)
{
    return values->kind == FL_NODE_MAP ? values->keys[i] : values->items[i]->text;
}

/* The last part of a path without its ending, and only what may stand in a name. */
static char *matrix_tag(const char *text)
{
    const char *slash = strrchr(text, '/');
    char *tag = fl_need_copy(slash != NULL && slash[1] != '\0' ? slash + 1 : text), *dot = strrchr(tag, '.');
    if (slash != NULL && dot != NULL && dot != tag)
        *dot = '\0';
    for (char *p = tag; *p != '\0'; p++)
        if (!isalnum((unsigned char)*p))
            *p = '_';
    if (*tag == '\0') {
        free(tag);
        tag = fl_need_copy("_");
    }
    return tag;
}

/* A tag for each value of one variable, unique among them; entries with the same list get the same tags. */
static char **matrix_tags(const struct fl_node *list)
{
    char **tags = fl_need(list->n, sizeof *tags);
    for (uint32_t i = 0; i < list->n; i++) {
        tags[i] = matrix_tag(matrix_value(list, i));
        for (uint32_t k = 0; k < i; k++)
            if (strcmp(tags[k], tags[i]) == 0) {
                char *other = fl_need_text("%s_%u", tags[i], i + 1);
                free(tags[i]);
                tags[i] = other;
                k = UINT32_MAX;      /* look from the start: the new tag may be taken as well */
            }
    }
    return tags;
}

static bool matrix_values_valid(struct fl_complaints *all, const char *name, const char *var, const struct fl_node *values)
{
    bool map = values->kind == FL_NODE_MAP, ok = true;
    if ((!map && values->kind != FL_NODE_LIST) || values->n == 0) {
        fl_complain(all, values->mark, "%s: matrix variable %.60s is %s, want a list of values", name, var,
                    values->n == 0 && values->kind == FL_NODE_LIST ? "an empty list" : values->n == 0 && map ? "an empty map" : fl_node_say(values));
        return false;
    }
    for (uint32_t i = 0; i < values->n; i++) {
        const struct fl_node *v = values->items[i];
        if (map ? v->kind == FL_NODE_MAP || v->kind == FL_NODE_NULL : v->text != NULL)
            continue;
        if (map)
            fl_complain(all, v->mark, "%s: %.60s of matrix variable %.60s is %s, want a map of attributes", name, values->keys[i], var, fl_node_say(v));
        else
            fl_complain(all, v->mark, "%s: matrix variable %.60s has %s, want text or a number", name, var, fl_node_say(v));
        ok = false;
    }
    return ok;
}

bool fl_matrix_valid(struct fl_complaints *all, const char *name, const struct fl_node *vars, uint64_t *count)
{
    bool ok = vars->n > 0;
    *count = 1;
    if (!ok)
        fl_complain(all, vars->mark, "%s: the matrix is empty", name);
    for (uint32_t v = 0; v < vars->n; v++) {
        uint32_t n = vars->items[v]->n;
        ok = matrix_values_valid(all, name, vars->keys[v], vars->items[v]) && ok;
        *count = n > 0 && *count * n > FL_MAX_ENTRIES ? FL_MAX_ENTRIES + 1 : *count * (n > 0 ? n : 1);
    }
    return ok;
}

/* ---- {var} ---- */

/* At "{word}" or "{word.word}": its length with the braces, else 0; *dot is where the second word begins, 0 for none. */
static size_t matrix_brace(const char *p, size_t *dot)
{
    size_t n = 1;
    *dot = 0;
    if (*p != '{')
        return 0;
    while (isalnum((unsigned char)p[n]) || p[n] == '_' || (p[n] == '.' && *dot == 0 && n > 1)) {
        if (p[n] == '.')
            *dot = n + 1;
        n++;
    }
    return n > 1 && n != *dot && p[n] == '}' ? n + 1 : 0;
}

static void matrix_unknown(struct fl_config *c, const struct matrix_pick *pick, const struct fl_node *n, const char *what, const char *brace, size_t len,
                           const struct fl_node *known)
{
    const char **names = fl_need((size_t)known->n + 1, sizeof *names);
    for (uint32_t i = 0; i < known->n; i++)
        names[i] = known->keys[i];
    char *word = fl_need_text("%.*s", (int)len, brace);
    fl_complain(c->complaints, n->mark, "%s: no %s is called %.60s%s", pick->name, what, word, fl_did_you_mean(word, names));
    free(word);
    free(names);
}

/* The variable at a brace; UINT32_MAX: there is none. *attribute: the one that is named, NULL: none, or a complaint was made. */
static uint32_t matrix_find(struct fl_config *c, const struct matrix_pick *pick, const struct fl_node *n, const char *brace, size_t len, size_t dot,
                            const struct fl_node **attribute)
{
    static const struct fl_node none = { .kind = FL_NODE_MAP };
    const struct fl_node *vars = pick->vars;
    size_t word = (dot > 0 ? dot - 1 : len - 1) - 1;
    *attribute = NULL;
    for (uint32_t v = 0; v < vars->n; v++) {
        if (strlen(vars->keys[v]) != word || memcmp(vars->keys[v], brace + 1, word) != 0)
            continue;
        if (dot == 0)
            return v;
        const struct fl_node *values = vars->items[v], *of = values->kind == FL_NODE_MAP ? values->items[pick->index[v]] : &none;
        char *name = fl_need_text("%.*s", (int)(len - 1 - dot), brace + dot);
        *attribute = of->kind == FL_NODE_MAP ? fl_node_get(of, name, NULL) : NULL;
        free(name);
        if (*attribute == NULL)
            matrix_unknown(c, pick, n, "attribute", brace + dot, len - 1 - dot, of);
        return v;
    }
    if (!pick->loose)
        matrix_unknown(c, pick, n, "matrix variable", brace + 1, word, vars);
    return UINT32_MAX;
}

static void matrix_put(struct fl_config *c, const struct matrix_pick *pick, const struct fl_node *n, const struct fl_node *attribute, bool tags, FILE *f)
{
    if (attribute->text == NULL) {
        fl_complain(c->complaints, n->mark, "%s: an attribute that is %s can only stand alone", pick->name, fl_node_say(attribute));
        return;
    }
    char *tag = tags ? matrix_tag(attribute->text) : NULL;
    fputs(tags ? tag : attribute->text, f);
    free(tag);
}

/* Text with each {var} replaced by its value (tags: by its tag). */
static char *matrix_text(struct fl_config *c, const struct matrix_pick *pick, const struct fl_node *n, bool tags)
{
    char *out = NULL;
    size_t size = 0, dot;
    FILE *f = open_memstream(&out, &size);
    if (f == NULL)
        return fl_need_copy(n->text);
    for (const char *p = n->text; *p != '\0';) {
        size_t len = matrix_brace(p, &dot);
        if (len == 0) {
            fputc(*p++, f);
            continue;
        }
        const struct fl_node *attribute;
        uint32_t v = matrix_find(c, pick, n, p, len, dot, &attribute);
        if (v == UINT32_MAX)
            fwrite(p, 1, len, f);
        else if (attribute != NULL)
            matrix_put(c, pick, n, attribute, tags, f);
        else if (dot == 0)
            fputs(tags ? pick->tags[v][pick->index[v]] : matrix_value(pick->vars->items[v], pick->index[v]), f);
        p += len;
    }
    if (fclose(f) != 0 || out == NULL) {
        free(out);
        return fl_need_copy(n->text);
    }
    return out;
}

/* What a text that is {var} or {var.attribute} alone stands for, so that it takes its type; NULL when it isn't. */
static struct fl_node *matrix_alone(struct fl_config *c, const struct matrix_pick *pick, const struct fl_node *n)
{
    size_t dot, len = matrix_brace(n->text, &dot);
    const struct fl_node *attribute;
    if (len == 0 || len != strlen(n->text))
        return NULL;
    uint32_t v = matrix_find(c, pick, n, n->text, len, dot, &attribute);
    if (v == UINT32_MAX || (dot > 0 && attribute == NULL))
        return NULL;
    const struct fl_node *values = pick->vars->items[v];
    if (attribute != NULL)
        return fl_node_copy(attribute);
    return values->kind == FL_NODE_LIST ? fl_node_copy(values->items[pick->index[v]]) : fl_node_scalar(values->keys[pick->index[v]], true, n->mark);
}

/* In place. An attribute may name variables in its turn. */
static void matrix_replace(struct fl_config *c, const struct matrix_pick *pick, struct fl_node *n, bool tags, uint32_t depth)
{
    for (uint32_t i = 0; i < n->n; i++)
        matrix_replace(c, pick, n->items[i], tags, depth);
    if (n->kind != FL_NODE_STR || strchr(n->text, '{') == NULL)
        return;
    struct fl_mark mark = n->mark;
    struct fl_node *value = tags ? NULL : matrix_alone(c, pick, n);
    if (value == NULL) {
        char *text = matrix_text(c, pick, n, tags);
        if (strcmp(text, n->text) != 0)
            value = fl_node_scalar(text, !tags, mark);
        free(text);
    }
    if (value == NULL)
        return;
    struct fl_node old = *n;
    *n = *value;
    *value = old;
    fl_node_free(value);
    n->mark = mark;
    if (depth < MATRIX_DEPTH)
        matrix_replace(c, pick, n, tags, depth + 1);
    else
        fl_complain(c->complaints, mark, "%s: attributes that name each other without end", pick->name);
}

/* ---- expansion ---- */

void fl_entry_name(struct fl_entry *e)
{
    size_t len = strlen(e->full);
    if (len < FL_NAME_MAX)
        memcpy(e->name, e->full, len + 1);
    else
        snprintf(e->name, sizeof e->name, "%.22s_%08x", e->full, (unsigned)fl_fnv1a(e->full, len));
}

static struct fl_entry matrix_one(struct fl_config *c, const struct fl_entry *e, const struct matrix_pick *pick)
{
    struct fl_entry one = *e;
    one.base = fl_need_copy(e->base);
    one.full = fl_need_copy(e->base);
    one.stage = fl_need_copy(e->stage);
    one.matrix = NULL;
    one.from = e->from != NULL ? fl_node_copy(e->from) : NULL;
    one.options = e->options != NULL ? fl_node_copy(e->options) : NULL;
    for (uint32_t v = 0; v < pick->vars->n; v++) {
        char *longer = fl_need_text("%s-%s", one.full, pick->tags[v][pick->index[v]]);
        free(one.full);
        one.full = longer;
    }
    fl_entry_name(&one);
    if (one.from != NULL)
        matrix_replace(c, pick, one.from, true, 0);
    if (one.options != NULL)
        matrix_replace(c, pick, one.options, false, 0);
    return one;
}

static void matrix_open(struct matrix_pick *pick)
{
    const uint32_t n = pick->vars->n;
    pick->tags = fl_need(n, sizeof *pick->tags);
    pick->index = fl_need(n, sizeof *pick->index);
    for (uint32_t v = 0; v < n; v++)
        pick->tags[v] = matrix_tags(pick->vars->items[v]);
}

static void matrix_next(struct matrix_pick *pick)
{
    for (uint32_t v = pick->vars->n; v-- > 0;) {      /* the last variable runs fastest */
        if (++pick->index[v] < pick->vars->items[v]->n)
            break;
        pick->index[v] = 0;
    }
}

static void matrix_close(struct matrix_pick *pick)
{
    for (uint32_t v = 0; v < pick->vars->n; v++) {
        for (uint32_t i = 0; i < pick->vars->items[v]->n; i++)
            free(pick->tags[v][i]);
        free(pick->tags[v]);
    }
    free(pick->tags);
    free(pick->index);
}

static void matrix_entry(struct fl_config *c, const struct fl_entry *e, uint64_t count, struct fl_entry *into)
{
    struct matrix_pick pick = { .name = e->base, .vars = e->matrix };
    matrix_open(&pick);
    for (uint64_t i = 0; i < count; i++) {
        into[i] = matrix_one(c, e, &pick);
        matrix_next(&pick);
    }
    matrix_close(&pick);
}

char *fl_matrix_pick(struct fl_config *c, const char *name, const struct fl_node *vars, uint64_t combination, struct fl_node *in)
{
    struct matrix_pick pick = { .name = name, .vars = vars, .loose = true };
    char *full = fl_need_copy(name);
    matrix_open(&pick);
    while (combination-- > 0)
        matrix_next(&pick);
    for (uint32_t v = 0; v < vars->n; v++) {
        char *longer = fl_need_text("%s-%s", full, pick.tags[v][pick.index[v]]);
        free(full);
        full = longer;
    }
    if (in != NULL)
        matrix_replace(c, &pick, in, false, 0);
    matrix_close(&pick);
    return full;
}

static int matrix_order(const void *a, const void *b)
{
    const struct fl_entry *x = *(const struct fl_entry *const *)a, *y = *(const struct fl_entry *const *)b;
    int order = strcmp(x->name, y->name);
    return order != 0 ? order : (x > y) - (x < y);
}

static void matrix_unique(struct fl_config *c)
{
    struct fl_entry **by_name = fl_need(c->nentries, sizeof *by_name);
    for (uint32_t i = 0; i < c->nentries; i++)
        by_name[i] = &c->entries[i];
    qsort(by_name, c->nentries, sizeof *by_name, matrix_order);
    for (uint32_t i = 1; i < c->nentries; i++)
        if (by_name[i]->name[0] != '\0' && strcmp(by_name[i]->name, by_name[i - 1]->name) == 0
            && strcmp(by_name[i]->base, by_name[i - 1]->base) != 0) {
            fl_complain(c->complaints, by_name[i]->mark, "%s: two entries are called %s once their matrix is expanded", by_name[i]->base, by_name[i]->name);
            by_name[i]->bad = true;
        }
    free(by_name);
}

void fl_matrix_expand(struct fl_config *c)
{
    struct fl_entry *all = NULL;
    uint64_t n = 0;
    for (uint32_t i = 0; i < c->nentries; i++) {
        struct fl_entry *e = &c->entries[i];
        uint64_t count = 1;
        if (e->matrix != NULL && !fl_matrix_valid(c->complaints, e->base, e->matrix, &count)) {
            e->bad = true;
            count = 1;
        } else if (n + count > FL_MAX_ENTRIES) {
            fl_complain(c->complaints, e->mark, "%s: more than %d stages once expanded", e->base, FL_MAX_ENTRIES);
            e->bad = true;
            fl_entry_done(e);
            continue;
        }
        all = fl_need_grow(all, n + count, sizeof *all);
        if (e->matrix == NULL || e->bad) {
            all[n++] = *e;
            continue;
        }
        matrix_entry(c, e, count, all + n);
        n += count;
        fl_entry_done(e);
    }
    free(c->entries);
    c->entries = all;
    c->nentries = (uint32_t)n;
    matrix_unique(c);
}
