/* Tiles a second on a card: speed ARCH PREC SIZE ROWS... One JSON line a number of rows:
 * resident (views on the card, graph), eager (without a graph), u8 and u16 (end to end from a shared mapping that is only read, as slabs are, two in flight;
 * registered: whether the card could read it directly). Without arguments it only tells whether there is a card. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "stages/forward/cuda/device.h"
#include "stages/forward/plugin.h"
#include "tests/forward/rule_weights.h"

extern const struct fl_backend fl_forward_plugin;

static const char *prec_name(int prec) { return prec == FL_PREC_F32 ? "f32" : prec == FL_PREC_F16 ? "f16" : "bf16"; }

#define SPEED_RUNS 9
#define SPEED_STEPS 20

static double speed_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int speed_order(const void *a, const void *b) { return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b); }

static double speed_median(double *x)
{
    qsort(x, SPEED_RUNS, sizeof *x, speed_order);
    return x[SPEED_RUNS / 2];
}

/* Seconds an execution, by events, over what lies on the card. */
static int speed_resident(struct fl_prog *g, struct fl_snap *s, bool graph, double *seconds, struct fl_err *err)
{
    double x[SPEED_RUNS];
    int code = FL_OK;
    for (int run = 0; run < SPEED_RUNS; run++) {
        float ms = 0;
        for (int i = -3; i < SPEED_STEPS && code == FL_OK; i++) {
            if (i == 0)
                FL_CU_TRY(err, cudaEventRecord(g->from, g->compute), "an event");
            code = graph ? fl_cu_launch(g, s, err) : fl_cu_eager(g, s, err);
        }
        if (code != FL_OK)
            return code;
        FL_CU_TRY(err, cudaEventRecord(g->to, g->compute), "an event");
        FL_CU_TRY(err, cudaEventSynchronize(g->to), "a run");
        FL_CU_TRY(err, cudaEventElapsedTime(&ms, g->from, g->to), "timing");
        x[run] = (double)ms / 1000 / SPEED_STEPS;
    }
    *seconds = speed_median(x);
    return FL_OK;
}

/* From tiles in this process, one view each. */
static int speed_fed(struct fl_prog *g, struct fl_snap *s, const struct fl_fwd_views *v, float *logits, double *seconds, struct fl_err *err)
{
    double x[SPEED_RUNS];
    uint64_t open[2];
    int code = FL_OK;
    for (int run = 0; run < SPEED_RUNS && code == FL_OK; run++) {
        double from = speed_now();
        for (int i = 0; i < SPEED_STEPS && code == FL_OK; i++) {
            if (i >= 2)
                code = fl_cu_wait(g, open[i % 2], logits, err);
            if (code == FL_OK)
                code = fl_cu_submit(g, &s, 1, v, &open[i % 2], err);
        }
        for (int i = 0; i < 2 && code == FL_OK; i++)
            code = fl_cu_wait(g, open[i], logits, err);
        x[run] = (speed_now() - from) / SPEED_STEPS;
    }
    *seconds = speed_median(x);
    return code;
}

static int speed_rows(const char *arch, int prec, uint32_t size, uint32_t rows, struct fl_err *err)
{
    struct fl_fwd_opts o = { .rows = rows, .prec = prec };
    struct fl_net *net = NULL;
    struct fl_prog *g = NULL;
    struct fl_snap *s = NULL;
    float **w = NULL;
    double seconds[4] = { 0 };
    const float mul[3] = { .017f, .017f, .017f }, add[3] = { -2, -2, -2 };
    size_t bytes = (size_t)rows * size * size * 3 * 2;
    unsigned char *tiles = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_SHARED, -1, 0);
    struct fl_fwd_row *row = calloc(rows, sizeof *row);
    float *logits = calloc((size_t)rows * 17, sizeof *logits);
    if (tiles == MAP_FAILED || row == NULL || logits == NULL) {
        free(row);
        free(logits);
        return fl_err_set(err, FL_E_NOMEM, "no memory for %u rows", rows);
    }
    for (uint32_t i = 0; i < rows; i++)
        row[i] = (struct fl_fwd_row){ i, i % 8, 0, 0, size, size };
    for (size_t i = 0; i < bytes; i++)
        tiles[i] = (unsigned char)(i * 2654435761u >> 11);
    (void)mprotect(tiles, bytes, PROT_READ);
    double from = speed_now();
    int code = fl_net_new(arch, 3, size, 17, 0, &net, err);
    if (code == FL_OK)
        code = fl_forward_plugin.compile(net, &o, &g, err);
    double compiled = speed_now() - from;
    if (code == FL_OK) {
        struct fl_weights weights = { (const float *const *)(w = rule_weights(net)) };
        code = fl_cu_load_snap(g, &weights, &s, err);
    }
    struct fl_fwd_views v = { tiles, rows, size, size, false, row, mul, add };
    if (code == FL_OK)
        code = speed_fed(g, s, &v, logits, &seconds[2], err);      /* first, so that the input isn't noise */
    v.wide = true;
    if (code == FL_OK)
        code = speed_fed(g, s, &v, logits, &seconds[3], err);
    if (code == FL_OK)
        code = speed_resident(g, s, true, &seconds[0], err);
    if (code == FL_OK)
        code = speed_resident(g, s, false, &seconds[1], err);
    if (code == FL_OK)
        printf("{\"arch\": \"%s\", \"precision\": \"%s\", \"size\": %u, \"rows\": %u, \"graph\": %s, \"registered\": %s, \"compile_s\": %.1f, \"resident\": %.0f, \"eager\": %.0f, \"u8\": %.0f, "
               "\"u16\": %.0f}\n", arch, prec_name(prec), size, rows, s->graph != NULL ? "true" : "false",
               g->nmappings > 0 && g->mapping[0].registered ? "true" : "false", compiled, rows / seconds[0], rows / seconds[1],
               rows / seconds[2], rows / seconds[3]);
    fflush(stdout);
    fl_forward_plugin.snap_free(s);
    fl_forward_plugin.prog_free(g);
    rule_free(net, w);
    fl_net_free(net);
    munmap(tiles, bytes);
    free(row);
    free(logits);
    return code;
}

int main(int argc, char **argv)
{
    char why[300] = "";
    struct fl_err err = { 0 };
    if (fl_forward_plugin.probe(why, sizeof why) <= 0) {
        printf("skipped: no device (%s)\n", why);
        return 0;
    }
    if (argc < 5) {
        fprintf(stderr, "usage: speed ARCH f32|f16|bf16 SIZE ROWS...\n");
        return 2;
    }
    int prec = strcmp(argv[2], "f32") == 0 ? FL_PREC_F32 : strcmp(argv[2], "bf16") == 0 ? FL_PREC_BF16 : FL_PREC_F16;
    for (int i = 4; i < argc; i++)
        if (speed_rows(argv[1], prec, (uint32_t)atoi(argv[3]), (uint32_t)atoi(argv[i]), &err) != FL_OK) {
            fprintf(stderr, "speed: %s\n", err.text);
            return 1;
        }
    return 0;
}
