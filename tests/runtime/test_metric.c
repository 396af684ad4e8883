/* The score against scikit-learn's figures, closed forms and the real label table. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/metric.h"
#include "tests/lib/check.h"

#define BIT(i) (UINT64_C(1) << (i))

FL_TEST(one_tile)
{
    CHECK_NEAR(fl_fbeta(2, 3, 4, 4, 0), 5.0 * 2 / (4 * 3 + 4), 0);
    CHECK_NEAR(fl_fbeta(3, 3, 3, 4, 0), 1, 0);
    CHECK_NEAR(fl_fbeta(0, 3, 2, 4, 0), 0, 0);
    CHECK_NEAR(fl_fbeta(0, 0, 0, 4, 1), 1, 0);
    CHECK_NEAR(fl_fbeta(0, 0, 0, 4, 0), 0, 0);
    CHECK_NEAR(fl_fbeta(0, 0, 3, 4, 1), 0, 0);
    double p = 2.0 / 4, r = 2.0 / 3;                      /* the other form of the definition */
    CHECK_NEAR(fl_fbeta(2, 3, 4, 0.25, 0), 1.25 * p * r / (0.25 * p + r), 1e-15);
}

/* sklearn 1.2.1: fbeta_score(y, h, beta=2, average='samples', zero_division=0) and precision_recall_fscore_support(beta=2, average=None). */
FL_TEST(table_equals_scikit_learn)
{
    static const uint8_t y[5][4] = { { 1, 0, 1, 0 }, { 0, 1, 0, 0 }, { 1, 1, 1, 0 }, { 0, 0, 0, 0 }, { 1, 0, 0, 0 } };
    static const uint8_t h[5][4] = { { 1, 1, 0, 0 }, { 0, 1, 0, 0 }, { 1, 0, 1, 0 }, { 0, 0, 1, 0 }, { 0, 1, 0, 0 } };
    struct fl_metric m;
    struct fl_err err = { 0 };
    double tile[5];
    CHECK_OK(fl_metric(5, 4, y[0], h[0], 2, 0, tile, &m, &err), err);
    static const double want[5] = { 5.0 / 10, 1, 10.0 / 14, 0, 0 };
    for (int i = 0; i < 5; i++)
        CHECK_NEAR(tile[i], want[i], 1e-15);
    CHECK_NEAR(m.mean, (0.5 + 1 + 10.0 / 14) / 5, 1e-15);
    CHECK_NEAR(m.label[0].precision, 1, 0);
    CHECK_NEAR(m.label[0].recall, 2.0 / 3, 1e-15);
    CHECK_NEAR(m.label[0].f, 0.7142857142857143, 1e-15);
    CHECK_NEAR(m.label[1].precision, 1.0 / 3, 1e-15);
    CHECK_NEAR(m.label[1].recall, 0.5, 1e-15);
    CHECK_NEAR(m.label[1].f, 0.45454545454545453, 1e-15);
    CHECK_NEAR(m.label[2].f, 0.5, 1e-15);
    CHECK_NEAR(m.label[3].f, 0, 0);
    CHECK_NEAR(m.label[3].recall, 0, 0);
}

/* A thousand random rows; the figures are scikit-learn 1.2.1's for the same rows. */
FL_TEST(random_rows_equal_scikit_learn)
{
    static uint8_t y[1000 * 17], h[1000 * 17];
    static const struct { double beta, mean; } want[] = { { 2, 0.24649489546963155 }, { 1, 0.2337033078033078 }, { 0.5, 0.23453977961149666 } };
    struct fl_metric m = { 0 };
    struct fl_err err = { 0 };
    uint32_t x = 1;
    for (int i = 0; i < 1000 * 17; i++) {
        x = x * 1664525u + 1013904223u;
        y[i] = x >> 24 < 60;
        x = x * 1664525u + 1013904223u;
        h[i] = x >> 24 < 70;
    }
    for (int i = 2; i >= 0; i--) {
        CHECK_OK(fl_metric(1000, 17, y, h, want[i].beta, 0, NULL, &m, &err), err);
        CHECK_NEAR(m.mean, want[i].mean, 1e-12);
    }
    CHECK_NEAR(m.label[3].precision, 0.25259515570934254, 1e-15);
    CHECK_NEAR(m.label[3].recall, 0.29435483870967744, 1e-15);
    CHECK_NEAR(m.label[3].f, 0.28493364558938333, 1e-15);
}

FL_TEST(thresholding_widens_before_it_compares)
{
    static const float p[4] = { 0.2f, 0.205f, 0.7f, 1 };        /* 0.2f = 0.200000003, 0.205f = 0.204999998, 0.7f = 0.699999988 */
    static const double t[4] = { 0.2, 0.205, 0.7, 1 };
    uint8_t h[4];
    struct fl_err err = { 0 };
    CHECK_OK(fl_metric_binarise(1, 4, p, t, h, &err), err);
    CHECK(h[0] == 1 && h[1] == 0 && h[2] == 0 && h[3] == 0);
    CHECK_INT(fl_metric_binarise(1, 4, (float[4]){ 0, 0, NAN, 0 }, t, h, &err), FL_E_NUM);
    CHECK_HAS(err.text, "row 0, column 2");
    CHECK_INT(fl_metric_binarise(1, 4, (float[4]){ 0, 0, 0, 1.5f }, t, h, &err), FL_E_NUM);
    CHECK_INT(fl_metric_binarise(1, 4, (float[4]){ -1e-9f }, t, h, &err), FL_E_NUM);
}

FL_TEST(bad_input_is_named)
{
    struct fl_metric m;
    struct fl_err err = { 0 };
    uint8_t y[2] = { 0, 1 }, h[2] = { 0, 2 };
    uint64_t set;
    double score;
    CHECK_INT(fl_metric(0, 2, y, h, 2, 0, NULL, &m, &err), FL_E_INPUT);
    CHECK_INT(fl_metric(1, 2, y, h, 2, 0, NULL, &m, &err), FL_E_NUM);
    CHECK_HAS(err.text, "row 0");
    CHECK_INT(fl_metric(1, 0, y, y, 2, 0, NULL, &m, &err), FL_E_CONFIG);
    CHECK_INT(fl_metric(1, 65, y, y, 2, 0, NULL, &m, &err), FL_E_CONFIG);
    CHECK_INT(fl_metric(1, 2, y, y, 0, 0, NULL, &m, &err), FL_E_CONFIG);
    CHECK_INT(fl_metric(1, 2, y, y, NAN, 0, NULL, &m, &err), FL_E_CONFIG);
    CHECK_INT(fl_metric_best_constant(1, 2, h, 2, 0, &set, &score, &err), FL_E_NUM);
    CHECK_INT(fl_metric_best_constant(0, 2, y, 2, 0, &set, &score, &err), FL_E_INPUT);
}

FL_TEST(best_constant_equals_all_sets_tried)
{
    static uint8_t y[60 * 7], h[60 * 7];
    uint32_t x = 7;
    for (int trial = 0; trial < 50; trial++) {
        double best = -1, score;
        uint64_t set;
        struct fl_metric m;
        struct fl_err err = { 0 };
        double empty = trial % 2;
        for (int i = 0; i < 60 * 7; i++) {
            x = x * 1664525u + 1013904223u;
            y[i] = (x >> 24) < (uint32_t)(20 + 20 * (i % 7));
        }
        for (uint64_t s = 0; s < 128; s++) {
            for (int i = 0; i < 60 * 7; i++)
                h[i] = s >> i % 7 & 1;
            CHECK_OK(fl_metric(60, 7, y, h, 2, empty, NULL, &m, &err), err);
            best = fmax(best, m.mean);
        }
        CHECK_OK(fl_metric_best_constant(60, 7, y, 2, empty, &set, &score, &err), err);
        CHECK_NEAR(score, best, 1e-12);
    }
}

static double constant(const struct fl_truth *t, uint8_t *h, uint64_t set)
{
    struct fl_metric m = { 0 };
    for (uint64_t i = 0; i < t->n * t->L; i++)
        h[i] = set >> i % t->L & 1;
    return fl_metric(t->n, t->L, t->y, h, 2, 0, NULL, &m, NULL) == FL_OK ? m.mean : NAN;
}

/* The counts and constants of the real label table. */
FL_TEST(real_labels)
{
    static const uint64_t count[17] = { 12315, 339, 862, 332, 98, 28431, 2089, 100, 4477, 3660, 2697, 7261, 37513, 8071, 340, 209, 7411 };
    const char *path = fl_data("planet-labels/train_v2.csv.gz");
    if (path == NULL)
        return;
    struct fl_truth t;
    struct fl_err err = { 0 };
    struct fl_metric m;
    CHECK_OK(fl_truth_read(path, 17, fl_default_labels, FL_DEFAULT_EXCLUSIVE, FL_DEFAULT_REST_OFF, 0, &t, &err), err);
    CHECK_INT(t.n, 40479);
    uint8_t *h = malloc(t.n * 17);
    CHECK(h != NULL);
    double sample = constant(&t, h, BIT(0) | BIT(5) | BIT(12) | BIT(13) | BIT(16)), two = constant(&t, h, BIT(5) | BIT(12));
    double all = constant(&t, h, 0x1ffff), score = 0;
    uint64_t set = 0;
    int rc = fl_metric_best_constant(t.n, 17, t.y, 2, 0, &set, &score, &err);
    double again = constant(&t, h, set);
    int ok = fl_metric(t.n, 17, t.y, t.y, 2, 0, NULL, &m, &err);
    free(h);
    fl_truth_free(&t);
    CHECK_NEAR(two, 0.642943419, 1e-9);
    CHECK_NEAR(sample, 0.674643665, 1e-9);
    CHECK_NEAR(all, 0.483685892, 1e-9);
    CHECK_INT(rc, FL_OK);
    CHECK_INT(set, BIT(0) | BIT(5) | BIT(11) | BIT(12) | BIT(13) | BIT(16));
    CHECK_NEAR(score, 0.689009656, 1e-9);
    CHECK_NEAR(again, score, 1e-12);
    CHECK_INT(ok, FL_OK);
    for (int l = 0; l < 17; l++)
        CHECK_INT(m.label[l].tp, count[l]);
    CHECK_NEAR(m.mean, 1, 0);
}

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = {
        CASE(one_tile), CASE(table_equals_scikit_learn), CASE(random_rows_equal_scikit_learn), CASE(thresholding_widens_before_it_compares), CASE(bad_input_is_named),
        CASE(best_constant_equals_all_sets_tried), CASE(real_labels), { 0 }
    };
    return fl_run(cases, argc, argv);
}
