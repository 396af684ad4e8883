/* Manifests key by key, the hash of the weights, and SHA-256 against its standard. */
#include <unistd.h>

#include "runtime/model.h"
#include "runtime/stage.h"
#include "tests/lib/check.h"

#define HEAD  "\"format\":1,\"kind\":\"network\",\"arch\":\"tilenet\","
#define NAMES "\"labels\":[\"clear\",\"cloudy\",\"water\"],"
#define INPUT "\"input\":{\"mode\":\"rgb\",\"channels\":3,\"size\":64,\"M\":255,\"mean\":[0.5,0.25,0],\"std\":[1,2,0.5]}"

static int parse(const char *json, struct fl_manifest *m, struct fl_err *err)
{
    return fl_manifest_parse("m.json", json, strlen(json), m, err);
}

FL_TEST(reads_every_key)
{
    struct fl_manifest m;
    struct fl_err err = { 0 };
    CHECK_OK(parse("{" HEAD NAMES INPUT ",\"exclusive\":[\"cloudy\",\"clear\"],\"softmax\":true,\"rest_off\":\"cloudy\",\"two_layer\":512,\"bf16_ok\":true,"
                   "\"sha256\":\"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\",\"created_by\":\"train.py\"}", &m, &err), err);
    CHECK_STR(m.kind, "network");
    CHECK_STR(m.arch, "tilenet");
    CHECK_INT(m.nlabels, 3);
    CHECK_STR(m.labels[2], "water");
    CHECK_INT(m.exclusive, 3);
    CHECK_INT(m.softmax, 1);
    CHECK_INT(m.rest_off, 1);
    CHECK_STR(m.mode, "rgb");
    CHECK_INT(m.channels, 3);
    CHECK_INT(m.size, 64);
    CHECK(m.M == 255 && m.mean[1] == 0.25 && m.std[2] == 0.5);
    CHECK_INT(m.two_layer, 512);
    CHECK_INT(m.bf16_ok, 1);
    CHECK_INT(m.sha256[63], 'd');
    CHECK_STR(m.created_by, "train.py");
    fl_manifest_free(&m);
}

FL_TEST(optional_keys_may_be_absent)
{
    struct fl_manifest m;
    struct fl_err err = { 0 };
    CHECK_OK(parse("{" HEAD NAMES INPUT ",\"rest_off\":null}", &m, &err), err);
    CHECK_INT(m.exclusive, 0);
    CHECK_INT(m.softmax, 0);
    CHECK(m.rest_off == FL_NO_LABEL);
    CHECK_INT(m.two_layer, 0);
    CHECK_INT(m.bf16_ok, 0);
    CHECK_STR(m.sha256, "");
    fl_manifest_free(&m);
}

FL_TEST(other_kinds_need_no_network)
{
    struct fl_manifest m;
    struct fl_err err = { 0 };
    CHECK_OK(parse("{\"format\":1,\"kind\":\"ridge\"," NAMES "\"created_by\":\"fit\"}", &m, &err), err);
    CHECK_STR(m.arch, "");
    CHECK_INT(m.channels, 0);
    fl_manifest_free(&m);
}

FL_TEST(sixty_four_labels_fit)
{
    struct fl_manifest m;
    struct fl_err err = { 0 };
    char text[4096] = "{\"format\":1,\"kind\":\"linear\",\"exclusive\":[\"l63\"],\"labels\":[";
    for (int i = 0; i < 64; i++)
        sprintf(text + strlen(text), "%s\"l%d\"", i > 0 ? "," : "", i);
    strcat(text, "]}");
    CHECK_OK(parse(text, &m, &err), err);
    CHECK(m.exclusive == UINT64_C(1) << 63);
    fl_manifest_free(&m);
    strcpy(text + strlen(text) - 2, ",\"l64\"]}");
    CHECK_INT(parse(text, &m, &err), FL_E_CONFIG);
    CHECK_HAS(err.text, "1 to 64");
}

static const struct { const char *json; int code; const char *says; } bad[] = {
    { "{", FL_E_INPUT, "m.json:1: " },
    { "[]", FL_E_INPUT, "not a JSON object" },
    { "{\"kind\":\"a\",\"kind\":\"a\"}", FL_E_INPUT, "duplicate" },
    { "{\"kind\":\"linear\"," NAMES "\"created_by\":\"x\"}", FL_E_CONFIG, "format is missing" },
    { "{\"format\":2,\"kind\":\"linear\"}", FL_E_CONFIG, "format, want an integer from 1 to 1" },
    { "{" HEAD NAMES INPUT ",\"two_layers\":1}", FL_E_CONFIG, "unknown key \"two_layers\", did you mean \"two_layer\"?" },
    { "{" HEAD NAMES INPUT ",\"zzzzzzzz\":1}", FL_E_CONFIG, "unknown key \"zzzzzzzz\"" },
    { "{\"format\":1," NAMES INPUT "}", FL_E_CONFIG, "kind is missing" },
    { "{\"format\":1,\"kind\":\"network\"," NAMES INPUT "}", FL_E_CONFIG, "arch is missing" },
    { "{" HEAD INPUT "}", FL_E_CONFIG, "labels, want a list" },
    { "{" HEAD "\"labels\":[]," INPUT "}", FL_E_CONFIG, "labels, want a list" },
    { "{" HEAD "\"labels\":[\"a\",\"a\"]," INPUT "}", FL_E_LABEL, "\"a\" is there twice" },
    { "{" HEAD "\"labels\":[\"a\",\"b c\"]," INPUT "}", FL_E_LABEL, "entry 2" },
    { "{" HEAD "\"labels\":[\"a,b\"]," INPUT "}", FL_E_LABEL, "entry 1" },
    { "{" HEAD "\"labels\":[7]," INPUT "}", FL_E_LABEL, "entry 1" },
    { "{" HEAD NAMES INPUT ",\"exclusive\":[\"claer\"]}", FL_E_LABEL, "\"claer\" is none of the labels, did you mean \"clear\"?" },
    { "{" HEAD NAMES INPUT ",\"exclusive\":\"clear\"}", FL_E_CONFIG, "exclusive, want a list" },
    { "{" HEAD NAMES INPUT ",\"rest_off\":\"fog\"}", FL_E_LABEL, "rest_off: \"fog\"" },
    { "{" HEAD NAMES INPUT ",\"rest_off\":1}", FL_E_CONFIG, "rest_off" },
    { "{" HEAD NAMES "\"created_by\":\"x\"}", FL_E_CONFIG, "input, want an object" },
    { "{" HEAD NAMES "\"input\":{\"mode\":\"rgb\",\"chanels\":3}}", FL_E_CONFIG, "unknown key \"input.chanels\", did you mean \"channels\"?" },
    { "{" HEAD NAMES "\"input\":{\"mode\":\"bgr\",\"channels\":3,\"size\":64,\"M\":255,\"mean\":[0,0,0],\"std\":[1,1,1]}}", FL_E_CONFIG, "mode is \"bgr\"" },
    { "{" HEAD NAMES "\"input\":{\"mode\":\"rgbn\",\"channels\":3,\"size\":64,\"M\":255,\"mean\":[0,0,0],\"std\":[1,1,1]}}", FL_E_CONFIG, "mode rgbn has 4" },
    { "{" HEAD NAMES "\"input\":{\"mode\":\"rgb\",\"channels\":3,\"size\":0,\"M\":255,\"mean\":[0,0,0],\"std\":[1,1,1]}}", FL_E_CONFIG, "size, want" },
    { "{" HEAD NAMES "\"input\":{\"mode\":\"rgb\",\"channels\":3,\"size\":64,\"M\":256,\"mean\":[0,0,0],\"std\":[1,1,1]}}", FL_E_CONFIG, "input.M, want 255" },
    { "{" HEAD NAMES "\"input\":{\"mode\":\"rgb\",\"channels\":3,\"size\":64,\"M\":255,\"mean\":[0,0],\"std\":[1,1,1]}}", FL_E_CONFIG, "input.mean, want a list of 3" },
    { "{" HEAD NAMES "\"input\":{\"mode\":\"rgb\",\"channels\":3,\"size\":64,\"M\":255,\"mean\":[0,0,0],\"std\":[1,0,1]}}", FL_E_CONFIG, "input.std: entry 2, want a number above 0" },
    { "{" HEAD NAMES "\"input\":{\"mode\":\"rgb\",\"channels\":3,\"size\":64,\"M\":255,\"mean\":[0,\"0\",0],\"std\":[1,1,1]}}", FL_E_CONFIG, "input.mean: entry 2" },
    { "{" HEAD NAMES INPUT ",\"two_layer\":-1}", FL_E_CONFIG, "two_layer" },
    { "{" HEAD NAMES INPUT ",\"bf16_ok\":1}", FL_E_CONFIG, "bf16_ok" },
    { "{" HEAD NAMES INPUT ",\"softmax\":true}", FL_E_CONFIG, "softmax is over the exclusive labels" },
    { "{" HEAD NAMES INPUT ",\"exclusive\":[\"clear\"],\"softmax\":true}", FL_E_CONFIG, "want two or more" },
    { "{" HEAD NAMES INPUT ",\"softmax\":\"yes\"}", FL_E_CONFIG, "softmax, want true or false" },
    { "{" HEAD NAMES INPUT ",\"average\":1}", FL_E_CONFIG, "average" },
    { "{" HEAD NAMES INPUT ",\"checks\":[]}", FL_E_CONFIG, "checks" },
    { "{" HEAD NAMES INPUT ",\"checks\":{\"bf16\":1}}", FL_E_CONFIG, "checks" },
    { "{" HEAD NAMES INPUT ",\"bf16_ok\":true,\"checks\":{\"bf16\":{\"passed\":false}}}", FL_E_CONFIG, "bf16_ok is true" },
    { "{" HEAD NAMES INPUT ",\"checks\":{\"f16\":{\"passed\":true}}}", FL_E_CONFIG, "f16_ok is false" },
    { "{" HEAD NAMES INPUT ",\"sha256\":\"BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD\"}", FL_E_CONFIG, "sha256" },
    { "{" HEAD NAMES INPUT ",\"sha256\":\"ba\"}", FL_E_CONFIG, "sha256" },
    { "{" HEAD NAMES INPUT ",\"created_by\":7}", FL_E_CONFIG, "created_by" },
};

FL_TEST(refuses_by_key)
{
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct fl_manifest m;
        struct fl_err err = { 0 };
        CHECK_INT(parse(bad[i].json, &m, &err), bad[i].code);
        CHECK_HAS(err.text, "m.json");
        CHECK_HAS(err.text, bad[i].says);
    }
}

static void put(const char *name, const char *text, char path[300])
{
    snprintf(path, 300, "%s/%s", fl_tmpdir(), name);
    FILE *f = fopen(path, "w");
    if (f == NULL || fputs(text, f) < 0 || fclose(f) != 0)
        abort();
}

FL_TEST(reads_beside_the_weights_and_verifies)
{
    struct fl_manifest m;
    struct fl_err err = { 0 };
    char weights[300], json[300];
    put("a.b.safetensors", "abc", weights);
    put("a.b.json", "{" HEAD NAMES INPUT ",\"sha256\":\"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\"}", json);
    CHECK_OK(fl_manifest_read(weights, 1, &m, &err), err);
    fl_manifest_free(&m);
    put("a.b.safetensors", "abd", weights);
    CHECK_OK(fl_manifest_read(weights, 0, &m, &err), err);
    fl_manifest_free(&m);
    CHECK_INT(fl_manifest_read(weights, 1, &m, &err), FL_E_INPUT);
    CHECK_HAS(err.text, "a.b.safetensors: its SHA-256 is a52d159f262b2c6ddb724a61840befc36eb30c88877a4030b65cbe86298449c9");
    CHECK_HAS(err.text, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    unlink(json);
    CHECK_INT(fl_manifest_read(weights, 0, &m, &err), FL_E_INPUT);
    CHECK_HAS(err.text, "a.b.json: No such file");
    CHECK_INT(fl_manifest_read("x.bin", 0, &m, &err), FL_E_CONFIG);
    CHECK_HAS(err.text, "NAME.safetensors");
    CHECK_INT(fl_manifest_read(".safetensors", 0, &m, &err), FL_E_CONFIG);
}

/* FIPS 180-4 and NIST's examples; a million a's crosses the chunk of the file reader. */
FL_TEST(sha256_known_answers)
{
    static const struct { const char *text, *hex; } known[] = {
        { "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
        { "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
        { "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1" },
    };
    char hex[65], path[300];
    struct fl_err err = { 0 };
    for (size_t i = 0; i < 3; i++) {
        fl_sha256(known[i].text, strlen(known[i].text), hex);
        CHECK_STR(hex, known[i].hex);
        put("text", known[i].text, path);
        CHECK_OK(fl_sha256_file(path, hex, &err), err);
        CHECK_STR(hex, known[i].hex);
    }
    size_t n = 1000000, big = (1u << 20) + 64;
    char *many = malloc(big + 1);
    CHECK(many != NULL);
    memset(many, 'a', big);
    fl_sha256(many, n, hex);
    CHECK_STR(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    for (size_t len = (1u << 20) - 1; len <= big; len += 65 - len % 2 * 64) {
        char from_file[65];
        char keep = many[len];
        many[len] = '\0';
        put("many", many, path);
        many[len] = keep;
        fl_sha256(many, len, hex);
        CHECK_OK(fl_sha256_file(path, from_file, &err), err);
        CHECK_STR(from_file, hex);
    }
    free(many);
}

FL_TEST(sha256_versions_agree)
{
    unsigned char bytes[300];
    char a[65], b[65];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(i * i + 17);
    for (size_t n = 0; n <= sizeof bytes; n++) {
        fl_sha256(bytes, n, a);
        fl_sha256_plain(bytes, n, b);
        CHECK_STR(a, b);
    }
}

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = {
        CASE(reads_every_key), CASE(optional_keys_may_be_absent), CASE(other_kinds_need_no_network), CASE(sixty_four_labels_fit),
        CASE(refuses_by_key), CASE(reads_beside_the_weights_and_verifies), CASE(sha256_known_answers), CASE(sha256_versions_agree), { 0 },
    };
    return fl_run(cases, argc, argv);
}
