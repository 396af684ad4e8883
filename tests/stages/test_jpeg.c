/* JPEG: bit equality with TurboJPEG, components without markers, and damage that must not pass. */
#include "stages/lib/jpeg.h"

#include <turbojpeg.h>

#include "stages/lib/jpeg_rows.h"
#include "tests/lib/check.h"
#include "tests/lib/jpeg_write.h"

static int decode(bool cmyk, const uint8_t *jpg, size_t len, uint8_t *out, struct fl_err *err)
{
    uint32_t w, h;
    struct fl_jpeg *j = fl_jpeg_new(cmyk);
    int rc = fl_jpeg_header(j, jpg, len, &w, &h, err);
    if (rc == FL_OK)
        rc = fl_jpeg_read(j, out, err);
    fl_jpeg_free(j);
    return rc;
}

static bool turbo(const uint8_t *jpg, size_t len, uint8_t *out, uint32_t w, uint32_t h)
{
    tjhandle tj = tjInitDecompress();
    int rc = tjDecompress2(tj, jpg, (unsigned long)len, out, (int)w, 0, (int)h, TJPF_RGB, TJFLAG_ACCURATEDCT);
    tjDestroy(tj);
    return rc == 0;
}

FL_TEST(equal_to_turbojpeg)
{
    static const struct { uint32_t w, h; } sizes[] = { { 256, 256 }, { 1, 1 }, { 17, 8 }, { 257, 31 }, { 40, 263 } };
    int seen = 0;
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
        for (int mask = 0; mask < 32; mask++) {
            struct fl_jpeg_kind k = { sizes[s].w, sizes[s].h, mask & 1 ? FL_SPACE_RGB : FL_SPACE_YCC, mask & 2 ? 40 : 95, .progressive = mask & 4,
                                      .marker = mask & 8, .halved = mask & 16, .restart = mask & 2 ? 3 : 0 };
            size_t len, n = (size_t)k.width * k.height * 3;
            uint8_t *pic = fl_picture(k.width, k.height, 3, -1, (uint32_t)mask), *jpg = fl_jpeg_write(&k, pic, &len);
            uint8_t *ours = calloc(n, 1), *theirs = calloc(n, 1);
            struct fl_err err = { 0 };
            CHECK_OK(decode(false, jpg, len, ours, &err), err);
            CHECK(turbo(jpg, len, theirs, k.width, k.height));
            CHECK(memcmp(ours, theirs, n) == 0);
            free(pic); free(jpg); free(ours); free(theirs);
            seen++;
        }
    CHECK_INT(seen, 160);
}

FL_TEST(a_scan_for_each_component)
{
    struct fl_jpeg_kind k = { 64, 48, FL_SPACE_YCC, .one_by_one = true, .halved = true, .marker = true };
    size_t len, n = 64 * 48 * 3;
    uint8_t *pic = fl_picture(64, 48, 3, -1, 1), *jpg = fl_jpeg_write(&k, pic, &len), *ours = calloc(n, 1), *theirs = calloc(n, 1);
    struct fl_err err = { 0 };
    CHECK_OK(decode(false, jpg, len, ours, &err), err);
    CHECK(turbo(jpg, len, theirs, 64, 48));
    CHECK(memcmp(ours, theirs, n) == 0);
    free(pic); free(jpg); free(ours); free(theirs);
}

/* Each of four plain components is a grey image of the same tables: what TurboJPEG makes of that is what must come out. */
FL_TEST(four_components_are_rgb_and_255)
{
    for (int marker = 0; marker < 2; marker++) {
        uint32_t w = 101, h = 67;
        size_t n = (size_t)w * h, len, glen;
        uint8_t *pic = fl_picture(w, h, 4, 255, 5), *ours = calloc(n, 3), *grey = malloc(n), *theirs = malloc(n);
        struct fl_jpeg_kind k = { w, h, FL_SPACE_CMYK, 85, .marker = marker }, g = { w, h, FL_SPACE_GREY, 85, .marker = true };
        uint8_t *jpg = fl_jpeg_write(&k, pic, &len);
        struct fl_err err = { 0 };
        CHECK_OK(decode(false, jpg, len, ours, &err), err);
        for (int c = 0; c < 3; c++) {
            for (size_t i = 0; i < n; i++)
                grey[i] = pic[4 * i + (size_t)c];
            uint8_t *gj = fl_jpeg_write(&g, grey, &glen);
            tjhandle tj = tjInitDecompress();
            CHECK_INT(tjDecompress2(tj, gj, (unsigned long)glen, theirs, (int)w, 0, (int)h, TJPF_GRAY, TJFLAG_ACCURATEDCT), 0);
            tjDestroy(tj);
            free(gj);
            for (size_t i = 0; i < n; i++)
                CHECK_INT(ours[3 * i + (size_t)c], theirs[i]);
        }
        uint8_t *same = calloc(n, 3);
        CHECK_OK(decode(true, jpg, len, same, &err), err);          /* c*255/255 */
        CHECK(memcmp(same, ours, 3 * n) == 0);
        free(pic); free(jpg); free(ours); free(grey); free(theirs); free(same);
    }
}

FL_TEST(real_cmyk_is_refused_or_converted)
{
    static const struct { int space, k; const char *want; } t[] = {
        { FL_SPACE_CMYK, -1, "not constant 255" }, { FL_SPACE_CMYK, 128, "not constant 255" }, { FL_SPACE_YCCK, 255, "YCCK" },
    };
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        uint32_t w = 64, h = 64;
        size_t len, n = (size_t)w * h;
        uint8_t *pic = fl_picture(w, h, 4, t[i].k, 5), *ours = calloc(n, 3);
        struct fl_jpeg_kind k = { w, h, t[i].space, 100, .marker = true };
        uint8_t *jpg = fl_jpeg_write(&k, pic, &len);
        struct fl_err err = { 0 };
        CHECK_INT(decode(false, jpg, len, ours, &err), FL_E_INPUT);
        CHECK_HAS(err.text, t[i].want);
        CHECK_OK(decode(true, jpg, len, ours, &err), err);
        for (size_t p = 0; p < n; p++)
            for (int c = 0; c < 3; c++)
                CHECK_NEAR(ours[3 * p + (size_t)c], pic[4 * p + (size_t)c] * pic[4 * p + 3] / 255.0, 6);     /* what quality 100 leaves */
        free(pic); free(jpg); free(ours);
    }
}

FL_TEST(grey_and_two_components)
{
    static const int space[] = { FL_SPACE_GREY, FL_SPACE_TWO };
    for (int i = 0; i < 2; i++) {
        uint8_t *pic = fl_picture(16, 16, 2, -1, 1), out[768];
        struct fl_jpeg_kind k = { 16, 16, space[i], .marker = i == 0 };
        size_t len;
        uint8_t *jpg = fl_jpeg_write(&k, pic, &len);
        struct fl_err err = { 0 };
        CHECK_INT(decode(false, jpg, len, out, &err), FL_E_SHAPE);
        CHECK_HAS(err.text, i == 0 ? "grey" : "2 components");
        free(pic); free(jpg);
    }
}

/* libjpeg's arithmetic decoder takes zeros for what is cut off: a half-grey tile without a word. */
FL_TEST(arithmetic_coding_is_refused)
{
    for (int mask = 0; mask < 2; mask++) {
        struct fl_jpeg_kind k = { 16, 16, FL_SPACE_YCC, .arithmetic = true, .progressive = mask };
        size_t len;
        uint8_t *pic = fl_picture(16, 16, 3, -1, 1), *jpg = fl_jpeg_write(&k, pic, &len), out[768];
        struct fl_err err = { 0 };
        CHECK_INT(decode(false, jpg, len, out, &err), FL_E_INPUT);
        CHECK_HAS(err.text, "arithmetic coding");
        free(pic); free(jpg);
    }
}

/* Every way to end early is an error: in no prefix is there a whole image. */
FL_TEST(no_prefix_passes)
{
    for (int mask = 0; mask < 8; mask++) {
        struct fl_jpeg_kind k = { 48, 40, mask & 1 ? FL_SPACE_CMYK : FL_SPACE_YCC, .progressive = mask & 2, .one_by_one = mask & 4 && !(mask & 2),
                                  .restart = mask & 4 ? 2 : 0 };
        size_t len;
        uint8_t *pic = fl_picture(48, 40, mask & 1 ? 4 : 3, 255, 9), *jpg = fl_jpeg_write(&k, pic, &len), out[48 * 40 * 3];
        for (size_t cut = 0; cut < len; cut++) {
            uint8_t *part = malloc(cut + 1);
            struct fl_err err = { 0 };
            memcpy(part, jpg, cut);
            CHECK_INT(decode(false, part, cut, out, &err), FL_E_INPUT);
            CHECK(err.text[0] != '\0');
            free(part);
        }
        free(pic); free(jpg);
    }
}

/* The end marker set behind a shorter file: libjpeg itself makes grey of the rest, without a word where scans are missing. */
FL_TEST(no_prefix_with_an_end_marker_passes)
{
    for (int mask = 0; mask < 4; mask++) {
        struct fl_jpeg_kind k = { 48, 40, FL_SPACE_YCC, .progressive = mask & 1, .one_by_one = !(mask & 1), .restart = mask & 2 ? 2 : 0 };
        size_t len;
        uint8_t *pic = fl_picture(48, 40, 3, -1, 9), *jpg = fl_jpeg_write(&k, pic, &len), *part = malloc(len + 2), out[48 * 40 * 3];
        uint8_t *whole = calloc(48 * 40, 3);
        struct fl_err err = { 0 };
        CHECK_OK(decode(false, jpg, len, whole, &err), err);
        for (size_t cut = 0; cut + 2 < len; cut++) {
            memcpy(part, jpg, cut);
            part[cut] = 0xFF;
            part[cut + 1] = 0xD9;
            int rc = decode(false, part, cut + 2, out, &err);
            if (rc == FL_OK)          /* only when what was cut off said nothing */
                CHECK(memcmp(out, whole, sizeof out) == 0);
            else
                CHECK_INT(rc, FL_E_INPUT);
        }
        free(pic); free(jpg); free(part); free(whole);
    }
}

FL_TEST(flipped_bytes_end_in_an_error_or_an_image)
{
    for (int mask = 0; mask < 4; mask++) {
        struct fl_jpeg_kind k = { 40, 40, mask & 1 ? FL_SPACE_CMYK : FL_SPACE_YCC, .progressive = mask & 2, .marker = true };
        size_t len;
        uint8_t *pic = fl_picture(40, 40, mask & 1 ? 4 : 3, 255, 3), *jpg = fl_jpeg_write(&k, pic, &len), *bad = malloc(len);
        int refused = 0;
        for (size_t at = 0; at < len; at++)
            for (int how = 0; how < 3; how++) {
                uint32_t w = 0, h = 0;
                struct fl_err err = { 0 };
                memcpy(bad, jpg, len);
                bad[at] = how == 0 ? (uint8_t)(bad[at] ^ 0x10) : how == 1 ? 0xFF : 0;
                struct fl_jpeg *j = fl_jpeg_new(false);
                int rc = fl_jpeg_header(j, bad, len, &w, &h, &err);
                uint8_t *out = rc == FL_OK && (uint64_t)w * h <= 1000000 ? malloc((size_t)w * h * 3) : NULL;
                if (out != NULL)
                    rc = fl_jpeg_read(j, out, &err);
                CHECK(rc == FL_OK || rc == FL_E_INPUT || rc == FL_E_SHAPE);
                refused += rc != FL_OK;
                free(out);
                fl_jpeg_free(j);
            }
        CHECK(refused > 0);
        free(pic); free(jpg); free(bad);
    }
}

/* A file without tables of its own must not live on those of the file before. */
FL_TEST(tables_do_not_outlive_a_file)
{
    struct fl_jpeg_kind k = { 32, 32, FL_SPACE_YCC, .quality = 90 };
    size_t len;
    uint8_t *pic = fl_picture(32, 32, 3, -1, 3), *jpg = fl_jpeg_write(&k, pic, &len), out[32 * 32 * 3];
    struct fl_err err = { 0 };
    struct fl_jpeg *j = fl_jpeg_new(false);
    uint32_t w, h;
    CHECK_OK(fl_jpeg_header(j, jpg, len, &w, &h, &err), err);
    CHECK_OK(fl_jpeg_read(j, out, &err), err);
    size_t n = 2;
    for (size_t at = 2; at + 4 < len && jpg[at + 1] != 0xDA; ) {      /* segments before the scan; DQT out */
        size_t seg = 2 + (size_t)jpg[at + 2] * 256 + jpg[at + 3];
        if (jpg[at + 1] != 0xDB) {
            memmove(jpg + n, jpg + at, seg);
            n += seg;
        }
        at += seg;
        if (jpg[at + 1] == 0xDA) {
            memmove(jpg + n, jpg + at, len - at);
            n += len - at;
            break;
        }
    }
    CHECK(n < len);
    CHECK_OK(fl_jpeg_header(j, jpg, n, &w, &h, &err), err);
    CHECK_INT(fl_jpeg_read(j, out, &err), FL_E_INPUT);
    CHECK_HAS(err.text, "uantization table");
    CHECK_INT(fl_jpeg_read(j, out, &err), FL_E_BUG);
    fl_jpeg_free(j);
    free(pic); free(jpg);
}

FL_TEST(row_versions_agree)
{
    for (size_t n = 0; n < 70; n++) {
        uint8_t *in = malloc(4 * n + 1), *a = malloc(3 * n + 1), *b = malloc(3 * n + 1);
        for (size_t i = 0; i < 4 * n; i++)
            in[i] = i % 4 == 3 ? 255 : (uint8_t)(i * 37);
        a[3 * n] = b[3 * n] = 77;
        CHECK(fl_jpeg_rgbx_plain(a, in, n) && fl_jpeg_rgbx(b, in, n));
        CHECK(memcmp(a, b, 3 * n + 1) == 0);
        for (size_t i = 0; i < n; i++) {
            in[4 * i + 3] = 254;
            CHECK(!fl_jpeg_rgbx_plain(a, in, n) && !fl_jpeg_rgbx(b, in, n));
            in[4 * i + 3] = 255;
        }
        free(in); free(a); free(b);
    }
}

FL_TEST(cmyk_rounds_to_nearest)
{
    for (unsigned c = 0; c < 256; c++)
        for (unsigned k = 0; k < 256; k++) {
            uint8_t in[4] = { (uint8_t)c, 0, 255, (uint8_t)k }, out[3];
            fl_jpeg_cmyk(out, in, 1);
            CHECK_INT(out[0], lround(c * k / 255.0));
            CHECK_INT(out[2], k);
        }
}

/* Every length about a line, at a round address (past the cache) and at odd ones; nothing beyond the end is written. */
FL_TEST(far_copies_are_copies)
{
    uint8_t in[400], *out = aligned_alloc(64, 512);
    for (size_t i = 0; i < sizeof in; i++)
        in[i] = (uint8_t)(i * 31 + 7);
    for (size_t off = 0; off < 66; off += 13)
        for (size_t n = 0; n < 330; n++) {
            memset(out, 0xA5, 512);
            fl_jpeg_far(out + off, in + off / 2, n);
            CHECK(memcmp(out + off, in + off / 2, n) == 0);
            CHECK_INT(out[off + n], 0xA5);
        }
    free(out);
}

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = {
        CASE(equal_to_turbojpeg), CASE(a_scan_for_each_component), CASE(four_components_are_rgb_and_255), CASE(real_cmyk_is_refused_or_converted),
        CASE(grey_and_two_components), CASE(arithmetic_coding_is_refused), CASE(no_prefix_passes), CASE(no_prefix_with_an_end_marker_passes),
        CASE(flipped_bytes_end_in_an_error_or_an_image), CASE(tables_do_not_outlive_a_file), CASE(row_versions_agree), CASE(cmyk_rounds_to_nearest),
        CASE(far_copies_are_copies), { 0 }
    };
    return fl_run(cases, argc, argv);
}
