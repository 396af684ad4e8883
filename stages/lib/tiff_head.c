/* The directory of a plain 16-bit TIFF, read without libtiff, which spends 5 us and a dozen allocations on it.
 *
 * TIFF 6.0, section 2: a directory is a count of 2 bytes and entries of 12: tag, type, count, value or where it lies. Only what is just as the
 * format has it is taken; a doubt of any kind leaves the file to libtiff, which knows what may be mended. */
#include "stages/lib/tiff_head.h"

#include <string.h>

#include <tiffio.h>

#define HEAD_ENTRIES 64           /* more in a tile's directory are libtiff's */

struct head {
    struct fl_tiff_head *out;
    const unsigned char *p;
    uint64_t len;
    uint32_t bands;
    uint64_t seen;                /* a bit for each of head_rules met */
};

static uint32_t head_16(const struct fl_tiff_head *h, const unsigned char *p)
{
    return h->big_endian ? (uint32_t)p[0] << 8 | p[1] : (uint32_t)p[1] << 8 | p[0];
}

static uint32_t head_32(const struct fl_tiff_head *h, const unsigned char *p)
{
    uint32_t a = head_16(h, p), b = head_16(h, p + 2);
    return h->big_endian ? a << 16 | b : b << 16 | a;
}

uint32_t fl_tiff_entry(const struct fl_tiff_head *h, const struct fl_tiff_table *t, uint32_t i)
{
    const unsigned char *p = t->at + (size_t)i * t->size;
    return t->size == 2 ? head_16(h, p) : head_32(h, p);
}

/* The values of an entry: in it, or elsewhere in the file. */
static bool head_table(const struct head *h, const unsigned char *entry, struct fl_tiff_table *t)
{
    uint32_t type = head_16(h->out, entry + 2);
    *t = (struct fl_tiff_table){ .at = entry + 8, .size = type == TIFF_SHORT ? 2 : 4, .n = head_32(h->out, entry + 4) };
    if ((type != TIFF_SHORT && type != TIFF_LONG) || t->n == 0)
        return false;
    uint64_t bytes = (uint64_t)t->n * t->size, off = head_32(h->out, entry + 8);
    if (bytes <= 4)
        return true;
    t->at = h->p + off;
    return off >= 8 && off <= h->len && bytes <= h->len - off;
}

/* ---- what each tag must be ---- */

enum { HEAD_ONE, HEAD_EACH, HEAD_SIDE, HEAD_TABLE, HEAD_SKIP };

/* ONE: a SHORT among `min`..`max`; EACH: one, or one a band, all `min` or all `max`; SIDE, TABLE: kept at `off` of the result; SKIP: any. Those
 * that must be there come first. What isn't listed could change what the samples mean. */
static const struct head_rule { uint16_t tag; uint8_t how; uint16_t min, max; size_t off; } head_rules[] = {
    { TIFFTAG_IMAGEWIDTH, HEAD_SIDE, .off = offsetof(struct fl_tiff_head, width) },
    { TIFFTAG_IMAGELENGTH, HEAD_SIDE, .off = offsetof(struct fl_tiff_head, height) },
    { TIFFTAG_BITSPERSAMPLE, HEAD_EACH, 16, 16, 0 },
    { TIFFTAG_COMPRESSION, HEAD_ONE, COMPRESSION_NONE, COMPRESSION_NONE, 0 },
    { TIFFTAG_PHOTOMETRIC, HEAD_ONE, PHOTOMETRIC_MINISBLACK, PHOTOMETRIC_RGB, 0 },
    { TIFFTAG_STRIPOFFSETS, HEAD_TABLE, .off = offsetof(struct fl_tiff_head, off) },
    { TIFFTAG_SAMPLESPERPIXEL, HEAD_ONE, 0, 0, 0 },      /* the number of bands */
    { TIFFTAG_ROWSPERSTRIP, HEAD_SIDE, .off = offsetof(struct fl_tiff_head, rows) },
    { TIFFTAG_STRIPBYTECOUNTS, HEAD_TABLE, .off = offsetof(struct fl_tiff_head, bytes) },
    { TIFFTAG_PLANARCONFIG, HEAD_ONE, PLANARCONFIG_CONTIG, PLANARCONFIG_SEPARATE, 0 },
#define HEAD_NEEDED 10
    { TIFFTAG_SUBFILETYPE, HEAD_SKIP, 0, 0, 0 }, { TIFFTAG_FILLORDER, HEAD_ONE, FILLORDER_MSB2LSB, FILLORDER_MSB2LSB, 0 },
    { TIFFTAG_ORIENTATION, HEAD_ONE, ORIENTATION_TOPLEFT, ORIENTATION_TOPLEFT, 0 },
    { TIFFTAG_DOCUMENTNAME, HEAD_SKIP, 0, 0, 0 }, { TIFFTAG_IMAGEDESCRIPTION, HEAD_SKIP, 0, 0, 0 }, { TIFFTAG_SOFTWARE, HEAD_SKIP, 0, 0, 0 },
    { TIFFTAG_DATETIME, HEAD_SKIP, 0, 0, 0 }, { TIFFTAG_ARTIST, HEAD_SKIP, 0, 0, 0 }, { TIFFTAG_COPYRIGHT, HEAD_SKIP, 0, 0, 0 },
    { TIFFTAG_XRESOLUTION, HEAD_SKIP, 0, 0, 0 }, { TIFFTAG_YRESOLUTION, HEAD_SKIP, 0, 0, 0 }, { TIFFTAG_RESOLUTIONUNIT, HEAD_SKIP, 0, 0, 0 },
    { TIFFTAG_PAGENUMBER, HEAD_SKIP, 0, 0, 0 },
    { TIFFTAG_EXTRASAMPLES, HEAD_EACH, EXTRASAMPLE_UNSPECIFIED, EXTRASAMPLE_UNASSALPHA, 0 },
    { TIFFTAG_SAMPLEFORMAT, HEAD_EACH, SAMPLEFORMAT_UINT, SAMPLEFORMAT_VOID, 0 },
    /* GeoTIFF and GDAL */
    { 33550, HEAD_SKIP, 0, 0, 0 }, { 33922, HEAD_SKIP, 0, 0, 0 }, { 34264, HEAD_SKIP, 0, 0, 0 }, { 34735, HEAD_SKIP, 0, 0, 0 },
    { 34736, HEAD_SKIP, 0, 0, 0 }, { 34737, HEAD_SKIP, 0, 0, 0 }, { 42112, HEAD_SKIP, 0, 0, 0 },
};
#define HEAD_RULES (sizeof head_rules / sizeof *head_rules)

static bool head_each(const struct head *h, const struct head_rule *r, const struct fl_tiff_table *t)
{
    uint32_t first = fl_tiff_entry(h->out, t, 0);
    bool fewer = r->tag == TIFFTAG_EXTRASAMPLES && t->n < h->bands;
    if (t->size != 2 || (t->n != 1 && t->n != h->bands && !fewer) || (first != r->min && first != r->max))
        return false;
    for (uint32_t i = 1; i < t->n; i++)
        if (fl_tiff_entry(h->out, t, i) != first)
            return false;
    return true;
}

static bool head_one(struct head *h, const struct head_rule *r, const struct fl_tiff_table *t)
{
    uint32_t v = fl_tiff_entry(h->out, t, 0);
    if (t->n != 1 || t->size != 2)
        return false;
    if (r->tag == TIFFTAG_SAMPLESPERPIXEL)
        return v == h->bands;
    if (r->tag == TIFFTAG_PLANARCONFIG)
        h->out->planar = v == PLANARCONFIG_SEPARATE;
    return v >= r->min && v <= r->max;
}

static bool head_entry(struct head *h, const unsigned char *entry)
{
    uint32_t tag = head_16(h->out, entry);
    size_t k = 0;
    while (k < HEAD_RULES && head_rules[k].tag != tag)
        k++;
    if (k == HEAD_RULES)
        return false;
    const struct head_rule *r = &head_rules[k];
    char *to = (char *)h->out + r->off;
    struct fl_tiff_table t;
    h->seen |= UINT64_C(1) << k;
    if (r->how == HEAD_SKIP)
        return true;
    if (!head_table(h, entry, &t))
        return false;
    uint32_t side = fl_tiff_entry(h->out, &t, 0);
    switch (r->how) {
    case HEAD_ONE:
        return head_one(h, r, &t);
    case HEAD_EACH:
        return head_each(h, r, &t);
    case HEAD_SIDE:
        memcpy(to, &side, sizeof side);
        return t.n == 1 && side > 0;
    default:
        memcpy(to, &t, sizeof t);
        return true;
    }
}

static bool head_entries(struct head *h)
{
    const unsigned char *p = h->p + h->out->at;
    uint32_t n = head_16(h->out, p), last = 0;
    if (n > HEAD_ENTRIES || 2 + 12 * (uint64_t)n + 4 > h->len - h->out->at)
        return false;
    p += 2;
    for (uint32_t i = 0; i < n; i++, p += 12) {
        uint32_t tag = head_16(h->out, p);
        if (tag <= last || !head_entry(h, p))      /* in order, so that none comes twice */
            return false;
        last = tag;
    }
    const uint64_t needed = (UINT64_C(1) << HEAD_NEEDED) - 1;
    return (h->seen & needed) == needed;
}

bool fl_tiff_head(struct fl_tiff_head *out, const void *bytes, size_t len, uint32_t bands)
{
    struct head h = { .out = out, .p = bytes, .len = len, .bands = bands };
    memset(out, 0, sizeof *out);
    if (len < 16 || (memcmp(bytes, "II*\0", 4) != 0 && memcmp(bytes, "MM\0*", 4) != 0))
        return false;
    out->big_endian = h.p[0] == 'M';
    out->at = head_32(out, h.p + 4);
    if (out->at < 8 || out->at > len - 6 || !head_entries(&h))
        return false;
    if (out->rows > out->height)
        out->rows = out->height;
    uint64_t strips = ((uint64_t)out->height + out->rows - 1) / out->rows * (out->planar ? bands : 1);
    return out->off.n == strips && out->bytes.n == strips;
}
