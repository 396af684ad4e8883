/* flowrun stats: mean and deviation of each band over a set of tiles, as augment's normalise and a model's manifest have them. A graph of
 * source, decode and the stage stats, run as any other. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "launch/cmd.h"
#include "launch/folder.h"
#include "launch/graph.h"
#include "launch/mem.h"
#include "launch/run.h"
#include "runtime/text.h"

struct stats_args { const char *out, *mode, *tifs, *size, *file_bands, *folds, *fold, *fold_column, *instances, *memory; };

static const struct { const char *name, *value, *help; size_t off; } stats_flags[] = {
    { "--out", "JSON", "where the answer goes; needed", offsetof(struct stats_args, out) },
    { "--mode", "MODE", "of decode: rgb (default), rgbn (16-bit TIFFs) or ngb", offsetof(struct stats_args, mode) },
    { "--tifs", "FOLDER", "with ngb: the tiles' TIFFs", offsetof(struct stats_args, tifs) },
    { "--size", "N", "side of a tile (256)", offsetof(struct stats_args, size) },
    { "--file-bands", "BANDS", "order of the bands in a TIFF (bgrn)", offsetof(struct stats_args, file_bands) },
    { "--folds", "CSV", "table of folds: the tiles of fold --fold are left out", offsetof(struct stats_args, folds) },
    { "--fold", "N", "the fold that is held out", offsetof(struct stats_args, fold) },
    { "--fold-column", "NAME", "its column (fold)", offsetof(struct stats_args, fold_column) },
    { "--instances", "N", "of decode (1)", offsetof(struct stats_args, instances) },
    { "--memory", "SIZE", "of the graph (256MB)", offsetof(struct stats_args, memory) },
};
#define STATS_FLAGS (sizeof stats_flags / sizeof stats_flags[0])

static const char stats_usage[] = "usage: flowrun stats TILES... --out JSON [--mode rgb|rgbn|ngb] [--tifs FOLDER] [--size N] [--folds CSV --fold N]\n";

static int stats_wrong(const char *what, const char *word)
{
    fprintf(stderr, "flowrun stats: %s%s\n%s", what, word, stats_usage);
    return 2;
}

static int stats_help(void)
{
    printf("%s\nMeasures mean and standard deviation of each band over all pixels of a set of tiles.\n\n"
           "  TILES                files, patterns, folders, archives or @LIST, as the source's option files takes them\n", stats_usage);
    for (size_t i = 0; i < STATS_FLAGS; i++)
        printf("  %s %s%*s %s\n", stats_flags[i].name, stats_flags[i].value, (int)(19 - strlen(stats_flags[i].name) - strlen(stats_flags[i].value)), "", stats_flags[i].help);
    printf("  --help, --version\n\nExit status: 0 done, 1 failed, 2 the arguments are wrong, 3 done but for tiles that could not be read.\n");
    return 0;
}

/* One option and its value; 0, or the exit status. */
static int stats_option(int argc, char **argv, int *i, struct stats_args *a)
{
    const char *names[STATS_FLAGS + 1] = { NULL }, *eq = strchr(argv[*i], '=');
    size_t len = eq != NULL ? (size_t)(eq - argv[*i]) : strlen(argv[*i]);
    for (size_t k = 0; k < STATS_FLAGS; k++) {
        names[k] = stats_flags[k].name;
        if (strlen(names[k]) != len || memcmp(names[k], argv[*i], len) != 0)
            continue;
        if (eq == NULL && *i + 1 >= argc)
            return stats_wrong(names[k], " wants a value");
        *(const char **)(void *)((char *)a + stats_flags[k].off) = eq != NULL ? eq + 1 : argv[++*i];
        return 0;
    }
    const char *near = fl_nearest(argv[*i], names);
    fprintf(stderr, "flowrun stats: unknown option %s%s%s%s\n%s", argv[*i], near ? ", did you mean " : "", near ? near : "", near ? "?" : "", stats_usage);
    return 2;
}

static int stats_args(int argc, char **argv, struct stats_args *a, json_t *files)
{
    for (int i = 1; i < argc; i++) {
        int status = 0;
        if (strncmp(argv[i], "--", 2) == 0)
            status = stats_option(argc, argv, &i, a);
        else
            json_array_append_new(files, fl_need_str(argv[i]));
        if (status != 0)
            return status;
    }
    if (json_array_size(files) == 0 || a->out == NULL)
        return stats_wrong(a->out == NULL ? "want --out JSON" : "want TILES", "");
    if ((a->folds != NULL) != (a->fold != NULL))
        return stats_wrong("--folds and --fold go together", "");
    return 0;
}

/* An option whose value is text on the command line; the graph's check says what is wrong with it. */
static void stats_put(json_t *options, const char *key, const char *text, bool number)
{
    char *end = NULL;
    long long v = text != NULL && number ? strtoll(text, &end, 10) : 0;
    if (text != NULL)
        fl_need_put(options, key, number && *text != '\0' && *end == '\0' ? json_integer(v) : fl_need_str(text));
}

static json_t *stats_graph(const struct stats_args *a, json_t *files)
{
    json_t *source = fl_need_json(json_pack("{s:O, s:i}", "files", files, "batch", 16)), *decode = fl_need_json(json_object());
    stats_put(source, "folds", a->folds, false);
    stats_put(source, "fold", a->fold, true);
    stats_put(source, "fold_column", a->fold_column, false);
    if (a->folds != NULL)
        fl_need_put(source, "split", fl_need_str("train"));
    stats_put(decode, "mode", a->mode, false);
    stats_put(decode, "tifs", a->tifs, false);
    stats_put(decode, "size", a->size, true);
    stats_put(decode, "file_bands", a->file_bands, false);
    json_t *entry = fl_need_json(json_pack("{s:s, s:o}", "from", "tiles", "options", decode));
    stats_put(entry, "instances", a->instances, true);
    return fl_need_json(json_pack("{s:s, s:{s:{s:s, s:o}, s:o, s:{s:s, s:{s:s}}}}", "memory", a->memory != NULL ? a->memory : "256MB", "stages",
                                  "tiles", "stage", "source", "options", source, "decode", entry, "stats", "from", "decode", "options", "out", a->out));
}

static int stats_run(const struct stats_args *a, json_t *files)
{
    struct fl_folder tmp;
    struct fl_err err = { 0 };
    if (fl_folder_make("stats", &tmp, &err) != FL_OK) {
        fprintf(stderr, "flowrun stats: %s\n", err.text);
        return 1;
    }
    json_t *j = stats_graph(a, files);
    char *path = fl_need_text("%s/stats.json", tmp.path), *run = fl_need_text("%s/run", tmp.path), *complaints = NULL;
    struct fl_graph *g = NULL;
    int status = 1;
    if (json_dump_file(j, path, 0) != 0) {
        fprintf(stderr, "flowrun stats: %s: %s\n", path, strerror(errno));
    } else if (fl_graph_load(path, NULL, 0, &g, &complaints) != FL_OK) {
        fputs(complaints != NULL ? complaints : "", stderr);
        status = 2;
    } else {
        status = fl_run_graph(g, &(struct fl_run_conf){ .run_dir = run, .quiet = true });
    }
    fl_graph_free(g);
    free(complaints);
    fl_folder_done(&tmp);
    free(path);
    free(run);
    json_decref(j);
    return status;
}

static int stats_print(const char *path)
{
    json_error_t je;
    json_t *j = json_load_file(path, 0, &je);
    if (j == NULL) {
        fprintf(stderr, "flowrun stats: %s: %s\n", path, je.text);
        return 1;
    }
    printf("%lld tiles, %lld rejected\n%4s %9s %9s %12s %12s\n", (long long)json_integer_value(json_object_get(j, "tiles")),
           (long long)json_integer_value(json_object_get(j, "rejected")), "band", "mean", "std", "mean (DN)", "std (DN)");
    for (size_t c = 0; c < json_array_size(json_object_get(j, "mean")); c++)
        printf("%4zu %9.6f %9.6f %12.4f %12.4f\n", c, json_real_value(json_array_get(json_object_get(j, "mean"), c)), json_real_value(json_array_get(json_object_get(j, "std"), c)),
               json_real_value(json_array_get(json_object_get(j, "mean_dn"), c)), json_real_value(json_array_get(json_object_get(j, "std_dn"), c)));
    json_decref(j);
    return 0;
}

int fl_cmd_stats(int argc, char **argv)
{
    struct stats_args a = { 0 };
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0)
            return stats_help();
        if (strcmp(argv[i], "--version") == 0)
            return printf("flowrun %s\n", FL_VERSION) < 0;
    }
    json_t *files = fl_need_json(json_array());
    int status = stats_args(argc, argv, &a, files);
    if (status == 0)
        status = stats_run(&a, files);
    if (status == 0 || status == 3)
        status = stats_print(a.out) != 0 ? 1 : status;
    json_decref(files);
    return status;
}
