/* A stage in another language: tables from JSON, and calls that need no header of ours. */
#include "runtime/bridge.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/main.h"

#define EXPORT __attribute__((visibility("default")))
#define BRIDGE_SLOT 8                    /* bytes of an option in the state: the widest field of opt.h */

struct bridge {
    const struct fl_bridge_calls *calls;
    json_t         *json;                /* the tables' texts point into it */
    struct fl_opt  *opts;
    struct fl_spec *in, *out;
    const char    **counters;
    struct fl_port  ports[3];
    struct fl_stage stage;
};

/* The callbacks of a stage get no pointer of their own; a process is one stage. */
static const struct fl_bridge_calls *bridge_calls;

static int bridge_open(struct fl_ctx *ctx)
{
    return bridge_calls->open(ctx);
}

static int bridge_batch(struct fl_ctx *ctx, struct fl_batch *b)
{
    int rc = bridge_calls->batch(ctx, b);
    if (rc == FL_OK)
        return fl_emit(ctx, &b);
    fl_free(ctx, &b);
    return rc;
}

/* ---- the tables ---- */

static int bridge_type(const char *name)
{
    static const struct { const char *name; int type; } types[] = {
        { "bool", FL_OPT_BOOL }, { "int", FL_OPT_INT }, { "float", FL_OPT_FLOAT }, { "str", FL_OPT_STR }, { "path", FL_OPT_PATH }, { "choice", FL_OPT_CHOICE },
    };
    for (size_t i = 0; name != NULL && i < sizeof types / sizeof *types; i++)
        if (strcmp(types[i].name, name) == 0)
            return types[i].type;
    return 0;
}

static const char *bridge_text(const json_t *j, const char *key)
{
    return json_string_value(json_object_get(j, key));
}

static int bridge_options(struct bridge *s, const json_t *list)
{
    size_t n = json_array_size(list);
    s->opts = calloc(n + 1, sizeof *s->opts);
    for (size_t i = 0; s->opts != NULL && i < n; i++) {
        const json_t *j = json_array_get(list, i);
        struct fl_opt *o = &s->opts[i];
        *o = (struct fl_opt){ .name = bridge_text(j, "name"), .type = bridge_type(bridge_text(j, "type")), .off = i * BRIDGE_SLOT, .def = bridge_text(j, "default"),
                              .min = json_number_value(json_object_get(j, "min")), .max = json_number_value(json_object_get(j, "max")),
                              .choices = bridge_text(j, "choices"), .help = bridge_text(j, "help"), .required = json_is_true(json_object_get(j, "required")) };
        if (o->name == NULL || o->type == 0)
            return FL_E_BUG;
    }
    s->stage.state_size = n * BRIDGE_SLOT;
    return s->opts != NULL ? FL_OK : FL_E_NOMEM;
}

static int bridge_specs(struct fl_spec **out, const json_t *list)
{
    size_t n = json_array_size(list);
    struct fl_spec *s = *out = calloc(n + 1, sizeof *s);
    for (size_t i = 0; s != NULL && i < n; i++) {
        const json_t *j = json_array_get(list, i);
        s[i] = (struct fl_spec){ .name = bridge_text(j, "name"), .dtypes = bridge_text(j, "dtypes"), .shape = bridge_text(j, "shape"),
                                 .flags = (unsigned)json_integer_value(json_object_get(j, "flags")) };
        if (s[i].name == NULL || s[i].dtypes == NULL || s[i].shape == NULL)
            return FL_E_BUG;
    }
    return s != NULL ? FL_OK : FL_E_NOMEM;
}

static int bridge_counters(struct bridge *s, const json_t *list)
{
    size_t n = json_array_size(list);
    s->counters = calloc(n + 1, sizeof *s->counters);
    for (size_t i = 0; s->counters != NULL && i < n; i++)
        if ((s->counters[i] = json_string_value(json_array_get(list, i))) == NULL)
            return FL_E_BUG;
    return s->counters != NULL ? FL_OK : FL_E_NOMEM;
}

static int bridge_tables(struct bridge *s)
{
    int rc = bridge_options(s, json_object_get(s->json, "options"));
    if (rc == FL_OK)
        rc = bridge_specs(&s->in, json_object_get(s->json, "in"));
    if (rc == FL_OK)
        rc = bridge_specs(&s->out, json_object_get(s->json, "out"));
    if (rc == FL_OK)
        rc = bridge_counters(s, json_object_get(s->json, "counters"));
    s->stage.name = bridge_text(s->json, "name");
    s->stage.help = bridge_text(s->json, "help");
    if (rc == FL_OK && (s->stage.name == NULL || s->stage.help == NULL))
        rc = FL_E_BUG;
    s->ports[0] = (struct fl_port){ "in", FL_IN, s->in };
    s->ports[1] = (struct fl_port){ "out", FL_OUT, s->out };
    s->stage.opts = s->opts;
    s->stage.ports = s->ports;
    s->stage.counters = s->counters;
    s->stage.open = bridge_open;
    s->stage.batch = bridge_batch;
    return rc;
}

EXPORT int fl_bridge_main(const char *tables, const struct fl_bridge_calls *calls, int argc, char **argv)
{
    json_error_t je;
    struct bridge s = { .json = json_loads(tables, JSON_REJECT_DUPLICATES, &je) };
    int rc = s.json != NULL ? bridge_tables(&s) : FL_E_BUG, status = 2;
    bridge_calls = calls;
    if (rc == FL_OK)
        status = fl_stage_main(&s.stage, argc, argv);
    else
        fprintf(stderr, "the stage's tables: %s%s%s\n", fl_status_name(rc), s.json != NULL ? "" : ": ", s.json != NULL ? "" : je.text);
    free(s.opts);
    free(s.in);
    free(s.out);
    free(s.counters);
    json_decref(s.json);
    return status;
}

/* ---- what the callbacks may use ---- */

EXPORT const char *fl_bridge_version(void)
{
    return FL_VERSION;
}

EXPORT const void *fl_bridge_option(const struct fl_ctx *ctx, uint32_t i)
{
    return (const char *)ctx->state + (size_t)i * BRIDGE_SLOT;
}

EXPORT const char *const *fl_bridge_labels(const struct fl_ctx *ctx, uint32_t *n)
{
    *n = ctx->nlabels;
    return ctx->labels;
}

EXPORT uint64_t fl_bridge_seed(const struct fl_ctx *ctx)
{
    return ctx->seed;
}

EXPORT uint32_t fl_bridge_rows(const struct fl_batch *b)
{
    return b->n;
}

EXPORT bool fl_bridge_tensor(const struct fl_batch *b, const char *name, struct fl_bridge_tensor *out)
{
    const struct fl_tensor *t = fl_in(b, name);
    if (t == NULL)
        return false;
    *out = (struct fl_bridge_tensor){ .dtype = fl_dtype_name(t->dtype), .ndim = t->ndim, .data = t->data };
    memcpy(out->shape, t->shape, sizeof out->shape);
    return true;
}

EXPORT const char *fl_bridge_id(const struct fl_batch *b, uint32_t row)
{
    return fl_id(b, row);
}

EXPORT bool fl_bridge_rejected(const struct fl_batch *b, uint32_t row)
{
    return fl_rejected(b, row) != FL_OK;
}

EXPORT void *fl_bridge_out(struct fl_ctx *ctx, struct fl_batch *b, const char *name, const char *dtype, uint32_t ndim, const uint32_t *shape)
{
    return fl_out(ctx, b, name, fl_dtype_parse(dtype, strlen(dtype)), ndim, shape);
}

EXPORT int fl_bridge_reject(struct fl_ctx *ctx, struct fl_batch *b, uint32_t row, const char *code, const char *text)
{
    return fl_reject(ctx, b, row, fl_status_parse(code), "%s", text);
}

EXPORT int fl_bridge_fail(struct fl_ctx *ctx, const char *code, const char *text)
{
    return fl_fail(ctx, fl_status_parse(code), "%s", text);
}

EXPORT void fl_bridge_warn(struct fl_ctx *ctx, const char *text)
{
    fl_warn(ctx, "%s", text);
}

EXPORT void fl_bridge_count(struct fl_ctx *ctx, int counter, uint64_t n)
{
    fl_count(ctx, counter, n);
}

EXPORT void fl_bridge_alive(struct fl_ctx *ctx)
{
    fl_alive(ctx);
}
