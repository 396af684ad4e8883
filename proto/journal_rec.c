/* Bytes of the journal: segment headers, record headers, tiles. */
#include "proto/journal_rec.h"

#include <string.h>

#include "proto/crc32c.h"

#define JSEG_MAGIC   "FLJOURNL"
#define JSEG_VERSION 1u
#define JREC_COLUMNS (FL_JOURNAL_PROB | FL_JOURNAL_PRED | FL_JOURNAL_EF2 | FL_JOURNAL_TRUTH)

void fl_put_u32(uint8_t *out, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        out[i] = (uint8_t)(v >> (8 * i));
}

uint32_t fl_get_u32(const uint8_t *in)
{
    return (uint32_t)in[0] | (uint32_t)in[1] << 8 | (uint32_t)in[2] << 16 | (uint32_t)in[3] << 24;
}

static void jrec_put_bits(uint8_t *out, uint64_t v, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        out[i] = (uint8_t)(v >> (8 * i));
}

static uint64_t jrec_get_bits(const uint8_t *in, size_t bytes)
{
    uint64_t v = 0;
    for (size_t i = 0; i < bytes; i++)
        v |= (uint64_t)in[i] << (8 * i);
    return v;
}

void fl_jseg_put(uint8_t out[FL_JSEG_SIZE], const struct fl_jseg *s)
{
    memset(out, 0, FL_JSEG_SIZE);
    memcpy(out, JSEG_MAGIC, 8);
    fl_put_u32(out + 8, JSEG_VERSION);
    fl_put_u32(out + 12, FL_JSEG_SIZE);
    jrec_put_bits(out + 16, s->run, 8);
    fl_put_u32(out + 24, s->L);
    fl_put_u32(out + 28, s->number);
    fl_put_u32(out + 60, fl_crc32c(0, out, 60));
}

int fl_jseg_get(const uint8_t in[FL_JSEG_SIZE], struct fl_jseg *s, struct fl_err *err)
{
    if (memcmp(in, JSEG_MAGIC, 8) != 0)
        return fl_err_set(err, FL_E_INPUT, "not a journal");
    if (fl_get_u32(in + 8) != JSEG_VERSION)
        return fl_err_set(err, FL_E_INPUT, "journal of version %u, this is version %u", fl_get_u32(in + 8), JSEG_VERSION);
    if (fl_get_u32(in + 12) != FL_JSEG_SIZE || fl_get_u32(in + 60) != fl_crc32c(0, in, 60))
        return fl_err_set(err, FL_E_INPUT, "damaged journal header");
    s->run = jrec_get_bits(in + 16, 8);
    s->L = fl_get_u32(in + 24);
    s->number = fl_get_u32(in + 28);
    if (s->L > FL_JOURNAL_LABELS)
        return fl_err_set(err, FL_E_INPUT, "journal of %u labels, at most %u", s->L, FL_JOURNAL_LABELS);
    return FL_OK;
}

void fl_jhead_put(uint8_t out[FL_JHEAD_SIZE], struct fl_jhead *h)
{
    memcpy(out, FL_JMAGIC, 4);
    fl_put_u32(out + 4, h->length);
    jrec_put_bits(out + 8, h->batch, 8);
    fl_put_u32(out + 16, h->attempt);
    fl_put_u32(out + 20, h->n);
    fl_put_u32(out + 24, h->rejected);
    fl_put_u32(out + 28, h->columns);
    h->crc = fl_crc32c(0, out, 32);
    fl_put_u32(out + 32, h->crc);
}

bool fl_jhead_get(const uint8_t in[FL_JHEAD_SIZE], struct fl_jhead *h)
{
    if (memcmp(in, FL_JMAGIC, 4) != 0 || fl_get_u32(in + 32) != fl_crc32c(0, in, 32))
        return false;
    h->length = fl_get_u32(in + 4);
    h->batch = jrec_get_bits(in + 8, 8);
    h->attempt = fl_get_u32(in + 16);
    h->n = fl_get_u32(in + 20);
    h->rejected = fl_get_u32(in + 24);
    h->columns = fl_get_u32(in + 28);
    h->crc = fl_get_u32(in + 32);
    return h->length <= FL_JLENGTH_MAX && h->batch < FL_JOURNAL_BATCHES && h->rejected <= h->n && (h->columns & ~JREC_COLUMNS) == 0;
}

uint32_t fl_jhead_payload_crc(const struct fl_jhead *h, const uint8_t *payload)
{
    return fl_crc32c(h->crc, payload, h->length);
}

static uint8_t *jrec_put_text(uint8_t *p, const char *text, size_t limit)
{
    size_t len = text != NULL ? strnlen(text, limit - 1) : 0;
    *p++ = (uint8_t)len;
    if (len > 0)
        memcpy(p, text, len);
    return p + len;
}

size_t fl_jtile_put(uint8_t *out, const struct fl_journal_tile *t, uint32_t columns, uint32_t L)
{
    uint8_t *p = out;
    size_t bits = (L + 7) / 8;
    jrec_put_bits(p, t->ordinal, 8);
    p = jrec_put_text(p + 8, t->id, FL_ID_SIZE);
    *p++ = (uint8_t)-t->status;
    if (t->status != FL_OK)
        return (size_t)(jrec_put_text(p, t->reason, FL_REASON_SIZE) - out);
    for (uint32_t l = 0; (columns & FL_JOURNAL_PROB) && l < L; l++, p += 4) {
        uint32_t v;
        memcpy(&v, &t->prob[l], sizeof v);
        fl_put_u32(p, v);
    }
    if (columns & FL_JOURNAL_PRED) {
        jrec_put_bits(p, t->pred, bits);
        p += bits;
    }
    if (columns & FL_JOURNAL_EF2) {
        uint64_t v;
        memcpy(&v, &t->ef2, sizeof v);
        jrec_put_bits(p, v, 8);
        p += 8;
    }
    if (columns & FL_JOURNAL_TRUTH) {
        jrec_put_bits(p, t->truth, bits);
        p += bits;
    }
    return (size_t)(p - out);
}

/* ---- reading tiles ---- */

/* Next `len` bytes of the payload, or NULL when it ends before. */
static const uint8_t *jrec_take(struct fl_journal_rec *r, size_t len)
{
    if ((size_t)(r->end - r->p) < len)
        return NULL;
    const uint8_t *p = r->p;
    r->p += len;
    return p;
}

static bool jrec_take_text(struct fl_journal_rec *r, char *text, size_t limit)
{
    const uint8_t *len = jrec_take(r, 1);
    const uint8_t *p = len != NULL && *len < limit ? jrec_take(r, *len) : NULL;
    if (p == NULL || memchr(p, '\0', *len) != NULL)
        return false;
    memcpy(text, p, *len);
    text[*len] = '\0';
    return true;
}

static bool jrec_take_bits(struct fl_journal_rec *r, uint32_t nbits, uint64_t *v)
{
    const uint8_t *p = jrec_take(r, (nbits + 7) / 8);
    if (p == NULL)
        return false;
    *v = jrec_get_bits(p, (nbits + 7) / 8);
    return nbits == 64 || *v >> nbits == 0;
}

static bool jrec_take_predicted(struct fl_journal_rec *r, struct fl_journal_tile *t)
{
    if (r->columns & FL_JOURNAL_PROB) {
        const uint8_t *p = jrec_take(r, 4 * (size_t)r->L);
        if (p == NULL)
            return false;
        for (uint32_t l = 0; l < r->L; l++) {
            uint32_t v = fl_get_u32(p + 4 * (size_t)l);
            memcpy(&r->prob[l], &v, sizeof v);
        }
        t->prob = r->prob;
    }
    if ((r->columns & FL_JOURNAL_PRED) && !jrec_take_bits(r, r->L, &t->pred))
        return false;
    if (r->columns & FL_JOURNAL_EF2) {
        uint64_t v;
        if (!jrec_take_bits(r, 64, &v))
            return false;
        memcpy(&t->ef2, &v, sizeof v);
    }
    return !(r->columns & FL_JOURNAL_TRUTH) || jrec_take_bits(r, r->L, &t->truth);
}

static bool jrec_take_tile(struct fl_journal_rec *r, struct fl_journal_tile *t)
{
    const uint8_t *status;
    if (!jrec_take_bits(r, 64, &t->ordinal) || !jrec_take_text(r, r->id, sizeof r->id) || (status = jrec_take(r, 1)) == NULL)
        return false;
    t->status = -(int)*status;
    r->reason[0] = '\0';
    if (t->status == FL_OK)
        return jrec_take_predicted(r, t);
    r->seen_rejected++;
    return jrec_take_text(r, r->reason, sizeof r->reason);
}

int fl_journal_next(struct fl_journal_rec *r, struct fl_journal_tile *t, struct fl_err *err)
{
    if (r->row == r->n) {
        if (r->p != r->end || r->seen_rejected != r->rejected)
            return fl_err_set(err, FL_E_INPUT, "journal, batch %llu: the tiles don't match their header", (unsigned long long)r->batch);
        return FL_END;
    }
    struct fl_journal_tile tile = { .id = r->id, .reason = r->reason };
    if (!jrec_take_tile(r, &tile))
        return fl_err_set(err, FL_E_INPUT, "journal, batch %llu: malformed tile %u", (unsigned long long)r->batch, r->row);
    r->row++;
    *t = tile;
    return FL_OK;
}
