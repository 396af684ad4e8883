/* Fuzz target: any bytes as what a stage prints. What is proven goes on through the checks of options, labels and edges. */
#include <stdlib.h>
#include <string.h>

#include "launch/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char fuzz_source[] = "{\"describe\":1,\"options\":[],\"ports\":[{\"name\":\"out\",\"dir\":\"out\",\"tensors\":["
    "{\"name\":\"id\",\"dtype\":[\"u8\"],\"shape\":[\"B\",\"64\"]},{\"name\":\"pixels\",\"dtype\":[\"u8\",\"u16\"],\"shape\":[\"B\",\"256\",\"256\",\"4\"]}]}]}";
static const char fuzz_sink[] = "{\"describe\":1,\"options\":[],\"ports\":[{\"name\":\"in\",\"dir\":\"in\",\"many\":true,\"tensors\":["
    "{\"name\":\"id\",\"dtype\":[\"u8\"],\"shape\":[\"B\",\"64\"]},{\"name\":\"prob\",\"dtype\":[\"f32\"],\"shape\":[\"B\",\"L\"],\"optional\":true}]}]}";

static void fuzz_options(const json_t *answer)
{
    size_t i;
    json_t *o, *given = NULL;
    struct fl_complaints c = { .file = "fuzz" };
    struct fl_node *options = NULL;
    static const char text[] = "{batch: 4, views: d4, size: 96, weights: [a, b], method: exact, file: a/b, rate: 0.5, x: {y: 1}}";
    fl_yaml_parse(text, sizeof text - 1, &c, &options);
    fl_check_options(&c, "", answer, options, (struct fl_mark){ 1, 1 }, (struct fl_absent){ 0 }, &given);
    json_array_foreach(json_object_get(answer, "options"), i, o)
        json_decref(fl_option_default(o));
    json_decref(given);
    fl_node_free(options);
    fl_complaints_done(&c);
}

/* source -> what was printed -> sink. */
static void fuzz_flow(json_t *answer)
{
    json_t *source = json_loads(fuzz_source, 0, NULL), *sink = json_loads(fuzz_sink, 0, NULL);
    struct fl_complaints c = { .file = "fuzz" };
    struct fl_entry e[3] = { { .name = "source", .describe = source }, { .name = "it", .describe = answer }, { .name = "sink", .describe = sink } };
    struct fl_stage_node *nodes = calloc(3, sizeof *nodes);
    uint32_t order[3] = { 0, 1, 2 }, from[2][2] = { { 0 }, { 1, 0 } };
    if (source == NULL || sink == NULL || nodes == NULL)
        abort();
    nodes[1].nfrom = 1;
    nodes[1].from = from[0];
    nodes[2].nfrom = 2;
    nodes[2].from = from[1];
    nodes[2].sink = true;
    for (int i = 0; i < 3; i++) {
        memcpy(nodes[i].name, e[i].name, sizeof e[i].name);
        nodes[i].instances = 1;
    }
    struct fl_config conf = { .complaints = &c, .file = "fuzz", .nentries = 3, .entries = e };
    struct fl_graph g = { .B = 8, .nstages = 3, .stages = nodes, .memory = UINT64_C(1000000000) };
    struct fl_label_set labels;
    fl_labels_agree(&conf, &labels);
    g.nlabels = labels.n;
    fl_flow_check(&conf, order, &g);
    fl_size_plan(&conf, order, &g);
    if (c.n == 0 && g.window == 0)
        abort();
    fl_label_set_done(&labels);
    fl_complaints_done(&c);
    json_decref(source);
    json_decref(sink);
    free(nodes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *why = NULL;
    json_t *answer = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES, NULL);
    if (answer == NULL)
        return 0;
    if (fl_describe_prove(answer, &why)) {
        fuzz_options(answer);
        fuzz_flow(answer);
    } else if (why == NULL) {
        abort();
    }
    free(why);
    json_decref(answer);
    return 0;
}
