/* flowrun FILE, flowrun --resume RUN, flowrun check, flowrun plan: what starts with loading a graph. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "launch/cmd.h"
#include "launch/cpus.h"
#include "launch/graph.h"
#include "launch/hosts.h"
#include "launch/mem.h"
#include "launch/programme.h"
#include "launch/run.h"
#include "launch/versions.h"

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

static void run_keep(struct fl_graph *g, const char *dir)
{
    char *file = fl_need_text("%s/config.json", dir);
    json_t *was = json_load_file(file, 0, NULL);         /* one that can't be read is complained of when it is compared */
    fl_threads_keep(g, was);
    json_decref(was);
    free(file);
}

int fl_cmd_run_graph(struct fl_graph *g, const struct fl_run_conf *conf)
{
    if (conf->resume)
        run_keep(g, conf->run_dir);
    if (g->nsegments == 0)
        return fl_run_graph(g, conf);
    if (g->hosts->insecure)
        fprintf(stderr, "warning: cluster.insecure: what goes to other hosts is neither encrypted nor protected\n");
    struct fl_graph *here = fl_fold(g);
    int status = here != NULL ? fl_run_graph(here, conf) : 2;
    fl_graph_free(here);
    return status;
}

/* run: the run directory; now: FILE, or NULL for the configuration that it was begun with. */
static int run_go_on(const struct fl_args *a, const char *run, const char *now)
{
    struct stat st;
    if (fl_programme_is_dir(run)) {
        if (a->nfiles == 0 && a->nsets == 0)
            return fl_programme_resume(&(struct fl_run_conf){ .run_dir = run, .quiet = a->quiet, .metrics = a->metrics, .force = a->force });
        fprintf(stderr, "flowrun: a programme goes on as it was begun: want --resume %s alone\n", a->resume);
        return 2;
    }
    char *file = fl_need_text("%s/config.json", run);
    if (stat(file, &st) != 0) {
        fprintf(stderr, "flowrun: %s is no run directory: there is no %s\n", run, file);
        free(file);
        return 2;
    }
    struct fl_graph *g = fl_cmd_load(now != NULL ? now : file, a);
    free(file);
    if (g == NULL)
        return 2;
    const struct fl_run_conf conf = { .run_dir = run, .quiet = a->quiet, .metrics = a->metrics, .resume = true, .force = a->force };
    int status = fl_cmd_run_graph(g, &conf);
    fl_graph_free(g);
    return status;
}

/* What it reads and writes is where the run was started, wherever it goes on from. */
static int run_resume(const struct fl_args *a)
{
    if (a->run_dir != NULL || a->start > 0) {
        fprintf(stderr, "flowrun: --resume RUN goes with neither --run nor --start\n");
        return 2;
    }
    const char *file = a->nfiles > 0 ? a->files[0] : NULL;
    char *run = realpath(a->resume, NULL), *now = file != NULL ? realpath(file, NULL) : NULL;
    bool moved = run != NULL && fl_versions_go(run);
    int status = run_go_on(a, moved ? run : a->resume, moved && now != NULL ? now : file);
    free(run);
    free(now);
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

static int run_programme(struct fl_programme *p, const struct fl_args *a)
{
    int status = 2;
    if (a->start > 0)
        fprintf(stderr, "flowrun: --start goes with one graph, not with a programme\n");
    else
        status = fl_programme_run(p, &(struct fl_run_conf){ .run_dir = a->run_dir, .quiet = a->quiet, .metrics = a->metrics });
    fl_programme_free(p);
    return status;
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
    struct fl_programme *p = NULL;
    if (fl_programme_load(a->files[0], a->sets, a->nsets, &p) != FL_OK)
        return 2;
    if (p != NULL)
        return run_programme(p, a);
    struct fl_graph *g = fl_cmd_load(a->files[0], a);
    if (g == NULL)
        return 2;
    const struct fl_run_conf conf = { .run_dir = a->run_dir, .quiet = a->quiet, .metrics = a->metrics, .start = a->start };
    int status = run_may_start(g, a) ? fl_cmd_run_graph(g, &conf) : 2;
    fl_graph_free(g);
    return status;
}

/* Of check and plan: the folder of a programme that was begun stands for what it was begun with, and what is done. */
static int run_look(const struct fl_args *a, struct fl_programme **p)
{
    bool begun = fl_programme_is_dir(a->files[0]);
    char *full = begun ? realpath(a->files[0], NULL) : NULL;
    const char *dir = full != NULL && fl_versions_go(full) ? full : a->files[0];
    char *file = begun ? fl_need_text("%s/programme.json", dir) : NULL;
    int rc = fl_programme_load(begun ? file : a->files[0], a->sets, a->nsets, p);
    if (rc == FL_OK && *p != NULL && begun)
        rc = fl_programme_done(*p, dir);
    if (rc == FL_OK && *p != NULL)
        rc = fl_programme_check(*p);
    free(file);                          /* complaints have been told */
    free(full);
    if (rc != FL_OK) {
        fl_programme_free(*p);
        *p = NULL;
    }
    return rc;
}

static int check_programme(const char *file, struct fl_programme *p)
{
    uint64_t jobs = 0, passes = 0;
    uint32_t later = 0;
    for (uint32_t i = 0; i < p->nsteps; i++) {
        later += p->steps[i].npasses == 0;
        passes += p->steps[i].npasses;
        for (uint32_t k = 0; k < p->steps[i].npasses; k++)
            jobs += p->steps[i].passes[k].nsinks;
    }
    printf("%s: good: %u steps, %llu jobs in %llu passes; %u steps read what earlier ones write\n", file, p->nsteps, (unsigned long long)jobs,
           (unsigned long long)passes, later);
    fl_programme_free(p);
    return 0;
}

int fl_cmd_check(const struct fl_args *a)
{
    struct fl_programme *p = NULL;
    if (run_look(a, &p) != FL_OK)
        return 2;
    if (p != NULL)
        return check_programme(a->files[0], p);
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

static int plan_programme(struct fl_programme *p, bool dot)
{
    if (dot)
        fprintf(stderr, "flowrun: --dot draws one graph, not a programme\n");
    int status = dot ? 2 : fl_programme_print(p) == FL_OK ? 0 : 1;
    fl_programme_free(p);
    return status;
}

int fl_cmd_plan(const struct fl_args *a)
{
    struct fl_programme *p = NULL;
    if (run_look(a, &p) != FL_OK)
        return 2;
    if (p != NULL)
        return plan_programme(p, a->dot);
    struct fl_graph *g = fl_cmd_load(a->files[0], a);
    if (g == NULL)
        return 2;
    int rc = fl_plan_print(g, a->dot);
    fl_graph_free(g);
    return rc == FL_OK ? 0 : 1;
}
