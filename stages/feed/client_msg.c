/* Reads what trainers say: fixed fields, then names, each proven to end within the message. */
#include "stages/feed/client_msg.h"

#include <string.h>

static uint64_t msg_get(const unsigned char *p, int bytes)
{
    uint64_t v = 0;
    for (int i = bytes - 1; i >= 0; i--)
        v = v << 8 | p[i];
    return v;
}

static int msg_names(const unsigned char *p, const unsigned char *end, struct fl_client_msg *m, struct fl_err *err)
{
    for (uint32_t i = 0; i < m->nnames; i++) {
        size_t most = (size_t)(end - p) < FL_NAME_MAX ? (size_t)(end - p) : FL_NAME_MAX;
        const unsigned char *nul = memchr(p, '\0', most);
        if (nul == NULL || nul == p)
            return fl_err_set(err, FL_E_PROTO, "join: name %u is empty, longer than %d bytes or without an end", i, FL_NAME_MAX - 1);
        memcpy(m->names[i], p, (size_t)(nul - p) + 1);
        p = nul + 1;
    }
    return p == end ? FL_OK : fl_err_set(err, FL_E_PROTO, "join: %zu bytes behind the last name", (size_t)(end - p));
}

int fl_client_msg_read(const void *buf, size_t len, struct fl_client_msg *m, struct fl_err *err)
{
    const unsigned char *p = buf;
    if (len < FL_CLIENT_PREFIX || len > FL_CLIENT_MAX)
        return fl_err_set(err, FL_E_PROTO, "a message of %zu bytes", len);
    if (p[1] != FL_CLIENT_VERSION)
        return fl_err_set(err, FL_E_PROTO, "a message of version %u, want %u", p[1], FL_CLIENT_VERSION);
    m->kind = (char)p[0];
    m->nnames = 0;
    if (m->kind == 'H' && len == FL_CLIENT_PREFIX)
        return FL_OK;
    if (m->kind == 'R' && len == 16) {
        m->gen = (uint32_t)msg_get(p + 4, 4);
        m->batch = msg_get(p + 8, 8);
        return FL_OK;
    }
    if (m->kind != 'J' || len < 20)
        return fl_err_set(err, FL_E_PROTO, "a message of kind %u and %zu bytes", p[0], len);
    m->nnames = (uint32_t)msg_get(p + 2, 2);
    m->rank = (uint32_t)msg_get(p + 4, 4);
    m->world = (uint32_t)msg_get(p + 8, 4);
    m->next = msg_get(p + 12, 8);
    if (m->nnames > FL_CLIENT_NAMES)
        return fl_err_set(err, FL_E_PROTO, "join: %u names, at most %d", m->nnames, FL_CLIENT_NAMES);
    return msg_names(p + 20, p + len, m, err);
}

void fl_client_msg_prefix(char kind, unsigned char *to)
{
    to[0] = (unsigned char)kind;
    to[1] = FL_CLIENT_VERSION;
    to[2] = to[3] = 0;
}
