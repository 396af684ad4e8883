/* The wire header of a batch. */
#include "proto/frame.h"

#include <string.h>

#include "proto/msg.h"

/* ---- what both directions prove of a tensor ---- */

static int frame_tensor_ok(const struct fl_tensor *t, struct fl_err *err)
{
    uint64_t bytes;

    if (!fl_shape_bytes(t->dtype, t->shape, t->ndim, &bytes))
        return fl_err_set(err, FL_E_PROTO, "header: tensor %s: type %d with %d dimensions has no size", t->name, t->dtype, t->ndim);
    if (bytes != t->bytes)
        return fl_err_set(err, FL_E_PROTO, "header: tensor %s: %llu bytes, its shape and type take %llu", t->name,
                          (unsigned long long)t->bytes, (unsigned long long)bytes);
    if (t->place < -1)
        return fl_err_set(err, FL_E_PROTO, "header: tensor %s: place %d", t->name, t->place);
    if (t->place == -1 ? t->off > FL_MAX_TENSORS : t->off % FL_ALIGN != 0 || t->off > UINT64_MAX - t->bytes)
        return fl_err_set(err, FL_E_PROTO, "header: tensor %s: offset %llu", t->name, (unsigned long long)t->off);
    return FL_OK;
}

/* ---- packing ---- */

static int frame_put_tensor(struct fl_msg_out *o, uint32_t i, const struct fl_tensor *t, struct fl_err *err)
{
    size_t len = strnlen(t->name, sizeof t->name);

    if (len == 0 || len == sizeof t->name)
        return fl_err_set(err, FL_E_PROTO, "header: tensor %u: its name is empty or not ended", i);
    int rc = frame_tensor_ok(t, err);
    if (rc != FL_OK)
        return rc;
    msgpack_pack_array(&o->pk, 6);
    fl_msg_put_str(o, t->name);
    fl_msg_put_str(o, fl_dtype_name(t->dtype));
    msgpack_pack_array(&o->pk, t->ndim);
    for (uint32_t d = 0; d < t->ndim; d++)
        msgpack_pack_uint32(&o->pk, t->shape[d]);
    msgpack_pack_int32(&o->pk, t->place);
    msgpack_pack_uint64(&o->pk, t->off);
    msgpack_pack_uint64(&o->pk, t->bytes);
    return FL_OK;
}

int fl_frame_pack(const struct fl_batch *b, void *buf, size_t cap, size_t *len, struct fl_err *err)
{
    struct fl_msg_out o;

    if (b->ntensors > FL_MAX_TENSORS)
        return fl_err_set(err, FL_E_PROTO, "header: %u tensors, at most %d are allowed", b->ntensors, FL_MAX_TENSORS);
    fl_msg_out_init(&o, buf, cap);
    msgpack_pack_map(&o.pk, b->probe > 0 ? 10 : 9);
    fl_msg_put_key_u64(&o, "v", FL_FRAME_VERSION);
    fl_msg_put_key_u64(&o, "run", b->run);
    fl_msg_put_key_u64(&o, "batch", b->batch);
    fl_msg_put_key_u64(&o, "attempt", b->attempt);
    fl_msg_put_key_u64(&o, "slot", b->slot);
    fl_msg_put_key_u64(&o, "gen", b->gen);
    fl_msg_put_key_u64(&o, "n", b->n);
    fl_msg_put_key_u64(&o, "crit", b->probe > 0 ? FL_FRAME_PROBE : 0);
    if (b->probe > 0)
        fl_msg_put_key_u64(&o, "probe", b->probe);
    fl_msg_put_str(&o, "t");
    msgpack_pack_array(&o.pk, b->ntensors);
    for (uint32_t i = 0; i < b->ntensors; i++) {
        int rc = frame_put_tensor(&o, i, &b->t[i], err);
        if (rc != FL_OK)
            return rc;
    }
    return fl_msg_out_done(&o, "header", len, err);
}

/* ---- unpacking ---- */

int fl_frame_check(const void *buf, size_t len, struct fl_err *err)
{
    int rc = fl_msg_check(buf, len, err);
    if (rc != FL_OK && err != NULL)
        fl_err_context(err, "header");
    return rc;
}

static int frame_read_tensor(struct fl_msg *m, uint32_t i, struct fl_tensor *t, struct fl_err *err)
{
    uint32_t count, len;
    const char *type;

    memset(t, 0, sizeof *t);
    if (!fl_msg_array(m, &count) || count != 6)
        return fl_err_set(err, FL_E_PROTO, "header: tensor %u: not an array of 6", i);
    if (!fl_msg_text(m, t->name, sizeof t->name) || t->name[0] == '\0')
        return fl_err_set(err, FL_E_PROTO, "header: tensor %u: its name is not a text of 1 to %d bytes", i, FL_NAME_MAX - 1);
    if (!fl_msg_str(m, &type, &len) || (t->dtype = (uint8_t)fl_dtype_parse(type, len)) == FL_DTYPE_NONE)
        return fl_err_set(err, FL_E_PROTO, "header: tensor %s: unknown type", t->name);
    if (!fl_msg_array(m, &count) || count > FL_MAX_DIMS)
        return fl_err_set(err, FL_E_PROTO, "header: tensor %s: its shape is not an array of at most %d", t->name, FL_MAX_DIMS);
    t->ndim = (uint8_t)count;
    for (uint32_t d = 0; d < count; d++)
        if (!fl_msg_u32(m, &t->shape[d]))
            return fl_err_set(err, FL_E_PROTO, "header: tensor %s: dimension %u is not a count", t->name, d);
    if (!fl_msg_i32(m, &t->place) || !fl_msg_u64(m, &t->off) || !fl_msg_u64(m, &t->bytes))
        return fl_err_set(err, FL_E_PROTO, "header: tensor %s: place, offset or bytes are not whole numbers", t->name);
    return frame_tensor_ok(t, err);
}

static int frame_read_tensors(struct fl_msg *m, struct fl_batch *b, struct fl_err *err)
{
    uint32_t n;

    if (!fl_msg_array(m, &n))
        return fl_err_set(err, FL_E_PROTO, "header: t is not an array");
    if (n > FL_MAX_TENSORS)
        return fl_err_set(err, FL_E_PROTO, "header: %u tensors, at most %d are allowed", n, FL_MAX_TENSORS);
    for (uint32_t i = 0; i < n; i++) {
        int rc = frame_read_tensor(m, i, &b->t[i], err);
        if (rc != FL_OK)
            return rc;
    }
    b->ntensors = n;
    return FL_OK;
}

enum { FRAME_V, FRAME_RUN, FRAME_BATCH, FRAME_ATTEMPT, FRAME_SLOT, FRAME_GEN, FRAME_N, FRAME_CRIT, FRAME_T, FRAME_PROBE, FRAME_KEYS };
static const char *const frame_keys[FRAME_KEYS] = { "v", "run", "batch", "attempt", "slot", "gen", "n", "crit", "t", "probe" };
static const uint8_t frame_key_len[FRAME_KEYS] = { 1, 3, 5, 7, 4, 3, 1, 4, 1, 5 };

/* Which key this is, FRAME_KEYS for an unknown one; the key after the last one is looked at first. */
static int frame_key(const char *s, uint32_t len, int last)
{
    for (int i = 1; i <= FRAME_KEYS; i++) {
        int k = (last + i) % FRAME_KEYS;
        if (frame_key_len[k] == len && memcmp(frame_keys[k], s, len) == 0)
            return k;
    }
    return FRAME_KEYS;
}

static int frame_read_value(struct fl_msg *m, int key, struct fl_batch *b, uint32_t *crit, struct fl_err *err)
{
    uint32_t small = 0;
    bool ok;

    switch (key) {
    case FRAME_RUN:     ok = fl_msg_u64(m, &b->run); break;
    case FRAME_BATCH:   ok = fl_msg_u64(m, &b->batch); break;
    case FRAME_ATTEMPT: ok = fl_msg_u32(m, &b->attempt); break;
    case FRAME_SLOT:    ok = fl_msg_u32(m, &b->slot); break;
    case FRAME_GEN:     ok = fl_msg_u32(m, &b->gen); break;
    case FRAME_N:       ok = fl_msg_u32(m, &b->n); break;
    case FRAME_PROBE:   ok = fl_msg_u32(m, &b->probe); break;
    case FRAME_T:       return frame_read_tensors(m, b, err);
    case FRAME_V:
        ok = fl_msg_u32(m, &small);
        if (ok && small != FL_FRAME_VERSION)
            return fl_err_set(err, FL_E_PROTO, "header: version %u, want %d", small, FL_FRAME_VERSION);
        break;
    case FRAME_CRIT:
        ok = fl_msg_u32(m, crit);
        if (ok && (*crit & ~FL_FRAME_CRIT) != 0)
            return fl_err_set(err, FL_E_PROTO, "header: critical bits %#x are unknown", *crit & ~FL_FRAME_CRIT);
        break;
    default:
        return fl_msg_skip(m) ? FL_OK : fl_err_set(err, FL_E_PROTO, "header: the value of an unknown key can't be read");
    }
    return ok ? FL_OK : fl_err_set(err, FL_E_PROTO, "header: %s is not a whole number of its size", frame_keys[key]);
}

int fl_frame_unpack(const void *buf, size_t len, struct fl_batch *b, struct fl_err *err)
{
    struct fl_msg m = { buf, (const uint8_t *)buf + len };
    struct fl_batch in;
    uint32_t n, crit = 0, seen = 0;
    int key = FRAME_KEYS - 1;
    memset(&in, 0, offsetof(struct fl_batch, t));
    int rc = fl_frame_check(buf, len, err);

    if (rc != FL_OK)
        return rc;
    if (!fl_msg_map(&m, &n))
        return fl_err_set(err, FL_E_PROTO, "header: not a map");
    for (uint32_t i = 0; i < n; i++) {
        const char *s;
        uint32_t slen;
        if (!fl_msg_str(&m, &s, &slen))
            return fl_err_set(err, FL_E_PROTO, "header: key %u is not a text", i);
        key = frame_key(s, slen, key);
        if (key < FRAME_KEYS && (seen & 1u << key) != 0)
            return fl_err_set(err, FL_E_PROTO, "header: %s is there twice", frame_keys[key]);
        seen |= 1u << key;
        rc = frame_read_value(&m, key, &in, &crit, err);
        if (rc != FL_OK)
            return rc;
    }
    for (key = 0; key < FRAME_PROBE; key++)
        if ((seen & 1u << key) == 0)
            return fl_err_set(err, FL_E_PROTO, "header: %s is missing", frame_keys[key]);
    if ((crit & FL_FRAME_PROBE) != 0 ? in.probe == 0 : in.probe != 0)
        return fl_err_set(err, FL_E_PROTO, "header: probe is %u, but crit is %#x", in.probe, crit);
    memcpy(b, &in, offsetof(struct fl_batch, t) + in.ntensors * sizeof in.t[0]);
    b->host = NULL;
    return FL_OK;
}
