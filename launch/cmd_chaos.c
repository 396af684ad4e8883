/* flowrun chaos: the quiet run, runs under fire until enough was done, the comparison after each, the sum. */
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "launch/chaos.h"
#include "launch/folder.h"
#include "launch/mem.h"
#include "launch/super.h"

#define SECONDS       60.0             /* unless it is told otherwise */
#define EVERY_LEAST   0.05             /* seconds between two actions */
#define EVERY_MOST    5.0
#define PATIENCE      60.0             /* seconds without progress, and ten times what the quiet run took */

/* ---- arguments ---- */

static bool chaos_number(const char *flag, const char *text, double least, double most, double *v)
{
    char *end;
    if (text == NULL)
        return true;
    *v = strtod(text, &end);
    if (end != text && *end == '\0' && isfinite(*v) && *v >= least && *v <= most)
        return true;
    fprintf(stderr, "flowrun chaos: %s %s: want a number from %g to %g\n", flag, text, least, most);
    return false;
}

static bool chaos_whole(const char *flag, const char *text, uint64_t least, uint64_t *v)
{
    char *end;
    if (text == NULL)
        return true;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    if (end != text && *end == '\0' && strchr(text, '-') == NULL && errno == 0 && n >= least) {
        *v = n;
        return true;
    }
    fprintf(stderr, "flowrun chaos: %s %s: want a whole number from %llu\n", flag, text, (unsigned long long)least);
    return false;
}

static bool chaos_args(struct fl_chaos *c)
{
    const struct fl_args *a = c->args;
    c->seed = 1;
    if (!chaos_number("--seconds", a->seconds, 0.1, 1e7, &c->seconds) || !chaos_number("--every", a->every, 0.001, 1e5, &c->every) ||
        !chaos_whole("--seed", a->seed, 0, &c->seed) || !chaos_whole("--kills", a->kills, 1, &c->kills) ||
        !chaos_whole("--supervisor-kills", a->supervisor_kills, 0, &c->supervisor_kills))
        return false;
    if (a->seconds == NULL && a->kills == NULL)
        c->seconds = SECONDS;
    return true;
}

/* ---- folders ---- */

static bool chaos_folder(const char *path)
{
    if (mkdir(path, 0777) == 0)
        return true;
    fprintf(stderr, "flowrun chaos: %s: %s\n", path, strerror(errno));
    return false;
}

/* DIR, absolute: the runs' outputs are named in --set texts, and a folder of its own keeps results of earlier runs safe. */
static bool chaos_dir(struct fl_chaos *c)
{
    char *path, stamp[32], *full;
    struct tm tm;
    time_t t = time(NULL);
    strftime(stamp, sizeof stamp, "%Y%m%d-%H%M%S", localtime_r(&t, &tm));
    if (c->args->run_dir == NULL)
        mkdir("runs", 0777);
    path = c->args->run_dir != NULL ? fl_need_copy(c->args->run_dir) : fl_need_text("runs/%s-chaos-%s-%d", c->g->name, stamp, (int)getpid());
    bool made = chaos_folder(path);
    full = made ? realpath(path, NULL) : NULL;
    if (made && (full == NULL || strlen(full) >= sizeof c->dir - 64)) {
        fprintf(stderr, "flowrun chaos: %s: %s\n", path, full == NULL ? strerror(errno) : "the path is too long");
        rmdir(path);
        made = false;
    }
    if (made)
        snprintf(c->dir, sizeof c->dir, "%s", full);
    free(full);
    free(path);
    return made;
}

static bool chaos_make(const struct fl_chaos *c, const char *name)
{
    char *path = fl_need_text("%s/%s", c->dir, name), *out = fl_need_text("%s/out", path);
    bool ok = chaos_folder(path) && chaos_folder(out);
    free(path);
    free(out);
    return ok;
}

static const char *chaos_out_value(const struct fl_stage_node *n, const json_t *opt)
{
    const json_t *given = json_object_get(n->options, json_string_value(json_object_get(opt, "name")));
    const char *type = json_string_value(json_object_get(opt, "type"));
    return type != NULL && strcmp(type, "out") == 0 ? json_string_value(given != NULL ? given : json_object_get(opt, "default")) : NULL;
}

char **fl_chaos_sets(const struct fl_chaos *c, const char *name, uint32_t *n)
{
    const struct fl_args *a = c->args;
    char **sets = NULL;
    *n = 0;
    for (uint32_t i = 0; i < a->nsets; i++) {
        sets = fl_need_grow(sets, *n + 1, sizeof *sets);
        sets[(*n)++] = fl_need_copy(a->sets[i]);
    }
    for (uint32_t i = 0; i < c->g->nstages; i++) {
        const struct fl_stage_node *node = &c->g->stages[i];
        const json_t *opts = json_object_get(node->describe, "options");
        for (size_t k = 0; k < json_array_size(opts); k++) {
            const json_t *opt = json_array_get(opts, k);
            const char *value = chaos_out_value(node, opt), *option = json_string_value(json_object_get(opt, "name"));
            if (value == NULL || option == NULL)
                continue;
            const char *base = strrchr(value, '/') != NULL ? strrchr(value, '/') + 1 : value;
            sets = fl_need_grow(sets, *n + 1, sizeof *sets);
            sets[(*n)++] = fl_need_text("%s.%s=%s/%s/out/%s.%s.%s", node->name, option, c->dir, name, node->name, option, base);
        }
    }
    return sets;
}

/* ---- runs ---- */

static double chaos_report(const struct fl_chaos *c, const char *name, const char *key)
{
    char *path = fl_need_text("%s/%s/run/report.json", c->dir, name);
    json_t *j = json_load_file(path, 0, NULL);
    double v = json_number_value(json_object_get(j, key));
    json_decref(j);
    free(path);
    return v;
}

static int chaos_quiet(struct fl_chaos *c)
{
    if (!chaos_make(c, "quiet"))
        return -1;
    printf("quiet run ...\n");
    double before = fl_now();
    int status = fl_chaos_quiet(c, "quiet");
    if (status == 0 || status == 3) {
        double start = chaos_report(c, "quiet", "start_s") / 2, took = fl_now() - before;
        if (c->every == 0)
            c->every = start < EVERY_LEAST ? EVERY_LEAST : start > EVERY_MOST ? EVERY_MOST : start;
        c->patience = PATIENCE + 10 * took;
        printf("quiet run: %.1f s, %.0f tiles, %.0f rejected; from now on something every %.2f s\n", took,
               chaos_report(c, "quiet", "tiles"), chaos_report(c, "quiet", "rejected"), c->every);
    } else if (!c->interrupted) {
        fprintf(stderr, "flowrun chaos: the quiet run failed (status %d); there is nothing to compare with\n", status);
    }
    return status;
}

/* Files in out/, the rejects, and what the report counts. */
static bool chaos_compare(const struct fl_chaos *c, const char *name)
{
    static const char *const parts[] = { "out", "run/rejects.csv" }, *const counts[] = { "tiles", "done", "predicted", "rejected" };
    uint64_t files = 0;
    bool same = true;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        char *a = fl_need_text("%s/quiet/%s", c->dir, parts[i]), *b = fl_need_text("%s/%s/%s", c->dir, name, parts[i]);
        same = fl_chaos_same(a, b, &files) && same;
        free(a);
        free(b);
    }
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        double a = chaos_report(c, "quiet", counts[i]), b = chaos_report(c, name, counts[i]);
        if (a != b)
            printf("  report.json: %.0f %s, %.0f in the quiet run\n", b, counts[i], a);
        same = same && a == b;
    }
    printf("%s: %.0f restarts, %.0f batches issued again; %llu files %s\n", name, chaos_report(c, name, "restarts"), chaos_report(c, name, "reissued_batches"),
           (unsigned long long)files, same ? "equal" : "DIFFER");
    return same;
}

/* One run under fire and its comparison. */
static bool chaos_one(struct fl_chaos *c, int want)
{
    char name[32];
    snprintf(name, sizeof name, "chaos-%llu", (unsigned long long)++c->runs);
    if (!chaos_make(c, name))
        return false;
    int status = fl_chaos_fire(c, name);
    if (c->interrupted || status < 0)
        return false;
    if (status != want) {
        printf("%s: exit status %d, %d in the quiet run\n", name, status, want);
        return false;
    }
    if (!chaos_compare(c, name))
        return false;
    char *path = fl_need_text("%s/%s", c->dir, name);
    fl_folder_remove(path);
    free(path);
    return true;
}

static int chaos_all(struct fl_chaos *c)
{
    int want = chaos_quiet(c);
    bool same = want == 0 || want == 3;
    if (!same)
        return c->interrupted ? 4 : 1;
    c->t0 = fl_now();
    while (same && !fl_chaos_enough(c))
        same = chaos_one(c, want);
    if (c->no_cut != NULL)
        printf("links could not be cut on this machine: pidfd_getfd: %s\n", c->no_cut);
    printf("chaos: %llu kills, %llu stops, %llu cut links, %llu kills of flowrun in %llu runs and %.1f s, seed %llu: %s\n",
           (unsigned long long)c->done[FL_CHAOS_KILL], (unsigned long long)c->done[FL_CHAOS_STOP], (unsigned long long)c->done[FL_CHAOS_CUT],
           (unsigned long long)c->done[FL_CHAOS_SUPERVISOR], (unsigned long long)c->runs, fl_now() - c->t0, (unsigned long long)c->seed,
           c->interrupted ? "interrupted" : same ? "all equal" : "NOT EQUAL");
    return c->interrupted ? 4 : same ? 0 : 1;
}

static void chaos_begin(struct fl_chaos *c)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    c->signals = signalfd(-1, &set, SFD_CLOEXEC);
    prctl(PR_SET_CHILD_SUBREAPER, 1);        /* stages of a killed flowrun come to us, so that each is seen to end */
}

/* What a run is judged by is its sinks' journals and files: they must be there, and made without anybody's help. */
static bool chaos_may(const struct fl_chaos *c)
{
    const char *file = c->args->files[0];
    bool journal = false;
    for (uint32_t i = 0; i < c->g->nstages; i++) {
        const struct fl_stage_node *n = &c->g->stages[i];
        if (strcmp(n->stage, "feed") == 0) {
            fprintf(stderr, "flowrun chaos: %s: %s waits for trainers, and here are none; replace it by a sink\n", file, n->name);
            return false;
        }
        journal = journal || (n->sink && !n->tap && !n->again);
    }
    if (!journal)
        fprintf(stderr, "flowrun chaos: %s: no stage keeps a journal as sink does: how far a run has come couldn't be seen\n", file);
    return journal;
}

int fl_cmd_chaos(const struct fl_args *a)
{
    struct fl_chaos c = { .args = a, .supervisor_fd = -1 };
    struct fl_graph *g = NULL;
    if (!chaos_args(&c) || (g = fl_cmd_load(a->files[0], a)) == NULL)
        return 2;
    c.g = g;
    int status = 2;
    if (chaos_may(&c) && chaos_dir(&c)) {
        chaos_begin(&c);
        status = chaos_all(&c);
        if (status == 1)
            printf("what is left of it: %s\n", c.dir);
        else if (a->run_dir == NULL)
            fl_folder_remove(c.dir);
        close(c.signals);
    }
    fl_graph_free(g);
    return status;
}
