/* Fuzz target: any bytes as a configuration. A tree or a complaint comes of it; a tree gives the same JSON after another trip. */
#include <stdlib.h>
#include <string.h>

#include "launch/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* JSON is YAML: the tree written as JSON and read again must be equal. */
static void fuzz_again(const struct fl_node *root)
{
    json_t *first = fl_node_json(root);
    char *text = json_dumps(first, JSON_ENCODE_ANY | JSON_COMPACT | JSON_ENSURE_ASCII);
    struct fl_complaints c = { .file = "again" };
    struct fl_node *again = NULL;
    /* YAML has no surrogate pairs and limits a key to 1024 bytes: such texts may fail to read, but nothing may read as something else. */
    if (text != NULL)
        fl_yaml_parse(text, strlen(text), &c, &again);
    json_t *second = again != NULL ? fl_node_json(again) : NULL;
    if (second != NULL && c.n == 0 && !json_equal(first, second))
        abort();
    json_decref(first);
    json_decref(second);
    fl_node_free(again);
    fl_complaints_done(&c);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fl_complaints c = { .file = "fuzz" };
    struct fl_config conf = { .complaints = &c, .file = "fuzz.yaml" };
    struct fl_node *root = NULL;
    fl_yaml_parse((const char *)data, size, &c, &root);
    if (root == NULL && c.n == 0)
        abort();
    if (root != NULL) {
        fuzz_again(root);
        static const char *const sets[] = { "a.b=[1, {c: d}]", "memory=2GB", "net.instances=3" };
        c.sets = sets;
        c.nsets = 3;
        fl_config_sets(&conf, root, sets, 3);
        fl_config_read(&conf, root);
        if (conf.nentries > 0) {
            uint32_t *order = calloc(FL_MAX_ENTRIES, sizeof *order);
            fl_matrix_expand(&conf);
            if (order != NULL && conf.nentries > 0)
                fl_topology(&conf, order);
            free(order);
        }
    }
    char *text = fl_complaints_text(&c);
    free(text);
    fl_node_free(root);
    fl_config_done(&conf);
    fl_complaints_done(&c);
    return 0;
}
