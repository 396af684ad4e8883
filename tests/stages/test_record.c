/* record: what a tap stores, when, and that it acknowledges whatever happens. */
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include "proto/recording.h"
#include "runtime/host.h"
#include "stages/lib/pace.h"
#include "tests/lib/check.h"
#include "tests/lib/harness.h"

extern const struct fl_stage fl_stage_record;

static struct fl_harness *open_record(const char *options)
{
    struct fl_err err = { 0 };
    struct fl_harness *h = fl_harness_new(&fl_stage_record, &(struct fl_harness_conf){ .options = options, .run_dir = fl_tmpdir() }, &err);
    if (h != NULL && fl_harness_open(h, &err) == FL_OK)
        return h;
    printf("# %s\n", err.text);
    fl_harness_close(h);
    return NULL;
}

static int send(struct fl_harness *h, uint64_t number, int (*how)(struct fl_harness *, struct fl_batch *, struct fl_err *), struct fl_err *err)
{
    struct fl_batch *b = fl_harness_batch(h, number, 3);
    uint16_t *pixels = fl_harness_tensor(h, b, "pixels", FL_U16, 4, (uint32_t[]){ 3, 8, 8, 4 }, NULL);
    for (uint32_t i = 0; i < 3 * 8 * 8 * 4; i++)
        pixels[i] = (uint16_t)(number * 1000 + i);
    return how(h, b, err);
}

static int push(struct fl_harness *h, uint64_t number, struct fl_err *err) { return send(h, number, fl_harness_push, err); }

static struct fl_rec *recorded(void)
{
    static char path[4200];
    struct fl_err err = { 0 };
    struct fl_rec *r = NULL;
    snprintf(path, sizeof path, "%s/recordings/record", fl_tmpdir());
    if (fl_rec_open(path, &r, &err) != FL_OK)
        printf("# %s\n", err.text);
    return r;
}

/* The numbers of the batches in it, as text, after their values were compared. */
static const char *held(void)
{
    static char text[400];
    struct fl_rec *r = recorded();
    struct fl_rec_batch b = { 0 };
    struct fl_err err;
    text[0] = '\0';
    for (uint64_t i = 0; r != NULL && i < fl_rec_count(r); i++) {
        if (fl_rec_read(r, i, &b, &err) != FL_OK)
            return "unreadable";
        const struct fl_tensor *t = fl_batch_find(&b.b, "pixels");
        for (uint32_t k = 0; t != NULL && k < 3 * 8 * 8 * 4; k++)
            if (((const uint16_t *)t->data)[k] != (uint16_t)(b.b.batch * 1000 + k))
                return "other values";
        if (t == NULL || b.b.ntensors != 3 || strcmp(fl_id(&b.b, 2), "") == 0)
            return "other tensors";
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%llu", i ? " " : "", (unsigned long long)b.b.batch);
    }
    fl_rec_batch_done(&b);
    fl_rec_close(r);
    return text;
}

/* Before the first, between two, and in a ring that is full. */
FL_TEST(a_trial_leaves_nothing)
{
    static const char *const options[] = { "{'zstd': 1}", "{'ring': 3}" };
    for (int k = 0; k < 2; k++) {
        struct fl_err err = { 0 };
        struct fl_harness *h = open_record(options[k]);
        CHECK(h != NULL);
        CHECK_OK(send(h, 9, fl_harness_trial, &err), err);
        CHECK_OK(push(h, 0, &err), err);
        CHECK_OK(send(h, 9, fl_harness_trial, &err), err);
        CHECK_OK(push(h, 1, &err), err);
        CHECK_OK(push(h, 2, &err), err);
        CHECK_OK(send(h, 9, fl_harness_trial, &err), err);
        CHECK_INT(fl_harness_acked(h), 3);
        CHECK_OK(fl_harness_dump(h, "asked", &err), err);
        CHECK_OK(fl_harness_drain(h, &err), err);
        fl_harness_close(h);
        CHECK_STR(held(), k == 0 ? "0 1 2" : "0 1 2 0 1 2");
    }
}

FL_TEST(stores_all)
{
    struct fl_err err = { 0 };
    struct fl_harness *h = open_record("{'zstd': 1}");
    CHECK(h != NULL);
    for (uint64_t i = 0; i < 5; i++)
        CHECK_OK(push(h, i, &err), err);
    CHECK_INT(fl_harness_acked(h), 5);
    CHECK_OK(fl_harness_drain(h, &err), err);
    fl_harness_close(h);
    CHECK_STR(held(), "0 1 2 3 4");
}

FL_TEST(stores_every_kth)
{
    struct fl_err err = { 0 };
    struct fl_harness *h = open_record("{'every': 3}");
    CHECK(h != NULL);
    for (uint64_t i = 0; i < 8; i++)
        CHECK_OK(push(h, i, &err), err);
    CHECK_INT(fl_harness_acked(h), 8);
    CHECK_OK(fl_harness_drain(h, &err), err);
    fl_harness_close(h);
    CHECK_STR(held(), "0 3 6");
}

/* A dump writes the last N, oldest first, none of them twice; without a dump nothing is written. */
FL_TEST(a_ring_is_written_on_demand)
{
    struct fl_err err = { 0 };
    struct fl_harness *h = open_record("{'ring': 3}");
    CHECK(h != NULL);
    for (uint64_t i = 0; i < 7; i++)
        CHECK_OK(push(h, i, &err), err);
    CHECK_OK(fl_harness_dump(h, "test", &err), err);
    CHECK_STR(held(), "4 5 6");
    CHECK_OK(push(h, 7, &err), err);
    CHECK_OK(fl_harness_dump(h, "test", &err), err);
    CHECK_OK(fl_harness_dump(h, "test", &err), err);
    CHECK_OK(push(h, 8, &err), err);
    CHECK_OK(fl_harness_drain(h, &err), err);
    CHECK_INT(fl_harness_acked(h), 9);
    fl_harness_close(h);
    CHECK_STR(held(), "4 5 6 7");
}

/* The header as it came by the link, stored at once or out of the ring. */
FL_TEST(the_wire_header_is_stored_as_it_came)
{
    struct fl_err err = { 0 };
    for (int ring = 0; ring < 2; ring++) {
        struct fl_harness *h = open_record(ring ? "{'ring': 2}" : "{}");
        CHECK(h != NULL);
        struct fl_batch *b = fl_harness_batch(h, 4, 3);
        struct fl_frame head = { 0 }, *came = &((struct fl_hosted *)b->host)->head;
        size_t len;
        CHECK_OK(fl_frame_pack(b, head.bytes, sizeof head.bytes, &len, &err), err);
        head.bytes[0]++;                                     /* one key more, unknown here */
        memcpy(head.bytes + len, "\xa1z\xcd\x00\x07", 5);
        head.len = (uint32_t)len + 5;
        *came = head;
        CHECK_OK(fl_harness_push(h, b, &err), err);
        CHECK_OK(fl_harness_dump(h, "test", &err), err);
        fl_harness_close(h);
        struct fl_rec *r = recorded();
        struct fl_rec_batch got = { 0 };
        CHECK_OK(fl_rec_read(r, fl_rec_count(r) - 1, &got, &err), err);
        CHECK_INT(fl_rec_count(r), (uint64_t)ring + 1);
        CHECK_INT(got.head.len, head.len);
        CHECK(memcmp(got.head.bytes, head.bytes, head.len) == 0);
        fl_rec_batch_done(&got);
        fl_rec_close(r);
    }
}

/* Pieces of work of `work` ms, one every `every` ms: how many stretches of a minute were full. */
static int full_stretches(int64_t work, int64_t every)
{
    const int64_t ms = 1000000;
    struct fl_pace p = { 0 };
    double seconds;
    int full = 0;
    for (int64_t t = 5 * ms; t < 60000 * ms; t += every * ms)
        full += fl_pace_work(&p, t, t + work * ms, &seconds);
    return full;
}

FL_TEST(a_tap_that_is_always_at_work_is_seen)
{
    struct fl_pace p = { 0 };
    double seconds = 0;
    CHECK_INT(full_stretches(100, 100), 6);
    CHECK_INT(full_stretches(95, 100), 5);
    CHECK_INT(full_stretches(80, 100), 0);
    CHECK_INT(full_stretches(1, 1000), 0);
    CHECK(fl_pace_work(&p, 7, 7 + 2 * FL_PACE_STRETCH, &seconds));
    CHECK(seconds == 2e-9 * (double)FL_PACE_STRETCH);
    CHECK(!fl_pace_work(&p, 7 + 4 * FL_PACE_STRETCH, 8 + 4 * FL_PACE_STRETCH, &seconds));     /* idle since */
}

FL_TEST(a_full_disk_is_told_once_and_the_run_goes_on)
{
    struct fl_err err = { 0 };
    struct rlimit old, small;
    struct fl_harness *h = open_record("{}");
    CHECK(h != NULL);
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    small = old;
    small.rlim_cur = 8192;
    setrlimit(RLIMIT_FSIZE, &small);
    for (uint64_t i = 0; i < 12; i++)
        CHECK_OK(push(h, i, &err), err);
    CHECK_OK(fl_harness_drain(h, &err), err);
    setrlimit(RLIMIT_FSIZE, &old);
    CHECK_INT(fl_harness_acked(h), 12);
    CHECK_HAS(fl_harness_warnings(h), "has gaps");
    CHECK(strstr(strstr(fl_harness_warnings(h), "has gaps") + 1, "has gaps") == NULL);
    fl_harness_close(h);
    CHECK_STR(held(), "0 1 2");
}

FL_TEST(at_the_limit_the_oldest_go)
{
    struct fl_err err = { 0 };
    struct fl_harness *h = open_record("{'limit': 400000}");
    CHECK(h != NULL);
    for (uint64_t i = 0; i < 500; i++)
        CHECK_OK(push(h, i, &err), err);
    CHECK_OK(fl_harness_drain(h, &err), err);
    CHECK_HAS(fl_harness_warnings(h), "reached its limit");
    fl_harness_close(h);
    struct fl_rec *r = recorded();
    CHECK(r != NULL);
    CHECK(fl_rec_at(r, 0)->batch > 100);
    CHECK_INT(fl_rec_at(r, fl_rec_count(r) - 1)->batch, 499);
    fl_rec_close(r);
}

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = {
        CASE(a_trial_leaves_nothing), CASE(stores_all), CASE(stores_every_kth), CASE(a_ring_is_written_on_demand), CASE(the_wire_header_is_stored_as_it_came), CASE(a_tap_that_is_always_at_work_is_seen), CASE(a_full_disk_is_told_once_and_the_run_goes_on),
        CASE(at_the_limit_the_oldest_go), { 0 },
    };
    return fl_run(cases, argc, argv);
}
