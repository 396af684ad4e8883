/* Bounded MessagePack: the walk that proves a message, a reader that trusts it, a writer into a given buffer. */
#include "proto/msg.h"

#include <endian.h>
#include <string.h>

/* ---- one token ---- */

enum msg_kind { MSG_BAD, MSG_EXT, MSG_NIL, MSG_BOOL, MSG_UINT, MSG_INT, MSG_F32, MSG_F64, MSG_STR, MSG_BIN, MSG_ARRAY, MSG_MAP };

/* The format codes from c0 to df; wide: bytes of the value, the length or the count behind the code. */
static const struct { uint8_t kind, wide; } msg_codes[32] = {
    [0x00] = { MSG_NIL, 0 },   [0x01] = { MSG_BAD, 0 },   [0x02] = { MSG_BOOL, 0 },  [0x03] = { MSG_BOOL, 0 },
    [0x04] = { MSG_BIN, 1 },   [0x05] = { MSG_BIN, 2 },   [0x06] = { MSG_BIN, 4 },
    [0x07] = { MSG_EXT, 0 },   [0x08] = { MSG_EXT, 0 },   [0x09] = { MSG_EXT, 0 },
    [0x0a] = { MSG_F32, 4 },   [0x0b] = { MSG_F64, 8 },
    [0x0c] = { MSG_UINT, 1 },  [0x0d] = { MSG_UINT, 2 },  [0x0e] = { MSG_UINT, 4 },  [0x0f] = { MSG_UINT, 8 },
    [0x10] = { MSG_INT, 1 },   [0x11] = { MSG_INT, 2 },   [0x12] = { MSG_INT, 4 },   [0x13] = { MSG_INT, 8 },
    [0x14] = { MSG_EXT, 0 },   [0x15] = { MSG_EXT, 0 },   [0x16] = { MSG_EXT, 0 },   [0x17] = { MSG_EXT, 0 }, [0x18] = { MSG_EXT, 0 },
    [0x19] = { MSG_STR, 1 },   [0x1a] = { MSG_STR, 2 },   [0x1b] = { MSG_STR, 4 },
    [0x1c] = { MSG_ARRAY, 2 }, [0x1d] = { MSG_ARRAY, 4 }, [0x1e] = { MSG_MAP, 2 },   [0x1f] = { MSG_MAP, 4 },
};

struct msg_token {
    uint8_t  kind;
    uint64_t value;            /* bits of a number (signed ones extended), length of a text, count of a container */
    const uint8_t *body;       /* of a text */
};

static uint64_t msg_big_endian(const uint8_t *p, size_t n)
{
    uint16_t v2;
    uint32_t v4;
    uint64_t v8;

    switch (n) {
    case 0:  return 0;
    case 1:  return *p;
    case 2:  memcpy(&v2, p, 2); return be16toh(v2);
    case 4:  memcpy(&v4, p, 4); return be32toh(v4);
    default: memcpy(&v8, p, 8); return be64toh(v8);
    }
}

/* Takes one token off the front: a scalar with its body, or the head of a container. False when the bytes run
 * out, and for a container that claims more elements than there are bytes for. */
static inline bool msg_next(struct fl_msg *m, struct msg_token *t)
{
    const uint8_t *p = m->p;
    size_t left = (size_t)(m->end - p);

    if (left == 0)
        return false;
    uint8_t c = *p++;
    left--;
    t->body = NULL;
    if (c < 0x80)
        t->kind = MSG_UINT, t->value = c;
    else if (c < 0x90)
        t->kind = MSG_MAP, t->value = c & 15u;
    else if (c < 0xa0)
        t->kind = MSG_ARRAY, t->value = c & 15u;
    else if (c < 0xc0)
        t->kind = MSG_STR, t->value = c & 31u;
    else if (c >= 0xe0)
        t->kind = MSG_INT, t->value = (uint64_t)(int8_t)c;
    else {
        size_t wide = msg_codes[c - 0xc0].wide;
        t->kind = msg_codes[c - 0xc0].kind;
        if (wide > left)
            return false;
        t->value = msg_big_endian(p, wide);
        if (t->kind == MSG_INT && wide > 0 && wide < 8 && t->value >> (8 * wide - 1) != 0)
            t->value |= ~UINT64_C(0) << (8 * wide);
        p += wide;
        left -= wide;
    }
    if (t->kind == MSG_STR || t->kind == MSG_BIN) {
        if (t->value > left)
            return false;
        t->body = p;
        p += t->value;
    } else if (t->kind == MSG_ARRAY || t->kind == MSG_MAP) {
        if (t->value > left / (t->kind == MSG_MAP ? 2 : 1))
            return false;
    }
    m->p = p;
    return true;
}

/* ---- the walk ---- */

int fl_msg_check(const void *buf, size_t len, struct fl_err *err)
{
    if (len > FL_MSG_MAX)
        return fl_err_set(err, FL_E_PROTO, "message of %zu bytes, at most %d are allowed", len, FL_MSG_MAX);
    struct fl_msg m = { buf, (const uint8_t *)buf + len };
    uint64_t open[FL_MSG_DEPTH], want = 1;    /* values wanted at this depth, and by the containers around it */
    uint32_t depth = 0;

    while (want > 0) {
        size_t at = (size_t)(m.p - (const uint8_t *)buf);
        struct msg_token t;
        want--;
        if (!msg_next(&m, &t))
            return fl_err_set(err, FL_E_PROTO, "message of %zu bytes ends within the value at byte %zu", len, at);
        if (t.kind == MSG_BAD || t.kind == MSG_EXT)
            return fl_err_set(err, FL_E_PROTO, "message byte %zu: %s", at, t.kind == MSG_EXT ? "an extension type" : "an unused code");
        if (t.kind == MSG_ARRAY || t.kind == MSG_MAP) {
            if (depth == FL_MSG_DEPTH)
                return fl_err_set(err, FL_E_PROTO, "message byte %zu: nested deeper than %d", at, FL_MSG_DEPTH);
            open[depth++] = want;
            want = t.value * (t.kind == MSG_MAP ? 2 : 1);
        }
        while (want == 0 && depth > 0)
            want = open[--depth];
    }
    if (m.p != m.end)
        return fl_err_set(err, FL_E_PROTO, "message: %zu bytes behind its end", (size_t)(m.end - m.p));
    return FL_OK;
}

/* ---- reading ---- */

/* The next token if it is of this kind; else nothing is taken. */
static bool msg_want(struct fl_msg *m, enum msg_kind kind, struct msg_token *t)
{
    struct fl_msg at = *m;
    if (!msg_next(&at, t) || t->kind != kind)
        return false;
    *m = at;
    return true;
}

static bool msg_count(struct fl_msg *m, enum msg_kind kind, uint32_t *count)
{
    struct msg_token t;
    if (!msg_want(m, kind, &t))
        return false;
    *count = (uint32_t)t.value;
    return true;
}

bool fl_msg_map(struct fl_msg *m, uint32_t *count)   { return msg_count(m, MSG_MAP, count); }
bool fl_msg_array(struct fl_msg *m, uint32_t *count) { return msg_count(m, MSG_ARRAY, count); }

bool fl_msg_str(struct fl_msg *m, const char **s, uint32_t *len)
{
    struct msg_token t;
    if (!msg_want(m, MSG_STR, &t))
        return false;
    *s = (const char *)t.body;
    *len = (uint32_t)t.value;
    return true;
}

bool fl_msg_text(struct fl_msg *m, char *field, size_t size)
{
    struct fl_msg at = *m;
    const char *s;
    uint32_t len;

    if (!fl_msg_str(&at, &s, &len) || len >= size || memchr(s, '\0', len) != NULL)
        return false;
    memcpy(field, s, len);
    memset(field + len, 0, size - len);
    *m = at;
    return true;
}

/* Integers come unsigned or, when not negative, signed: encoders differ. */
bool fl_msg_u64(struct fl_msg *m, uint64_t *v)
{
    struct fl_msg at = *m;
    struct msg_token t;

    if (at.p < at.end && *at.p < 0x80) {
        *v = *m->p++;
        return true;
    }
    if (!msg_next(&at, &t) || !(t.kind == MSG_UINT || (t.kind == MSG_INT && (int64_t)t.value >= 0)))
        return false;
    *v = t.value;
    *m = at;
    return true;
}

bool fl_msg_u32(struct fl_msg *m, uint32_t *v)
{
    struct fl_msg at = *m;
    uint64_t x;

    if (!fl_msg_u64(&at, &x) || x > UINT32_MAX)
        return false;
    *v = (uint32_t)x;
    *m = at;
    return true;
}

bool fl_msg_i32(struct fl_msg *m, int32_t *v)
{
    struct msg_token t;
    struct fl_msg at = *m;

    if (!msg_next(&at, &t))
        return false;
    if (!(t.kind == MSG_UINT && t.value <= INT32_MAX) &&
        !(t.kind == MSG_INT && (int64_t)t.value >= INT32_MIN && (int64_t)t.value <= INT32_MAX))
        return false;
    *v = (int32_t)(int64_t)t.value;
    *m = at;
    return true;
}

bool fl_msg_double(struct fl_msg *m, double *v)
{
    struct fl_msg at = *m;
    struct msg_token t;

    if (!msg_next(&at, &t))
        return false;
    if (t.kind == MSG_F64) {
        memcpy(v, &t.value, sizeof *v);
    } else if (t.kind == MSG_F32) {
        uint32_t bits = (uint32_t)t.value;
        float f;
        memcpy(&f, &bits, sizeof f);
        *v = (double)f;
    } else if (t.kind == MSG_UINT) {
        *v = (double)t.value;
    } else if (t.kind == MSG_INT) {
        *v = (double)(int64_t)t.value;
    } else {
        return false;
    }
    *m = at;
    return true;
}

bool fl_msg_skip(struct fl_msg *m)
{
    struct fl_msg at = *m;
    uint64_t wanted = 1;                    /* no stack: all that matters is how many values are still to come */

    while (wanted > 0) {
        struct msg_token t;
        if (!msg_next(&at, &t))
            return false;
        wanted--;
        if (t.kind == MSG_ARRAY || t.kind == MSG_MAP)
            wanted += t.value * (t.kind == MSG_MAP ? 2 : 1);
    }
    *m = at;
    return true;
}

/* ---- writing ---- */

static int msg_write(void *data, const char *bytes, size_t n)
{
    struct fl_msg_out *o = data;
    if (o->len <= o->cap && n <= o->cap - o->len) {
        uint8_t *to = o->buf + o->len;
        if (n == 1) {                  /* most writes are a code, a number or a short name: moves without a call */
            *to = (uint8_t)*bytes;
        } else if (n < 4) {
            memcpy(to, bytes, 2);
            to[n - 1] = (uint8_t)bytes[n - 1];
        } else if (n < 8) {
            memcpy(to, bytes, 4);
            memcpy(to + n - 4, bytes + n - 4, 4);
        } else if (n <= 16) {
            memcpy(to, bytes, 8);
            memcpy(to + n - 8, bytes + n - 8, 8);
        } else {
            memcpy(to, bytes, n);
        }
    }
    o->len += n;
    return 0;
}

void fl_msg_out_init(struct fl_msg_out *o, void *buf, size_t cap)
{
    o->buf = buf;
    o->cap = cap;
    o->len = 0;
    msgpack_packer_init(&o->pk, o, msg_write);
}

int fl_msg_out_done(const struct fl_msg_out *o, const char *what, size_t *len, struct fl_err *err)
{
    if (o->len > FL_MSG_MAX)
        return fl_err_set(err, FL_E_PROTO, "%s takes %zu bytes, at most %d are allowed", what, o->len, FL_MSG_MAX);
    if (o->len > o->cap)
        return fl_err_set(err, FL_E_PROTO, "%s takes %zu bytes, the buffer has %zu", what, o->len, o->cap);
    *len = o->len;
    return FL_OK;
}
