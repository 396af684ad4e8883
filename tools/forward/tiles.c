/* Tiles for the tool's commands: read from files, and painted into rows of a network's input as a run without augmentation does. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/dtype.h"
#include "proto/read_at.h"
#include "runtime/folds.h"
#include "runtime/model.h"
#include "runtime/text.h"
#include "stages/lib/views.h"
#include "tools/forward/tool.h"

#define TILES_LIMIT ((size_t)1 << 30)      /* bytes of a file */
#define TILES_SIDE  16384u

/* Which of the file's bands become the channels. */
static int tiles_bands(const char *bands, const char *want, uint32_t channels, uint8_t *from, struct fl_err *err)
{
    size_t n = strlen(bands);
    if (n < channels || n > FL_TIFF_BANDS || strspn(bands, want) != n)
        return fl_err_set(err, FL_E_CONFIG, "--file-bands: \"%.20s\", want %u to 4 of the letters r, g, b, n", bands, channels);
    for (uint32_t k = 0; k < channels; k++) {
        const char *at = strchr(bands, want[k]);
        if (at == NULL || strchr(at + 1, want[k]) != NULL)
            return fl_err_set(err, FL_E_CONFIG, "--file-bands: \"%s\" %s %c", bands, at == NULL ? "lacks" : "has twice", want[k]);
        from[k] = (uint8_t)(at - bands);
    }
    return FL_OK;
}

static int tiles_kind(struct fl_tool_tiles *t, const struct fl_plan *plan, const struct fl_tool_tiles_opts *o, struct fl_err *err)
{
    uint8_t from[FL_TIFF_BANDS] = { 0 };
    bool ngb = strcmp(plan->m.mode, "ngb") == 0, jpeg = plan->m.M == 255, tiff = ngb || !jpeg;
    if (ngb != (o->tifs != NULL))
        return fl_err_set(err, FL_E_CONFIG, ngb ? "--tifs: the network is for ngb: want the folder with ID.tif of each tile" : "--tifs is for a network for ngb, this one is for %s", plan->m.mode);
    int code = tiff ? tiles_bands(o->file_bands, ngb ? "ngbr" : "rgbn", plan->channels, from, err) : FL_OK;
    if (code != FL_OK)
        return code;
    t->tifs = o->tifs;
    if (jpeg)
        t->jpeg = fl_jpeg_new(false);
    if (tiff)
        t->tiff = fl_tiff_new((uint32_t)strlen(o->file_bands), from, plan->channels);
    if (ngb)
        t->match = fl_match_new();
    if ((jpeg && t->jpeg == NULL) || (tiff && t->tiff == NULL) || (ngb && t->match == NULL))
        return fl_err_set(err, FL_E_NOMEM, "no memory for a decoder");
    return FL_OK;
}

/* Leaves the training tiles of a fold: those of all others. */
static int tiles_split(struct fl_inputs *in, const char *table, int64_t fold, struct fl_err *err)
{
    struct fl_folds folds;
    int code = fl_folds_read(table, "fold", &folds, err);
    if (code != FL_OK)
        return code;
    uint8_t *keep = malloc(in->n + 1);
    if (keep == NULL)
        code = fl_err_set(err, FL_E_NOMEM, "no memory for %llu tiles", (unsigned long long)in->n);
    else if (fold >= folds.k)
        code = fl_err_set(err, FL_E_CONFIG, "--fold: %lld, but %s has folds 0 to %u", (long long)fold, table, folds.k - 1);
    for (uint64_t i = 0; code == FL_OK && i < in->n; i++) {
        size_t len;
        const char *id = fl_inputs_id(in, i, &len);
        int64_t row = fl_folds_find(&folds, id, len);
        if (row < 0)
            code = fl_err_set(err, FL_E_LABEL, "%s: no row for tile %.*s", table, (int)len, id);
        else
            keep[i] = folds.fold[row] != FL_NO_FOLD && folds.fold[row] != (uint32_t)fold;
    }
    if (code == FL_OK)
        fl_inputs_keep(in, keep);
    free(keep);
    fl_folds_free(&folds);
    return code;
}

static int tiles_list(struct fl_tool_tiles *t, const struct fl_tool_tiles_opts *o, struct fl_err *err)
{
    int code = FL_OK;
    if (o->tiles == NULL || o->tiles[0] == NULL)
        return fl_err_set(err, FL_E_CONFIG, "--tiles: want files, folders, patterns, archives or @LIST");
    if ((o->folds == NULL) != (o->fold < 0))
        return fl_err_set(err, FL_E_CONFIG, "--folds and --fold are given together");
    for (char *const *w = o->tiles; *w != NULL && code == FL_OK; w++)
        code = fl_inputs_add(&t->in, *w, err);
    if (code == FL_OK && (code = fl_inputs_check(&t->in, err)) == FL_OK)
        fl_inputs_sort(&t->in);
    if (code == FL_OK && o->folds != NULL)
        code = tiles_split(&t->in, o->folds, o->fold, err);
    if (code == FL_OK && t->in.n == 0)
        code = fl_err_set(err, FL_E_INPUT, "--tiles: no tile is left");
    return code;
}

int fl_tool_tiles_open(struct fl_tool_tiles *t, const struct fl_tool_tiles_opts *o, const struct fl_plan *plan, struct fl_err *err)
{
    *t = (struct fl_tool_tiles){ .channels = plan->channels, .size = plan->m.size };
    fl_inputs_init(&t->in, 4096);
    int code = tiles_list(t, o, err);
    if (code == FL_OK)
        code = tiles_kind(t, plan, o, err);
    return code == FL_OK ? fl_input_init(&t->input, plan->m.size, plan->channels, plan->m.M, plan->mean, plan->std, err) : code;
}

void fl_tool_tiles_done(struct fl_tool_tiles *t)
{
    fl_inputs_done(&t->in);
    fl_input_done(&t->input);
    fl_jpeg_free(t->jpeg);
    fl_tiff_free(t->tiff);
    fl_match_free(t->match);
    free(t->picture);
    free(t->bands);
    free(t->pixels);
}

/* A tile's bytes, of its own file or out of an archive. */
static int tiles_bytes(const struct fl_tool_tiles *t, uint64_t i, char **bytes, size_t *len, struct fl_err *err)
{
    const char *path = fl_inputs_at(&t->in, i), *slash = strrchr(path, '/');
    uint64_t off, span;
    fl_inputs_span(&t->in, i, &off, &span);
    if (span == 0)
        return fl_read_file(path, TILES_LIMIT, bytes, len, err);
    char *archive = strndup(path, (size_t)(slash - path));
    int fd = archive != NULL ? open(archive, O_RDONLY | O_CLOEXEC) : -1;
    free(archive);
    if (fd < 0)
        return fl_err_set(err, FL_E_INPUT, "%s: %s", path, strerror(errno));
    *bytes = span <= TILES_LIMIT ? malloc(span) : NULL;
    int code = *bytes != NULL ? fl_read_at(fd, off, *bytes, span, err) : fl_err_set(err, FL_E_NOMEM, "no memory for %llu bytes", (unsigned long long)span);
    close(fd);
    *len = span;
    if (code == FL_END)
        code = fl_err_set(err, FL_E_INPUT, "the archive is shorter than it was");
    if (code != FL_OK) {
        free(*bytes);
        *bytes = NULL;
        return fl_err_context(err, "%s", path);
    }
    return FL_OK;
}

/* The first tile says how large they all are, and so what part of them the network sees: the whole, or the centre. */
static int tiles_first(struct fl_tool_tiles *t, uint32_t w, uint32_t h, struct fl_err *err)
{
    struct fl_views v;
    struct fl_view_row row = { 0 };
    if (w != h || w > TILES_SIDE)
        return fl_err_set(err, FL_E_SHAPE, "%u x %u pixels, want a square of at most %u", w, h, TILES_SIDE);
    int code = fl_views_new(NULL, w, t->size, &v, err);
    if (code == FL_OK) {
        code = fl_views_row(&v, 0, 0, "", &row, err);
        fl_views_done(&v);
    }
    t->window = (struct fl_window){ row.g, row.x, row.y, row.w, row.h };
    size_t samples = (size_t)w * w * t->channels;
    t->pixels = code == FL_OK ? malloc(samples * (t->jpeg != NULL ? 1 : 2)) : NULL;
    if (t->tifs != NULL) {
        t->picture = malloc(samples);
        t->bands = malloc(samples * sizeof *t->bands);
    }
    if (code == FL_OK && (t->pixels == NULL || (t->tifs != NULL && (t->picture == NULL || t->bands == NULL))))
        code = fl_err_set(err, FL_E_NOMEM, "no memory for %u x %u pixels", w, w);
    t->side = code == FL_OK ? w : 0;
    return code;
}

static int tiles_decode(struct fl_tool_tiles *t, bool jpeg, const char *bytes, size_t len, struct fl_err *err)
{
    uint32_t w = 0, h = 0;
    int code = jpeg ? fl_jpeg_header(t->jpeg, bytes, len, &w, &h, err) : fl_tiff_header(t->tiff, bytes, len, &w, &h, err);
    if (code == FL_OK && t->side == 0)
        code = tiles_first(t, w, h, err);
    if (code == FL_OK && (w != t->side || h != t->side))
        code = fl_err_set(err, FL_E_SHAPE, "%u x %u pixels, but the first tile has %u x %u", w, h, t->side, t->side);
    if (code != FL_OK)
        return code;
    void *out = t->tifs == NULL ? t->pixels : jpeg ? (void *)t->picture : t->bands;
    return jpeg ? fl_jpeg_read(t->jpeg, out, err) : fl_tiff_read(t->tiff, out, err);
}

/* NIR, G and B of the tile's TIFF, brought to the range of its JPEG. */
static int tiles_match(struct fl_tool_tiles *t, uint64_t i, struct fl_err *err)
{
    char path[4200], *bytes = NULL;
    size_t len;
    const char *id = fl_inputs_id(&t->in, i, &len);
    if ((size_t)snprintf(path, sizeof path, "%s/%.*s.tif", t->tifs, (int)len, id) >= sizeof path)
        return fl_err_set(err, FL_E_INPUT, "%.200s...: a path over 4096 bytes", t->tifs);
    int code = fl_read_file(path, TILES_LIMIT, &bytes, &len, err);
    if (code != FL_OK)
        return code;
    code = tiles_decode(t, false, bytes, len, err);
    free(bytes);
    if (code != FL_OK)
        return fl_err_context(err, "%s", path);
    fl_match_bands(t->match, t->bands, t->picture, (size_t)t->side * t->side, t->pixels);
    return FL_OK;
}

int fl_tool_tiles_paint(struct fl_tool_tiles *t, uint64_t i, float *out, struct fl_err *err)
{
    char *bytes = NULL;
    size_t len;
    int code = tiles_bytes(t, i, &bytes, &len, err);
    if (code != FL_OK)
        return code;
    code = tiles_decode(t, t->jpeg != NULL, bytes, len, err);
    free(bytes);
    if (code == FL_OK && t->tifs != NULL)
        code = tiles_match(t, i, err);
    if (code == FL_OK)
        code = fl_input_paint(&t->input, &(struct fl_tile){ t->pixels, t->jpeg != NULL ? FL_U8 : FL_U16, t->side, t->side }, &t->window, out, err);
    return code == FL_OK ? FL_OK : fl_err_context(err, "%s", fl_inputs_at(&t->in, i));
}

int fl_tool_tiles_seen(const struct fl_tool_tiles *t, char hex[65], struct fl_err *err)
{
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    for (uint64_t i = 0; f != NULL && i < t->in.n; i++) {
        size_t len;
        const char *id = fl_inputs_id(&t->in, i, &len);
        fprintf(f, "%.*s\n", (int)len, id);
    }
    if (f == NULL || fclose(f) != 0) {
        free(text);
        return fl_err_set(err, FL_E_NOMEM, "no memory for the names of %llu tiles", (unsigned long long)t->in.n);
    }
    fl_sha256(text, size, hex);
    free(text);
    return FL_OK;
}
