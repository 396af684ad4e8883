/* The wire header, against vectors made by msgpack-python (tests/data/frame/make.py) and hostile bytes. */
#include "proto/frame.h"

#include "tests/lib/check.h"

#define FOLDER "tests/data/frame/"

/* Reads FOLDER/name.bin into buf and returns its length; fails the case when it isn't there. */
static size_t load(const char *name, uint8_t *buf, size_t cap)
{
    char path[128];
    snprintf(path, sizeof path, FOLDER "%s.bin", name);
    FILE *f = fopen(path, "rb");
    if (f == NULL) {
        fl_fail_at(__FILE__, __LINE__, "can't open %s", path);
        return 0;
    }
    size_t n = fread(buf, 1, cap, f);
    fclose(f);
    return n;
}

static void add(struct fl_batch *b, const char *name, int dtype, uint32_t ndim, const uint32_t *shape, int32_t place, uint64_t off)
{
    struct fl_tensor *t = fl_batch_add(b, name);
    t->dtype = (uint8_t)dtype;
    t->ndim = (uint8_t)ndim;
    memcpy(t->shape, shape, ndim * sizeof *shape);
    t->place = place;
    t->off = off;
    t->bytes = fl_dtype_size(dtype);
    for (uint32_t d = 0; d < ndim; d++)
        t->bytes *= shape[d];
}

/* The batch of make.py's header(). */
static void the_batch(struct fl_batch *b)
{
    memset(b, 0, sizeof *b);
    b->run = 0x0123456789ABCDEF;
    b->batch = 70000;
    b->attempt = 1;
    b->slot = 3;
    b->gen = 200;
    b->n = 64;
    add(b, "id", FL_U8, 2, (const uint32_t[]){ 64, 64 }, 0, 0);
    add(b, "image", FL_F32, 5, (const uint32_t[]){ 64, 8, 3, 224, 224 }, 2, 4096);
    add(b, "probs", FL_F64, 0, (const uint32_t[]){ 0 }, -1, 1);
}

/* The batch of make.py's FULL. */
static void the_full_batch(struct fl_batch *b)
{
    memset(b, 0, sizeof *b);
    b->run = b->batch = UINT64_MAX;
    b->attempt = b->slot = b->gen = b->n = UINT32_MAX;
    add(b, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", FL_BF16, 6, (const uint32_t[]){ 1, 2, 3, 4, 5, 6 }, INT32_MAX, UINT64_MAX - 2047);
    for (uint32_t i = 1; i < 48; i++) {
        char name[8];
        snprintf(name, sizeof name, "t%u", i);
        add(b, name, FL_U16, 1, &i, -1, i);
    }
}

static void check_packs_as(const struct fl_batch *b, const char *name)
{
    uint8_t want[FL_FRAME_MAX], got[FL_FRAME_MAX];
    size_t n = load(name, want, sizeof want), len = 0;
    struct fl_err err = { 0 };

    CHECK_OK(fl_frame_pack(b, got, sizeof got, &len, &err), err);
    CHECK_INT(len, n);
    CHECK(memcmp(got, want, n) == 0);
}

static void check_reads_as(const struct fl_batch *b, const char *name)
{
    uint8_t buf[FL_FRAME_MAX];
    size_t n = load(name, buf, sizeof buf);
    struct fl_err err = { 0 };
    struct fl_batch got;

    memset(&got, 0xAA, sizeof got);
    CHECK_OK(fl_frame_unpack(buf, n, &got, &err), err);
    CHECK(got.run == b->run && got.batch == b->batch);
    CHECK_INT(got.attempt, b->attempt);
    CHECK_INT(got.slot, b->slot);
    CHECK_INT(got.gen, b->gen);
    CHECK_INT(got.n, b->n);
    CHECK(got.host == NULL);
    CHECK_INT(got.ntensors, b->ntensors);
    for (uint32_t i = 0; i < b->ntensors; i++) {
        const struct fl_tensor *g = &got.t[i], *w = &b->t[i];
        CHECK_STR(g->name, w->name);
        CHECK_INT(g->dtype, w->dtype);
        CHECK_INT(g->ndim, w->ndim);
        CHECK(memcmp(g->shape, w->shape, sizeof g->shape) == 0);
        CHECK_INT(g->place, w->place);
        CHECK(g->off == w->off && g->bytes == w->bytes);
        CHECK(g->edge == 0 && g->data == NULL);
    }
}

FL_TEST(writes_the_bytes_of_msgpack_python)
{
    struct fl_batch b, empty = { 0 };

    the_batch(&b);
    check_packs_as(&b, "ok_batch");
    the_full_batch(&b);
    check_packs_as(&b, "ok_full");
    check_packs_as(&empty, "ok_empty");
}

FL_TEST(reads_the_bytes_of_msgpack_python)
{
    struct fl_batch b, empty = { 0 };

    the_batch(&b);
    check_reads_as(&b, "ok_batch");
    check_reads_as(&b, "ok_loose");
    check_reads_as(&b, "ok_loose_wide");
    the_full_batch(&b);
    check_reads_as(&b, "ok_full");
    check_reads_as(&empty, "ok_empty");
}

FL_TEST(refuses_what_breaks_the_protocol)
{
    static const struct { const char *file, *says; } bad[] = {
        { "bad_version", "version 2, want 1" },         { "bad_crit", "critical bits 0x4" },
        { "bad_shape", "tensor id: 4095 bytes, its shape and type take 4096" },
        { "bad_overflow", "tensor id: type" },          { "bad_dtype", "tensor id: unknown type" },
        { "bad_dims", "tensor id: its shape" },         { "bad_dim", "tensor id: dimension 0" },
        { "bad_place", "tensor id: place -2" },         { "bad_align", "tensor id: offset 1" },
        { "bad_end", "tensor id: offset 18446744073709551552" }, { "bad_inline", "tensor id: offset 1000" },
        { "bad_name", "tensor 0: its name" },           { "bad_noname", "tensor 0: its name" },
        { "bad_nul", "tensor 0: its name" },            { "bad_five", "tensor 0: not an array of 6" },
        { "bad_many", "300 tensors" },                   { "bad_slot", "slot is not" },
        { "bad_negative", "batch is not" },             { "bad_float", "n is not" },
        { "bad_text", "n is not" },                     { "bad_key", "key 9 is not a text" },
        { "bad_array", "not a map" },
        { "bad_no_v", "v is missing" },                 { "bad_no_run", "run is missing" },
        { "bad_no_batch", "batch is missing" },         { "bad_no_attempt", "attempt is missing" },
        { "bad_no_slot", "slot is missing" },           { "bad_no_gen", "gen is missing" },
        { "bad_no_n", "n is missing" },                 { "bad_no_crit", "crit is missing" },
        { "bad_no_t", "t is missing" },                 { "bad_twice", "v is there twice" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint8_t buf[FL_FRAME_MAX];
        size_t n = load(bad[i].file, buf, sizeof buf);
        struct fl_err err = { 0 };
        struct fl_batch b = { .run = 77 };
        CHECK_INT(fl_frame_check(buf, n, &err), FL_OK);       /* well-formed: what is wrong is what it says */
        CHECK_INT(fl_frame_unpack(buf, n, &b, &err), FL_E_PROTO);
        CHECK_HAS(err.text, bad[i].says);
        CHECK_INT(b.run, 77);
        CHECK_INT(fl_frame_unpack(buf, n, &b, NULL), FL_E_PROTO);
    }
}

FL_TEST(refuses_hostile_bytes_before_reading)
{
    static const struct { const char *file, *says; } bad[] = {
        { "bad_claim_array", "ends within the value at byte 0" }, { "bad_claim_map", "ends within" },
        { "bad_claim_str", "ends within" },  { "bad_claim_bin", "ends within" }, { "bad_claim_16m", "ends within" },
        { "bad_claim_within", "ends within the value at byte 3" },
        { "bad_deep", "byte 4: nested deeper than 4" }, { "bad_deeper", "nested deeper than 4" },
        { "bad_ext", "byte 3: an extension type" }, { "bad_code", "byte 3: an unused code" },
        { "bad_trailing", "1 bytes behind its end" }, { "bad_long", "4099 bytes, at most 4096" },
        { "bad_none", "ends within the value at byte 0" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint8_t buf[2 * FL_FRAME_MAX];
        size_t n = load(bad[i].file, buf, sizeof buf);
        struct fl_err err = { 0 };
        struct fl_batch b = { .run = 77 };
        CHECK_INT(fl_frame_check(buf, n, &err), FL_E_PROTO);
        CHECK_HAS(err.text, bad[i].says);
        CHECK_INT(fl_frame_unpack(buf, n, &b, &err), FL_E_PROTO);
        CHECK_INT(b.run, 77);
        CHECK_INT(fl_frame_check(buf, n, NULL), FL_E_PROTO);
    }
}

FL_TEST(refuses_every_truncation)
{
    static const char *const files[] = { "ok_batch", "ok_full", "ok_loose", "ok_loose_wide" };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        uint8_t buf[FL_FRAME_MAX];
        size_t n = load(files[i], buf, sizeof buf);
        for (size_t len = 0; len < n; len++) {
            uint8_t *exact = malloc(len + (len == 0));        /* so that a sanitizer sees one byte too many read */
            struct fl_batch b;
            CHECK(exact != NULL);
            memcpy(exact, buf, len);
            int rc = fl_frame_unpack(exact, len, &b, NULL);
            free(exact);
            CHECK_INT(rc, FL_E_PROTO);
        }
    }
}

FL_TEST(survives_every_changed_byte)
{
    static uint8_t buf[FL_FRAME_MAX], again[FL_FRAME_MAX];
    size_t n = load("ok_batch", buf, sizeof buf);

    for (size_t at = 0; at < n; at++) {
        uint8_t old = buf[at];
        for (int v = 0; v < 256; v++) {
            struct fl_batch b;
            size_t len;
            buf[at] = (uint8_t)v;
            if (fl_frame_unpack(buf, n, &b, NULL) == FL_OK)
                CHECK_INT(fl_frame_pack(&b, again, sizeof again, &len, NULL), FL_OK);
        }
        buf[at] = old;
    }
}

FL_TEST(says_which_size_it_needs)
{
    uint8_t buf[FL_FRAME_MAX];
    size_t len = 5;
    struct fl_err err = { 0 };
    struct fl_batch b;

    the_batch(&b);
    for (size_t cap = 0; cap < 119; cap++) {
        uint8_t *exact = malloc(cap + 1);
        CHECK(exact != NULL);
        exact[cap] = 0x5A;
        int rc = fl_frame_pack(&b, exact, cap, &len, &err);
        bool kept = exact[cap] == 0x5A;
        free(exact);
        CHECK_INT(rc, FL_E_PROTO);
        CHECK(kept);
    }
    CHECK_STR(err.text, "header takes 119 bytes, the buffer has 118");
    CHECK_INT(len, 5);

    memset(&b, 0, sizeof b);
    for (int i = 0; i < FL_MAX_TENSORS; i++)     /* 64 x (1+32+4 + 1+6x5 + 5+9+9) is over 4 KiB */
        add(&b, "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn", FL_F32, 6, (const uint32_t[]){ 70000, 70000, 70000, 1, 1, 1 },
            INT32_MAX, UINT64_C(1) << 40);
    CHECK_INT(fl_frame_pack(&b, buf, sizeof buf, &len, &err), FL_E_PROTO);
    CHECK_HAS(err.text, "at most 4096 are allowed");
}

FL_TEST(packs_no_broken_descriptor)
{
    uint8_t buf[FL_FRAME_MAX];
    size_t len;
    struct fl_err err = { 0 };
    struct fl_batch b;

    the_batch(&b);
    b.t[1].bytes++;
    CHECK_INT(fl_frame_pack(&b, buf, sizeof buf, &len, &err), FL_E_PROTO);
    CHECK_HAS(err.text, "tensor image");
    the_batch(&b);
    b.t[0].dtype = FL_DTYPE_COUNT;
    CHECK_INT(fl_frame_pack(&b, buf, sizeof buf, &len, &err), FL_E_PROTO);
    the_batch(&b);
    b.t[0].ndim = 7;
    CHECK_INT(fl_frame_pack(&b, buf, sizeof buf, &len, &err), FL_E_PROTO);
    the_batch(&b);
    memset(b.t[2].name, 'x', sizeof b.t[2].name);
    CHECK_INT(fl_frame_pack(&b, buf, sizeof buf, &len, &err), FL_E_PROTO);
    CHECK_HAS(err.text, "tensor 2");
    the_batch(&b);
    b.t[2].name[0] = '\0';
    CHECK_INT(fl_frame_pack(&b, buf, sizeof buf, &len, &err), FL_E_PROTO);
    the_batch(&b);
    b.ntensors = FL_MAX_TENSORS + 1;
    CHECK_INT(fl_frame_pack(&b, buf, sizeof buf, &len, &err), FL_E_PROTO);
    CHECK_HAS(err.text, "tensors, at most");
}

/* For test_frame_py.py: leaves headers in the folder FL_WRITE_TO. */
FL_TEST(writes_for_other_readers)
{
    const char *to = getenv("FL_WRITE_TO");
    struct fl_batch b[2];
    struct fl_err err = { 0 };

    if (to == NULL)
        to = fl_tmpdir();
    the_batch(&b[0]);
    the_full_batch(&b[1]);
    for (int i = 0; i < 2; i++) {
        uint8_t buf[FL_FRAME_MAX];
        char path[4096];
        size_t len;
        CHECK_OK(fl_frame_pack(&b[i], buf, sizeof buf, &len, &err), err);
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
        CASE(writes_the_bytes_of_msgpack_python), CASE(reads_the_bytes_of_msgpack_python),
        CASE(refuses_what_breaks_the_protocol), CASE(refuses_hostile_bytes_before_reading),
        CASE(refuses_every_truncation), CASE(survives_every_changed_byte), CASE(says_which_size_it_needs),
        CASE(packs_no_broken_descriptor), CASE(writes_for_other_readers), { 0 }
    };
    return fl_run(cases, argc, argv);
}
