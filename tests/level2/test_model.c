/* Second-level models of every kind: written, read, the same bits; names; files that lie. */
#include "proto/dtype.h"
#include "runtime/model.h"
#include "stages/level2/calibrate.h"
#include "stages/level2/model.h"
#include "tests/level2/make.h"
#include "tests/lib/check.h"

#define ROWS 150u

static char *const names[] = { "apple", "pear", "plum" }, *const labels[] = { "a", "b" };

/* Fitted on all folds but part k for each k; parts of one kind. */
static int fitted(const struct fl_l2_data *d, int kind, int features, int transform, struct fl_l2_model *out, struct fl_err *err)
{
    struct fl_l2_model m = { .kind = kind, .features = features, .transform = transform, .M = d->M, .L = d->L, .only = 1, .rest_off = UINT32_MAX,
                             .parts = fl_l2_kind_is_average(kind) ? 0 : fl_l2_kind_is_blend(kind) ? 1 : d->K, .problems = features == FL_L2_OWN ? d->L : 1 };
    struct fl_l2_gram g = { 0 };
    uint32_t fits = m.parts * m.problems, columns[6] = { 0 }, outputs[2] = { 0 }, P, T;
    int rc = FL_OK;
    m.models = calloc(d->M + 1u, sizeof *m.models);
    m.labels = calloc(d->L + 1u, sizeof *m.labels);
    for (uint32_t j = 0; j < 3; j++)
        m.models[j] = strdup(names[j]);
    for (uint32_t l = 0; l < 2; l++)
        m.labels[l] = strdup(labels[l]);
    m.exclusive = 2;
    if (fl_l2_kind_is_linear(kind)) {
        rc = fl_l2_gram(d, transform, NULL, NULL, &g, err);
        m.linear = calloc(fits + 1, sizeof *m.linear);
    } else if (fl_l2_kind_is_blend(kind)) {
        m.linear = calloc(fits + 1, sizeof *m.linear);
        for (uint32_t i = 0; i < fits; i++) {
            m.linear[i] = (struct fl_l2_linear){ .P = d->M, .T = 1, .coef = calloc(d->M, sizeof(double)), .intercept = calloc(1, sizeof(double)) };
            m.linear[i].coef[0] = .25;
            m.linear[i].coef[2] = .75;
        }
    } else if (kind == FL_L2_EXTRATREES) {
        m.trees = calloc(fits + 1, sizeof *m.trees);
    } else if (kind == FL_L2_MLP) {
        m.mlp = calloc(fits + 1, sizeof *m.mlp);
    }
    for (uint32_t i = 0; rc == FL_OK && i < fits && !fl_l2_kind_is_blend(kind); i++) {
        struct fl_l2_folds f = fl_l2_all_folds(d->K);
        struct fl_l2_normal a;
        struct fl_l2_mlp_conf net = fl_l2_mlp_default;
        fl_l2_drop(&f, i / m.problems);
        fl_l2_problem(&m, i % m.problems, &P, columns, &T, outputs);
        uint32_t n, *rows = fl_l2_rows(d, &f, &n);
        struct fl_l2_table t = { .n = n, .P = P, .T = T, .x = d->x, .stride = (size_t)d->M * d->L, .rows = rows, .columns = columns, .transform = transform,
                                 .y = d->y, .y_stride = d->L, .outputs = outputs };
        struct fl_l2_trees_conf c = { .trees = 3, .n_min = 2, .min_leaf = 1 };
        fl_l2_range(transform, &c.lo, &c.hi);
        net.hidden = 20;
        net.epochs = 2;
        if (m.trees != NULL) {
            rc = fl_l2_trees_fit(&t, &c, &m.trees[i], err);
        } else if (m.mlp != NULL) {
            rc = fl_l2_mlp_fit(&t, &net, &m.mlp[i], err);
        } else if ((rc = fl_l2_normal(&g, &f, P, columns, T, outputs, &a, err)) == FL_OK) {
            rc = kind == FL_L2_RIDGE2 ? fl_l2_linear_two(&a, d->M, d->L, 1, NULL, &m.linear[i], err)
                                      : fl_l2_linear_fit(&a, 1, kind == FL_L2_NNLS ? FL_L2_NONNEG : 0, NULL, &m.linear[i], err);
            fl_l2_normal_done(&a);
        }
        free(rows);
    }
    fl_l2_gram_done(&g);
    *out = m;
    return rc;
}

static int predicted(const struct fl_l2_model *m, const struct fl_l2_data *d, uint32_t block, float *out)
{
    struct fl_l2_scratch *s;
    if (fl_l2_scratch_new(m, &s, NULL) != FL_OK)
        return 0;
    for (uint32_t i = 0; i < d->n; i += block)
        fl_l2_predict(m, UINT32_MAX, d->n - i < block ? d->n - i : block, d->x + (size_t)i * d->M * d->L, s, out + (size_t)i * d->L);
    fl_l2_scratch_free(s);
    return 1;
}

FL_TEST(what_is_read_predicts_the_same_bits)
{
    struct fl_l2_data d = make_data(ROWS, 3, 2, 3, .8, 1);
    float first[ROWS * 2] = { 0 }, again[ROWS * 2] = { 0 };
    char path[300];
    snprintf(path, sizeof path, "%s/m.safetensors", fl_tmpdir());
    for (int kind = FL_L2_MEAN; kind <= FL_L2_GREEDY; kind++)
        for (int features = 0; features < 3; features++)
            for (int transform = 0; transform < 2 && fl_l2_kind_sees(kind, features); transform++) {
                struct fl_l2_model m, r;
                struct fl_err err = { 0 };
                CHECK_OK(fitted(&d, kind, features, transform, &m, &err), err);
                CHECK(predicted(&m, &d, FL_L2_BLOCK, first));
                CHECK(predicted(&m, &d, 1, again));
                CHECK(memcmp(first, again, sizeof first) == 0);
                if (transform) {
                    m.a = malloc(2 * sizeof *m.a);
                    m.b = malloc(2 * sizeof *m.b);
                    m.a[0] = m.a[1] = 1.25;
                    m.b[0] = m.b[1] = -.5;
                    CHECK(predicted(&m, &d, 7, again));
                    for (uint32_t i = 0; i < ROWS * 2; i++)
                        CHECK_NEAR(again[i], fl_l2_calibrated((double)first[i], 1.25, -.5), 1e-6);
                    memcpy(first, again, sizeof first);
                }
                CHECK_OK(fl_l2_model_write(&m, path, "{\"lambda\": 1}", &err), err);
                CHECK_OK(fl_l2_model_read(path, &r, &err), err);
                CHECK(r.kind == kind && r.features == features && r.transform == transform && r.exclusive == 2 && r.rest_off == UINT32_MAX);
                CHECK_STR(r.models[2], "plum");
                CHECK(predicted(&r, &d, 7, again));
                CHECK(memcmp(first, again, sizeof first) == 0);
                fl_l2_model_done(&m);
                fl_l2_model_done(&r);
            }
    make_free(&d);
}

FL_TEST(models_are_matched_by_name)
{
    struct fl_l2_model m = { .M = 3, .models = (char **)names };
    struct fl_err err = { 0 };
    uint32_t at[3];
    CHECK_OK(fl_l2_match(&m, "x", 3, (const char *const[]){ "plum", "apple", "pear" }, at, &err), err);
    CHECK(at[0] == 1 && at[1] == 2 && at[2] == 0);
    CHECK_INT(fl_l2_match(&m, "x", 2, (const char *const[]){ "plum", "apple" }, at, &err), FL_E_LABEL);
    CHECK_HAS(err.text, "fitted on 3 models (apple, ...), here are 2 (plum, ...)");
    CHECK_INT(fl_l2_match(&m, "x", 3, (const char *const[]){ "plum", "apple", "peach" }, at, &err), FL_E_LABEL);
    CHECK_HAS(err.text, "the model pear, which is not among the 3 here (plum, ...)");
}

/* Each text is refused, with a name, over tensors of a ridge on one model of two labels. */
FL_TEST(files_that_lie_are_refused)
{
#define HEAD "\"format\":1,\"transform\":\"prob\",\"models\":[\"m\"],\"labels\":[\"a\",\"b\"]"
    static const struct { const char *text; int code; } cases[] = {
        { "{" HEAD ",\"kind\":\"ridge\",\"features\":\"all\",\"parts\":1}", FL_OK },
        { "no JSON", FL_E_INPUT },
        { "{" HEAD ",\"kind\":\"ridge\",\"features\":\"all\",\"parts\":2}", FL_E_SHAPE },
        { "{" HEAD ",\"kind\":\"ridge\",\"features\":\"all\",\"parts\":0}", FL_E_CONFIG },
        { "{" HEAD ",\"kind\":\"ridge\",\"features\":\"own\",\"parts\":1}", FL_E_SHAPE },
        { "{" HEAD ",\"kind\":\"ridge\",\"features\":\"model\",\"parts\":1}", FL_E_CONFIG },
        { "{" HEAD ",\"kind\":\"extratrees\",\"features\":\"all\",\"parts\":1}", FL_E_SHAPE },
        { "{" HEAD ",\"kind\":\"mlp\",\"features\":\"all\",\"parts\":1}", FL_E_SHAPE },
        { "{" HEAD ",\"kind\":\"ridge2\",\"features\":\"own\",\"parts\":1}", FL_E_CONFIG },
        { "{" HEAD ",\"kind\":\"blend\",\"features\":\"all\",\"parts\":1}", FL_E_CONFIG },
        { "{" HEAD ",\"kind\":\"forest\",\"features\":\"all\",\"parts\":1}", FL_E_CONFIG },
        { "{" HEAD ",\"kind\":\"ridge\",\"features\":\"all\",\"parts\":1,\"exclusive\":[\"c\"]}", FL_E_LABEL },
        { "{\"format\":1,\"transform\":\"prob\",\"models\":[\"m\",\"m\"],\"labels\":[\"a\"],\"kind\":\"ridge\",\"features\":\"all\",\"parts\":1}", FL_E_CONFIG },
        { "{\"format\":2}", FL_E_CONFIG },
    };
    const double coef[4] = { 1, 0, 0, 1 }, intercept[2] = { 0 };
    struct fl_st_tensor t[2] = {
        { .name = "coef", .dtype = FL_F64, .ndim = 4, .shape = { 1, 1, 2, 2 }, .data = coef, .bytes = sizeof coef },
        { .name = "intercept", .dtype = FL_F64, .ndim = 3, .shape = { 1, 1, 2 }, .data = intercept, .bytes = sizeof intercept },
    };
    char path[300];
    snprintf(path, sizeof path, "%s/m.safetensors", fl_tmpdir());
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct fl_l2_model m;
        struct fl_err err = { 0 };
        CHECK_OK(fl_safetensors_write_text(path, cases[i].text, t, 2, &err), err);
        int rc = fl_l2_model_read(path, &m, &err);
        if (rc != cases[i].code)
            fl_fail_at(__FILE__, __LINE__, "%s: %s, %s", cases[i].text, fl_status_name(rc), err.text);
        if (rc == FL_OK)
            fl_l2_model_done(&m);
        else
            CHECK_HAS(err.text, "m.safetensors");
    }
}

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = { CASE(what_is_read_predicts_the_same_bits), CASE(models_are_matched_by_name), CASE(files_that_lie_are_refused), { 0 } };
    return fl_run(cases, argc, argv);
}
