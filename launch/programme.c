/* Reads a programme and makes graphs of its steps. */
#include "launch/programme.h"

#include <stdlib.h>
#include <string.h>

#include "launch/config.h"
#include "launch/mem.h"
#include "launch/yaml.h"
#include "runtime/opt.h"

static const char *const step_keys[] = { "each", "stages", NULL };

/* ---- complaints of several loads ---- */

/* What one key of the file does wrong is found in every step: a line is told once. */
struct told { char *text; bool any; };

static void told_add(struct told *t, char *lines)
{
    for (char *line = lines, *end; line != NULL && *line != '\0'; line = end) {
        end = strchr(line, '\n');
        end = end != NULL ? end + 1 : line + strlen(line);
        char *one = fl_need_text("%.*s", (int)(end - line), line);
        if (t->text == NULL || strstr(t->text, one) == NULL) {
            char *all = fl_need_text("%s%s", t->text != NULL ? t->text : "", one);
            free(t->text);
            t->text = all;
            fputs(one, stderr);
        }
        free(one);
        t->any = true;
    }
    free(lines);
}

/* ---- the tree ---- */

static void step_add(struct fl_programme *p, const char *name, const struct fl_node *map, const struct fl_node *each, uint64_t combination, char *full)
{
    p->steps = fl_need_grow(p->steps, p->nsteps + 1, sizeof *p->steps);
    p->steps[p->nsteps++] = (struct fl_step){ .name = full != NULL ? full : fl_need_copy(name), .map = map, .combination = combination,
                                              .each = each != NULL ? fl_node_copy(each) : NULL };
}

static void step_read(struct fl_config *c, struct fl_programme *p, const char *name, struct fl_mark mark, const struct fl_node *map)
{
    uint64_t count = 1;
    if (!fl_stage_name_ok(name))
        fl_complain(c->complaints, mark, "%.60s is no name for a step, want a letter, then letters, digits, '_' or '-', at most 31", name);
    if (map->kind != FL_NODE_MAP) {
        fl_complain(c->complaints, map->mark, "%.60s is %s, want a map of stages and, at will, each", name, fl_node_say(map));
        return;
    }
    for (uint32_t i = 0; i < map->n; i++)
        if (strcmp(map->keys[i], "each") != 0 && strcmp(map->keys[i], "stages") != 0)
            fl_complain(c->complaints, map->key_marks[i], "%.60s: unknown key %.60s%s", name, map->keys[i], fl_did_you_mean(map->keys[i], step_keys));
    const struct fl_node *each = fl_node_get(map, "each", NULL);
    if (each == NULL) {
        step_add(p, name, map, NULL, 0, NULL);
        return;
    }
    struct fl_node *vars = fl_matrix_read(c->complaints, name, each, fl_node_get(p->root, "matrix", NULL));
    if (vars != NULL && fl_matrix_valid(c->complaints, name, vars, &count) && count > FL_MAX_ENTRIES)
        fl_complain(c->complaints, each->mark, "%.60s: more than %d steps", name, FL_MAX_ENTRIES);
    for (uint64_t i = 0; vars != NULL && c->complaints->n == 0 && i < count; i++)
        step_add(p, name, map, vars, i, fl_matrix_pick(c, name, vars, i, NULL));
    fl_node_free(vars);
}

/* STAGE.OPTION goes to each step that has the stage. */
static void programme_sets(struct fl_config *c, const struct fl_programme *p, struct fl_node *programme)
{
    for (uint32_t i = 0; i < p->nsets; i++) {
        size_t word = strcspn(p->sets[i], ".=");
        bool dotted = p->sets[i][word] == '.', found = false;
        char *stage = fl_need_text("%.*s", (int)word, p->sets[i]);
        for (uint32_t k = 0; dotted && k < programme->n; k++) {
            struct fl_node *step = programme->items[k], *stages = step->kind == FL_NODE_MAP ? fl_node_get(step, "stages", NULL) : NULL;
            if (stages == NULL || stages->kind != FL_NODE_MAP || fl_node_get(stages, stage, NULL) == NULL)
                continue;
            fl_config_set(c, step, p->sets[i], i);
            found = true;
        }
        if (!dotted)
            fl_config_set(c, p->root, p->sets[i], i);
        else if (!found)
            fl_complain(c->complaints, (struct fl_mark){ 0, i + 1 }, "no step has a stage %.60s", stage);
        free(stage);
    }
}

static void programme_memory(struct fl_config *c, struct fl_programme *p)
{
    const struct fl_node *n = fl_node_get(p->root, "memory", NULL);
    if (n == NULL)
        fl_complain(c->complaints, p->root->mark, "a programme wants memory: its graphs are cut into passes that fit");
    else if (n->text == NULL || fl_size_parse(n->text, &p->memory, NULL) != FL_OK || p->memory == 0)
        fl_complain(c->complaints, n->mark, "memory is %s, want a size like 2GB or 512MiB", fl_node_say(n));
}

static void programme_read(struct fl_config *c, struct fl_programme *p, struct fl_node *programme)
{
    if (programme->kind != FL_NODE_MAP || programme->n == 0) {
        fl_complain(c->complaints, programme->mark, "programme is %s, want a map of steps", programme->n == 0 ? "empty" : fl_node_say(programme));
        return;
    }
    programme_sets(c, p, programme);
    programme_memory(c, p);
    static const char *const none[] = { "stages", "record", NULL };
    for (const char *const *k = none; *k != NULL; k++) {
        struct fl_mark mark;
        if (fl_node_get(p->root, *k, &mark) != NULL)
            fl_complain(c->complaints, mark, "%s does not go with a programme", *k);
    }
    for (uint32_t i = 0; i < programme->n; i++)
        step_read(c, p, programme->keys[i], programme->key_marks[i], programme->items[i]);
    for (uint32_t i = 0; i < p->nsteps; i++)
        for (uint32_t k = 0; k < i; k++)
            if (strcmp(p->steps[i].name, p->steps[k].name) == 0)
                fl_complain(c->complaints, p->steps[i].map->mark, "two steps are called %s once they are expanded", p->steps[i].name);
}

int fl_programme_load(const char *file, const char *const *sets, uint32_t nsets, struct fl_programme **out)
{
    struct fl_complaints all = { .file = file, .sets = sets, .nsets = nsets };
    struct fl_config c = { .complaints = &all, .file = file };
    struct fl_node *root = fl_graph_read(&all);
    struct fl_node *programme = root != NULL && root->kind == FL_NODE_MAP ? fl_node_get(root, "programme", NULL) : NULL;
    *out = NULL;
    if (programme == NULL) {
        fl_node_free(root);
        fl_complaints_done(&all);
        return FL_OK;
    }
    struct fl_programme *p = fl_need(1, sizeof *p);
    *p = (struct fl_programme){ .file = fl_need_copy(file), .sets = sets, .nsets = nsets, .root = root };
    programme_read(&c, p, programme);
    fl_config_name(&c, root);
    memcpy(p->name, c.name, sizeof p->name);
    struct told told = { 0 };
    told_add(&told, fl_complaints_text(&all));
    free(told.text);
    fl_config_done(&c);
    fl_complaints_done(&all);
    if (!told.any) {
        *out = p;
        return FL_OK;
    }
    fl_programme_free(p);
    return FL_E_CONFIG;
}

void fl_programme_free(struct fl_programme *p)
{
    for (uint32_t i = 0; p != NULL && i < p->nsteps; i++) {
        struct fl_step *s = &p->steps[i];
        for (uint32_t k = 0; k < s->npasses; k++) {
            for (uint32_t j = 0; j < s->passes[k].nsinks; j++)
                free(s->passes[k].sinks[j]);
            free(s->passes[k].sinks);
            free(s->passes[k].name);
        }
        free(s->passes);
        free(s->name);
        free(s->later);
        fl_node_free(s->each);
        json_decref(s->in);
        json_decref(s->out);
        fl_graph_free(s->g);
    }
    if (p == NULL)
        return;
    free(p->steps);
    free(p->file);
    fl_node_free(p->root);
    free(p);
}

/* ---- steps as graphs ---- */

/* The file's keys with the step's stages in the place of the programme, the variables of `each` replaced. */
static struct fl_node *step_root(struct fl_config *c, const struct fl_programme *p, const struct fl_step *s)
{
    struct fl_node *root = fl_node_new(FL_NODE_MAP, p->root->mark);
    struct fl_mark mark = s->map->mark;
    for (uint32_t i = 0; i < p->root->n; i++)
        if (strcmp(p->root->keys[i], "programme") != 0)
            fl_node_set(root, p->root->keys[i], p->root->key_marks[i], fl_node_copy(p->root->items[i]));
    const struct fl_node *stages = fl_node_get(s->map, "stages", &mark);
    fl_node_set(root, "stages", mark, stages != NULL ? fl_node_copy(stages) : fl_node_new(FL_NODE_NULL, mark));
    if (s->each != NULL)
        free(fl_matrix_pick(c, s->name, s->each, s->combination, fl_node_get(root, "stages", NULL)));
    return root;
}

static bool step_load(const struct fl_programme *p, const struct fl_step *s, const struct fl_part *part, struct fl_graph **g, struct told *told)
{
    struct fl_complaints all = { .file = p->file, .sets = p->sets, .nsets = p->nsets };
    struct fl_config c = { .complaints = &all, .file = p->file };
    struct fl_node *root = step_root(&c, p, s);
    char *lines = fl_complaints_text(&all), *more = NULL;
    bool ok = fl_graph_load_part(p->file, root, p->sets, p->nsets, part, g, &more) == FL_OK && lines == NULL;
    told_add(told, lines);
    told_add(told, more);
    fl_complaints_done(&all);
    return ok;
}

static void step_later(struct fl_programme *p, struct fl_step *s)
{
    size_t i, k;
    json_t *in, *out;
    for (const struct fl_step *before = p->steps; before < s && s->later == NULL; before++)
        json_array_foreach(s->in, i, in)
            json_array_foreach(before->out, k, out)
                if (s->later == NULL && fl_file_made(json_string_value(in), json_string_value(out)))
                    s->later = fl_need_copy(json_string_value(in));
}

static bool step_open(struct fl_programme *p, struct fl_step *s, struct told *told)
{
    if (s->g == NULL && !step_load(p, s, &(struct fl_part){ .unbounded = true }, &s->g, told))
        return false;
    if (s->npasses == 0)
        fl_programme_cut(s, p->memory);
    return true;
}

int fl_programme_check(struct fl_programme *p)
{
    struct told told = { 0 };
    json_t *made = fl_need_json(json_array());
    for (uint32_t i = 0; i < p->nsteps; i++) {
        struct fl_step *s = &p->steps[i];
        struct fl_graph *none = NULL, *g = NULL;
        if (i > 0)
            json_array_extend(made, s[-1].out);
        s->in = fl_need_json(json_array());
        s->out = fl_need_json(json_array());
        if (!step_load(p, s, &(struct fl_part){ .in = s->in, .out = s->out, .made = made }, &none, &told))
            continue;
        step_later(p, s);
        if ((s->later != NULL && s->npasses == 0) || !step_open(p, s, &told))
            continue;
        for (uint32_t k = 0; k < s->npasses; k++)      /* one job alone may be too large */
            if (s->passes[k].nsinks == 1 && step_load(p, s, &(struct fl_part){ .sinks = (const char *const *)s->passes[k].sinks, .nsinks = 1 }, &g, &told))
                fl_graph_free(g);
    }
    json_decref(made);
    free(told.text);
    return told.any ? FL_E_CONFIG : FL_OK;
}

int fl_programme_open(struct fl_programme *p, struct fl_step *s)
{
    struct told told = { 0 };
    bool ok = step_open(p, s, &told);
    free(told.text);
    return ok ? FL_OK : FL_E_CONFIG;
}

int fl_programme_pass(const struct fl_programme *p, const struct fl_step *s, const struct fl_pass *pass, struct fl_graph **g)
{
    struct told told = { 0 };
    const struct fl_part part = { .sinks = (const char *const *)pass->sinks, .nsinks = pass->nsinks };
    bool ok = step_load(p, s, &part, g, &told);
    free(told.text);
    return ok ? FL_OK : FL_E_CONFIG;
}
