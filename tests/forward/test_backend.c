/* Executors: no pass changes a result, oneDNN agrees with plain loops on every distinct layer, rows don't see each other. */
#include <malloc.h>
#include <sys/resource.h>
#include <unistd.h>

#include "stages/forward/lower.h"
#include "tests/forward/rule_weights.h"
#include "tests/lib/check.h"

/* ---- one network in one executor ---- */

struct bench { struct fl_net *net; float **w; const struct fl_backend *b; struct fl_prog *prog; struct fl_snap *snap; };

static void bench_done(struct bench *t)
{
    if (t->b != NULL) {
        t->b->snap_free(t->snap);
        t->b->prog_free(t->prog);
    }
    rule_free(t->net, t->w);
    fl_net_free(t->net);
}
#define BENCH __attribute__((cleanup(bench_done))) struct bench

static int bench_load(struct bench *t, struct fl_err *err)
{
    struct fl_weights w = { (const float *const *)t->w };
    return t->b->load(t->prog, &w, &t->snap, err);
}

static void bench_fill(struct bench *t, uint32_t rows)
{
    size_t row = (size_t)t->net->ops[0].h * t->net->ops[0].w * t->net->ops[0].c;
    for (uint32_t i = 0; i < rows; i++) {
        char name[32];
        snprintf(name, sizeof name, "tile%u", i);
        rule_fill(name, t->b->input(t->prog) + i * row, row, -2, 4);
    }
}

static bool bench_open(struct bench *t, const struct fl_backend *b, const char *arch, uint32_t size, uint32_t rows, uint32_t threads, int prec)
{
    struct fl_err err = { 0 };
    t->b = b;
    int code = fl_net_new(arch, 3, size, 7, 0, &t->net, &err);
    if (code == FL_OK && (t->w = rule_weights(t->net)) == NULL)
        code = FL_E_NOMEM;
    if (code == FL_OK)
        code = b->compile(t->net, &(struct fl_fwd_opts){ .rows = rows, .threads = threads, .prec = prec }, &t->prog, &err);
    if (code == FL_OK)
        code = bench_load(t, &err);
    if (code != FL_OK)
        fl_fail_at(__FILE__, __LINE__, "%s: %s", arch, err.text);
    else
        bench_fill(t, rows);
    return code == FL_OK;
}

static bool bench_has_bf16(void)
{
    return fl_backend_cpu.takes(0, FL_PREC_BF16);
}

/* ---- passes ---- */

/* Compiles, runs one tile and frees; net and weights stay. */
static bool passes_run(const struct bench *with, unsigned passes, float *logits)
{
    struct bench t = *with;
    struct fl_err err = { 0 };
    int code = t.b == &fl_backend_ref ? fl_ref_compile_passes(t.net, passes, &(struct fl_fwd_opts){ .rows = 1, .prec = FL_PREC_F64 }, &t.prog, &err)
                                      : fl_cpu_compile_passes(t.net, passes, &(struct fl_fwd_opts){ .rows = 1, .prec = FL_PREC_F32 }, &t.prog, &err);
    if (code == FL_OK)
        code = bench_load(&t, &err);
    if (code == FL_OK) {
        bench_fill(&t, 1);
        code = t.b->run(t.prog, t.snap, logits, &err);
    }
    t.b->snap_free(t.snap);
    t.b->prog_free(t.prog);
    if (code != FL_OK)
        fl_fail_at(__FILE__, __LINE__, "%s: passes %#x: %s", t.b->name, passes, err.text);
    return code == FL_OK;
}

static void passes_compare(const char *arch, unsigned passes, const float *got, const float *want, double tolerance)
{
    double top = 0;
    for (int k = 0; k < 7; k++)
        top = fabs((double)want[k]) > top ? fabs((double)want[k]) : top;
    for (int k = 0; k < 7; k++)
        if (!(fabs((double)got[k] - want[k]) <= tolerance * top))
            fl_fail_at(__FILE__, __LINE__, "%s, passes %#x: logit %d is %.9g, without them %.9g", arch, passes, k, (double)got[k], (double)want[k]);
}

static void passes_of(const char *arch, uint32_t size)
{
    static const unsigned sets[] = {
        FL_PASS_IDENTITY, FL_PASS_FOLD, FL_PASS_FUSE, FL_PASS_AVG, FL_PASS_PRO_POOL, FL_PASS_PRO_CONV, FL_PASS_CONCAT, FL_PASS_MEMORY,
        FL_PASS_FOLD | FL_PASS_FUSE, FL_PASS_CONCAT | FL_PASS_MEMORY | FL_PASS_SUM, FL_PASSES_ALL & ~FL_PASS_PRO_CONV, FL_PASSES_ALL & ~FL_PASS_SUM,
        FL_PASSES_ALL,
    };
    struct fl_err err = { 0 };
    struct fl_net *net = NULL;
    CHECK_OK(fl_net_new(arch, 3, size, 7, 0, &net, &err), err);
    BENCH base = { .net = net, .w = rule_weights(net), .b = &fl_backend_ref };
    float want[7];
    CHECK(passes_run(&base, 0, want));
    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++) {
        float got[7];
        /* logits are rounded to f32 once, behind sums in double */
        if (passes_run(&base, sets[i], got))
            passes_compare(arch, sets[i], got, want, 2e-7);
        struct bench cpu = base;
        cpu.b = &fl_backend_cpu;
        if (passes_run(&cpu, i == 0 ? 0 : sets[i], got))
            passes_compare(arch, sets[i], got, want, 1e-4);
    }
}

FL_TEST(passes_keep_tilenet) { passes_of("tilenet", 45); }
FL_TEST(passes_keep_densenet) { passes_of("densenet121", 32); }
FL_TEST(passes_keep_resnet) { passes_of("resnet18", 35); }
FL_TEST(passes_keep_resnext) { passes_of("resnext50_32x4d", 32); }
FL_TEST(passes_keep_squeezenet) { passes_of("squeezenet1_1", 43); }
FL_TEST(passes_keep_squeezenet_planet) { passes_of("squeezenet_planet", 47); }

/* ---- every distinct layer ---- */

struct layer { struct fl_geom g; uint32_t in, side; bool linear, relu, sum; };

/* input -> layer (+ the same input when it fits, ReLU) -> the image's mean, so that any layer is a network. */
static struct fl_net *layer_net(const struct layer *l)
{
    struct fl_net *n = calloc(1, sizeof *n);
    if (n == NULL || (n->ops = calloc(1, sizeof *n->ops)) == NULL)
        abort();
    snprintf(n->arch, sizeof n->arch, "layer");
    n->channels = l->in;
    n->size = l->side;
    n->ops[0] = (struct fl_op){ .kind = FL_OP_INPUT, .in = { -1, -1 }, .par = -1, .h = l->side, .w = l->side, .c = l->in };
    n->nops = n->ops_cap = 1;
    int x = l->linear ? fl_nb_linear(n, 0, l->g.out, false, "l") : fl_nb_bn(n, fl_nb_conv(n, 0, l->g, "l"), "n");
    if (l->sum && l->in == l->g.out && l->g.stride == 1)
        x = fl_nb_add(n, x, 0);
    if (l->relu)
        x = fl_nb_relu(n, x);
    n->labels = l->g.out;
    if (!l->linear)
        fl_nb_mean(n, x);
    return n;
}

static bool layer_run(const struct fl_backend *b, const struct layer *l, int prec, float *out)
{
    struct fl_net *net = layer_net(l);
    struct bench t = { .net = net, .w = rule_weights(net), .b = b };
    struct fl_err err = { 0 };
    int code = b->compile(net, &(struct fl_fwd_opts){ .rows = 2, .prec = prec }, &t.prog, &err);
    if (code == FL_OK)
        code = bench_load(&t, &err);
    if (code == FL_OK) {
        bench_fill(&t, 2);
        code = b->run(t.prog, t.snap, out, &err);
    }
    struct fl_layer got;
    for (uint32_t i = 0; code == FL_OK && b == &fl_backend_cpu && b->layer(t.prog, i, &got); i++)
        if (strncmp(got.impl, "ref", 3) == 0)
            fl_fail_at(__FILE__, __LINE__, "%u channels to %u, kernel %u: %s", l->in, l->g.out, l->g.k, got.impl);
    if (code != FL_OK)
        fl_fail_at(__FILE__, __LINE__, "%s: %u channels to %u: %s", b->name, l->in, l->g.out, err.text);
    bench_done(&t);
    return code == FL_OK;
}

static void layer_compare(const struct layer *l, const float *got, const float *want, double tolerance, const char *what)
{
    double off = 0, top = 0;
    for (uint32_t i = 0; i < 2 * l->g.out; i++) {
        off = !(fabs((double)got[i] - want[i]) <= off) ? fabs((double)got[i] - want[i]) : off;
        top = fabs((double)want[i]) > top ? fabs((double)want[i]) : top;
    }
    if (!(off <= tolerance * top))
        fl_fail_at(__FILE__, __LINE__, "%s, %u channels to %u, kernel %u/%u, side %u: off by %.3g of %.3g", what, l->in, l->g.out, l->g.k,
                   l->g.stride, l->side, off, top);
}

static void layer_check(const struct layer *l, bool bf16)
{
    float *want = calloc(2 * l->g.out, sizeof *want), *got = calloc(2 * l->g.out, sizeof *got);
    if (want == NULL || got == NULL)
        abort();
    if (layer_run(&fl_backend_ref, l, FL_PREC_F64, want)) {
        if (layer_run(&fl_backend_cpu, l, FL_PREC_F32, got))
            layer_compare(l, got, want, 1e-5, "f32");
        if (bf16 && layer_run(&fl_backend_cpu, l, FL_PREC_BF16, got))
            layer_compare(l, got, want, 2e-2, "bf16");
    }
    free(want);
    free(got);
}

/* A layer's data don't depend on the image's size, so sides are small, odd, and smaller where channels are many. */
static struct layer layer_of(const struct fl_net *n, const struct fl_op *o)
{
    struct layer l = { .in = n->ops[o->in[0]].c, .linear = o->kind == FL_OP_LINEAR, .relu = true, .sum = true };
    l.g = (struct fl_geom){ .out = o->c, .k = o->k, .stride = o->stride, .pad = o->pad, .groups = o->groups, .bias = o->bias };
    uint64_t work = (uint64_t)l.in * o->c * (o->k ? o->k * o->k : 1) / (o->groups ? o->groups : 1);
    l.side = l.linear ? n->ops[o->in[0]].h : work > 500000 ? 3 : work > 60000 ? 5 : 9;
    return l;
}

static bool layer_same(const struct layer *a, const struct layer *b)
{
    return a->in == b->in && a->linear == b->linear && a->side == b->side && a->g.out == b->g.out && a->g.k == b->g.k && a->g.stride == b->g.stride
        && a->g.pad == b->g.pad && a->g.groups == b->g.groups;
}

FL_TEST(every_distinct_layer)
{
    static const char *const archs[] = { "densenet121", "densenet169", "vgg16", "resnet50", "resnext50_32x4d", "squeezenet1_1", "tilenet", "resnet18" };
    static struct layer seen[512];
    uint32_t n = 0;
    bool bf16 = bench_has_bf16();
    for (size_t a = 0; a < sizeof archs / sizeof archs[0]; a++) {
        struct fl_net *net = NULL;
        CHECK_INT(fl_net_new(archs[a], 3, 64, 17, 0, &net, NULL), FL_OK);
        for (uint32_t i = 0; i < net->nops; i++) {
            const struct fl_op *o = &net->ops[i];
            if (o->kind != FL_OP_CONV && o->kind != FL_OP_LINEAR)
                continue;
            struct layer l = layer_of(net, o);
            uint32_t k = 0;
            while (k < n && !layer_same(&seen[k], &l))
                k++;
            /* the 25088 columns of vgg16's first linear layer are checked through its stored logits */
            if (k < n || n == 512 || (l.linear && l.in * l.side * l.side > 5000))
                continue;
            seen[n++] = l;
            layer_check(&l, bf16);
        }
        fl_net_free(net);
    }
    CHECK(n > 100);
}

FL_TEST(one_to_eight_channels)
{
    bool bf16 = bench_has_bf16();
    for (uint32_t c = 1; c <= 8; c++) {
        layer_check(&(struct layer){ { 64, 7, 2, 3, 1, false, false }, c, 33, false, true, false }, bf16);
        layer_check(&(struct layer){ { 64, 3, 1, 1, 1, true, false }, c, 17, false, false, false }, bf16);
        layer_check(&(struct layer){ { 16, 3, 2, 1, 1, false, false }, c, 13, false, true, false }, bf16);
        layer_check(&(struct layer){ { c, 1, 1, 0, 1, true, false }, 31, 5, false, true, false }, bf16);
    }
}

FL_TEST(no_layer_falls_to_reference_loops)
{
    static const int precs[] = { FL_PREC_F32, FL_PREC_BF16 };
    for (const char *const *a = fl_net_archs(); *a != NULL; a++)
        for (int k = 0; k < 1 + bench_has_bf16(); k++) {
            struct fl_net *n = NULL;
            struct fl_prog *p = NULL;
            struct fl_err err = { 0 };
            CHECK_OK(fl_net_new(*a, 3, 97, 17, 0, &n, &err), err);
            CHECK_OK(fl_backend_cpu.compile(n, &(struct fl_fwd_opts){ .rows = 1, .prec = precs[k] }, &p, &err), err);
            struct fl_layer l;
            for (uint32_t i = 0; fl_backend_cpu.layer(p, i, &l); i++)
                if (strncmp(l.impl, "ref", 3) == 0)
                    fl_fail_at(__FILE__, __LINE__, "%s, precision %d, step %u: %s", *a, precs[k], i, l.impl);
            fl_backend_cpu.prog_free(p);
            fl_net_free(n);
        }
}

/* ---- rows, snapshots, threads ---- */

static void rows_are_apart(const struct fl_backend *b, const char *arch, int prec)
{
    BENCH t = { 0 };
    struct fl_err err = { 0 };
    float a[4 * 7], c[4 * 7];
    if (!bench_open(&t, b, arch, 40, 4, 1, prec))
        return;
    CHECK_OK(b->run(t.prog, t.snap, a, &err), err);
    size_t row = 40 * 40 * 3;
    float *in = b->input(t.prog);
    memcpy(in, in + 2 * row, row * sizeof *in);            /* tile 2 first, other company */
    rule_fill("stranger", in + row, row, -9, 18);
    for (size_t i = 0; i < row; i++)
        in[3 * row + i] = NAN;
    CHECK_OK(b->run(t.prog, t.snap, c, &err), err);
    CHECK(memcmp(a + 2 * 7, c + 2 * 7, 7 * sizeof *a) == 0);
    CHECK(memcmp(a + 2 * 7, c, 7 * sizeof *a) == 0);
    CHECK(memcmp(a + 7, c + 7, 7 * sizeof *a) != 0);
    for (int k = 0; k < 7; k++)
        CHECK(isnan(c[3 * 7 + k]));
}

FL_TEST(rows_dont_see_each_other)
{
    static const char *const archs[] = { "tilenet", "resnet18", "densenet121", "squeezenet1_1", "resnext50_32x4d", "squeezenet_planet" };
    for (size_t i = 0; i < sizeof archs / sizeof archs[0]; i++) {
        rows_are_apart(&fl_backend_cpu, archs[i], FL_PREC_F32);
        if (bench_has_bf16())
            rows_are_apart(&fl_backend_cpu, archs[i], FL_PREC_BF16);
    }
    rows_are_apart(&fl_backend_ref, "tilenet", FL_PREC_F32);
}

/* The same tile in every row, and then in every other row among strangers. */
static void rows_are_alike(const char *arch, uint32_t size, uint32_t rows, uint32_t threads, int prec)
{
    BENCH t = { 0 };
    struct fl_err err = { 0 };
    float a[16 * 7];
    if (!bench_open(&t, &fl_backend_cpu, arch, size, rows, threads, prec))
        return;
    size_t row = (size_t)size * size * 3;
    float *in = t.b->input(t.prog), first[7];
    for (uint32_t company = 0; company < 2; company++) {
        for (uint32_t i = 1; i < rows; i++) {
            if (company == 0 || i % 2 == 0)
                memcpy(in + i * row, in, row * sizeof *in);
            else
                rule_fill("stranger", in + i * row, row, -9, 18);
        }
        CHECK_OK(t.b->run(t.prog, t.snap, a, &err), err);
        if (company == 0)
            memcpy(first, a, sizeof first);
        for (uint32_t i = 0; i < rows; i++)
            if ((company == 0 || i % 2 == 0) && memcmp(a + i * 7, first, sizeof first) != 0)
                fl_fail_at(__FILE__, __LINE__, "%s, %u px, %u rows, %u threads, precision %d: row %u differs from row 0", arch, size, rows, threads, prec, i);
    }
}

FL_TEST(a_tile_has_the_same_bits_in_every_row)
{
    static const struct { const char *arch; uint32_t size; } nets[] = {
        { "tilenet", 70 }, { "densenet121", 56 }, { "resnet18", 65 }, { "resnext50_32x4d", 64 }, { "squeezenet1_1", 83 }, { "vgg11", 64 },
    };
    bool all = getenv("FLOWRUN_LONG") != NULL;
    for (size_t i = 0; i < (all ? sizeof nets / sizeof nets[0] : 2); i++)
        for (int k = 0; k < 2 + 2 * bench_has_bf16(); k++)
            if (all || k == 1 || k == 2)
                rows_are_alike(nets[i].arch, nets[i].size, i % 2 ? 15 : 16, 1 + (uint32_t)k % 2, k < 2 ? FL_PREC_F32 : FL_PREC_BF16);
}

static void snaps_share(const struct fl_backend *b, const char *arch)
{
    BENCH t = { 0 };
    struct fl_err err = { 0 };
    struct fl_snap *other = NULL;
    float a[14], c[14], again[14];
    if (!bench_open(&t, b, arch, 36, 2, 1, FL_PREC_F32))
        return;
    for (uint32_t i = 0; i < fl_net_nparams(t.net); i++)
        t.w[i][0] += 0.125f;
    struct fl_weights w = { (const float *const *)t.w };
    CHECK_OK(b->load(t.prog, &w, &other, &err), err);
    CHECK_OK(b->run(t.prog, t.snap, a, &err), err);
    CHECK_OK(b->run(t.prog, other, c, &err), err);
    CHECK_OK(b->run(t.prog, t.snap, again, &err), err);
    b->snap_free(other);
    CHECK(memcmp(a, again, sizeof a) == 0);
    CHECK(memcmp(a, c, sizeof a) != 0);
}

FL_TEST(snapshots_share_a_prog_and_its_input)
{
    snaps_share(&fl_backend_cpu, "densenet121");
    snaps_share(&fl_backend_cpu, "resnet18");
    snaps_share(&fl_backend_ref, "tilenet");
}

/* This process's memory, without what malloc keeps for later. */
static uint64_t bytes_held(void)
{
    unsigned long long pages = 0;
    malloc_trim(0);
    FILE *f = fopen("/proc/self/statm", "r");
    if (f == NULL || fscanf(f, "%*u %llu", &pages) != 1)
        abort();
    fclose(f);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* k sets of weights take what one takes and (k - 1) times the weights: as the executor says, and as the system counts it. */
static void snaps_cost_their_weights(const char *arch, int prec)
{
    BENCH t = { 0 };
    struct fl_err err = { 0 };
    struct fl_snap *other[2] = { NULL };
    struct fl_fwd_memory m;
    float out[4 * 7];
    if (!bench_open(&t, &fl_backend_cpu, arch, 64, 4, 1, prec))
        return;
    CHECK_OK(t.b->memory(t.net, &(struct fl_fwd_opts){ .rows = 4, .threads = 1, .prec = prec }, &m, &err), err);
    uint64_t weights = 0;
    for (uint32_t i = 0; i < fl_net_nparams(t.net); i++)
        weights += fl_param_count(fl_net_param(t.net, i)) * (prec == FL_PREC_F32 ? 4 : 2);
    CHECK(m.snap > weights / 10 * 9 && m.snap < weights + weights / 50);      /* BN folded; an image's channels padded */
    CHECK_OK(t.b->run(t.prog, t.snap, out, &err), err);
    struct fl_weights w = { (const float *const *)t.w };
    uint64_t one = bytes_held();
    for (uint64_t k = 0; k < 2; k++) {
        CHECK_OK(t.b->load(t.prog, &w, &other[k], &err), err);
        CHECK_OK(t.b->run(t.prog, other[k], out, &err), err);
        uint64_t more = bytes_held() - one, want = (k + 1) * m.snap;
        if (more < want - want / 100 || more > want + want / 100 + (1u << 20))
            fl_fail_at(__FILE__, __LINE__, "%s: %llu more sets take %llu bytes, want %llu", arch, (unsigned long long)k + 1, (unsigned long long)more, (unsigned long long)want);
    }
    for (int k = 0; k < 2; k++)
        t.b->snap_free(other[k]);
    CHECK(bytes_held() < one + (1u << 20));
}

FL_TEST(a_snapshot_costs_its_weights)
{
#ifdef __SANITIZE_ADDRESS__
    fl_skip("the sanitizer keeps what was freed");
    return;
#endif
    snaps_cost_their_weights("resnet18", FL_PREC_F32);
    snaps_cost_their_weights("densenet121", FL_PREC_F32);
    if (bench_has_bf16())
        snaps_cost_their_weights("resnet18", FL_PREC_BF16);
}

FL_TEST(two_threads_agree_with_one)
{
    BENCH a = { 0 }, b = { 0 };
    struct fl_err err = { 0 };
    float x[21], y[21];
    if (!bench_open(&a, &fl_backend_cpu, "resnet18", 64, 3, 1, FL_PREC_F32) || !bench_open(&b, &fl_backend_cpu, "resnet18", 64, 3, 2, FL_PREC_F32))
        return;
    CHECK_OK(a.b->run(a.prog, a.snap, x, &err), err);
    CHECK_OK(b.b->run(b.prog, b.snap, y, &err), err);
    double top = 0;
    for (int i = 0; i < 21; i++)
        top = fabs((double)x[i]) > top ? fabs((double)x[i]) : top;
    for (int i = 0; i < 21; i++)
        CHECK_NEAR(y[i], x[i], 1e-5 * top);
}

FL_TEST(a_run_touches_no_new_memory)
{
#ifdef __SANITIZE_ADDRESS__
    fl_skip("the sanitizer keeps what was freed, so its heap grows");
    return;
#endif
    BENCH t = { 0 };
    struct fl_err err = { 0 };
    float out[4 * 7];
    if (!bench_open(&t, &fl_backend_cpu, "densenet121", 96, 4, 1, FL_PREC_F32))
        return;
    CHECK_OK(t.b->run(t.prog, t.snap, out, &err), err);
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    for (int i = 0; i < 5; i++)
        CHECK_OK(t.b->run(t.prog, t.snap, out, &err), err);
    getrusage(RUSAGE_SELF, &after);
    CHECK(after.ru_minflt - before.ru_minflt < 16);
}

/* ---- what is refused ---- */

static void refuses_weights(const struct fl_backend *b)
{
    BENCH t = { 0 };
    struct fl_err err = { 0 };
    struct fl_snap *s = NULL;
    if (!bench_open(&t, b, "tilenet", 32, 1, 1, FL_PREC_F32))
        return;
    struct fl_weights w = { (const float *const *)t.w };
    float keep = t.w[5][7];
    CHECK_STR(fl_net_param(t.net, 5)->name, "features.conv1.weight");
    t.w[5][7] = NAN;
    CHECK_INT(b->load(t.prog, &w, &s, &err), FL_E_NUM);
    CHECK_HAS(err.text, "features.conv1.weight");
    t.w[5][7] = keep;
    CHECK_STR(fl_net_param(t.net, 4)->name, "features.norm0.running_var");
    t.w[4][3] = -1;
    CHECK_INT(b->load(t.prog, &w, &s, &err), FL_E_NUM);
    CHECK_HAS(err.text, "features.norm0.running_var[3]");
    CHECK(s == NULL);
}

FL_TEST(bad_weights_and_settings_are_refused)
{
    refuses_weights(&fl_backend_ref);
    refuses_weights(&fl_backend_cpu);
    struct fl_net *n = NULL;
    struct fl_prog *p = NULL;
    struct fl_err err = { 0 };
    CHECK_OK(fl_net_new("tilenet", 3, 32, 2, 0, &n, &err), err);
    CHECK_INT(fl_backend_cpu.compile(n, &(struct fl_fwd_opts){ .rows = 1, .prec = FL_PREC_F64 }, &p, &err), FL_E_CONFIG);
    CHECK_INT(fl_backend_ref.compile(n, &(struct fl_fwd_opts){ .rows = 1, .prec = FL_PREC_BF16 }, &p, &err), FL_E_CONFIG);
    CHECK_INT(fl_backend_cpu.compile(n, &(struct fl_fwd_opts){ .rows = 0, .prec = FL_PREC_F32 }, &p, &err), FL_E_CONFIG);
    CHECK_INT(fl_backend_ref.compile(n, &(struct fl_fwd_opts){ .rows = 0, .prec = FL_PREC_F32 }, &p, &err), FL_E_CONFIG);
    CHECK(p == NULL);
    fl_net_free(n);
    fl_backend_cpu.prog_free(NULL);
    fl_backend_cpu.snap_free(NULL);
    fl_backend_ref.prog_free(NULL);
    fl_backend_ref.snap_free(NULL);
    char why[128];
    CHECK(fl_backend_cpu.probe(why, sizeof why) > 0);
    CHECK_HAS(why, "oneDNN");
    CHECK(fl_backend_ref.probe(why, sizeof why) > 0);
}

FL_TEST(no_memory_is_an_error)
{
#ifdef __SANITIZE_ADDRESS__
    fl_skip("the sanitizer ends a program that asks for too much");
#else
    struct fl_net *n = NULL;
    struct fl_prog *p = NULL;
    struct fl_err err = { 0 };
    CHECK_OK(fl_net_new("tilenet", 3, 256, 2, 0, &n, &err), err);
    CHECK_INT(fl_backend_cpu.compile(n, &(struct fl_fwd_opts){ .rows = UINT32_MAX }, &p, &err), FL_E_NOMEM);
    CHECK_HAS(err.text, "tilenet");
    CHECK_INT(fl_backend_ref.compile(n, &(struct fl_fwd_opts){ .rows = UINT32_MAX }, &p, &err), FL_E_NOMEM);
    CHECK(p == NULL);
    fl_net_free(n);
#endif
}

/* Eight rows run as two parts with a cut, four as one: the same tiles, other kernels' shapes. */
static void parts_agree(const char *arch, uint32_t size)
{
    BENCH a = { 0 };
    BENCH b = { 0 };
    struct fl_err err = { 0 };
    float whole[4 * 7], parts[8 * 7];
    if (!bench_open(&a, &fl_backend_cpu, arch, size, 4, 1, FL_PREC_F32) || !bench_open(&b, &fl_backend_cpu, arch, size, 8, 1, FL_PREC_F32))
        return;
    size_t four = (size_t)4 * size * size * 3;
    memcpy(b.b->input(b.prog) + four, a.b->input(a.prog), four * sizeof(float));
    CHECK_OK(a.b->run(a.prog, a.snap, whole, &err), err);
    CHECK_OK(b.b->run(b.prog, b.snap, parts, &err), err);
    passes_compare(arch, 8, parts, whole, 1e-5);
    for (int r = 0; r < 8; r++)
        passes_compare(arch, (unsigned)r, parts + r * 7, whole + r % 4 * 7, 1e-4);
}

FL_TEST(parts_agree_with_the_whole)
{
    parts_agree("resnet50", 96);
    parts_agree("densenet121", 96);
    parts_agree("squeezenet1_1", 96);
    parts_agree("vgg11", 64);
}

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = {
        CASE(passes_keep_tilenet), CASE(passes_keep_resnet),
        CASE(passes_keep_resnext), CASE(passes_keep_densenet), CASE(passes_keep_squeezenet), CASE(passes_keep_squeezenet_planet),
        CASE(one_to_eight_channels), CASE(every_distinct_layer), CASE(no_layer_falls_to_reference_loops), CASE(rows_dont_see_each_other), CASE(a_tile_has_the_same_bits_in_every_row),
        CASE(snapshots_share_a_prog_and_its_input), CASE(a_snapshot_costs_its_weights), CASE(parts_agree_with_the_whole),
        CASE(two_threads_agree_with_one), CASE(a_run_touches_no_new_memory),
        CASE(bad_weights_and_settings_are_refused), CASE(no_memory_is_an_error), { 0 }
    };
    return fl_run(cases, argc, argv);
}
