/* Control messages: one table of members serves both directions. */
#include "proto/control.h"

#include <string.h>

#include "proto/msg.h"

enum control_kind { CONTROL_TEXT, CONTROL_U64, CONTROL_U32, CONTROL_DOUBLE };

#define MEMBER(kind, member) { #member, kind, offsetof(struct fl_control, member), sizeof ((struct fl_control *)0)->member }
static const struct control_member { const char *key; int kind; size_t off, size; } control_members[] = {
    MEMBER(CONTROL_TEXT, type),       /* first: the one that must be there */
    MEMBER(CONTROL_U64, batch),
    MEMBER(CONTROL_U64, batches),
    MEMBER(CONTROL_U64, tiles),
    MEMBER(CONTROL_U64, code),
    MEMBER(CONTROL_U32, attempt),
    MEMBER(CONTROL_U32, slot),
    MEMBER(CONTROL_U32, gen),
    MEMBER(CONTROL_U32, predicted),
    MEMBER(CONTROL_U32, rejected),
    MEMBER(CONTROL_U32, first),
    MEMBER(CONTROL_U32, rows),
    MEMBER(CONTROL_TEXT, name),
    MEMBER(CONTROL_TEXT, id),
    MEMBER(CONTROL_DOUBLE, value),
    MEMBER(CONTROL_TEXT, text),
};
enum { CONTROL_MEMBERS = sizeof control_members / sizeof *control_members };

/* ---- packing ---- */

static uint64_t control_number(const struct control_member *k, const void *at)
{
    if (k->kind == CONTROL_U64)
        return *(const uint64_t *)at;
    return *(const uint32_t *)at;
}

/* True when the member says nothing. For the double by value: -0.0 is nothing too, a NaN is something. */
static bool control_empty(const struct control_member *k, const void *at)
{
    switch (k->kind) {
    case CONTROL_TEXT:   return *(const char *)at == '\0';
    case CONTROL_DOUBLE: return *(const double *)at == 0;
    default:             return control_number(k, at) == 0;
    }
}

static void control_put(struct fl_msg_out *o, const struct control_member *k, const void *at)
{
    fl_msg_put_str(o, k->key);
    switch (k->kind) {
    case CONTROL_TEXT:   fl_msg_put_str(o, at); break;
    case CONTROL_DOUBLE: msgpack_pack_double(&o->pk, *(const double *)at); break;
    default:             msgpack_pack_uint64(&o->pk, control_number(k, at)); break;
    }
}

int fl_control_pack(const struct fl_control *c, void *buf, size_t cap, size_t *len, struct fl_err *err)
{
    struct fl_msg_out o;
    uint32_t n = 0;

    if (c->type[0] == '\0')
        return fl_err_set(err, FL_E_PROTO, "control: type is empty");
    for (int i = 0; i < CONTROL_MEMBERS; i++) {
        const struct control_member *k = &control_members[i];
        const char *at = (const char *)c + k->off;
        if (k->kind == CONTROL_TEXT && strnlen(at, k->size) == k->size)
            return fl_err_set(err, FL_E_PROTO, "control: %s is not ended", k->key);
        n += !control_empty(k, at);
    }
    fl_msg_out_init(&o, buf, cap);
    msgpack_pack_map(&o.pk, n);
    for (int i = 0; i < CONTROL_MEMBERS; i++) {
        const char *at = (const char *)c + control_members[i].off;
        if (!control_empty(&control_members[i], at))
            control_put(&o, &control_members[i], at);
    }
    return fl_msg_out_done(&o, "control message", len, err);
}

/* ---- unpacking ---- */

static int control_find(const char *s, uint32_t len)
{
    int k = 0;
    while (k < CONTROL_MEMBERS && (strlen(control_members[k].key) != len || memcmp(control_members[k].key, s, len) != 0))
        k++;
    return k;
}

static int control_read(struct fl_msg *m, const struct control_member *k, void *at, struct fl_err *err)
{
    const char *want = "a number";
    bool ok;

    switch (k->kind) {
    case CONTROL_TEXT:
        want = "a text that fits";
        ok = fl_msg_text(m, at, k->size);
        break;
    case CONTROL_DOUBLE: ok = fl_msg_double(m, at); break;
    case CONTROL_U64:    ok = fl_msg_u64(m, at); break;
    default:             ok = fl_msg_u32(m, at); break;
    }
    return ok ? FL_OK : fl_err_set(err, FL_E_PROTO, "control: %s is not %s", k->key, want);
}

int fl_control_unpack(const void *buf, size_t len, struct fl_control *c, struct fl_err *err)
{
    struct fl_msg m = { buf, (const uint8_t *)buf + len };
    struct fl_control in = { 0 };
    uint32_t n, seen = 0;
    int rc = fl_msg_check(buf, len, err);

    if (rc != FL_OK) {
        if (err != NULL)
            fl_err_context(err, "control");
        return rc;
    }
    if (!fl_msg_map(&m, &n))
        return fl_err_set(err, FL_E_PROTO, "control: not a map");
    for (uint32_t i = 0; rc == FL_OK && i < n; i++) {
        const char *s;
        uint32_t slen;
        if (!fl_msg_str(&m, &s, &slen))
            return fl_err_set(err, FL_E_PROTO, "control: key %u is not a text", i);
        int key = control_find(s, slen);
        if (key == CONTROL_MEMBERS) {
            fl_msg_skip(&m);
            continue;
        }
        if ((seen & 1u << key) != 0)
            return fl_err_set(err, FL_E_PROTO, "control: %s is there twice", control_members[key].key);
        seen |= 1u << key;
        rc = control_read(&m, &control_members[key], (char *)&in + control_members[key].off, err);
    }
    if (rc != FL_OK)
        return rc;
    if (in.type[0] == '\0')
        return fl_err_set(err, FL_E_PROTO, "control: type is missing");
    *c = in;
    return FL_OK;
}
