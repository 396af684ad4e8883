/* Logits against independent programs: PyTorch (stored and, where it is installed, live) and a Keras network on real tiles. */
#include <stdio.h>
#include <jpeglib.h>
#include <jansson.h>

#include "runtime/model.h"
#include "stages/forward/backend.h"
#include "tests/forward/rule_weights.h"
#include "tests/lib/check.h"

#define PARITY_MAX_LABELS 64
#define PARITY_F32  1e-4               /* of the largest logit: order of sums and folded BN */
#define PARITY_BF16 3e-2               /* 8 bits of mantissa through up to 200 layers */

static bool parity_long(void) { return getenv("FLOWRUN_LONG") != NULL; }

/* ---- running a network of ours ---- */

struct parity { struct fl_net *net; float **w; };

static bool parity_open(struct parity *p, const char *arch, uint32_t size, uint32_t channels, uint32_t labels, uint32_t two_layer)
{
    struct fl_err err = { 0 };
    if (fl_net_new(arch, channels, size, labels, two_layer, &p->net, &err) != FL_OK) {
        fl_fail_at(__FILE__, __LINE__, "%s: %s", arch, err.text);
        return false;
    }
    if (p->w == NULL)
        p->w = rule_weights(p->net);
    return p->w != NULL;
}

/* Logits of tiles 0 .. rows-1 of the rule. */
static bool parity_run(const struct fl_backend *b, const struct parity *p, uint32_t size, uint32_t channels, uint32_t rows, int prec, float *logits)
{
    struct fl_err err = { 0 };
    struct fl_prog *prog = NULL;
    struct fl_snap *snap = NULL;
    struct fl_weights w = { (const float *const *)p->w };
    int code = b->compile(p->net, &(struct fl_fwd_opts){ .rows = rows, .prec = prec }, &prog, &err);
    if (code == FL_OK)
        code = b->load(prog, &w, &snap, &err);
    for (uint32_t i = 0; code == FL_OK && i < rows; i++)
        rule_tile(i, size, channels, b->input(prog) + (size_t)i * size * size * channels);
    if (code == FL_OK)
        code = b->run(prog, snap, logits, &err);
    b->snap_free(snap);
    b->prog_free(prog);
    if (code != FL_OK)
        fl_fail_at(__FILE__, __LINE__, "%s: %s", b->name, err.text);
    return code == FL_OK;
}

static void parity_compare(const char *what, const float *got, const double *want, uint32_t n, double tolerance)
{
    double top = 0, off = 0;
    for (uint32_t i = 0; i < n; i++) {
        top = fabs(want[i]) > top ? fabs(want[i]) : top;
        off = !(fabs(got[i] - want[i]) <= off) ? fabs(got[i] - want[i]) : off;
    }
    if (!(off <= tolerance * top))
        fl_fail_at(__FILE__, __LINE__, "%s: off by %.3g of the largest logit %.4g, allowed %g", what, off / top, top, tolerance);
}

/* ---- stored logits ---- */

#define PARITY_ROWS 2
struct parity_golden { uint32_t size; double want[PARITY_ROWS][17]; };

/* Reads the rows of one arch; returns how many sizes there are. */
static int parity_golden(const char *arch, struct parity_golden *g, int max)
{
    FILE *f = fopen("tests/data/forward_logits.txt", "r");
    char line[1024], name[64];
    int n = 0;
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        unsigned size, tile;
        int at;
        if (sscanf(line, "%63s %u %u %n", name, &size, &tile, &at) != 3 || strcmp(name, arch) != 0 || tile >= PARITY_ROWS)
            continue;
        if (tile == 0 && n < max)
            g[n++].size = size;
        char *rest = line + at;
        for (int i = 0; i < 17 && n > 0; i++)
            g[n - 1].want[tile][i] = strtod(rest, &rest);
    }
    if (f != NULL)
        fclose(f);
    return n;
}

static void parity_stored(const char *arch)
{
    struct parity_golden g[4];
    int n = parity_golden(arch, g, 4);
    CHECK_INT(n, 3);
    struct parity p = { 0 };
    float got[PARITY_ROWS * 17] = { 0 };
    for (int i = 0; i < n && parity_open(&p, arch, g[i].size, 3, 17, 0); i++) {
        char what[96];
        snprintf(what, sizeof what, "cpu f32 %s %u", arch, g[i].size);
        if (parity_run(&fl_backend_cpu, &p, g[i].size, 3, PARITY_ROWS, FL_PREC_F32, got))
            for (int r = 0; r < PARITY_ROWS; r++)
                parity_compare(what, got + r * 17, g[i].want[r], 17, PARITY_F32);
        snprintf(what, sizeof what, "cpu bf16 %s %u", arch, g[i].size);
        if (g[i].size == 224 && fl_backend_cpu.takes(0, FL_PREC_BF16) && parity_run(&fl_backend_cpu, &p, g[i].size, 3, PARITY_ROWS, FL_PREC_BF16, got))
            for (int r = 0; r < PARITY_ROWS; r++)
                parity_compare(what, got + r * 17, g[i].want[r], 17, PARITY_BF16);
        snprintf(what, sizeof what, "ref f32 %s %u", arch, g[i].size);
        if (g[i].size == 64 && parity_run(&fl_backend_ref, &p, 64, 3, 1, FL_PREC_F32, got))
            parity_compare(what, got, g[i].want[0], 17, PARITY_F32);
        fl_net_free(p.net);
        p.net = NULL;
    }
    if (parity_open(&p, arch, 64, 3, 17, 0))
        rule_free(p.net, p.w);
    fl_net_free(p.net);
}

FL_TEST(stored_densenet121) { parity_stored("densenet121"); }
FL_TEST(stored_densenet169) { parity_stored("densenet169"); }
FL_TEST(stored_resnet50) { parity_stored("resnet50"); }
FL_TEST(stored_resnext50) { parity_stored("resnext50_32x4d"); }
FL_TEST(stored_vgg16) { parity_stored("vgg16"); }
FL_TEST(stored_tilenet) { parity_stored("tilenet"); }
FL_TEST(stored_resnet18) { parity_stored("resnet18"); }
FL_TEST(stored_squeezenet) { parity_stored("squeezenet1_1"); }

/* ---- PyTorch beside it ---- */

#define PARITY_PYTHON "/usr/bin/python3 tests/forward/parity.py"

static bool parity_torch(void)
{
    if (system("/usr/bin/python3 -c 'import torchvision' >/dev/null 2>&1") == 0)
        return true;
    fl_skip("no torchvision for /usr/bin/python3");
    return false;
}

struct parity_live { const char *arch; uint32_t size, channels, labels, rows, two_layer; };

static void parity_live_one(FILE *f, const struct parity_live *l)
{
    double want[8 * PARITY_MAX_LABELS] = { 0 };
    float got[8 * PARITY_MAX_LABELS] = { 0 };
    uint32_t n = l->rows * l->labels;
    for (uint32_t i = 0; i < n; i++)
        CHECK_INT(fscanf(f, "%lf", &want[i]), 1);
    struct parity p = { 0 };
    if (parity_open(&p, l->arch, l->size, l->channels, l->labels, l->two_layer) &&
        parity_run(&fl_backend_cpu, &p, l->size, l->channels, l->rows, FL_PREC_F32, got))
        for (uint32_t r = 0; r < l->rows; r++)
            parity_compare(l->arch, got + r * l->labels, want + r * l->labels, l->labels, PARITY_F32);
    rule_free(p.net, p.w);
    fl_net_free(p.net);
}

static void parity_live(const struct parity_live *list, size_t n)
{
    char command[2048] = PARITY_PYTHON " logits";
    size_t at = strlen(command);
    for (size_t i = 0; i < n; i++)
        at += (size_t)snprintf(command + at, sizeof command - at, " %s:%u:%u:%u:%u:%u", list[i].arch, list[i].size,
                               list[i].channels, list[i].labels, list[i].rows, list[i].two_layer);
    FILE *f = popen(command, "r");
    CHECK(f != NULL);
    for (size_t i = 0; i < n; i++)
        parity_live_one(f, &list[i]);
    CHECK_INT(pclose(f), 0);
}

/* Odd sizes, other channels and labels, and the archs without stored logits. */
FL_TEST(live_torch)
{
    static const struct parity_live list[] = {
        { "tilenet", 97, 4, 5, 3, 0 }, { "tilenet", 32, 1, 64, 1, 0 }, { "resnet18", 65, 8, 17, 1, 0 }, { "resnet34", 64, 3, 17, 1, 0 },
        { "resnet101", 64, 3, 17, 1, 0 }, { "resnet152", 33, 3, 17, 1, 0 }, { "resnext101_32x8d", 48, 3, 17, 1, 0 }, { "densenet201", 64, 3, 17, 1, 0 },
        { "densenet161", 71, 3, 17, 1, 0 }, { "squeezenet1_1", 75, 3, 17, 2, 0 }, { "resnet50", 64, 4, 17, 1, 0 }, { "densenet121", 32, 4, 17, 1, 0 },
        { "resnet18", 64, 3, 17, 1, 512 }, { "tilenet", 64, 3, 17, 1, 30 },
    };
    static const struct parity_live heavy[] = {
        { "vgg11", 50, 3, 17, 1, 0 }, { "vgg13", 64, 3, 17, 1, 0 }, { "vgg19", 97, 3, 17, 1, 0 }, { "densenet121", 224, 3, 17, 8, 0 },
        { "densenet121", 256, 3, 17, 8, 0 }, { "densenet169", 224, 3, 17, 8, 0 }, { "densenet169", 256, 3, 17, 8, 0 }, { "resnet50", 224, 3, 17, 8, 0 },
        { "resnet50", 256, 3, 17, 8, 0 }, { "resnext50_32x4d", 224, 3, 17, 8, 0 }, { "resnext50_32x4d", 256, 3, 17, 8, 0 },
        { "vgg16", 224, 3, 17, 8, 0 }, { "vgg16", 256, 3, 17, 8, 0 },
    };
    if (!parity_torch())
        return;
    parity_live(list, sizeof list / sizeof list[0]);
    if (parity_long())
        parity_live(heavy, sizeof heavy / sizeof heavy[0]);
}

FL_TEST(live_keys)
{
    if (!parity_torch())
        return;
    FILE *stored = fopen("tests/data/forward_keys.txt", "r");
    CHECK(stored != NULL);
    FILE *live = popen(PARITY_PYTHON " keys densenet121 densenet169 densenet201 densenet161 resnet18 resnet34 resnet50 resnet101 resnet152"
                       " resnext50_32x4d resnext101_32x8d vgg11 vgg13 vgg16 vgg19 squeezenet1_1 tilenet", "r");
    CHECK(live != NULL);
    char a[256], b[256];
    int n = 0;
    while (fgets(a, sizeof a, stored) != NULL) {
        if (a[0] == '#')
            continue;
        CHECK(fgets(b, sizeof b, live) != NULL);
        CHECK_STR(b, a);
        n++;
    }
    fclose(stored);
    CHECK_INT(pclose(live), 0);
    CHECK_INT(n, 17);
}

/* ---- the Keras SqueezeNet on real tiles ---- */

/* The first three of four components as they are stored, minus the network's means. */
static bool parity_tile(const char *path, float *x)
{
    static const float mean[3] = { 123.68f, 116.779f, 103.939f };
    FILE *f = fopen(path, "rb");
    if (f == NULL)
        return false;
    struct jpeg_decompress_struct d;
    struct jpeg_error_mgr errors;
    d.err = jpeg_std_error(&errors);
    jpeg_create_decompress(&d);
    jpeg_stdio_src(&d, f);
    jpeg_read_header(&d, TRUE);
    d.out_color_space = d.jpeg_color_space;
    jpeg_start_decompress(&d);
    bool fits = d.output_width == 256 && d.output_height == 256 && d.output_components == 4;
    JSAMPLE line[256 * 4], *rows[1] = { line };
    for (uint32_t y = 0; fits && y < 256; y++) {
        jpeg_read_scanlines(&d, rows, 1);
        for (uint32_t i = 0; i < 256; i++)
            for (uint32_t c = 0; c < 3; c++)
                x[(y * 256 + i) * 3 + c] = (float)line[i * 4 + c] - mean[c];
    }
    if (fits)
        jpeg_finish_decompress(&d);
    jpeg_destroy_decompress(&d);
    fclose(f);
    return fits;
}

/* "features.4.expand1x1.bias" -> "fire3.expand1x1.bias" */
static void parity_keras_name(const char *ours, char *theirs, size_t n)
{
    static const struct { const char *ours, *theirs; } map[] = {
        { "features.0.", "conv1." }, { "features.3.", "fire2." }, { "features.4.", "fire3." }, { "features.6.", "fire4." },
        { "features.7.", "fire5." }, { "features.9.", "fire6." }, { "features.10.", "fire7." }, { "features.11.", "fire8." },
        { "features.12.", "fire9." }, { "classifier.0.", "conv10." }, { "classifier.3.", "d1." }, { "classifier.5.", "d2." },
    };
    theirs[0] = '\0';
    for (size_t i = 0; i < sizeof map / sizeof map[0]; i++)
        if (strncmp(ours, map[i].ours, strlen(map[i].ours)) == 0)
            snprintf(theirs, n, "%s%s", map[i].theirs, ours + strlen(map[i].ours));
    char *squeeze = strstr(theirs, ".squeeze.");
    if (squeeze != NULL) {
        char tail[32];
        snprintf(tail, sizeof tail, "%s", squeeze + strlen(".squeeze."));
        snprintf(squeeze, n - (size_t)(squeeze - theirs), ".squeeze1x1.%s", tail);
    }
}

/* [kh,kw,in,out] -> [out,in,kh,kw]; [in,out] -> [out,in]. */
static float *parity_keras_tensor(const struct fl_safetensors *st, const struct fl_param *p)
{
    char name[96];
    parity_keras_name(p->name, name, sizeof name);
    const struct fl_st_tensor *t = fl_safetensors_find(st, name);
    size_t n = rule_count(p);
    if (t == NULL || t->bytes != n * sizeof(float))
        return NULL;
    float *raw = malloc(n * sizeof *raw), *w = malloc(n * sizeof *w);
    if (raw == NULL || w == NULL || fl_st_to_f32(t, raw, NULL) != FL_OK)
        abort();
    uint32_t out = p->shape[0], in = p->ndim > 1 ? p->shape[1] : 1, taps = p->ndim == 4 ? p->shape[2] * p->shape[3] : 1;
    for (uint32_t o = 0; o < out; o++)
        for (uint32_t i = 0; i < in; i++)
            for (uint32_t k = 0; k < taps; k++)
                w[((size_t)o * in + i) * taps + k] = raw[((size_t)k * in + i) * out + o];
    free(raw);
    return w;
}

static void parity_keras_tiles(const struct fl_backend *b, struct fl_prog *prog, struct fl_snap *snap, json_t *tiles, uint32_t most)
{
    const char *name;
    json_t *tile;
    uint32_t seen = 0;
    json_object_foreach(tiles, name, tile) {
        char rel[128];
        snprintf(rel, sizeof rel, "planet-tiles/jpg/%s.jpg", name);
        const char *path = fl_data(rel);
        if (path == NULL || seen == most || !parity_tile(path, b->input(prog)))
            continue;
        double want[17];
        float got[17] = { 0 };
        for (size_t i = 0; i < 17; i++)
            want[i] = json_number_value(json_array_get(json_object_get(tile, "logits"), i));
        struct fl_err err = { 0 };
        CHECK_OK(b->run(prog, snap, got, &err), err);
        parity_compare(name, got, want, 17, 1e-3);
        for (int i = 0; i < 17; i++)
            CHECK_NEAR(got[i], want[i], 1e-3 * fabs(want[i]) + 1e-2);
        seen++;
    }
    CHECK_INT(seen, most);
}

static void parity_keras(const struct fl_backend *b, uint32_t most)
{
    const char *model = fl_data("squeezenet-planet/model.safetensors"), *reference = fl_data("squeezenet-planet/reference.json");
    if (model == NULL || reference == NULL)
        return;
    struct fl_err err = { 0 };
    struct fl_safetensors st;
    CHECK_OK(fl_safetensors_open(model, &st, &err), err);
    struct parity p = { 0 };
    CHECK_OK(fl_net_new("squeezenet_planet", 3, 256, 17, 0, &p.net, &err), err);
    p.w = calloc(fl_net_nparams(p.net), sizeof *p.w);
    CHECK(p.w != NULL);
    for (uint32_t i = 0; i < fl_net_nparams(p.net); i++) {
        p.w[i] = parity_keras_tensor(&st, fl_net_param(p.net, i));
        CHECK(p.w[i] != NULL);
    }
    fl_safetensors_close(&st);
    struct fl_prog *prog = NULL;
    struct fl_snap *snap = NULL;
    struct fl_weights w = { (const float *const *)p.w };
    CHECK_OK(b->compile(p.net, &(struct fl_fwd_opts){ .rows = 1, .prec = FL_PREC_F32 }, &prog, &err), err);
    CHECK_OK(b->load(prog, &w, &snap, &err), err);
    rule_free(p.net, p.w);
    fl_net_free(p.net);
    json_t *root = json_load_file(reference, 0, NULL);
    CHECK(root != NULL);
    parity_keras_tiles(b, prog, snap, json_object_get(root, "tiles"), most);
    json_decref(root);
    b->snap_free(snap);
    b->prog_free(prog);
}

FL_TEST(keras_squeezenet_cpu) { parity_keras(&fl_backend_cpu, 6); }
FL_TEST(keras_squeezenet_ref) { parity_keras(&fl_backend_ref, parity_long() ? 6 : 1); }

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = {
        CASE(stored_tilenet), CASE(stored_resnet18), CASE(stored_squeezenet), CASE(stored_densenet121), CASE(stored_densenet169),
        CASE(stored_resnet50), CASE(stored_resnext50), CASE(stored_vgg16), CASE(keras_squeezenet_cpu), CASE(keras_squeezenet_ref),
        CASE(live_keys), CASE(live_torch), { 0 }
    };
    return fl_run(cases, argc, argv);
}
