/* What runs on which host, what each crossing edge carries, and what it would carry were it cut elsewhere. */
#include <stdio.h>
#include <string.h>

#include "launch/describe.h"
#include "launch/hosts.h"
#include "launch/plan.h"

/* Of the tensors that leave `stage`, those on the list. */
static uint64_t places_bytes(const struct fl_graph *g, uint32_t stage, const json_t *list)
{
    uint64_t sum = 0;
    for (uint32_t t = 0; t < g->stages[stage].ntensors; t++)
        if (fl_listed(list, g->stages[stage].tensors[t].name))
            sum += fl_plan_bytes(&g->stages[stage].tensors[t]);
    return sum;
}

static void places_stages(const struct fl_graph *g, uint32_t segment)
{
    const char *sep = "";
    for (uint32_t i = 0; i < g->nstages; i++)
        if (g->stages[i].segment == segment) {
            printf("%s%s", sep, g->stages[i].name);
            sep = ", ";
        }
    printf("\n");
}

/* Pixels take ten times the bytes of a file, and a path far less: cut before the decoder and files are read over there. */
static void places_elsewhere(const struct fl_graph *g, const struct fl_segment *s, uint32_t segment, uint64_t now)
{
    char names[512] = "", size[32], is[32];
    uint64_t least;
    uint32_t best = fl_segment_better(g, segment, &least);
    if (best == UINT32_MAX) {
        printf("    nothing before %s that could be placed there too would make less travel\n", g->stages[s->entry].name);
        return;
    }
    for (uint32_t at = s->entry;; at = g->stages[at].from[0]) {
        size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s%s", used > 0 ? ", " : "", g->stages[at].name);
        if (at == best)
            break;
    }
    printf("    were %s placed there too, at most %s a batch would travel instead of %s: worth it when the link is the limit; files named by a path are then read there\n",
           names, fl_plan_size(least, size), fl_plan_size(now, is));
}

/* What the link has to do with where the graph is cut. */
static void places_link(const struct fl_graph *g, const struct fl_segment *s, uint64_t sent)
{
    char one[32], two[32];
    uint64_t link = g->hosts->link, rate = fl_segment_rate(g, s), before = s->was > 0 ? s->was : sent;
    if (link == 0)
        return;
    if (rate == 0) {
        printf("    the link carries %s/s, so that at most %.0f tiles/s go there; say each host's rate, and what makes less travel is placed there when that is the limit\n",
               fl_plan_size(link, one), (double)link * g->B / (double)sent);
        return;
    }
    printf("    the hosts take %llu tiles/s, for which %s/s travel%s; the link carries %s/s: ", (unsigned long long)rate, fl_plan_size(before * rate / g->B, one),
           s->was > 0 ? " when cut as the file says" : "", fl_plan_size(link, two));
    if (s->was > 0)
        printf("it is the limit, so what reads %s is placed there too and %s/s travel; files named by a path are read there\n", g->stages[s->entry].name, fl_plan_size(sent * rate / g->B, one));
    else
        printf("%s\n", before * rate / g->B > link ? "it is the limit" : "it isn't the limit, nothing more is placed there");
}

void fl_plan_places(const struct fl_graph *g)
{
    char there[32], back[32], slab[32];
    if (g->nsegments == 0)
        return;
    printf("\nhosts, by %s; %s\n  %-28s ", g->hosts->launcher->name, g->hosts->insecure ? "NOT ENCRYPTED" : "encrypted (CURVE)", "here");
    places_stages(g, 0);
    for (uint32_t k = 0; k < g->nsegments; k++) {
        const struct fl_segment *s = &g->segments[k];
        const struct fl_group *group = &g->hosts->groups[s->group];
        uint64_t sent = fl_segment_sent(g, s);
        printf("  %-28s ", group->name);
        places_stages(g, k + 1);
        for (uint32_t h = 0; h < group->n; h++) {
            printf("    %-26s", group->hosts[h].name);
            for (uint32_t i = 0; i < g->nstages; i++)
                if (g->stages[i].segment == k + 1)
                    printf(" %s x%u", g->stages[i].name, fl_hosts_instances(g, &g->stages[i], h));
            printf("; %u batches at once, %s of slabs to arrive in\n", s->window[h], fl_plan_size(s->in_slab * s->window[h], slab));
        }
        printf("    %s -> %s: %s a batch there, %s back, the rest goes on from here by reference\n", g->stages[s->entry].name, g->stages[s->exit].name,
               fl_plan_size(sent, there), fl_plan_size(places_bytes(g, s->exit, s->give), back));
        places_link(g, s, sent);
        if (s->was == 0)
            places_elsewhere(g, s, k + 1, sent);
    }
}
