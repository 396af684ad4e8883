/* Painted views against NumPy, SciPy and OpenCV (parity.py): every op, every preset, both ways of sampling. */
#include <sys/stat.h>
#include <unistd.h>

#include "proto/dtype.h"
#include "stages/augment/ops.h"
#include "tests/lib/check.h"
#include "tests/lib/harness.h"

extern const struct fl_stage fl_stage_augment;

#define SIDE 61u      /* odd, so that centres and halves aren't whole */

/* most, rms: allowed difference of values in [0,1], of the exact way. Photometric ops alone are held to 1e-6, hue to 1e-4 (OpenCV adds an epsilon to its
 * denominators). Fixed point has coordinates to 2^-17 and a tile of noise changes by up to 1 from pixel to pixel. */
struct item { const char *ops; uint32_t size; double most; };

static const struct item items[] = {
    { "['d4']", SIDE, 1e-6 }, { "['d4']", 40, 1e-6 }, { "[{'offset':{'p':1}}]", SIDE, 1e-5 }, { "['random_crop']", 40, 1e-6 },
    { "['rotate']", SIDE, 1e-5 }, { "[{'rotate':{'theta':[0,360],'integer':true}}]", 48, 1e-5 }, { "[{'scale':{'s':[0.6,1.6],'p':1}}]", SIDE, 1e-5 },
    { "[{'shear':{'s':[-0.4,0.4],'p':1}}]", SIDE, 1e-5 }, { "['random_sized_crop']", 48, 1e-5 },
    { "[{'random_sized_crop':{'area':[0.08,1],'ratio':[0.75,1.3333]}}]", 80, 1e-5 }, { "['scaled']", 40, 1e-5 }, { "['distort_radial']", SIDE, 1e-5 },
    { "[{'distort_radial':{'k':[1,3]}}]", SIDE, 1e-5 }, { "['distort_grid']", SIDE, 1e-5 }, { "[{'distort_grid':{'n':3,'u':[-0.5,0.5]}}]", SIDE, 1e-5 },
    { "['distort_elastic']", SIDE, 2e-5 }, { "['d4','distort_elastic','rotate']", SIDE, 2e-5 },
    { "['distort_grid','rotate','distort_radial',{'shear':{'p':1}},{'scale':{'p':1}},{'offset':{'p':1}},'d4']", 44, 1e-5 },
    { "[{'contrast':{'p':1,'al':[0.3,2]}}]", SIDE, 1e-6 }, { "[{'contrast_mid':{'al':[0.3,2]}}]", SIDE, 1e-6 }, { "[{'channel_mul':{'p':1,'m':[0.5,1.6]}}]", SIDE, 1e-6 },
    { "[{'channel_add':{'a':[-40,40]}}]", SIDE, 1e-6 }, { "[{'hsv':{'p':1}}]", SIDE, 1e-4 }, { "[{'hsv':{'p':1,'dh':[-360,360],'ds':[-200,200],'dv':[-200,200]}}]", SIDE, 1e-4 },
    { "[{'blur':{'p':1}}]", SIDE, 1e-6 }, { "[{'blur_gauss':{'p':1}}]", SIDE, 1e-6 }, { "[{'blur_gauss':{'p':1,'s':[2,5]}}]", SIDE, 1e-6 },
    { "['rotate',{'contrast':{'p':1}},{'blur':{'p':1}},{'channel_mul':{'p':1}},'contrast_mid','channel_add']", SIDE, 1e-5 },
    { "[{'one_of':['rotate',{'shear':{'p':0.2}},{'scale':{'p':0.9}}]},{'group':{'p':0.5,'ops':['d4','contrast_mid',{'one_of':[{'blur':{'p':0.7}},'channel_add']}]}}]", SIDE, 1e-5 },
};

static char dir[300];
static unsigned ncases;

static void save(const char *ext, const void *data, size_t bytes)
{
    char path[400];
    snprintf(path, sizeof path, "%s/%u.%s", dir, ncases, ext);
    FILE *f = fopen(path, "wb");
    if (f == NULL || fwrite(data, 1, bytes, f) != bytes || fclose(f) != 0)
        abort();
}

struct setting { const char *phase; uint32_t bands; int dtype; uint32_t epoch; bool exact, random; };

/* Noise, whose neighbours differ as much as pixels can. */
static void noise(void *out, size_t n, int dtype, uint32_t seed)
{
    uint32_t x = seed * 2654435761u + 1;
    for (size_t i = 0; i < n; i++) {
        x ^= x << 13; x ^= x >> 17; x ^= x << 5;
        if (dtype == FL_U8)
            ((uint8_t *)out)[i] = (uint8_t)(x >> 24);
        else
            ((uint16_t *)out)[i] = (uint16_t)(x >> 16);
    }
}

/* One batch of two tiles and two views each; every view is a case. */
static void paint(const struct item *it, const struct setting *s)
{
    char options[1500], text[1700];
    struct fl_err err = { 0 };
    snprintf(options, sizeof options, "{'ops':%s,'size':%u,'tile':%u,'normalise':'none','exact':%s,%s}", it->ops, it->size, SIDE, s->exact ? "true" : "false",
             s->random ? "'views':'random:2'" : s->phase[0] == 'f' ? "'copies':2" : "'copies':2,'augs':{'0':'none','3':'unbiased'}");
    for (char *p = options; *p != '\0'; p++)
        *p = *p == '"' ? '\'' : *p;
    struct fl_harness *h = fl_harness_new(&fl_stage_augment, &(struct fl_harness_conf){ .options = options, .seed = 42 }, &err);
    if (h == NULL || fl_harness_open(h, &err) != FL_OK) {
        fl_fail_at(__FILE__, __LINE__, "%s: %s", options, err.text);
        return;
    }
    struct fl_batch *b = fl_harness_batch(h, s->epoch, 2);
    size_t pixels = (size_t)SIDE * SIDE * s->bands, bytes = pixels * fl_dtype_size(s->dtype);
    unsigned char *tiles = fl_harness_tensor(h, b, "pixels", s->dtype, 4, (uint32_t[]){ 2, SIDE, SIDE, s->bands }, NULL);
    noise(tiles, 2 * pixels, s->dtype, s->epoch + 1);
    unsigned char *copy = malloc(2 * bytes);
    memcpy(copy, tiles, 2 * bytes);
    fl_harness_tensor(h, b, "epoch", FL_U32, 1, (uint32_t[]){ 2 }, (uint32_t[]){ s->epoch, s->epoch });
    char ids[2][64];
    for (uint32_t row = 0; row < 2; row++)
        snprintf(ids[row], 64, "%s", fl_id(b, row));
    int rc = fl_harness_push(h, b, &err);
    b = rc == FL_OK ? fl_harness_pop(h) : NULL;
    if (b == NULL) {
        fl_fail_at(__FILE__, __LINE__, "%s: %s", options, err.text);
        free(copy);
        fl_harness_close(h);
        return;
    }
    const float *out = fl_batch_find(b, "input")->data;
    size_t n = (size_t)it->size * it->size * s->bands;
    double most = s->exact ? it->most : it->most < 1e-4 ? 1e-4 : it->most;
    for (uint32_t i = 0; i < 4; i++, ncases++, out += n) {
        int len = snprintf(text, sizeof text, "{\"ops\":%s,\"size\":%u,\"tile\":%u,\"seed\":42,\"id\":\"%s\",\"epoch\":%u,\"view\":%u,\"dtype\":\"%s\",\"phase\":\"%s\","
                           "\"halved\":%s,\"how\":\"%s\",\"most\":%g,\"rms\":%g}", it->ops, it->size, SIDE, ids[i / 2], s->random ? UINT32_MAX : s->epoch, i % 2,
                           fl_dtype_name(s->dtype), s->phase, s->random ? "true" : "false", s->exact ? "exact" : "fixed", most, most);
        for (char *p = text; *p != '\0'; p++)
            *p = *p == '\'' ? '"' : *p;
        save("json", text, (size_t)len);
        save("tile", copy + i / 2 * bytes, bytes);
        save("out", out, n * sizeof *out);
    }
    free(copy);
    fl_harness_free_batch(h, b);
    fl_harness_close(h);
}

static void compare(void)
{
    char line[2000], command[500];
    snprintf(command, sizeof command, "/usr/bin/python3 -B tests/augment/parity.py %s 2>&1", dir);
    if (access("/usr/bin/python3", X_OK) != 0) {
        fl_skip("no /usr/bin/python3");
        return;
    }
    FILE *p = popen(command, "r");
    unsigned seen = 0;
    while (p != NULL && fgets(line, sizeof line, p) != NULL) {
        seen += strncmp(line, "ok  ", 4) == 0;
        if (strncmp(line, "ok  ", 4) != 0)
            fl_fail_at(__FILE__, __LINE__, "%s", strtok(line, "\n"));
        else if (getenv("SHOW") != NULL)
            printf("%s", line);
    }
    CHECK(p != NULL && pclose(p) == 0);
    CHECK_INT(seen, ncases);
}

static void begin(void)
{
    snprintf(dir, sizeof dir, "%s", fl_tmpdir());
    ncases = 0;
}

FL_TEST(every_op_is_what_its_formula_says)
{
    begin();
    for (size_t i = 0; i < sizeof items / sizeof items[0]; i++) {
        paint(&items[i], &(struct setting){ "full", 3, FL_U8, (uint32_t)i % 3, true, false });
        paint(&items[i], &(struct setting){ "full", 3, FL_U8, (uint32_t)i % 3, false, false });
        paint(&items[i], &(struct setting){ "full", 4, FL_U16, 1, i % 2 != 0, false });
    }
    compare();
}

FL_TEST(phases_drop_what_is_biased_and_random_views_are_halved)
{
    begin();
    for (size_t i = 0; i < sizeof items / sizeof items[0]; i++) {
        bool larger = items[i].size > SIDE;
        if (!larger) {
            paint(&items[i], &(struct setting){ "unbiased", 3, FL_U8, 3 + (uint32_t)i, i % 2 != 0, false });
            paint(&items[i], &(struct setting){ "none", 3, FL_U8, (uint32_t)i % 3, i % 2 != 0, false });
        }
        paint(&items[i], &(struct setting){ "full", 3, FL_U8, 0, i % 2 == 0, true });
    }
    compare();
}

FL_TEST(presets_are_lists_like_any_other)
{
    begin();
    for (const struct fl_preset *p = fl_presets; p->name != NULL; p++) {
        struct item it = { p->ops, p->size != 0 ? 48 : SIDE, 1e-5 };
        for (uint32_t epoch = 0; epoch < 3; epoch++)
            paint(&it, &(struct setting){ "full", 3, FL_U8, epoch, epoch % 2 != 0, false });
    }
    compare();
}

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = {
        CASE(every_op_is_what_its_formula_says), CASE(phases_drop_what_is_biased_and_random_views_are_halved), CASE(presets_are_lists_like_any_other), { 0 }
    };
    return fl_run(cases, argc, argv);
}
