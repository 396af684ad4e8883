/* Safetensors: the format's rules one by one, values of every float type, writing, and a file made by another program. */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/dtype.h"
#include "runtime/model.h"
#include "tests/lib/check.h"

static unsigned char file_bytes[4096];

/* A file of this header and n bytes of data (0, 1, 2, ...); returns its length. */
static size_t file_make(const char *header, size_t n)
{
    uint64_t len = strlen(header);
    for (int i = 0; i < 8; i++)
        file_bytes[i] = (unsigned char)(len >> 8 * i);
    memcpy(file_bytes + 8, header, len);
    for (size_t i = 0; i < n; i++)
        file_bytes[8 + len + i] = (unsigned char)i;
    return 8 + len + n;
}

static int parse(const char *header, size_t n, struct fl_safetensors *st, struct fl_err *err)
{
    return fl_safetensors_parse("m.safetensors", file_bytes, file_make(header, n), st, err);
}

FL_TEST(reads_tensors_and_skips_metadata)
{
    struct fl_safetensors st;
    struct fl_err err = { 0 };
    CHECK_OK(parse("{\"__metadata__\":{\"a\":\"b\"},\"x\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[4,28]},"
                   "\"n\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[28,36]},\"z\":{\"dtype\":\"U8\",\"shape\":[0,7],\"data_offsets\":[36,36]}}   ",
                   36, &st, &err), err);
    CHECK_INT(st.n, 3);
    const struct fl_st_tensor *x = fl_safetensors_find(&st, "x");
    CHECK(x != NULL);
    CHECK_INT(x->dtype, FL_F32);
    CHECK_INT(x->ndim, 2);
    CHECK_INT(x->shape[0], 2);
    CHECK_INT(x->shape[1], 3);
    CHECK_INT(x->bytes, 24);
    CHECK_INT(*(const unsigned char *)x->data, 4);
    CHECK_INT(fl_safetensors_find(&st, "n")->ndim, 0);
    CHECK_INT(fl_safetensors_find(&st, "z")->bytes, 0);
    CHECK(fl_safetensors_find(&st, "__metadata__") == NULL);
    fl_safetensors_close(&st);
}

FL_TEST(empty_header_has_no_tensors)
{
    struct fl_safetensors st;
    struct fl_err err = { 0 };
    CHECK_OK(parse("{}", 0, &st, &err), err);
    CHECK_INT(st.n, 0);
    fl_safetensors_close(&st);
}

static const struct { const char *header; size_t data; const char *says; } bad_headers[] = {
    { "[]", 0, "not a JSON object" },
    { "{", 0, "header: " },
    { "{} x", 0, "header: " },
    { "{\"x\":1}", 0, "\"x\": its entry is not an object" },
    { "{\"x\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},\"x\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}", 2, "duplicate" },
    { "{\"x\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "duplicate" },
    { "{\"\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "1 to 127 bytes" },
    { "{\"x\":{\"dtype\":\"F8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "\"x\": dtype F8" },
    { "{\"x\":{\"dtype\":\"BOOL\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "dtype BOOL" },
    { "{\"x\":{\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "dtype missing" },
    { "{\"x\":{\"dtype\":\"U8\",\"shape\":1,\"data_offsets\":[0,1]}}", 1, "shape is not a list" },
    { "{\"x\":{\"dtype\":\"U8\",\"shape\":[-1],\"data_offsets\":[0,1]}}", 1, "a dimension" },
    { "{\"x\":{\"dtype\":\"U8\",\"shape\":[1.0],\"data_offsets\":[0,1]}}", 1, "a dimension" },
    { "{\"x\":{\"dtype\":\"U8\",\"shape\":[4294967296],\"data_offsets\":[0,1]}}", 1, "a dimension" },
    { "{\"x\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1],\"data_offsets\":[0,1]}}", 1, "more than 6 dimensions" },
    { "{\"x\":{\"dtype\":\"F64\",\"shape\":[4294967295,4294967295,8],\"data_offsets\":[0,1]}}", 1, "overflows" },
    { "{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,3]}}", 3, "3 bytes, its shape and type want 4" },
    { "{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 3, "within the 3 bytes" },
    { "{\"x\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[2,1]}}", 3, "rising" },
    { "{\"x\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[-1,0]}}", 3, "rising" },
    { "{\"x\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0]}}", 3, "rising" },
    { "{\"x\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"more\":1}}", 3, "unknown key \"more\"" },
    { "{\"x\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[1,4]},\"y\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}", 4, "\"y\" and \"x\" overlap" },
    { "{\"x\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},\"y\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}", 4, "overlap" },
    { "{\"__metadata__\":[]}", 0, "__metadata__" },
    { "{\"__metadata__\":{\"a\":1}}", 0, "\"a\" is not a text" },
};

FL_TEST(refuses_bad_headers_by_name)
{
    for (size_t i = 0; i < sizeof bad_headers / sizeof bad_headers[0]; i++) {
        struct fl_safetensors st;
        struct fl_err err = { 0 };
        CHECK_INT(parse(bad_headers[i].header, bad_headers[i].data, &st, &err), FL_E_INPUT);
        CHECK_HAS(err.text, "m.safetensors: ");
        CHECK_HAS(err.text, bad_headers[i].says);
    }
}

FL_TEST(refuses_wrong_lengths)
{
    static const unsigned char huge[16] = { 0, 0, 0, 0, 0, 0, 0, 0x80, '{', '}' }, over[16] = { 0x01, 0xE1, 0xF5, 0x05 };
    struct fl_safetensors st;
    struct fl_err err = { 0 };
    CHECK_INT(fl_safetensors_parse("f", huge, 0, &st, &err), FL_E_INPUT);
    CHECK_INT(fl_safetensors_parse("f", huge, 7, &st, &err), FL_E_INPUT);
    CHECK_HAS(err.text, "7 bytes, too short");
    CHECK_INT(fl_safetensors_parse("f", huge, 16, &st, &err), FL_E_INPUT);
    CHECK_INT(fl_safetensors_parse("f", over, 16, &st, &err), FL_E_INPUT);     /* 100,000,001 */
    CHECK_HAS(err.text, "100000001");
}

/* Every file cut short anywhere is refused. */
FL_TEST(refuses_every_cut)
{
    struct fl_safetensors st;
    size_t len = file_make("{\"x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8);
    for (size_t n = 0; n < len; n++) {
        unsigned char *copy = malloc(n + 1);
        CHECK(copy != NULL);
        memcpy(copy, file_bytes, n);
        int code = fl_safetensors_parse("cut", copy, n, &st, NULL);
        free(copy);
        CHECK_INT(code, FL_E_INPUT);
    }
}

/* Known bit patterns, odd alignment. */
FL_TEST(converts_float_types)
{
    static const uint16_t half[] = { 0x3C00, 0xC000, 0x7BFF, 0x0400, 0x0001, 0x83FF, 0x8000, 0x7C00, 0x3555 };
    static const double half_is[] = { 1, -2, 65504, 0x1p-14, 0x1p-24, -1023 * 0x1p-24, -0.0, INFINITY, 0.333251953125 };
    static const uint16_t brain[] = { 0x3F80, 0xC040, 0x7F7F, 0x0001 };
    static const double brain_is[] = { 1, -3, 0x1.fep127, 0x1p-133 };
    static const double wide[] = { 0.1, 1e300, -2 };
    unsigned char raw[1 + sizeof half + sizeof wide];
    struct fl_st_tensor t = { .name = "t", .ndim = 1, .data = raw + 1 };
    struct fl_err err = { 0 };
    float out[9];

    memcpy(raw + 1, half, sizeof half);
    t.dtype = FL_F16, t.shape[0] = 9, t.bytes = sizeof half;
    CHECK_OK(fl_st_to_f32(&t, out, &err), err);
    for (int i = 0; i < 9; i++)
        CHECK(out[i] == (float)half_is[i] && !signbit(out[i]) == !signbit(half_is[i]));
    memcpy(raw + 1, brain, sizeof brain);
    t.dtype = FL_BF16, t.shape[0] = 4, t.bytes = sizeof brain;
    CHECK_OK(fl_st_to_f32(&t, out, &err), err);
    for (int i = 0; i < 4; i++)
        CHECK(out[i] == (float)brain_is[i]);
    memcpy(raw + 1, wide, sizeof wide);
    t.dtype = FL_F64, t.shape[0] = 3, t.bytes = sizeof wide;
    CHECK_OK(fl_st_to_f32(&t, out, &err), err);
    CHECK(out[0] == 0.1f && isinf(out[1]) && out[2] == -2.0f);
    t.dtype = FL_I64, t.shape[0] = 1, t.bytes = 8;
    CHECK_INT(fl_st_to_f32(&t, out, &err), FL_E_INPUT);
    CHECK_HAS(err.text, "i64");
}

/* All 65,536 halves against the compiler's own conversion, where it has one. */
FL_TEST(converts_every_half)
{
#ifdef __FLT16_MAX__
    for (uint32_t i = 0; i < 65536; i++) {
        uint16_t h = (uint16_t)i;
        _Float16 f;
        float out;
        memcpy(&f, &h, sizeof f);
        struct fl_st_tensor t = { .name = "t", .dtype = FL_F16, .data = &h, .bytes = 2 };
        CHECK_INT(fl_st_to_f32(&t, &out, NULL), FL_OK);
        CHECK(isnan((float)f) ? isnan(out) : out == (float)f && !signbit(out) == !signbit((float)f));
    }
#else
    fl_skip("the compiler has no half type");
#endif
}

static const float three[3] = { 1.5f, -2, 3 };
static const uint8_t bytes5[5] = { 9, 8, 7, 6, 5 };
static const struct fl_st_tensor two[2] = {
    { .name = "b \"q\"", .dtype = FL_U8, .ndim = 2, .shape = { 1, 5 }, .data = bytes5, .bytes = 5 },
    { .name = "a", .dtype = FL_F32, .ndim = 1, .shape = { 3 }, .data = three, .bytes = 12 },
};

FL_TEST(written_file_reads_back)
{
    struct fl_safetensors st;
    struct fl_err err = { 0 };
    char path[300];
    snprintf(path, sizeof path, "%s/w.safetensors", fl_tmpdir());
    for (int again = 0; again < 2; again++) {          /* the second time over the first */
        CHECK_OK(fl_safetensors_write(path, two, 2, &err), err);
        CHECK_OK(fl_safetensors_open(path, &st, &err), err);
        CHECK_INT(st.n, 2);
        const struct fl_st_tensor *a = fl_safetensors_find(&st, "a"), *b = fl_safetensors_find(&st, "b \"q\"");
        CHECK(a != NULL && b != NULL);
        CHECK(memcmp(a->data, three, 12) == 0 && memcmp(b->data, bytes5, 5) == 0);
        CHECK_INT(b->shape[1], 5);
        fl_safetensors_close(&st);
    }
    DIR *d = opendir(fl_tmpdir());
    int files = 0;
    CHECK(d != NULL);
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        files += e->d_name[0] != '.';
    closedir(d);
    CHECK_INT(files, 1);
}

FL_TEST(refuses_to_write_nonsense)
{
    struct fl_st_tensor t[2] = { two[1], two[1] };
    struct fl_err err = { 0 };
    char path[300];
    snprintf(path, sizeof path, "%s/w.safetensors", fl_tmpdir());
    CHECK_INT(fl_safetensors_write(path, t, 2, &err), FL_E_INPUT);
    CHECK_HAS(err.text, "twice");
    t[1].shape[0] = 4, strcpy(t[1].name, "c");
    CHECK_INT(fl_safetensors_write(path, t, 2, &err), FL_E_INPUT);
    t[1].shape[0] = 3, t[1].dtype = FL_U64;
    CHECK_INT(fl_safetensors_write(path, t, 2, &err), FL_E_INPUT);
    CHECK_HAS(err.text, "u64");
    CHECK(access(path, F_OK) != 0);
    snprintf(path, sizeof path, "%s/none/w.safetensors", fl_tmpdir());
    CHECK_INT(fl_safetensors_write(path, two, 2, &err), FL_E_IO);
    CHECK_HAS(err.text, "No such file");
}

/* A disk that fills up leaves the old file whole and no scraps. */
FL_TEST(failed_write_keeps_the_old_file)
{
    struct fl_safetensors st;
    struct fl_err err = { 0 };
    char path[300];
    static float many[100000];
    struct fl_st_tensor big = { .name = "a", .dtype = FL_F32, .ndim = 1, .shape = { 100000 }, .data = many, .bytes = sizeof many };
    struct rlimit old, tight;
    snprintf(path, sizeof path, "%s/w.safetensors", fl_tmpdir());
    CHECK_OK(fl_safetensors_write(path, two, 2, &err), err);
    CHECK(getrlimit(RLIMIT_FSIZE, &old) == 0);
    tight = old;
    tight.rlim_cur = 50000;
    signal(SIGXFSZ, SIG_IGN);
    CHECK(setrlimit(RLIMIT_FSIZE, &tight) == 0);
    int code = fl_safetensors_write(path, &big, 1, &err);
    setrlimit(RLIMIT_FSIZE, &old);
    CHECK_INT(code, FL_E_IO);
    CHECK_HAS(err.text, "File too large");
    CHECK_OK(fl_safetensors_open(path, &st, &err), err);
    CHECK_INT(st.n, 2);
    fl_safetensors_close(&st);
    DIR *d = opendir(fl_tmpdir());
    int files = 0;
    CHECK(d != NULL);
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        files += e->d_name[0] != '.';
    closedir(d);
    CHECK_INT(files, 1);
}

FL_TEST(refuses_what_is_no_file)
{
    struct fl_safetensors st;
    struct fl_err err = { 0 };
    char path[300];
    snprintf(path, sizeof path, "%s/none", fl_tmpdir());
    CHECK_INT(fl_safetensors_open(path, &st, &err), FL_E_INPUT);
    CHECK_HAS(err.text, "No such file");
    CHECK_INT(fl_safetensors_open(fl_tmpdir(), &st, &err), FL_E_INPUT);
    CHECK_HAS(err.text, "not a plain file");
    CHECK(mkfifo(path, 0600) == 0);
    int keep = open(path, O_RDWR);                   /* so that opening it to read doesn't wait */
    CHECK_INT(fl_safetensors_open(path, &st, &err), FL_E_INPUT);
    close(keep);
    CHECK(truncate(path, 0) != 0 && unlink(path) == 0);
    close(creat(path, 0600));
    CHECK_INT(fl_safetensors_open(path, &st, &err), FL_E_INPUT);
    CHECK_HAS(err.text, "0 bytes, too short");
}

/* 977,186 weights converted by another program (its README gives the number). */
FL_TEST(reads_a_foreign_file)
{
    struct fl_safetensors st;
    struct fl_err err = { 0 };
    const char *path = fl_data("squeezenet-planet/model.safetensors");
    if (path == NULL)
        return;
    CHECK_OK(fl_safetensors_open(path, &st, &err), err);
    uint64_t n = 0;
    for (uint32_t i = 0; i < st.n; i++)
        n += st.t[i].bytes / 4;
    fl_safetensors_close(&st);
    CHECK_INT(n, 977186);
}

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = {
        CASE(reads_tensors_and_skips_metadata), CASE(empty_header_has_no_tensors), CASE(refuses_bad_headers_by_name), CASE(refuses_wrong_lengths),
        CASE(refuses_every_cut), CASE(converts_float_types), CASE(converts_every_half), CASE(written_file_reads_back),
        CASE(refuses_to_write_nonsense), CASE(failed_write_keeps_the_old_file), CASE(refuses_what_is_no_file), CASE(reads_a_foreign_file), { 0 },
    };
    return fl_run(cases, argc, argv);
}
