/* Networks on the CPU: against ONNX Runtime and OpenVINO, against a large matmul, snapshots against one network. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "bench/bench.h"

#define NETS 5
#define MAX_PAIRS 99
static const char *const forward_nets[NETS] = { "densenet121", "densenet169", "resnet50", "resnext50_32x4d", "vgg16" };
enum { SIDE_F32, SIDE_BF16, SIDE_F32_256, SIDE_ORT, SIDE_ORT_256, SIDE_OPENVINO, SIDES };      /* ours, then others */
static const struct { const char *name, *size; } forward_sides[SIDES] = {
    { "f32", "224" }, { "bf16", "224" }, { "f32", "256" }, { "onnxruntime", "224" }, { "onnxruntime", "256" }, { "openvino", "224" },
};

/* What a pair has measured already: the geometric means take it over. 0: not yet. */
static double forward_seen[SIDES][NETS][MAX_PAIRS];

static int forward_read(const char *path, const char *key, double *value, struct fl_err *err)
{
    json_t *j = json_load_file(path, 0, NULL), *v = json_object_get(j, key);
    *value = json_number_value(v);
    json_decref(j);
    return *value > 0 ? FL_OK : fl_err_set(err, FL_E_INPUT, "%s: no %s", path, key);
}

static int forward_ours(struct bench *b, const char *net, const char *prec, const char *batch, const char *threads, const char *streams, const char *snapshots,
                        const char *views, const char *size, const char *key, double *value, struct fl_err *err)
{
    char exe[600], out[700];
    struct bench_cost c;
    snprintf(exe, sizeof exe, "%s/tools/forward", b->bin);
    snprintf(out, sizeof out, "%s/forward.json", b->dir);
    int rc = bench_run(b, (const char *[]){ exe, "bench", "--device", "cpu", "--arch", net, "--precision", prec, "--batch", batch, "--threads", threads, "--streams",
                                            streams, "--snapshots", snapshots, "--views", views, "--size", size, "--seconds", "1", "--json", NULL }, out, &c, err);
    return rc == FL_OK ? forward_read(out, key, value, err) : rc;
}

/* The venv with pinned versions and the exported networks are made once (RIVALS=1 is what asks for them). */
static int forward_rivals(struct bench *b, struct fl_err *err)
{
    char python[600], models[600];
    struct stat st;
    struct bench_cost c;
    snprintf(python, sizeof python, "%s/rivals/bin/python", b->bin);
    snprintf(models, sizeof models, "%s/rivals-models", b->bin);
    mkdir(models, 0755);
    int rc = FL_OK;
    if (stat(python, &st) != 0) {
        char make[1400];
        snprintf(make, sizeof make, "/usr/bin/python3 -m venv %s/rivals && %s -m pip install -q onnxruntime==1.32.0 openvino==2026.4.1 numpy==2.4.6", b->bin, python);
        rc = bench_run(b, (const char *[]){ "/bin/sh", "-c", make, NULL }, NULL, &c, err);
    }
    if (rc == FL_OK)
        rc = bench_run(b, (const char *[]){ "/usr/bin/python3", "-B", "bench/rivals.py", "export", models, "224", forward_nets[0], forward_nets[1], forward_nets[2],
                                            forward_nets[3], forward_nets[4], NULL }, NULL, &c, err);
    if (rc == FL_OK)                             /* vgg16's adaptive pool can't be written as ONNX where it does something */
        rc = bench_run(b, (const char *[]){ "/usr/bin/python3", "-B", "bench/rivals.py", "export", models, "256", forward_nets[0], forward_nets[1], forward_nets[2],
                                            forward_nets[3], NULL }, NULL, &c, err);
    return rc;
}

static int forward_rival(struct bench *b, const char *engine, const char *size, const char *net, const char *batch, const char *threads, const char *streams, double *rate, struct fl_err *err)
{
    char python[600], model[700], out[700];
    struct bench_cost c;
    snprintf(python, sizeof python, "%s/rivals/bin/python", b->bin);
    snprintf(model, sizeof model, "%s/rivals-models/%s-%s.onnx", b->bin, net, size);
    snprintf(out, sizeof out, "%s/rival", b->dir);
    int rc = bench_run(b, (const char *[]){ python, "-B", "bench/rivals.py", "run", engine, model, batch, threads, streams, "1", size, NULL }, out, &c, err);
    FILE *f = rc == FL_OK ? fopen(out, "re") : NULL;
    char line[200] = "";
    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        ;                                        /* the figure is in the last line; a library may have warned before */
    if (f != NULL)
        fclose(f);
    if (rc == FL_OK && sscanf(line, "%lf", rate) != 1)
        rc = fl_err_set(err, FL_E_INPUT, "%s: no figure", out);
    return rc;
}

/* Tiles a second: geometric mean over batches of 1 and 8, each the better of two threads and two streams. */
static int forward_rate(struct bench *b, int side, unsigned net, double *rate, struct fl_err *err)
{
    static const char *const batches[] = { "1", "8" }, *const modes[][2] = { { "2", "1" }, { "1", "2" } };
    double *seen = &forward_seen[side][net][b->pair], both = 1;
    int cpu = b->cpu, rc = FL_OK;
    b->cpu = -1;
    for (int i = 0; i < 2 && rc == FL_OK && *seen == 0; i++) {
        double best = 0;
        for (int m = 0; m < 2 && rc == FL_OK; m++) {
            double r = 0;
            rc = side < SIDE_ORT ? forward_ours(b, forward_nets[net], forward_sides[side].name, batches[i], modes[m][0], modes[m][1], "1", "none", forward_sides[side].size, "tiles_s", &r, err)
                                 : forward_rival(b, forward_sides[side].name, forward_sides[side].size, forward_nets[net], batches[i], modes[m][0], modes[m][1], &r, err);
            best = r > best ? r : best;
        }
        both *= best;
    }
    b->cpu = cpu;
    if (rc == FL_OK && *seen == 0)
        *seen = sqrt(both);
    *rate = *seen;
    return rc;
}

/* One net, or with arg NETS the geometric mean over all (at 256 px without vgg16, the last). */
static int forward_mean(struct bench *b, int side, double *rate, struct fl_err *err)
{
    double sum = 0, r = 1;
    unsigned nets = strcmp(forward_sides[side].size, "224") == 0 ? NETS : NETS - 1;
    int rc = FL_OK;
    if (side >= SIDE_ORT && (b->pair == 0))
        rc = forward_rivals(b, err);
    if (b->arg < NETS)
        return rc == FL_OK ? forward_rate(b, side, b->arg, rate, err) : rc;
    for (unsigned i = 0; i < nets && rc == FL_OK; i++) {
        rc = forward_rate(b, side, i, &r, err);
        sum += log(r);
    }
    *rate = exp(sum / nets);
    return rc;
}

int bench_forward_f32(struct bench *b, double *rate, struct fl_err *err) { return forward_mean(b, SIDE_F32, rate, err); }
int bench_forward_bf16(struct bench *b, double *rate, struct fl_err *err) { return forward_mean(b, SIDE_BF16, rate, err); }
int bench_forward_ort(struct bench *b, double *rate, struct fl_err *err) { return forward_mean(b, SIDE_ORT, rate, err); }
int bench_forward_f32_256(struct bench *b, double *rate, struct fl_err *err) { return forward_mean(b, SIDE_F32_256, rate, err); }
int bench_forward_ort_256(struct bench *b, double *rate, struct fl_err *err) { return forward_mean(b, SIDE_ORT_256, rate, err); }
int bench_forward_openvino(struct bench *b, double *rate, struct fl_err *err) { return forward_mean(b, SIDE_OPENVINO, rate, err); }

/* The rest in the processor time of the best execution of one thread: other work on the machine disturbs that least. */

/* GFLOP/s of a network, and of oneDNN's matmul behind it in the same process. */
int bench_forward_flops(struct bench *b, double *gflops, struct fl_err *err)
{
    return forward_ours(b, forward_nets[b->arg], "f32", "8", "1", "1", "1", "none", "224", "gflop_cpu_s", gflops, err);
}

int bench_forward_matmul(struct bench *b, double *gflops, struct fl_err *err)
{
    return forward_ours(b, forward_nets[b->arg], "f32", "8", "1", "1", "1", "none", "224", "matmul_gflop_s", gflops, err);
}

/* Forward passes a second. */
int bench_forward_three(struct bench *b, double *rate, struct fl_err *err)
{
    int rc = forward_ours(b, forward_nets[b->arg], "f32", "8", "1", "1", "3", "none", "224", "tiles_cpu_s", rate, err);
    *rate *= 3;
    return rc;
}

int bench_forward_one(struct bench *b, double *rate, struct fl_err *err)
{
    return forward_ours(b, forward_nets[b->arg], "f32", "8", "1", "1", "1", "none", "224", "tiles_cpu_s", rate, err);
}

int bench_forward_d4(struct bench *b, double *rate, struct fl_err *err)
{
    return forward_ours(b, forward_nets[b->arg], "f32", "8", "1", "1", "1", "d4", "224", "tiles_cpu_s", rate, err);
}
