/* Several hosts: how work of a fixed time spreads over them, and what a link between two carries. Hosts are agents on this machine; a link is
 * shaped between network namespaces. Rates are those of the middle of a run: hosts are there, and there is still work for all. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bench/bench.h"

#define NAP_MS     40
#define NAP_EACH   100                           /* batches of a host of speed 1 that are timed; a quarter as many come before, and after */
#define LINK_TILES 16
#define LINK_BYTES 196608                        /* payload of a tile: 3.1 MB a batch */
#define LINK_MB    (LINK_TILES * LINK_BYTES / 1e6)

/* Batches timed, per second. */
static int hosts_rate(struct bench *b, double *rate, struct fl_err *err)
{
    double n = 0, us = 0;
    int rc = bench_report_counter(b, "end", "timed", &n, err);
    if (rc == FL_OK)
        rc = bench_report_counter(b, "end", "timed_us", &us, err);
    if (rc == FL_OK && !(us > 0))
        rc = fl_err_set(err, FL_E_NUM, "nothing was timed");
    if (rc == FL_OK)
        *rate = n * 1e6 / us;
    return rc;
}

/* A host is named after its speed; there are `sum` of speed 1 together. */
static int hosts_nap(struct bench *b, const char *names, unsigned sum, double *rate, struct fl_err *err)
{
    char yaml[2500];
    struct bench_cost c = { 0 };
    int cpu = b->cpu;
    unsigned each = sum * NAP_EACH;
    snprintf(yaml, sizeof yaml,
             "memory: 16MB\nstage_path: [%s/bench/stages, %s/tests/flow/stages]\n"
             "hosts: {far: [%s]}\ncluster: {launcher: exec, command: [env, \"NAP_SPEED={host}\", \"{flowrun}\", agent]}\nstages:\n"
             "  fill: {stage: bench_fill, options: {batches: %u, batch: 4, bytes: 64}}\n"
             "  nap: {from: fill, place: far, options: {ms: %d}}\n"
             "  end: {stage: bench_end, from: nap, options: {touch: false, after: %u, until: %u}}\n",
             b->bin, b->bin, names, each + each / 2, NAP_MS, each / 4, each + each / 4);
    b->cpu = -1;
    int rc = bench_graph(b, "hosts", yaml, &c, err);
    b->cpu = cpu;
    return rc == FL_OK ? hosts_rate(b, rate, err) : rc;
}

int bench_hosts_many(struct bench *b, double *rate, struct fl_err *err)
{
    static const char *const eight = "\"1.0\", \"1.00\", \"1.000\", \"1.0000\", \"1.00000\", \"1.000000\", \"1.0000000\", \"1.00000000\"";
    char names[200];
    if (b->arg == 124)
        return hosts_nap(b, "\"1.0\", \"2.0\", \"4.0\"", 7, rate, err);
    snprintf(names, sizeof names, "%s", eight);
    char *end = names;
    for (unsigned i = 0; i < b->arg && (end = strchr(end + 1, ',')) != NULL; i++)
        ;
    if (end != NULL)
        *end = '\0';
    return hosts_nap(b, names, b->arg, rate, err);
}

int bench_hosts_one(struct bench *b, double *rate, struct fl_err *err)
{
    int rc = hosts_nap(b, "\"1.0\"", 1, rate, err);
    *rate *= b->arg == 124 ? 7 : b->arg;
    return rc;
}

/* ---- a link ---- */

/* About five seconds of it. */
static int link_run(struct bench *b, const char *insecure, struct bench_cost *c, double *rate, struct fl_err *err)
{
    char yaml[2500], mbit[16], name[32];
    const char *const within[] = { "/bin/sh", "bench/link.sh", mbit, name, NULL };
    int cpu = b->cpu;
    unsigned batches = b->arg >= 10000 ? 400 : 200;
    snprintf(mbit, sizeof mbit, "%u", b->arg);
    snprintf(name, sizeof name, "frb%d", (int)getpid());      /* two runs of this on one machine must not meet */
    snprintf(yaml, sizeof yaml,
             "memory: 60MB\nstage_path: [%s/bench/stages]\n"
             "hosts: {far: [%s-far]}\ncluster: {launcher: exec, listen: 10.87.0.1, insecure: %s, command: [ip, netns, exec, \"{host}\", \"{flowrun}\", agent]}\nstages:\n"
             "  fill: {stage: bench_fill, options: {batches: %u, batch: %d, bytes: %d, touch: false}}\n"
             "  look: {stage: bench_touch, from: fill, place: far, options: {touch: false}}\n"
             "  end: {stage: bench_end, from: look, options: {touch: false, after: %u, until: %u}}\n",
             b->bin, name, insecure, batches, LINK_TILES, LINK_BYTES, batches / 8, batches - batches / 8);
    b->cpu = -1;
    b->within = within;
    int rc = bench_graph(b, "link", yaml, c, err);
    b->within = NULL;
    b->cpu = cpu;
    c->cpu = c->cpu * 1000 / (batches * LINK_MB);
    rc = rc == FL_OK ? hosts_rate(b, rate, err) : rc;
    *rate *= LINK_MB;
    return rc;
}

static int link_rate(struct bench *b, const char *insecure, double *rate, struct fl_err *err)
{
    struct bench_cost c = { 0 };
    return link_run(b, insecure, &c, rate, err);
}

static int link_cpu(struct bench *b, const char *insecure, double *ms, struct fl_err *err)
{
    struct bench_cost c = { 0 };
    double rate = 0;
    int rc = link_run(b, insecure, &c, &rate, err);
    *ms = c.cpu;
    return rc;
}

int bench_link_curve(struct bench *b, double *rate, struct fl_err *err) { return link_rate(b, "false", rate, err); }
int bench_link_open(struct bench *b, double *rate, struct fl_err *err) { return link_rate(b, "true", rate, err); }
int bench_link_curve_cpu(struct bench *b, double *ms, struct fl_err *err) { return link_cpu(b, "false", ms, err); }
int bench_link_open_cpu(struct bench *b, double *ms, struct fl_err *err) { return link_cpu(b, "true", ms, err); }
