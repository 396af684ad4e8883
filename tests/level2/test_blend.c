/* Blend weights and calibration: conditions of an optimum, and what is known of made data. */
#include "stages/level2/blend.h"
#include "stages/level2/calibrate.h"
#include "tests/level2/make.h"
#include "tests/lib/check.h"

#define PREDICTIONS 5u

/* p[m] of L labels from the columns of made data. */
static void columns(const struct fl_l2_data *d, float *p[PREDICTIONS])
{
    for (uint32_t m = 0; m < d->M; m++) {
        p[m] = malloc((size_t)d->n * d->L * sizeof *p[m]);
        for (uint32_t i = 0; i < d->n; i++)
            for (uint32_t l = 0; l < d->L; l++)
                p[m][(size_t)i * d->L + l] = d->x[((size_t)i * d->M + m) * d->L + l];
    }
}

static void columns_free(const struct fl_l2_data *d, float *p[PREDICTIONS])
{
    for (uint32_t m = 0; m < d->M; m++)
        free(p[m]);
}

static double seen(const float *p, uint8_t y)
{
    double v = (double)*p < 1e-7 ? 1e-7 : (double)*p > 1 - 1e-7 ? 1 - 1e-7 : (double)*p;
    return y ? v : 1 - v;
}

/* Where a weight is above 0 its slope is the least one; elsewhere it is not below. */
FL_TEST(weights_fulfil_kuhn_and_tucker)
{
    for (int which = 0; which < 3; which++) {
        struct fl_l2_data d = make_data(700, PREDICTIONS, 4, 5, .8, which + .5);
        float *p[PREDICTIONS];
        struct fl_l2_blend_end end;
        double w[PREDICTIONS], g[PREDICTIONS] = { 0 }, sum = 0, least = 1e9;
        struct fl_err err = { 0 };
        atomic_ullong progress = 0;
        columns(&d, p);
        struct fl_l2_blend b = { .n = d.n, .M = d.M, .L = d.L, .label = which == 1 ? 2 : UINT32_MAX, .p = (const float *const *)p, .y = d.y,
                                 .fold = which == 2 ? d.fold : NULL, .skip = 3, .progress = &progress };
        CHECK_OK(fl_l2_blend(&b, w, &end, &err), err);
        CHECK(end.gap < FL_L2_BLEND_GAP);
        CHECK(progress > 1);           /* every pass over the rows tells that it gets on */
        double count = 0;
        for (uint32_t i = 0; i < d.n; i++)
            for (uint32_t l = 0; l < d.L; l++) {
                if ((which == 1 && l != 2) || (which == 2 && d.fold[i] == 3))
                    continue;
                double mix = 0;
                for (uint32_t m = 0; m < d.M; m++)
                    mix += w[m] * seen(&p[m][i * d.L + l], d.y[i * d.L + l]);
                for (uint32_t m = 0; m < d.M; m++)
                    g[m] -= seen(&p[m][i * d.L + l], d.y[i * d.L + l]) / mix;
                count++;
            }
        for (uint32_t m = 0; m < d.M; m++) {
            CHECK(w[m] >= 0);
            sum += w[m];
            least = fmin(least, g[m] / count);
        }
        CHECK_NEAR(sum, 1, 1e-12);
        for (uint32_t m = 0; m < d.M; m++)
            CHECK(w[m] * (g[m] / count - least) < 1e-7);
        columns_free(&d, p);
        make_free(&d);
    }
}

/* Members that say nearly the same, sure of themselves or not: it comes to its gap all the same. */
FL_TEST(weights_of_nearly_equal_members_settle)
{
    enum { MANY = 80, ROWS = 250 };
    static float p[MANY][ROWS];
    const float *of[MANY];
    uint8_t y[ROWS];
    struct fl_err err = { 0 };
    for (int which = 0; which < 8; which++) {
        double own = which % 2 ? 1e-6 : 1e-4, shared = which % 4 < 2 ? 0 : 20, bias = which < 4 ? .5 : 3, w[MANY], noise[ROWS], sum = 0;
        for (uint32_t i = 0; i < ROWS; i++) {
            y[i] = make_unit() < .3;
            noise[i] = shared * make_normal();
        }
        for (uint32_t m = 0; m < MANY; m++) {
            double shift = bias * make_normal();
            of[m] = p[m];
            for (uint32_t i = 0; i < ROWS; i++)
                p[m][i] = (float)(1 / (1 + exp(-(noise[i] + own * make_normal() + shift))));
        }
        struct fl_l2_blend_end end = { .gap = NAN };
        struct fl_l2_blend b = { .n = ROWS, .M = MANY, .L = 1, .label = UINT32_MAX, .p = of, .y = y };
        CHECK_OK(fl_l2_blend(&b, w, &end, &err), err);
        CHECK(end.gap < FL_L2_BLEND_GAP && end.steps < FL_L2_BLEND_STEPS);
        for (uint32_t m = 0; m < MANY; m++)
            sum += w[m];
        CHECK_NEAR(sum, 1, 1e-9);
    }
}

FL_TEST(the_order_of_predictions_has_no_part)
{
    struct fl_l2_data d = make_data(500, PREDICTIONS, 3, 2, .8, 1);
    float *p[PREDICTIONS], *back[PREDICTIONS];
    double w[PREDICTIONS], v[PREDICTIONS];
    struct fl_l2_blend_end end;
    struct fl_err err = { 0 };
    columns(&d, p);
    for (uint32_t m = 0; m < PREDICTIONS; m++)
        back[m] = p[PREDICTIONS - 1 - m];
    struct fl_l2_blend b = { .n = d.n, .M = d.M, .L = d.L, .label = UINT32_MAX, .p = (const float *const *)p, .y = d.y };
    CHECK_OK(fl_l2_blend(&b, w, &end, &err), err);
    b.p = (const float *const *)back;
    CHECK_OK(fl_l2_blend(&b, v, &end, &err), err);
    for (uint32_t m = 0; m < PREDICTIONS; m++)
        CHECK_NEAR(w[m], v[PREDICTIONS - 1 - m], 1e-4);
    columns_free(&d, p);
    make_free(&d);
}

/* The best alone comes first; what helps nothing is never taken. */
FL_TEST(greedy_takes_what_helps)
{
    struct fl_l2_data d = make_data(600, 3, 4, 2, 1, .5);
    float *p[PREDICTIONS] = { NULL };
    double w[3], sum = 0;
    struct fl_err err = { 0 };
    columns(&d, p);
    for (size_t i = 0; p[1] != NULL && i < (size_t)d.n * d.L; i++)
        p[1][i] = (float)make_unit();
    struct fl_l2_blend b = { .n = d.n, .M = 3, .L = d.L, .p = (const float *const *)p, .y = d.y };
    for (int exact = 0; exact < 2; exact++) {
        CHECK_OK(fl_l2_greedy(&b, 6, exact, w, &err), err);
        sum = w[0] + w[1] + w[2];
        CHECK_NEAR(sum, 1, 1e-12);
        CHECK(w[1] == 0);
    }
    columns_free(&d, p);
    make_free(&d);
}

/* Outcomes drawn from sigmoid(1.3 z - .4) for p = sigmoid(z): both come back, within some standard errors. */
FL_TEST(calibration_finds_slope_and_intercept)
{
    enum { N = 40000 };
    double *p = malloc(N * sizeof *p), a, b;
    uint8_t *y = malloc(N), *fold = malloc(N);
    for (uint32_t i = 0; i < N; i++) {
        double z = 1.5 * make_normal();
        p[i] = 1 / (1 + exp(-z));
        y[i] = make_unit() < 1 / (1 + exp(-(1.3 * z - .4)));
        fold[i] = i % 2;
        if (fold[i])
            y[i] = !y[i];                      /* of no part when its fold is skipped */
    }
    CHECK(fl_l2_calibrate(N, p, y, 1, fold, 1, &a, &b));
    CHECK_NEAR(a, 1.3, .08);
    CHECK_NEAR(b, -.4, .08);
    CHECK_NEAR(fl_l2_calibrated(.5, a, b), 1 / (1 + exp(-b)), 1e-12);
    memset(y, 1, N);
    CHECK(fl_l2_calibrate(N, p, y, 1, NULL, 0, &a, &b));
    CHECK(a == 1 && b == 0);
    free(p);
    free(y);
    free(fold);
}

/* Predictions that are wrong throughout, or all alike: what is left is the frequency. The best intercept for the least slope has mean sigmoid(a z + b) = mean y. */
FL_TEST(calibration_without_a_slope_finds_the_frequency)
{
    enum { N = 2000 };
    static double p[N];
    static uint8_t y[N];
    for (int which = 0; which < 3; which++) {
        double a, b, mean = 0, said = 0, z;
        for (uint32_t i = 0; i < N; i++) {
            y[i] = make_unit() < .2;
            z = (which == 0 ? -3.0 : -.2) * (2 * y[i] - 1) + make_normal() - 2;
            p[i] = which == 2 ? .9 : 1 / (1 + exp(-z));
            mean += (double)y[i] / N;
        }
        CHECK(fl_l2_calibrate(N, p, y, 1, NULL, 0, &a, &b));
        CHECK(which == 2 ? a == 1 : a == .001);
        for (uint32_t i = 0; i < N; i++)
            said += fl_l2_calibrated(p[i], a, b) / N;
        CHECK_NEAR(said, mean, 1e-6);
    }
}

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = {
        CASE(weights_fulfil_kuhn_and_tucker), CASE(weights_of_nearly_equal_members_settle),
        CASE(the_order_of_predictions_has_no_part), CASE(greedy_takes_what_helps),
        CASE(calibration_finds_slope_and_intercept), CASE(calibration_without_a_slope_finds_the_frequency), { 0 }
    };
    return fl_run(cases, argc, argv);
}
