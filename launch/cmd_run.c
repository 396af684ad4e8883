/* flowrun FILE, flowrun --resume RUN, flowrun check, flowrun plan: what starts with loading a graph. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "launch/cmd.h"
#include "launch/cpus.h"
#include "launch/graph.h"
#include "launch/mem.h"
#include "launch/run.h"

struct fl_graph *fl_cmd_load(const char *file, const struct fl_args *a)
{
    struct fl_graph *g = NULL;
    char *complaints = NULL;
    int rc = fl_graph_load(file, a->sets, a->nsets, &g, &complaints);
    if (complaints != NULL)
        fputs(complaints, stderr);
    else if (rc != FL_OK)
        fprintf(stderr, "%s: %s\n", file, fl_status_name(rc));
    free(complaints);
    return rc == FL_OK ? g : NULL;
}

static int run_resume(const struct fl_args *a)
{
    struct stat st;
    if (a->run_dir != NULL || a->start > 0) {
        fprintf(stderr, "flowrun: --resume RUN goes with neither --run nor --start\n");
        return 2;
    }
    char *file = fl_need_text("%s/config.json", a->resume);
    if (stat(file, &st) != 0) {
        fprintf(stderr, "flowrun: %s is no run directory: there is no %s\n", a->resume, file);
        free(file);
        return 2;
    }
    struct fl_graph *g = fl_cmd_load(a->nfiles > 0 ? a->files[0] : file, a);
    json_t *was = json_load_file(file, 0, NULL);         /* one that can't be read is complained of when it is compared */
    free(file);
    if (g != NULL)
        fl_threads_keep(g, was);
    json_decref(was);
    if (g == NULL)
        return 2;
    const struct fl_run_conf conf = { .run_dir = a->resume, .quiet = a->quiet, .metrics = a->metrics, .resume = true, .force = a->force };
    int status = fl_run_graph(g, &conf);
    fl_graph_free(g);
    return status;
}

/* A sink's files hold every tile: they can't begin in the middle. */
static bool run_may_start(const struct fl_graph *g, const struct fl_args *a)
{
    for (uint32_t i = 0; a->start > 0 && i < g->nstages; i++)
        if (g->stages[i].sink && !g->stages[i].tap) {
            fprintf(stderr, "flowrun: --start %llu: %s takes every batch of a run\n", (unsigned long long)a->start, g->stages[i].name);
            return false;
        }
    return true;
}

int fl_cmd_run(const struct fl_args *a)
{
    if (a->resume != NULL)
        return run_resume(a);
    if (a->force) {
        fprintf(stderr, "flowrun: --force goes with --resume RUN\n");
        return 2;
    }
    if (a->nfiles == 0) {
        fprintf(stderr, "flowrun: want a FILE or a command; flowrun --help tells more\n");
        return 2;
    }
    struct fl_graph *g = fl_cmd_load(a->files[0], a);
    if (g == NULL)
        return 2;
    const struct fl_run_conf conf = { .run_dir = a->run_dir, .quiet = a->quiet, .metrics = a->metrics, .start = a->start };
    int status = run_may_start(g, a) ? fl_run_graph(g, &conf) : 2;
    fl_graph_free(g);
    return status;
}

int fl_cmd_check(const struct fl_args *a)
{
    struct fl_graph *g = fl_cmd_load(a->files[0], a);
    if (g == NULL)
        return 2;
    uint32_t processes = 0;
    for (uint32_t i = 0; i < g->nstages; i++)
        processes += g->stages[i].instances;
    printf("%s: good: %u stages, %u processes, %u tiles a batch, %u batches in flight\n", a->files[0], g->nstages, processes, g->B, g->window);
    fl_graph_free(g);
    return 0;
}

int fl_cmd_plan(const struct fl_args *a)
{
    struct fl_graph *g = fl_cmd_load(a->files[0], a);
    if (g == NULL)
        return 2;
    int rc = fl_plan_print(g, a->dot);
    fl_graph_free(g);
    return rc == FL_OK ? 0 : 1;
}
