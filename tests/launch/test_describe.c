/* Asking stages: what they print, what they may not, how many at a time, and where they are found. */
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launch/describe.h"
#include "tests/lib/check.h"

#define GOOD "'{\"describe\":1,\"options\":[],\"ports\":[{\"name\":\"in\",\"dir\":\"in\",\"tensors\":[]}]}'"

static char exe[PATH_MAX];

/* A shell script NAME in the case's folder; its path is in exe. */
static void script(const char *name, const char *body)
{
    snprintf(exe, sizeof exe, "%s/%s", fl_tmpdir(), name);
    FILE *f = fopen(exe, "w");
    if (f == NULL || fprintf(f, "#!/bin/sh\n%s\n", body) < 0 || fclose(f) != 0 || chmod(exe, 0755) != 0)
        abort();
}

static char *error_of(const char *body, double seconds)
{
    script("it", body);
    struct fl_ask a = { .exe = exe };
    fl_ask_all(&a, 1, seconds);
    char *said = a.error != NULL ? strdup(a.error) : NULL;
    fl_ask_done(&a);
    return said;
}

FL_TEST(passes_options_and_labels)
{
    script("it", "printf '%s\\n' \"$@\" > \"$0.args\"; echo " GOOD);
    struct fl_ask a = { .exe = exe, .options = strdup("{\"a\":1}"), .labels = strdup("{\"names\":[]}") };
    fl_ask_all(&a, 1, 30);
    char path[PATH_MAX + 8], text[256] = "";
    snprintf(path, sizeof path, "%s.args", exe);
    FILE *f = fopen(path, "r");
    CHECK(f != NULL);
    size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = '\0';
    bool answered = a.answer != NULL;
    fl_ask_done(&a);
    CHECK(answered);
    CHECK_STR(text, "--describe\n--options\n{\"a\":1}\n--labels\n{\"names\":[]}\n");
}

FL_TEST(what_a_stage_may_not_do)
{
    static const struct { const char *body, *want; double seconds; } cases[] = {
        { "sleep 100", "did not end in time", 0.3 },
        { "sleep 100 & exec sleep 100", "did not end in time", 0.3 },
        { "exec head -c 6000000 /dev/zero", "printed more than 4 MiB", 30 },
        { "exit 7", "ended with status 7", 30 },
        { "echo a >&2; echo 'the last' >&2; exit 1", "ended with status 1: the last", 30 },
        { "head -c 100000 /dev/zero | tr '\\0' x >&2; exit 1", "ended with status 1: xxx", 30 },
        { "kill -9 $$", "was ended by signal 9", 30 },
        { "true", "printed no JSON: nothing at all", 30 },
        { "echo '{\"a\":1,\"a\":2}'", "printed no JSON: duplicate object key", 30 },
        { "echo '[]'", "the answer is no JSON object", 30 },
        { "echo '{\"describe\":2}'", "this flowrun understands \"describe\": 1 only", 30 },
        { "echo '{\"describe\":1,\"options\":{},\"ports\":[]}'", "options and ports must be lists", 30 },
        { "echo '{\"describe\":1,\"options\":[],\"ports\":[]}'", "one in port, one out port, or one of each", 30 },
        { "echo '{\"describe\":1,\"options\":[{\"name\":\"x\",\"type\":\"choice\"}],\"ports\":[]}'", "a choice without choices in x", 30 },
        { "echo '{\"describe\":1,\"options\":[],\"ports\":[{\"dir\":\"out\",\"tensors\":[{\"name\":\"x\",\"dtype\":[\"u9\"],\"shape\":[]}]}]}'", "unknown dtype in x", 30 },
        { "echo '{\"describe\":1,\"options\":[],\"ports\":[{\"dir\":\"in\",\"tensors\":[]}],\"bind\":{\"c\":1}}'", "must be a capital letter", 30 },
        { "echo '{\"describe\":1,\"options\":[],\"ports\":[{\"dir\":\"in\",\"tensors\":[]}],\"labels\":[1]}'", "no list of names in labels", 30 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *said = error_of(cases[i].body, cases[i].seconds);
        if (said == NULL || strstr(said, cases[i].want) == NULL || strncmp(said, exe, strlen(exe)) != 0)
            fl_fail_at(__FILE__, __LINE__, "%s gives \"%s\", want \"%s\"", cases[i].body, said ? said : "(nothing)", cases[i].want);
        free(said);
    }
}

FL_TEST(what_can_not_be_run_is_named)
{
    struct fl_ask a = { .exe = "/nowhere/it" };
    fl_ask_all(&a, 1, 30);
    bool same = a.error != NULL && strcmp(a.error, "/nowhere/it --describe can't be run: No such file or directory") == 0;
    fl_ask_done(&a);
    CHECK(same);
}

/* Each run notes how many are under way; four at once are reached, five never. */
FL_TEST(at_most_four_at_a_time)
{
    enum { N = 12 };
    struct fl_ask a[N];
    script("it", "d=\"$0.now\"; mkdir -p \"$d\"; : > \"$d/$$\"; sleep 0.1; ls \"$d\" | wc -l >> \"$0.counts\"; rm \"$d/$$\"; echo " GOOD);
    for (int i = 0; i < N; i++) {
        char options[32];
        snprintf(options, sizeof options, "{\"n\":%d}", i);
        a[i] = (struct fl_ask){ .exe = exe, .options = strdup(options) };
    }
    fl_ask_all(a, N, 30);
    int good = 0, most = 0, lines = 0, n;
    for (int i = 0; i < N; i++) {
        good += a[i].answer != NULL;
        fl_ask_done(&a[i]);
    }
    char path[PATH_MAX + 8];
    snprintf(path, sizeof path, "%s.counts", exe);
    FILE *f = fopen(path, "r");
    CHECK(f != NULL);
    while (fscanf(f, "%d", &n) == 1) {
        lines++;
        most = n > most ? n : most;
    }
    fclose(f);
    CHECK_INT(good, N);
    CHECK_INT(lines, N);
    CHECK(most >= 2 && most <= FL_DESCRIBE_JOBS);
}

FL_TEST(equal_questions_are_asked_once)
{
    enum { N = 9 };
    struct fl_ask a[N];
    script("it", "echo run >> \"$0.runs\"; echo " GOOD);
    for (int i = 0; i < N; i++)
        a[i] = (struct fl_ask){ .exe = exe, .options = strdup(i % 3 == 0 ? "{}" : i % 3 == 1 ? "{\"n\":1}" : "{\"n\":2}") };
    fl_ask_all(a, N, 30);
    int good = 0;
    for (int i = 0; i < N; i++) {
        good += a[i].answer != NULL;
        fl_ask_done(&a[i]);
    }
    char path[PATH_MAX + 8];
    struct stat st;
    snprintf(path, sizeof path, "%s.runs", exe);
    CHECK_INT(stat(path, &st), 0);
    CHECK_INT(good, N);
    CHECK_INT(st.st_size, 3 * 4);
}

FL_TEST(the_first_folder_wins)
{
    char one[PATH_MAX], two[PATH_MAX];
    snprintf(one, sizeof one, "%s/one", fl_tmpdir());
    snprintf(two, sizeof two, "%s/two", fl_tmpdir());
    CHECK_INT(mkdir(one, 0755) | mkdir(two, 0755), 0);
    script("one/a", "true");
    script("two/a", "true");
    script("two/b10", "true");
    script("two/b9", "true");
    script("two/note.txt", "true");
    CHECK_INT(chmod(exe, 0644), 0);
    setenv("FLOWRUN_STAGES", two, 1);
    char *path[] = { one }, *a = fl_find_stage("a", path, 1), *b = fl_find_stage("b9", path, 1), *none = fl_find_stage("c", path, 1);
    CHECK(a != NULL && b != NULL && none == NULL);
    CHECK_HAS(a, "/one/a");
    CHECK_HAS(b, "/two/b9");
    free(a);
    free(b);
    struct fl_found *all;
    uint32_t n;
    fl_find_all(path, 1, &all, &n);
    CHECK(n >= 3);
    CHECK_STR(all[0].name, "a");
    CHECK_HAS(all[0].exe, "/one/a");
    CHECK_STR(all[1].name, "b9");
    CHECK_STR(all[2].name, "b10");
    fl_found_free(all, n);
}

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = {
        CASE(passes_options_and_labels), CASE(what_a_stage_may_not_do), CASE(what_can_not_be_run_is_named), CASE(at_most_four_at_a_time),
        CASE(equal_questions_are_asked_once), CASE(the_first_folder_wins), { 0 }
    };
    return fl_run(cases, argc, argv);
}
