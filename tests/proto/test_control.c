/* Control messages, against vectors made by msgpack-python and hostile bytes. */
#include "proto/control.h"

#include "tests/lib/check.h"

#define FOLDER "tests/data/frame/"

static const struct fl_control ready = { .type = "ready" };
static const struct fl_control ack = { .type = "ack", .batch = 70000, .attempt = 2, .slot = 3, .gen = 9, .predicted = 60, .rejected = 4 };
static const struct fl_control result = {
    .type = "result", .batches = UINT64_MAX, .tiles = UINT64_C(1000000000000), .code = 8, .name = "f2", .value = 0.93125,
    .text = "\xc3\xa9t\xc3\xa9"
};

static size_t load(const char *name, uint8_t *buf, size_t cap)
{
    char path[128];
    snprintf(path, sizeof path, FOLDER "control_%s.bin", name);
    FILE *f = fopen(path, "rb");
    if (f == NULL) {
        fl_fail_at(__FILE__, __LINE__, "can't open %s", path);
        return 0;
    }
    size_t n = fread(buf, 1, cap, f);
    fclose(f);
    return n;
}

static void check_same(const struct fl_control *a, const struct fl_control *b)
{
    CHECK_STR(a->type, b->type);
    CHECK(a->batch == b->batch && a->batches == b->batches && a->tiles == b->tiles && a->code == b->code);
    CHECK_INT(a->attempt, b->attempt);
    CHECK_INT(a->slot, b->slot);
    CHECK_INT(a->gen, b->gen);
    CHECK_INT(a->predicted, b->predicted);
    CHECK_INT(a->rejected, b->rejected);
    CHECK_STR(a->name, b->name);
    CHECK_STR(a->id, b->id);
    CHECK_NEAR(a->value, b->value, 0);
    CHECK_STR(a->text, b->text);
}

FL_TEST(writes_and_reads_the_bytes_of_msgpack_python)
{
    static const struct { const char *file; const struct fl_control *c; } good[] = {
        { "ready", &ready }, { "ack", &ack }, { "result", &result },
    };
    for (size_t i = 0; i < 3; i++) {
        uint8_t want[FL_CONTROL_MAX], got[FL_CONTROL_MAX];
        size_t n = load(good[i].file, want, sizeof want), len = 0;
        struct fl_err err = { 0 };
        struct fl_control c;
        CHECK_OK(fl_control_pack(good[i].c, got, sizeof got, &len, &err), err);
        CHECK_INT(len, n);
        CHECK(memcmp(got, want, n) == 0);
        memset(&c, 0xAA, sizeof c);
        CHECK_OK(fl_control_unpack(want, n, &c, &err), err);
        check_same(&c, good[i].c);
    }
}

FL_TEST(ignores_what_it_does_not_know)
{
    uint8_t buf[FL_CONTROL_MAX];
    struct fl_err err = { 0 };
    struct fl_control c;

    CHECK_OK(fl_control_unpack(buf, load("loose", buf, sizeof buf), &c, &err), err);
    check_same(&c, &(struct fl_control){ .type = "result", .tiles = 5, .value = 3 });
    CHECK_OK(fl_control_unpack(buf, load("loose_f32", buf, sizeof buf), &c, &err), err);
    check_same(&c, &(struct fl_control){ .type = "result", .value = 0.5 });
}

FL_TEST(keeps_numbers_that_are_odd)
{
    static const double odd[] = { -1.5, 1e-310, 1.7976931348623157e308, INFINITY, -INFINITY };
    uint8_t buf[64];
    size_t len;
    struct fl_control c = { .type = "result" }, back;

    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        c.value = odd[i];
        CHECK_INT(fl_control_pack(&c, buf, sizeof buf, &len, NULL), FL_OK);
        CHECK_INT(fl_control_unpack(buf, len, &back, NULL), FL_OK);
        CHECK(back.value == odd[i]);
    }
    c.value = NAN;
    CHECK_INT(fl_control_pack(&c, buf, sizeof buf, &len, NULL), FL_OK);
    CHECK_INT(fl_control_unpack(buf, len, &back, NULL), FL_OK);
    CHECK(isnan(back.value));
}

FL_TEST(fits_at_its_largest)
{
    uint8_t buf[FL_CONTROL_MAX];
    size_t len;
    struct fl_control c, back;
    struct fl_err err = { 0 };

    memset(&c, 0xFF, sizeof c);
    memset(c.type, 't', sizeof c.type - 1), c.type[sizeof c.type - 1] = '\0';
    memset(c.name, 'n', sizeof c.name - 1), c.name[sizeof c.name - 1] = '\0';
    memset(c.id, 'i', sizeof c.id - 1), c.id[sizeof c.id - 1] = '\0';
    memset(c.text, 'x', sizeof c.text - 1), c.text[sizeof c.text - 1] = '\0';
    c.value = 0.1;
    CHECK_OK(fl_control_pack(&c, buf, sizeof buf, &len, &err), err);
    CHECK_OK(fl_control_unpack(buf, len, &back, &err), err);
    check_same(&back, &c);
    for (size_t cap = 0; cap < len; cap++)
        CHECK_INT(fl_control_pack(&c, buf, cap, &(size_t){ 0 }, &err), FL_E_PROTO);
    CHECK_HAS(err.text, "the buffer has");
}

FL_TEST(refuses_what_breaks_the_protocol)
{
    static const struct { const char *file, *says; } bad[] = {
        { "bad_none", "type is missing" },  { "bad_type", "type is not a text that fits" },
        { "bad_text", "text is not a text that fits" }, { "bad_u32", "attempt is not a number" },
        { "bad_kind", "batch is not a number" }, { "bad_value", "value is not a number" },
        { "bad_key", "key 0 is not a text" }, { "bad_twice", "type is there twice" },
        { "bad_nul", "type is not a text that fits" }, { "bad_claim", "control: message of 5 bytes ends within" },
    };
    uint8_t buf[FL_CONTROL_MAX];
    struct fl_control c = { .code = 77 };
    struct fl_err err = { 0 };

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        size_t n = load(bad[i].file, buf, sizeof buf);
        CHECK_INT(fl_control_unpack(buf, n, &c, &err), FL_E_PROTO);
        CHECK_HAS(err.text, bad[i].says);
        CHECK_INT(c.code, 77);
        CHECK_INT(fl_control_unpack(buf, n, &c, NULL), FL_E_PROTO);
    }
    CHECK_INT(fl_control_unpack("\x90", 1, &c, &err), FL_E_PROTO);
    CHECK_HAS(err.text, "not a map");
}

FL_TEST(refuses_every_truncation)
{
    uint8_t buf[FL_CONTROL_MAX];
    size_t n = load("result", buf, sizeof buf);

    for (size_t len = 0; len < n; len++) {
        struct fl_control c;
        uint8_t *exact = malloc(len + (len == 0));
        CHECK(exact != NULL);
        memcpy(exact, buf, len);
        int rc = fl_control_unpack(exact, len, &c, NULL);
        free(exact);
        CHECK_INT(rc, FL_E_PROTO);
    }
}

FL_TEST(packs_no_broken_message)
{
    uint8_t buf[FL_CONTROL_MAX];
    size_t len = 3;
    struct fl_control c = { .batch = 1 };
    struct fl_err err = { 0 };

    CHECK_INT(fl_control_pack(&c, buf, sizeof buf, &len, &err), FL_E_PROTO);
    CHECK_HAS(err.text, "type is empty");
    c = ready;
    memset(c.name, 'n', sizeof c.name);
    CHECK_INT(fl_control_pack(&c, buf, sizeof buf, &len, &err), FL_E_PROTO);
    CHECK_HAS(err.text, "name is not ended");
    CHECK_INT(len, 3);
}

/* For test_frame_py.py: leaves messages in the folder FL_WRITE_TO. */
FL_TEST(writes_for_other_readers)
{
    const struct fl_control *all[] = { &ready, &ack, &result };
    const char *to = getenv("FL_WRITE_TO");

    if (to == NULL)
        to = fl_tmpdir();
    for (int i = 0; i < 3; i++) {
        uint8_t buf[FL_CONTROL_MAX];
        char path[4096];
        size_t len;
        CHECK_INT(fl_control_pack(all[i], buf, sizeof buf, &len, NULL), FL_OK);
        snprintf(path, sizeof path, "%s/%d.bin", to, i);
        FILE *f = fopen(path, "wb");
        CHECK(f != NULL);
        size_t done = fwrite(buf, 1, len, f);
        CHECK_INT(fclose(f), 0);
        CHECK_INT(done, len);
    }
}

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = {
        CASE(writes_and_reads_the_bytes_of_msgpack_python), CASE(ignores_what_it_does_not_know), CASE(keeps_numbers_that_are_odd),
        CASE(fits_at_its_largest), CASE(refuses_what_breaks_the_protocol), CASE(refuses_every_truncation),
        CASE(packs_no_broken_message), CASE(writes_for_other_readers), { 0 }
    };
    return fl_run(cases, argc, argv);
}
