/* select-snapshots: which checkpoints of a training run are used together. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/forward/checkpoint.h"
#include "tools/forward/tool.h"

enum { SELECT_TOP_K, SELECT_LAST_K, SELECT_DIVERSE };

struct select {
    char   **checkpoints;
    int      method;
    int64_t  k, pool;
    bool     json;
    struct fl_checkpoint *c; uint32_t n;
    uint32_t picked;               /* the first so many are the answer */
};

/* The same one twice would count as two. */
static int select_twice(const struct select *s, uint32_t n, struct fl_err *err)
{
    for (uint32_t i = 0; i < n; i++)
        if (strcmp(s->c[i].weights, s->c[n].weights) == 0)
            return fl_err_set(err, FL_E_CONFIG, "%s is there twice: %s and %s", s->c[n].weights, s->c[i].file, s->c[n].file);
    return FL_OK;
}

/* One fold's: others were validated on other tiles, so their losses don't compare. */
static int select_read(struct select *s, struct fl_err *err)
{
    int code = FL_OK;
    uint32_t n = 0;
    while (s->checkpoints[n] != NULL)
        n++;
    if ((s->c = calloc((size_t)n + 1, sizeof *s->c)) == NULL)
        return fl_err_set(err, FL_E_NOMEM, "no memory for %u checkpoints", n);
    for (; s->n < n && code == FL_OK; s->n++) {
        code = fl_checkpoint_read(s->checkpoints[s->n], &s->c[s->n], err);
        s->c[s->n].at = s->n;
        if (code == FL_OK && s->c[s->n].fold != s->c[0].fold)
            code = fl_err_set(err, FL_E_CONFIG, "%s is of fold %lld, but %s of fold %lld (-1: not stated)", s->c[s->n].file, (long long)s->c[s->n].fold, s->c[0].file,
                              (long long)s->c[0].fold);
        if (code == FL_OK)
            code = select_twice(s, s->n, err);
    }
    return code;
}

static void select_top(struct select *s, uint32_t k)
{
    qsort(s->c, s->n, sizeof *s->c, fl_checkpoint_best);
    s->picked = k < s->n ? k : s->n;
}

static void select_swap(struct fl_checkpoint *a, struct fl_checkpoint *b)
{
    struct fl_checkpoint x = *a;
    *a = *b;
    *b = x;
}

static void select_last(struct select *s)
{
    uint32_t ends = 0;
    qsort(s->c, s->n, sizeof *s->c, fl_checkpoint_late);
    for (uint32_t i = 0; i < s->n; i++)
        if (s->c[i].cycle_end)
            select_swap(&s->c[ends++], &s->c[i]);
    uint32_t first = ends > (uint32_t)s->k ? ends - (uint32_t)s->k : 0;
    for (s->picked = 0; first < ends; first++)
        select_swap(&s->c[s->picked++], &s->c[first]);
}

static int select_diverse(struct select *s, struct fl_err *err)
{
    uint32_t pick[FL_CHECKPOINT_POOL];
    select_top(s, (uint32_t)s->pool);
    if (s->picked <= (uint32_t)s->k)
        return FL_OK;
    int code = fl_checkpoint_diverse(s->c, s->picked, (uint32_t)s->k, pick, err);
    for (s->picked = 0; code == FL_OK && s->picked < (uint32_t)s->k; s->picked++)
        select_swap(&s->c[s->picked], &s->c[pick[s->picked]]);
    return code;
}

static int select_pick(struct select *s, struct fl_err *err)
{
    int code = FL_OK;
    if (s->method == SELECT_DIVERSE && s->pool < s->k)
        return fl_err_set(err, FL_E_CONFIG, "--pool: %lld, want at least --k (%lld)", (long long)s->pool, (long long)s->k);
    if (s->method == SELECT_TOP_K)
        select_top(s, (uint32_t)s->k);
    else if (s->method == SELECT_LAST_K)
        select_last(s);
    else
        code = select_diverse(s, err);
    if (code == FL_OK && s->picked == 0)
        code = fl_err_set(err, FL_E_CONFIG, "none of the %u checkpoints is the end of a cycle (cycle_end)", s->n);
    if (code == FL_OK && s->picked < (uint32_t)s->k)
        fprintf(stderr, "select-snapshots: only %u of the %lld asked for\n", s->picked, (long long)s->k);
    return code;
}

static void select_print(const struct select *s)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < s->picked; i++)
        if (s->json)
            json_array_append_new(list, json_string(s->c[i].weights));
        else
            printf("%s\n", s->c[i].weights);
    if (s->json) {
        json_dumpf(list, stdout, JSON_COMPACT);
        putchar('\n');
    }
    json_decref(list);
}

static int select_run(void *state, struct fl_err *err)
{
    struct select *s = state;
    int code = select_read(s, err);
    if (code == FL_OK)
        code = select_pick(s, err);
    if (code == FL_OK)
        select_print(s);
    for (uint32_t i = 0; i < s->n; i++)
        fl_checkpoint_done(&s->c[i]);
    free(s->c);
    return code;
}

static const struct fl_opt select_opts[] = {
    { .name = "checkpoints", .type = FL_OPT_PATHS, .off = offsetof(struct select, checkpoints), .required = 1, .help = "NAME.checkpoint.json, each with its weights NAME.safetensors" },
    { .name = "method", .type = FL_OPT_CHOICE, .off = offsetof(struct select, method), .def = "top_k", .choices = "top_k|last_k|diverse", .help = "which ones" },
    { .name = "k", .type = FL_OPT_INT, .off = offsetof(struct select, k), .def = "3", .min = 1, .max = 16, .help = "how many" },
    { .name = "pool", .type = FL_OPT_INT, .off = offsetof(struct select, pool), .def = "10", .min = 1, .max = FL_CHECKPOINT_POOL, .help = "diverse chooses among so many of the best" },
    { .name = "json", .type = FL_OPT_BOOL, .off = offsetof(struct select, json), .help = "as one JSON list, which --set takes" },
    { 0 }
};

const struct fl_tool fl_tool_select = {
    .name = "select-snapshots", .usage = "usage: flowrun select-snapshots NAME.checkpoint.json... [--method top_k|last_k|diverse] [--k K]",
    .help = "Prints the weights of the checkpoints of one training run that are to answer together.\n"
            "top_k: lowest validation loss, ties to the later one. last_k: the last ends of cycles, oldest first. diverse: of the best --pool, those whose\n"
            "validation probabilities correlate least (mean of all pairs; ties to the smaller loss). Fewer than K: all of them, with a warning.",
    .words = "checkpoints", .opts = select_opts, .state_size = sizeof(struct select), .run = select_run,
};
