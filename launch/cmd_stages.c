/* flowrun stages, flowrun describe STAGE: what there is, and what it takes. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launch/cmd.h"
#include "launch/config.h"
#include "launch/cpus.h"
#include "launch/keys.h"
#include "launch/mem.h"

int fl_cmd_stages(const struct fl_args *a)
{
    struct fl_found *all;
    uint32_t n;
    int status = 0;
    (void)a;
    fl_find_all(NULL, 0, &all, &n);
    struct fl_ask *asks = fl_need(n, sizeof *asks);
    for (uint32_t i = 0; i < n; i++)
        asks[i].exe = all[i].exe;
    fl_ask_all(asks, n, FL_DESCRIBE_SECONDS);
    for (uint32_t i = 0; i < n; i++) {
        const char *help = json_string_value(json_object_get(asks[i].answer, "help"));
        if (asks[i].error != NULL) {
            fprintf(stderr, "flowrun: %s\n", asks[i].error);
            status = 1;
        } else {
            printf("%-16s %s\n", all[i].name, help != NULL ? help : "");
        }
        fl_ask_done(&asks[i]);
    }
    if (n == 0) {
        fprintf(stderr, "flowrun: no folder of stages is found; set FLOWRUN_STAGES\n");
        status = 1;
    }
    free(asks);
    fl_found_free(all, n);
    return status;
}

/* ---- describe ---- */

static const char *stages_text(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s != NULL ? s : "";
}

static char *stages_join(const json_t *list, const char *sep)
{
    size_t i;
    json_t *v;
    char *all = fl_need_copy("");
    json_array_foreach(list, i, v) {
        char *longer = fl_need_text("%s%s%s", all, i ? sep : "", json_string_value(v) ? json_string_value(v) : "?");
        free(all);
        all = longer;
    }
    return all;
}

static void stages_option(const json_t *o)
{
    const json_t *min = json_object_get(o, "min"), *max = json_object_get(o, "max"), *def = json_object_get(o, "default");
    char *choices = stages_join(json_object_get(o, "choices"), "|");
    printf("  %-18s %-7s %-12s %s", stages_text(o, "name"), stages_text(o, "type"),
           json_is_true(json_object_get(o, "required")) ? "required" : json_is_string(def) ? json_string_value(def) : "-", stages_text(o, "help"));
    if (choices[0] != '\0')
        printf(" [%s]", choices);
    if (json_is_number(min) && json_is_number(max))
        printf(" [%.15g to %.15g]", json_number_value(min), json_number_value(max));
    else if (json_is_number(min))
        printf(" [at least %.15g]", json_number_value(min));
    else if (json_is_number(max))
        printf(" [at most %.15g]", json_number_value(max));
    printf("\n");
    free(choices);
}

static void stages_port(const json_t *port, const json_t *dtypes)
{
    size_t i;
    json_t *t;
    printf("\n%s%s\n", strcmp(stages_text(port, "dir"), "in") == 0 ? "takes" : "gives",
           json_is_true(json_object_get(port, "many")) ? " (from several stages)" : "");
    json_array_foreach(json_object_get(port, "tensors"), i, t) {
        char *all = stages_join(json_object_get(t, "dtype"), "|"), *shape = stages_join(json_object_get(t, "shape"), ",");
        const char *bound = strcmp(stages_text(port, "dir"), "out") == 0 ? json_string_value(json_object_get(dtypes, stages_text(t, "name"))) : NULL;
        printf("  %-18s %-12s [%s]%s%s\n", stages_text(t, "name"), bound != NULL ? bound : all, shape,
               json_is_true(json_object_get(t, "either")) ? " one of these" : json_is_true(json_object_get(t, "optional")) ? " optional" : "",
               json_is_true(json_object_get(t, "taken")) ? " taken out" : "");
        free(all);
        free(shape);
    }
}

static void stages_names(const char *title, const json_t *list)
{
    char *all = stages_join(list, ", ");
    if (all[0] != '\0')
        printf("\n%s\n  %s\n", title, all);
    free(all);
}

static void stages_lines(const char *title, const json_t *list)
{
    size_t i;
    json_t *v;
    json_array_foreach(list, i, v)
        printf("%s%s%s  %s\n", i == 0 ? "\n" : "", i == 0 ? title : "", i == 0 ? "\n" : "", json_string_value(v));
}

/* What these options decide. */
static void stages_decided(const json_t *d)
{
    const char *key;
    json_t *v;
    if (json_object_size(json_object_get(d, "bind")) > 0) {
        printf("\ndimensions\n ");
        json_object_foreach(json_object_get(d, "bind"), key, v)
            printf(" %s=%lld", key, (long long)json_integer_value(v));
        printf("\n");
    }
    stages_names("labels", json_object_get(d, "labels"));
    if (json_object_size(json_object_get(d, "settled")) > 0) {
        printf("\nsettled\n ");
        json_object_foreach(json_object_get(d, "settled"), key, v)
            printf(" %s=%s", key, json_string_value(v));
        printf("\n");
    }
    if (json_is_integer(json_object_get(d, "memory")))
        printf("\nmemory of one process, besides slabs\n  %.1f MB\n", (double)json_integer_value(json_object_get(d, "memory")) / 1e6);
    if (json_is_integer(json_object_get(d, "tiles")))
        printf("\ntiles\n  %lld in %lld batches\n", (long long)json_integer_value(json_object_get(d, "tiles")),
               (long long)json_integer_value(json_object_get(d, "batches")));
}

static void stages_print(const json_t *d)
{
    size_t i;
    json_t *v;
    printf("%s %s - %s\n", stages_text(d, "name"), stages_text(d, "version"), stages_text(d, "help"));
    if (json_array_size(json_object_get(d, "options")) > 0)
        printf("\n  %-18s %-7s %-12s %s\n", "option", "type", "default", "what it is");
    json_array_foreach(json_object_get(d, "options"), i, v)
        stages_option(v);
    json_array_foreach(json_object_get(d, "ports"), i, v)
        stages_port(v, json_object_get(d, "dtype"));
    stages_decided(d);
    stages_names("counts", json_object_get(d, "counters"));
    stages_lines("this machine has", json_object_get(d, "offers"));
    if (json_is_true(json_object_get(d, "threads")) && json_object_get(d, "offers") != NULL)
        printf("  processors: %u, shared by its processes unless an entry's threads says otherwise\n", fl_cpus());
}

/* The --set texts of describe name an option alone: they become a map of options. */
static struct fl_node *stages_options(struct fl_config *c, const struct fl_args *a)
{
    struct fl_node *root = fl_node_new(FL_NODE_MAP, (struct fl_mark){ 0, 0 }), *stages = fl_node_new(FL_NODE_MAP, root->mark);
    fl_node_set(root, "stages", root->mark, stages);
    fl_node_set(stages, "it", root->mark, fl_node_new(FL_NODE_MAP, root->mark));
    const char **sets = fl_need(a->nsets, sizeof *sets);
    for (uint32_t i = 0; i < a->nsets; i++)
        sets[i] = fl_need_text("it.%s", a->sets[i]);
    fl_config_sets(c, root, sets, a->nsets);
    for (uint32_t i = 0; i < a->nsets; i++)
        free((char *)sets[i]);
    free(sets);
    const struct fl_node *it = fl_node_get(stages, "it", NULL), *options = fl_node_get(it, "options", NULL);
    struct fl_node *copy = options != NULL ? fl_node_copy(options) : fl_node_new(FL_NODE_MAP, root->mark);
    /* Here there is no entry: a word like `threads` is an option too. */
    for (uint32_t i = 0; i < it->n; i++)
        if (strcmp(it->keys[i], "options") != 0)
            fl_node_set(copy, it->keys[i], it->key_marks[i], fl_node_copy(it->items[i]));
    fl_node_free(root);
    return copy;
}

static int stages_ask(struct fl_ask *ask)
{
    fl_ask_all(ask, 1, FL_DESCRIBE_SECONDS);
    if (ask->error != NULL)
        fprintf(stderr, "flowrun: %s\n", ask->error);
    return ask->error != NULL ? 1 : 0;
}

/* Checks the options and asks once more with them. */
static int stages_ask_again(struct fl_ask *ask, const char *name, const struct fl_args *a)
{
    struct fl_complaints all = { .file = name, .sets = a->sets, .nsets = a->nsets };
    struct fl_config c = { .complaints = &all };
    struct fl_node *options = stages_options(&c, a);
    json_t *given = NULL;
    int status = 0;
    fl_check_options(&all, "", ask->answer, options, (struct fl_mark){ 0, 0 }, (struct fl_absent){ 0 }, &given);
    char *text = fl_complaints_text(&all);
    if (text != NULL) {
        fputs(text, stderr);
        status = 2;
    } else {
        const char *exe = ask->exe;
        fl_ask_done(ask);
        ask->exe = exe;
        ask->options = json_dumps(given, JSON_COMPACT);
        status = stages_ask(ask);
        const json_t *error = json_object_get(ask->answer, "error");
        if (status == 0 && json_is_object(error)) {
            fprintf(stderr, "%s: %s\n", name, stages_text(error, "text"));
            status = 2;
        }
    }
    free(text);
    json_decref(given);
    fl_node_free(options);
    fl_complaints_done(&all);
    return status;
}

static char *stages_find(const char *name)
{
    if (strchr(name, '/') != NULL)
        return fl_need_copy(name);
    char *exe = fl_stage_name_ok(name) ? fl_find_stage(name, NULL, 0) : NULL;
    if (exe != NULL)
        return exe;
    struct fl_found *all;
    uint32_t n;
    fl_find_all(NULL, 0, &all, &n);
    const char **names = fl_need((size_t)n + 1, sizeof *names);
    for (uint32_t i = 0; i < n; i++)
        names[i] = all[i].name;
    fprintf(stderr, "flowrun: no stage is called %s%s\n", name, fl_did_you_mean(name, names));
    free(names);
    fl_found_free(all, n);
    return NULL;
}

static void stages_keys(const char *title, const struct fl_key *keys)
{
    printf("%s\n", title);
    for (const struct fl_key *k = keys; k->name != NULL; k++)
        if (k->written)
            printf("  %-14s %s%s%s%s\n%-16s   %s\n", k->name, k->value, k->def != NULL ? " (default: " : "", k->def != NULL ? k->def : "",
                   k->def != NULL ? ")" : "", "", k->help);
}

int fl_cmd_describe(const struct fl_args *a)
{
    if (a->nfiles == 0) {
        stages_keys("keys of a pipeline file", fl_top_keys);
        stages_keys("\nkeys of an entry under stages", fl_entry_keys);
        return 0;
    }
    char *exe = stages_find(a->files[0]);
    if (exe == NULL)
        return 2;
    struct fl_ask ask = { .exe = exe };
    int status = stages_ask(&ask);
    if (status == 0 && a->nsets > 0)
        status = stages_ask_again(&ask, a->files[0], a);
    if (status == 0 && a->json) {
        char *text = json_dumps(ask.answer, JSON_INDENT(2));
        puts(text != NULL ? text : "");
        free(text);
    } else if (status == 0) {
        stages_print(ask.answer);
    }
    fl_ask_done(&ask);
    free(exe);
    return status;
}
