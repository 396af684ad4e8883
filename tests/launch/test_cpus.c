/* Threads that are settled, and processors of one's own. */
#include <string.h>

#include "launch/config.h"
#include "launch/cpus.h"
#include "tests/lib/check.h"

/* A process line: how many, what was asked for (0: auto), whether the stage can use threads; what comes of it. */
struct cpus_entry { uint32_t instances, asked; bool uses; uint32_t want; };
struct cpus_case { const char *name; uint32_t cpus; struct cpus_entry e[4]; };

static const struct cpus_case cpus_cases[] = {
    { "one process has all", 8, { { 1, 0, false, 1 }, { 1, 0, true, 8 } } },
    { "shared evenly", 8, { { 3, 0, true, 2 } } },
    { "over all stages", 8, { { 1, 0, true, 2 }, { 2, 0, true, 2 }, { 1, 0, true, 2 }, { 5, 0, false, 1 } } },
    { "more processes than processors", 2, { { 5, 0, true, 1 } } },
    { "what was given is taken off", 8, { { 2, 2, true, 2 }, { 2, 0, true, 2 } } },
    { "all is given away", 4, { { 2, 4, true, 4 }, { 1, 0, true, 1 } } },
    { "given to one that can't", 8, { { 1, 6, false, 6 }, { 1, 0, true, 8 } } },
    { "one processor", 1, { { 1, 0, true, 1 }, { 1, 0, false, 1 } } },
};

FL_TEST(processors_are_shared_evenly)
{
    for (size_t i = 0; i < sizeof cpus_cases / sizeof cpus_cases[0]; i++) {
        const struct cpus_case *c = &cpus_cases[i];
        struct fl_entry e[4];
        memset(e, 0, sizeof e);
        struct fl_config config = { .entries = e };
        for (; config.nentries < 4 && c->e[config.nentries].instances > 0; config.nentries++) {
            e[config.nentries].instances = c->e[config.nentries].instances;
            e[config.nentries].threads = c->e[config.nentries].asked;
            e[config.nentries].any_threads = c->e[config.nentries].asked == 0;
            e[config.nentries].describe = json_pack("{s:b}", "threads", (int)c->e[config.nentries].uses);
        }
        fl_threads_settle(&config, c->cpus);
        for (uint32_t k = 0; k < config.nentries; k++) {
            if (e[k].threads != c->e[k].want)
                fl_fail_at(__FILE__, __LINE__, "%s: entry %u has %u threads, want %u", c->name, k, e[k].threads, c->e[k].want);
            json_decref(e[k].describe);
        }
    }
}

static struct fl_graph *cpus_graph(const struct cpus_entry *e, uint32_t n, struct fl_stage_node *nodes)
{
    static struct fl_graph g;
    g = (struct fl_graph){ .nstages = n, .stages = nodes };
    memset(nodes, 0, n * sizeof *nodes);
    for (uint32_t i = 0; i < n; i++) {
        nodes[i].instances = e[i].instances;
        nodes[i].threads = e[i].want;
        nodes[i].describe = json_pack("{s:b}", "threads", (int)e[i].uses);
    }
    return &g;
}

FL_TEST(processes_with_threads_have_processors_of_their_own)
{
    static const struct cpus_entry e[] = { { 1, 0, false, 1 }, { 2, 0, true, 2 }, { 4, 0, false, 1 }, { 1, 0, true, 3 } };
    static const int want[][3] = { { 1, 5, -1 }, { 9, 10, -1 }, { 100, 101, 1000 } };       /* net.0, net.1, other.0 */
    static struct fl_stage_node nodes[4];
    struct fl_graph *g = cpus_graph(e, 4, nodes);
    cpu_set_t have, own, all;
    CPU_ZERO(&have);
    CPU_ZERO(&all);
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++)
        for (int k = 0; k < 3; k++)
            if (want[i][k] >= 0)
                CPU_SET((unsigned)want[i][k], &have);
    CHECK(fl_cpus_cut(g, &have));
    for (uint32_t i = 0; i < 3; i++) {
        fl_cpus_own(g, &have, i < 2 ? 1 : 3, i < 2 ? i : 0, &own);
        CHECK_INT(CPU_COUNT(&own), i < 2 ? 2 : 3);
        for (int k = 0; k < 3; k++)
            CHECK(want[i][k] < 0 || CPU_ISSET((unsigned)want[i][k], &own));
        CPU_OR(&all, &all, &own);
    }
    CHECK(CPU_EQUAL(&all, &have));
    fl_cpus_own(g, &have, 2, 1, &own);
    CHECK_INT(CPU_COUNT(&own), 0);
    CPU_CLR(10, &have);                          /* one too few for all */
    CHECK(!fl_cpus_cut(g, &have));
    for (uint32_t i = 0; i < 4; i++)
        json_decref(nodes[i].describe);
}

FL_TEST(lone_threads_and_lone_processes_go_where_they_like)
{
    static const struct cpus_entry lone[] = { { 8, 0, true, 1 } }, one[] = { { 1, 0, true, 4 } }, others[] = { { 4, 0, false, 2 }, { 1, 0, true, 2 } };
    static struct fl_stage_node nodes[2];
    cpu_set_t have;
    CPU_ZERO(&have);
    for (unsigned i = 0; i < 64; i++)
        CPU_SET(i, &have);
    const struct { const struct cpus_entry *e; uint32_t n; } all[] = { { lone, 1 }, { one, 1 }, { others, 2 } };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        CHECK(!fl_cpus_cut(cpus_graph(all[i].e, all[i].n, nodes), &have));
        for (uint32_t k = 0; k < all[i].n; k++)
            json_decref(nodes[k].describe);
    }
    CHECK(fl_cpus() >= 1);
}

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = { CASE(processors_are_shared_evenly), CASE(processes_with_threads_have_processors_of_their_own),
                                            CASE(lone_threads_and_lone_processes_go_where_they_like), { 0 } };
    return fl_run(cases, argc, argv);
}
