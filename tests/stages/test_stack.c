/* Joining models: averages and fitted maps against hand-made sums. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "stages/level2/model.h"
#include "tests/lib/check.h"
#include "tests/lib/harness.h"

extern const struct fl_stage fl_stage_stack;

static const char *const ab[] = { "a", "b", NULL };

struct bench { struct fl_harness *h; struct fl_batch *out; struct fl_err err; };

static void done(struct bench *t)
{
    fl_harness_free_batch(t->h, t->out);
    fl_harness_close(t->h);
}

/* p: [models][rows][2]. */
static const float *stack(struct bench *t, const char *options, uint32_t models, uint32_t rows, const float *p)
{
    memset(t, 0, sizeof *t);
    t->h = fl_harness_new(&fl_stage_stack, &(struct fl_harness_conf){ .options = options, .nlabels = 2, .labels = ab, .edges = models,
                          .rest_off = FL_NO_LABEL }, &t->err);
    if (t->h == NULL || fl_harness_open(t->h, &t->err) != FL_OK)
        return NULL;
    struct fl_batch *b = fl_harness_batch(t->h, 0, rows);
    for (uint32_t e = 0; e < models; e++)
        fl_harness_tensor_edge(t->h, b, e, "prob", FL_F32, 2, (uint32_t[]){ rows, 2 }, p + (size_t)e * rows * 2);
    if (fl_harness_push(t->h, b, &t->err) != FL_OK)
        return NULL;
    t->out = fl_harness_pop(t->h);
    const struct fl_tensor *r = t->out ? fl_batch_find(t->out, "prob") : NULL;
    for (uint32_t i = 0, seen = 0; r != NULL && i < t->out->ntensors; i++) {
        seen += strcmp(t->out->t[i].name, "prob") == 0;
        if (seen > 1)
            r = NULL;
    }
    return r ? r->data : NULL;
}

static const float three[12] = { .1f, .9f, .2f, 0, /**/ .4f, .3f, .2f, 1, /**/ .7f, .6f, .2f, .5f };

FL_TEST(averages_over_models)
{
    struct bench t;
    const float *r = stack(&t, "{}", 3, 2, three);
    CHECK(r != NULL);
    CHECK_NEAR(r[0], .4, 1e-7);
    CHECK_NEAR(r[1], .6, 1e-7);
    CHECK_NEAR(r[2], .2, 1e-7);
    CHECK_NEAR(r[3], .5, 1e-6);
    done(&t);
    r = stack(&t, "{'method':'gmean'}", 3, 2, three);
    CHECK(r != NULL);
    CHECK_NEAR(r[0], cbrt(.1 * .4 * .7), 1e-7);
    CHECK_NEAR(r[1], cbrt(.9 * .3 * .6), 1e-7);
    done(&t);
    r = stack(&t, "{'method':'logit_mean'}", 3, 2, three);
    CHECK(r != NULL);
    CHECK_NEAR(r[0], 1 / (1 + cbrt(9 * 1.5 * 3 / 7)), 1e-7);
    done(&t);
    r = stack(&t, "{}", 1, 2, three);
    CHECK(r != NULL);
    CHECK(memcmp(r, three, 4 * sizeof *r) == 0);
    done(&t);
}

#define ABC "\"A\",\"B\",\"C\""

/* A ridge over models of labels a, b (columns: model after model), as a file; the option text for it. coef [2 * models][2], part after part. */
static const char *model(const char *models, uint32_t n, uint32_t parts, int transform, const double *coef, const double *bias)
{
    static char options[600], path[300];
    char *names[4] = { "A", "B", "C", "D" };
    struct fl_l2_linear linear[2];
    struct fl_err err = { 0 };
    for (uint32_t k = 0; k < parts; k++)
        linear[k] = (struct fl_l2_linear){ .P = 2 * n, .T = 2, .coef = (double *)coef + (size_t)k * 4 * n, .intercept = (double *)bias + (size_t)k * 2 };
    const struct fl_l2_model m = { .kind = FL_L2_RIDGE, .transform = transform, .M = n, .L = 2, .models = names, .labels = (char **)(uintptr_t)ab,
                                   .rest_off = UINT32_MAX, .parts = parts, .problems = 1, .linear = linear };
    snprintf(path, sizeof path, "%s/m.safetensors", fl_tmpdir());
    if (fl_l2_model_write(&m, path, NULL, &err) != FL_OK)
        return NULL;
    snprintf(options, sizeof options, "{\"model\":\"%s\",\"models\":[%s]}", path, models);
    return options;
}

/* Rows: A.a A.b B.a B.b C.a C.b; columns: to a, to b. */
static const double coef[24] = { .5, 0, .25, -2, -.25, 0, 0, 0, .125, 0, 1, 3, /* part 1 */ 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1 };
static const double bias[4] = { .0625, -.5, 0, 0 };

FL_TEST(ridge_is_its_matrix)
{
    struct bench t;
    const float *r = stack(&t, model(ABC, 3, 1, FL_L2_PROB, coef, bias), 3, 2, three);
    CHECK(r != NULL);
    CHECK_NEAR(r[0], .5 * .1 + .25 * .9 - .25 * .4 + .125 * .7 + .6 + .0625, 1e-6);
    CHECK(r[1] == 0);                         /* -2 * .9 + 3 * .6 - .5 = -.5, clipped */
    CHECK(r[3] == 1 || fabsf(r[3] - 1) < 1e-6f);
    done(&t);
    r = stack(&t, model(ABC, 3, 2, FL_L2_PROB, coef, bias), 3, 2, three);
    CHECK(r != NULL);
    CHECK_NEAR(r[0], (.5 * .1 + .25 * .9 - .25 * .4 + .125 * .7 + .6 + .0625 + .1) / 2, 1e-6);
    CHECK_NEAR(r[1], (0 + .6) / 2, 1e-6);     /* each part is clipped, then their mean */
    done(&t);
}

FL_TEST(models_come_in_any_order)
{
    struct bench t;
    float first[4];
    const float *r = stack(&t, model(ABC, 3, 1, FL_L2_PROB, coef, bias), 3, 2, three);
    CHECK(r != NULL);
    memcpy(first, r, sizeof first);
    done(&t);
    float turned[12];
    memcpy(turned, three + 8, 4 * sizeof *three);
    memcpy(turned + 4, three, 8 * sizeof *three);
    r = stack(&t, model("\"C\",\"A\",\"B\"", 3, 1, FL_L2_PROB, coef, bias), 3, 2, turned);
    CHECK(r != NULL);
    CHECK(memcmp(first, r, sizeof first) == 0);
    done(&t);
}

FL_TEST(transform_is_log_odds)
{
    struct bench t;
    static const double one[8] = { .1, 0, 0, .05 }, half[2] = { .5, .5 };
    const char *o = model("\"A\",\"B\"", 2, 1, FL_L2_LOGIT, one, half);
    CHECK(o != NULL);
    const float *r = stack(&t, o, 2, 2, three);
    CHECK(r != NULL);
    CHECK_NEAR(r[0], .5 + .1 * log(.1 / .9), 1e-6);
    CHECK_NEAR(r[1], .5 + .05 * log(.9 / .1), 1e-6);
    CHECK_NEAR(r[3], 0, 0);                   /* logit of 0 is clamped: .5 - .05 * 16.1 */
    done(&t);
}

/* More rows than a block, some rejected: each good one has the bits it has alone. */
FL_TEST(a_rows_bits_do_not_depend_on_its_company)
{
    enum { ROWS = 2 * FL_L2_BLOCK + 3 };
    static float p[3][ROWS][2], one[3][2];
    struct bench t, u;
    for (uint32_t i = 0; i < 3 * ROWS * 2; i++)
        (&p[0][0][0])[i] = (float)((i * 37 + 11) % 101) / 100;
    p[1][5][0] = 2;
    const float *r = stack(&t, model(ABC, 3, 2, FL_L2_LOGIT, coef, bias), 3, ROWS, &p[0][0][0]);
    CHECK(r != NULL);
    for (uint32_t i = 0; i < ROWS; i += 5) {
        for (uint32_t e = 0; e < 3; e++)
            memcpy(one[e], p[e][i], sizeof one[e]);
        const float *alone = stack(&u, model(ABC, 3, 2, FL_L2_LOGIT, coef, bias), 3, 1, &one[0][0]);
        CHECK(alone != NULL);
        CHECK(memcmp(alone, r + 2 * (size_t)i, 2 * sizeof *r) == 0);
        CHECK_INT(fl_rejected(t.out, i), i == 5 ? FL_E_NUM : 0);
        done(&u);
    }
    done(&t);
}

FL_TEST(models_that_do_not_fit_are_named)
{
    struct bench t;
    CHECK(stack(&t, model(ABC, 3, 1, FL_L2_PROB, coef, bias), 2, 2, three) == NULL);
    CHECK_INT(t.err.code, FL_E_LABEL);
    CHECK_HAS(t.err.text, "2 models, but 3 names");
    done(&t);
    CHECK(stack(&t, model("\"A\",\"B\"", 3, 1, FL_L2_PROB, coef, bias), 2, 2, three) == NULL);
    CHECK_INT(t.err.code, FL_E_LABEL);
    CHECK_HAS(t.err.text, "fitted on 3 models, here are 2");
    done(&t);
    CHECK(stack(&t, model("", 3, 1, FL_L2_PROB, coef, bias), 3, 2, three) == NULL);
    CHECK_INT(t.err.code, FL_E_LABEL);
    CHECK_HAS(t.err.text, "what arrives has none");
    done(&t);
    CHECK(stack(&t, model("\"A\",\"B\",\"X\"", 3, 1, FL_L2_PROB, coef, bias), 3, 2, three) == NULL);
    CHECK_INT(t.err.code, FL_E_LABEL);
    CHECK_HAS(t.err.text, "the model C, which is not among the 3 here (A, ...)");
    done(&t);
    CHECK(stack(&t, "{'models':['A','B']}", 3, 2, three) == NULL);
    CHECK_INT(t.err.code, FL_E_LABEL);
    CHECK_HAS(t.err.text, "3 models, but 2 names");
    done(&t);
    CHECK(stack(&t, "{'model':'/nowhere.safetensors'}", 3, 2, three) == NULL);
    CHECK_INT(t.err.code, FL_E_INPUT);
    done(&t);
}

FL_TEST(what_is_no_number_is_rejected)
{
    struct bench t;
    static const double huge[4] = { 1e308, 0, 1e308, 1 }, none[2] = { 0 };
    static const float p[4] = { 1, 0, /* inf - inf */ .25f, .5f };
    const float *r = stack(&t, model("\"A\"", 1, 1, FL_L2_LOGIT, huge, none), 1, 2, p);
    CHECK(r != NULL);
    CHECK_INT(fl_rejected(t.out, 0), FL_E_NUM);
    CHECK_HAS(fl_reason(t.out, 0), "label a: the second level gives no number");
    CHECK_INT(fl_rejected(t.out, 1), 0);
    CHECK(r[0] == 0 && r[1] == 0 && r[2] == 0);
    done(&t);
}

FL_TEST(bad_rows_are_rejected_alone)
{
    float p[12];
    memcpy(p, three, sizeof p);
    p[4 + 2] = -0.5f;                         /* model 1, row 1, label a */
    struct bench t;
    const float *r = stack(&t, "{}", 3, 2, p);
    CHECK(r != NULL);
    CHECK_INT(fl_rejected(t.out, 0), 0);
    CHECK_INT(fl_rejected(t.out, 1), FL_E_NUM);
    CHECK_HAS(fl_reason(t.out, 1), "model 1, label a: -0.5");
    CHECK(r[2] == 0 && r[3] == 0);
    CHECK_NEAR(r[0], .4, 1e-7);
    done(&t);
}

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = {
        CASE(averages_over_models), CASE(ridge_is_its_matrix), CASE(models_come_in_any_order), CASE(transform_is_log_odds),
        CASE(a_rows_bits_do_not_depend_on_its_company), CASE(models_that_do_not_fit_are_named), CASE(what_is_no_number_is_rejected), CASE(bad_rows_are_rejected_alone), { 0 }
    };
    return fl_run(cases, argc, argv);
}
