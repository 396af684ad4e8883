/* The final report: RUN/report.json, and a few lines for the person. */
#include <string.h>

#include "launch/super.h"

static uint64_t report_counter(const struct fl_super *s, uint32_t stage, const char *name)
{
    const json_t *names = json_object_get(s->g->stages[stage].describe, "counters");
    uint64_t sum = 0;
    for (size_t c = 0; c < json_array_size(names) && c < FL_MAX_COUNTERS; c++)
        for (uint32_t k = 0; strcmp(json_string_value(json_array_get(names, c)), name) == 0 && k < s->g->stages[stage].instances; k++) {
            const struct fl_inst *in = &s->inst[s->first[stage] + k];
            sum += atomic_load(&in->page->counters[c]) + in->base.counters[c];
        }
    return sum;
}

/* Of a stage that stands for other hosts: what each of them did. */
static json_t *report_hosts(const struct fl_super *s, uint32_t stage)
{
    const struct fl_stage_node *n = &s->g->stages[stage];
    const json_t *names = json_object_get(n->describe, "counters");
    json_t *all = json_object();
    for (uint32_t k = 0; k < n->instances; k++) {
        const struct fl_inst *in = &s->inst[s->first[stage] + k];
        json_t *j = json_pack("{s:I, s:I, s:I}", "batches", (json_int_t)(atomic_load(&in->page->batches) + in->base.batches),
                              "tiles", (json_int_t)(atomic_load(&in->page->tiles) + in->base.tiles), "deaths", (json_int_t)in->deaths);
        for (size_t c = 0; c < json_array_size(names) && c < FL_MAX_COUNTERS; c++)
            json_object_set_new(j, json_string_value(json_array_get(names, c)), json_integer((json_int_t)(atomic_load(&in->page->counters[c]) + in->base.counters[c])));
        json_object_set_new(all, fl_super_host(s, stage, k), j);
    }
    return all;
}

static json_t *report_stage(const struct fl_super *s, uint32_t stage)
{
    const struct fl_stage_node *n = &s->g->stages[stage];
    const json_t *names = json_object_get(n->describe, "counters");
    uint64_t batches = 0, tiles = 0, busy = 0, in_ns = 0, credit = 0, faults = 0, restarts = 0, waiting = 0;
    double cpu = 0;
    json_t *counters = json_object();
    for (size_t c = 0; c < json_array_size(names) && c < FL_MAX_COUNTERS; c++) {
        const char *name = json_string_value(json_array_get(names, c));
        json_object_set_new(counters, name, json_integer((json_int_t)report_counter(s, stage, name)));
    }
    for (uint32_t k = 0; k < n->instances; k++) {
        const struct fl_inst *in = &s->inst[s->first[stage] + k];
        const struct fl_page *p = in->page;
        batches += atomic_load(&p->batches) + in->base.batches;
        tiles += atomic_load(&p->tiles) + in->base.tiles;
        busy += atomic_load(&p->busy_ns) + in->base.busy;
        in_ns += atomic_load(&p->wait_in_ns) + in->base.in;
        credit += atomic_load(&p->wait_credit_ns) + in->base.credit;
        faults += atomic_load(&p->faults);
        restarts += in->deaths;
        cpu += in->cpu;
        waiting += in->pid > 0 ? atomic_load(&p->waiting) : 0;
    }
    json_t *j = json_pack("{s:i, s:I, s:I, s:f, s:f, s:f, s:f, s:I, s:I, s:I, s:o}", "instances", (int)n->instances, "batches", (json_int_t)batches, "tiles", (json_int_t)tiles,
                          "busy_s", (double)busy / 1e9, "wait_input_s", (double)in_ns / 1e9, "wait_credit_s", (double)credit / 1e9, "cpu_s", cpu,
                          "waiting", (json_int_t)waiting, "page_faults", (json_int_t)faults, "deaths", (json_int_t)restarts, "counters", counters);
    if (n->remote)
        json_object_set_new(j, "hosts", report_hosts(s, stage));
    const json_t *res = json_object_get(s->results, n->name);
    if (res != NULL)
        json_object_set(j, "results", (json_t *)res);
    return j;
}

static const char *report_word(int status)
{
    switch (status) {
    case 0:  return "complete";
    case 3:  return "complete with rejected tiles";
    case 4:  return "interrupted and drained";
    default: return "failed";
    }
}

/* Whether a later run could tell what is done. */
static bool report_journal(const struct fl_graph *g)
{
    bool kept = false;
    for (uint32_t i = 0; i < g->nstages; i++)
        kept = kept || (g->stages[i].sink && !g->stages[i].tap);
    return kept;
}

/* Batches that came to a sink once more and were dropped by their number. */
static uint64_t report_duplicates(const struct fl_super *s)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < s->g->nstages; i++)
        if (s->g->stages[i].sink)
            sum += report_counter(s, i, "duplicates");
    return sum;
}

static double report_seconds(const struct fl_super *s)
{
    return fl_now() - (s->t_start > 0 ? s->t_start : s->t0);
}

static void report_print_hosts(const struct fl_super *s)
{
    for (uint32_t i = 0; i < s->g->nstages; i++) {
        json_t *all = s->g->stages[i].remote ? report_hosts(s, i) : NULL, *of;
        const char *host;
        json_object_foreach(all, host, of)
            fprintf(stderr, "  %s on %s: %lld batches, %lld tiles; %.1f MB there, %.1f MB back; lost %lld times\n", s->g->stages[i].name, host,
                    (long long)json_integer_value(json_object_get(of, "batches")), (long long)json_integer_value(json_object_get(of, "tiles")),
                    json_number_value(json_object_get(of, "bytes_out")) / 1e6, json_number_value(json_object_get(of, "bytes_in")) / 1e6,
                    (long long)json_integer_value(json_object_get(of, "deaths")));
        json_decref(all);
    }
}

static void report_print(const struct fl_super *s, int status, double seconds)
{
    char before[64] = "";
    if (s->tiles_before > 0)
        snprintf(before, sizeof before, "; %llu of them earlier", (unsigned long long)s->tiles_before);
    fprintf(stderr, "%s: %llu of %llu tiles, %llu predicted, %llu rejected, in %.2f s (%.0f tiles/s%s)\n", report_word(status), (unsigned long long)s->tiles_done,
            (unsigned long long)s->tiles_total, (unsigned long long)(s->tiles_done - s->rejected), (unsigned long long)s->rejected, seconds,
            seconds > 0 ? (double)(s->tiles_done - s->tiles_before) / seconds : 0.0, before);
    fprintf(stderr, "coverage: %llu in = %llu predicted + %llu rejected (%llu in quarantine); %llu batches issued again, %llu duplicates dropped, %llu deaths of stages\n",
            (unsigned long long)s->tiles_done, (unsigned long long)(s->tiles_done - s->rejected), (unsigned long long)s->rejected, (unsigned long long)s->quarantined,
            (unsigned long long)s->reissued, (unsigned long long)report_duplicates(s), (unsigned long long)s->restarts);
    const char *stage, *name;
    json_t *of, *value;
    json_object_foreach(s->results, stage, of) {
        json_object_foreach(of, name, value)
            fprintf(stderr, "  %s.%s = %.6g\n", stage, name, json_number_value(value));
    }
    report_print_hosts(s);
    if (status == 3)
        fprintf(stderr, "rejected tiles: %s/rejects.csv\n", s->dir);
    if ((status == 4 || (status == 1 && s->started && !s->misfit)) && report_journal(s->g))
        fprintf(stderr, "to go on: flowrun --resume %s\n", s->dir);
}

json_t *fl_report_json(const struct fl_super *s, const char *word)
{
    json_t *stages = json_object();
    for (uint32_t i = 0; i < s->g->nstages; i++)
        json_object_set_new(stages, s->g->stages[i].name, report_stage(s, i));
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:o}", "status", word,
        "tiles", (json_int_t)s->tiles_total, "done", (json_int_t)s->tiles_done, "predicted", (json_int_t)(s->tiles_done - s->rejected),
        "rejected", (json_int_t)s->rejected, "batches", (json_int_t)s->total, "in_flight", (json_int_t)s->in_flight, "resumed_batches", (json_int_t)s->resumed,
        "reissued_batches", (json_int_t)s->reissued, "restarts", (json_int_t)s->restarts, "quarantined", (json_int_t)s->quarantined, "duplicates", (json_int_t)report_duplicates(s),
        "seconds", report_seconds(s), "start_s", s->t_start > 0 ? s->t_start - s->t0 : 0.0, "first_result_s", s->t_first > 0 ? s->t_first - s->t0 : 0.0, "stages", stages);
}

const char *fl_report_running(const struct fl_super *s)
{
    return !s->started ? "starting" : s->interrupted ? "draining" : s->finishing ? "finishing" : "running";
}

int fl_report(struct fl_super *s, int status)
{
    double seconds = report_seconds(s);
    if ((status == 0 || status == 3) && s->conf->start == 0 && s->conf->nonly == 0 && s->tiles_done != s->tiles_total)
        status = 1;                                       /* in = predicted + rejected, or it is no success */
    json_t *j = fl_report_json(s, report_word(status));
    json_object_set_new(j, "exit", json_integer(status));
    char path[1200];
    snprintf(path, sizeof path, "%s/report.json", s->dir);
    if (j == NULL || json_dump_file(j, path, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) != 0)
        fprintf(stderr, "warning: %s: not written\n", path);
    json_decref(j);
    if (!s->conf->quiet)
        report_print(s, status, seconds);
    return status;
}
