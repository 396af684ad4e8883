/* The decoding stage: each method's answer in a batch, settings, bad rows. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/lib/check.h"
#include "tests/lib/harness.h"

extern const struct fl_stage fl_stage_decode_f2;

#define BIT(i) (UINT64_C(1) << (i))

struct bench { struct fl_harness *h; struct fl_batch *out; struct fl_err err; uint64_t set[16]; double e[16]; };

static void done(struct bench *t)
{
    fl_harness_free_batch(t->h, t->out);
    fl_harness_close(t->h);
}

static int decode_conf(struct bench *t, const struct fl_harness_conf *conf, uint32_t rows, const float *p, const int32_t *status)
{
    memset(t, 0, sizeof *t);
    t->h = fl_harness_new(&fl_stage_decode_f2, conf, &t->err);
    if (t->h == NULL || fl_harness_open(t->h, &t->err) != FL_OK)
        return t->err.code;
    uint32_t L = fl_harness_ctx(t->h)->nlabels;
    struct fl_batch *b = fl_harness_batch(t->h, 0, rows);
    const void *prob = fl_harness_tensor(t->h, b, "prob", FL_F32, 2, (uint32_t[]){ rows, L }, p);
    if (status != NULL)
        fl_harness_tensor(t->h, b, "status", FL_I32, 1, &rows, status);
    int rc = fl_harness_push(t->h, b, &t->err);
    if (rc != FL_OK)
        return rc;
    t->out = fl_harness_pop(t->h);
    const struct fl_tensor *pred = fl_batch_find(t->out, "pred"), *ef2 = fl_batch_find(t->out, "ef2");
    if (pred == NULL || ef2 == NULL || pred->dtype != FL_U8 || ef2->dtype != FL_F64 || fl_batch_find(t->out, "prob")->data != prob)
        return FL_E_BUG;
    for (uint32_t r = 0; r < rows; r++) {
        t->e[r] = ((const double *)ef2->data)[r];
        for (uint32_t l = 0; l < L; l++)
            t->set[r] |= (uint64_t)((const uint8_t *)pred->data)[r * L + l] << l;
    }
    return FL_OK;
}

static int decode(struct bench *t, const char *options, uint32_t rows, const float *p, const int32_t *status)
{
    return decode_conf(t, &(struct fl_harness_conf){ .options = options }, rows, p, status);
}

static const float rows3[3 * 17] = {
    .02f, .01f, .10f, .005f, .003f, .85f, .01f, .002f, .22f, .30f, .05f, .12f, .98f, .45f, .02f, .03f, .18f,
    .04f, .04f, .04f, .04f, .04f, .04f, .04f, .04f, .04f, .04f, .04f, .04f, .04f, .04f, .04f, .04f, .04f,
    .30f, 0, 0, 0, 0, .02f, .70f, 0, 0, 0, .20f, .08f, .28f, .05f, 0, 0, .10f,
};

/* Probabilities are f32 here, so the values agree with those of the decimal vectors to 1e-8. */
FL_TEST(exact_is_the_default)
{
    struct bench t;
    CHECK_INT(decode(&t, NULL, 3, rows3, NULL), FL_OK);
    CHECK_INT(t.set[0], BIT(5) | BIT(8) | BIT(9) | BIT(12) | BIT(13) | BIT(16));
    CHECK_NEAR(t.e[0], 0.757650260103, 1e-8);
    CHECK_INT(t.set[1], 0x1ffff);
    CHECK_NEAR(t.e[1], 0.146609639418, 1e-8);
    CHECK_INT(t.set[2], BIT(0) | BIT(6) | BIT(10) | BIT(12));
    CHECK_NEAR(t.e[2], 0.616814605895, 1e-8);
    done(&t);
}

FL_TEST(thresholds)
{
    struct bench t;
    CHECK_INT(decode(&t, "{'method':'threshold'}", 3, rows3, NULL), FL_OK);
    CHECK_INT(t.set[0], BIT(5) | BIT(8) | BIT(9) | BIT(12) | BIT(13));
    CHECK_NEAR(t.e[0], 0.757482509, 1e-8);
    CHECK_INT(t.set[1], 0);
    CHECK(t.e[1] == 0);
    /* .20f is above .2 once widened: 0.200000003 */
    CHECK_INT(t.set[2], BIT(0) | BIT(6) | BIT(10) | BIT(12));
    done(&t);
    CHECK_INT(decode(&t, "{'method':'per_class','threshold':0.9,'thresholds':{'road':0.4,'water':0.1,'blooming':0.001}}", 1, rows3, NULL), FL_OK);
    CHECK_INT(t.set[0], BIT(3) | BIT(12) | BIT(13) | BIT(16));
    done(&t);
    CHECK_INT(decode(&t, "{'method':'per_class','thresholds':[1,1,1,1,1,1,1,1,1,1,1,1,1,'0.2',1,1,1]}", 1, rows3, NULL), FL_OK);
    CHECK_INT(t.set[0], BIT(13));
    done(&t);
}

FL_TEST(beta_rules_the_threshold)
{
    struct bench t;
    CHECK_INT(decode(&t, "{'method':'threshold','beta':1}", 1, rows3, NULL), FL_OK);      /* .5 */
    CHECK_INT(t.set[0], BIT(5) | BIT(12));
    done(&t);
    CHECK_INT(decode(&t, "{'method':'threshold','beta':3}", 1, rows3, NULL), FL_OK);      /* .1; .10f is above it */
    CHECK_INT(t.set[0], BIT(2) | BIT(5) | BIT(8) | BIT(9) | BIT(11) | BIT(12) | BIT(13) | BIT(16));
    done(&t);
}

FL_TEST(runner_up_and_label_sets)
{
    struct bench t;
    char path[300], options[400];
    CHECK_INT(decode(&t, "{'runner_up':true}", 3, rows3, NULL), FL_OK);
    const uint8_t *second = fl_batch_find(t.out, "second")->data;
    const double *e2 = fl_batch_find(t.out, "second_ef2")->data;
    CHECK_NEAR(e2[0], 0.757482509, 1e-8);                 /* E(5): the answer without water */
    for (int l = 0; l < 17; l++)
        CHECK_INT(second[l], l == 5 || l == 8 || l == 9 || l == 12 || l == 13);
    CHECK(e2[1] < t.e[1] && e2[2] < t.e[2]);
    done(&t);
    snprintf(path, sizeof path, "%s/sets.csv", fl_tmpdir());
    FILE *f = fopen(path, "w");
    CHECK(f != NULL);
    fputs("image_name,tags\na,clear primary\nb,cloudy\nc,clear primary road\nd,primary clear\n", f);
    fclose(f);
    snprintf(options, sizeof options, "{\"method\":\"labelset\",\"labelsets\":\"%s\"}", path);
    CHECK_INT(decode(&t, options, 1, rows3, NULL), FL_OK);
    CHECK_INT(t.set[0], BIT(5) | BIT(12) | BIT(13));
    done(&t);
    f = fopen(path, "w");
    CHECK(f != NULL);
    fputs("image_name,tags\na,clear primary\nb,\n", f);
    fclose(f);
    CHECK(decode(&t, options, 1, rows3, NULL) != FL_OK);
    CHECK_HAS(t.err.text, "sets.csv:3");
    fl_harness_close(t.h);
    snprintf(options, sizeof options, "{\"method\":\"labelset\",\"labelsets\":\"%s\",\"allow_empty\":true,\"empty_score\":1}", path);
    static const float none[17] = { [5] = .1f, [12] = .1f };            /* {} is true with weight .81 / .82 */
    CHECK_INT(decode(&t, options, 1, none, NULL), FL_OK);
    CHECK_INT(t.set[0], 0);
    CHECK_NEAR(t.e[0], .81 / .82, 1e-6);
    done(&t);
    CHECK_INT(decode(&t, "{'allow_empty':true}", 1, rows3, NULL), FL_E_CONFIG);
    fl_harness_close(t.h);
    CHECK_INT(decode(&t, "{'method':'labelset'}", 1, rows3, NULL), FL_E_CONFIG);
    CHECK_HAS(t.err.text, "go together");
    fl_harness_close(t.h);
    CHECK_INT(decode(&t, "{'hacks':true}", 1, rows3, NULL), FL_E_CONFIG);
    fl_harness_close(t.h);
    CHECK_INT(decode(&t, "{'runner_up':true,'method':'weather'}", 1, rows3, NULL), FL_E_CONFIG);
    fl_harness_close(t.h);
    CHECK_INT(decode(&t, "{'method':'bayes_enum','hacks':true}", 1, rows3, NULL), FL_OK);
    done(&t);
}

static int decode_file(struct bench *t, const char *text)
{
    char path[300], options[400];
    snprintf(path, sizeof path, "%s/t.txt", fl_tmpdir());
    FILE *f = fopen(path, "w");
    if (f == NULL)
        return FL_E_IO;
    fputs(text, f);
    fclose(f);
    snprintf(options, sizeof options, "{\"method\":\"per_class\",\"thresholds\":\"%s\"}", path);
    return decode(t, options, 1, rows3, NULL);
}

FL_TEST(thresholds_are_decimal_numbers)
{
    struct bench t;
    static const char *const bad[] = { "0x1p-2", "inf", "nan", "", "1e", "0.2f" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char options[300];
        snprintf(options, sizeof options, "{'method':'per_class','thresholds':['%s',1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]}", bad[i]);
        CHECK_INT(decode(&t, options, 1, rows3, NULL), FL_E_CONFIG);
        fl_harness_close(t.h);
    }
    CHECK(decode_file(&t, "0x1p-2 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1\n") < 0);
    fl_harness_close(t.h);
}

FL_TEST(thresholds_from_a_file)
{
    struct bench t;
    CHECK_INT(decode_file(&t, "# all\n1 1 1 1 1 .5 1 1 .21\r\n1 1 1 1 1 1 1 1\n"), FL_OK);
    CHECK_INT(t.set[0], BIT(5) | BIT(8));
    done(&t);
    CHECK_INT(decode_file(&t, "water,1\nroad,.4\nprimary,1\npartly_cloudy,1\nhaze 1\nhabitation 1\ncultivation 1\nconventional_mine 1\ncloudy 1\n"
                              "clear 1\nblow_down 1\nblooming 1\nbare_ground 1\nartisinal_mine 1\nagriculture .01\nselective_logging 1\nslash_burn 1"), FL_OK);
    CHECK_INT(t.set[0], BIT(0) | BIT(13));
    done(&t);
    CHECK_INT(decode_file(&t, "1 1\n1 x 1\n"), FL_E_LABEL);
    CHECK_HAS(t.err.text, "t.txt:2");
    done(&t);
    CHECK_INT(decode_file(&t, "1 1\n"), FL_E_INPUT);
    CHECK_HAS(t.err.text, "bare_ground");
    done(&t);
    CHECK_INT(decode_file(&t, "water .1\nwater .2\n"), FL_E_INPUT);
    CHECK_HAS(t.err.text, "twice");
    done(&t);
    CHECK_INT(decode_file(&t, "water 1.5\n"), FL_E_CONFIG);
    done(&t);
    CHECK_INT(decode_file(&t, "water\n"), FL_E_INPUT);
    done(&t);
}

FL_TEST(enumeration_and_its_limit)
{
    struct bench t;
    float p[2 * 17];
    memcpy(p, rows3, 17 * sizeof *p);
    for (int l = 0; l < 17; l++)
        p[17 + l] = .3f;
    CHECK_INT(decode(&t, "{'method':'bayes_enum'}", 2, p, NULL), FL_OK);
    CHECK_INT(t.set[0], BIT(5) | BIT(8) | BIT(9) | BIT(12) | BIT(13));
    CHECK_NEAR(t.e[0], 0.757482509, 1e-8);
    CHECK_INT(t.set[1], 0x1ffff);
    done(&t);
}

/* Marginals of the recipe's weather vector: q, and r times 1 - q of cloudy. */
static const float weather[17] = {
    .075f, .015f, .09f, .00375f, .00225f, .55f, .25f, .003f, .165f, .225f, .05f, .15f, .7275f, .3375f, .015f, .0225f, .135f,
};

FL_TEST(weather_and_its_constraint)
{
    struct bench t;
    CHECK_INT(decode(&t, "{'method':'weather'}", 1, weather, NULL), FL_OK);
    CHECK_INT(t.set[0], BIT(5) | BIT(6) | BIT(9) | BIT(12) | BIT(13));
    CHECK_NEAR(t.e[0], 0.633437169352, 1e-7);
    done(&t);
    CHECK_INT(decode(&t, "{'method':'weather','constraint':'weather1'}", 1, weather, NULL), FL_OK);
    CHECK_INT(t.set[0], BIT(5) | BIT(8) | BIT(9) | BIT(12) | BIT(13) | BIT(16));
    CHECK_NEAR(t.e[0], 0.535628522056, 1e-7);
    done(&t);
    CHECK_INT(decode(&t, "{'constraint':'weather1'}", 3, rows3, NULL), FL_OK);
    for (int r = 0; r < 3; r++) {
        CHECK_INT(__builtin_popcountll(t.set[r] & (BIT(5) | BIT(6) | BIT(10) | BIT(11))), 1);
        CHECK(!(t.set[r] & BIT(6)) || t.set[r] == BIT(6));
    }
    done(&t);
    CHECK_INT(decode(&t, "{'method':'weather','odds':'odds','priors':[0.3,0.01,0.02,0.01,0.002,0.7,0.05,0.002,0.1,0.09,0.07,0.18,0.93,0.2,0.01,0.005,0.18]}", 3, rows3, NULL), FL_OK);
    CHECK(t.e[0] > 0 && t.e[0] <= 1);
    done(&t);
}

static const struct { const char *options, *says; } refused[] = {
    { "{'method':'per_class'}", "thresholds" }, { "{'thresholds':[1]}", "per_class" }, { "{'method':'per_class','thresholds':[0.1,0.2]}", "17" },
    { "{'method':'per_class','thresholds':{'rood':0.1}}", "road" }, { "{'method':'per_class','thresholds':{'road':2}}", "0 to 1" },
    { "{'method':'per_class','thresholds':true}", "list" }, { "{'method':'threshold','constraint':'weather1'}", "weather1" },
    { "{'method':'weather','odds':'odds'}", "priors" }, { "{'priors':0.1}", "priors" },
    { "{'method':'weather','odds':'odds','priors':{'road':0.1}}", "agriculture" }, { "{'method':'weather','odds':'odds','priors':0}", "between" },
    { "{'beta':0}", "beta" }, { "{'method':'best'}", "method" }, { "{'treshold':0.1}", "threshold" },
};

FL_TEST(bad_settings_are_named)
{
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        struct bench t;
        int rc = decode(&t, refused[i].options, 1, rows3, NULL);
        CHECK(rc == FL_E_CONFIG || rc == FL_E_LABEL);
        CHECK_HAS(t.err.text, refused[i].says);
        done(&t);
    }
    static const char *const ab[] = { "a", "b", NULL };
    struct bench t;
    CHECK_INT(decode_conf(&t, &(struct fl_harness_conf){ .options = "{'method':'weather'}", .nlabels = 2, .labels = ab, .rest_off = FL_NO_LABEL },
                          1, rows3, NULL), FL_E_CONFIG);
    CHECK_HAS(t.err.text, "exclusive");
    done(&t);
}

FL_TEST(other_label_sets)
{
    static const char *const abc[] = { "a", "b", "c", NULL };
    struct bench t;
    static const float p[3] = { 1, 3.0f / 11, 0 };
    CHECK_INT(decode_conf(&t, &(struct fl_harness_conf){ .nlabels = 3, .labels = abc, .rest_off = FL_NO_LABEL }, 1, p, NULL), FL_OK);
    CHECK_INT(t.set[0] & 5, 1);
    CHECK_NEAR(t.e[0], 1 - 4 * (3.0 / 11) / 9, 1e-7);
    done(&t);
    /* a weather group without a label that allows no other: exactly one of a and b is true, both said always earn 5/(4+2) */
    CHECK_INT(decode_conf(&t, &(struct fl_harness_conf){ .options = "{'method':'weather'}", .nlabels = 3, .labels = abc, .exclusive = 3,
                          .rest_off = FL_NO_LABEL }, 1, p, NULL), FL_OK);
    CHECK_INT(t.set[0], 3);
    CHECK_NEAR(t.e[0], 5.0 / 6, 1e-15);
    done(&t);
}

FL_TEST(bad_rows_are_rejected_alone)
{
    float p[4 * 17] = { 0 };
    static const int32_t status[4] = { 0, FL_E_INPUT, 0, 0 };
    memcpy(p, rows3, sizeof rows3);
    memcpy(p + 17, p, 17 * sizeof *p);
    p[2 * 17 + 13] = NAN;
    memcpy(p + 3 * 17, rows3 + 2 * 17, 17 * sizeof *p);
    struct bench t;
    CHECK_INT(decode(&t, NULL, 4, p, status), FL_OK);
    CHECK_INT(t.set[0], BIT(5) | BIT(8) | BIT(9) | BIT(12) | BIT(13) | BIT(16));
    CHECK_INT(t.set[1], 0);
    CHECK_INT(t.set[2], 0);
    CHECK_INT(t.set[3], BIT(0) | BIT(6) | BIT(10) | BIT(12));
    CHECK(t.e[1] == 0 && t.e[2] == 0 && t.e[3] > 0.6);
    CHECK_INT(fl_rejected(t.out, 2), FL_E_NUM);
    CHECK_HAS(fl_reason(t.out, 2), "label road");
    CHECK_INT(fl_rejected(t.out, 3), 0);
    done(&t);
}

/* A tile's numbers must not depend on its company. */
FL_TEST(batches_of_any_size_agree)
{
    float p[16 * 17];
    double e[16];
    uint64_t set[16];
    struct bench t;
    for (int i = 0; i < 16 * 17; i++)
        p[i] = (float)fabs(sin(i * 12.9898)) * (i % 3 ? .3f : 1);
    CHECK_INT(decode_conf(&t, &(struct fl_harness_conf){ .B = 16 }, 16, p, NULL), FL_OK);
    memcpy(e, t.e, sizeof e);
    memcpy(set, t.set, sizeof set);
    done(&t);
    for (int r = 0; r < 16; r++) {
        CHECK_INT(decode(&t, NULL, 1, p + r * 17, NULL), FL_OK);
        CHECK_INT(t.set[0], set[r]);
        CHECK(t.e[0] == e[r]);
        done(&t);
    }
    CHECK_INT(decode(&t, NULL, 0, p, NULL), FL_OK);
    done(&t);
}

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = {
        CASE(exact_is_the_default), CASE(thresholds), CASE(thresholds_from_a_file), CASE(enumeration_and_its_limit),
        CASE(weather_and_its_constraint), CASE(bad_settings_are_named), CASE(other_label_sets), CASE(bad_rows_are_rejected_alone),
        CASE(batches_of_any_size_agree), CASE(thresholds_are_decimal_numbers), CASE(beta_rules_the_threshold), CASE(runner_up_and_label_sets), { 0 }
    };
    return fl_run(cases, argc, argv);
}
