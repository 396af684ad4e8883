/* Entries with a matrix: one entry for each combination, {var} replaced in options and in `from`. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launch/config.h"
#include "launch/mem.h"
#include "runtime/text.h"

struct matrix_pick { const char *name; const struct fl_node *vars; char ***tags; uint32_t *index; };

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
        tags[i] = matrix_tag(list->items[i]->text);
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

static bool matrix_valid(struct fl_config *c, const struct fl_entry *e, uint64_t *count)
{
    bool ok = e->matrix->n > 0;
    *count = 1;
    if (!ok)
        fl_complain(c->complaints, e->matrix->mark, "%s: the matrix is empty", e->base);
    for (uint32_t v = 0; v < e->matrix->n; v++) {
        const struct fl_node *list = e->matrix->items[v];
        if (list->kind != FL_NODE_LIST || list->n == 0) {
            fl_complain(c->complaints, list->mark, "%s: matrix variable %.60s is %s, want a list of values", e->base, e->matrix->keys[v],
                        list->kind == FL_NODE_LIST ? "an empty list" : fl_node_say(list));
            ok = false;
            continue;
        }
        for (uint32_t i = 0; i < list->n; i++)
            if (list->items[i]->text == NULL) {
                fl_complain(c->complaints, list->items[i]->mark, "%s: matrix variable %.60s has %s, want text or a number", e->base,
                            e->matrix->keys[v], fl_node_say(list->items[i]));
                ok = false;
            }
        *count = *count * list->n > FL_MAX_ENTRIES ? FL_MAX_ENTRIES + 1 : *count * list->n;
    }
    return ok;
}

/* ---- {var} ---- */

/* At "{word}": its length with the braces, else 0. */
static size_t matrix_brace(const char *p)
{
    size_t n = 1;
    if (*p != '{')
        return 0;
    while (isalnum((unsigned char)p[n]) || p[n] == '_')
        n++;
    return n > 1 && p[n] == '}' ? n + 1 : 0;
}

static uint32_t matrix_var(const struct fl_node *vars, const char *brace, size_t len)
{
    for (uint32_t v = 0; v < vars->n; v++)
        if (strlen(vars->keys[v]) == len - 2 && memcmp(vars->keys[v], brace + 1, len - 2) == 0)
            return v;
    return UINT32_MAX;
}

static void matrix_unknown(struct fl_config *c, const struct matrix_pick *pick, const struct fl_node *n, const char *brace, size_t len)
{
    const struct fl_node *vars = pick->vars;
    const char **names = fl_need((size_t)vars->n + 1, sizeof *names);
    for (uint32_t i = 0; i < vars->n; i++)
        names[i] = vars->keys[i];
    char *word = fl_need_text("%.*s", (int)(len - 2), brace + 1);
    fl_complain(c->complaints, n->mark, "%s: no matrix variable is called %.60s%s", pick->name, word, fl_did_you_mean(word, names));
    free(word);
    free(names);
}

/* Text with each {var} replaced by its value (tags: by its tag). */
static char *matrix_text(struct fl_config *c, const struct matrix_pick *pick, const struct fl_node *n, bool tags)
{
    char *out = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&out, &size);
    if (f == NULL)
        return fl_need_copy(n->text);
    for (const char *p = n->text; *p != '\0';) {
        size_t len = matrix_brace(p);
        if (len == 0) {
            fputc(*p++, f);
            continue;
        }
        uint32_t v = matrix_var(pick->vars, p, len);
        if (v == UINT32_MAX)
            matrix_unknown(c, pick, n, p, len);
        else
            fputs(tags ? pick->tags[v][pick->index[v]] : pick->vars->items[v]->items[pick->index[v]]->text, f);
        p += len;
    }
    if (fclose(f) != 0 || out == NULL) {
        free(out);
        return fl_need_copy(n->text);
    }
    return out;
}

/* In place, so that a value that is {var} alone takes the variable's type. */
static void matrix_replace(struct fl_config *c, const struct matrix_pick *pick, struct fl_node *n, bool tags)
{
    for (uint32_t i = 0; i < n->n; i++)
        matrix_replace(c, pick, n->items[i], tags);
    if (n->kind != FL_NODE_STR || strchr(n->text, '{') == NULL)
        return;
    char *text = matrix_text(c, pick, n, tags);
    if (strcmp(text, n->text) != 0) {
        size_t len = matrix_brace(n->text);
        uint32_t v = len == strlen(n->text) ? matrix_var(pick->vars, n->text, len) : UINT32_MAX;
        struct fl_node *value = v != UINT32_MAX && !tags ? fl_node_copy(pick->vars->items[v]->items[pick->index[v]]) : fl_node_scalar(text, !tags, n->mark);
        value->mark = n->mark;
        struct fl_node old = *n;
        *n = *value;
        *value = old;
        fl_node_free(value);
    }
    free(text);
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
        matrix_replace(c, pick, one.from, true);
    if (one.options != NULL)
        matrix_replace(c, pick, one.options, false);
    return one;
}

static void matrix_entry(struct fl_config *c, const struct fl_entry *e, uint64_t count, struct fl_entry *into)
{
    const uint32_t n = e->matrix->n;
    struct matrix_pick pick = { .name = e->base, .vars = e->matrix, .tags = fl_need(n, sizeof *pick.tags), .index = fl_need(n, sizeof *pick.index) };
    for (uint32_t v = 0; v < n; v++)
        pick.tags[v] = matrix_tags(e->matrix->items[v]);
    for (uint64_t i = 0; i < count; i++) {
        into[i] = matrix_one(c, e, &pick);
        for (uint32_t v = n; v-- > 0;) {      /* the last variable runs fastest */
            if (++pick.index[v] < e->matrix->items[v]->n)
                break;
            pick.index[v] = 0;
        }
    }
    for (uint32_t v = 0; v < n; v++) {
        for (uint32_t i = 0; i < e->matrix->items[v]->n; i++)
            free(pick.tags[v][i]);
        free(pick.tags[v]);
    }
    free(pick.tags);
    free(pick.index);
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
        if (e->matrix != NULL && !matrix_valid(c, e, &count)) {
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
