/* The checked graph: wrong configurations with the exact complaint, and what becomes of right ones. */
#include <limits.h>

#include "launch/graph.h"
#include "runtime/labels.h"
#include "tests/lib/check.h"
#include "tests/launch/fake.h"

#define GOOD "stages:\n  src:\n  dec: {from: src}\n  net: {from: dec}\n  snk: {from: net}\n"

static char back[PATH_MAX];

/* Into a fresh folder with the fake stages; leave goes back. */
static void enter(void)
{
    char here[PATH_MAX], stages[PATH_MAX + 16];
    if (getcwd(back, sizeof back) == NULL || chdir(fl_tmpdir()) != 0 || getcwd(here, sizeof here) == NULL)
        abort();
    snprintf(stages, sizeof stages, "%s/stages", here);
    fake_stages(stages);
}

static void leave(void)
{
    if (chdir(back) != 0)
        abort();
}

static void put(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    if (f == NULL || fputs(text, f) < 0 || fclose(f) != 0)
        abort();
}

/* Loads text as p.yaml; NULL and *said when it is wrong. */
static struct fl_graph *load(const char *text, const char *const *sets, uint32_t nsets, char **said)
{
    struct fl_graph *g = NULL;
    put("p.yaml", text);
    *said = NULL;
    int rc = fl_graph_load("p.yaml", sets, nsets, &g, said);
    if ((rc == FL_OK) != (g != NULL) || (rc == FL_OK) != (*said == NULL))
        fl_fail_at(__FILE__, __LINE__, "code %d, graph %p, complaints %s", rc, (void *)g, *said ? *said : "(none)");
    return g;
}

struct wrong { const char *text, *want; };

static void check_wrong_all(const struct wrong *w, size_t n)
{
    enter();
    mkdir("folder", 0755);
    put("afile", "x");
    for (size_t i = 0; i < n; i++) {
        char *said;
        struct fl_graph *g = load(w[i].text, NULL, 0, &said);
        if (said == NULL || strcmp(said, w[i].want) != 0)
            fl_fail_at(__FILE__, __LINE__, "%s\ngives  %s\nwant   %s", w[i].text, said ? said : "(nothing)", w[i].want);
        free(said);
        fl_graph_free(g);
    }
    leave();
}
#define CHECK_WRONG(list) check_wrong_all(list, sizeof list / sizeof *list)

FL_TEST(wrong_keys)
{
    static const struct wrong w[] = {
        { "sed: 1\n" GOOD, "p.yaml:1:1: unknown key sed; did you mean seed?\n" },
        { "seed: many\n" GOOD, "p.yaml:1:7: seed is text \"many\", want a whole number\n" },
        { "seed: -1\n" GOOD, "p.yaml:1:7: seed is -1, want 0 to 9223372036854775807\n" },
        { "memory: lots\n" GOOD, "p.yaml:1:9: memory is text \"lots\", want a size like 2GB or 512MiB\n" },
        { "stall_timeout: 0\n" GOOD, "p.yaml:1:16: stall_timeout is 0, want seconds, more than 0 and at most 86400\n" },
        { "name: a/b\n" GOOD, "p.yaml:1:7: name is text \"a/b\", want 1 to 63 letters, digits, '_', '-' or '.', not a '.' first\n" },
        { "stage_path: [nowhere]\n" GOOD, "p.yaml:1:14: stage_path: text \"nowhere\" is no folder\n" },
        { "labels: [a, a]\n" GOOD, "p.yaml:1:13: labels: a is given twice\n" },
        { "labels: {names: [clear, rain], rest_off: claer}\n" GOOD, "p.yaml:1:42: labels: rest_off: text \"claer\" is no label; did you mean clear?\n" },
        { "labels: {name: [a]}\n" GOOD, "p.yaml:1:9: labels: want a list of 1 to 64 names\np.yaml:1:10: labels: unknown key name; did you mean names?\n" },
        { "[1]\n", "p.yaml:1:1: the file holds a list, want a map with the key stages\n" },
        { "seed: 1\n", "p.yaml:1:1: no stages: want a map of stages under the key stages\n" },
        { "stages: {}\n", "p.yaml:1:1: no stages: want a map of stages under the key stages\n" },
        { "stages: [a]\n", "p.yaml:1:9: stages is a list, want a map of names to entries\n" },
        { "stages:\n  src:\n  dec: {form: src, from: src}\n  snk: {from: dec}\n", "p.yaml:3:9: dec: unknown key form; did you mean from?\n" },
        { "stages:\n  src:\n  dec: {from: src, instances: 0}\n  snk: {from: dec}\n", "p.yaml:3:31: dec: instances is 0, want 1 to 1024\n" },
        { "stages:\n  src:\n  dec: {from: [src, 3]}\n  snk: {from: dec}\n", "p.yaml:3:21: dec: from has 3, want a name\n" },
        { "stages:\n  src:\n  dec: {from: src, options: [1]}\n  snk: {from: dec}\n", "p.yaml:3:29: dec: options is a list, want a map\n" },
        { "stages:\n  src:\n  9x: {stage: dec, from: src}\n  snk: {from: src}\n",
          "p.yaml:3:3: 9x is no name for a stage, want a letter, then letters, digits, '_' or '-', at most 31\n" },
        { "a: {\n", "p.yaml:2:1: not YAML: did not find expected node content while parsing a flow node\n" },
    };
    CHECK_WRONG(w);
}

FL_TEST(wrong_options)
{
    static const struct wrong w[] = {
#define NET(options) "stages:\n  src:\n  dec: {from: src}\n  snk: {from: net}\n  net:\n    from: dec\n    options:\n" options
        { NET("      mod: fast\n"), "p.yaml:8:7: net: unknown option mod; did you mean mode?\n" },
        { NET("      mode: fats\n"), "p.yaml:8:13: net: mode is text \"fats\", want one of fast, exact; did you mean fast?\n" },
        { NET("      rate: 1.5\n"), "p.yaml:8:13: net: rate is 1.5, want 0 to 1\n" },
        { NET("      rate: quick\n"), "p.yaml:8:13: net: rate is text \"quick\", want a number\n" },
        { NET("      rate: .nan\n"), "p.yaml:8:13: net: rate is .nan, want a number\n" },
        { NET("      room: 2GB\n"), "p.yaml:8:13: net: room is text \"2GB\", want 0 to 1000000000\n" },
        { NET("      room: big\n"), "p.yaml:8:13: net: room is text \"big\", want a size like 4096, 512MiB or 2GB\n" },
        { NET("      flag: yes\n"), "p.yaml:8:13: net: flag is text \"yes\", want true or false\n" },
        { NET("      fold: '1'\n"), "p.yaml:8:13: net: fold is text \"1\", want a whole number\n" },
        { NET("      weights: [afile, gone, folder]\n"), "p.yaml:8:24: net: weights: gone: no such file or folder\n" },
        { NET("      weights: {a: 1}\n"), "p.yaml:8:16: net: weights is a map, want a file or a list of files\n" },
        { NET("      log: afile/x\n"), "p.yaml:8:12: net: log: afile/x can't be written: its folder is no folder\n" },
        { NET("      log: gone/x\n"), "p.yaml:8:12: net: log: gone/x can't be written: its folder does not exist\n" },
        { NET("      log: folder\n"), "p.yaml:8:12: net: log: folder can't be written: it is a folder\n" },
        { NET("      model: [a]\n"), "p.yaml:8:14: net: model is a list, want text\n" },
        { NET("      rate: 7\n      mode: 7\n      x: 1\n"),
          "p.yaml:8:13: net: rate is 7, want 0 to 1\np.yaml:9:13: net: mode is 7, want one of fast, exact\np.yaml:10:7: net: unknown option x\n" },
        { "stages:\n  src:\n  strict: {from: src}\n", "p.yaml:3:3: strict: option must must be given: what it must have\n" },
        { "stages:\n  src: {options: {files: no-such}}\n  snk: {from: src}\n", "p.yaml:2:9: src: no tiles at no-such\n" },
        { "stages:\n  src: {options: {batch: 5000}}\n  snk: {from: src}\n", "p.yaml:2:26: src: batch is 5000, want 1 to 4096\n" },
    };
    CHECK_WRONG(w);
}

FL_TEST(wrong_graphs)
{
    static const struct wrong w[] = {
        { "stages:\n  src:\n  dec: {stage: dek, from: src}\n  snk: {from: dec}\n", "p.yaml:3:16: dec: no stage is called dek; did you mean dec?\n" },
        { "stages:\n  src:\n  dec: {from: scr}\n  snk: {from: dec}\n", "p.yaml:3:15: dec: no stage is called scr; did you mean src?\n" },
        { "stages:\n  src:\n  more: {stage: src}\n  snk: {from: [src, more]}\n", "p.yaml:3:3: more: a second source, want one; the first is src\n" },
        { "stages:\n  dec: {from: net}\n  net: {from: dec}\n  snk: {from: net}\n",
          "p.yaml:1:1: no source: want one stage without an in port\np.yaml:2:15: a cycle: dec -> net -> dec\n" },
        { "stages:\n  src:\n  a: {stage: join, from: [src, b]}\n  b: {stage: pass, from: c}\n  c: {stage: pass, from: a}\n  snk: {from: a}\n",
          "p.yaml:3:26: a cycle: a -> c -> b -> a\n" },
        { "stages:\n  src:\n  dec: {from: src}\n", "p.yaml:1:1: no sink: want a stage without an out port\np.yaml:3:3: dec: nobody reads what it gives\n" },
        { GOOD "  dec2: {stage: dec, from: src}\n", "p.yaml:6:3: dec2: nobody reads what it gives\n" },
        { "stages:\n  src:\n  dec: {from: [src, p]}\n  p: {stage: pass, from: src}\n  snk: {from: dec}\n", "p.yaml:3:15: dec: reads 2 stages, but dec takes one\n" },
        { "stages:\n  src:\n  p: {stage: pass, from: src}\n  snk: {from: [p, src, p]}\n", "p.yaml:4:24: snk: reads p twice\n" },
        { "stages:\n  src: {from: snk}\n  snk: {from: src}\n",
          "p.yaml:2:15: src: reads snk, which gives nothing (snk has no out port)\np.yaml:2:15: src: src reads nothing, want no from\np.yaml:2:15: a cycle: src -> snk -> src\n" },
        { "stages:\n  src:\n  dec: {}\n  snk: {from: [dec, src]}\n", "p.yaml:3:3: dec: dec reads from a stage, want from\n" },
        { "stages:\n  src:\n  snk: {from: src, instances: 2}\n", "p.yaml:3:31: snk: 2 instances, but a stage without an out port has one\n" },
    };
    CHECK_WRONG(w);
}

#define STR_(x) #x
#define STR(x) STR_(x)
#define TEN "a, b, c, d, e, f, g, h, i, j"      /* equal values get tags of their own */
#define HUNDRED TEN "," TEN "," TEN "," TEN "," TEN "," TEN "," TEN "," TEN "," TEN "," TEN

FL_TEST(wrong_edges)
{
    static const struct wrong w[] = {
        { "stages:\n  src:\n  dec: {from: src, options: {channels: 4}}\n  net: {from: dec}\n  snk: {from: net}\n",
          "p.yaml:4:3: net: pixels has 4 channels (C), want 3 (dec -> net)\n" },
        { "stages:\n  src:\n  net: {from: src}\n  snk: {from: net}\n", "p.yaml:3:3: net: no tensor pixels arrives; there are id, path (src -> net)\n" },
        { "stages:\n  src:\n  dec: {from: src}\n  mono: {from: dec}\n  snk: {from: mono}\n",
          "p.yaml:4:3: mono: pixels is u8|u16, want f16|f32 (dec -> mono)\n" },
        { "stages:\n  src:\n  dec: {from: src}\n  dec2: {stage: dec, from: dec}\n  snk: {from: dec2}\n",
          "p.yaml:4:3: dec2: no tensor path arrives; there are id, pixels (dec -> dec2)\n" },
        { "labels: [a, b]\nstages:\n  src:\n  dec: {from: src}\n  net: {from: dec, options: {model: abc}}\n  snk: {from: net}\n",
          "p.yaml:5:20: net: its 3 labels differ from the 2 of the key labels: label 2 is c, want none\n" },
        { "stages:\n  src:\n  dec: {from: src}\n  one: {stage: net, from: dec}\n  two: {stage: net, from: dec, options: {fold: 15}}\n  join: {from: [one, two]}\n  snk: {from: join}\n",
          "p.yaml:6:3: join: prob has 5 snapshots (K), want 2 (two -> join)\n" },
        { "stages:\n  src:\n  free: {from: src}\n  snk: {from: free}\n",
          "p.yaml:3:3: free: dimension 2 (Q) of x is not known, nothing that arrives and no option sets it\n" },
        { "stages:\n  src:\n  dec: {from: src}\n  net: {from: dec, matrix: {n: [" HUNDRED "," HUNDRED "," HUNDRED "]}}\n  join: {from: net}\n  snk: {from: join}\n",
          "p.yaml:5:3: join: 301 tensors of 300 stages meet here, at most " STR(FL_MAX_TENSORS) " fit in a batch\n" },
        { "memory: 10kB\n" GOOD, "p.yaml:1:9: memory is 10.0kB, but one batch of 8 tiles needs 24.6kB in all stages together (24576 bytes)\n" },
        { "stages:\n  src:\n  a: {stage: boom, from: src}\n  snk: {from: a}\n", "p.yaml:3:14: a: STAGES/boom --describe ended with status 3: no such device\n" },
        { "stages:\n  src:\n  a: {stage: chatty, from: src}\n  snk: {from: a}\n",
          "p.yaml:3:14: a: STAGES/chatty --describe printed no JSON: '[' or '{' expected near 'hello'\n" },
        { "stages:\n  src:\n  a: {stage: odd, from: src}\n", "p.yaml:3:14: a: STAGES/odd --describe: unknown type in x\n" },
    };
    static struct wrong full[sizeof w / sizeof *w];
    static char texts[sizeof w / sizeof *w][1024];
    enter();
    for (size_t i = 0; i < sizeof w / sizeof *w; i++) {
        const char *at = strstr(w[i].want, "STAGES");
        snprintf(texts[i], sizeof texts[i], "%.*s%.400s%s", at ? (int)(at - w[i].want) : (int)strlen(w[i].want), w[i].want, at ? getenv("FLOWRUN_STAGES") : "",
                 at ? at + 6 : "");
        char *said;
        struct fl_graph *g = load(w[i].text, NULL, 0, &said);
        full[i] = (struct wrong){ w[i].text, texts[i] };
        if (said == NULL || strcmp(said, full[i].want) != 0)
            fl_fail_at(__FILE__, __LINE__, "%s\ngives  %s\nwant   %s", w[i].text, said ? said : "(nothing)", full[i].want);
        free(said);
        fl_graph_free(g);
    }
    leave();
}

FL_TEST(wrong_matrix)
{
    static const struct wrong w[] = {
#define MATRIX(matrix, options) "stages:\n  src:\n  dec: {from: src}\n  j: {stage: join, from: net}\n  snk: {from: j}\n  net:\n    from: dec\n    matrix: " matrix "\n    options: " options "\n"
        { MATRIX("{}", "{}"), "p.yaml:8:13: net: the matrix is empty\n" },
        { MATRIX("{m: 3}", "{}"), "p.yaml:8:17: net: matrix variable m is 3, want a list of values\n" },
        { MATRIX("{m: []}", "{}"), "p.yaml:8:17: net: matrix variable m is an empty list, want a list of values\n" },
        { MATRIX("{m: [[1]]}", "{}"), "p.yaml:8:18: net: matrix variable m has a list, want text or a number\n" },
        { MATRIX("{m: {a: 3}}", "{}"), "p.yaml:8:21: net: a of matrix variable m is 3, want a map of attributes\n" },
        { MATRIX("{m: {}}", "{}"), "p.yaml:8:17: net: matrix variable m is an empty map, want a list of values\n" },
        { MATRIX("[m]", "{}"), "p.yaml:8:14: net: matrix: text \"m\" is no variable of the file's matrix\n" },
        { MATRIX("{m: {a: {x: 1}, b: null}}", "{model: '{m.x}'}"), "p.yaml:9:22: net: no attribute is called x\n" },
        { MATRIX("{m: {a: {x: [1]}}}", "{model: 'y{m.x}'}"), "p.yaml:9:22: net: an attribute that is a list can only stand alone\n" },
        { MATRIX("{m: {a: {x: '{m.x}'}}}", "{model: '{m.x}'}"), "p.yaml:9:22: net: attributes that name each other without end\n" },
        { MATRIX("{fold: [1, 2]}", "{model: 'x{flod}'}"), "p.yaml:9:22: net: no matrix variable is called flod; did you mean fold?\n" },
        { "stages:\n  src:\n  p: {stage: pass, from: src, matrix: {a: [1]}}\n  p-1: {stage: pass, from: src}\n  snk: {from: [p, p-1]}\n",
          "p.yaml:4:3: p-1: two entries are called p-1 once their matrix is expanded\np.yaml:5:19: snk: reads p-1 twice\n" },
    };
    CHECK_WRONG(w);
}

FL_TEST(a_good_graph)
{
    char *said;
    enter();
    struct fl_graph *g = load("name: demo\nseed: 7\nmemory: 1MB\n" GOOD, NULL, 0, &said);
    leave();
    CHECK(g != NULL);
    CHECK_STR(g->name, "demo");
    CHECK_INT(g->seed, 7);
    CHECK_INT(g->B, 8);
    CHECK_INT(g->nlabels, FL_DEFAULT_NLABELS);
    CHECK_INT(g->exclusive, FL_DEFAULT_EXCLUSIVE);
    CHECK_INT(g->batches, 100);
    CHECK_INT(g->tiles, 800);
    CHECK_INT(g->nstages, 4);
    CHECK_STR(g->stages[0].name, "src");
    CHECK_STR(g->stages[3].name, "snk");
    CHECK(g->stages[0].source && g->stages[3].sink && g->stages[3].many && !g->stages[1].many);
    /* src: 8*64 + 8*128 bytes, dec: 8*16*16*3 of u16, net: 8*2*17 of f32, marks 64 + 1536 each; in pages of 4096. */
    CHECK_INT(g->stages[0].slab, 4096);
    CHECK_INT(g->stages[1].slab, 16384);
    CHECK_INT(g->stages[2].slab, 4096);
    CHECK_INT(g->stages[3].slab, 0);
    CHECK_INT(g->stages[3].cost, 1);
    CHECK_INT(g->window, 10);                       /* 1 MB holds 40, four processes get 2*4+2 */
    CHECK_INT(g->stages[2].ntensors, 2);            /* path and pixels are taken on the way */
    CHECK_STR(g->stages[2].tensors[0].name, "id");
    CHECK_INT(g->stages[2].tensors[0].maker, 0);
    CHECK_STR(g->stages[2].tensors[1].name, "prob");
    CHECK_INT(g->stages[2].tensors[1].shape[1], 2);
    CHECK_INT(g->stages[2].tensors[1].letter[2], 'L');
    CHECK_INT(g->stages[1].tensors[1].dtypes, 1u << FL_U8 | 1u << FL_U16);
    fl_graph_free(g);
}

FL_TEST(the_window_follows_memory)
{
    char *said;
    enter();
    struct fl_graph *g = load("memory: 100kB\n" GOOD, NULL, 0, &said), *one = load("memory: 24576\n" GOOD, NULL, 0, &said);
    leave();
    CHECK(g != NULL && one != NULL);
    CHECK_INT(g->window, 4);                        /* 100000 / 24576 */
    CHECK_INT(one->window, 1);
    fl_graph_free(g);
    fl_graph_free(one);
}

FL_TEST(set_changes_the_tree)
{
    static const char *const sets[] = { "dec.channels=3", "seed=9", "memory=2MB", "src.batch=4", "dec.instances=3", "net.weights=[afile]", "net.model=*.x", "name=n" };
    static const char *const bad[] = { "dek.channels=3", "sed=9", "net.rate=2", "net", "net.mod=1", "net.weights=[a" };
    char *said;
    enter();
    put("afile", "");
    struct fl_graph *g = load(GOOD, sets, 8, &said);
    CHECK(g != NULL);
    CHECK_INT(g->seed, 9);
    CHECK_INT(g->memory, 2000000);
    CHECK_INT(g->B, 4);
    CHECK_INT(g->stages[1].instances, 3);
    CHECK_STR(json_string_value(json_object_get(g->stages[2].options, "model")), "*.x");
    CHECK_INT(json_array_size(json_object_get(g->stages[2].options, "weights")), 1);
    fl_graph_free(g);
    g = load(GOOD, bad, 6, &said);
    leave();
    CHECK(g == NULL);
    CHECK_STR(said, "--set dek.channels=3: no stage is called dek; did you mean dec?\n"
                    "--set sed=9: no key is called sed; did you mean seed?\n"
                    "--set net.rate=2: net: rate is 2, want 0 to 1\n"
                    "--set net: want stage.option=value\n"
                    "--set net.mod=1: net: unknown option mod; did you mean mode?\n"
                    "--set net.weights=[a: value: not YAML: did not find expected ',' or ']' while parsing a flow sequence\n");
    free(said);
}

static const struct fl_stage_node *stage(const struct fl_graph *g, const char *name)
{
    for (uint32_t i = 0; i < g->nstages; i++)
        if (strcmp(g->stages[i].name, name) == 0)
            return &g->stages[i];
    return NULL;
}

#define ENSEMBLE "stages:\n  src:\n  dec: {from: src}\n" \
    "  net: {from: dec, matrix: {m: [w/a.st, w/b.st], fold: [0, 1]}, options: {model: 'x-{m}', fold: '{fold}'}}\n" \
    "  p: {stage: pass, from: 'net-{m}-{fold}', matrix: {m: [w/a.st, w/b.st], fold: [0, 1]}}\n" \
    "  j: {stage: join, from: p}\n  snk: {from: j}\n"

FL_TEST(a_matrix_becomes_entries)
{
    char *said;
    enter();
    struct fl_graph *g = load(ENSEMBLE, NULL, 0, &said);
    leave();
    CHECK(g != NULL);
    CHECK_INT(g->nstages, 12);
    const struct fl_stage_node *net = stage(g, "net-b-1"), *p = stage(g, "p-b-1"), *j = stage(g, "j");
    CHECK(net != NULL && p != NULL && j != NULL);
    CHECK_STR(json_string_value(json_object_get(net->options, "model")), "x-w/b.st");
    CHECK_INT(json_integer_value(json_object_get(net->options, "fold")), 1);
    CHECK_INT(p->nfrom, 1);
    CHECK_STR(g->stages[p->from[0]].name, "net-b-1");
    CHECK_INT(j->nfrom, 4);
    CHECK_STR(g->stages[j->from[0]].name, "p-a-0");
    CHECK_STR(g->stages[j->from[3]].name, "p-b-1");
    fl_graph_free(g);
}

#define SHARED "matrix: {m: {a: {kind: u/one.x, model: 'w{fold}', fold: 21}, b: {kind: two, model: 'v{fold}', fold: 22}}, fold: [7, 8], kind: [one, two]}\n" \
    "stages:\n  src:\n  dec: {from: src}\n  aug: {stage: pass, from: dec, matrix: [kind]}\n" \
    "  net: {from: 'aug-{m.kind}', matrix: [m, fold], options: {model: '{m.model}', fold: '{m.fold}'}}\n" \
    "  j: {stage: join, from: net}\n  snk: {from: j}\n"

FL_TEST(variables_of_the_file_are_shared_and_have_attributes)
{
    char *said;
    enter();
    struct fl_graph *g = load(SHARED, NULL, 0, &said);
    leave();
    CHECK_STR(said ? said : "", "");
    const struct fl_stage_node *one = stage(g, "net-a-8"), *two = stage(g, "net-b-7");
    CHECK(one != NULL && two != NULL);
    CHECK_STR(json_string_value(json_object_get(one->options, "model")), "w8");
    CHECK_INT(json_integer_value(json_object_get(two->options, "fold")), 22);
    CHECK_STR(g->stages[one->from[0]].name, "aug-one");
    CHECK_STR(g->stages[two->from[0]].name, "aug-two");
    fl_graph_free(g);
}

FL_TEST(long_and_equal_values_get_names_of_their_own)
{
    static const char text[] = "stages:\n  src:\n  dec: {from: src}\n"
        "  net: {from: dec, matrix: {m: [a/x.st, b/x.st, an-extremely-long-name-of-a-model]}, options: {model: '{m}'}}\n  j: {stage: join, from: net}\n  snk: {from: j}\n";
    char *said;
    enter();
    struct fl_graph *g = load(text, NULL, 0, &said);
    leave();
    CHECK(g != NULL);
    CHECK(stage(g, "net-x") != NULL && stage(g, "net-x_2") != NULL);
    CHECK_INT(strlen(g->stages[4].name), 31);
    CHECK_INT(strncmp(g->stages[4].name, "net-an_extremely_long__", 23), 0);       /* 22 of the name, then its hash */
    fl_graph_free(g);
}

FL_TEST(describe_is_asked_once_for_equal_questions)
{
    char *said, runs[PATH_MAX + 16];
    enter();
    struct fl_graph *g = load("stages:\n  src:\n  dec: {from: src}\n  net: {from: dec, matrix: {n: [1, 2, 3, 4, 5, 6, 7, 8]}}\n  j: {stage: join, from: net}\n  snk: {from: j}\n",
                              NULL, 0, &said);
    snprintf(runs, sizeof runs, "%s/net.runs", getenv("FLOWRUN_STAGES"));
    struct stat st;
    int rc = stat(runs, &st);
    leave();
    CHECK(g != NULL);
    CHECK_INT(rc, 0);
    CHECK_INT(st.st_size, 2 * (long long)strlen("run\n"));     /* the table, and once for all eight */
    fl_graph_free(g);
}

FL_TEST(labels_come_from_the_models)
{
    char *said;
    enter();
    struct fl_graph *g = load("stages:\n  src:\n  dec: {from: src}\n  net: {from: dec, options: {model: abc}}\n  snk: {from: net}\n", NULL, 0, &said);
    leave();
    CHECK(g != NULL);
    CHECK_INT(g->nlabels, 3);
    CHECK_STR(g->labels[2], "c");
    CHECK_INT(g->exclusive, 0);
    CHECK_INT(stage(g, "net")->tensors[1].shape[2], 3);
    fl_graph_free(g);
}

FL_TEST(the_resolved_configuration_loads_again)
{
    char *said;
    enter();
    struct fl_graph *g = load("memory: 3MB\nlabels: {names: [u, v, w], exclusive: [u, v], rest_off: w}\n" ENSEMBLE, NULL, 0, &said);
    CHECK(g != NULL);
    CHECK_INT(json_dump_file(g->resolved, "config.json", JSON_INDENT(2)), 0);
    struct fl_graph *again = NULL;
    int rc = fl_graph_load("config.json", NULL, 0, &again, &said);
    if (rc != FL_OK)
        fl_fail_at(__FILE__, __LINE__, "%s", said);
    leave();
    CHECK_INT(rc, FL_OK);
    CHECK(json_equal(g->resolved, again->resolved));
    CHECK_STR(json_string_value(json_object_get(again->resolved, "file")), "p.yaml");
    CHECK_INT(again->exclusive, 3);
    CHECK_INT(again->rest_off, 2);
    const json_t *net = json_object_get(json_object_get(g->resolved, "stages"), "net-a-0");
    CHECK_STR(json_string_value(json_object_get(json_object_get(net, "options"), "mode")), "exact");
    CHECK_NEAR(json_real_value(json_object_get(json_object_get(net, "options"), "rate")), 0.5, 0);
    fl_graph_free(g);
    fl_graph_free(again);
}

FL_TEST(a_missing_file_is_named)
{
    struct fl_graph *g = NULL;
    char *said = NULL;
    CHECK_INT(fl_graph_load("/nowhere/p.yaml", NULL, 0, &g, &said), FL_E_CONFIG);
    CHECK_STR(said, "/nowhere/p.yaml: No such file or directory\n");
    free(said);
}

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = {
        CASE(wrong_keys), CASE(wrong_options), CASE(wrong_graphs), CASE(wrong_edges), CASE(wrong_matrix), CASE(a_good_graph), CASE(the_window_follows_memory),
        CASE(set_changes_the_tree), CASE(a_matrix_becomes_entries), CASE(variables_of_the_file_are_shared_and_have_attributes), CASE(long_and_equal_values_get_names_of_their_own),
        CASE(describe_is_asked_once_for_equal_questions), CASE(labels_come_from_the_models), CASE(the_resolved_configuration_loads_again),
        CASE(a_missing_file_is_named), { 0 }
    };
    return fl_run(cases, argc, argv);
}
