/* The connection of inlet and outlet. */
#include "stages/lib/line.h"

#include <stdlib.h>
#include <string.h>

int fl_line_open(struct fl_ctx *ctx, struct fl_line *l, enum fl_wire_role role)
{
    const struct fl_dial_conf conf = { .address = l->address, .server_key = l->server_key, .public_key = l->public_key, .secret_key = l->secret_key,
                                       .most = FL_WIRE_MAX, .silence = (uint32_t)(l->silence * 1000) };
    unsigned char head[FL_WIRE_PREFIX];
    struct fl_err err = { 0 };
    if (strlen(l->pass) != FL_WIRE_PASS)
        return fl_fail(ctx, FL_E_CONFIG, "option pass: want %d characters", FL_WIRE_PASS);
    if ((l->server_key != NULL) != (l->public_key != NULL) || (l->server_key != NULL) != (l->secret_key != NULL))
        return fl_fail(ctx, FL_E_CONFIG, "server_key, public_key and secret_key go together");
    l->buf = malloc(FL_WIRE_MAX);
    if (l->buf == NULL)
        return fl_fail(ctx, FL_E_NOMEM, "connection");
    fl_wire_head(head, 'H', role);
    int rc = fl_dial_open(&conf, &l->dial, &err);
    if (rc == FL_OK)
        rc = fl_dial_say(l->dial, head, sizeof head, l->pass, FL_WIRE_PASS, &err);
    if (rc != FL_OK)
        return fl_fail(ctx, rc, "%s: %s", l->address, err.text);
    fl_listen(ctx, fl_dial_fd(l->dial));
    return FL_OK;
}

void fl_line_close(struct fl_line *l)
{
    fl_dial_close(l->dial);
    free(l->buf);
    l->dial = NULL;
    l->buf = NULL;
}

int fl_line_next(struct fl_ctx *ctx, struct fl_line *l)
{
    struct fl_err err = { 0 };
    int rc = fl_dial_next(l->dial, l->buf, &l->len, &err);
    if (rc == FL_E_PEER)
        return fl_lost(ctx, "%s: %s", l->address, err.text);
    if (rc != FL_OK && rc != FL_END)
        return fl_fail(ctx, rc, "%s: %s", l->address, err.text);
    if (rc == FL_OK && !fl_wire_is(l->buf, l->len))
        return fl_fail(ctx, FL_E_PROTO, "%s: a message of %zu bytes that is none of ours", l->address, l->len);
    return rc;
}
