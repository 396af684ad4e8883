/* The command line of a stage executable. */
#include "runtime/main.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/host.h"
#include "runtime/json.h"
#include "runtime/proc.h"

static int describe_emit(void *owner, struct fl_batch *b) { (void)owner; (void)b; return FL_E_BUG; }
static void describe_release(void *owner, struct fl_batch *b) { (void)owner; (void)b; }
static int describe_ack(void *owner, uint64_t b, uint32_t a, uint32_t p, uint32_t r) { (void)owner; (void)b; (void)a; (void)p; (void)r; return FL_E_BUG; }
static void *describe_slab(void *owner, uint32_t slot) { (void)owner; (void)slot; return NULL; }
static void describe_log(void *owner, int level, const char *text) { (void)owner; (void)level; (void)text; }
static void describe_result(void *owner, const char *name, double value) { (void)owner; (void)name; (void)value; }
static void describe_alive(void *owner) { (void)owner; }

static const struct fl_host_ops describe_ops = {
    .emit = describe_emit, .release = describe_release, .ack = describe_ack, .slab = describe_slab,
    .log = describe_log, .result = describe_result, .alive = describe_alive,
};

static json_t *main_json(const char *what, const char *text)
{
    json_error_t je;
    json_t *j;
    if (fl_json_parse(text, strlen(text), JSON_REJECT_DUPLICATES, &j, &je) != FL_OK)
        fprintf(stderr, "%s: %s\n", what, je.text);
    return j;
}

/* Without --options only the tables are printed, since required options are not there yet. */
static int main_describe(const struct fl_stage *st, const char *options, const char *labels)
{
    struct fl_host h;
    struct fl_labels_conf conf = { 0 };
    json_t *opts = options != NULL ? main_json("--options", options) : NULL, *lab = labels != NULL ? main_json("--labels", labels) : NULL;
    if ((options != NULL && opts == NULL) || (labels != NULL && lab == NULL)) {
        json_decref(opts);
        json_decref(lab);
        return 2;
    }
    int rc = fl_host_init(&h, st, opts, &describe_ops, NULL);
    if (rc == FL_OK && lab != NULL)
        rc = fl_labels_conf_read(lab, &conf, &h.ctx, &h.err);
    if (options == NULL)
        rc = FL_OK;
    else if (rc == FL_OK)
        rc = fl_host_describe(&h);
    json_t *out = fl_host_describe_json(&h, rc);
    json_dumpf(out, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(out);
    fl_host_done(&h);
    fl_labels_conf_free(&conf);
    json_decref(opts);
    json_decref(lab);
    return 0;
}

static int main_help(const struct fl_stage *st)
{
    printf("%s: %s\n\nA stage of flowrun; a pipeline names it as `stage: %s`.\n"
           "  --describe [--options JSON] [--labels JSON]   options, ports and counters as JSON\n"
           "  --help, --version\n\nOptions:\n", st->name, st->help, st->name);
    for (const struct fl_opt *o = st->opts; o != NULL && o->name != NULL; o++)
        printf("  %-16s %s%s%s%s\n", o->name, o->help != NULL ? o->help : "", o->def != NULL ? " (default " : "", o->def != NULL ? o->def : "",
               o->def != NULL ? ")" : "");
    return 0;
}

int fl_stage_main(const struct fl_stage *st, int argc, char **argv)
{
    const char *options = NULL, *labels = NULL;
    int describe = 0, setup = -1;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0)
            return main_help(st);
        if (strcmp(argv[i], "--version") == 0)
            return printf("%s %s\n", st->name, FL_VERSION) < 0;
        if (strcmp(argv[i], "--describe") == 0)
            describe = 1;
        else if (strcmp(argv[i], "--options") == 0 && i + 1 < argc)
            options = argv[++i];
        else if (strcmp(argv[i], "--labels") == 0 && i + 1 < argc)
            labels = argv[++i];
        else if (strcmp(argv[i], "--setup") == 0 && i + 1 < argc)
            setup = atoi(argv[++i]);
        else {
            fprintf(stderr, "%s: unknown argument %s; see --help\n", st->name, argv[i]);
            return 2;
        }
    }
    if (describe)
        return main_describe(st, options, labels);
    if (setup >= 0)
        return fl_proc_run(st, setup);
    fprintf(stderr, "%s is started by flowrun; see --help\n", st->name);
    return 2;
}
