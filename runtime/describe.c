/* What `STAGE --describe` prints: the tables of a stage, and what its options decide, as one JSON object. */
#include <string.h>

#include "runtime/host.h"

static const char *const type_names[] = {
    [FL_OPT_BOOL] = "bool", [FL_OPT_INT] = "int", [FL_OPT_FLOAT] = "float", [FL_OPT_SIZE] = "size", [FL_OPT_STR] = "str",
    [FL_OPT_PATH] = "path", [FL_OPT_OUT] = "out", [FL_OPT_CHOICE] = "choice", [FL_OPT_LIST] = "list", [FL_OPT_PATHS] = "paths",
    [FL_OPT_JSON] = "json",
};

static json_t *describe_split(const char *text, char sep)
{
    json_t *list = json_array();
    char seps[2] = { sep, '\0' };
    for (const char *p = text; p != NULL && *p != '\0'; ) {
        size_t len = strcspn(p, seps);
        json_array_append_new(list, json_stringn(p, len));
        p += len + (p[len] == sep);
    }
    return list;
}

static json_t *describe_option(const struct fl_opt *o)
{
    json_t *j = json_pack("{s:s, s:s, s:s, s:b}", "name", o->name, "type", type_names[o->type], "help", o->help ? o->help : "", "required", o->required != 0);
    json_object_set_new(j, "default", o->def != NULL ? json_string(o->def) : json_null());
    if (o->min != 0 || o->max != 0) {
        json_object_set_new(j, "min", json_real(o->min));
        json_object_set_new(j, "max", json_real(o->max));
    }
    if (o->choices != NULL)
        json_object_set_new(j, "choices", describe_split(o->choices, '|'));
    if (o->type == FL_OPT_OUT)
        json_object_set_new(j, "beside", json_boolean(o->beside));
    return j;
}

static json_t *describe_tensor(const char *name, const char *dtypes, const char *shape, unsigned flags)
{
    return json_pack("{s:s, s:o, s:o, s:b, s:b, s:b}", "name", name, "dtype", describe_split(dtypes, '|'), "shape", describe_split(shape, ','),
                     "optional", (flags & FL_OPTIONAL) != 0, "taken", (flags & FL_TAKEN) != 0, "either", (flags & FL_EITHER) != 0);
}

static json_t *describe_port(const struct fl_host *h, const struct fl_port *p)
{
    json_t *tensors = json_array();
    for (const struct fl_spec *s = p->tensors; s != NULL && s->name != NULL; s++)
        json_array_append_new(tensors, describe_tensor(s->name, s->dtypes, s->shape, s->flags));
    for (uint32_t i = 0; i < h->ngiven && (p->flags & FL_OUT); i++)
        json_array_append_new(tensors, describe_tensor(h->given[i].name, h->given[i].dtypes, h->given[i].shape, h->given[i].flags));
    return json_pack("{s:s, s:s, s:b, s:b, s:b, s:o}", "name", p->name, "dir", p->flags & FL_IN ? "in" : "out", "many", (p->flags & FL_MANY) != 0,
                     "tap", (p->flags & FL_TAP) != 0, "again", (p->flags & FL_AGAIN) != 0, "tensors", tensors);
}

static json_t *describe_labels(const struct fl_host *h, json_t *root)
{
    if (h->nlabels == 0)
        return json_null();
    json_t *names = json_array(), *ex = json_array();
    for (uint32_t i = 0; i < h->nlabels; i++) {
        json_array_append_new(names, json_string(h->labels[i]));
        if (i < 64 && h->exclusive >> i & 1)
            json_array_append_new(ex, json_string(h->labels[i]));
    }
    json_object_set_new(root, "exclusive", ex);
    json_object_set_new(root, "rest_off", h->rest_off < h->nlabels ? json_string(h->labels[h->rest_off]) : json_null());
    return names;
}

static json_t *describe_batch_size(const struct fl_host *h)
{
    if (fl_stage_port(h->stage, FL_IN) != NULL)
        return json_null();
    if (h->bound['B'] != 0)
        return json_integer(h->bound['B']);
    for (const struct fl_opt *o = h->stage->opts; o != NULL && o->name != NULL; o++)
        if (strcmp(o->name, "batch") == 0 && o->type == FL_OPT_INT) {
            int64_t v;
            memcpy(&v, (const char *)h->ctx.state + o->off, sizeof v);
            return v > 0 ? json_integer(v) : json_null();      /* 0: a required option is missing, so defaults aren't in yet */
        }
    return json_null();
}

static json_t *describe_offers(const struct fl_stage *st)
{
    json_t *list = json_array();
    char text[400];
    for (uint32_t i = 0; st->offers != NULL && st->offers(i, text, sizeof text); i++)
        json_array_append_new(list, json_string(text));
    return list;
}

json_t *fl_host_describe_json(const struct fl_host *h, int rc)
{
    const struct fl_stage *st = h->stage;
    json_t *opts = json_array(), *ports = json_array(), *counters = json_array(), *bind = json_object(), *dtype = json_object(), *want = json_array();
    for (const struct fl_opt *o = st->opts; o != NULL && o->name != NULL; o++)
        json_array_append_new(opts, describe_option(o));
    for (const struct fl_port *p = st->ports; p != NULL && p->name != NULL; p++)
        json_array_append_new(ports, describe_port(h, p));
    for (const char *const *c = st->counters; c != NULL && *c != NULL; c++)
        json_array_append_new(counters, json_string(*c));
    for (int c = 'A'; c <= 'Z'; c++)
        if (h->bound[c] != 0)
            json_object_set_new(bind, (char[]){ (char)c, '\0' }, json_integer(h->bound[c]));
    for (uint32_t i = 0; i < h->nbound_dtypes; i++)
        json_object_set_new(dtype, h->bound_name[i], json_string(h->bound_dtype[i] == FL_DTYPE_NONE ? "none" : fl_dtype_name(h->bound_dtype[i])));
    for (uint32_t i = 0; i < h->nwant; i++)
        json_array_append_new(want, json_string(h->want[i]));

    json_t *root = json_pack("{s:i, s:s, s:s, s:s}", "describe", 1, "name", st->name, "help", st->help, "version", FL_VERSION);
    json_object_set_new(root, "options", opts);
    json_object_set_new(root, "ports", ports);
    json_object_set_new(root, "counters", counters);
    json_object_set_new(root, "bind", bind);
    json_object_set_new(root, "dtype", dtype);
    json_object_set_new(root, "want", want);
    json_object_set_new(root, "labels", describe_labels(h, root));
    json_object_set_new(root, "models", h->models != NULL ? json_incref(h->models) : json_null());
    json_object_set_new(root, "snapshots", h->snapshots != NULL ? json_incref(h->snapshots) : json_null());
    json_object_set_new(root, "batches", h->batches == UINT64_MAX ? json_null() : json_integer((json_int_t)h->batches));
    json_object_set_new(root, "tiles", h->tiles == UINT64_MAX ? json_null() : json_integer((json_int_t)h->tiles));
    json_object_set_new(root, "epochs", h->epochs == 0 ? json_null() : json_integer(h->epochs));
    json_object_set_new(root, "B", describe_batch_size(h));
    json_object_set_new(root, "memory", h->memory > 0 && h->memory <= INT64_MAX ? json_integer((json_int_t)h->memory) : json_null());
    json_object_set_new(root, "threads", json_boolean(st->threads));
    json_object_set_new(root, "settled", h->settled != NULL ? json_incref(h->settled) : json_object());
    if (json_object_size(h->options) == 0)
        json_object_set_new(root, "offers", describe_offers(st));
    json_object_set_new(root, "error", rc == FL_OK ? json_null() : json_pack("{s:s, s:s}", "code", fl_status_name(rc), "text", h->err.text));
    return root;
}
