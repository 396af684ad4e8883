/* The template of docs/adding-a-stage.md: it compiles, and does what it says. */
#include "docs/template/temper.c"

#include "tests/lib/check.h"
#include "tests/lib/harness.h"

static const char *const labels[] = { "a", "b", NULL };

struct bench { struct fl_harness *h; struct fl_batch *out; struct fl_err err; };

/* Sends p [n][2] through; the result, or NULL. */
static const float *temper(struct bench *t, const char *options, uint32_t n, const float *p, const int32_t *status)
{
    memset(t, 0, sizeof *t);
    t->h = fl_harness_new(&fl_stage_temper, &(struct fl_harness_conf){ .options = options, .nlabels = 2, .labels = labels, .rest_off = FL_NO_LABEL }, &t->err);
    if (t->h == NULL || fl_harness_open(t->h, &t->err) != FL_OK)
        return NULL;
    struct fl_batch *b = fl_harness_batch(t->h, 0, n);
    fl_harness_tensor(t->h, b, "prob", FL_F32, 2, (uint32_t[]){ n, 2 }, p);
    if (status != NULL)
        fl_harness_tensor(t->h, b, "status", FL_I32, 1, &n, status);
    if (fl_harness_push(t->h, b, &t->err) != FL_OK)
        return NULL;
    t->out = fl_harness_pop(t->h);
    return t->out != NULL ? fl_batch_find(t->out, "prob")->data : NULL;
}

static void done(struct bench *t)
{
    fl_harness_free_batch(t->h, t->out);
    fl_harness_close(t->h);
}

FL_TEST(raises_odds)
{
    struct bench t;
    const float *r = temper(&t, "{'power':2}", 2, (const float[]){ .8f, .5f, 0, 1 }, NULL);

    CHECK(r != NULL);
    CHECK_NEAR(r[0], 16.0 / 17, 1e-6);       /* odds 4 -> 16 */
    CHECK_NEAR(r[1], .5, 0);
    CHECK_NEAR(r[2], 0, 0);
    CHECK_NEAR(r[3], 1, 0);
    CHECK(fl_batch_find(t.out, "id") != NULL);
    done(&t);
}

FL_TEST(rejects_what_is_no_probability)
{
    struct bench t;
    const float *r = temper(&t, NULL, 3, (const float[]){ .25f, NAN, .75f, .5f, 2, 2 }, (const int32_t[]){ 0, 0, FL_E_INPUT });

    CHECK(r != NULL);
    CHECK_INT(fl_rejected(t.out, 0), FL_E_NUM);
    CHECK_HAS(fl_reason(t.out, 0), "label b");
    CHECK_INT(fl_rejected(t.out, 1), 0);
    CHECK_NEAR(r[2], .75, 1e-7);
    CHECK_INT(fl_rejected(t.out, 2), FL_E_INPUT);
    done(&t);
}

FL_TEST(refuses_options_by_name)
{
    struct bench t;
    CHECK(temper(&t, "{'power':0}", 1, NULL, NULL) == NULL);
    CHECK_HAS(t.err.text, "option power: want 0.01 to 100");
    done(&t);
}

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = { CASE(raises_odds), CASE(rejects_what_is_no_probability), CASE(refuses_options_by_name), { 0 } };
    return fl_run(cases, argc, argv);
}
