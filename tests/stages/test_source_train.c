/* source for training: epochs in orders of their own, folds, short batches, balance, tar archives. */
#include <unistd.h>

#include "proto/dtype.h"
#include "runtime/host.h"
#include "runtime/rng.h"
#include "tests/lib/check.h"
#include "tests/lib/harness.h"

extern const struct fl_stage fl_stage_source, fl_stage_decode;

#define TILES 11

static char dir[200];

static void put(const char *name, const char *text)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "wb");
    if (f == NULL || fwrite(text, 1, strlen(text), f) != strlen(text) || fclose(f) != 0)
        abort();
}

/* Eleven tiles t0 .. t10 (which don't exist: source doesn't look), their labels and folds. */
static void put_lists(void)
{
    char list[2000] = "", labels[2000] = "image_name,tags\n", folds[2000] = "image_name,fold,other\n";
    snprintf(dir, sizeof dir, "%s", fl_tmpdir());
    for (int i = 0; i < TILES; i++) {
        snprintf(list + strlen(list), 100, "/nowhere/t%d.jpg\n", i);
        snprintf(labels + strlen(labels), 100, "t%d,%s\n", i, i == 3 ? "clear blow_down" : i < 6 ? "clear primary" : "cloudy");
        snprintf(folds + strlen(folds), 100, "t%d,%d,%s\n", i, i % 3, i == 4 ? "" : i % 2 ? "1" : "0");
    }
    put("list", list);
    put("labels.csv", labels);
    put("folds.csv", folds);
}

static struct fl_harness *start(const char *options, struct fl_err *err)
{
    static char text[2000];
    snprintf(text, sizeof text, "{'files':'@%s/list',", dir);
    for (const char *p = options; *p != '\0'; p++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%.1s", p[0] == '%' ? dir : "", p[0] == '%' ? "" : p);
    strncat(text, "}", sizeof text - strlen(text) - 1);
    struct fl_harness *h = fl_harness_new(&fl_stage_source, &(struct fl_harness_conf){ .options = text, .seed = 42 }, err);
    int rc = h != NULL ? fl_harness_describe(h, err) : FL_E_CONFIG;
    if (rc == FL_OK)
        rc = fl_harness_open(h, err);
    if (rc == FL_OK)
        return h;
    fl_harness_close(h);
    return NULL;
}

/* What rows of a batch are: id number, epoch, position, ordinal. */
struct row { int id; uint32_t epoch; uint64_t position, ordinal; };

static uint32_t rows_of(struct fl_harness *h, uint64_t batch, struct row *out)
{
    struct fl_err err = { 0 };
    if (fl_harness_produce(h, batch, &err) != FL_OK)
        abort();
    struct fl_batch *b = fl_harness_pop(h);
    uint32_t n = b->n;
    for (uint32_t i = 0; i < n; i++)
        out[i] = (struct row){ atoi(fl_id(b, i) + 1), ((const uint32_t *)fl_batch_find(b, "epoch")->data)[i],
                               ((const uint64_t *)fl_batch_find(b, "position")->data)[i], ((const uint64_t *)fl_batch_find(b, "ordinal")->data)[i] };
    fl_harness_free_batch(h, b);
    return n;
}

/* The epoch's order straight from the generator: r0<<32 | r1 of op 63, keyed by the tile. */
static void expected(uint32_t epoch, int order[TILES])
{
    uint64_t keys[TILES];
    for (int i = 0; i < TILES; i++) {
        char id[8];
        uint64_t h = fl_rng_tile(id, (size_t)snprintf(id, sizeof id, "t%d", i));
        uint32_t out[4];
        fl_philox((uint32_t[]){ (uint32_t)h, (uint32_t)(h >> 32), epoch, 63u << 18 }, (uint32_t[]){ 42, 0 }, out);
        keys[i] = (uint64_t)out[0] << 32 | out[1];
        order[i] = i;
    }
    for (int i = 1; i < TILES; i++)
        for (int k = i; k > 0 && keys[order[k - 1]] > keys[order[k]]; k--) {
            int t = order[k];
            order[k] = order[k - 1];
            order[k - 1] = t;
        }
}

FL_TEST(each_epoch_has_its_own_order)
{
    struct fl_err err = { 0 };
    struct row r[4];
    int order[TILES];
    put_lists();
    struct fl_harness *h = start("'batch':4,'epochs':5,'shuffle':true", &err);
    CHECK(h != NULL);
    CHECK_INT(fl_harness_ctx(h)->host->batches, 15);
    CHECK_INT(fl_harness_ctx(h)->host->tiles, 55);
    CHECK_INT(fl_harness_ctx(h)->host->epochs, 5);
    /* Batches in an order that no cache of epochs likes: a batch is a function of its number. */
    for (uint64_t k = 0; k < 30; k++) {
        uint64_t batch = k * 7 % 15;
        uint32_t n = rows_of(h, batch, r);
        CHECK_INT(n, batch % 3 == 2 ? 3 : 4);
        expected((uint32_t)(batch / 3), order);
        for (uint32_t i = 0; i < n; i++) {
            CHECK_INT(r[i].epoch, batch / 3);
            CHECK_INT(r[i].position, batch % 3 * 4 + i);
            CHECK_INT(r[i].ordinal, batch / 3 * TILES + batch % 3 * 4 + i);
            CHECK_INT(r[i].id, order[r[i].position]);
        }
    }
    CHECK_INT(fl_harness_produce(h, 15, &err), FL_E_BUG);
    fl_harness_close(h);
    /* One epoch alone is the first of them. */
    h = start("'batch':16,'shuffle':true", &err);
    CHECK(h != NULL);
    struct row all[16];
    CHECK_INT(rows_of(h, 0, all), TILES);
    expected(0, order);
    for (int i = 0; i < TILES; i++)
        CHECK_INT(all[i].id, order[i]);
    fl_harness_close(h);
}

FL_TEST(a_short_batch_is_kept_dropped_or_filled)
{
    struct fl_err err = { 0 };
    struct row r[4];
    put_lists();
    struct fl_harness *h = start("'batch':4,'epochs':3,'last':'drop'", &err);
    CHECK(h != NULL);
    CHECK_INT(fl_harness_ctx(h)->host->batches, 6);
    CHECK_INT(fl_harness_ctx(h)->host->tiles, 24);
    CHECK_INT(rows_of(h, 3, r), 4);
    CHECK(r[0].id == 4 && r[3].id == 7 && r[0].epoch == 1 && r[0].ordinal == 12);
    fl_harness_close(h);
    h = start("'batch':4,'epochs':3,'last':'pad'", &err);
    CHECK(h != NULL);
    CHECK_INT(fl_harness_ctx(h)->host->batches, 9);
    CHECK_INT(fl_harness_ctx(h)->host->tiles, 36);
    CHECK_INT(rows_of(h, 5, r), 4);
    CHECK(r[2].id == 10 && r[3].id == 0 && r[3].position == TILES && r[3].ordinal == 23 && r[3].epoch == 1);
    fl_harness_close(h);
    CHECK(start("'batch':12,'last':'drop'", &err) == NULL);
    CHECK_HAS(err.text, "drop leaves nothing");
}

static void ids(const char *options, char *out, struct fl_err *err)
{
    struct row r[16];
    struct fl_harness *h = start(options, err);
    out[0] = '\0';
    if (h == NULL)
        return;
    for (uint32_t i = 0, n = rows_of(h, 0, r); i < n; i++)
        sprintf(out + strlen(out), "%s%d", i ? " " : "", r[i].id);
    fl_harness_close(h);
}

FL_TEST(folds_choose_tiles)
{
    struct fl_err err = { 0 };
    char got[200];
    put_lists();
    ids("'batch':16,'folds':'%/folds.csv','fold':1,'split':'val'", got, &err);
    CHECK_STR(got, "1 4 7 10");
    ids("'batch':16,'folds':'%/folds.csv','fold':1,'split':'train'", got, &err);
    CHECK_STR(got, "0 2 3 5 6 8 9");
    ids("'batch':16,'folds':'%/folds.csv','fold':0,'split':'train','fold_column':'other','labels':'%/labels.csv'", got, &err);
    CHECK_STR(got, "1 3 5 7 9");
    ids("'batch':16,'folds':'%/folds.csv','fold':0,'split':'val','fold_column':'other'", got, &err);
    CHECK_STR(got, "0 2 6 8 10");
}

static const struct { const char *options; int code; const char *says; } refused[] = {
    { "'split':'val'", FL_E_CONFIG, "needs folds" }, { "'split':'val','folds':'%/folds.csv'", FL_E_CONFIG, "needs folds and fold" },
    { "'folds':'%/folds.csv','fold':1", FL_E_CONFIG, "for split" }, { "'split':'val','folds':'%/folds.csv','fold':3", FL_E_CONFIG, "folds 0 to 2" },
    { "'split':'val','folds':'%/folds.csv','fold':0,'fold_column':'none'", FL_E_LABEL, "no column none" },
    { "'split':'val','folds':'%/half.csv','fold':0", FL_E_LABEL, "no row for tile t1" }, { "'split':'val','folds':'%/twice.csv','fold':0", FL_E_LABEL, "twice" },
    { "'split':'val','folds':'%/word.csv','fold':0", FL_E_LABEL, "word.csv:3:" }, { "'balance':'label'", FL_E_CONFIG, "needs labels" },
    { "'split':'val','folds':'%/gap.csv','fold':1", FL_E_INPUT, "no tile" },
};

FL_TEST(what_does_not_fit_is_named)
{
    put_lists();
    put("half.csv", "image_name,fold\nt0,0\n");
    put("twice.csv", "image_name,fold\nt0,0\nt0,1\n");
    put("word.csv", "image_name,fold\nt0,0\nt1,one\n");
    char gap[1000] = "image_name,fold\n";
    for (int i = 0; i < TILES; i++)
        sprintf(gap + strlen(gap), "t%d,%d\n", i, i % 2 * 2);
    put("gap.csv", gap);
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        struct fl_err err = { 0 };
        CHECK(start(refused[i].options, &err) == NULL);
        CHECK_INT(err.code, refused[i].code);
        CHECK_HAS(err.text, refused[i].says);
    }
}

/* blow_down (t3 alone), clear (t0..t5), cloudy (t6..t10), primary (t0..t5 but t3): a quarter of the rows each, sigma sqrt(n/4 * 3/4). */
FL_TEST(balanced_rows_take_labels_alike)
{
    struct fl_err err = { 0 };
    struct row r[16], again[16];
    put_lists();
    struct fl_harness *h = start("'batch':11,'epochs':2000,'balance':'label','labels':'%/labels.csv'", &err);
    CHECK(h != NULL);
    double count[TILES] = { 0 };
    for (uint64_t k = 0; k < 2000; k++) {
        CHECK_INT(rows_of(h, k, r), 11);
        for (int i = 0; i < 11; i++)
            count[r[i].id]++;
    }
    const double n = 22000, want[TILES] = { 11.0 / 120, 11.0 / 120, 11.0 / 120, 7.0 / 24, 11.0 / 120, 11.0 / 120, .05, .05, .05, .05, .05 };
    for (int i = 0; i < TILES; i++)
        CHECK_NEAR(count[i] / n, want[i], 4 * sqrt(want[i] * (1 - want[i]) / n));
    rows_of(h, 77, r);
    rows_of(h, 1999, again);
    rows_of(h, 77, again);
    CHECK(memcmp(r, again, 11 * sizeof *r) == 0);
    fl_harness_close(h);
}

/* ---- archives ---- */

/* Tiles of the build's own, packed by tar(1) in three formats; decoded from there, they are the bytes decoded from their files. */
static bool pack(const char *format)
{
    char command[1500];
    snprintf(command, sizeof command,
             "cd %s && rm -rf in && mkdir -p in/%070d/%070d && cp \"$OLDPWD\"/build/samples/tiles/sample_0000[0-2].jpg in/ && "
             "cp \"$OLDPWD\"/build/samples/tiles/sample_00003.jpg in/%070d/%070d/a.jpg && echo 7 > in/sample_00000.cls && "
             "ln -sf sample_00000.jpg in/link.jpg && tar --format=%s -cf shard.tar in", dir, 0, 0, 0, 0, format);
    return system(command) == 0;
}

static void *decoded(const char *files, uint32_t want, char ids_out[8][64], struct fl_err *err)
{
    char options[600];
    snprintf(options, sizeof options, "{'files':'%s','batch':8,'readahead':true}", files);
    struct fl_harness *h = fl_harness_new(&fl_stage_source, &(struct fl_harness_conf){ .options = options, .B = 8 }, err);
    struct fl_harness *d = fl_harness_new(&fl_stage_decode, &(struct fl_harness_conf){ .options = "{}", .B = 8 }, err);
    struct fl_batch *b = NULL, *made = NULL;
    void *out = NULL;
    if (h != NULL && d != NULL && fl_harness_open(h, err) == FL_OK && fl_harness_open(d, err) == FL_OK && fl_harness_produce(h, 0, err) == FL_OK)
        b = fl_harness_pop(h);
    if (b != NULL && b->n == want) {
        struct fl_batch *in = fl_harness_batch(d, 0, b->n);
        static const char *const names[] = { "path", "span" };
        memcpy(fl_batch_find(in, "id")->data, fl_batch_find(b, "id")->data, fl_batch_find(b, "id")->bytes);
        for (int k = 0; k < 2; k++) {
            const struct fl_tensor *t = fl_batch_find(b, names[k]);
            if (t != NULL)
                fl_harness_tensor(d, in, names[k], t->dtype, t->ndim, t->shape, t->data);
        }
        if (fl_harness_push(d, in, err) == FL_OK)
            made = fl_harness_pop(d);
    }
    bool good = made != NULL && fl_batch_find(made, "span") == NULL;
    for (uint32_t i = 0; good && i < want; i++) {
        snprintf(ids_out[i], 64, "%s", fl_id(made, i));
        good = !fl_rejected(made, i);
    }
    if (good) {
        const struct fl_tensor *t = fl_batch_find(made, "pixels");
        out = malloc(t->bytes);
        memcpy(out, t->data, t->bytes);
    }
    fl_harness_free_batch(h, b);
    fl_harness_free_batch(d, made);
    fl_harness_close(h);
    fl_harness_close(d);
    return out;
}

FL_TEST(tiles_in_archives)
{
    static const char *const formats[] = { "ustar", "gnu", "pax" };
    struct fl_err err = { 0 };
    char file[400], want[8][64], got[8][64];
    snprintf(dir, sizeof dir, "%s", fl_tmpdir());
    if (access("build/samples/tiles/sample_00000.jpg", R_OK) != 0) {
        fl_skip("no build/samples");
        return;
    }
    for (int f = 0; f < 3; f++) {
        CHECK(pack(formats[f]));
        snprintf(file, sizeof file, "%s/shard.tar", dir);
        void *a = decoded(file, 4, got, &err);
        snprintf(file, sizeof file, "%s/in/[as]*.jpg", dir);
        void *b = decoded(file, 3, want, &err);
        CHECK_STR(err.text, "");
        CHECK(a != NULL && b != NULL);
        CHECK_STR(got[0], "a");
        for (int i = 0; i < 3; i++)
            CHECK_STR(got[i + 1], want[i]);
        CHECK(memcmp((char *)a + 196608, b, 3 * (size_t)196608) == 0);
        free(a);
        free(b);
    }
}

FL_TEST(a_damaged_archive_is_named)
{
    char file[400], path[400];
    static char bytes[400000];
    snprintf(dir, sizeof dir, "%s", fl_tmpdir());
    if (access("build/samples/tiles/sample_00000.jpg", R_OK) != 0) {
        fl_skip("no build/samples");
        return;
    }
    CHECK(pack("gnu"));
    snprintf(path, sizeof path, "%s/shard.tar", dir);
    FILE *f = fopen(path, "rb");
    size_t n = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    CHECK(n > 4096 && n < sizeof bytes);
    static const struct { int cut; int at; const char *says; } faults[] = {
        { 700, -1, "cut off" }, { 5000, -1, "beyond the end" }, { 512, -1, "end mark" }, { 0, 3, "checksum" }, { -1, -1, "no tiles" },
    };
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        struct fl_err err = { 0 };
        char keep = bytes[3], options[500];
        size_t len = faults[i].cut > 0 ? (size_t)faults[i].cut : n;
        snprintf(file, sizeof file, "%s/bad.tar", dir);
        f = fopen(file, "wb");
        if (faults[i].at >= 0)
            bytes[faults[i].at] ^= 1;
        if (faults[i].cut >= 0)
            fwrite(bytes, 1, len, f);
        else
            fwrite((char[1024]){ 0 }, 1, 1024, f);
        bytes[3] = keep;
        fclose(f);
        snprintf(options, sizeof options, "{'files':'%s'}", file);
        struct fl_harness *h = fl_harness_new(&fl_stage_source, &(struct fl_harness_conf){ .options = options }, &err);
        CHECK(h != NULL);
        CHECK_INT(fl_harness_describe(h, &err), FL_E_INPUT);
        CHECK_HAS(err.text, "bad.tar");
        CHECK_HAS(err.text, faults[i].says);
        fl_harness_close(h);
    }
}

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = {
        CASE(each_epoch_has_its_own_order), CASE(a_short_batch_is_kept_dropped_or_filled), CASE(folds_choose_tiles), CASE(what_does_not_fit_is_named),
        CASE(balanced_rows_take_labels_alike), CASE(tiles_in_archives), CASE(a_damaged_archive_is_named), { 0 }
    };
    return fl_run(cases, argc, argv);
}
