/* Cuts a step into passes: jobs in the order of the file, as many as memory has room for. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "launch/mem.h"
#include "launch/programme.h"

#define CUT_BATCHES 4u        /* in flight, for which a pass keeps room: with fewer its stages wait for each other */

uint32_t fl_programme_find(const struct fl_graph *g, const char *name)
{
    uint32_t i = 0;
    while (i < g->nstages && strcmp(g->stages[i].name, name) != 0)
        i++;
    return i < g->nstages ? i : UINT32_MAX;
}

void fl_programme_needs(const struct fl_graph *g, uint32_t sink, bool *marks)
{
    memset(marks, 0, g->nstages);
    marks[sink] = true;
    for (uint32_t i = sink + 1; i-- > 0;)            /* topological: what is read comes before */
        for (uint32_t k = 0; marks[i] && k < g->stages[i].nfrom; k++)
            marks[g->stages[i].from[k]] = true;
}

/* Files of options of type paths: those are a stage's weights. */
static uint64_t cut_weights(const struct fl_stage_node *s)
{
    uint64_t sum = 0;
    size_t i, k;
    json_t *o, *file;
    struct stat st;
    json_array_foreach(json_object_get(s->describe, "options"), i, o) {
        const json_t *given = json_object_get(s->options, json_string_value(json_object_get(o, "name")));
        if (strcmp(json_string_value(json_object_get(o, "type")), "paths") != 0)
            continue;
        json_array_foreach(given, k, file)
            sum += stat(json_string_value(file), &st) == 0 ? (uint64_t)st.st_size : 0;
    }
    return sum;
}

/* Rows that a stage puts through networks: one for each view and snapshot of a tile. */
static uint64_t cut_runs(const struct fl_graph *g, const struct fl_stage_node *s)
{
    uint64_t runs = 0;
    for (uint32_t t = 0; t < s->ntensors; t++) {
        const struct fl_flow_tensor *x = &s->tensors[t];
        uint64_t views = 0, snapshots = 0;
        for (uint32_t d = 0; &g->stages[x->maker] == s && d < x->ndim; d++) {
            views = x->letter[d] == 'V' ? x->shape[d] : views;
            snapshots = x->letter[d] == 'K' ? x->shape[d] : snapshots;
        }
        runs += g->tiles * views * snapshots;
    }
    return runs;
}

struct fl_cost fl_programme_cost(const struct fl_graph *g, const bool *marks)
{
    struct fl_cost c = { 0 };
    for (uint32_t i = 0; i < g->nstages; i++) {
        const struct fl_stage_node *s = &g->stages[i];
        if (!marks[i])
            continue;
        c.own += s->memory * s->instances;
        c.slabs += s->slab;
        c.processes += s->instances;
        c.weights += cut_weights(s);
        c.runs += cut_runs(g, s);
    }
    return c;
}

static uint64_t cut_memory(const struct fl_graph *g, const bool *marks)
{
    uint64_t own = 0, slabs = 0;
    for (uint32_t i = 0; i < g->nstages; i++)
        if (marks[i]) {
            own += g->stages[i].memory * g->stages[i].instances;
            slabs += g->stages[i].slab;
        }
    return own + slabs * (g->batches > 0 && g->batches < CUT_BATCHES ? g->batches : CUT_BATCHES);
}

static struct fl_pass *cut_begin(struct fl_step *s)
{
    s->passes = fl_need_grow(s->passes, s->npasses + 1, sizeof *s->passes);
    s->passes[s->npasses] = (struct fl_pass){ .exit = FL_PASS_TODO };
    return &s->passes[s->npasses++];
}

void fl_programme_cut(struct fl_step *s, uint64_t memory)
{
    const struct fl_graph *g = s->g;
    bool *in = fl_need(g->nstages, sizeof *in), *with = fl_need(g->nstages, sizeof *with);
    struct fl_pass *pass = NULL;
    for (uint32_t i = 0; i < g->nstages; i++) {
        if (!g->stages[i].sink)
            continue;
        fl_programme_needs(g, i, with);
        for (uint32_t k = 0; pass != NULL && k < g->nstages; k++)
            with[k] |= in[k];
        if (pass == NULL || pass->nsinks == FL_PASS_SINKS || cut_memory(g, with) > memory) {
            pass = cut_begin(s);
            fl_programme_needs(g, i, with);
        }
        memcpy(in, with, g->nstages * sizeof *in);
        pass->sinks = fl_need_grow(pass->sinks, pass->nsinks + 1, sizeof *pass->sinks);
        pass->sinks[pass->nsinks++] = fl_need_copy(g->stages[i].name);
    }
    for (uint32_t i = 0; i < s->npasses; i++)
        s->passes[i].name = s->npasses == 1 ? fl_need_copy(s->name) : fl_need_text("%s.%u", s->name, i + 1);
    free(in);
    free(with);
}
