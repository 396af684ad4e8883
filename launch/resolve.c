/* The whole configuration as JSON, defaults filled in: what RUN/config.json keeps, and what a resumed run reads. */
#include <string.h>

#include "launch/config.h"
#include "launch/hosts.h"
#include "launch/mem.h"

static json_t *resolve_options(const struct fl_entry *e)
{
    size_t i;
    json_t *o, *all = fl_need_json(json_object());
    json_array_foreach(json_object_get(e->describe, "options"), i, o) {
        const char *name = json_string_value(json_object_get(o, "name"));
        json_t *given = json_object_get(e->given, name);
        json_t *value = given != NULL ? fl_need_json(json_deep_copy(given)) : fl_option_default(o);
        if (value != NULL)
            fl_need_put(all, name, value);
    }
    return all;
}

static json_t *resolve_stage(const struct fl_graph *g, const struct fl_stage_node *s, const struct fl_entry *e)
{
    json_t *j = fl_need_json(json_object()), *from = fl_need_json(json_array());
    fl_need_put(j, "stage", fl_need_str(s->stage));
    fl_need_put(j, "exe", fl_need_str(s->exe));
    for (uint32_t k = 0; k < s->nfrom; k++)
        fl_need_push(from, fl_need_str(g->stages[s->from[k]].name));
    if (s->source)
        json_decref(from);
    else
        fl_need_put(j, "from", from);
    fl_need_put(j, "instances", s->per_gpu ? fl_need_str("per_gpu") : json_integer(s->instances));
    if (e->place > 0)
        fl_need_put(j, "place", fl_need_str(g->hosts->groups[e->place - 1].name));
    else if (e->stays)
        fl_need_put(j, "place", fl_need_str("here"));
    fl_need_put(j, "threads", json_integer(s->threads));
    fl_need_put(j, "options", resolve_options(e));
    return j;
}

json_t *fl_resolve(const struct fl_config *c, const struct fl_graph *g)
{
    const struct fl_label_set labels = { .n = g->nlabels, .names = g->labels, .exclusive = g->exclusive, .rest_off = g->rest_off };
    json_t *j = fl_need_json(json_object()), *stages = fl_need_json(json_object()), *path = fl_need_json(json_array());
    fl_need_put(j, "file", fl_need_str(c->origin != NULL ? c->origin : c->file));
    fl_need_put(j, "name", fl_need_str(g->name));
    fl_need_put(j, "seed", json_integer((json_int_t)g->seed));
    fl_need_put(j, "memory", json_integer((json_int_t)g->memory));
    fl_need_put(j, "stall_timeout", json_real(g->stall_timeout));
    fl_need_put(j, "open_timeout", json_real(g->open_timeout));
    fl_need_put(j, "drain_timeout", json_real(g->drain_timeout));
    if (c->hosts_text != NULL)
        fl_need_put(j, "hosts", json_incref(c->hosts_text));
    if (c->cluster_text != NULL)
        fl_need_put(j, "cluster", json_incref(c->cluster_text));
    if (c->local)
        fl_need_put(j, "local", json_true());
    fl_need_put(j, "window", json_integer(g->window));
    fl_need_put(j, "batch", json_integer(g->B));
    fl_need_put(j, "labels", fl_labels_json(&labels));
    for (uint32_t i = 0; i < c->npath; i++)
        fl_need_push(path, fl_need_str(c->path[i]));
    fl_need_put(j, "stage_path", path);
    for (uint32_t i = 0; i < g->nstages; i++)
        for (uint32_t k = 0; k < c->nentries; k++)
            if (strcmp(c->entries[k].name, g->stages[i].name) == 0)
                fl_need_put(stages, g->stages[i].name, resolve_stage(g, &g->stages[i], &c->entries[k]));
    fl_need_put(j, "stages", stages);
    return j;
}
