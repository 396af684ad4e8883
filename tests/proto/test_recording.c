/* Recordings: what was written comes back, what is torn or damaged is seen, and nothing else. */
#include "proto/recording.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/lib/check.h"

/* ---- a batch whose values follow from its number and attempt ---- */

struct made { struct fl_batch b; uint8_t id[4 * 64]; float view[4 * 5]; uint8_t pixels[4 * 300]; };

static uint8_t value_of(uint64_t batch, uint32_t attempt, size_t i)
{
    return (uint8_t)((batch * 37 + attempt * 11 + i * i / 7) & 255);
}

static void add(struct fl_batch *b, const char *name, int dtype, uint32_t ndim, const uint32_t *shape, void *data)
{
    struct fl_tensor *t = fl_batch_add(b, name);
    t->dtype = (uint8_t)dtype;
    t->ndim = (uint8_t)ndim;
    memcpy(t->shape, shape, ndim * sizeof *shape);
    t->place = (int32_t)b->ntensors;
    t->off = 64 * (uint64_t)b->ntensors;
    fl_shape_bytes(dtype, shape, ndim, &t->bytes);
    t->data = data;
}

static struct fl_batch *make(struct made *m, uint64_t batch, uint32_t attempt)
{
    memset(m, 0, sizeof *m);
    struct fl_batch *b = &m->b;
    b->run = 0x1234;
    b->batch = batch;
    b->attempt = attempt;
    b->slot = (uint32_t)batch % 3;
    b->gen = 7 + attempt;
    b->n = 1 + (uint32_t)(batch % 4);
    for (uint32_t i = 0; i < b->n; i++)
        snprintf((char *)m->id + (size_t)i * 64, 64, "t%llu_%u", (unsigned long long)batch, i);
    for (uint32_t i = 0; i < b->n * 5; i++)
        m->view[i] = (float)batch + (float)i / 8;
    for (size_t i = 0; i < sizeof m->pixels; i++)
        m->pixels[i] = value_of(batch, attempt, i);
    add(b, "id", FL_U8, 2, (uint32_t[]){ b->n, 64 }, m->id);
    add(b, "view", FL_F32, 3, (uint32_t[]){ b->n, 1, 5 }, m->view);
    add(b, "pixels", FL_U8, 4, (uint32_t[]){ b->n, 10, 10, 3 }, m->pixels);
    return b;
}

static bool same(const struct fl_batch *a, const struct fl_batch *b)
{
    if (a->run != b->run || a->batch != b->batch || a->attempt != b->attempt || a->slot != b->slot || a->gen != b->gen || a->n != b->n || a->ntensors != b->ntensors)
        return false;
    for (uint32_t i = 0; i < a->ntensors; i++) {
        const struct fl_tensor *x = &a->t[i], *y = &b->t[i];
        if (strcmp(x->name, y->name) != 0 || x->dtype != y->dtype || x->ndim != y->ndim || memcmp(x->shape, y->shape, sizeof x->shape) != 0 ||
            x->place != y->place || x->off != y->off || x->bytes != y->bytes || memcmp(x->data, y->data, x->bytes) != 0)
            return false;
    }
    return true;
}

static int write_batches(const struct fl_rec_conf *c, uint64_t from, uint64_t n, bool finish, struct fl_err *err)
{
    struct fl_rec_out *o;
    struct made m;
    int rc = fl_rec_out_new(c, &o, err);
    if (rc != FL_OK)
        return rc;
    for (uint64_t b = from; rc == FL_OK && b < from + n; b++)
        rc = fl_rec_append(o, make(&m, b, 0), NULL, 1000 + b, err);
    if (rc == FL_OK && finish)
        rc = fl_rec_finish(o, err);
    fl_rec_out_free(o);
    return rc;
}

static const char *in_tmp(const char *rel)
{
    static char paths[4][4096];
    static unsigned turn;
    char *p = paths[turn++ % 4];
    snprintf(p, sizeof paths[0], "%s/%s", fl_tmpdir(), rel);
    return p;
}

static uint8_t *slurp(const char *path, size_t *len)
{
    FILE *f = fopen(path, "rb");
    struct stat st;
    if (f == NULL || fstat(fileno(f), &st) != 0)
        return NULL;
    uint8_t *p = malloc((size_t)st.st_size + 1);
    *len = fread(p, 1, (size_t)st.st_size, f);
    fclose(f);
    return p;
}

static void spill(const char *path, const uint8_t *p, size_t len)
{
    FILE *f = fopen(path, "wb");
    if (f == NULL || fwrite(p, 1, len, f) != len || fclose(f) != 0)
        abort();
}

/* Reads every record; how many are as make() made them. Anything else must be an error with a text. */
static int intact(const char *path, uint64_t *count, uint64_t *damaged)
{
    struct fl_rec *r;
    struct fl_rec_batch b = { 0 };
    struct fl_err err = { 0 };
    struct made m;
    int good = 0;
    *count = *damaged = 0;
    if (fl_rec_open(path, &r, &err) != FL_OK)
        return err.text[0] != '\0' ? -1 : -2;
    for (uint64_t i = 0; i < fl_rec_count(r); i++) {
        int rc = fl_rec_read(r, i, &b, &err);
        if (rc == FL_OK && !same(&b.b, make(&m, b.b.batch, b.b.attempt)))
            good = -1000;
        good += rc == FL_OK;
        *damaged += rc != FL_OK;
    }
    *count = fl_rec_count(r);
    *damaged += fl_rec_info(r)->damaged;
    fl_rec_batch_done(&b);
    fl_rec_close(r);
    return good;
}

/* ---- cases ---- */

static const struct fl_rec_conf plain = { .edge = "decode", .run = 0x1234, .B = 4, .text = "{\"what\": 1}" };

static struct fl_rec_conf conf(void)
{
    struct fl_rec_conf c = plain;
    c.dir = fl_tmpdir();
    return c;
}

FL_TEST(comes_back_as_it_was)
{
    struct fl_err err;
    struct fl_rec *r;
    for (int zstd = 0; zstd < 4; zstd += 3) {
        struct fl_rec_conf c = conf();
        struct fl_rec_batch b = { 0 };
        struct made m;
        c.edge = zstd ? "packed" : "decode";
        c.zstd = zstd;
        CHECK_OK(write_batches(&c, 0, 9, true, &err), err);
        CHECK_OK(fl_rec_open(in_tmp(c.edge), &r, &err), err);
        CHECK_INT(fl_rec_count(r), 9);
        CHECK_STR(fl_rec_info(r)->edge, c.edge);
        CHECK_INT(fl_rec_info(r)->run, 0x1234);
        CHECK_INT(fl_rec_info(r)->B, 4);
        CHECK_STR(fl_rec_info(r)->text, "{\"what\": 1}");
        for (uint64_t i = 0; i < 9; i++) {
            CHECK_OK(fl_rec_read(r, i, &b, &err), err);
            CHECK(same(&b.b, make(&m, i, 0)));
            CHECK_INT(b.time, 1000 + i);
            CHECK_INT((uintptr_t)b.b.t[2].data % 64, 0);
            CHECK(zstd == 0 || b.stored[1] <= b.b.t[1].bytes);
        }
        fl_rec_batch_done(&b);
        fl_rec_close(r);
    }
}

FL_TEST(the_last_attempt_of_a_batch_counts)
{
    struct fl_err err;
    struct fl_rec_out *o;
    struct fl_rec *r;
    struct made m;
    struct fl_rec_conf c = conf();
    CHECK_OK(fl_rec_out_new(&c, &o, &err), err);
    CHECK_OK(fl_rec_append(o, make(&m, 5, 0), NULL, 1, &err), err);
    CHECK_OK(fl_rec_append(o, make(&m, 4, 0), NULL, 2, &err), err);
    CHECK_OK(fl_rec_append(o, make(&m, 5, 1), NULL, 3, &err), err);
    CHECK_OK(fl_rec_finish(o, &err), err);
    fl_rec_out_free(o);
    CHECK_OK(fl_rec_open(in_tmp("decode"), &r, &err), err);
    CHECK_INT(fl_rec_find(r, 5, FL_REC_LAST), 2);
    CHECK_INT(fl_rec_find(r, 5, 0), 0);
    CHECK_INT(fl_rec_find(r, 4, 1), FL_REC_NONE);
    uint64_t *records, n;
    CHECK_OK(fl_rec_batches(r, &records, &n, &err), err);
    CHECK_INT(n, 2);
    CHECK_INT(records[0], 1);
    CHECK_INT(records[1], 2);
    free(records);
    fl_rec_close(r);
}

FL_TEST(more_tiles_than_a_batch_has_are_damage)
{
    struct fl_err err = { 0 };
    struct fl_rec_out *o;
    struct fl_rec *r;
    struct made m;
    struct fl_rec_batch b = { 0 };
    struct fl_rec_conf c = conf();
    c.B = 2;
    CHECK_OK(fl_rec_out_new(&c, &o, &err), err);
    CHECK_OK(fl_rec_append(o, make(&m, 7, 0), NULL, 1, &err), err);
    CHECK_OK(fl_rec_finish(o, &err), err);
    fl_rec_out_free(o);
    CHECK_OK(fl_rec_open(in_tmp("decode"), &r, &err), err);
    CHECK_INT(fl_rec_read(r, 0, &b, &err), FL_E_INPUT);
    CHECK(strstr(err.text, "batch 7, attempt 0: damaged: more tiles than a batch of its run has") != NULL);
    fl_rec_batch_done(&b);
    fl_rec_close(r);
}

FL_TEST(segments_follow_each_other_and_the_oldest_go)
{
    struct fl_err err;
    struct fl_rec_conf c = conf();
    struct fl_rec *r;
    uint64_t n, damaged;
    c.segment = 4096;
    CHECK_OK(write_batches(&c, 0, 10, true, &err), err);
    CHECK_OK(write_batches(&c, 10, 2, true, &err), err);         /* a second process goes on behind */
    CHECK_OK(fl_rec_open(in_tmp("decode"), &r, &err), err);
    CHECK(fl_rec_info(r)->files > 3);
    fl_rec_close(r);
    CHECK_INT(intact(in_tmp("decode"), &n, &damaged), 12);
    c.limit = 400000;
    c.segment = 0;
    CHECK_OK(write_batches(&c, 12, 900, true, &err), err);
    CHECK_OK(fl_rec_open(in_tmp("decode"), &r, &err), err);
    uint64_t bytes = 0;
    for (uint32_t f = 0; f < fl_rec_info(r)->files; f++) {
        struct stat st;
        CHECK_INT(stat(fl_rec_file(r, f), &st), 0);
        bytes += (uint64_t)st.st_size;
    }
    CHECK(bytes <= 400000 && bytes > 200000);
    CHECK_INT(fl_rec_at(r, fl_rec_count(r) - 1)->batch, 911);
    CHECK(fl_rec_at(r, 0)->batch > 100);
    fl_rec_close(r);
}

/* A header of a later version, with a key more and numbers as another encoder writes them, is kept as it came. */
FL_TEST(the_wire_header_is_kept_byte_for_byte)
{
    struct fl_err err;
    struct fl_rec_conf c = conf();
    struct fl_rec_out *o;
    struct fl_rec *r;
    struct fl_rec_batch b = { 0 };
    struct made m;
    struct fl_frame head = { 0 };
    size_t len;
    CHECK_OK(fl_frame_pack(make(&m, 5, 1), head.bytes, sizeof head.bytes, &len, &err), err);
    CHECK_INT(head.bytes[0], 0x80 | 9);
    head.bytes[0] = 0x80 | 10;
    memcpy(head.bytes + len, "\xa5later\x92\xcd\x00\x07\xa1?", 12);
    head.len = (uint32_t)len + 12;
    CHECK_OK(fl_rec_out_new(&c, &o, &err), err);
    CHECK_OK(fl_rec_append(o, &m.b, &head, 1, &err), err);
    CHECK_OK(fl_rec_append(o, make(&m, 6, 0), NULL, 2, &err), err);
    CHECK_OK(fl_rec_finish(o, &err), err);
    fl_rec_out_free(o);
    CHECK_OK(fl_rec_open(in_tmp("decode"), &r, &err), err);
    CHECK_OK(fl_rec_read(r, 0, &b, &err), err);
    CHECK(same(&b.b, make(&m, 5, 1)));
    CHECK_INT(b.head.len, head.len);
    CHECK(memcmp(b.head.bytes, head.bytes, head.len) == 0);
    CHECK_OK(fl_frame_pack(make(&m, 6, 0), head.bytes, sizeof head.bytes, &len, &err), err);
    CHECK_OK(fl_rec_peek(r, 1, &b, &err), err);
    CHECK_INT(b.head.len, len);
    CHECK(memcmp(b.head.bytes, head.bytes, len) == 0);
    fl_rec_batch_done(&b);
    fl_rec_close(r);
}

/* A killed writer: no index, and any length. Every whole record is there, or the head alone is missing. */
FL_TEST(torn_at_every_length)
{
    struct fl_err err;
    struct fl_rec_conf c = conf();
    for (int finish = 0; finish < 2; finish++) {
        const char *path = in_tmp("decode.0000.flr");
        CHECK_OK(write_batches(&c, 0, 3, finish, &err), err);
        size_t len = 0;
        uint64_t n, damaged, whole = 0;
        uint8_t *bytes = slurp(path, &len);
        for (size_t cut = 0; cut <= len; cut++) {
            spill(path, bytes, cut);
            int got = intact(path, &n, &damaged);
            CHECK(got == -1 ? cut < 192 : got >= 0 && (uint64_t)got == n && n >= whole && damaged == 0);
            whole = got > 0 ? (uint64_t)got : 0;
        }
        CHECK_INT(whole, 3);
        free(bytes);
        unlink(path);
    }
}

/* Each byte changed: what is read is intact, or it is told. At most one record is lost. */
FL_TEST(every_byte_changed)
{
    struct fl_err err;
    struct fl_rec_conf c = conf();
    for (int zstd = 0; zstd < 2; zstd++) {
        const char *path = in_tmp("decode.0000.flr");
        c.zstd = zstd;
        CHECK_OK(write_batches(&c, 0, 3, true, &err), err);
        size_t len = 0;
        uint64_t n, damaged, lost = 0;
        uint8_t *bytes = slurp(path, &len);
        for (size_t at = 0; at < len; at++) {
            bytes[at] ^= 1u << at % 8;
            spill(path, bytes, len);
            int got = intact(path, &n, &damaged);
            CHECK(got == -1 ? at < 192 : got >= 2);
            CHECK(got < 0 || got == 3 || damaged > 0 || n < 3);
            lost += got == 2;
            bytes[at] ^= 1u << at % 8;
        }
        CHECK(lost > 3 * (40 + 3 * 16));         /* at least heads and tables are covered */
        free(bytes);
        unlink(path);
    }
}

/* A damaged index is made again from the heads. */
FL_TEST(a_missing_index_is_made_again)
{
    struct fl_err err;
    struct fl_rec_conf c = conf();
    const char *path = in_tmp("decode.0000.flr");
    CHECK_OK(write_batches(&c, 0, 5, true, &err), err);
    size_t len = 0;
    uint64_t n, damaged;
    uint8_t *bytes = slurp(path, &len);
    bytes[len - 40] ^= 1;
    spill(path, bytes, len);
    CHECK_INT(intact(path, &n, &damaged), 5);
    spill(path, bytes, len - 10);
    CHECK_INT(intact(path, &n, &damaged), 5);
    free(bytes);
}

FL_TEST(a_full_disk_leaves_what_was_whole)
{
    struct fl_err err = { 0 };
    struct fl_rec_conf c = conf();
    struct fl_rec_out *o;
    struct made m;
    uint64_t n = 0, got, damaged;
    struct rlimit old, small = { 6000, RLIM_INFINITY };
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    small.rlim_max = old.rlim_max;
    CHECK_OK(fl_rec_out_new(&c, &o, &err), err);
    setrlimit(RLIMIT_FSIZE, &small);
    while (n < 100 && fl_rec_append(o, make(&m, n, 0), NULL, n, &err) == FL_OK)
        n++;
    CHECK(n > 1 && n < 100);
    CHECK_INT(err.code, FL_E_IO);
    CHECK_HAS(err.text, "decode.0000.flr");
    setrlimit(RLIMIT_FSIZE, &old);
    CHECK_OK(fl_rec_append(o, make(&m, n, 0), NULL, n, &err), err);      /* there is room again */
    CHECK_OK(fl_rec_finish(o, &err), err);
    fl_rec_out_free(o);
    CHECK_INT(intact(in_tmp("decode"), &got, &damaged), n + 1);
    CHECK_INT(damaged, 0);
}

FL_TEST(what_is_no_recording_is_refused)
{
    struct fl_err err;
    struct fl_rec *r;
    struct fl_rec_conf c = conf();
    static const struct { const char *bytes; const char *want; } bad[] = {
        { "", "shorter than the head" }, { "hello", "shorter than the head" }, { NULL, "not a recording" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        static const uint8_t zeros[400];
        spill(in_tmp("x"), bad[i].bytes ? (const uint8_t *)bad[i].bytes : zeros, bad[i].bytes ? strlen(bad[i].bytes) : sizeof zeros);
        CHECK_INT(fl_rec_open(in_tmp("x"), &r, &err), FL_E_INPUT);
        CHECK_HAS(err.text, bad[i].want);
    }
    CHECK_INT(fl_rec_open(in_tmp("nothing"), &r, &err), FL_E_INPUT);
    CHECK_HAS(err.text, "no recording");
    CHECK_INT(fl_rec_open(in_tmp("no/folder"), &r, &err), FL_E_IO);
    CHECK_INT(fl_rec_open(fl_tmpdir(), &r, &err), FL_E_INPUT);
    c.edge = "../x";
    CHECK_INT(write_batches(&c, 0, 1, true, &err), FL_E_CONFIG);
    /* segments of two runs under one name */
    c.edge = "decode";
    CHECK_OK(write_batches(&c, 0, 1, true, &err), err);
    c.run++;
    CHECK_OK(write_batches(&c, 0, 1, true, &err), err);
    CHECK_INT(fl_rec_open(in_tmp("decode"), &r, &err), FL_E_INPUT);
    CHECK_HAS(err.text, "but the first segment is of");
}

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = {
        CASE(comes_back_as_it_was), CASE(the_last_attempt_of_a_batch_counts), CASE(more_tiles_than_a_batch_has_are_damage), CASE(segments_follow_each_other_and_the_oldest_go),
        CASE(the_wire_header_is_kept_byte_for_byte), CASE(torn_at_every_length), CASE(every_byte_changed), CASE(a_missing_index_is_made_again),
        CASE(a_full_disk_leaves_what_was_whole), CASE(what_is_no_recording_is_refused), { 0 },
    };
    return fl_run(cases, argc, argv);
}
