/* paint: writes sample tiles and their labels. */
#include "samples/paint.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <tiffio.h>

static const char paint_usage[] =
    "usage: paint --out DIR [option ...]\n"
    "Paints sample tiles into DIR/tiles/ID.jpg (with --tif also DIR/tif/ID.tif) and their labels into DIR/labels.csv.\n"
    "A tile depends on the seed and its id alone: the same bytes whatever --n and --first are.\n"
    "  --out DIR        where to write; made if it is not there\n"
    "  --n N            how many tiles (300)\n"
    "  --first N        number of the first (0); ids are sample_00000, sample_00001, ...\n"
    "  --seed N         seed of every draw (1)\n"
    "  --size N         side in pixels, 32..512 (256)\n"
    "  --layout L       mixed, raw4 (four components R,G,B,255 without markers) or rgb (plain JPEG) (mixed)\n"
    "  --floor P        least rate of a ground label, for training sets in which the rare ones are seen (0)\n"
    "  --tif            write 16-bit TIFs in the band order B,G,R,NIR too\n"
    "  --labels-only    write labels.csv alone\n"
    "  --help           this text\n";

struct paint_conf {
    const char *out;
    uint64_t    seed;
    uint32_t    n, first, size;
    float       floor;
    int         layout, tif, labels_only;
};

static int paint_mkdir(const char *path, struct fl_err *err)
{
    struct stat st;
    if (mkdir(path, 0777) == 0)
        return FL_OK;
    int why = errno;
    if (why == EEXIST && stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return FL_OK;
    return fl_err_set(err, FL_E_IO, "%s: %s", path, strerror(why));
}

static int paint_tile(struct canvas *c, const struct paint_conf *conf, const char *id, uint32_t labels, struct fl_err *err)
{
    char path[4096];
    int code = paint_scene(c, conf->seed, id, labels);
    if (code != FL_OK)
        return fl_err_set(err, code, "%s: labels out of range", id);
    snprintf(path, sizeof path, "%s/tiles/%s.jpg", conf->out, id);
    code = paint_write_jpeg(path, c, paint_pick_layout((enum paint_layout)conf->layout, conf->seed, id), err);
    if (code != FL_OK || !conf->tif)
        return code;
    snprintf(path, sizeof path, "%s/tif/%s.tif", conf->out, id);
    return paint_write_tif(path, c, err);
}

static int paint_all(const struct paint_conf *conf, FILE *csv, struct canvas *c, struct fl_err *err)
{
    fprintf(csv, "image_name,tags\n");
    for (uint32_t k = 0; k < conf->n; k++) {
        char id[32], tags[256];
        snprintf(id, sizeof id, "sample_%05u", conf->first + k);
        uint32_t labels = paint_labels(conf->seed, id, conf->floor);
        paint_tags(labels, tags, sizeof tags);
        fprintf(csv, "%s,%s\n", id, tags);
        int code = conf->labels_only ? FL_OK : paint_tile(c, conf, id, labels, err);
        if (code != FL_OK)
            return code;
    }
    return FL_OK;
}

static int paint_folders(const struct paint_conf *conf, struct fl_err *err)
{
    char path[4096];
    if (strlen(conf->out) > sizeof path - 64)
        return fl_err_set(err, FL_E_CONFIG, "--out: the path is too long");
    int code = paint_mkdir(conf->out, err);
    snprintf(path, sizeof path, "%s/tiles", conf->out);
    if (code == FL_OK && !conf->labels_only)
        code = paint_mkdir(path, err);
    snprintf(path, sizeof path, "%s/tif", conf->out);
    if (code == FL_OK && conf->tif && !conf->labels_only)
        code = paint_mkdir(path, err);
    return code;
}

/* labels.csv gets its name when all tiles are there, so that its presence says that the set is whole. */
static int paint_table(const struct paint_conf *conf, struct canvas *c, struct fl_err *err)
{
    char path[4096], part[4096];
    snprintf(path, sizeof path, "%s/labels.csv", conf->out);
    snprintf(part, sizeof part, "%s/labels.csv.part", conf->out);
    FILE *csv = fopen(part, "w");
    if (csv == NULL)
        return fl_err_set(err, FL_E_IO, "%s: %s", part, strerror(errno));
    int code = paint_all(conf, csv, c, err);
    int bad = ferror(csv);
    if ((fclose(csv) != 0 || bad) && code == FL_OK)
        code = fl_err_set(err, FL_E_IO, "%s: writing failed", part);
    if (code == FL_OK && rename(part, path) != 0)
        code = fl_err_set(err, FL_E_IO, "%s: %s", path, strerror(errno));
    return code;
}

static int paint_run(const struct paint_conf *conf, struct fl_err *err)
{
    struct canvas c;
    if (conf->out == NULL) {
        fl_err_set(err, FL_E_CONFIG, "--out is missing (see --help)");
        return FL_E_CONFIG;
    }
    int code = canvas_new(&c, conf->size, err);
    if (code != FL_OK)
        return code;
    code = paint_folders(conf, err);
    if (code == FL_OK)
        code = paint_table(conf, &c, err);
    canvas_free(&c);
    return code;
}

/* ---- command line ---- */

static int paint_number(const char *name, const char *text, uint64_t max, uint64_t *out, struct fl_err *err)
{
    char *end;
    errno = 0;
    unsigned long long v = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || v > max)
        return fl_err_set(err, FL_E_CONFIG, "--%s %s: want a whole number up to %llu", name, text, (unsigned long long)max);
    *out = v;
    return FL_OK;
}

static int paint_rate(const char *text, float *out, struct fl_err *err)
{
    char *end;
    float v = strtof(text, &end);
    if (end == text || *end != '\0' || !(v >= 0 && v <= 1))
        return fl_err_set(err, FL_E_CONFIG, "--floor %s: want a number in [0,1]", text);
    *out = v;
    return FL_OK;
}

static int paint_layout_name(const char *text, int *out, struct fl_err *err)
{
    static const char *const names[] = { [PAINT_MIXED] = "mixed", [PAINT_RAW4] = "raw4", [PAINT_RGB] = "rgb" };
    for (int k = 0; k < 3; k++)
        if (strcmp(text, names[k]) == 0) {
            *out = k;
            return FL_OK;
        }
    return fl_err_set(err, FL_E_CONFIG, "--layout %s: want mixed, raw4 or rgb", text);
}

/* Small values of getopt's `val` are ours, so that a switch reads by name. */
enum { PAINT_OUT = 1, PAINT_N, PAINT_FIRST, PAINT_SEED, PAINT_SIZE, PAINT_LAYOUT, PAINT_FLOOR, PAINT_TIF, PAINT_ONLY, PAINT_HELP };

static int paint_option(int opt, const char *name, const char *arg, struct paint_conf *conf, struct fl_err *err)
{
    uint64_t v = 0;
    int code = FL_OK;
    switch (opt) {
    case PAINT_OUT: conf->out = arg; return FL_OK;
    case PAINT_TIF: conf->tif = 1; return FL_OK;
    case PAINT_ONLY: conf->labels_only = 1; return FL_OK;
    case PAINT_LAYOUT: return paint_layout_name(arg, &conf->layout, err);
    case PAINT_FLOOR: return paint_rate(arg, &conf->floor, err);
    case PAINT_SEED: return paint_number(name, arg, UINT64_MAX, &conf->seed, err);
    default: code = paint_number(name, arg, opt == PAINT_SIZE ? 512 : 100000000, &v, err);
    }
    if (code != FL_OK)
        return code;
    *(opt == PAINT_N ? &conf->n : opt == PAINT_FIRST ? &conf->first : &conf->size) = (uint32_t)v;
    return FL_OK;
}

static int paint_parse(int argc, char **argv, struct paint_conf *conf, struct fl_err *err)
{
    static const struct option options[] = {
        { "out", required_argument, NULL, PAINT_OUT }, { "n", required_argument, NULL, PAINT_N },
        { "first", required_argument, NULL, PAINT_FIRST }, { "seed", required_argument, NULL, PAINT_SEED },
        { "size", required_argument, NULL, PAINT_SIZE }, { "layout", required_argument, NULL, PAINT_LAYOUT },
        { "floor", required_argument, NULL, PAINT_FLOOR }, { "tif", no_argument, NULL, PAINT_TIF },
        { "labels-only", no_argument, NULL, PAINT_ONLY }, { "help", no_argument, NULL, PAINT_HELP }, { 0 } };
    int opt, at = 0;
    opterr = 0;
    while ((opt = getopt_long(argc, argv, "", options, &at)) != -1) {
        if (opt == '?')
            return fl_err_set(err, FL_E_CONFIG, "%s: unknown, or its value is missing (see --help)", argv[optind - 1]);
        if (opt == PAINT_HELP)
            return FL_END;
        int code = paint_option(opt, options[at].name, optarg, conf, err);
        if (code != FL_OK)
            return code;
    }
    if (optind < argc)
        return fl_err_set(err, FL_E_CONFIG, "%s: not expected (see --help)", argv[optind]);
    return FL_OK;
}

int main(int argc, char **argv)
{
    struct paint_conf conf = { .seed = 1, .n = 300, .size = 256 };
    struct fl_err err = { 0 };
    TIFFSetErrorHandler(NULL);             /* what fails is said once, below */
    int code = paint_parse(argc, argv, &conf, &err);
    if (code == FL_END) {
        fputs(paint_usage, stdout);
        return 0;
    }
    if (code == FL_OK)
        code = paint_run(&conf, &err);
    if (code == FL_OK)
        return 0;
    fprintf(stderr, "paint: %s: %s\n", fl_status_name(code), err.text);
    return code == FL_E_CONFIG ? 2 : 1;
}
