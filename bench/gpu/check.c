/* The cuda executor on a card: check [ARCH...]. Prints "skipped: no device" where there is none.
 *
 * In this order: versions and the card's description; every operation of small nets against plain loops, with the memory around it
 * compared as well; logits of whole nets against stored ones; repetition, company and graphs; views painted on the card. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "proto/dtype.h"
#include "stages/forward/cuda/device.h"
#include "stages/forward/input.h"
#include "stages/forward/plugin.h"
#include "tests/forward/rule_weights.h"
#include "tests/lib/cuda_twin.h"

extern const struct fl_backend fl_forward_plugin;

static const char *prec_name(int prec) { return prec == FL_PREC_F32 ? "f32" : prec == FL_PREC_F16 ? "f16" : "bf16"; }

static const struct fl_backend *const gpu = &fl_forward_plugin;
static unsigned passed, failed;

static void said(bool ok, const char *what, const char *why)
{
    printf("%s %s%s%s\n", ok ? "ok" : "FAIL", what, ok ? "" : ": ", ok ? "" : why);
    fflush(stdout);
    passed += ok;
    failed += !ok;
}

/* ---- one net on the card ---- */

struct loaded { struct fl_net *net; float **w; struct fl_prog *prog; struct fl_snap *snap; };

static void loaded_done(struct loaded *l)
{
    gpu->snap_free(l->snap);
    gpu->prog_free(l->prog);
    rule_free(l->net, l->w);
    fl_net_free(l->net);
}

static int loaded_open(struct loaded *l, const char *arch, uint32_t size, uint32_t rows, int prec, struct fl_err *err)
{
    struct fl_fwd_opts o = { .rows = rows, .prec = prec };
    memset(l, 0, sizeof *l);
    int code = fl_net_new(arch, 3, size, 17, 0, &l->net, err);
    if (code == FL_OK && (l->w = rule_weights(l->net)) == NULL)
        code = fl_err_set(err, FL_E_NOMEM, "weights");
    if (code == FL_OK)
        code = gpu->compile(l->net, &o, &l->prog, err);
    if (code == FL_OK) {
        struct fl_weights w = { (const float *const *)l->w };
        code = gpu->load(l->prog, &w, &l->snap, err);
    }
    return code;
}

static void fill_tiles(float *to, uint32_t rows, uint32_t size)
{
    size_t row = (size_t)size * size * 3;
    for (uint32_t i = 0; i < rows; i++) {
        char name[32];
        snprintf(name, sizeof name, "tile%u", i);
        rule_fill(name, to + i * row, row, -2, 4);
    }
}

/* ---- operations ---- */

/* Largest difference of two areas of the type, relative to the largest value; where twin has NaN (nobody wrote), the card must have the
 * same bits: a write into a neighbouring slice shows. */
static double areas_differ(const void *got, const void *want, size_t bytes, int type)
{
    double top = 1e-9, off = 0;
    for (size_t i = 0; i < bytes / fl_cu_bytes(type); i++) {
        float g = fl_cu_load(type, got, i), w = fl_cu_load(type, want, i);
        if (isnan(w)) {
            if (!isnan(g))
                return INFINITY;
            continue;
        }
        top = fabs((double)w) > top ? fabs((double)w) : top;
        off = !(fabs((double)g - w) <= off) ? fabs((double)g - w) : off;
    }
    return off / top;
}

/* The twin's memory goes to the card before each operation, which then runs in both. */
static void ops_check(const char *arch, uint32_t size, int prec)
{
    static const double tolerance[] = { [FL_PREC_F32] = 1e-5, [FL_PREC_BF16] = 1.6e-2, [FL_PREC_F16] = 2e-3 };
    struct fl_err err = { 0 };
    struct loaded l;
    struct twin t = { 0 };
    char what[128], why[256] = "";
    int code = loaded_open(&l, arch, size, 2, prec, &err);
    bool ok = code == FL_OK && twin_init(&t, &l.prog->p);
    snprintf(what, sizeof what, "operations of %s %s", arch, prec_name(prec));
    if (!ok) {
        said(false, what, err.text);
    } else {
        const struct fl_cu_program *p = &l.prog->p;
        const size_t bytes[4] = { p->input_bytes, p->arena_bytes, p->scratch_bytes, p->logits_bytes };
        struct fl_weights w = { (const float *const *)l.w };
        float *in = malloc((size_t)2 * size * size * 3 * sizeof(float));
        void *got = malloc(p->arena_bytes + p->logits_bytes + 16);
        fill_tiles(in, 2, size);
        code = fl_cu_pack(p, &w, t.weights, &err);
        twin_input(&t, in);
        for (uint32_t i = 0; i < p->nops && ok && code == FL_OK; i++) {
            const struct fl_cu_op *op = &p->ops[i];
            const struct fl_cu_chosen *c = op->kind == FL_CU_CONV ? &l.prog->chosen[l.prog->use[i]] : NULL;
            t.split = c != NULL && c->choice.split;
            for (int a = 0; a < 4; a++)
                ok = cudaMemcpy(l.prog->area[a], t.area[a], bytes[a], cudaMemcpyHostToDevice) == cudaSuccess && ok;
            ok = cudaDeviceSynchronize() == cudaSuccess && ok;      /* cudaMemcpy may return before the last piece has arrived */
            code = fl_cu_execute(l.prog, i, l.snap->block, t.split, c != NULL ? c->plan : NULL, l.snap->pack[i], &err);
            ok = cudaStreamSynchronize(l.prog->compute) == cudaSuccess && ok;
            twin_op(&t, op);
            int area = op->out.area;
            ok = cudaMemcpy(got, l.prog->area[area], bytes[area], cudaMemcpyDeviceToHost) == cudaSuccess && ok;
            double off = areas_differ(got, t.area[area], bytes[area], area == FL_CU_LOGITS ? FL_CU_F32 : p->type);
            if (code == FL_OK && (!ok || !(off <= tolerance[prec]))) {
                char key[FL_CU_KEY];
                fl_cu_layer_key(&op->layer, key);
                snprintf(why, sizeof why, "operation %u (kind %d, %.150s): off by %.3g", i, op->kind, key, off);
                ok = false;
            }
        }
        said(ok && code == FL_OK, what, code != FL_OK ? err.text : why);
        free(in);
        free(got);
    }
    twin_done(&t);
    loaded_done(&l);
}

/* ---- whole nets ---- */

#define ROWS 8u
static bool golden(const char *arch, uint32_t size, double want[ROWS][17])
{
    FILE *f = fopen("tests/data/forward_logits.txt", "re");
    char line[1024], name[64];
    unsigned s, tile, found = 0;
    int at;
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        if (sscanf(line, "%63s %u %u %n", name, &s, &tile, &at) != 3 || strcmp(name, arch) != 0 || s != size || tile >= ROWS)
            continue;
        char *rest = line + at;
        for (int i = 0; i < 17; i++)
            want[tile][i] = strtod(rest, &rest);
        found++;
    }
    if (f != NULL)
        fclose(f);
    return found == ROWS;
}

static int net_run(struct loaded *l, uint32_t size, uint32_t rows, const float *in, float *out, struct fl_err *err)
{
    memcpy(gpu->input(l->prog), in, (size_t)rows * size * size * 3 * sizeof(float));
    return gpu->run(l->prog, l->snap, out, err);
}

static bool same_bits(const float *a, const float *b, size_t n)
{
    size_t i = 0;
    while (i < n && fl_cu_to_bits(a[i]) == fl_cu_to_bits(b[i]))
        i++;
    return i == n;
}

/* Stored logits; the same bits again, alone, and one by one instead of as a graph. */
static void net_check(const char *arch, uint32_t size, int prec)
{
    static const double tolerance[] = { [FL_PREC_F32] = 1e-3, [FL_PREC_BF16] = 3e-2, [FL_PREC_F16] = 5e-3 };
    struct fl_err err = { 0 };
    struct loaded l;
    char what[128], why[200] = "";
    double want[ROWS][17], top = 0, off = 0;
    float out[ROWS * 17], again[ROWS * 17];
    snprintf(what, sizeof what, "%s %u %s", arch, size, prec_name(prec));
    float *in = malloc((size_t)ROWS * size * size * 3 * sizeof(float));
    int code = golden(arch, size, want) ? loaded_open(&l, arch, size, ROWS, prec, &err) : -1;
    if (code == -1) {
        said(false, what, "no stored logits");
        free(in);
        return;
    }
    fill_tiles(in, ROWS, size);
    if (code == FL_OK)
        code = net_run(&l, size, ROWS, in, out, &err);
    for (uint32_t r = 0; r < ROWS && code == FL_OK; r++)
        for (uint32_t k = 0; k < 17; k++) {
            top = fabs(want[r][k]) > top ? fabs(want[r][k]) : top;
            off = !(fabs(out[r * 17 + k] - want[r][k]) <= off) ? fabs(out[r * 17 + k] - want[r][k]) : off;
        }
    snprintf(why, sizeof why, "off by %.3g of the largest logit, allowed %g", off / top, tolerance[prec]);
    bool ok = code == FL_OK && off <= tolerance[prec] * top;
    if (ok && (code = net_run(&l, size, ROWS, in, again, &err)) == FL_OK && !same_bits(out, again, ROWS * 17)) {
        ok = false;
        snprintf(why, sizeof why, "the same batch twice gives other bits");
    }
    if (ok && l.snap->graph != NULL) {
        cudaGraphExec_t graph = l.snap->graph;
        l.snap->graph = NULL;
        code = net_run(&l, size, ROWS, in, again, &err);
        l.snap->graph = graph;
        ok = code == FL_OK && same_bits(out, again, ROWS * 17);
        snprintf(why, sizeof why, "one by one gives other bits than the graph");
    } else if (ok) {
        printf("note %s: no CUDA graph, runs one by one\n", what);
    }
    if (ok) {
        memset(in + (size_t)size * size * 3, 0, (size_t)(ROWS - 1) * size * size * 3 * sizeof(float));
        code = net_run(&l, size, ROWS, in, again, &err);
        ok = code == FL_OK && same_bits(out, again, 17);
        snprintf(why, sizeof why, "a tile alone gives other bits than in company");
    }
    said(ok && code == FL_OK, what, code != FL_OK ? err.text : why);
    loaded_done(&l);
    free(in);
}

/* Views painted on the card, against the same rows painted here. Tiles of u16 lie in a shared mapping that is only read, as a slab's do,
 * which is registered; those of u8 don't and go through pinned staging. */
static void views_check(int prec, bool wide)
{
    enum { SIZE = 64, SIDE = 80, TILES = 3 };
    struct fl_err err = { 0 };
    struct loaded l;
    struct fl_input in = { 0 };
    double mean[3] = { .485, .456, .406 }, std[3] = { .229, .224, .225 };
    struct fl_fwd_row row[ROWS];
    size_t tile = (size_t)SIDE * SIDE * 3 * (wide ? 2 : 1), image = (size_t)SIZE * SIZE * 3;
    unsigned char *tiles = mmap(NULL, TILES * tile, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | (wide ? MAP_SHARED : MAP_PRIVATE), -1, 0);
    float out[2][ROWS * 17], want[ROWS * 17], *painted = calloc(ROWS * image, sizeof(float));
    uint64_t ticket[2];
    char what[64];
    snprintf(what, sizeof what, "views from %s, %s", wide ? "u16" : "u8", prec_name(prec));
    int code = loaded_open(&l, "tilenet", SIZE, ROWS, prec, &err);
    if (tiles == MAP_FAILED) {
        said(false, what, "no memory for tiles");
        loaded_done(&l);
        free(painted);
        return;
    }
    if (code == FL_OK)
        code = fl_input_init(&in, SIZE, 3, wide ? 65535 : 255, mean, std, &err);
    for (size_t i = 0; i < TILES * tile; i++)
        tiles[i] = (unsigned char)(i * 2654435761u >> 13);
    if (wide)
        (void)mprotect(tiles, TILES * tile, PROT_READ);
    for (uint32_t i = 0; i < ROWS && code == FL_OK; i++) {
        uint32_t s = i % 2 ? SIZE : SIDE - i;
        row[i] = (struct fl_fwd_row){ i == 5 ? FL_FWD_BLANK : i % TILES, i % 8, i % 2 ? i : 0, i % 3, s, i % 2 ? s : s - 3 };
        struct fl_tile t = { tiles + (i % TILES) * tile, wide ? FL_U16 : FL_U8, SIDE, SIDE };
        struct fl_window w = { row[i].g, row[i].x0, row[i].y0, row[i].w, row[i].h };
        if (i != 5)
            code = fl_input_paint(&in, &t, &w, painted + i * image, &err);
    }
    struct fl_fwd_views v = { tiles, TILES, SIDE, SIDE, wide, row, in.mul, in.add };
    if (code == FL_OK)
        code = net_run(&l, SIZE, ROWS, painted, want, &err);
    for (int i = 0; i < 2 && code == FL_OK; i++)
        code = gpu->submit(l.prog, &l.snap, 1, &v, &ticket[i], &err);
    for (int i = 0; i < 2 && code == FL_OK; i++)
        code = gpu->wait(l.prog, ticket[i], out[i], &err);
    bool ok = code == FL_OK && same_bits(out[0], want, ROWS * 17) && same_bits(out[1], want, ROWS * 17);
    if (code == FL_OK && wide && (l.prog->nmappings == 0 || !l.prog->mapping[0].registered))
        printf("note %s: a shared mapping could not be registered, tiles went through staging\n", what);
    said(ok, what, code != FL_OK ? err.text : "other bits than those of an input painted by the processor");
    fl_input_done(&in);
    loaded_done(&l);
    munmap(tiles, TILES * tile);
    free(painted);
}

/* ---- whole ---- */

static void describe(void)
{
    struct fl_err err = { 0 };
    struct fl_be_bag b;
    char text[8192];
    int32_t id = 0;
    int64_t n = 0;
    fl_be_init(&b, &err);
    cudnnBackendDescriptor_t d = fl_be_new(&b, CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
    fl_be_set(&b, d, CUDNN_ATTR_DEVICEPROP_DEVICE_ID, CUDNN_TYPE_INT32, 1, &id);
    fl_be_finalize(&b, d, "the card's description");
    if (b.code == FL_OK && cudnnBackendGetAttribute(d, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, sizeof text - 1, &n, text) == CUDNN_STATUS_SUCCESS) {
        text[n < (int64_t)sizeof text - 1 ? n : (int64_t)sizeof text - 1] = '\0';
        printf("device %s\n", text);
    }
    fl_be_done(&b);
}

int main(int argc, char **argv)
{
    static const struct { const char *arch; uint32_t size; } small[] = { { "tilenet", 45 }, { "resnet18", 35 }, { "resnext50_32x4d", 32 }, { "densenet121", 32 }, { "squeezenet1_1", 43 } };
    static const char *const archs[] = { "resnet50", "densenet121", "resnext50_32x4d", "vgg16", "densenet169" };
    static const int precs[] = { FL_PREC_F32, FL_PREC_F16, FL_PREC_BF16 };
    char why[300] = "";
    if (gpu->probe(why, sizeof why) <= 0) {
        printf("skipped: no device (%s)\n", why);
        return 0;
    }
    printf("%s\n", why);
    describe();
    for (size_t i = 0; i < sizeof small / sizeof small[0]; i++)
        for (int p = 0; p < 3; p++)
            ops_check(small[i].arch, small[i].size, precs[p]);
    for (int p = 0; p < 3; p++) {
        views_check(precs[p], false);
        views_check(precs[p], true);
    }
    for (size_t i = 0; i < sizeof archs / sizeof archs[0]; i++) {
        bool wanted = argc < 2;
        for (int k = 1; k < argc; k++)
            wanted = wanted || strcmp(argv[k], archs[i]) == 0;
        for (int p = 0; p < 3 && wanted; p++)
            net_check(archs[i], 224, precs[p]);
        for (int p = 0; p < 2 && wanted; p++)
            net_check(archs[i], 256, precs[p]);
    }
    printf("%u passed, %u failed\n", passed, failed);
    return failed > 0;
}
