/* stats: means and deviations against long double, batches that come twice, a stage that is started again. */
#include <jansson.h>

#include "proto/dtype.h"
#include "stages/lib/seen.h"
#include "tests/lib/check.h"
#include "tests/lib/harness.h"

extern const struct fl_stage fl_stage_stats;

#define SIDE 33u
#define PIXELS (SIDE * SIDE)

static uint16_t value(uint64_t batch, uint32_t row, uint32_t i) { return (uint16_t)((batch * 7919 + row * 104729 + i * 2654435761u) >> (i % 4 == 3 ? 16 : 18)); }

static int send(struct fl_harness *h, uint64_t batch, int (*how)(struct fl_harness *, struct fl_batch *, struct fl_err *), struct fl_err *err)
{
    struct fl_batch *b = fl_harness_batch(h, batch, 3);
    uint16_t *p = fl_harness_tensor(h, b, "pixels", FL_U16, 4, (uint32_t[]){ 3, SIDE, SIDE, 4 }, NULL);
    for (uint32_t row = 0; row < 3; row++)
        for (uint32_t i = 0; i < PIXELS * 4; i++)
            *p++ = value(batch, row, i);
    int32_t *status = fl_harness_tensor(h, b, "status", FL_I32, 1, (uint32_t[]){ 3 }, NULL);
    status[2] = batch == 1 ? FL_E_INPUT : 0;
    return how(h, b, err);
}

static int push(struct fl_harness *h, uint64_t batch, struct fl_err *err) { return send(h, batch, fl_harness_push, err); }

static struct fl_harness *begin(const char *dir, const char *options, struct fl_err *err)
{
    struct fl_harness *h = fl_harness_new(&fl_stage_stats, &(struct fl_harness_conf){ .options = options, .run_dir = dir }, err);
    if (h != NULL && fl_harness_open(h, err) == FL_OK)
        return h;
    fl_harness_close(h);
    return NULL;
}

FL_TEST(sums_survive_a_death_and_count_once)
{
    struct fl_err err = { 0 };
    char options[400], path[300];
    const char *dir = fl_tmpdir();
    snprintf(path, sizeof path, "%s/stats.json", dir);
    snprintf(options, sizeof options, "{'out':'%s'}", path);
    struct fl_harness *h = begin(dir, options, &err);
    CHECK(h != NULL);
    CHECK_OK(push(h, 0, &err), err);
    CHECK_OK(send(h, 5, fl_harness_trial, &err), err);      /* nothing of it stays */
    CHECK_OK(push(h, 3, &err), err);
    CHECK_OK(push(h, 0, &err), err);
    CHECK_INT(fl_harness_acked(h), 3);
    fl_harness_close(h);                   /* no drain: it died */
    FILE *f = NULL;
    char records[400];
    snprintf(records, sizeof records, "%s/%s.stats", dir, "stats");
    f = fopen(records, "ab");
    CHECK(f != NULL && fwrite("torn", 1, 4, f) == 4 && fclose(f) == 0);
    h = begin(dir, options, &err);
    CHECK(h != NULL);
    CHECK_OK(push(h, 3, &err), err);
    CHECK_OK(push(h, 1, &err), err);
    CHECK_OK(fl_harness_drain(h, &err), err);
    fl_harness_close(h);
    json_t *j = json_load_file(path, 0, NULL);
    CHECK(j != NULL);
    CHECK_INT(json_integer_value(json_object_get(j, "tiles")), 8);
    CHECK_INT(json_integer_value(json_object_get(j, "rejected")), 1);
    static const uint64_t batches[] = { 0, 1, 3 };
    for (uint32_t c = 0; c < 4; c++) {
        long double sum = 0, square = 0, n = 8.0L * PIXELS;
        for (int pass = 0; pass < 2; pass++)
            for (int k = 0; k < 3; k++)
                for (uint32_t row = 0; row < (batches[k] == 1 ? 2u : 3u); row++)
                    for (uint32_t i = c; i < PIXELS * 4; i += 4) {
                        long double v = value(batches[k], row, i);
                        if (pass == 0)
                            sum += v;
                        else
                            square += (v - sum / n) * (v - sum / n);
                    }
        CHECK_NEAR(json_number_value(json_array_get(json_object_get(j, "mean_dn"), c)), (double)(sum / n), 1e-9);
        CHECK_NEAR(json_number_value(json_array_get(json_object_get(j, "std_dn"), c)), (double)sqrtl(square / n), 1e-9);
        CHECK_NEAR(json_number_value(json_array_get(json_object_get(j, "std"), c)), (double)(sqrtl(square / n) / 65535), 1e-14);
    }
    json_decref(j);
}

FL_TEST(batches_that_were_had)
{
    struct fl_seen s = { 0 };
    struct fl_err err = { 0 };
    for (uint64_t b = 0; b < 1000; b += 3)
        CHECK_OK(fl_seen_add(&s, b * 7919 % 100000, &err), err);
    for (uint64_t b = 0; b < 300000; b++) {
        bool had = false;
        for (uint64_t k = 0; k < 1000 && b < 2000; k += 3)
            had = had || k * 7919 % 100000 == b;
        if (b < 2000 || b > 100000)
            CHECK_INT(fl_seen_has(&s, b), had);
    }
    CHECK_INT(fl_seen_add(&s, UINT64_C(1) << 32, &err), FL_E_BUG);
    CHECK(!fl_seen_has(&s, UINT64_MAX));
    fl_seen_done(&s);
}

FL_TEST(nothing_to_measure_is_an_error)
{
    struct fl_err err = { 0 };
    char options[400];
    snprintf(options, sizeof options, "{'out':'%s/x.json'}", fl_tmpdir());
    struct fl_harness *h = begin(NULL, options, &err);
    CHECK(h != NULL);
    CHECK_INT(fl_harness_drain(h, &err), FL_E_INPUT);
    fl_harness_close(h);
}

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = { CASE(sums_survive_a_death_and_count_once), CASE(batches_that_were_had), CASE(nothing_to_measure_is_an_error), { 0 } };
    return fl_run(cases, argc, argv);
}
