/* Joining models: averages and fitted maps against hand-made sums. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "runtime/model.h"
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
    r = stack(&t, "{}", 1, 2, three);
    CHECK(r != NULL);
    CHECK(memcmp(r, three, 4 * sizeof *r) == 0);
    done(&t);
}

/* Writes NAME.safetensors and NAME.json; the option text for it. */
static const char *model(const char *kind, const char *labels, int f64, uint32_t columns, const double *coef, const double *intercept,
                         const char *more, struct fl_err *err)
{
    static char options[600], path[300];
    float cf[64], bf[2] = { (float)intercept[0], (float)intercept[1] };
    for (uint32_t i = 0; i < 2 * columns; i++)
        cf[i] = (float)coef[i];
    struct fl_st_tensor ts[2] = {
        { .name = "coef", .dtype = f64 ? FL_F64 : FL_F32, .ndim = 2, .shape = { 2, columns }, .data = f64 ? (const void *)coef : cf, .bytes = 2 * columns * (f64 ? 8 : 4) },
        { .name = "intercept", .dtype = f64 ? FL_F64 : FL_F32, .ndim = 1, .shape = { 2 }, .data = f64 ? (const void *)intercept : bf, .bytes = 2 * (f64 ? 8 : 4) },
    };
    snprintf(path, sizeof path, "%s/m.json", fl_tmpdir());
    FILE *f = fopen(path, "w");
    if (f == NULL)
        return NULL;
    fprintf(f, "{\"format\": 1, \"kind\": \"%s\", \"labels\": [%s]}\n", kind, labels);
    fclose(f);
    memcpy(strrchr(path, '.'), ".safetensors", sizeof ".safetensors");
    if (fl_safetensors_write(path, ts, 2, err) != FL_OK)
        return NULL;
    snprintf(options, sizeof options, "{\"method\":\"%s\",\"weights\":\"%s\"%s}", kind, path, more);
    return options;
}

static const double coef[12] = { .5, .25, -.25, 0, .125, 1, /* label b: */ 0, -2, 0, 0, 0, 3 };
static const double bias[2] = { .0625, -.5 };

FL_TEST(ridge_is_its_matrix)
{
    for (int f64 = 0; f64 < 2; f64++) {
        struct bench t;
        struct fl_err err = { 0 };
        const char *o = model("ridge", "\"a\",\"b\"", f64, 6, coef, bias, "", &err);
        CHECK(o != NULL);
        const float *r = stack(&t, o, 3, 2, three);
        CHECK(r != NULL);
        CHECK_NEAR(r[0], .5 * .1 + .25 * .9 - .25 * .4 + .125 * .7 + .6 + .0625, 1e-6);
        CHECK(r[1] == 0);                     /* -2 * .9 + 3 * .6 - .5 = -.5, clipped */
        CHECK(r[3] == 1 || fabsf(r[3] - 1) < 1e-6f);
        done(&t);
    }
}

FL_TEST(transform_is_log_odds)
{
    struct bench t;
    struct fl_err err = { 0 };
    static const double one[8] = { .1, 0, 0, 0, /**/ 0, 0, 0, .05 }, half[2] = { .5, .5 };
    const char *o = model("linear", "\"a\",\"b\"", 1, 4, one, half, ",\"transform\":\"logit\"", &err);
    CHECK(o != NULL);
    const float *r = stack(&t, o, 2, 2, three);
    CHECK(r != NULL);
    CHECK_NEAR(r[0], .5 + .1 * log(.1 / .9), 1e-6);
    CHECK_NEAR(r[1], .5 + .05 * log(.3 / .7), 1e-6);
    CHECK(r[3] == 1);                         /* logit of 1 is clamped: .5 + .05 * 16.1 */
    done(&t);
}

FL_TEST(weights_that_do_not_fit_are_named)
{
    struct bench t;
    struct fl_err err = { 0 };
    CHECK(stack(&t, model("ridge", "\"b\",\"a\"", 1, 6, coef, bias, "", &err), 3, 2, three) == NULL);
    CHECK_INT(t.err.code, FL_E_LABEL);
    done(&t);
    CHECK(stack(&t, model("ridge", "\"a\"", 1, 6, coef, bias, "", &err), 3, 2, three) == NULL);
    CHECK_INT(t.err.code, FL_E_LABEL);
    done(&t);
    CHECK(stack(&t, model("ridge", "\"a\",\"b\"", 1, 6, coef, bias, "", &err), 2, 2, three) == NULL);
    CHECK_INT(t.err.code, FL_E_SHAPE);
    CHECK_HAS(t.err.text, "coef is [2, 6], want [2, 4]");
    done(&t);
    CHECK(stack(&t, model("ridge", "\"a\",\"b\"", 1, 6, (const double[12]){ NAN }, bias, "", &err), 3, 2, three) == NULL);
    CHECK_INT(t.err.code, FL_E_NUM);
    done(&t);
    CHECK(stack(&t, "{'method':'ridge'}", 3, 2, three) == NULL);
    CHECK_INT(t.err.code, FL_E_CONFIG);
    done(&t);
    CHECK(stack(&t, "{'transform':'logit'}", 3, 2, three) == NULL);
    CHECK_INT(t.err.code, FL_E_CONFIG);
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
        CASE(averages_over_models), CASE(ridge_is_its_matrix), CASE(transform_is_log_odds), CASE(weights_that_do_not_fit_are_named),
        CASE(bad_rows_are_rejected_alone), { 0 }
    };
    return fl_run(cases, argc, argv);
}
