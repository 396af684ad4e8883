/* Prints a programme: its steps, their passes, each job with what it costs. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "launch/mem.h"
#include "launch/programme.h"

struct plan_sum { uint64_t jobs, passes, done, weights, runs; };

static void plan_line(const char *indent, const char *name, const struct fl_cost *c, const char *more)
{
    char weights[32], own[32], slabs[32];
    printf("%s%-*s %10s %14" PRIu64 " %10s %10s %9u%s\n", indent, 34 - (int)strlen(indent), name, fl_plan_size(c->weights, weights), c->runs,
           fl_plan_size(c->own, own), fl_plan_size(c->slabs, slabs), c->processes, more);
}

static void plan_pass(const struct fl_step *s, const struct fl_pass *pass, struct plan_sum *sum)
{
    const struct fl_graph *g = s->g;
    bool *all = fl_need(g->nstages, sizeof *all), *one = fl_need(g->nstages, sizeof *one);
    struct fl_cost *jobs = fl_need(pass->nsinks, sizeof *jobs), whole;
    char state[80] = "";
    for (uint32_t i = 0; i < pass->nsinks; i++) {
        uint32_t sink = fl_programme_find(g, pass->sinks[i]);
        if (sink == UINT32_MAX)
            continue;
        fl_programme_needs(g, sink, one);
        jobs[i] = fl_programme_cost(g, one);
        for (uint32_t k = 0; k < g->nstages; k++)
            all[k] |= one[k];
    }
    whole = fl_programme_cost(g, all);
    if (pass->exit != FL_PASS_TODO)
        snprintf(state, sizeof state, "  done: %" PRIu64 " tiles, %" PRIu64 " rejected, %.1f s", pass->tiles, pass->rejected, pass->seconds);
    plan_line("  ", pass->name, &whole, state);
    for (uint32_t i = 0; i < pass->nsinks; i++)
        plan_line("    ", pass->sinks[i], &jobs[i], "");
    sum->jobs += pass->nsinks;
    sum->passes++;
    sum->done += pass->exit != FL_PASS_TODO;
    sum->weights += whole.weights;
    sum->runs += whole.runs;
    free(all);
    free(one);
    free(jobs);
}

static void plan_total(const char *name, const struct plan_sum *sum)
{
    char weights[32];
    printf("%s: %" PRIu64 " jobs in %" PRIu64 " passes, %" PRIu64 " of them done; %s of weights, %" PRIu64 " rows through networks\n", name, sum->jobs, sum->passes,
           sum->done, fl_plan_size(sum->weights, weights), sum->runs);
}

int fl_programme_print(const struct fl_programme *p)
{
    struct plan_sum all = { 0 };
    uint32_t later = 0;
    char memory[32];
    printf("%s: %u steps, memory %s\n\n  %-32s %10s %14s %10s %10s %9s\n", p->name, p->nsteps, fl_plan_size(p->memory, memory), "pass, its jobs", "weights",
           "rows", "own", "a batch", "processes");
    for (uint32_t i = 0; i < p->nsteps; i++) {
        const struct fl_step *s = &p->steps[i];
        struct plan_sum sum = { 0 };
        if (s->g == NULL) {
            printf("\n%s: reads %s, which earlier steps write: cut into passes when it is there\n", s->name, s->later != NULL ? s->later : "what");
            later++;
            continue;
        }
        printf("\n");
        for (uint32_t k = 0; k < s->npasses; k++)
            plan_pass(s, &s->passes[k], &sum);
        plan_total(s->name, &sum);
        all.jobs += sum.jobs;
        all.passes += sum.passes;
        all.done += sum.done;
        all.weights += sum.weights;
        all.runs += sum.runs;
    }
    printf("\n");
    plan_total("total", &all);
    if (later > 0)
        printf("and %u steps that are cut when what they read is there\n", later);
    return ferror(stdout) ? FL_E_IO : FL_OK;
}
