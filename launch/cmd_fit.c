/* flowrun fit: second levels fitted on files of predictions. Writes a small graph (predictions, stack_fit) and runs it as any other. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launch/cmd.h"
#include "launch/complain.h"
#include "launch/graph.h"
#include "launch/mem.h"
#include "launch/raw.h"
#include "launch/run.h"
#include "launch/yaml.h"
#include "runtime/labels.h"
#include "runtime/predictions.h"
#include "runtime/text.h"

#define FIT_FILES 4096

struct fit_args {
    const char *labels, *folds, *column, *out, *method, *matrix, *names, *threads, *run;
    struct fl_raw_list sets;
    bool quiet;
};

/* A file, or the text itself where it begins like a map or a list. */
static json_t *fit_matrix(const char *what)
{
    struct fl_complaints own = { .file = what };
    struct fl_node *n = NULL;
    struct fl_err err = { 0 };
    char *text = NULL, *said = NULL;
    size_t len = strlen(what);
    json_t *j = NULL;
    if (*what == '{' || *what == '[')
        text = fl_need_copy(what);
    else if (fl_read_file(what, FL_YAML_MAX_BYTES, &text, &len, &err) != FL_OK)
        fprintf(stderr, "flowrun fit: --matrix: %s\n", err.text);
    if (text != NULL)
        fl_yaml_parse(text, len, &own, &n);
    if (n != NULL && own.n == 0)
        j = fl_node_json(n);
    else if ((said = fl_complaints_text(&own)) != NULL)
        fprintf(stderr, "flowrun fit: --matrix: %s", said);
    free(said);
    free(text);
    fl_node_free(n);
    fl_complaints_done(&own);
    return j;
}

static int fit_threads(const char *text)
{
    char *end;
    long n = text != NULL ? strtol(text, &end, 10) : sysconf(_SC_NPROCESSORS_ONLN);
    return text != NULL && (*end != '\0' || end == text) ? 0 : n >= 1 && n <= 1024 ? (int)n : 0;
}

static json_t *fit_texts(uint32_t n, const char *const *texts)
{
    json_t *list = fl_need_json(json_array());
    for (uint32_t i = 0; i < n; i++)
        fl_need_push(list, fl_need_str(texts[i]));
    return list;
}

/* The key labels from --names. */
static bool fit_names(const char *text, json_t *graph)
{
    char *names[FL_MAX_LABELS];
    uint32_t L = 0;
    struct fl_err err = { 0 };
    if (text == NULL)
        return true;
    if (fl_labels_split(text, names, &L, &err) != FL_OK) {
        fprintf(stderr, "flowrun fit: --names: %s\n", err.text);
        return false;
    }
    fl_need_put(graph, "labels", fit_texts(L, (const char *const *)names));
    for (uint32_t l = 0; l < L; l++)
        free(names[l]);
    return true;
}

static void fit_put(json_t *o, const char *key, const char *text)
{
    if (text != NULL)
        fl_need_put(o, key, fl_need_str(text));
}

/* NULL after a line on stderr. */
static json_t *fit_graph(const struct fit_args *a, uint32_t n, const char *const *files, int threads)
{
    json_t *graph = fl_need_json(json_object()), *stages = fl_need_json(json_object()), *tiles = fl_need_json(json_object()), *fit = fl_need_json(json_object());
    json_t *in = fl_need_json(json_object()), *out = fl_need_json(json_object());
    fl_need_put(in, "files", fit_texts(n, files));
    fit_put(in, "split", "val");
    fit_put(in, "labels", a->labels);
    fit_put(in, "folds", a->folds);
    fit_put(in, "fold_column", a->column);
    fit_put(tiles, "stage", "predictions");
    fl_need_put(tiles, "options", in);
    char *table = fl_need_text("%s/table.json", a->out);
    fit_put(out, "out", table);
    fit_put(out, "method", a->method);
    free(table);
    fit_put(fit, "stage", "stack_fit");
    fit_put(fit, "from", "tiles");
    fl_need_put(fit, "threads", json_integer(threads));
    fl_need_put(fit, "options", out);
    fl_need_put(stages, "tiles", tiles);
    fl_need_put(stages, "fit", fit);
    fit_put(graph, "name", "fit");
    fl_need_put(graph, "stages", stages);
    json_t *matrix = a->matrix != NULL ? fit_matrix(a->matrix) : NULL;
    if (matrix != NULL)
        fl_need_put(out, "matrix", matrix);
    if ((a->matrix == NULL || matrix != NULL) && fit_names(a->names, graph))
        return graph;
    json_decref(graph);
    return NULL;
}

/* --set OPTION=VALUE is one of stack_fit's, --set tiles.OPTION=VALUE one of predictions'. */
static char **fit_sets(const struct fl_raw_list *l)
{
    char **sets = fl_need(l->n + 1u, sizeof *sets);
    for (uint32_t i = 0; i < l->n; i++) {
        const char *eq = strchr(l->text[i], '='), *dot = strchr(l->text[i], '.');
        sets[i] = dot != NULL && (eq == NULL || dot < eq) ? fl_need_copy(l->text[i]) : fl_need_text("fit.%s", l->text[i]);
    }
    return sets;
}

/* The table, where it isn't the one that lay there before (st_ino 0: none did): it is always written anew. */
static void fit_show(const char *path, const struct stat *before)
{
    char *text = NULL;
    size_t len;
    struct stat st;
    if (stat(path, &st) == 0 && (st.st_ino != before->st_ino || st.st_mtim.tv_sec != before->st_mtim.tv_sec || st.st_mtim.tv_nsec != before->st_mtim.tv_nsec) &&
        fl_read_file(path, 64u << 20, &text, &len, NULL) == FL_OK)
        fputs(text, stdout);
    free(text);
}

static int fit_run(const struct fit_args *a, const json_t *graph)
{
    char *path = fl_need_text("%s/fit.json", a->out), *table = fl_need_text("%s/table.txt", a->out), *complaints = NULL, **sets = fit_sets(&a->sets);
    struct fl_graph *g = NULL;
    struct stat before = { .st_ino = 0 };
    int status = 2;
    if (stat(table, &before) != 0)
        before.st_ino = 0;
    if (json_dump_file(graph, path, JSON_INDENT(2)) != 0) {
        fprintf(stderr, "flowrun fit: %s: %s\n", path, strerror(errno));
    } else if (fl_graph_load(path, (const char *const *)sets, a->sets.n, &g, &complaints) != FL_OK) {
        fputs(complaints != NULL ? complaints : "", stderr);
    } else {
        status = fl_run_graph(g, &(struct fl_run_conf){ .run_dir = a->run, .quiet = a->quiet });
        fit_show(table, &before);
    }
    for (uint32_t i = 0; i < a->sets.n; i++)
        free(sets[i]);
    free(sets);
    free(complaints);
    free(table);
    free(path);
    fl_graph_free(g);
    return status;
}

int fl_cmd_fit(int argc, char **argv)
{
    struct fit_args a = { .column = "fold" };
    const struct fl_raw_opt opts[] = {
        { "--labels", "TABLE", FL_RAW_TEXT, &a.labels, NULL, "the truth: image_name,tags or one column a label" },
        { "--folds", "TABLE", FL_RAW_TEXT, &a.folds, NULL, "fold table, image_name and a column of folds" },
        { "--fold-column", "NAME", FL_RAW_TEXT, &a.column, NULL, "its column (fold)" },
        { "--out", "DIR", FL_RAW_TEXT, &a.out, NULL, "folder of the tables, models, scores and out-of-fold predictions" },
        { "--method", "NAME", FL_RAW_TEXT, &a.method, NULL, "what is fitted, where the matrix doesn't say it (ridge)" },
        { "--matrix", "FILE|TEXT", FL_RAW_TEXT, &a.matrix, NULL, "configurations as YAML: {method: [ridge, nnls], lambda: [1, 10]}, or a list of such maps" },
        { "--set", "OPTION=VALUE", FL_RAW_EACH, &a.sets, NULL, "any option of stack_fit, or tiles.OPTION of predictions; again and again" },
        { "--threads", "N", FL_RAW_TEXT, &a.threads, NULL, "how many are fitted at once (as many as there are processors)" },
        { "--names", "A,B,...", FL_RAW_TEXT, &a.names, NULL, "the label set, where it is not the default one" },
        { "--run", "DIR", FL_RAW_TEXT, &a.run, NULL, "the run directory (else runs/fit-TIME)" },
        { "-q", NULL, FL_RAW_FLAG, &a.quiet, NULL, "no live view" },
        { 0 }
    };
    const struct fl_raw cmd = {
        .name = "fit", .usage = "MODEL|FILE... --labels TABLE --folds TABLE --out DIR [--method NAME] [--matrix FILE] ...", .opts = opts, .min = 1, .max = FIT_FILES,
        .want = "the first level's out-of-fold predictions: files, or folders with fold_K/val_TTA.h5",
        .help = "Fits second levels on out-of-fold predictions of a first one, fold by fold, and tells what they are worth (docs/second-level.md).\n\n"
                "  MODEL, FILE              out-of-fold predictions of one model each: a folder with fold_K/val_TTA.h5, a file, or a pattern\n\n"
                "The graph it runs is left in DIR/fit.json. A configuration whose files are in DIR, from the same predictions and options, is not fitted\n"
                "again: what was interrupted goes on when the same command is given. `flowrun describe stack_fit` tells all options.",
    };
    const char *files[FIT_FILES];
    uint32_t n;
    int status = fl_raw_read(&cmd, argc, argv, files, &n);
    if (status >= 0)
        return status;
    if (a.labels == NULL || a.folds == NULL || a.out == NULL)
        return fl_raw_wrong(&cmd, "want %s", a.labels == NULL ? "--labels TABLE" : a.folds == NULL ? "--folds TABLE" : "--out DIR");
    int threads = fit_threads(a.threads);
    if (threads == 0)
        return fl_raw_wrong(&cmd, "--threads %s, want a number from 1 to 1024", a.threads != NULL ? a.threads : "");
    json_t *graph = fit_graph(&a, n, files, threads);
    if (graph == NULL)
        return 2;
    if (mkdir(a.out, 0777) != 0 && errno != EEXIST) {
        fprintf(stderr, "flowrun fit: %s: %s\n", a.out, strerror(errno));
        status = 2;
    } else {
        status = fit_run(&a, graph);
    }
    json_decref(graph);
    return status;
}
