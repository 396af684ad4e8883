/* From a matrix of options to configurations with names. */
#include "stages/stack_fit/grid.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

struct grid { const struct fl_l2_conf *base; uint32_t n; char *const *names; struct fit_grid *out; struct fl_err *err; };

static const json_t *grid_value(const json_t *v, size_t i) { return json_is_array(v) ? json_array_get(v, i) : v; }
static size_t grid_many(const json_t *v) { return json_is_array(v) ? json_array_size(v) : 1; }

/* Letters, digits and _ only: so an entry of a graph whose matrix names the files is called alike. */
static void grid_word(char *name, size_t room, const char *key, const json_t *v)
{
    char *text = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(6)), word[64] = "";
    if (json_is_string(v))
        snprintf(word, sizeof word, "%s", json_string_value(v));
    else if (json_is_boolean(v))
        snprintf(word, sizeof word, "%s%s", json_is_true(v) ? "" : "not_", key);
    else
        snprintf(word, sizeof word, "%s%s", key, text != NULL ? text : "");
    free(text);
    for (char *p = word; *p != '\0'; p++)
        if (!isalnum((unsigned char)*p))
            *p = '_';
    size_t len = strlen(name);
    snprintf(name + len, room - len, "_%s", word);
}

/* The base as an object again, since what is applied to a table begins with its defaults. */
static json_t *grid_base(const struct fl_l2_conf *base, const json_t *over)
{
    struct fl_l2_conf copy = *base;
    json_t *all = json_object();
    for (copy.kind = FL_L2_MEAN; copy.kind <= FL_L2_GREEDY; copy.kind++) {
        json_t *some = fl_l2_conf_json(&copy);
        json_object_update(all, some);
        json_decref(some);
    }
    copy = *base;
    json_t *own = fl_l2_conf_json(&copy);
    json_object_set(all, "method", json_object_get(own, "method"));
    json_decref(own);
    json_object_update(all, (json_t *)over);
    return all;
}

/* Of a single configuration: an option that was set, but has no part in its method. */
static int grid_idle(const struct fl_l2_conf *c, struct fl_err *err)
{
    struct fl_l2_conf def = { .kind = 0 };
    int rc = fl_opts_apply(fl_l2_conf_opts, &def, NULL, err);
    for (const struct fl_opt *o = fl_l2_conf_opts; rc == FL_OK && o->name != NULL; o++) {
        size_t size = o->type == FL_OPT_BOOL ? sizeof(bool) : o->type == FL_OPT_CHOICE ? sizeof(int) : 8;
        if (!fl_l2_conf_serves(c->kind, o->name) && memcmp((const char *)c + o->off, (const char *)&def + o->off, size) != 0)
            rc = fl_err_set(err, FL_E_CONFIG, "%s: has no part in method %s", o->name, fl_l2_kind_names[c->kind]);
    }
    fl_opts_free(fl_l2_conf_opts, &def);
    return rc;
}

static int grid_add(struct grid *g, const json_t *over)
{
    struct fit_conf *more = g->out->n < FIT_CONFS ? realloc(g->out->c, (g->out->n + 1u) * sizeof *more) : NULL, *c;
    if (more == NULL)
        return g->out->n < FIT_CONFS ? fl_err_set(g->err, FL_E_NOMEM, "matrix: no memory") : fl_err_set(g->err, FL_E_CONFIG, "matrix: more than %u configurations", FIT_CONFS);
    g->out->c = more;
    c = &more[g->out->n];
    *c = (struct fit_conf){ .name = "" };
    json_t *all = grid_base(g->base, over);
    int rc = fl_opts_apply(fl_l2_conf_opts, &c->conf, all, g->err);
    json_decref(all);
    if (rc != FL_OK)
        return rc;
    g->out->n++;
    snprintf(c->name, sizeof c->name, "%s", fl_l2_kind_names[c->conf.kind]);
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)over, key, v) {
        if (!fl_l2_conf_serves(c->conf.kind, key))
            return fl_err_set(g->err, FL_E_CONFIG, "matrix: %s has no part in method %s", key, fl_l2_kind_names[c->conf.kind]);
        if (strcmp(key, "method") != 0)
            grid_word(c->name, sizeof c->name, key, v);
    }
    for (uint32_t i = 0; i + 1 < g->out->n; i++)
        if (strcmp(more[i].name, c->name) == 0)
            return fl_err_set(g->err, FL_E_CONFIG, "matrix: two configurations are called %s", c->name);
    rc = fl_l2_conf_check(&c->conf, g->n, g->names, g->err);
    return rc == FL_OK ? FL_OK : fl_err_context(g->err, "%s", c->name);
}

static int grid_map(struct grid *g, const json_t *map)
{
    const char *key;
    json_t *v;
    uint64_t many = 1;
    if (!json_is_object(map) || json_object_size(map) == 0)
        return fl_err_set(g->err, FL_E_CONFIG, "matrix: want a map of options, or a list of such maps");
    json_object_foreach((json_t *)map, key, v) {
        if (grid_many(v) == 0)
            return fl_err_set(g->err, FL_E_CONFIG, "matrix: %s is an empty list", key);
        many = many * grid_many(v) > FIT_CONFS ? FIT_CONFS + 1 : many * grid_many(v);
    }
    int rc = many > FIT_CONFS ? fl_err_set(g->err, FL_E_CONFIG, "matrix: more than %u configurations", FIT_CONFS) : FL_OK;
    for (uint64_t i = 0; rc == FL_OK && i < many; i++) {
        uint64_t rest = many, at = i;
        json_t *one = json_object();
        json_object_foreach((json_t *)map, key, v) {
            rest /= grid_many(v);
            json_object_set(one, key, (json_t *)grid_value(v, at / rest));
            at %= rest;
        }
        rc = grid_add(g, one);
        json_decref(one);
    }
    return rc;
}

int fit_grid(const struct fl_l2_conf *base, const json_t *matrix, uint32_t n, char *const *names, struct fit_grid *out, struct fl_err *err)
{
    struct grid g = { base, n, names, out, err };
    *out = (struct fit_grid){ 0 };
    int rc = FL_OK;
    if (matrix == NULL) {
        json_t *none = json_object();
        rc = grid_idle(base, err);
        if (rc == FL_OK)
            rc = grid_add(&g, none);
        json_decref(none);
    } else if (json_is_array(matrix) && json_array_size(matrix) > 0) {
        for (size_t i = 0; rc == FL_OK && i < json_array_size(matrix); i++)
            rc = grid_map(&g, json_array_get(matrix, i));
    } else {
        rc = grid_map(&g, matrix);
    }
    if (rc != FL_OK)
        fit_grid_done(out);
    return rc;
}

void fit_grid_done(struct fit_grid *g)
{
    for (uint32_t i = 0; i < g->n; i++)
        fl_opts_free(fl_l2_conf_opts, &g->c[i].conf);
    free(g->c);
    *g = (struct fit_grid){ 0 };
}
