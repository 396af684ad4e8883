/* TIFF: every layout by libtiff with known values, what is refused, and damage that must not pass. */
#include "stages/lib/tiff.h"

#include <tiffio.h>

#include "stages/lib/tiff_rows.h"
#include "tests/lib/check.h"
#include "tests/lib/tiff_agree.h"
#include "tests/lib/tiff_write.h"

/* Band b of pixel i: known without any table. */
static uint16_t value(size_t i, uint32_t band)
{
    return (uint16_t)(i * 40503u + band * 10007u + i / 7);
}

static uint16_t *values(uint32_t w, uint32_t h, uint32_t bands)
{
    uint16_t *p = malloc((size_t)w * h * bands * 2);
    for (size_t i = 0; p != NULL && i < (size_t)w * h * bands; i++)
        p[i] = value(i / bands, (uint32_t)(i % bands));
    return p;
}

static int decode(uint32_t file_bands, const uint8_t *from, uint32_t out_bands, const uint8_t *tif, size_t len, uint16_t *out, size_t room, struct fl_err *err)
{
    uint32_t w, h;
    struct fl_tiff *t = fl_tiff_new(file_bands, from, out_bands);
    int rc = fl_tiff_header(t, tif, len, &w, &h, err);
    if (rc == FL_OK && (uint64_t)w * h * out_bands > room)
        rc = fl_err_set(err, FL_E_SHAPE, "too large");
    if (rc == FL_OK)
        rc = fl_tiff_read(t, out, err);
    fl_tiff_free(t);
    return rc;
}

static const uint8_t bgrn[4] = { 2, 1, 0, 3 };

/* Any band order, in place of a block of exactly the file's size. */
static bool layout_ok(const struct fl_tiff_kind *k, const uint8_t *from, uint32_t out_bands, struct fl_err *err)
{
    size_t len, n = (size_t)k->width * k->height;
    uint16_t *pic = values(k->width, k->height, k->bands), *out = calloc(n * out_bands, 2);
    uint8_t *tif = fl_tiff_write(k, pic, &len);
    bool ok = decode(k->bands, from, out_bands, tif, len, out, n * out_bands, err) == FL_OK;
    for (size_t i = 0; ok && i < n; i++)
        for (uint32_t b = 0; b < out_bands; b++)
            ok &= out[i * out_bands + b] == value(i, from[b]);
    free(pic); free(out); free(tif);
    return ok;
}

FL_TEST(every_layout)
{
    static const int packing[] = { COMPRESSION_NONE, COMPRESSION_LZW, COMPRESSION_ADOBE_DEFLATE, COMPRESSION_DEFLATE, COMPRESSION_PACKBITS };
    static const struct { uint32_t w, h; } sizes[] = { { 256, 256 }, { 1, 1 }, { 37, 53 }, { 16, 33 } };
    int seen = 0;
    for (size_t p = 0; p < 5; p++)
        for (int mask = 0; mask < 16; mask++)
            for (size_t s = 0; s < 4; s++)
                for (int lay = 0; lay < 4; lay++) {
                    int pack = packing[p];
                    struct fl_tiff_kind k = { sizes[s].w, sizes[s].h, mask & 1 ? 3 : 4, .packing = pack, .planar = mask & 2, .swapped = mask & 4, .bigtiff = mask & 8 };
                    k.predictor = pack != COMPRESSION_NONE && pack != COMPRESSION_PACKBITS && lay % 2 ? 2 : 0;
                    k.rows = lay == 1 ? 1 : lay == 2 ? 7 : 0;
                    k.tile = lay == 3 ? 32 : 0;
                    struct fl_err err = { 0 };
                    if (!layout_ok(&k, bgrn, mask & 1 ? 3 : 4, &err)) {
                        fl_fail_at(__FILE__, __LINE__, "packing %d, mask %d, %u x %u, layout %d: %s", pack, mask, k.width, k.height, lay, err.text);
                        return;
                    }
                    seen++;
                }
    CHECK_INT(seen, 1280);
}

FL_TEST(band_orders)
{
    static const uint8_t orders[][4] = { { 0, 1, 2, 3 }, { 3, 2, 1, 0 }, { 1, 3, 0, 2 }, { 2, 1, 0, 3 } };
    for (size_t i = 0; i < 4; i++)
        for (int planar = 0; planar < 2; planar++)
            for (uint32_t out = 3; out <= 4; out++) {
                struct fl_tiff_kind k = { 19, 11, 4, .planar = planar, .format = SAMPLEFORMAT_UINT };
                struct fl_err err = { 0 };
                CHECK(layout_ok(&k, orders[i], out, &err));
            }
}

FL_TEST(refusals)
{
    static const struct { struct fl_tiff_kind k; int code; const char *want; } t[] = {
        { { 16, 16, 3, .bits = 16 }, FL_E_SHAPE, "3 bands, want 4" },
        { { 16, 16, 1, .bits = 16 }, FL_E_SHAPE, "1 bands, want 4" },
        { { 16, 16, 4, .bits = 8 }, FL_E_SHAPE, "8-bit samples" },
        { { 16, 16, 4, .bits = 32 }, FL_E_SHAPE, "32-bit samples" },
        { { 16, 16, 4, .format = SAMPLEFORMAT_INT }, FL_E_SHAPE, "format 2" },
        { { 16, 16, 4, .packing = COMPRESSION_LZMA }, FL_E_INPUT, "compression 34925" },
        { { 16, 16, 4, .photometric = PHOTOMETRIC_SEPARATED }, FL_E_INPUT, "photometric interpretation 5" },
        { { 16, 16, 4, .orientation = ORIENTATION_BOTLEFT }, FL_E_INPUT, "orientation 4" },
    };
    uint8_t *pixels = calloc(16 * 16 * 4, 4);
    uint16_t out[16 * 16 * 4];
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        size_t len;
        uint8_t *tif = fl_tiff_write(&t[i].k, pixels, &len);
        struct fl_err err = { 0 };
        CHECK_INT(decode(4, bgrn, 4, tif, len, out, sizeof out / 2, &err), t[i].code);
        CHECK_HAS(err.text, t[i].want);
        free(tif);
    }
    free(pixels);
}

FL_TEST(no_prefix_passes)
{
    static const struct fl_tiff_kind kinds[] = {
        { 20, 20, 4, .rows = 3 }, { 20, 20, 4, .packing = COMPRESSION_LZW, .rows = 20 }, { 20, 20, 4, .packing = COMPRESSION_ADOBE_DEFLATE, .rows = 20 },
        { 20, 20, 4, .packing = COMPRESSION_PACKBITS, .rows = 5 }, { 20, 20, 4, .tile = 16 }, { 20, 20, 4, .planar = true, .rows = 20 },
        { 20, 20, 4, .bigtiff = true, .swapped = true },
    };
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        size_t len;
        uint16_t *pic = values(20, 20, 4), out[1600], whole[1600];
        uint8_t *tif = fl_tiff_write(&kinds[i], pic, &len);
        struct fl_err err = { 0 };
        CHECK_OK(decode(4, bgrn, 4, tif, len, whole, 1600, &err), err);
        for (size_t cut = 0; cut < len; cut++) {
            uint8_t *part = malloc(cut + 1);
            memcpy(part, tif, cut);
            memset(out, 0, sizeof out);
            int rc = decode(4, bgrn, 4, part, cut, out, 1600, &err);
            /* libtiff's own directory stands last: cutting its tail may only lose tags that say nothing here. */
            CHECK(rc == FL_E_INPUT || rc == FL_E_SHAPE || (rc == FL_OK && memcmp(out, whole, sizeof out) == 0));
            CHECK(cut >= len / 2 || rc != FL_OK);
            free(part);
        }
        free(pic); free(tif);
    }
}

FL_TEST(flipped_bytes_end_in_an_error_or_an_image)
{
    static const struct fl_tiff_kind kinds[] = {
        { 12, 12, 4, .rows = 3 }, { 12, 12, 4, .packing = COMPRESSION_LZW, .predictor = 2, .rows = 4 }, { 12, 12, 4, .packing = COMPRESSION_ADOBE_DEFLATE },
        { 12, 12, 4, .packing = COMPRESSION_PACKBITS, .planar = true }, { 12, 12, 4, .tile = 16, .swapped = true },
    };
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        size_t len, room = 1 << 20;
        uint16_t *pic = values(12, 12, 4), *out = malloc(2 * room);
        uint8_t *tif = fl_tiff_write(&kinds[i], pic, &len), *bad = malloc(len);
        for (size_t at = 0; at < len; at++)
            for (int how = 0; how < 4; how++) {
                struct fl_err err = { 0 };
                memcpy(bad, tif, len);
                bad[at] = how == 0 ? (uint8_t)(bad[at] ^ 1) : how == 1 ? 0xFF : how == 2 ? 0 : (uint8_t)(bad[at] + 0x40);
                int rc = decode(4, bgrn, 4, bad, len, out, room, &err);
                CHECK(rc == FL_OK || ((rc == FL_E_INPUT || rc == FL_E_SHAPE) && err.text[0] != '\0'));
            }
        free(pic); free(out); free(tif); free(bad);
    }
}

/* The value of a tag of type LONG or SHORT with one value or an array, in a little-endian classic file. */
static uint8_t *entry(uint8_t *tif, uint16_t tag)
{
    uint32_t dir = (uint32_t)tif[4] | (uint32_t)tif[5] << 8 | (uint32_t)tif[6] << 16;
    uint32_t n = tif[dir];
    for (uint32_t i = 0; i < n; i++) {
        uint8_t *e = tif + dir + 2 + 12 * i;
        if ((e[0] | e[1] << 8) == tag)
            return e;
    }
    abort();
}

static void poke32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> 8 * i);
}

static uint32_t peek32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

FL_TEST(damaged_strip_offsets)
{
    struct fl_tiff_kind k = { 64, 64, 4, .rows = 32 };
    size_t len;
    uint16_t *pic = values(64, 64, 4), *out = malloc(64 * 64 * 8);
    uint8_t *tif = fl_tiff_write(&k, pic, &len), *bad = malloc(len);
    uint32_t offs = peek32(entry(tif, TIFFTAG_STRIPOFFSETS) + 8);          /* two values: an array elsewhere */
    uint32_t first = peek32(tif + offs);
    const struct { uint32_t off; const char *want; } t[] = {
        { 0, "lies at 0" }, { 4, "lies at 4" }, { (uint32_t)len, "lies at" }, { UINT32_MAX, "lies at" }, { first, "overlap" }, { first + 16383, "overlap" },
        { (uint32_t)len - 100, "lies at" }, { (uint32_t)len - 16384, "overlap" },
    };
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        struct fl_err err = { 0 };
        memcpy(bad, tif, len);
        poke32(bad + offs + 4, t[i].off);
        CHECK_INT(decode(4, bgrn, 4, bad, len, out, 64 * 64 * 4, &err), FL_E_INPUT);
        CHECK_HAS(err.text, t[i].want);
    }
    free(pic); free(out); free(tif); free(bad);
}

FL_TEST(strips_out_of_order_are_followed)
{
    struct fl_tiff_kind k = { 64, 64, 4, .rows = 32 };
    size_t len, half = 64 * 32 * 8;
    uint16_t *pic = values(64, 64, 4), *out = malloc(64 * 64 * 8);
    uint8_t *tif = fl_tiff_write(&k, pic, &len), *keep = malloc(half);
    uint32_t offs = peek32(entry(tif, TIFFTAG_STRIPOFFSETS) + 8), a = peek32(tif + offs), b = peek32(tif + offs + 4);
    memcpy(keep, tif + a, half);
    memmove(tif + a, tif + b, half);
    memcpy(tif + b, keep, half);
    poke32(tif + offs, b);
    poke32(tif + offs + 4, a);
    struct fl_err err = { 0 };
    CHECK_OK(decode(4, bgrn, 4, tif, len, out, 64 * 64 * 4, &err), err);
    for (size_t i = 0; i < 64 * 64; i++)
        CHECK_INT(out[4 * i], value(i, 2));
    free(pic); free(out); free(tif); free(keep);
}

FL_TEST(short_strips)
{
    struct fl_tiff_kind k = { 64, 64, 4, .rows = 32 };
    size_t len;
    uint16_t *pic = values(64, 64, 4), *out = malloc(64 * 64 * 8);
    uint8_t *tif = fl_tiff_write(&k, pic, &len), *e = entry(tif, TIFFTAG_STRIPBYTECOUNTS);
    if (e[2] == 3)                                  /* two SHORTs in the entry itself */
        e[10] = (uint8_t)(e[10] - 2), e[11] = 63;
    else
        poke32(tif + peek32(e + 8) + 4, 16382);
    struct fl_err err = { 0 };
    CHECK_INT(decode(4, bgrn, 4, tif, len, out, 64 * 64 * 4, &err), FL_E_INPUT);
    CHECK_HAS(err.text, "bytes, want 16384");
    free(pic); free(out); free(tif);
}

/* A directory with a doubt in it (here: the planar configuration as a LONG) is libtiff's, which would put right in silence what a plain file's counts say. */
FL_TEST(lying_counts_are_told_by_libtiff_too)
{
    static const uint32_t lies[] = { 0, 8190, 1u << 20, UINT32_MAX };
    struct fl_tiff_kind k = { 64, 64, 4, .rows = 16 };
    size_t len;
    uint16_t *pic = values(64, 64, 4), *out = malloc(64 * 64 * 8);
    uint8_t *tif = fl_tiff_write(&k, pic, &len), *e = entry(tif, TIFFTAG_STRIPBYTECOUNTS), *counts = tif + peek32(e + 8);
    entry(tif, TIFFTAG_PLANARCONFIG)[2] = 4;
    struct fl_err err = { 0 };
    CHECK_OK(decode(4, bgrn, 4, tif, len, out, 64 * 64 * 4, &err), err);
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        if (e[2] == 4)
            poke32(counts, lies[i]);
        else
            counts[0] = (uint8_t)lies[i], counts[1] = (uint8_t)(lies[i] >> 8);
        CHECK_INT(decode(4, bgrn, 4, tif, len, out, 64 * 64 * 4, &err), FL_E_INPUT);
        CHECK_HAS(err.text, "strip 0 ");
    }
    free(pic); free(out); free(tif);
}

/* 2^31 rows of one pixel in a strip of as many rows: sums of sides don't fit 32 bits. */
FL_TEST(a_strip_of_absurd_height)
{
    struct fl_tiff_kind k = { 1, 8, 4, .rows = 8 };
    size_t len;
    uint16_t *pic = values(1, 8, 4), out[32];
    uint8_t *tif = fl_tiff_write(&k, pic, &len);
    uint32_t w = 0, h = 0;
    struct fl_err err = { 0 };
    static const uint16_t tags[] = { TIFFTAG_IMAGELENGTH, TIFFTAG_ROWSPERSTRIP };
    for (int i = 0; i < 2; i++) {
        entry(tif, tags[i])[2] = 4;
        poke32(entry(tif, tags[i]) + 8, 1u << 31);
    }
    struct fl_tiff *t = fl_tiff_new(4, bgrn, 4);
    CHECK_OK(fl_tiff_header(t, tif, len, &w, &h, &err), err);
    CHECK_INT(fl_tiff_read(t, out, &err), FL_E_INPUT);
    fl_tiff_free(t);
    free(pic); free(tif);
}

FL_TEST(an_image_of_absurd_size)
{
    struct fl_tiff_kind k = { 8, 8, 4, .rows = 8 };
    size_t len;
    uint16_t *pic = values(8, 8, 4);
    uint8_t *tif = fl_tiff_write(&k, pic, &len);
    uint32_t w = 0, h = 0;
    struct fl_err err = { 0 };
    uint8_t *e = entry(tif, TIFFTAG_IMAGEWIDTH);
    e[2] = 4;
    poke32(e + 8, 3000000000u);
    struct fl_tiff *t = fl_tiff_new(4, bgrn, 4);
    int rc = fl_tiff_header(t, tif, len, &w, &h, &err);
    CHECK(rc == FL_E_INPUT || (rc == FL_OK && w == 3000000000u));
    fl_tiff_free(t);
    fl_tiff_free(NULL);
    free(pic); free(tif);
}

/* The directories of plain strips are read without libtiff, all others by it, whatever the bands and the byte order. */
FL_TEST(who_reads_which_directory)
{
    for (int mask = 0; mask < 64; mask++) {
        struct fl_tiff_kind k = { 21, 17, mask & 1 ? 3 : 4, .planar = mask & 2, .swapped = mask & 4, .bigtiff = mask & 8, .rows = mask & 16 ? 5 : 0 };
        k.packing = mask & 32 ? COMPRESSION_PACKBITS : COMPRESSION_NONE;
        k.format = mask & 16 ? SAMPLEFORMAT_UINT : 0;
        k.photometric = mask & 1 ? PHOTOMETRIC_RGB : 0;
        k.orientation = mask & 2 ? ORIENTATION_TOPLEFT : 0;
        size_t len;
        uint16_t *pic = values(k.width, k.height, k.bands);
        uint8_t *tif = fl_tiff_write(&k, pic, &len);
        bool taken = false;
        CHECK(fl_tiff_agrees(tif, len, k.bands, &taken));
        CHECK_INT(taken, !(mask & (8 | 32)));
        CHECK(fl_tiff_agrees(tif, len, k.bands ^ 7, &taken) && !taken);
        free(pic); free(tif);
    }
}

/* Whatever is changed in a directory: it is libtiff's to judge, or both read the same from it. */
FL_TEST(a_changed_directory_is_read_as_libtiff_reads_it)
{
    static const struct fl_tiff_kind kinds[] = {
        { 12, 12, 4, .rows = 3 }, { 12, 12, 4, .swapped = true, .format = SAMPLEFORMAT_UINT }, { 12, 12, 4, .planar = true, .rows = 5, .orientation = ORIENTATION_TOPLEFT },
    };
    int taken = 0;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        size_t len;
        uint16_t *pic = values(12, 12, 4);
        uint8_t *tif = fl_tiff_write(&kinds[i], pic, &len), *bad = malloc(len);
        for (size_t at = 0; at < len; at += at < 8 || at >= 8 + 12 * 12 * 8 ? 1 : 61)
            for (int v = 0; v < 256; v++) {
                bool mine;
                memcpy(bad, tif, len);
                bad[at] = (uint8_t)v;
                if (!fl_tiff_agrees(bad, len, 4, &mine))
                    fl_fail_at(__FILE__, __LINE__, "file %zu, byte %zu = %d", i, at, v);
                taken += mine;
            }
        free(pic); free(tif); free(bad);
    }
    CHECK(taken > 1000);
}

FL_TEST(row_versions_agree)
{
    static const struct { uint32_t in, out; uint8_t from[4]; } b[] = { { 4, 4, { 2, 1, 0, 3 } }, { 4, 3, { 2, 1, 0 } }, { 3, 3, { 0, 2, 1 } }, { 4, 4, { 3, 3, 0, 1 } } };
    uint16_t in[4 * 40 + 1], x[4 * 40 + 1], y[4 * 40 + 1];
    for (size_t i = 0; i < 4 * 40 + 1; i++)
        in[i] = (uint16_t)(i * 7919);
    for (size_t k = 0; k < 4; k++)
        for (size_t n = 0; n < 40; n++)
            for (int odd = 0; odd < 4; odd++) {
                struct fl_bands bands = { b[k].in, b[k].out, { 0 }, odd & 2 };
                const char *at = (char *)in + odd % 2;
                const void *planes[4] = { at, at + 80, at + 160, at + 240 };
                memcpy(bands.from, b[k].from, 4);
                memset(x, 0xAA, sizeof x);
                memset(y, 0xAA, sizeof y);
                fl_bands_plain(&bands, x, at, n);
                fl_bands_copy(&bands, y, at, n);
                CHECK(memcmp(x, y, sizeof x) == 0);
                fl_planes_plain(&bands, x, planes, n);
                fl_planes_copy(&bands, y, planes, n);
                CHECK(memcmp(x, y, sizeof x) == 0);
            }
}

/* A whole tile's pixels at a round address go past the cache: the same samples, from odd addresses too. */
FL_TEST(large_rows_agree)
{
    uint8_t *in = malloc(8 * 5000 + 8);
    uint16_t *x = malloc(8 * 5000), *y = aligned_alloc(64, 8 * 5000);
    for (size_t i = 0; i < 8 * 5000 + 8; i++)
        in[i] = (uint8_t)(i * 37 + (i >> 8));
    for (size_t n = 4090; n < 4110; n++)
        for (size_t odd = 0; odd < 6; odd++) {
            const struct fl_bands b = { 4, 4, { 2, 1, 0, 3 }, odd & 1 };
            const void *planes[4] = { in + odd, in + odd + 10000, in + odd + 20000, in + odd + 30000 };
            for (int lay = 0; lay < 2; lay++) {
                memset(y, 0xA5, 8 * 5000);
                if (lay == 0) {
                    fl_bands_plain(&b, x, in + odd, n);
                    fl_bands_copy(&b, y, in + odd, n);
                } else {
                    fl_planes_plain(&b, x, planes, n);
                    fl_planes_copy(&b, y, planes, n);
                }
                CHECK(memcmp(x, y, 8 * n) == 0);
                CHECK_INT(y[4 * n], 0xA5A5);
            }
        }
    free(in); free(x); free(y);
}

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = {
        CASE(every_layout), CASE(band_orders), CASE(refusals), CASE(no_prefix_passes), CASE(flipped_bytes_end_in_an_error_or_an_image),
        CASE(damaged_strip_offsets), CASE(strips_out_of_order_are_followed), CASE(short_strips), CASE(an_image_of_absurd_size),
        CASE(lying_counts_are_told_by_libtiff_too), CASE(a_strip_of_absurd_height),
        CASE(who_reads_which_directory), CASE(a_changed_directory_is_read_as_libtiff_reads_it),
        CASE(row_versions_agree), CASE(large_rows_agree), { 0 }
    };
    return fl_run(cases, argc, argv);
}
