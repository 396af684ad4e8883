/* A second level's configuration: its options, and which of them count for which kind. */
#include <stddef.h>
#include <string.h>

#include "stages/level2/fit.h"

/* Kinds as bits. */
#define OF(kind)  (1u << (kind))
#define LINEAR    (OF(FL_L2_LINEAR) | OF(FL_L2_RIDGE) | OF(FL_L2_RIDGE2) | OF(FL_L2_NNLS))
#define FITTED    (LINEAR | OF(FL_L2_EXTRATREES) | OF(FL_L2_MLP))
#define BLENDS    (OF(FL_L2_BLEND) | OF(FL_L2_GREEDY))
#define EVERY     (~0u)

const struct fl_opt fl_l2_conf_opts[] = {
#include "stages/level2/conf_opts.h"
    { 0 }
};

/* By name; what isn't listed serves all. */
static const struct { const char *name; unsigned kinds; } conf_serves[] = {
    { "features", FITTED }, { "model", FITTED }, { "transform", FITTED },
    { "lambda", OF(FL_L2_RIDGE) | OF(FL_L2_RIDGE2) | OF(FL_L2_NNLS) },
    { "trees", OF(FL_L2_EXTRATREES) }, { "columns", OF(FL_L2_EXTRATREES) }, { "n_min", OF(FL_L2_EXTRATREES) }, { "min_leaf", OF(FL_L2_EXTRATREES) },
    { "hidden", OF(FL_L2_MLP) }, { "dropout", OF(FL_L2_MLP) }, { "rate", OF(FL_L2_MLP) }, { "batch", OF(FL_L2_MLP) }, { "epochs", OF(FL_L2_MLP) },
    { "patience", OF(FL_L2_MLP) }, { "seeds", OF(FL_L2_MLP) },
    { "per_label", OF(FL_L2_BLEND) }, { "rounds", OF(FL_L2_GREEDY) }, { "decode", OF(FL_L2_GREEDY) },
    { "seed", OF(FL_L2_EXTRATREES) | OF(FL_L2_MLP) },
};

bool fl_l2_conf_serves(int kind, const char *option)
{
    for (size_t i = 0; i < sizeof conf_serves / sizeof *conf_serves; i++)
        if (strcmp(conf_serves[i].name, option) == 0)
            return conf_serves[i].kinds >> kind & 1;
    return true;
}

static json_t *conf_choice(const char *choices, int i)
{
    while (i-- > 0)
        choices += strcspn(choices, "|") + 1;
    return json_stringn(choices, strcspn(choices, "|"));
}

json_t *fl_l2_conf_json(const struct fl_l2_conf *c)
{
    json_t *all = json_object();
    for (const struct fl_opt *o = fl_l2_conf_opts; o->name != NULL; o++) {
        const void *field = (const char *)c + o->off;
        json_t *v = NULL;
        if (!fl_l2_conf_serves(c->kind, o->name))
            continue;
        if (o->type == FL_OPT_CHOICE)
            v = conf_choice(o->choices, *(const int *)field);
        else if (o->type == FL_OPT_BOOL)
            v = json_boolean(*(const bool *)field);
        else if (o->type == FL_OPT_INT)
            v = json_integer(*(const int64_t *)field);
        else if (o->type == FL_OPT_FLOAT)
            v = json_real(*(const double *)field);
        else if (*(char *const *)field != NULL)
            v = json_string(*(char *const *)field);
        if (v != NULL)
            json_object_set_new(all, o->name, v);
    }
    return all;
}

int fl_l2_conf_check(const struct fl_l2_conf *c, uint32_t n, char *const *names, struct fl_err *err)
{
    const char *kind = fl_l2_kind_names[c->kind];
    bool one = c->sees == FL_L2_SEES_MODEL;
    if (c->sees != FL_L2_SEES_AUTO && !fl_l2_kind_sees(c->kind, c->sees - FL_L2_SEES_ALL))
        return fl_err_set(err, FL_E_CONFIG, "features: %s can't see \"%s\" only", kind, fl_l2_feature_names[c->sees - FL_L2_SEES_ALL]);
    if (one != (c->model != NULL))
        return fl_err_set(err, FL_E_CONFIG, one ? "features: model wants model: NAME" : "model: goes with features: model");
    if (c->transform != FL_L2_PROB && !fl_l2_conf_serves(c->kind, "transform"))
        return fl_err_set(err, FL_E_CONFIG, "transform: %s works on probabilities", kind);
    uint32_t i = 0;
    while (one && i < n && strcmp(names[i], c->model) != 0)
        i++;
    if (one && n > 0 && i == n)
        return fl_err_set(err, FL_E_CONFIG, "model: %.60s is none of the %u models (%.60s%s)", c->model, n, names[0], n > 1 ? ", ..." : "");
    return FL_OK;
}
