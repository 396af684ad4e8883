/* decode: files into pixels.
 *
 * Takes id and path (with span: at span[1] bytes from span[0] of the archive that the path without its last step names); gives pixels [B,size,size,C]:
 * u8 R,G,B of JPEGs, u16 R,G,B,NIR of TIFFs, or u8 NIR,G,B of both files of a tile (mode ngb). What a file is, its first bytes say, not its name. A file that can't be decoded whole becomes a rejected row of zeros, never a partly grey tile. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/stage.h"
#include "stages/lib/fit.h"
#include "stages/lib/jpeg.h"
#include "stages/lib/match.h"
#include "stages/lib/tiff.h"

#define DECODE_PAGE 4096

enum { DECODE_TILES, DECODE_BYTES, DECODE_BAD, DECODE_EMPTY };
enum { DECODE_RGB, DECODE_RGBN, DECODE_NGB };
enum { DECODE_SIZE_NONE, DECODE_SIZE_FIT, DECODE_SIZE_RESIZE };
enum { DECODE_SKIP, DECODE_FAIL };
enum decode_kind { DECODE_JPEG, DECODE_TIFF, DECODE_OTHER };

struct decode {
    int      mode, allow_size, cmyk, on_bad_tile;
    bool     tif_rgb;
    int64_t  size, max_pixels;
    char    *file_bands, *tifs;

    struct fl_jpeg *jpeg;
    struct fl_tiff *tiff;
    struct fl_match *match;          /* ngb */
    uint8_t  *picture;               /* ngb: [size,size,3] of the JPEG, */
    uint16_t *bands;                 /* and n,g,b of the TIFF */
    uint32_t channels, sample;       /* of the output */
    char    *file;                   /* the file being decoded */
    size_t   len, file_room;
    void    *image;                  /* an image of another size than the tile's */
    size_t   image_room;
    bool     warned_empty;
};

/* ---- options ---- */

static bool decode_makes_u16(const struct decode *d)
{
    return d->mode == DECODE_RGBN || d->tif_rgb;
}

/* Which band of the file each of the image's is: r,g,b,n, or n,g,b. */
static int decode_bands(const struct decode *d, uint8_t from[FL_TIFF_BANDS], uint32_t *file_bands, struct fl_err *err)
{
    const char *want = d->mode == DECODE_NGB ? "ngbr" : "rgbn";
    size_t n = strlen(d->file_bands);
    if (n < 3 || n > FL_TIFF_BANDS || strspn(d->file_bands, want) != n)
        return fl_err_set(err, FL_E_CONFIG, "option file_bands: \"%.20s\", want 3 or 4 of the letters r, g, b, n", d->file_bands);
    for (uint32_t k = 0; k < FL_TIFF_BANDS; k++) {
        const char *at = strchr(d->file_bands, want[k]);
        if (at != NULL && strchr(at + 1, want[k]) != NULL)
            return fl_err_set(err, FL_E_CONFIG, "option file_bands: \"%s\" names %c twice", d->file_bands, want[k]);
        if (at == NULL && (k < 3 || d->mode == DECODE_RGBN))
            return fl_err_set(err, FL_E_CONFIG, "option file_bands: \"%s\" lacks %c", d->file_bands, want[k]);
        from[k] = at != NULL ? (uint8_t)(at - d->file_bands) : 0;
    }
    *file_bands = (uint32_t)n;
    return FL_OK;
}

static int decode_describe(struct fl_ctx *ctx)
{
    struct decode *d = ctx->state;
    struct fl_err err = { 0 };
    uint8_t from[FL_TIFF_BANDS];
    uint32_t n;
    if (decode_bands(d, from, &n, &err) != FL_OK)
        return fl_fail(ctx, err.code, "%s", err.text);
    if (d->mode != DECODE_RGB && d->tif_rgb)
        return fl_fail(ctx, FL_E_CONFIG, "option tif_rgb is for mode rgb");
    if ((d->mode == DECODE_NGB) != (d->tifs != NULL))
        return fl_fail(ctx, FL_E_CONFIG, d->tifs != NULL ? "option tifs is for mode ngb" : "mode ngb needs option tifs: the folder of the tiles' TIFFs");
    d->channels = d->mode == DECODE_RGBN ? 4 : 3;
    d->sample = decode_makes_u16(d) ? 2 : 1;
    fl_bind(ctx, 'H', (uint32_t)d->size);
    fl_bind(ctx, 'W', (uint32_t)d->size);
    fl_bind(ctx, 'C', d->channels);
    fl_bind_dtype(ctx, "pixels", d->sample == 2 ? FL_U16 : FL_U8);
    return FL_OK;
}

static int decode_open(struct fl_ctx *ctx)
{
    struct decode *d = ctx->state;
    int rc = decode_describe(ctx);
    if (rc != FL_OK)
        return rc;
    uint8_t from[FL_TIFF_BANDS];
    uint32_t n;
    struct fl_err err = { 0 };
    if ((rc = decode_bands(d, from, &n, &err)) != FL_OK)
        return fl_fail(ctx, rc, "%s", err.text);
    bool ngb = d->mode == DECODE_NGB, tif = ngb || decode_makes_u16(d), jpeg = ngb || !tif;
    if (tif)
        d->tiff = fl_tiff_new(n, from, d->channels);
    if (jpeg)
        d->jpeg = fl_jpeg_new(d->cmyk != 0);
    if (ngb) {
        size_t samples = (size_t)d->size * (size_t)d->size * d->channels;
        d->match = fl_match_new();
        d->picture = malloc(samples);
        d->bands = malloc(samples * sizeof *d->bands);
    }
    if ((tif && d->tiff == NULL) || (jpeg && d->jpeg == NULL) || (ngb && (d->match == NULL || d->picture == NULL || d->bands == NULL)))
        return fl_fail(ctx, FL_E_NOMEM, "no memory for a decoder");
    return FL_OK;
}

/* ---- reading ---- */

struct decode_span { uint64_t off, bytes; };      /* bytes 0: the whole file */

/* On a page: the kernel's copy out of its cache is a quarter faster there. */
static int decode_room(void **buf, size_t *room, size_t need, struct fl_err *err)
{
    if (need <= *room)
        return FL_OK;
    free(*buf);
    *room = 0;
    *buf = need <= SIZE_MAX - DECODE_PAGE ? aligned_alloc(DECODE_PAGE, (need + DECODE_PAGE - 1) / DECODE_PAGE * DECODE_PAGE) : NULL;
    if (*buf == NULL)
        return fl_err_set(err, FL_E_NOMEM, "no memory for %zu bytes", need);
    *room = need;
    return FL_OK;
}

/* A regular file's bytes, no more than an image of max_pixels could need. */
static int decode_size(struct decode *d, int fd, const struct decode_span *span, struct fl_err *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return fl_err_set(err, FL_E_INPUT, "%s", strerror(errno));
    if (!S_ISREG(st.st_mode))
        return fl_err_set(err, FL_E_INPUT, S_ISDIR(st.st_mode) ? "a folder, not a file" : "not a regular file");
    if (st.st_size == 0)
        return fl_err_set(err, FL_E_INPUT, "an empty file");
    uint64_t most = (uint64_t)d->max_pixels * 16 + (16u << 20);
    uint64_t size = (uint64_t)st.st_size;
    if (span->bytes > 0 && (span->bytes > size || span->off > size - span->bytes))
        return fl_err_set(err, FL_E_INPUT, "%llu bytes from %llu of an archive of %llu: it has changed", (unsigned long long)span->bytes,
                          (unsigned long long)span->off, (unsigned long long)size);
    size = span->bytes > 0 ? span->bytes : size;
    if (size > most)
        return fl_err_set(err, FL_E_INPUT, "a file of %llu bytes, at most %llu make sense", (unsigned long long)size, (unsigned long long)most);
    d->len = (size_t)size;
    size_t need = (d->len + 65535) / 65536 * 65536;
    void *buf = d->file;
    int rc = decode_room(&buf, &d->file_room, need, err);
    d->file = buf;
    return rc;
}

static int decode_fill(struct decode *d, int fd, uint64_t off, struct fl_err *err)
{
    for (size_t at = 0; at < d->len; ) {
        ssize_t got = pread(fd, d->file + at, d->len - at, (off_t)(off + at));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fl_err_set(err, FL_E_INPUT, "%s", strerror(errno));
        if (got == 0)
            return fl_err_set(err, FL_E_INPUT, "ends at byte %zu of %zu while being read", at, d->len);
        at += (size_t)got;
    }
    return FL_OK;
}

static int decode_read_file(struct decode *d, const char *path, const struct decode_span *span, struct fl_err *err)
{
    char archive[4200];
    const char *slash = strrchr(path, '/');
    if (span->bytes > 0) {
        if (slash == NULL || (size_t)(slash - path) >= sizeof archive)
            return fl_err_set(err, FL_E_INPUT, "a span, but no archive in the path");
        memcpy(archive, path, (size_t)(slash - path));
        archive[slash - path] = '\0';
        path = archive;
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);      /* a pipe in a folder of tiles must not hold up the run */
    if (fd < 0) {
        bool ours = errno == EMFILE || errno == ENFILE || errno == ENOMEM;
        return fl_err_set(err, ours ? FL_E_IO : FL_E_INPUT, "%s", strerror(errno));
    }
    int rc = decode_size(d, fd, span, err);
    if (rc == FL_OK)
        rc = decode_fill(d, fd, span->off, err);
    close(fd);
    return rc;
}

/* ---- one tile ---- */

static enum decode_kind decode_sniff(const char *p, size_t len)
{
    if (len >= 2 && memcmp(p, "\xFF\xD8", 2) == 0)
        return DECODE_JPEG;
    if (len >= 4 && (memcmp(p, "II*\0", 4) == 0 || memcmp(p, "MM\0*", 4) == 0 || memcmp(p, "II+\0", 4) == 0 || memcmp(p, "MM\0+", 4) == 0))
        return DECODE_TIFF;
    return DECODE_OTHER;
}

static int decode_kind_check(const struct decode *d, enum decode_kind want, struct fl_err *err)
{
    enum decode_kind kind = decode_sniff(d->file, d->len);
    if (kind == want)
        return FL_OK;
    if (kind == DECODE_OTHER)
        return fl_err_set(err, FL_E_INPUT, "neither JPEG nor TIFF by its first bytes");
    if (d->mode == DECODE_NGB)
        return fl_err_set(err, FL_E_INPUT, want == DECODE_JPEG ? "a TIFF where mode ngb wants the JPEG" : "a JPEG where mode ngb wants the TIFF");
    return fl_err_set(err, FL_E_INPUT, kind == DECODE_JPEG ? "a JPEG, but 16-bit TIFFs are decoded here"
                                                           : "a TIFF, but mode is rgb (tif_rgb: true takes its r, g, b bands)");
}

static int decode_header(struct decode *d, enum decode_kind kind, uint32_t *w, uint32_t *h, struct fl_err *err)
{
    int rc = kind == DECODE_TIFF ? fl_tiff_header(d->tiff, d->file, d->len, w, h, err) : fl_jpeg_header(d->jpeg, d->file, d->len, w, h, err);
    if (rc != FL_OK)
        return rc;
    if ((uint64_t)*w * *h > (uint64_t)d->max_pixels)
        return fl_err_set(err, FL_E_INPUT, "%u x %u pixels, more than max_pixels (%lld)", *w, *h, (long long)d->max_pixels);
    if (d->allow_size == DECODE_SIZE_NONE && (*w != d->size || *h != d->size))
        return fl_err_set(err, FL_E_SHAPE, "%u x %u, want %lld x %lld (allow_size: fit or resize brings it there)", *w, *h,
                          (long long)d->size, (long long)d->size);
    return FL_OK;
}

static int decode_pixels(struct decode *d, enum decode_kind kind, void *out, struct fl_err *err)
{
    return kind == DECODE_TIFF ? fl_tiff_read(d->tiff, out, err) : fl_jpeg_read(d->jpeg, out, err);
}

static int decode_other_size(struct decode *d, enum decode_kind kind, uint32_t w, uint32_t h, void *out, struct fl_err *err)
{
    const uint32_t sample = kind == DECODE_TIFF ? 2 : 1;
    int rc = decode_room(&d->image, &d->image_room, (size_t)w * h * d->channels * sample, err);
    if (rc == FL_OK)
        rc = decode_pixels(d, kind, d->image, err);
    if (rc != FL_OK)
        return rc;
    const struct fl_image im = { d->image, w, h, d->channels, sample };
    if (d->allow_size == DECODE_SIZE_RESIZE)
        return fl_fit_resize(&im, (uint32_t)d->size, out, err);
    fl_fit_cut(&im, (uint32_t)d->size, out);
    return FL_OK;
}

static int decode_image(struct decode *d, enum decode_kind kind, const char *path, const struct decode_span *span, void *out, struct fl_err *err)
{
    uint32_t w, h;
    int rc = decode_read_file(d, path, span, err);
    if (rc == FL_OK)
        rc = decode_kind_check(d, kind, err);
    if (rc == FL_OK)
        rc = decode_header(d, kind, &w, &h, err);
    if (rc != FL_OK)
        return rc;
    return w == d->size && h == d->size ? decode_pixels(d, kind, out, err) : decode_other_size(d, kind, w, h, out, err);
}

/* The JPEG at the path, and the TIFF of the same name in the folder of TIFFs. */
static int decode_ngb(struct decode *d, const char *id, const char *path, const struct decode_span *span, uint8_t *out, struct fl_err *err)
{
    char tif[4200];
    size_t bytes = 0;
    int rc = decode_image(d, DECODE_JPEG, path, span, d->picture, err);
    if (rc != FL_OK)
        return rc;
    bytes = d->len;
    if ((size_t)snprintf(tif, sizeof tif, "%s/%s.tif", d->tifs, id) >= sizeof tif)
        return fl_err_set(err, FL_E_INPUT, "%.200s...: a path over 4096 bytes", d->tifs);
    rc = decode_image(d, DECODE_TIFF, tif, &(struct decode_span){ 0, 0 }, d->bands, err);
    if (rc != FL_OK)
        return fl_err_context(err, "%s.tif", id);
    d->len += bytes;
    fl_match_bands(d->match, d->bands, d->picture, (size_t)d->size * (size_t)d->size, out);
    return FL_OK;
}

static int decode_tile(struct decode *d, const char *id, const char *path, const struct decode_span *span, void *out, struct fl_err *err)
{
    if (d->mode == DECODE_NGB)
        return decode_ngb(d, id, path, span, out, err);
    return decode_image(d, d->tiff != NULL ? DECODE_TIFF : DECODE_JPEG, path, span, out, err);
}

/* ---- a batch ---- */

static bool decode_is_empty(const unsigned char *p, size_t n)
{
    return p[0] == 0 && memcmp(p, p + 1, n - 1) == 0;
}

static void decode_count(struct fl_ctx *ctx, const char *path, const void *pixels, size_t bytes)
{
    struct decode *d = ctx->state;
    fl_count(ctx, DECODE_TILES, 1);
    fl_count(ctx, DECODE_BYTES, d->len);
    if (!decode_is_empty(pixels, bytes))
        return;
    fl_count(ctx, DECODE_EMPTY, 1);
    if (!d->warned_empty)
        fl_warn(ctx, "%s: all pixels are 0 (no data); further such tiles are only counted", path);
    d->warned_empty = true;
}

/* The end of a long path: the text of a rejected row is short, and the reason must not be cut off. */
static const char *decode_short(const char *path, char text[96])
{
    size_t len = strlen(path);
    if (len < 96)
        return path;
    snprintf(text, 96, "...%s", path + len - 92);
    return text;
}

static int decode_row(struct fl_ctx *ctx, struct fl_batch *b, uint32_t row, const struct fl_tensor *paths, const uint64_t *spans, unsigned char *out,
                      size_t bytes)
{
    struct decode *d = ctx->state;
    struct fl_err err = { 0 };
    const char *path = (const char *)paths->data + (size_t)row * paths->shape[1];
    struct decode_span span = { 0, 0 };
    if (spans != NULL)
        memcpy(&span, spans + 2 * (size_t)row, sizeof span);
    if (fl_rejected(b, row) != 0) {
        memset(out, 0, bytes);
        return FL_OK;
    }
    int rc = memchr(path, '\0', paths->shape[1]) == NULL ? FL_E_PROTO : decode_tile(d, fl_id(b, row), path, &span, out, &err);
    if (rc == FL_OK) {
        decode_count(ctx, path, out, bytes);
        return FL_OK;
    }
    memset(out, 0, bytes);
    if (rc == FL_E_PROTO)
        return fl_fail(ctx, rc, "batch %llu, row %u: a path without an end", (unsigned long long)b->batch, row);
    if (d->on_bad_tile == DECODE_FAIL || (rc != FL_E_INPUT && rc != FL_E_SHAPE))
        return fl_fail(ctx, rc, "%s: %s", path, err.text);
    fl_count(ctx, DECODE_BAD, 1);
    char text[96];
    return fl_reject(ctx, b, row, rc, "%s: %s", decode_short(path, text), err.text);
}

static int decode_batch(struct fl_ctx *ctx, struct fl_batch *b)
{
    struct decode *d = ctx->state;
    const struct fl_tensor paths = *fl_in(b, "path");
    uint32_t size = (uint32_t)d->size;
    size_t bytes = (size_t)size * size * d->channels * d->sample;
    const uint64_t *spans = fl_in(b, "span") != NULL ? fl_in(b, "span")->data : NULL;
    fl_batch_drop(b, "path");
    fl_batch_drop(b, "span");
    unsigned char *out = fl_out(ctx, b, "pixels", d->sample == 2 ? FL_U16 : FL_U8, 4, (uint32_t[]){ b->n, size, size, d->channels });
    int rc = out != NULL ? FL_OK : FL_E_BUG;
    for (uint32_t i = 0; rc == FL_OK && i < b->n; i++) {
        rc = decode_row(ctx, b, i, &paths, spans, out + i * bytes, bytes);
        fl_alive(ctx);
    }
    if (rc != FL_OK) {
        fl_free(ctx, &b);
        return rc;
    }
    return fl_emit(ctx, &b);
}

static void decode_close(struct fl_ctx *ctx)
{
    struct decode *d = ctx->state;
    fl_jpeg_free(d->jpeg);
    fl_tiff_free(d->tiff);
    fl_match_free(d->match);
    free(d->picture);
    free(d->bands);
    free(d->file);
    free(d->image);
}

static const struct fl_opt decode_opts[] = {
    { .name = "mode", .type = FL_OPT_CHOICE, .off = offsetof(struct decode, mode), .def = "rgb", .choices = "rgb|rgbn|ngb",
      .help = "rgb: JPEGs to u8 R,G,B; rgbn: 16-bit TIFFs to u16 R,G,B,NIR; ngb: JPEGs and their TIFFs to u8 NIR,G,B in the JPEG's range" },
    { .name = "tif_rgb", .type = FL_OPT_BOOL, .off = offsetof(struct decode, tif_rgb), .def = "false",
      .help = "with mode rgb: take the r, g, b bands of 16-bit TIFFs (u16) instead of JPEGs" },
    { .name = "tifs", .type = FL_OPT_PATH, .off = offsetof(struct decode, tifs), .help = "with mode ngb: the folder in which the 16-bit TIFF of each tile lies, ID.tif" },
    { .name = "size", .type = FL_OPT_INT, .off = offsetof(struct decode, size), .def = "256", .min = 1, .max = 16384, .help = "side of a tile in pixels" },
    { .name = "allow_size", .type = FL_OPT_CHOICE, .off = offsetof(struct decode, allow_size), .def = "none", .choices = "none|fit|resize",
      .help = "tiles of another size: refused; cut out of the centre, missing edges mirrored; or resized bilinearly" },
    { .name = "file_bands", .type = FL_OPT_STR, .off = offsetof(struct decode, file_bands), .def = "bgrn", .help = "order of the bands in a TIFF" },
    { .name = "cmyk", .type = FL_OPT_CHOICE, .off = offsetof(struct decode, cmyk), .def = "refuse", .choices = "refuse|convert",
      .help = "JPEGs with 4 components that are not plain R,G,B,255" },
    { .name = "on_bad_tile", .type = FL_OPT_CHOICE, .off = offsetof(struct decode, on_bad_tile), .def = "skip", .choices = "skip|fail",
      .help = "a tile that can't be decoded: mark it as rejected, or stop the run" },
    { .name = "max_pixels", .type = FL_OPT_INT, .off = offsetof(struct decode, max_pixels), .def = "64000000", .min = 1, .max = 4e9,
      .help = "a larger image is refused by its header, before anything is allocated" },
    { 0 }
};

static const struct fl_spec decode_in[] = {
    { "id", "u8", "B,64", 0 },
    { "path", "u8", "B,P", FL_TAKEN },
    { "span", "u64", "B,2", FL_OPTIONAL | FL_TAKEN },
    { 0 }
};

static const struct fl_spec decode_out[] = {
    { "pixels", "u8|u16", "B,H,W,C", 0 },
    { 0 }
};

static const struct fl_port decode_ports[] = {
    { "in", FL_IN, decode_in },
    { "out", FL_OUT, decode_out },
    { 0 }
};

static const char *const decode_counters[] = { "tiles", "bytes", "bad", "empty_tiles", NULL };

extern const struct fl_stage fl_stage_decode;
const struct fl_stage fl_stage_decode = {
    .name = "decode",
    .help = "Decodes JPEG and 16-bit TIFF files into pixels.",
    .state_size = sizeof(struct decode),
    .opts = decode_opts,
    .ports = decode_ports,
    .counters = decode_counters,
    .describe = decode_describe,
    .open = decode_open,
    .batch = decode_batch,
    .close = decode_close,
};
