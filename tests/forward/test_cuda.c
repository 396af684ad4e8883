/* The cuda executor without a card: its list of operations in plain loops gives the reference's logits, with channels padded, prologues
 * fused or apart, in all three precisions; the input kernel gives the bits of the one for processors; stored plans are proven. */
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/dtype.h"
#include "stages/forward/cuda/maps.h"
#include "stages/forward/cuda/plans.h"
#include "stages/forward/input.h"
#include "stages/forward/plugin.h"
#include "tests/forward/rule_weights.h"
#include "tests/lib/check.h"
#include "tests/lib/cuda_twin.h"

/* ---- elements ---- */

FL_TEST(halves_are_exact_and_rounded_to_nearest)
{
    for (uint32_t h = 0; h < 65536; h++) {
        float f = fl_cu_from_f16((uint16_t)h), b = fl_cu_from_bf16((uint16_t)h);
        if (!isnan(f))
            CHECK_INT(fl_cu_to_f16(f), h);
        if (!isnan(b))
            CHECK_INT(fl_cu_to_bf16(b), h);
        if (isnan(f))
            CHECK(isnan(fl_cu_from_f16(fl_cu_to_f16(f))));
        if (isnan(b))
            CHECK(isnan(fl_cu_from_bf16(fl_cu_to_bf16(b))));
    }
    /* what lies between two neighbours goes to the nearer one, a tie to the even one: neighbours by the format's definition */
    for (uint32_t h = 0; h < 0x7C00; h++) {
        double lo = fl_cu_from_f16((uint16_t)h), hi = h == 0x7BFF ? 65536 : (double)fl_cu_from_f16((uint16_t)(h + 1)), mid = (lo + hi) / 2;
        CHECK_INT(fl_cu_to_f16((float)mid), h % 2 == 0 ? h : h + 1);
        CHECK_INT(fl_cu_to_f16(nextafterf((float)mid, 0)), h);
        CHECK_INT(fl_cu_to_f16(nextafterf((float)mid, 1e9f)), h + 1);
        CHECK_INT(fl_cu_to_f16(-nextafterf((float)mid, 0)), h | 0x8000);
    }
    for (uint32_t h = 0; h < 0x7F7F; h++) {
        double mid = ((double)fl_cu_from_bf16((uint16_t)h) + fl_cu_from_bf16((uint16_t)(h + 1))) / 2;
        CHECK_INT(fl_cu_to_bf16((float)mid), h % 2 == 0 ? h : h + 1);
    }
    CHECK_INT(fl_cu_to_f16(INFINITY), 0x7C00);
    CHECK_INT(fl_cu_to_f16(1e9f), 0x7C00);
    CHECK_INT(fl_cu_to_f16(1e-9f), 0);
}

/* ---- networks ---- */

#define ROWS 2
struct nets { struct fl_net *net; float **w; float *in; float want[ROWS * 32]; uint32_t labels, channels; };

static void nets_done(struct nets *t)
{
    rule_free(t->net, t->w);
    fl_net_free(t->net);
    free(t->in);
}
#define NETS __attribute__((cleanup(nets_done))) struct nets

/* Logits of the reference, in double. */
static bool nets_open(struct nets *t, const char *arch, uint32_t size, uint32_t channels, uint32_t labels, uint32_t two_layer)
{
    struct fl_err err = { 0 };
    struct fl_prog *prog = NULL;
    struct fl_snap *snap = NULL;
    struct fl_fwd_opts o = { .rows = ROWS, .threads = 1, .prec = FL_PREC_F64 };
    int code = fl_net_new(arch, channels, size, labels, two_layer, &t->net, &err);
    if (code == FL_OK)
        code = fl_backend_ref.compile(t->net, &o, &prog, &err);
    if (code == FL_OK) {
        struct fl_weights w = { (const float *const *)(t->w = rule_weights(t->net)) };
        code = fl_backend_ref.load(prog, &w, &snap, &err);
    }
    size_t row = (size_t)size * size * channels;
    t->labels = labels;
    t->channels = channels;
    t->in = malloc(ROWS * row * sizeof(float));
    for (uint32_t i = 0; i < ROWS && code == FL_OK; i++)
        rule_fill(i == 0 ? "tile0" : "tile1", t->in + i * row, row, -2, 4);
    if (code == FL_OK) {
        memcpy(fl_backend_ref.input(prog), t->in, ROWS * row * sizeof(float));
        code = fl_backend_ref.run(prog, snap, t->want, &err);
    }
    fl_backend_ref.snap_free(snap);
    fl_backend_ref.prog_free(prog);
    if (code != FL_OK)
        fl_fail_at(__FILE__, __LINE__, "%s: %s", arch, err.text);
    return code == FL_OK;
}

static void nets_compare(const struct nets *t, const char *what, const struct twin *got, double tolerance)
{
    double top = 0, off = 0;
    for (uint32_t r = 0; r < ROWS; r++)
        for (uint32_t l = 0; l < t->labels; l++) {
            double want = t->want[r * t->labels + l], is = ((float *)got->area[FL_CU_LOGITS])[r * got->p->logits + l];
            top = fabs(want) > top ? fabs(want) : top;
            off = !(fabs(is - want) <= off) ? fabs(is - want) : off;
        }
    if (!(off <= tolerance * top))
        fl_fail_at(__FILE__, __LINE__, "%s: off by %.3g of the largest logit %.4g, allowed %g", what, off / top, top, tolerance);
}

static void nets_twin(const struct nets *t, const char *arch, int prec, bool split, double tolerance)
{
    struct fl_err err = { 0 };
    struct fl_cu_program p;
    struct twin twin = { 0 };
    struct fl_weights w = { (const float *const *)t->w };
    char what[96];
    snprintf(what, sizeof what, "%s %s%s", arch, fl_prec_name(prec), split ? " split" : "");
    int code = fl_cu_program_make(t->net, ROWS, prec, &p, &err);
    if (code != FL_OK) {
        fl_fail_at(__FILE__, __LINE__, "%s: %s", what, err.text);
        return;
    }
    bool memory = twin_init(&twin, &p);
    code = memory ? fl_cu_pack(&p, &w, twin.weights, &err) : FL_E_NOMEM;
    if (code == FL_OK) {
        twin.split = split;
        twin_input(&twin, t->in);
        twin_run(&twin);
        nets_compare(t, what, &twin, tolerance);
    } else {
        fl_fail_at(__FILE__, __LINE__, "%s: %s", what, err.text);
    }
    twin_done(&twin);
    fl_cu_program_done(&p);
}

static void nets_of(const char *arch, uint32_t size, uint32_t channels, uint32_t labels, uint32_t two_layer, bool halves)
{
    NETS t = { 0 };
    if (!nets_open(&t, arch, size, channels, labels, two_layer))
        return;
    bool dense = strncmp(arch, "densenet", 8) == 0;
    nets_twin(&t, arch, FL_PREC_F32, false, 1e-5);
    if (dense)
        nets_twin(&t, arch, FL_PREC_F32, true, 1e-5);
    if (!halves)
        return;
    nets_twin(&t, arch, FL_PREC_F16, false, 5e-3);
    if (dense)
        nets_twin(&t, arch, FL_PREC_F16, true, 5e-3);
    nets_twin(&t, arch, FL_PREC_BF16, false, 3e-2);
}

FL_TEST(tilenet) { nets_of("tilenet", 45, 3, 7, 0, true); }
FL_TEST(tilenet_with_four_channels_and_two_layers) { nets_of("tilenet", 33, 4, 17, 12, true); }
FL_TEST(resnet) { nets_of("resnet18", 35, 3, 17, 0, true); }
FL_TEST(resnext) { nets_of("resnext50_32x4d", 32, 3, 17, 0, true); }
FL_TEST(densenet) { nets_of("densenet121", 32, 3, 17, 0, true); }
FL_TEST(squeezenet) { nets_of("squeezenet1_1", 43, 3, 17, 0, true); }
FL_TEST(vgg) { nets_of("vgg11", 32, 3, 5, 0, false); }

/* Every arch there is has a list: nothing falls outside what the device can lay out. */
FL_TEST(every_arch_has_a_list)
{
    for (const char *const *a = fl_net_archs(); *a != NULL; a++) {
        struct fl_err err = { 0 };
        struct fl_net *net = NULL;
        struct fl_cu_program p;
        CHECK_OK(fl_net_new(*a, 4, 97, 17, 0, &net, &err), err);
        int code = fl_cu_program_make(net, 3, FL_PREC_F16, &p, &err);
        fl_net_free(net);
        CHECK_OK(code, err);
        CHECK_INT(p.channels, 4);
        CHECK_INT(p.logits, 24);
        for (uint32_t i = 0; i < p.nops; i++) {
            const struct fl_cu_op *op = &p.ops[i];
            char key[FL_CU_KEY];
            fl_cu_layer_key(&op->layer, key);
            if (op->out.at % 16 != 0 || op->in.at % 16 != 0 || op->out.c % 8 != 0 || (op->kind != FL_CU_CONV && op->in.c % 8 != 0) || strlen(key) >= FL_CU_KEY - 1)
                fl_fail_at(__FILE__, __LINE__, "%s: operation %u (%s) isn't aligned", *a, i, key);
        }
        fl_cu_program_done(&p);
    }
}

FL_TEST(what_cant_be_listed_is_named)
{
    struct fl_err err = { 0 };
    struct fl_net *net = NULL;
    struct fl_cu_program p;
    CHECK_OK(fl_net_new("tilenet", 3, 64, 2, 0, &net, &err), err);
    CHECK_INT(fl_cu_program_make(net, 0, FL_PREC_F16, &p, &err), FL_E_CONFIG);
    CHECK_INT(fl_cu_program_make(net, 1, FL_PREC_F64, &p, &err), FL_E_CONFIG);
    CHECK_INT(fl_cu_program_make(net, UINT32_MAX, FL_PREC_F16, &p, &err), FL_E_NOMEM);
    CHECK_OK(fl_cu_program_make(net, 1, FL_PREC_F16, &p, &err), err);
    float **w = rule_weights(net);
    struct fl_weights weights = { (const float *const *)w };
    void *block = malloc(p.weight_bytes);
    w[0][3] = 1e6f;
    CHECK_INT(fl_cu_pack(&p, &weights, block, &err), FL_E_NUM);
    CHECK_HAS(err.text, "too large for f16");
    CHECK_HAS(err.text, fl_net_param(net, 0)->name);
    w[0][3] = NAN;
    CHECK_INT(fl_cu_pack(&p, &weights, block, &err), FL_E_NUM);
    free(block);
    rule_free(net, w);
    fl_cu_program_done(&p);
    fl_net_free(net);
}

/* ---- the input kernel ---- */

static uint32_t draw_state = 12345;
static uint32_t draw(uint32_t n)
{
    draw_state = draw_state * 1664525u + 1013904223u;
    return (uint32_t)((uint64_t)(draw_state >> 4) * n >> 28);
}

/* One random tile size, type and set of windows: every row beside fl_input_paint's. */
static void paint_once(uint32_t size, uint32_t channels, uint32_t h, uint32_t w, int dtype, uint32_t rows)
{
    double mean[8] = { .485, .456, .406, .31, .2, .5, .1, .7 }, std[8] = { .229, .224, .225, .19, .3, .4, .25, .11 };
    struct fl_err err = { 0 };
    struct fl_input in;
    CHECK_OK(fl_input_init(&in, size, channels, dtype == FL_U8 ? 255 : 65535, mean, std, &err), err);
    size_t tile = (size_t)h * w * channels, row = (size_t)size * size * channels, elem = fl_dtype_size(dtype);
    uint32_t ntiles = 3, padded = channels <= 4 ? 4 : 8;
    unsigned char *tiles = malloc(ntiles * tile * elem);
    float *want = malloc(row * sizeof(float)), *got = malloc((size_t)rows * size * size * padded * sizeof(float));
    struct fl_fwd_row *r = calloc(rows, sizeof *r);
    for (size_t i = 0; i < ntiles * tile * elem; i++)
        tiles[i] = (unsigned char)draw(256);
    struct fl_cu_paint_args a = { .tiles = tiles, .rows = r, .out = got, .h = h, .w = w, .channels = channels, .size = size, .padded = padded,
                                  .wide = dtype == FL_U16, .type = FL_CU_F32 };
    memcpy(a.mul, in.mul, channels * sizeof(float));
    memcpy(a.add, in.add, channels * sizeof(float));
    for (uint32_t i = 0; i < rows; i++) {
        uint32_t g = i % 8, wide = g & 4 ? h : w, high = g & 4 ? w : h, s = i % 3 == 0 && size <= wide && size <= high ? size : 0;
        uint32_t ww = s ? s : 1 + draw(wide), hh = s ? s : 1 + draw(high);
        r[i] = (struct fl_fwd_row){ i % 11 == 10 ? FL_FWD_BLANK : draw(ntiles), g, draw(wide - ww + 1), draw(high - hh + 1), ww, hh };
        for (uint32_t y = 0; y < size; y++)
            for (uint32_t x = 0; x < size; x++)
                fl_cu_paint_at(&a, i, y, x);
    }
    for (uint32_t i = 0; i < rows; i++) {
        struct fl_tile t = { tiles + (size_t)(r[i].tile == FL_FWD_BLANK ? 0 : r[i].tile) * tile * elem, dtype, h, w };
        struct fl_window win = { r[i].g, r[i].x0, r[i].y0, r[i].w, r[i].h };
        if (r[i].tile == FL_FWD_BLANK)
            memset(want, 0, row * sizeof(float));
        else
            CHECK_OK(fl_input_paint(&in, &t, &win, want, &err), err);
        for (size_t k = 0; k < (size_t)size * size * padded; k++) {
            float w1 = k % padded < channels ? want[k / padded * channels + k % padded] : 0;
            if (fl_cu_to_bits(got[(size_t)i * size * size * padded + k]) != fl_cu_to_bits(w1)) {
                fl_fail_at(__FILE__, __LINE__, "size %u, %ux%ux%u, row %u {%u %u %u %u %u}, element %zu: %.9g, want %.9g", size, h, w, channels, i, win.g,
                           win.x0, win.y0, win.w, win.h, k, (double)got[(size_t)i * size * size * padded + k], (double)w1);
                break;
            }
        }
    }
    free(tiles);
    free(want);
    free(got);
    free(r);
    fl_input_done(&in);
}

FL_TEST(input_kernel_gives_the_bits_of_the_processors)
{
    paint_once(32, 3, 32, 32, FL_U8, 40);
    paint_once(17, 3, 40, 23, FL_U8, 40);
    paint_once(37, 4, 31, 64, FL_U16, 40);
    paint_once(1, 1, 1, 1, FL_U8, 12);
    paint_once(64, 4, 48, 48, FL_U8, 16);
    paint_once(29, 8, 7, 90, FL_U16, 30);
}

/* ---- plans ---- */

static struct fl_cu_choice plan_of(uint32_t i)
{
    struct fl_cu_choice c = { .split = i % 3 == 0, .micros = (float)i / 2, .config = { .engine = i % 60, .nknobs = i % (FL_CU_KNOBS + 1) } };
    snprintf(c.key, sizeof c.key, "n64_layer%u", i);
    for (uint32_t k = 0; k < c.config.nknobs; k++) {
        c.config.knob[k].type = (int32_t)(i + k);
        c.config.knob[k].value = (int64_t)k * 77 - 300;
    }
    return c;
}

static bool plan_same(const struct fl_cu_choice *a, const struct fl_cu_choice *b)
{
    bool same = a != NULL && strcmp(a->key, b->key) == 0 && a->split == b->split && a->config.engine == b->config.engine && a->config.nknobs == b->config.nknobs;
    for (uint32_t k = 0; same && k < a->config.nknobs; k++)
        same = a->config.knob[k].type == b->config.knob[k].type && a->config.knob[k].value == b->config.knob[k].value;
    return same;
}

FL_TEST(plans_are_kept)
{
    struct fl_err err = { 0 };
    struct fl_cu_plans p, q;
    char path[600];
    snprintf(path, sizeof path, "%s/a/b/plans", fl_tmpdir());
    fl_cu_plans_init(&p, "NVIDIA Card\n 80GB; driver 13000");
    fl_cu_plans_init(&q, p.target);
    CHECK_INT(fl_cu_plans_load(&q, path, &err), FL_E_INPUT);
    CHECK_HAS(err.text, path);
    for (uint32_t i = 0; i < 100; i++) {
        struct fl_cu_choice c = plan_of(i);
        CHECK_OK(fl_cu_plans_put(&p, &c, &err), err);
    }
    CHECK_OK(fl_cu_plans_save(&p, path, &err), err);
    CHECK_OK(fl_cu_plans_load(&q, path, &err), err);
    CHECK_INT(q.n, 100);
    for (uint32_t i = 0; i < 100; i++) {
        struct fl_cu_choice c = plan_of(i);
        CHECK(plan_same(fl_cu_plans_find(&q, c.key), &c));
    }
    /* another process's plans stay; ours replace those of the same layer */
    struct fl_cu_plans r;
    fl_cu_plans_init(&r, p.target);
    struct fl_cu_choice c = plan_of(200);
    CHECK_OK(fl_cu_plans_put(&r, &c, &err), err);
    CHECK_OK(fl_cu_plans_save(&r, path, &err), err);
    CHECK_OK(fl_cu_plans_load(&q, path, &err), err);
    CHECK_INT(q.n, 101);
    /* another card's file */
    fl_cu_plans_done(&r);
    fl_cu_plans_init(&r, "another card");
    CHECK_INT(fl_cu_plans_load(&r, path, &err), FL_E_INPUT);
    CHECK_HAS(err.text, "another card");
    /* a file that others may write */
    CHECK_INT(chmod(path, 0666), 0);
    CHECK_INT(fl_cu_plans_load(&q, path, &err), FL_E_INPUT);
    CHECK_HAS(err.text, "others may write");
    CHECK_INT(q.n, 0);
    CHECK_INT(fl_cu_plans_load(&q, "/dev/null", &err), FL_E_INPUT);
    fl_cu_plans_done(&p);
    fl_cu_plans_done(&q);
    fl_cu_plans_done(&r);
}

FL_TEST(plans_are_bounded)
{
    struct fl_err err = { 0 };
    struct fl_cu_plans p;
    fl_cu_plans_init(&p, "card");
    for (uint32_t i = 0; i < FL_CU_PLANS_MAX + 10; i++) {
        struct fl_cu_choice c = plan_of(i);
        CHECK_OK(fl_cu_plans_put(&p, &c, &err), err);
    }
    CHECK_INT(p.n, FL_CU_PLANS_MAX);
    CHECK(fl_cu_plans_find(&p, "n64_layer9") == NULL && fl_cu_plans_find(&p, "n64_layer10") != NULL);
    size_t len = 0;
    char *text = fl_cu_plans_format(&p, &len);
    CHECK(text != NULL);
    struct fl_cu_plans q;
    fl_cu_plans_init(&q, "card");
    CHECK_OK(fl_cu_plans_parse(&q, text, len, &err), err);
    CHECK_INT(q.n, FL_CU_PLANS_MAX);
    text[len / 2] ^= 1;
    CHECK_INT(fl_cu_plans_parse(&q, text, len, &err), FL_E_INPUT);
    CHECK_HAS(err.text, "checksum");
    CHECK_INT(q.n, 0);
    free(text);
    fl_cu_plans_done(&p);
    fl_cu_plans_done(&q);
}

FL_TEST(plans_have_a_place)
{
    char path[300];
    setenv("FLOWRUN_CACHE", "/some/where", 1);
    CHECK(fl_cu_plans_path("card", path, sizeof path));
    CHECK_HAS(path, "/some/where/cuda-plans-");
    unsetenv("FLOWRUN_CACHE");
    setenv("XDG_CACHE_HOME", "/xdg", 1);
    CHECK(fl_cu_plans_path("card", path, sizeof path));
    CHECK_HAS(path, "/xdg/flowrun/");
    unsetenv("XDG_CACHE_HOME");
    unsetenv("HOME");
    CHECK(!fl_cu_plans_path("card", path, sizeof path));
}

/* ---- memory ---- */

FL_TEST(mappings_are_found)
{
    uintptr_t at;
    size_t bytes;
    bool writable;
    int local;
    char *p = mmap(NULL, 3 * 4096, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED);
    CHECK(fl_cu_find_mapping(p + 5000, 100, &at, &bytes, &writable));
    CHECK(at <= (uintptr_t)p && at + bytes >= (uintptr_t)p + 3 * 4096 && !writable);
    CHECK(!fl_cu_find_mapping(p + 5000, (size_t)1 << 40, &at, &bytes, &writable));
    CHECK(!fl_cu_find_mapping(&local, sizeof local, &at, &bytes, &writable));
    munmap(p, 3 * 4096);
}

/* ---- the object ---- */

/* Where the build has it and no card is there, it says why; with a card, it says what it is. */
FL_TEST(the_plugin_loads_or_says_why)
{
    char why[400] = "";
    if (access("build/plugins/forward_cuda.so", F_OK) != 0) {
        fl_skip("this build has no cuda executor (no nvcc, or no cuDNN)");
        return;
    }
    setenv("FLOWRUN_PLUGINS", "build/plugins", 1);
    const struct fl_backend *b = fl_plugin_backend("cuda", why, sizeof why);
    if (b == NULL) {
        CHECK_HAS(why, "libcudnn");
        return;
    }
    int devices = b->probe(why, sizeof why);
    CHECK(devices != 0 && why[0] != '\0');
    struct fl_err err = { 0 };
    struct fl_net *net = NULL;
    struct fl_prog *prog = NULL;
    struct fl_fwd_memory m;
    struct fl_fwd_opts o = { .rows = 2, .prec = FL_PREC_F16 };
    CHECK_OK(fl_net_new("tilenet", 3, 64, 7, 0, &net, &err), err);
    CHECK_OK(b->memory(net, &o, &m, &err), err);
    CHECK(m.device_prog > 0 && m.device_snap > 0);
    if (devices < 0) {
        CHECK_INT(b->compile(net, &o, &prog, &err), FL_E_DEVICE);
        CHECK_HAS(err.text, "cuda: ");
    }
    fl_net_free(net);
}

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = {
        CASE(halves_are_exact_and_rounded_to_nearest), CASE(tilenet), CASE(tilenet_with_four_channels_and_two_layers), CASE(resnet), CASE(resnext),
        CASE(densenet), CASE(squeezenet), CASE(vgg), CASE(every_arch_has_a_list), CASE(what_cant_be_listed_is_named),
        CASE(input_kernel_gives_the_bits_of_the_processors), CASE(plans_are_kept), CASE(plans_are_bounded), CASE(plans_have_a_place),
        CASE(mappings_are_found), CASE(the_plugin_loads_or_says_why), { 0 },
    };
    return fl_run(cases, argc, argv);
}
