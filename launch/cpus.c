/* How many processors there are, and who gets which. */
#include "launch/cpus.h"

#include <stdio.h>

#include "launch/config.h"

/* cgroup 2: "QUOTA PERIOD" in microseconds, or "max PERIOD". UINT32_MAX: no limit. */
static uint32_t cpus_quota(void)
{
    unsigned long long quota = 0, period = 0;
    FILE *f = fopen("/sys/fs/cgroup/cpu.max", "re");
    int got = f != NULL ? fscanf(f, "%llu %llu", &quota, &period) : 0;
    if (f != NULL)
        fclose(f);
    return got == 2 && period > 0 && quota / period < UINT32_MAX ? (uint32_t)((quota + period - 1) / period) : UINT32_MAX;
}

uint32_t fl_cpus(void)
{
    cpu_set_t set;
    uint32_t n = sched_getaffinity(0, sizeof set, &set) == 0 ? (uint32_t)CPU_COUNT(&set) : 1, most = cpus_quota();
    n = n < most ? n : most;
    return n > 0 ? n : 1;
}

static bool cpus_uses(const json_t *describe) { return json_is_true(json_object_get(describe, "threads")); }

bool fl_threads_used(const struct fl_stage_node *s) { return cpus_uses(s->describe); }

void fl_threads_settle(struct fl_config *c, uint32_t cpus)
{
    uint64_t taken = 0, processes = 0;
    for (uint32_t i = 0; i < c->nentries; i++) {
        const struct fl_entry *e = &c->entries[i];
        if (cpus_uses(e->describe) && !e->any_threads)
            taken += (uint64_t)e->instances * e->threads;
        else if (cpus_uses(e->describe))
            processes += e->instances;
    }
    uint64_t share = processes > 0 && cpus > taken ? (cpus - taken) / processes : 0;
    for (uint32_t i = 0; i < c->nentries; i++)
        if (c->entries[i].any_threads)
            c->entries[i].threads = cpus_uses(c->entries[i].describe) && share > 1 ? (uint32_t)share : 1;
}

void fl_threads_keep(struct fl_graph *g, const json_t *was)
{
    for (uint32_t i = 0; i < g->nstages; i++) {
        struct fl_stage_node *s = &g->stages[i];
        const json_t *threads = json_object_get(json_object_get(json_object_get(was, "stages"), s->name), "threads");
        json_t *is = json_object_get(json_object_get(g->resolved, "stages"), s->name);
        if (!s->any_threads || !json_is_integer(threads) || json_integer_value(threads) < 1 || json_integer_value(threads) > UINT16_MAX)
            continue;
        s->threads = (uint32_t)json_integer_value(threads);
        json_object_set_new(is, "threads", json_integer(s->threads));
    }
}

bool fl_cpus_cut(const struct fl_graph *g, const cpu_set_t *have)
{
    uint64_t threads = 0, processes = 0;
    for (uint32_t i = 0; i < g->nstages; i++)
        if (fl_threads_used(&g->stages[i])) {
            processes += g->stages[i].instances;
            threads += (uint64_t)g->stages[i].instances * g->stages[i].threads;
        }
    return processes > 1 && threads > processes && threads <= (uint64_t)CPU_COUNT(have);
}

void fl_cpus_own(const struct fl_graph *g, const cpu_set_t *have, uint32_t stage, uint32_t instance, cpu_set_t *own)
{
    uint32_t first = 0, at = 0, n = g->stages[stage].threads;
    CPU_ZERO(own);
    if (!fl_threads_used(&g->stages[stage]))
        return;
    for (uint32_t i = 0; i < stage; i++)
        first += fl_threads_used(&g->stages[i]) ? g->stages[i].instances * g->stages[i].threads : 0;
    first += instance * n;
    for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, have)) {
            if (at >= first && at < first + n)
                CPU_SET(cpu, own);
            at++;
        }
}
