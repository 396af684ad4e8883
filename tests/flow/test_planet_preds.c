/* Figures on real model outputs: the score at thresholds, the exact decoder, published thresholds, votes. */
#include <jansson.h>
#include <math.h>
#include <zlib.h>

#include "runtime/csv.h"
#include "runtime/labels.h"
#include "runtime/metric.h"
#include "runtime/f2.h"
#include "tests/lib/check.h"

#define L 17

/* Where label l stands in the order CLASS-A of the data's README. */
static const uint32_t class_a[L] = { 5, 13, 12, 14, 16, 0, 3, 11, 7, 8, 1, 2, 4, 9, 15, 10, 6 };

struct rows { uint64_t n; float *p; uint8_t *y; };

static void rows_free(struct rows *r)
{
    free(r->p);
    free(r->y);
    *r = (struct rows){ 0 };
}

/* Data of a 2-D .npy (plain or gzip) of element type `descr`, with 17 columns; the number of rows, or 0. */
static uint64_t npy(const char *path, const char *descr, size_t size, void **data)
{
    gzFile gz = path != NULL ? gzopen(path, "rb") : NULL;
    unsigned char head[10];
    char text[4096], want[64];
    unsigned long long n = 0;
    *data = NULL;
    if (gz == NULL)
        return 0;
    if (gzread(gz, head, 10) == 10 && memcmp(head, "\x93NUMPY\x01", 7) == 0) {
        unsigned len = head[8] | (unsigned)head[9] << 8;
        if (len < sizeof text && gzread(gz, text, len) == (int)len) {
            text[len] = '\0';
            const char *shape = strstr(text, "'shape': (");
            snprintf(want, sizeof want, "'descr': '%s'", descr);
            if (shape != NULL && strstr(text, want) != NULL && strstr(text, "'fortran_order': False") != NULL)
                n = strtoull(shape + 10, NULL, 10);
        }
    }
    if (n > 0 && n < 100000)
        *data = malloc(n * L * size);
    if (*data == NULL || gzread(gz, *data, (unsigned)(n * L * size)) != (int)(n * L * size) || gzread(gz, head, 1) != 0)
        n = 0;
    gzclose(gz);
    return n;
}

/* Adds a file's probabilities, times w, with columns brought to label order, to sum ([n][L], made when NULL). */
static int add_npy(const char *path, double w, uint64_t *n, double **sum)
{
    void *data;
    uint64_t got = npy(path, "<f4", 4, &data);
    if (got == 0 || (*sum != NULL && got != *n)) {
        free(data);
        return 0;
    }
    if (*sum == NULL)
        *sum = calloc(got * L, sizeof **sum);
    *n = got;
    for (uint64_t i = 0; *sum != NULL && i < got; i++)
        for (uint32_t l = 0; l < L; l++)
            (*sum)[i * L + l] += w * ((const float *)data)[i * L + class_a[l]];
    free(data);
    return *sum != NULL;
}

static float *narrow(double *sum, uint64_t n)
{
    float *p = malloc(n * L * sizeof *p);
    for (uint64_t i = 0; p != NULL && i < n * L; i++)
        p[i] = (float)sum[i];
    free(sum);
    return p;
}

/* Labels of the rows a table lists; keeps those whose column `posterior` is at least .9 where there is one. keep[i]: row i is kept. */
static int listed(const char *path, uint64_t n, uint8_t *y, uint8_t *keep)
{
    char *text;
    size_t len;
    struct fl_csv c;
    if (path == NULL || fl_csv_load(path, &text, &len, NULL) != FL_OK)
        return 0;
    fl_csv_init(&c, path, text, len);
    int64_t tags = -1, posterior = -1;
    uint64_t i = 0;
    if (fl_csv_next(&c, NULL) == FL_OK) {
        tags = fl_csv_column(&c, "tags");
        posterior = fl_csv_column(&c, "posterior");
    }
    for (; tags >= 0 && i < n && fl_csv_next(&c, NULL) == FL_OK; i++) {
        keep[i] = posterior < 0 || atof(c.field[posterior]) >= 0.9;
        for (char *save = NULL, *w = strtok_r(c.field[tags], " ", &save); w != NULL; w = strtok_r(NULL, " ", &save))
            for (uint32_t l = 0; l < L; l++)
                if (strcmp(w, fl_default_labels[l]) == 0)
                    y[i * L + l] = 1;
    }
    int all = i == n && fl_csv_next(&c, NULL) == FL_END;
    fl_csv_done(&c);
    free(text);
    return all;
}

static void keep_rows(struct rows *r, const uint8_t *keep)
{
    uint64_t n = 0;
    for (uint64_t i = 0; i < r->n; i++)
        if (keep[i]) {
            memmove(r->p + n * L, r->p + i * L, L * sizeof *r->p);
            memmove(r->y + n++ * L, r->y + i * L, L);
        }
    r->n = n;
}

/* The mean of nfiles .npy files with the labels of a table. */
static int read_npy(struct rows *r, const char *table, uint32_t nfiles, const char *const *files)
{
    double *sum = NULL;
    *r = (struct rows){ 0 };
    for (uint32_t i = 0; i < nfiles; i++)
        if (!add_npy(fl_data(files[i]), 1.0 / nfiles, &r->n, &sum)) {
            free(sum);
            return 0;
        }
    r->p = narrow(sum, r->n);
    r->y = calloc(r->n, L);
    uint8_t *keep = calloc(r->n, 1);
    int ok = r->p != NULL && r->y != NULL && keep != NULL && listed(fl_data(table), r->n, r->y, keep);
    if (ok)
        keep_rows(r, keep);
    free(keep);
    return ok;
}

/* Probabilities and ids of a CSV of the label set, in file order. */
static uint64_t read_csv(const char *path, float **p, char (**ids)[64])
{
    char *text;
    size_t len;
    struct fl_csv c;
    uint64_t n = 0;
    int64_t at[L], id;
    *p = malloc(sizeof **p * L * 8192);
    *ids = malloc(sizeof **ids * 8192);
    if (path == NULL || *p == NULL || *ids == NULL || fl_csv_load(path, &text, &len, NULL) != FL_OK)
        return 0;
    fl_csv_init(&c, path, text, len);
    if (fl_csv_next(&c, NULL) == FL_OK) {
        id = fl_csv_column(&c, "image_name");
        for (uint32_t l = 0; l < L; l++)
            at[l] = fl_csv_column(&c, fl_default_labels[l]);
        for (; n < 8192 && fl_csv_next(&c, NULL) == FL_OK; n++) {
            snprintf((*ids)[n], 64, "%s", c.field[id]);
            for (uint32_t l = 0; l < L; l++)
                (*p)[n * L + l] = strtof(c.field[at[l]], NULL);
        }
    }
    fl_csv_done(&c);
    free(text);
    return n;
}

static int labels_of(struct rows *r, char (*ids)[64])
{
    const char *path = fl_data("planet-labels/train_v2.csv.gz");
    struct fl_truth t;
    if (path == NULL || fl_truth_read(path, L, fl_default_labels, FL_DEFAULT_EXCLUSIVE, FL_DEFAULT_REST_OFF, 0, &t, NULL) != FL_OK)
        return 0;
    r->y = malloc(r->n * L);
    int ok = r->y != NULL;
    for (uint64_t i = 0; ok && i < r->n; i++) {
        int64_t at = fl_truth_find(&t, ids[i]);
        ok = at >= 0;
        if (ok)
            memcpy(r->y + i * L, t.y + at * L, L);
    }
    fl_truth_free(&t);
    return ok;
}

/* One CSV, or the mean of two with the same rows. */
static int read_atc(struct rows *r, const char *first, const char *second)
{
    float *q = NULL;
    char (*ids)[64], (*ids2)[64] = NULL;
    *r = (struct rows){ 0 };
    r->n = read_csv(fl_data(first), &r->p, &ids);
    int ok = r->n > 0;
    if (ok && second != NULL) {
        ok = read_csv(fl_data(second), &q, &ids2) == r->n;
        for (uint64_t i = 0; ok && i < r->n; i++)
            ok = strcmp(ids[i], ids2[i]) == 0;
        for (uint64_t i = 0; ok && i < r->n * L; i++)
            r->p[i] = (float)(((double)r->p[i] + q[i]) / 2);
    }
    ok = ok && labels_of(r, ids);
    free(ids);
    free(ids2);
    free(q);
    return ok;
}

static double score(const struct rows *r, const double *t)
{
    struct fl_metric m = { 0 };
    uint8_t *h = malloc(r->n * L);
    double mean = NAN;
    if (h != NULL && fl_metric_binarise(r->n, L, r->p, t, h, NULL) == FL_OK && fl_metric(r->n, L, r->y, h, 2, 0, NULL, &m, NULL) == FL_OK)
        mean = m.mean;
    free(h);
    return mean;
}

static double score_at(const struct rows *r, double threshold)
{
    double t[L];
    for (uint32_t l = 0; l < L; l++)
        t[l] = threshold;
    return score(r, t);
}

static double best_at(const struct rows *r, double *at)
{
    double best = -1;
    for (int k = 10; k <= 80; k++) {
        double s = score_at(r, k / 200.0);
        if (s > best) {
            best = s;
            *at = k / 200.0;
        }
    }
    return best;
}

/* Row by row and eight at a time must give the same sets. */
static double score_exact(const struct rows *r)
{
    struct fl_f2 f;
    struct fl_metric m = { 0 };
    uint8_t *h = malloc(r->n * L);
    double *p = malloc(r->n * L * sizeof *p), *e = malloc(r->n * sizeof *e), *work = aligned_alloc(64, fl_f2_work(L) * sizeof *work), e1;
    uint64_t *sets = malloc(r->n * sizeof *sets);
    int ok = h && p && e && work && sets && fl_f2_init(&f, L, 2, 0, 0, UINT32_MAX, NULL) == FL_OK;
    for (uint64_t i = 0; ok && i < r->n * L; i++)
        p[i] = r->p[i];
    if (ok)
        fl_f2_exact_rows(&f, (uint32_t)r->n, p, sets, e, work);
    for (uint64_t i = 0; ok && i < r->n; i++) {
        ok = fl_f2_exact(&f, p + i * L, &e1) == sets[i] && e1 == e[i];
        for (uint32_t l = 0; l < L; l++)
            h[i * L + l] = sets[i] >> l & 1;
    }
    ok = ok && fl_metric(r->n, L, r->y, h, 2, 0, NULL, &m, NULL) == FL_OK;
    free(h);
    free(p);
    free(e);
    free(work);
    free(sets);
    return ok ? m.mean : NAN;
}

struct figures { double at02, best, threshold, exact; };      /* exact 0: not listed */

#define CHECK_FIGURES(r, rows_, f) do { double at_ = 0; \
    CHECK_INT((r)->n, rows_); \
    CHECK_NEAR(score_at(r, 0.2), (f).at02, 1e-6); \
    CHECK_NEAR(best_at(r, &at_), (f).best, 1e-6); \
    CHECK_NEAR(score_at(r, (f).threshold), (f).best, 1e-6); \
    if ((f).exact > 0) \
        CHECK_NEAR(score_exact(r), (f).exact, 1e-6); \
} while (0)

FL_TEST(atc)
{
    static const struct { const char *first, *second; uint64_t n; struct figures f; } all[] = {
        { "planet-preds/atc/atc_1_val.csv.gz", NULL, 4042, { 0.921328, 0.921539, 0.21, 0.922573 } },
        { "planet-preds/atc/atc_1_v2_val.csv.gz", NULL, 4042, { 0.917919, 0.918075, 0.195, 0.918741 } },
        { "planet-preds/atc/atc_2_val.csv.gz", NULL, 3987, { 0.915586, 0.916079, 0.16, 0.915475 } },
        { "planet-preds/atc/atc_3_val.csv.gz", NULL, 4003, { 0.900383, 0.900719, 0.215, 0.900881 } },
        { "planet-preds/atc/atc_1_val.csv.gz", "planet-preds/atc/atc_1_v2_val.csv.gz", 4042, { 0.922056, 0.922202, 0.18, 0.922545 } },
    };
    if (fl_data("planet-preds/atc/atc_1_val.csv.gz") == NULL)
        return;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        struct rows r;
        CHECK(read_atc(&r, all[i].first, all[i].second));
        CHECK_FIGURES(&r, all[i].n, all[i].f);
        rows_free(&r);
    }
}

static const char *const pynet[] = {
    "planet-preds/pynet/valid_default.npy", "planet-preds/pynet/valid_left-right.npy", "planet-preds/pynet/valid_up-down.npy",
    "planet-preds/pynet/valid_rotate.npy",
};

FL_TEST(pynet_views)
{
    static const struct { uint32_t first, n; struct figures f; } all[] = {
        { 0, 1, { 0.924044, 0.924317, 0.23, 0 } }, { 1, 1, { 0.924570, 0.924951, 0.215, 0 } }, { 2, 1, { 0.923549, 0.923986, 0.225, 0 } },
        { 3, 1, { 0.923164, 0.923954, 0.215, 0 } }, { 0, 4, { 0.924651, 0.924917, 0.23, 0.925016 } },
    };
    if (fl_data(pynet[0]) == NULL)
        return;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        struct rows r;
        CHECK(read_npy(&r, "planet-preds/pynet/rows.csv", all[i].n, pynet + all[i].first));
        CHECK_FIGURES(&r, 5370, all[i].f);
        rows_free(&r);
    }
}

FL_TEST(rgbn_resnet)
{
    /* primary, clear, agriculture, road, water, partly_cloudy, cultivation, habitation, haze, cloudy, bare_ground, selective_logging,
     * artisinal_mine, blooming, slash_burn, blow_down, conventional_mine */
    static const uint32_t column[L] = { 2, 12, 10, 13, 15, 1, 9, 16, 6, 7, 8, 5, 0, 3, 11, 14, 4 };
    struct rows r = { 0 };
    void *p, *y;
    if (fl_data("planet-preds/rgbn-resnet/pred.npy") == NULL)
        return;
    r.n = npy(fl_data("planet-preds/rgbn-resnet/pred.npy"), "<f4", 4, &p);
    CHECK_INT(npy(fl_data("planet-preds/rgbn-resnet/labels.npy"), "|u1", 1, &y), r.n);
    CHECK(r.n > 0);
    r.p = malloc(r.n * L * sizeof *r.p);
    r.y = malloc(r.n * L);
    CHECK(r.p != NULL && r.y != NULL);
    for (uint64_t i = 0; i < r.n; i++)
        for (uint32_t l = 0; l < L; l++) {
            r.p[i * L + l] = ((float *)p)[i * L + column[l]];
            r.y[i * L + l] = ((uint8_t *)y)[i * L + column[l]];
        }
    free(p);
    free(y);
    CHECK_FIGURES(&r, 5461, ((struct figures){ 0.894632, 0.894947, 0.21, 0.894673 }));
    rows_free(&r);
}

static const char *const tta6_models[] = { "densenet121", "densenet161", "densenet169", "resnet18", "resnet34", "resnet50" };
static const char *const tta6_views[] = { "identity", "transpose", "antitranspose", "vflip", "rot180" };

FL_TEST(tta6)
{
    static const struct { struct figures one, five; } all[] = {
        { { 0.912438, 0.913409, 0.24, 0 }, { 0.915869, 0.915869, 0.2, 0 } }, { { 0.916453, 0.916800, 0.175, 0 }, { 0.920065, 0.920448, 0.205, 0 } },
        { { 0.915361, 0.915748, 0.165, 0 }, { 0.916564, 0.916800, 0.195, 0 } }, { { 0.868004, 0.868022, 0.195, 0 }, { 0.870229, 0.870774, 0.21, 0 } },
        { { 0.914113, 0.914882, 0.185, 0 }, { 0.916733, 0.917290, 0.175, 0 } }, { { 0.917087, 0.917325, 0.185, 0 }, { 0.919048, 0.919364, 0.175, 0 } },
    };
    static char names[30][80];
    const char *files[30];
    struct rows r;
    for (int i = 0; i < 30; i++) {
        snprintf(names[i], sizeof names[i], "planet-preds/tta6/%s_%s.npy", tta6_models[i / 5], tta6_views[i % 5]);
        files[i] = names[i];
    }
    if (fl_data(files[0]) == NULL)
        return;
    for (int i = 0; i < 6; i++) {
        CHECK(read_npy(&r, "planet-preds/tta6/rows.csv", 1, files + 5 * i));
        CHECK_FIGURES(&r, 1716, all[i].one);
        rows_free(&r);
        CHECK(read_npy(&r, "planet-preds/tta6/rows.csv", 5, files + 5 * i));
        CHECK_FIGURES(&r, 1716, all[i].five);
        rows_free(&r);
    }
    CHECK(read_npy(&r, "planet-preds/tta6/rows.csv", 30, files));
    CHECK_FIGURES(&r, 1716, ((struct figures){ 0.919930, 0.920052, 0.235, 0.918592 }));
    rows_free(&r);
}

/* An author's own search, printed with six digits. */
FL_TEST(published_search)
{
    const char *path = fl_data("planet-preds/pynet-full/model1_average_published.json");
    if (path == NULL)
        return;
    json_t *o = json_load_file(path, 0, NULL);
    const json_t *limits = json_object_get(o, "published_per_class_thresholds"), *scores = json_object_get(o, "published_f2_changing_only_that_class");
    struct rows r = { 0 };
    double *sum = NULL, at = 0, t[L], want[L], got[L];
    CHECK(add_npy(fl_data("planet-preds/pynet-full/model1_average_train.npy.gz"), 1, &r.n, &sum));
    CHECK(r.n > 0);
    r.p = narrow(sum, r.n);
    char (*ids)[64] = malloc(r.n * sizeof *ids);
    CHECK(ids != NULL && r.p != NULL);
    for (uint64_t i = 0; i < r.n; i++)
        snprintf(ids[i], 64, "train_%llu", (unsigned long long)i);
    CHECK(labels_of(&r, ids));
    free(ids);
    for (uint32_t l = 0; l < L; l++) {
        for (uint32_t j = 0; j < L; j++)
            t[j] = 0.21;
        t[l] = json_number_value(json_array_get(limits, class_a[l]));
        want[l] = json_number_value(json_array_get(scores, class_a[l]));
        got[l] = score(&r, t);
    }
    double best = best_at(&r, &at), there = score_at(&r, 0.205);
    json_decref(o);
    rows_free(&r);
    CHECK_NEAR(there, 0.932977, 1e-6);
    CHECK_NEAR(best, 0.932977, 1e-6);
    CHECK_NEAR(at, 0.205, 1e-12);
    for (uint32_t l = 0; l < L; l++)
        CHECK_NEAR(got[l], want[l], 1e-6);
}

/* Thresholds applied to 20,000 test rows give the very tags that were handed in. */
FL_TEST(submission_from_thresholds)
{
    const char *path = fl_data("planet-preds/pynet-test/submission.csv.gz"), *limits = fl_data("planet-preds/pynet-test/thresholds.txt");
    if (path == NULL || limits == NULL)
        return;
    struct fl_truth s;
    struct fl_err err = { 0 };
    double *sum = NULL, in_file[L], t[L];
    uint64_t n = 0, differ = 0;
    FILE *f = fopen(limits, "r");
    CHECK(f != NULL);
    for (int l = 0; l < L; l++)
        CHECK_INT(fscanf(f, "%lf", &in_file[l]), 1);
    fclose(f);
    for (uint32_t l = 0; l < L; l++)
        t[l] = in_file[class_a[l]];
    CHECK_OK(fl_truth_read(path, L, fl_default_labels, 0, UINT32_MAX, 1, &s, &err), err);
    CHECK(add_npy(fl_data("planet-preds/pynet-test/model1_average_test.npy.gz"), 1, &n, &sum));
    float *p = narrow(sum, n);
    uint8_t *h = malloc(n * L);
    CHECK(p != NULL && h != NULL);
    CHECK_OK(fl_metric_binarise(n, L, p, t, h, &err), err);
    CHECK_INT(s.n, 20000);
    CHECK_INT(n, 20000);
    for (uint64_t i = 0; i < n; i++) {
        char id[64];
        snprintf(id, sizeof id, "test_%llu", (unsigned long long)i);
        int64_t row = fl_truth_find(&s, id);
        differ += row < 0 || memcmp(s.y + row * L, h + i * L, L) != 0;
    }
    fl_truth_free(&s);
    free(p);
    free(h);
    CHECK_INT(differ, 0);
}

FL_TEST(votes_are_the_majority)
{
    static const char *const names[] = { "in_3split", "in_5split", "in_7split", "vote_3_5_7" };
    struct fl_truth t[4];
    struct fl_err err = { 0 };
    uint64_t differ = 0;
    for (int i = 0; i < 4; i++) {
        char rel[80];
        snprintf(rel, sizeof rel, "planet-votes/%s.csv.gz", names[i]);
        const char *path = fl_data(rel);
        if (path == NULL)
            return;
        CHECK_OK(fl_truth_read(path, L, fl_default_labels, 0, UINT32_MAX, 1, &t[i], &err), err);
        CHECK_INT(t[i].n, 61191);
    }
    for (uint64_t i = 0; i < t[3].n; i++) {
        int64_t at[3];
        for (int k = 0; k < 3; k++) {
            at[k] = fl_truth_find(&t[k], t[3].ids[i]);
            CHECK(at[k] >= 0);
        }
        for (uint32_t l = 0; l < L; l++)
            differ += t[3].y[i * L + l] != (t[0].y[at[0] * L + l] + t[1].y[at[1] * L + l] + t[2].y[at[2] * L + l] >= 2);
    }
    for (int i = 0; i < 4; i++)
        fl_truth_free(&t[i]);
    CHECK_INT(differ, 0);
}

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = {
        CASE(atc), CASE(pynet_views), CASE(rgbn_resnet), CASE(tta6), CASE(published_search), CASE(submission_from_thresholds),
        CASE(votes_are_the_majority), { 0 }
    };
    return fl_run(cases, argc, argv);
}
