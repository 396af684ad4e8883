/* A second level fitted fold by fold: nothing of a fold is in what it is scored on; the same bits however it is run; what can't be fitted. */
#include "stages/level2/fit.h"
#include "tests/level2/make.h"
#include "tests/lib/check.h"

#define ROWS 240u
#define MODELS 3u
#define LABELS 2u
#define FOLDS 4u

static char *const models[] = { "apple", "pear", "plum" }, *const labels[] = { "a", "b" };
static const struct fl_l2_names names = { models, labels, 0, UINT32_MAX };

static struct fl_l2_conf conf(int kind, int calibrate, int nested)
{
    struct fl_l2_conf c = { .kind = kind, .lambda = 2, .trees = 4, .n_min = 5, .min_leaf = 1, .hidden = 8, .seeds = 1, .batch = 32, .epochs = 2, .patience = 3,
                            .rate = .01, .dropout = .3, .rounds = 4, .seed = 1, .calibrate = calibrate, .nested = nested };
    return c;
}

static int fit(const struct fl_l2_data *d, const struct fl_l2_conf *c, uint32_t threads, const struct fl_l2_gram *gram, struct fl_l2_fit *f, struct fl_err *err)
{
    const struct fl_l2_run run = { .threads = threads, .gram = gram };
    return fl_l2_fit(d, &names, c, &run, f, err);
}

/* Rows of fold k of two predictions are the same, bit for bit. */
static int alike(const struct fl_l2_data *d, uint32_t k, const float *a, const float *b)
{
    for (uint32_t i = 0; i < d->n; i++)
        if (d->fold[i] == k && memcmp(a + (size_t)i * d->L, b + (size_t)i * d->L, d->L * sizeof *a) != 0)
            return 0;
    return 1;
}

/* The labels of a fold are turned over: what is told of its rows stays, of others it changes. */
FL_TEST(a_folds_own_labels_have_no_part_in_its_predictions)
{
    for (int kind = FL_L2_MEAN; kind <= FL_L2_GREEDY; kind++) {
        struct fl_l2_data d = make_data(ROWS, MODELS, LABELS, FOLDS, .8, 1);
        struct fl_l2_fit before, after, whole, turned;
        struct fl_l2_conf plain = conf(kind, 0, 0), nested = conf(kind, 1, 1);
        struct fl_err err = { 0 };
        uint8_t *y = malloc((size_t)ROWS * LABELS);
        memcpy(y, d.y, (size_t)ROWS * LABELS);
        CHECK_OK(fit(&d, &plain, 1, NULL, &before, &err), err);
        CHECK_OK(fit(&d, &nested, 1, NULL, &whole, &err), err);
        for (uint32_t i = 0; i < ROWS; i++)
            for (uint32_t l = 0; l < LABELS && d.fold[i] == 2; l++)
                y[i * LABELS + l] ^= 1;
        const uint8_t *was = d.y;
        d.y = y;
        CHECK_OK(fit(&d, &plain, 1, NULL, &after, &err), err);
        CHECK_OK(fit(&d, &nested, 1, NULL, &turned, &err), err);
        CHECK(alike(&d, 2, before.oof, after.oof));
        CHECK(alike(&d, 2, whole.nested, turned.nested));
        if (kind > FL_L2_LOGIT_MEAN && kind != FL_L2_GREEDY)      /* greedy may choose the same ones */
            CHECK(!alike(&d, 1, before.oof, after.oof));
        CHECK(!alike(&d, 1, whole.nested, turned.nested));
        d.y = was;
        fl_l2_fit_done(&before);
        fl_l2_fit_done(&after);
        fl_l2_fit_done(&whole);
        fl_l2_fit_done(&turned);
        free(y);
        make_free(&d);
    }
}

FL_TEST(bits_do_not_depend_on_threads_and_shared_sums)
{
    struct fl_l2_data d = make_data(ROWS, MODELS, LABELS, FOLDS, .8, 1);
    for (int kind = FL_L2_LINEAR; kind <= FL_L2_MLP; kind++) {
        struct fl_l2_conf c = conf(kind, 1, 0);
        struct fl_l2_gram g = { 0 };
        struct fl_l2_fit a, b;
        struct fl_err err = { 0 };
        CHECK_OK(fl_l2_gram(&d, FL_L2_PROB, NULL, NULL, &g, &err), err);
        CHECK_OK(fit(&d, &c, 1, NULL, &a, &err), err);
        CHECK_OK(fit(&d, &c, 3, fl_l2_kind_is_linear(kind) ? &g : NULL, &b, &err), err);
        CHECK(memcmp(a.oof, b.oof, (size_t)ROWS * LABELS * sizeof *a.oof) == 0);
        CHECK(memcmp(&a.in_sample, &b.in_sample, sizeof a.in_sample) == 0);
        CHECK(memcmp(a.model.a, b.model.a, LABELS * sizeof *a.model.a) == 0);
        fl_l2_fit_done(&a);
        fl_l2_fit_done(&b);
        fl_l2_gram_done(&g);
    }
    make_free(&d);
}

/* Models in another order: the same predictions, to rounding. */
FL_TEST(the_order_of_models_does_not_matter)
{
    struct fl_l2_data d = make_data(ROWS, MODELS, LABELS, FOLDS, .8, 1), t = d;
    static const uint32_t to[MODELS] = { 2, 0, 1 };
    float *x = malloc((size_t)ROWS * MODELS * LABELS * sizeof *x);
    for (uint32_t i = 0; i < ROWS; i++)
        for (uint32_t j = 0; j < MODELS; j++)
            memcpy(x + ((size_t)i * MODELS + to[j]) * LABELS, d.x + ((size_t)i * MODELS + j) * LABELS, LABELS * sizeof *x);
    t.x = x;
    for (int kind = FL_L2_MEAN; kind <= FL_L2_BLEND; kind++) {
        struct fl_l2_conf c = conf(kind, 1, 0);
        struct fl_l2_fit a, b;
        struct fl_err err = { 0 };
        if (kind == FL_L2_EXTRATREES || kind == FL_L2_MLP)        /* their draws are of columns */
            continue;
        CHECK_OK(fit(&d, &c, 1, NULL, &a, &err), err);
        CHECK_OK(fit(&t, &c, 1, NULL, &b, &err), err);
        for (uint32_t i = 0; i < ROWS * LABELS; i++)
            CHECK_NEAR(a.oof[i], b.oof[i], kind == FL_L2_BLEND ? 2e-4 : 1e-6);      /* weights are as good as a gap of 1e-8 makes them */
        fl_l2_fit_done(&a);
        fl_l2_fit_done(&b);
    }
    free(x);
    make_free(&d);
}

FL_TEST(what_cannot_be_fitted_is_told)
{
    struct fl_l2_data d = make_data(ROWS, MODELS, LABELS, FOLDS, .8, 1), two = make_data(ROWS, MODELS, LABELS, 2, .8, 1);
    struct fl_l2_conf c = conf(FL_L2_RIDGE, 0, 1), linear = conf(FL_L2_LINEAR, 0, 0);
    struct fl_l2_fit f;
    struct fl_err err = { 0 };
    CHECK_INT(fit(&two, &c, 1, NULL, &f, &err), FL_E_CONFIG);
    CHECK_HAS(err.text, "nested: 2 folds, want at least 3");
    float *x = (float *)d.x;
    for (uint32_t i = 0; i < ROWS; i++) {
        x[(i * MODELS + 1) * LABELS] = .5f;                       /* constant */
        x[(i * MODELS + 2) * LABELS] = x[i * MODELS * LABELS];    /* twice the same */
    }
    c.nested = 0;
    CHECK_OK(fit(&d, &c, 1, NULL, &f, &err), err);
    CHECK_INT(f.dropped, 1);
    fl_l2_fit_done(&f);
    CHECK_INT(fit(&d, &linear, 1, NULL, &f, &err), FL_E_NUM);
    CHECK_HAS(err.text, "lambda");
    linear.sees = FL_L2_SEES_MODEL;
    CHECK_INT(fit(&d, &linear, 1, NULL, &f, &err), FL_E_CONFIG);
    linear.model = (char *)(uintptr_t) "quince";
    CHECK_INT(fit(&d, &linear, 1, NULL, &f, &err), FL_E_CONFIG);
    CHECK_HAS(err.text, "quince is none of the 3 models");
    make_free(&d);
    make_free(&two);
}

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = {
        CASE(a_folds_own_labels_have_no_part_in_its_predictions), CASE(bits_do_not_depend_on_threads_and_shared_sums), CASE(the_order_of_models_does_not_matter),
        CASE(what_cannot_be_fitted_is_told), { 0 }
    };
    return fl_run(cases, argc, argv);
}
