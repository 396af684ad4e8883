/* Merging of views and snapshots against closed forms. */
#include <math.h>
#include <string.h>

#include "tests/lib/check.h"
#include "tests/lib/harness.h"

extern const struct fl_stage fl_stage_tta_merge;

static const char *const ab[] = { "a", "b", NULL };
static const char *const wxyz[] = { "w", "x", "y", "z", NULL };

struct bench { struct fl_harness *h; struct fl_batch *out; struct fl_err err; };

static void done(struct bench *t)
{
    fl_harness_free_batch(t->h, t->out);
    fl_harness_close(t->h);
}

/* Pushes one batch of n tiles; the merged values, or NULL (then t->err says why). */
static const float *merge(struct bench *t, const char *options, uint32_t L, const char *const *labels, uint64_t exclusive,
                          const uint32_t shape[4], const float *p, const int32_t *status)
{
    memset(t, 0, sizeof *t);
    t->h = fl_harness_new(&fl_stage_tta_merge, &(struct fl_harness_conf){ .options = options, .nlabels = L, .labels = labels,
                          .exclusive = exclusive, .rest_off = FL_NO_LABEL }, &t->err);
    if (t->h == NULL || fl_harness_open(t->h, &t->err) != FL_OK)
        return NULL;
    struct fl_batch *b = fl_harness_batch(t->h, 0, shape[0]);
    fl_harness_tensor(t->h, b, "prob", FL_F32, 4, shape, p);
    if (status != NULL)
        fl_harness_tensor(t->h, b, "status", FL_I32, 1, shape, status);
    if (fl_harness_push(t->h, b, &t->err) != FL_OK)
        return NULL;
    t->out = fl_harness_pop(t->h);
    const struct fl_tensor *r = t->out ? fl_batch_find(t->out, "prob") : NULL;
    if (r == NULL || r->ndim != 2 || r->shape[0] != shape[0] || r->shape[1] != L)
        return NULL;
    return r->data;
}

static const struct { const char *how; double want; } example[] = {
    { "{'views':'mean'}", 0.66667 }, { "{'views':'gmean'}", 0.64633 }, { "{'views':'logit_mean'}", 0.70424 },
};

FL_TEST(three_views_of_the_example)
{
    static const float p[6] = { .9f, 0, .5f, 0, .6f, 1 };
    for (size_t i = 0; i < 3; i++) {
        struct bench t;
        const float *r = merge(&t, example[i].how, 2, ab, 0, (uint32_t[]){ 1, 3, 1, 2 }, p, NULL);
        CHECK(r != NULL);
        CHECK_NEAR(r[0], example[i].want, 5e-6);
        CHECK(r[1] > 0 && r[1] < 1);
        done(&t);
    }
}

FL_TEST(views_first_then_snapshots)
{
    /* one label would hide a wrong stride: two labels, two views, three snapshots */
    float p[12];
    for (int i = 0; i < 12; i++)
        p[i] = 0.05f + 0.07f * (float)i;
    struct bench t;
    const float *r = merge(&t, "{'views':'gmean','snapshots':'mean'}", 2, ab, 0, (uint32_t[]){ 1, 2, 3, 2 }, p, NULL);
    CHECK(r != NULL);
    for (int l = 0; l < 2; l++) {
        double want = 0;
        for (int k = 0; k < 3; k++)
            want += sqrt((double)p[k * 2 + l] * p[6 + k * 2 + l]) / 3;
        CHECK_NEAR(r[l], want, 1e-7);
    }
    done(&t);
    r = merge(&t, "{'views':'mean','snapshots':'logit_mean'}", 2, ab, 0, (uint32_t[]){ 1, 2, 3, 2 }, p, NULL);
    CHECK(r != NULL);
    double odds = 1;
    for (int k = 0; k < 3; k++) {
        double m = ((double)p[k * 2] + p[6 + k * 2]) / 2;
        odds *= cbrt(m / (1 - m));
    }
    CHECK_NEAR(r[0], odds / (1 + odds), 1e-7);
    done(&t);
}

FL_TEST(one_view_of_one_snapshot_comes_back)
{
    static const float p[4] = { 0, 1, 1e-9f, .3f };
    static const char *const all[] = { "{}", "{'views':'mean','snapshots':'mean'}", "{'views':'logit_mean','snapshots':'logit_mean'}" };
    for (int i = 0; i < 3; i++) {
        struct bench t;
        const float *r = merge(&t, all[i], 2, ab, 0, (uint32_t[]){ 2, 1, 1, 2 }, p, NULL);
        CHECK(r != NULL);
        CHECK(memcmp(r, p, sizeof p) == 0);
        done(&t);
    }
}

FL_TEST(geometric_never_exceeds_arithmetic)
{
    float p[64 * 8 * 2];
    uint32_t x = 1;
    for (size_t i = 0; i < sizeof p / sizeof p[0]; i++) {
        x = x * 1664525u + 1013904223u;
        p[i] = (float)(x >> 8) / 16777216.0f;
    }
    struct bench a, b;
    const float *g = merge(&a, "{'views':'gmean'}", 2, ab, 0, (uint32_t[]){ 64, 8, 1, 2 }, p, NULL);
    const float *m = merge(&b, "{'views':'mean'}", 2, ab, 0, (uint32_t[]){ 64, 8, 1, 2 }, p, NULL);
    CHECK(g != NULL && m != NULL);
    for (int i = 0; i < 128; i++)
        CHECK(g[i] <= m[i]);
    done(&a);
    done(&b);
}

FL_TEST(softmax_group_keeps_its_sum)
{
    static const float p[8] = { .7f, .2f, .1f, .4f, .3f, .3f, .4f, .9f };
    struct bench t;
    const float *r = merge(&t, "{'views':'gmean_softmax'}", 4, wxyz, 7, (uint32_t[]){ 1, 2, 1, 4 }, p, NULL);
    CHECK(r != NULL);
    CHECK_NEAR((double)r[0] + r[1] + r[2], 1, 1e-6);
    CHECK_NEAR(r[0] / r[1], sqrt(.7 * .3) / sqrt(.2 * .3), 1e-5);
    CHECK_NEAR(r[3], sqrt(.4 * .9), 1e-6);
    done(&t);
    CHECK(merge(&t, "{'views':'gmean_softmax'}", 2, ab, 0, (uint32_t[]){ 1, 2, 1, 2 }, p, NULL) == NULL);
    CHECK_INT(t.err.code, FL_E_CONFIG);
    done(&t);
}

/* So that a check of the graph sees it. */
FL_TEST(softmax_without_a_group_is_refused_by_describe)
{
    for (uint64_t group = 0; group < 8; group += 7) {
        struct fl_err err;
        struct fl_harness_conf conf = { .options = "{'views':'gmean_softmax'}", .nlabels = 4, .labels = wxyz, .exclusive = group,
                                        .rest_off = FL_NO_LABEL };
        struct fl_harness *h = fl_harness_new(&fl_stage_tta_merge, &conf, &err);
        CHECK(h != NULL);
        CHECK_INT(fl_harness_describe(h, &err), group != 0 ? FL_OK : FL_E_CONFIG);
        fl_harness_close(h);
    }
}

FL_TEST(bad_values_reject_their_row_alone)
{
    float p[8] = { .1f, .2f, .3f, .4f, NAN, .5f, .6f, 1.5f };
    static const int32_t status[4] = { 0, FL_E_INPUT, 0, 0 };
    p[2] = NAN;         /* of the row that was bad before: not looked at */
    struct bench t;
    const float *r = merge(&t, "{}", 2, ab, 0, (uint32_t[]){ 4, 1, 1, 2 }, p, status);
    CHECK(r != NULL);
    CHECK_INT(fl_rejected(t.out, 0), 0);
    CHECK_INT(fl_rejected(t.out, 1), FL_E_INPUT);
    CHECK_INT(fl_rejected(t.out, 2), FL_E_NUM);
    CHECK_INT(fl_rejected(t.out, 3), FL_E_NUM);
    CHECK_HAS(fl_reason(t.out, 2), "label a");
    CHECK_HAS(fl_reason(t.out, 3), "label b: 1.5");
    for (int i = 2; i < 8; i++)
        CHECK(r[i] == 0);
    CHECK(r[0] == p[0] && r[1] == p[1]);
    done(&t);
}

FL_TEST(other_shapes_are_refused)
{
    struct bench t;
    CHECK(merge(&t, "{}", 2, ab, 0, (uint32_t[]){ 1, 2, 1, 3 }, (float[6]){ 0 }, NULL) == NULL);
    CHECK_INT(t.err.code, FL_E_SHAPE);
    done(&t);
    CHECK(merge(&t, "{}", 2, ab, 0, (uint32_t[]){ 1, 0, 1, 2 }, (float[1]){ 0 }, NULL) == NULL);
    CHECK_INT(t.err.code, FL_E_SHAPE);
    done(&t);
}

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = {
        CASE(three_views_of_the_example), CASE(views_first_then_snapshots), CASE(one_view_of_one_snapshot_comes_back),
        CASE(geometric_never_exceeds_arithmetic), CASE(softmax_group_keeps_its_sum),
        CASE(softmax_without_a_group_is_refused_by_describe), CASE(bad_values_reject_their_row_alone), CASE(other_shapes_are_refused), { 0 }
    };
    return fl_run(cases, argc, argv);
}
