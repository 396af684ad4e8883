/* Which plan is taken, and what becomes of the file: the cuda executor's choice on a card that is made up here. */
#include <unistd.h>

#include "stages/forward/cuda/device.h"
#include "stages/forward/cuda/launch.h"
#include "tests/lib/check.h"

/* ---- the card: engines 0, 1 and 2 for every layer; 1 is the fastest, then 2 ---- */

#define CARD_ENGINES 3
static struct { uint32_t asked, executed, plans, warned; int64_t cant_build, cant_run, loses, last; bool lost; char text[600]; } card;

static void card_new(void)
{
    memset(&card, 0, sizeof card);
    card.cant_build = card.cant_run = card.loses = -1;
}

static void card_warn(void *of, const char *text)
{
    (void)of;
    card.warned++;
    snprintf(card.text, sizeof card.text, "%s", text);
}

cudnnBackendDescriptor_t fl_cu_graph(struct fl_be_bag *b, const struct fl_cu_layer *l) { return b != NULL && l != NULL ? &card : NULL; }

int fl_cu_configs(const struct fl_cu_target *t, cudnnBackendDescriptor_t graph, bool exact, struct fl_cu_config *out, uint32_t max, uint32_t *rt, struct fl_err *err)
{
    (void)t, (void)graph, (void)exact, (void)rt, (void)err;
    card.asked++;
    for (uint32_t i = 0; i < CARD_ENGINES && i < max; i++)
        out[i] = (struct fl_cu_config){ .engine = i };
    return CARD_ENGINES;
}

int fl_cu_plan(const struct fl_cu_target *t, cudnnBackendDescriptor_t graph, const struct fl_cu_config *c, cudnnBackendDescriptor_t *plan, int64_t *workspace, struct fl_err *err)
{
    (void)t, (void)graph;
    if (c->engine == card.cant_build)
        return fl_err_set(err, FL_E_DEVICE, "engine %lld can't be built", (long long)c->engine);
    int64_t *p = malloc(sizeof *p);
    if (p == NULL)
        abort();
    *p = c->engine;
    *plan = p;
    *workspace = 0;
    card.plans++;
    return FL_OK;
}

int fl_cu_variant(struct fl_prog *g, uint32_t i, void *block, bool split, void *workspace, cudnnBackendDescriptor_t *out, struct fl_err *err)
{
    (void)g, (void)i, (void)block, (void)split, (void)workspace, (void)err;
    *out = malloc(1);
    card.plans++;
    return FL_OK;
}

cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t d)
{
    free(d);
    card.plans--;
    return CUDNN_STATUS_SUCCESS;
}

int fl_cu_execute(struct fl_prog *g, uint32_t i, void *block, bool split, cudnnBackendDescriptor_t plan, cudnnBackendDescriptor_t pack, struct fl_err *err)
{
    (void)g, (void)i, (void)block, (void)split, (void)pack;
    card.executed++;
    card.last = *(const int64_t *)plan;
    card.lost = card.lost || card.last == card.loses;          /* shows when the stream is waited for */
    return card.last == card.cant_run ? fl_err_set(err, FL_E_DEVICE, "engine %lld can't be run", (long long)card.last) : FL_OK;
}

cudaError_t cudaStreamSynchronize(cudaStream_t s) { (void)s; return card.lost ? cudaErrorIllegalAddress : cudaSuccess; }
cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t a, cudaEvent_t b)
{
    (void)a, (void)b;
    *ms = card.last == 1 ? 1 : card.last == 2 ? 2 : 3;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s) { (void)e, (void)s; return cudaSuccess; }
cudaError_t cudaEventSynchronize(cudaEvent_t e) { (void)e; return cudaSuccess; }
cudaError_t cudaGetLastError(void) { return cudaSuccess; }
cudaError_t cudaFree(void *p) { free(p); return cudaSuccess; }
cudaError_t cudaDriverGetVersion(int *v) { *v = 13000; return cudaSuccess; }
cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *p, int device)
{
    (void)device;
    memset(p, 0, sizeof *p);
    snprintf(p->name, sizeof p->name, "a card");
    return cudaSuccess;
}
size_t cudnnGetVersion(void) { return 91900; }
void fl_be_init(struct fl_be_bag *b, struct fl_err *err) { b->n = 0; b->code = FL_OK; b->err = err; }
void fl_be_done(struct fl_be_bag *b) { b->n = 0; }
int fl_cu_launch_noise(void *out, int type, size_t n, uint32_t seed, void *stream)
{
    (void)out, (void)type, (void)n, (void)seed, (void)stream;
    return 0;
}

int fl_cu_alloc(void **out, size_t bytes, const char *what, struct fl_err *err)
{
    (void)bytes, (void)what, (void)err;
    *out = malloc(1);
    return FL_OK;
}

int fl_cu_fail(struct fl_err *err, cudaError_t e, const char *what) { return fl_err_set(err, FL_E_DEVICE, "%s: error %d", what, (int)e); }

/* ---- choosing ---- */

/* As a new process does; *engine: that of all layers, or -1. The number of distinct layers, or a status. */
static int choose(int64_t *engine, struct fl_err *err)
{
    struct fl_net *net = NULL;
    struct fl_prog g = { 0 };
    int code = fl_net_new("tilenet", 3, 32, 7, 0, &net, err);
    if (code == FL_OK)
        code = fl_cu_program_make(net, 1, FL_PREC_F16, &g.p, err);
    g.chosen = calloc(g.p.nops + 1, sizeof *g.chosen);
    g.use = calloc(g.p.nops + 1, sizeof *g.use);
    card.asked = card.executed = card.warned = 0;
    card.lost = false;
    if (code == FL_OK)
        code = fl_cu_choose(&g, &(struct fl_fwd_opts){ .rows = 1, .warn = card_warn }, err);
    *engine = g.nchosen > 0 ? g.chosen[0].choice.config.engine : -1;
    for (uint32_t i = 0; i < g.nchosen; i++) {
        if (g.chosen[i].choice.config.engine != *engine)
            *engine = -1;
        cudnnBackendDestroyDescriptor(g.chosen[i].plan);
    }
    cudaFree(g.workspace);
    free(g.chosen);
    free(g.use);
    fl_cu_program_done(&g.p);
    fl_net_free(net);
    if (card.plans != 0)
        fl_fail_at(__FILE__, __LINE__, "%u descriptors are left", card.plans);
    return code == FL_OK ? (int)g.nchosen : code;
}

FL_TEST(plans_are_timed_once)
{
    struct fl_err err = { 0 };
    int64_t engine;
    card_new();
    setenv("FLOWRUN_CACHE", fl_tmpdir(), 1);
    int n = choose(&engine, &err);
    CHECK(n > 1);
    CHECK_INT(engine, 1);
    CHECK_INT(card.asked, n);
    CHECK_INT(choose(&engine, &err), n);
    CHECK_INT(engine, 1);
    CHECK_INT(card.asked, 0);
    CHECK_INT(card.executed, n);          /* each is run once before it is relied on */
    CHECK_INT(card.warned, 0);
}

/* A plan of the file that can't be built, or can be built and not run, is dropped, told once, and timed anew. */
FL_TEST(a_kept_plan_that_fails_is_timed_anew)
{
    struct fl_err err = { 0 };
    int64_t engine;
    for (int run = 0; run < 2; run++) {
        card_new();
        char folder[300];
        snprintf(folder, sizeof folder, "%s/%d", fl_tmpdir(), run);
        setenv("FLOWRUN_CACHE", folder, 1);
        int n = choose(&engine, &err);
        *(run == 0 ? &card.cant_build : &card.cant_run) = 1;
        CHECK_INT(choose(&engine, &err), n);
        CHECK_INT(engine, 2);
        CHECK_INT(card.asked, n);
        CHECK_INT(card.warned, 1);
        CHECK_HAS(card.text, run == 0 ? "engine 1 can't be built" : "engine 1 can't be run");
        CHECK_HAS(card.text, folder);
        CHECK_INT(choose(&engine, &err), n);
        CHECK_INT(engine, 2);
        CHECK_INT(card.asked, 0);
        CHECK_INT(card.warned, 0);
    }
}

/* One that takes the card along ends the process: its successor must not meet it again. */
FL_TEST(a_kept_plan_that_loses_the_card_takes_the_file_along)
{
    struct fl_err err = { 0 };
    int64_t engine;
    card_new();
    setenv("FLOWRUN_CACHE", fl_tmpdir(), 1);
    int n = choose(&engine, &err);
    card.loses = 1;
    CHECK_INT(choose(&engine, &err), FL_E_DEVICE);
    CHECK_HAS(err.text, "is removed");
    CHECK_HAS(err.text, fl_tmpdir());
    card.loses = -1;
    CHECK_INT(choose(&engine, &err), n);
    CHECK_INT(card.asked, n);
}

/* Without a file. */
FL_TEST(what_cant_run_is_passed_over)
{
    struct fl_err err = { 0 };
    int64_t engine;
    card_new();
    unsetenv("FLOWRUN_CACHE");
    unsetenv("XDG_CACHE_HOME");
    unsetenv("HOME");
    card.cant_build = 1;
    card.cant_run = 2;
    CHECK(choose(&engine, &err) > 1);
    CHECK_INT(engine, 0);
    CHECK_INT(card.warned, 0);
    card.loses = 0;
    CHECK_INT(choose(&engine, &err), FL_E_DEVICE);
    CHECK_HAS(err.text, "no engine for layer");
}

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = {
        CASE(plans_are_timed_once), CASE(a_kept_plan_that_fails_is_timed_anew), CASE(a_kept_plan_that_loses_the_card_takes_the_file_along),
        CASE(what_cant_run_is_passed_over), { 0 },
    };
    return fl_run(cases, argc, argv);
}
