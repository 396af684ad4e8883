/* Which stretches of the graph go to other hosts, and what travels there and back. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launch/config.h"
#include "launch/hosts.h"
#include "launch/describe.h"
#include "launch/mem.h"
#include "launch/plan.h"

#define PLACE_NONE UINT32_MAX

struct place {
    const struct fl_config *c;
    const uint32_t *order;
    struct fl_graph *g;
};

static const struct fl_entry *place_entry(const struct place *p, uint32_t stage)
{
    return &p->c->entries[p->order[stage]];
}

/* ---- stretches ---- */

static bool place_reads(const struct fl_graph *g, uint32_t stage, uint32_t up)
{
    for (uint32_t k = 0; k < g->stages[stage].nfrom; k++)
        if (g->stages[stage].from[k] == up)
            return true;
    return false;
}

/* Neighbours of one group are of one segment: the lowest number wins until nothing changes. Numbers are indices of stages here. */
static void place_join(struct fl_graph *g, uint32_t *of)
{
    for (bool more = true; more;) {
        more = false;
        for (uint32_t i = 0; i < g->nstages; i++)
            for (uint32_t k = 0; k < g->stages[i].nfrom; k++) {
                uint32_t up = g->stages[i].from[k];
                if (g->stages[i].place == 0 || g->stages[i].place != g->stages[up].place || of[i] == of[up])
                    continue;
                of[i] = of[up] = of[i] < of[up] ? of[i] : of[up];
                more = true;
            }
    }
}

static bool place_ends(struct place *p, struct fl_segment *s, const uint32_t *of, uint32_t root)
{
    struct fl_graph *g = p->g;
    bool ok = true;
    s->entry = s->exit = PLACE_NONE;
    for (uint32_t i = 0; i < g->nstages; i++) {
        if (of[i] != root)
            continue;
        const struct fl_entry *e = place_entry(p, i);
        if (g->stages[i].source || g->stages[i].sink) {
            fl_complain(p->c->complaints, e->place_mark, "%s: a %s stays on the host that flowrun is started on", e->name, g->stages[i].source ? "source" : "sink");
            ok = false;
        }
        for (uint32_t k = 0; k < g->stages[i].nfrom; k++) {
            uint32_t up = g->stages[i].from[k];
            if (of[up] == root || up == s->entry)
                continue;
            if (s->entry != PLACE_NONE) {
                fl_complain(p->c->complaints, e->place_mark, "%s: what is placed together reads %s and %s of other places, want one: place one of them there too, or this one here",
                            e->name, g->stages[s->entry].name, g->stages[up].name);
                ok = false;
            }
            s->entry = up;
        }
        bool read = false;
        for (uint32_t r = 0; r < g->nstages; r++)
            read = read || (of[r] != root && place_reads(g, r, i));
        if (read && s->exit != PLACE_NONE) {
            fl_complain(p->c->complaints, e->place_mark, "%s: of what is placed together %s and %s are read by stages of other places, want one: place their readers there too",
                        e->name, g->stages[s->exit].name, e->name);
            ok = false;
        }
        if (read)
            s->exit = i;
    }
    return ok && s->entry != PLACE_NONE && s->exit != PLACE_NONE;
}

/* ---- tensors ---- */

static bool place_wants(const struct fl_stage_node *n, const char *tensor)
{
    size_t i, k;
    json_t *port, *t;
    json_array_foreach(json_object_get(n->describe, "ports"), i, port) {
        if (strcmp(json_string_value(json_object_get(port, "dir")), "in") != 0)
            continue;
        json_array_foreach(json_object_get(port, "tensors"), k, t) {
            const char *name = json_string_value(json_object_get(t, "name"));
            if (strcmp(name, tensor) == 0 || strcmp(name, "*") == 0)
                return true;
        }
    }
    return false;
}

/* What none of the placed stages looks at needn't travel: it goes on from here. Ids and marks always do. */
static void place_tensors(struct fl_graph *g, struct fl_segment *s, uint32_t number)
{
    static const char *const always[] = { "id", "status", "reason" };
    const struct fl_stage_node *in = &g->stages[s->entry], *out = &g->stages[s->exit];
    s->send = fl_need_json(json_array());
    s->give = fl_need_json(json_array());
    s->pass = fl_need_json(json_array());
    for (size_t i = 0; i < sizeof always / sizeof *always; i++)
        fl_need_push(s->send, fl_need_str(always[i]));
    for (uint32_t t = 0; t < in->ntensors; t++) {
        bool wanted = false;
        for (uint32_t i = 0; i < g->nstages; i++)
            wanted = wanted || (g->stages[i].segment == number && place_wants(&g->stages[i], in->tensors[t].name));
        if (wanted && strcmp(in->tensors[t].name, "id") != 0)
            fl_need_push(s->send, fl_need_str(in->tensors[t].name));
    }
    for (uint32_t t = 0; t < out->ntensors; t++)
        fl_need_push(g->stages[out->tensors[t].maker].segment == number ? s->give : s->pass, fl_need_str(out->tensors[t].name));
}

/* ---- what the link carries ---- */

uint64_t fl_segment_sent(const struct fl_graph *g, const struct fl_segment *s)
{
    const struct fl_stage_node *n = &g->stages[s->entry];
    uint64_t sum = 0;
    for (uint32_t t = 0; t < n->ntensors; t++)
        if (fl_listed(s->send, n->tensors[t].name))
            sum += fl_plan_bytes(&n->tensors[t]);
    return sum;
}

uint64_t fl_segment_rate(const struct fl_graph *g, const struct fl_segment *s)
{
    const struct fl_group *group = &g->hosts->groups[s->group];
    uint64_t sum = 0;
    for (uint32_t h = 0; h < group->n; h++)
        sum += group->hosts[h].rate;
    return sum;
}

/* Read by nobody but the stretch, or by one stage that would be placed with it. */
static bool place_alone(const struct fl_graph *g, uint32_t stage, uint32_t number)
{
    uint32_t readers = 0, inside = 0;
    for (uint32_t i = 0; i < g->nstages; i++)
        if (place_reads(g, i, stage)) {
            readers++;
            inside += g->stages[i].segment == number;
        }
    return inside > 0 ? inside == readers : readers == 1;
}

uint32_t fl_segment_better(const struct fl_graph *g, uint32_t number, uint64_t *least)
{
    const struct fl_segment *s = &g->segments[number - 1];
    uint32_t at = s->entry, best = PLACE_NONE;
    *least = fl_segment_sent(g, s);
    while (!g->stages[at].source && g->stages[at].nfrom == 1 && g->stages[at].place == 0 && !g->stages[at].stays && place_alone(g, at, number)) {
        uint32_t up = g->stages[at].from[0];
        uint64_t sum = 0;
        for (uint32_t t = 0; t < g->stages[up].ntensors; t++)
            sum += fl_plan_bytes(&g->stages[up].tensors[t]);
        if (sum < *least && g->stages[up].place == 0) {
            *least = sum;
            best = at;
        }
        at = up;
    }
    return best;
}

/* Where the hosts take more tiles than the link carries, what makes less travel is placed there, too. was: by exit, what travelled before. */
static bool place_for_link(struct fl_graph *g, uint64_t *was)
{
    bool any = false;
    for (uint32_t k = 0; k < g->nsegments; k++) {
        const struct fl_segment *s = &g->segments[k];
        uint64_t least, sent = fl_segment_sent(g, s);
        uint32_t best = PLACE_NONE;
        if (g->hosts->link > 0 && (double)sent / g->B * (double)fl_segment_rate(g, s) > (double)g->hosts->link)
            best = fl_segment_better(g, k + 1, &least);
        for (uint32_t at = s->entry; best != PLACE_NONE; at = g->stages[at].from[0]) {
            g->stages[at].place = s->group + 1;
            was[s->exit] = sent;
            any = true;
            if (at == best)
                break;
        }
    }
    return any;
}

static void place_segments(const struct fl_config *c, const uint32_t *order, struct fl_graph *g, const uint64_t *was)
{
    struct place p = { .c = c, .order = order, .g = g };
    uint32_t *of = fl_need(g->nstages, sizeof *of);
    for (uint32_t i = 0; i < g->nstages; i++)
        of[i] = i;
    place_join(g, of);
    for (uint32_t i = 0; i < g->nstages; i++) {
        struct fl_segment s = { .group = g->stages[i].place - 1 };
        if (g->stages[i].place == 0 || of[i] != i || !place_ends(&p, &s, of, i))
            continue;
        g->segments = fl_need_grow(g->segments, g->nsegments + (size_t)1, sizeof *g->segments);
        uint32_t number = ++g->nsegments;
        for (uint32_t k = 0; k < g->nstages; k++)
            if (of[k] == i)
                g->stages[k].segment = number;
        s.was = was[s.exit];
        place_tensors(g, &s, number);
        g->segments[number - 1] = s;
    }
    free(of);
}

void fl_place(const struct fl_config *c, const uint32_t *order, struct fl_graph *g)
{
    uint64_t *was = fl_need(g->nstages, sizeof *was);
    place_segments(c, order, g, was);
    if (c->complaints->n == 0 && g->nsegments > 0 && place_for_link(g, was)) {
        for (uint32_t k = 0; k < g->nsegments; k++)
            fl_segment_done(&g->segments[k]);
        g->nsegments = 0;
        for (uint32_t i = 0; i < g->nstages; i++)
            g->stages[i].segment = 0;
        place_segments(c, order, g, was);
    }
    free(was);
}

void fl_segment_done(struct fl_segment *s)
{
    json_decref(s->send);
    json_decref(s->give);
    json_decref(s->pass);
}
