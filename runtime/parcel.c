/* Batches between hosts, as messages. */
#include "runtime/parcel.h"

#include <string.h>

#include "proto/frame.h"

void fl_wire_put(unsigned char *p, uint64_t v, int bytes)
{
    for (int i = 0; i < bytes; i++)
        p[i] = (unsigned char)(v >> 8 * i);
}

uint64_t fl_wire_get(const unsigned char *p, int bytes)
{
    uint64_t v = 0;
    for (int i = bytes - 1; i >= 0; i--)
        v = v << 8 | p[i];
    return v;
}

void fl_wire_head(unsigned char head[FL_WIRE_PREFIX], char kind, uint32_t u16)
{
    head[0] = (unsigned char)kind;
    head[1] = FL_WIRE_VERSION;
    fl_wire_put(head + 2, u16, 2);
}

bool fl_wire_is(const void *msg, size_t len)
{
    return len >= FL_WIRE_PREFIX && ((const unsigned char *)msg)[1] == FL_WIRE_VERSION;
}

/* ---- taking ---- */

int fl_parcel_token(const void *msg, size_t len, uint64_t *token, struct fl_err *err)
{
    if (!fl_wire_is(msg, len) || len < FL_WIRE_PREFIX + 8)
        return fl_err_set(err, FL_E_PROTO, "a message of %zu bytes, too short for a batch", len);
    *token = fl_wire_get((const unsigned char *)msg + FL_WIRE_PREFIX, 8);
    return FL_OK;
}

/* Tensors without bytes have none to wait for. */
static void parcel_skip(struct fl_parcel *p)
{
    while (p->at < p->b.ntensors && p->filled == p->b.t[p->at].bytes) {
        p->at++;
        p->filled = 0;
    }
}

int fl_parcel_begin(struct fl_parcel *p, const void *msg, size_t len, uint32_t B, uint64_t limit, struct fl_err *err)
{
    uint64_t sum = 0;
    int rc = fl_parcel_token(msg, len, &p->token, err);
    if (rc == FL_OK)
        rc = fl_frame_unpack((const unsigned char *)msg + FL_WIRE_PREFIX + 8, len - FL_WIRE_PREFIX - 8, &p->b, err);
    if (rc != FL_OK)
        return rc;
    if (p->b.n > B)
        return fl_err_set(err, FL_E_PROTO, "a batch of %u rows, at most %u are allowed", p->b.n, B);
    for (uint32_t i = 0; i < p->b.ntensors; i++) {
        const struct fl_tensor *t = &p->b.t[i];
        if (t->place != -1 || t->off != i + UINT64_C(1))
            return fl_err_set(err, FL_E_PROTO, "tensor %s: not in-line in its turn", t->name);
        if (t->bytes > limit || sum > limit - t->bytes)
            return fl_err_set(err, FL_E_PROTO, "tensor %s: more than the %llu bytes that a batch may have here", t->name, (unsigned long long)limit);
        sum = (sum + t->bytes + FL_ALIGN - 1) / FL_ALIGN * FL_ALIGN;
    }
    p->at = 0;
    p->filled = 0;
    parcel_skip(p);
    return FL_OK;
}

int fl_parcel_add(struct fl_parcel *p, const void *msg, size_t len, struct fl_err *err)
{
    const unsigned char *m = msg;
    if (!fl_wire_is(msg, len) || len <= FL_PARCEL_HEAD)
        return fl_err_set(err, FL_E_PROTO, "bytes of a tensor: a message of %zu bytes", len);
    if (fl_parcel_whole(p))
        return fl_err_set(err, FL_E_PROTO, "bytes of a tensor of a batch that has come");
    struct fl_tensor *t = &p->b.t[p->at];
    size_t n = len - FL_PARCEL_HEAD;
    if (fl_wire_get(m + 12, 4) != p->at || fl_wire_get(m + 16, 8) != p->filled || n > t->bytes - p->filled)
        return fl_err_set(err, FL_E_PROTO, "tensor %s: %zu bytes at %llu, want those at %llu of %llu", t->name, n, (unsigned long long)fl_wire_get(m + 16, 8),
                          (unsigned long long)p->filled, (unsigned long long)t->bytes);
    memcpy((unsigned char *)t->data + p->filled, m + FL_PARCEL_HEAD, n);
    p->filled += n;
    parcel_skip(p);
    return FL_OK;
}

bool fl_parcel_whole(const struct fl_parcel *p)
{
    return p->at == p->b.ntensors;
}

/* ---- giving ---- */

static bool parcel_named(char *const *names, const char *name)
{
    for (char *const *n = names; n != NULL && *n != NULL; n++)
        if (strcmp(*n, name) == 0)
            return true;
    return names == NULL;
}

static int parcel_bytes(const struct fl_tensor *t, uint32_t index, uint64_t token, fl_parcel_send *send, void *to)
{
    unsigned char head[FL_PARCEL_HEAD];
    fl_wire_head(head, 'D', 0);
    fl_wire_put(head + 4, token, 8);
    fl_wire_put(head + 12, index, 4);
    for (uint64_t off = 0; off < t->bytes; ) {
        size_t n = t->bytes - off < FL_PARCEL_CHUNK ? (size_t)(t->bytes - off) : FL_PARCEL_CHUNK;
        fl_wire_put(head + 16, off, 8);
        int rc = send(to, head, sizeof head, (const unsigned char *)t->data + off, n);
        if (rc != FL_OK)
            return rc;
        off += n;
    }
    return FL_OK;
}

int fl_parcel_put(const struct fl_batch *b, uint64_t token, char *const *names, fl_parcel_send *send, void *to, struct fl_err *err)
{
    static struct fl_batch out;                  /* one thread a process; large */
    unsigned char msg[FL_WIRE_PREFIX + 8 + FL_FRAME_MAX];
    size_t len;
    memcpy(&out, b, offsetof(struct fl_batch, t));
    out.ntensors = 0;
    for (uint32_t i = 0; i < b->ntensors; i++)
        if (parcel_named(names, b->t[i].name)) {
            struct fl_tensor *t = &out.t[out.ntensors++];
            *t = b->t[i];
            t->place = -1;
            t->off = out.ntensors;
        }
    fl_wire_head(msg, 'B', 0);
    fl_wire_put(msg + FL_WIRE_PREFIX, token, 8);
    int rc = fl_frame_pack(&out, msg + FL_WIRE_PREFIX + 8, FL_FRAME_MAX, &len, err);
    if (rc == FL_OK)
        rc = send(to, msg, FL_WIRE_PREFIX + 8 + len, NULL, 0);
    for (uint32_t i = 0; rc == FL_OK && i < out.ntensors; i++)
        rc = parcel_bytes(&out.t[i], i, token, send, to);
    return rc;
}
