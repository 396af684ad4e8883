/* Bytes of a recording: heads of segments and records, the index. */
#include <string.h>

#include "proto/crc32c.h"
#include "proto/journal_rec.h"
#include "proto/recording_own.h"

#define RSEG_MAGIC   "FLRECORD"
#define RSEG_VERSION 1u
#define RSEG_CRC     124u
#define RHEAD_MAGIC  "FLRC"
#define RHEAD_CRC    36u
#define RTAIL_MAGIC  "FLRCTAIL"

static void rec_put_u64(uint8_t *out, uint64_t v)
{
    fl_put_u32(out, (uint32_t)v);
    fl_put_u32(out + 4, (uint32_t)(v >> 32));
}

static uint64_t rec_get_u64(const uint8_t *in)
{
    return fl_get_u32(in) | (uint64_t)fl_get_u32(in + 4) << 32;
}

uint64_t fl_ralign(uint64_t n)
{
    return (n + FL_ALIGN - 1) / FL_ALIGN * FL_ALIGN;
}

/* ---- segments ---- */

uint32_t fl_rseg_size(uint32_t text)
{
    return (uint32_t)fl_ralign(FL_RSEG_SIZE + (uint64_t)text);
}

void fl_rseg_put(uint8_t *out, const struct fl_rseg *s, const char *text)
{
    uint32_t size = fl_rseg_size(s->text);
    memset(out, 0, size);
    memcpy(out, RSEG_MAGIC, 8);
    fl_put_u32(out + 8, RSEG_VERSION);
    fl_put_u32(out + 12, size);
    rec_put_u64(out + 16, s->run);
    fl_put_u32(out + 24, s->number);
    fl_put_u32(out + 28, s->B);
    memcpy(out + 32, s->edge, FL_NAME_MAX);
    fl_put_u32(out + 64, s->text);
    memcpy(out + FL_RSEG_SIZE, text, s->text);
    fl_put_u32(out + RSEG_CRC, fl_crc32c(fl_crc32c(0, out, RSEG_CRC), text, s->text));
}

int fl_rseg_get(const uint8_t in[FL_RSEG_SIZE], struct fl_rseg *s, struct fl_err *err)
{
    if (memcmp(in, RSEG_MAGIC, 8) != 0)
        return fl_err_set(err, FL_E_INPUT, "not a recording");
    if (fl_get_u32(in + 8) != RSEG_VERSION)
        return fl_err_set(err, FL_E_INPUT, "recording of version %u, this is version %u", fl_get_u32(in + 8), RSEG_VERSION);
    s->size = fl_get_u32(in + 12);
    s->run = rec_get_u64(in + 16);
    s->number = fl_get_u32(in + 24);
    s->B = fl_get_u32(in + 28);
    memcpy(s->edge, in + 32, FL_NAME_MAX);
    s->text = fl_get_u32(in + 64);
    if (s->text > FL_REC_TEXT_MAX || s->size != fl_rseg_size(s->text) || s->edge[0] == '\0' || s->edge[FL_NAME_MAX - 1] != '\0')
        return fl_err_set(err, FL_E_INPUT, "damaged head of a recording");
    return FL_OK;
}

bool fl_rseg_prove(const uint8_t *head, const struct fl_rseg *s)
{
    return fl_get_u32(head + RSEG_CRC) == fl_crc32c(fl_crc32c(0, head, RSEG_CRC), head + FL_RSEG_SIZE, s->text);
}

/* ---- records ---- */

size_t fl_rhead_size(const struct fl_rhead *h)
{
    return FL_RHEAD_SIZE + (size_t)h->hlen + (size_t)h->ntensors * FL_RTENSOR;
}

static uint32_t rhead_crc(const uint8_t *in, size_t size)
{
    return fl_crc32c(fl_crc32c(0, in, RHEAD_CRC), in + FL_RHEAD_SIZE, size - FL_RHEAD_SIZE);
}

size_t fl_rhead_put(uint8_t *out, const struct fl_rhead *h, const struct fl_rtensor *table)
{
    size_t size = fl_rhead_size(h);
    memset(out, 0, FL_RHEAD_SIZE);
    memcpy(out, RHEAD_MAGIC, 4);
    fl_put_u32(out + 4, h->hlen);
    rec_put_u64(out + 8, h->bytes);
    rec_put_u64(out + 16, h->time);
    fl_put_u32(out + 24, h->ntensors);
    uint8_t *p = out + FL_RHEAD_SIZE + h->hlen;
    for (uint32_t i = 0; i < h->ntensors; i++, p += FL_RTENSOR) {
        rec_put_u64(p, table[i].stored);
        fl_put_u32(p + 8, table[i].codec);
        fl_put_u32(p + 12, table[i].crc);
    }
    fl_put_u32(out + RHEAD_CRC, rhead_crc(out, size));
    return size;
}

bool fl_rhead_get(const uint8_t in[FL_RHEAD_SIZE], struct fl_rhead *h)
{
    if (memcmp(in, RHEAD_MAGIC, 4) != 0)
        return false;
    h->hlen = fl_get_u32(in + 4);
    h->bytes = rec_get_u64(in + 8);
    h->time = rec_get_u64(in + 16);
    h->ntensors = fl_get_u32(in + 24);
    h->crc = fl_get_u32(in + RHEAD_CRC);
    return h->hlen <= FL_FRAME_MAX && h->ntensors <= FL_MAX_TENSORS && h->bytes % FL_ALIGN == 0 && h->bytes >= fl_rhead_size(h);
}

bool fl_rhead_prove(const uint8_t *in, const struct fl_rhead *h, struct fl_rtensor table[FL_MAX_TENSORS])
{
    size_t size = fl_rhead_size(h);
    if (rhead_crc(in, size) != h->crc)
        return false;
    const uint8_t *p = in + FL_RHEAD_SIZE + h->hlen;
    uint64_t sum = fl_ralign(size);
    for (uint32_t i = 0; i < h->ntensors; i++, p += FL_RTENSOR) {
        table[i] = (struct fl_rtensor){ .stored = rec_get_u64(p), .codec = fl_get_u32(p + 8), .crc = fl_get_u32(p + 12) };
        if (table[i].codec >= FL_RCODECS || table[i].stored > FL_REC_TENSOR || sum > h->bytes)
            return false;
        sum += fl_ralign(table[i].stored);
    }
    return sum == h->bytes;
}

/* ---- the index ---- */

void fl_rindex_put(uint8_t out[FL_RINDEX], const struct fl_rec_entry *e)
{
    rec_put_u64(out, e->batch);
    rec_put_u64(out + 8, e->off);
    rec_put_u64(out + 16, e->time);
    fl_put_u32(out + 24, e->attempt);
    fl_put_u32(out + 28, e->n);
}

void fl_rindex_get(const uint8_t in[FL_RINDEX], struct fl_rec_entry *e)
{
    *e = (struct fl_rec_entry){ .batch = rec_get_u64(in), .off = rec_get_u64(in + 8), .time = rec_get_u64(in + 16),
                                .attempt = fl_get_u32(in + 24), .n = fl_get_u32(in + 28) };
}

void fl_rindex_head(uint8_t out[FL_RINDEX_HEAD], uint32_t entries)
{
    memset(out, 0, FL_RINDEX_HEAD);
    memcpy(out, "FLIX", 4);
    fl_put_u32(out + 4, entries);
}

void fl_rtail_put(uint8_t out[FL_RTAIL], uint64_t off, uint32_t entries, uint32_t crc)
{
    memset(out, 0, FL_RTAIL);
    memcpy(out, RTAIL_MAGIC, 8);
    rec_put_u64(out + 8, off);
    fl_put_u32(out + 16, entries);
    fl_put_u32(out + 20, crc);
    fl_put_u32(out + 28, fl_crc32c(0, out, 28));
}

bool fl_rtail_get(const uint8_t in[FL_RTAIL], uint64_t *off, uint32_t *entries, uint32_t *crc)
{
    if (memcmp(in, RTAIL_MAGIC, 8) != 0 || fl_get_u32(in + 28) != fl_crc32c(0, in, 28))
        return false;
    *off = rec_get_u64(in + 8);
    *entries = fl_get_u32(in + 16);
    *crc = fl_get_u32(in + 20);
    return true;
}
