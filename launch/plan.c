/* Prints a checked graph: what travels on each edge, what the pools take, what bounds the memory. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "launch/cpus.h"
#include "launch/hosts.h"
#include "launch/plan.h"

const char *fl_plan_size(uint64_t bytes, char text[32])
{
    static const char *const units[] = { "kB", "MB", "GB", "TB", "PB" };
    double v = (double)bytes;
    int u = -1;
    while (v >= 999.95 && u < 4) {
        v /= 1000;
        u++;
    }
    if (u < 0)
        snprintf(text, 32, "%" PRIu64 " B", bytes);
    else
        snprintf(text, 32, "%.1f %s", v, units[u]);
    return text;
}

static void plan_dtypes(const struct fl_flow_tensor *t, char text[64])
{
    text[0] = '\0';
    for (int d = 1; d < FL_DTYPE_COUNT; d++)
        if (t->dtypes & 1u << d) {
            size_t used = strlen(text);
            snprintf(text + used, 64 - used, "%s%s", used ? "|" : "", fl_dtype_name(d));
        }
}

/* "B=64 C=4 256": letters with their values. */
static void plan_shape(const struct fl_flow_tensor *t, char text[160])
{
    text[0] = '\0';
    for (uint32_t d = 0; d < t->ndim; d++) {
        size_t used = strlen(text);
        if (t->letter[d] != '\0')
            snprintf(text + used, 160 - used, "%s%c=%u", d ? " " : "", t->letter[d], t->shape[d]);
        else
            snprintf(text + used, 160 - used, "%s%u", d ? " " : "", t->shape[d]);
    }
}

uint64_t fl_plan_bytes(const struct fl_flow_tensor *t)
{
    uint64_t most = 0, bytes;
    for (int d = 1; d < FL_DTYPE_COUNT; d++)
        if ((t->dtypes & 1u << d) && fl_shape_bytes(d, t->shape, t->ndim, &bytes) && bytes > most)
            most = bytes;
    return most;
}

static void plan_edge(const struct fl_graph *g, const struct fl_stage_node *from, const struct fl_stage_node *to)
{
    char edge[2 * FL_NAME_MAX + 8], dtypes[64], shape[160], size[32];
    snprintf(edge, sizeof edge, "%s -> %s", from->name, to->name);
    if (from->ntensors == 0)
        printf("  %-28s (marks only)\n", edge);
    for (uint32_t i = 0; i < from->ntensors; i++) {
        const struct fl_flow_tensor *t = &from->tensors[i];
        const struct fl_stage_node *maker = &g->stages[t->maker];
        plan_dtypes(t, dtypes);
        plan_shape(t, shape);
        printf("  %-28s %-16s %-9s %-30s %10s%s%s%s\n", i == 0 ? edge : "", t->name, dtypes, shape, fl_plan_size(fl_plan_bytes(t), size),
               maker != from ? "  by reference, of " : "", maker != from ? maker->name : "", t->optional ? "  optional" : "");
    }
}

static void plan_pools(const struct fl_graph *g)
{
    char slab[32], pool[32], self[32];
    uint64_t all = 0, own = 0;
    uint32_t processes = 0;
    printf("\n  %-28s %-16s %9s %7s %12s %8s %12s %12s\n", "stage", "executable", "processes", "threads", "slab", "slabs", "pool", "own");
    for (uint32_t i = 0; i < g->nstages; i++) {
        const struct fl_stage_node *s = &g->stages[i];
        if (s->segment > 0)
            continue;
        processes += s->instances;
        all += s->slab;
        own += s->memory * s->instances;
        snprintf(self, sizeof self, "-");
        if (s->memory > 0)
            fl_plan_size(s->memory * s->instances, self);
        if (s->sink)
            printf("  %-28s %-16s %9u %7u %12s %8s %12s %12s\n", s->name, s->stage, s->instances, s->threads, "-", "-", "-", self);
        else
            printf("  %-28s %-16s %9u %7u %12s %8u %12s %12s\n", s->name, s->stage, s->instances, s->threads, fl_plan_size(s->slab, slab), g->window,
                   fl_plan_size(s->slab * g->window, pool), self);
    }
    for (uint32_t k = 0; k < g->nsegments; k++) {
        const struct fl_segment *s = &g->segments[k];
        uint32_t n = g->hosts->groups[s->group].n;
        processes += n;
        all += s->out_slab;
        printf("  %-28s %-16s %9u %7u %12s %8u %12s %12s\n", g->stages[s->exit].name, "remote", n, 1, fl_plan_size(s->out_slab, slab), g->window, fl_plan_size(s->out_slab * g->window, pool), "-");
    }
    printf("  %-28s %-16s %9u %7s %12s %8s %12s %12s\n", "total", "", processes, "", fl_plan_size(all, slab), "", fl_plan_size(all * g->window, pool), fl_plan_size(own, self));
    printf("\nmemory: %u batches in flight x %s = %s in slabs", g->window, fl_plan_size(all, slab), fl_plan_size(all * g->window, pool));
    if (own > 0)
        printf(" and %s of stages' own", fl_plan_size(own, self));
    printf(", the bound is %s\n", fl_plan_size(g->memory, pool));
    cpu_set_t have;
    if (sched_getaffinity(0, sizeof have, &have) == 0)
        printf("processors: %u%s\n", fl_cpus(), fl_cpus_cut(g, &have) ? ", each process with threads on its own" : "");
}

static void plan_head(const struct fl_graph *g)
{
    printf("%s: %u stages, %u tiles a batch, %u labels, seed %" PRIu64, g->name, g->nstages, g->B, g->nlabels, g->seed);
    if (g->tiles != 0)
        printf(", %" PRIu64 " tiles", g->tiles);
    if (g->batches != 0)
        printf(" in %" PRIu64 " batches", g->batches);
    printf("\n\n  %-28s %-16s %-9s %-30s %10s\n", "edge", "tensor", "type", "shape", "a batch");
}

/* Names are letters, digits, '_' and '-' alone: nothing to escape in a quoted string. */
static void plan_dot(const struct fl_graph *g)
{
    char dtypes[64], shape[160];
    printf("digraph \"%s\" {\n  rankdir=LR;\n  node [shape=box];\n", g->name);
    for (uint32_t i = 0; i < g->nstages; i++)
        printf("  \"%s\" [label=\"%s\\n%s x%u\"];\n", g->stages[i].name, g->stages[i].name, g->stages[i].stage, g->stages[i].instances);
    for (uint32_t i = 0; i < g->nstages; i++)
        for (uint32_t k = 0; k < g->stages[i].nfrom; k++) {
            const struct fl_stage_node *from = &g->stages[g->stages[i].from[k]];
            printf("  \"%s\" -> \"%s\" [label=\"", from->name, g->stages[i].name);
            for (uint32_t t = 0; t < from->ntensors; t++) {
                if (&g->stages[from->tensors[t].maker] != from)
                    continue;      /* drawn on the edge of its maker */
                plan_dtypes(&from->tensors[t], dtypes);
                plan_shape(&from->tensors[t], shape);
                printf("%s %s [%s]\\l", from->tensors[t].name, dtypes, shape);
            }
            printf("\"];\n");
        }
    printf("}\n");
}

int fl_plan_print(const struct fl_graph *g, bool dot)
{
    if (dot) {
        plan_dot(g);
    } else {
        plan_head(g);
        for (uint32_t i = 0; i < g->nstages; i++)
            for (uint32_t k = 0; k < g->stages[i].nfrom; k++)
                plan_edge(g, &g->stages[g->stages[i].from[k]], &g->stages[i]);
        plan_pools(g);
        fl_plan_places(g);
    }
    return ferror(stdout) ? FL_E_IO : FL_OK;
}
