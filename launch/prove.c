/* Proves that a describe answer has the shape the rest of flowrun relies on: the stage may be anybody's. */
#include <stdlib.h>
#include <string.h>

#include "launch/describe.h"
#include "launch/mem.h"
#include "proto/batch.h"

static const char *const prove_types[] = { "bool", "int", "float", "size", "str", "path", "out", "choice", "list", "paths", "json", NULL };

static bool prove_bad(char **why, const char *what, const char *where)
{
    *why = fl_need_text("%s%s%s", what, *where ? " in " : "", where);
    return false;
}

static bool prove_name(const json_t *j)
{
    const char *s = json_string_value(j);
    return s != NULL && *s != '\0' && strlen(s) < FL_NAME_MAX
           && s[strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-")] == '\0';
}

static bool prove_texts(const json_t *list)
{
    size_t i;
    json_t *v;
    if (!json_is_array(list))
        return false;
    json_array_foreach(list, i, v)
        if (!json_is_string(v))
            return false;
    return true;
}

static bool prove_null_or(const json_t *j, bool ok)
{
    return j == NULL || json_is_null(j) || ok;
}

static bool prove_flag(const json_t *o, const char *key)
{
    const json_t *j = json_object_get(o, key);
    return j == NULL || json_is_boolean(j);
}

static bool prove_option(const json_t *o, char **why)
{
    const char *name = json_string_value(json_object_get(o, "name")), *type = json_string_value(json_object_get(o, "type"));
    if (name == NULL || *name == '\0')
        return prove_bad(why, "an option without name", "options");
    bool known = false;
    for (const char *const *t = prove_types; type != NULL && *t != NULL; t++)
        known |= strcmp(type, *t) == 0;
    if (!known)
        return prove_bad(why, "unknown type", name);
    const json_t *def = json_object_get(o, "default"), *min = json_object_get(o, "min"), *max = json_object_get(o, "max");
    if (!prove_null_or(def, json_is_string(def)))
        return prove_bad(why, "the default is no text", name);
    if (!prove_null_or(min, json_is_number(min)) || !prove_null_or(max, json_is_number(max)))
        return prove_bad(why, "min and max must be numbers", name);
    if (strcmp(type, "choice") == 0 && !prove_texts(json_object_get(o, "choices")))
        return prove_bad(why, "a choice without choices", name);
    if (!prove_flag(o, "required") || !prove_flag(o, "beside"))
        return prove_bad(why, "required and beside must be true or false", name);
    return true;
}

static bool prove_tensor(const json_t *t, char **why)
{
    size_t i;
    json_t *v;
    const char *name = json_string_value(json_object_get(t, "name"));
    if (!prove_name(json_object_get(t, "name")) && (name == NULL || strcmp(name, "*") != 0))      /* "*": whatever comes */
        return prove_bad(why, "a tensor's name must be 1 to 31 letters, digits, '_', '.' or '-'", "ports");
    const json_t *dtype = json_object_get(t, "dtype"), *shape = json_object_get(t, "shape");
    if (!prove_texts(dtype) || json_array_size(dtype) == 0)
        return prove_bad(why, "no dtype", name);
    json_array_foreach(dtype, i, v)
        if (fl_dtype_parse(json_string_value(v), json_string_length(v)) == FL_DTYPE_NONE)
            return prove_bad(why, "unknown dtype", name);
    if (!prove_texts(shape) || json_array_size(shape) > FL_MAX_DIMS)
        return prove_bad(why, "the shape is no list of at most 6 texts", name);
    json_array_foreach(shape, i, v)
        if (json_string_length(v) == 0)
            return prove_bad(why, "an empty dimension", name);
    if (!prove_flag(t, "optional") || !prove_flag(t, "taken") || !prove_flag(t, "either"))
        return prove_bad(why, "optional, taken and either must be true or false", name);
    return true;
}

static bool prove_ports(const json_t *ports, char **why)
{
    size_t i, k, in = 0, out = 0;
    json_t *p, *t;
    json_array_foreach(ports, i, p) {
        const char *dir = json_string_value(json_object_get(p, "dir"));
        if (dir == NULL || (strcmp(dir, "in") != 0 && strcmp(dir, "out") != 0))
            return prove_bad(why, "a port is neither in nor out", "ports");
        in += strcmp(dir, "in") == 0;
        out += strcmp(dir, "out") == 0;
        if (!json_is_array(json_object_get(p, "tensors")) || !prove_flag(p, "many") || !prove_flag(p, "tap") || !prove_flag(p, "again"))
            return prove_bad(why, "a port without tensors", "ports");
        json_array_foreach(json_object_get(p, "tensors"), k, t)
            if (!prove_tensor(t, why))
                return false;
    }
    if (in > 1 || out > 1 || in + out == 0)
        return prove_bad(why, "there must be one in port, one out port, or one of each", "ports");
    return true;
}

static bool prove_bind(const json_t *answer, char **why)
{
    const char *key;
    json_t *v;
    json_object_foreach(json_object_get(answer, "bind"), key, v)
        if (key[0] < 'A' || key[0] > 'Z' || key[1] != '\0' || json_integer_value(v) < 1 || json_integer_value(v) > UINT32_MAX)
            return prove_bad(why, "a dimension must be a capital letter with a number of at least 1", "bind");
    json_object_foreach(json_object_get(answer, "dtype"), key, v)
        if (!json_is_string(v) || (fl_dtype_parse(json_string_value(v), json_string_length(v)) == FL_DTYPE_NONE && strcmp(json_string_value(v), "none") != 0))
            return prove_bad(why, "unknown type", "dtype");
    const json_t *want = json_object_get(answer, "want");
    if (want != NULL && !prove_texts(want))
        return prove_bad(why, "no list of tensors", "want");
    return true;
}

static bool prove_count(const json_t *answer, const char *key, json_int_t least)
{
    const json_t *j = json_object_get(answer, key);
    return prove_null_or(j, json_is_integer(j) && json_integer_value(j) >= least);
}

static bool prove_rest(const json_t *answer, char **why)
{
    const json_t *labels = json_object_get(answer, "labels"), *ex = json_object_get(answer, "exclusive");
    const json_t *rest = json_object_get(answer, "rest_off"), *error = json_object_get(answer, "error");
    if (!prove_null_or(labels, prove_texts(labels) && json_array_size(labels) > 0))
        return prove_bad(why, "no list of names", "labels");
    if (!prove_null_or(json_object_get(answer, "models"), prove_texts(json_object_get(answer, "models"))))
        return prove_bad(why, "no list of names", "models");
    if (!prove_null_or(ex, prove_texts(ex)) || !prove_null_or(rest, json_is_string(rest)))
        return prove_bad(why, "exclusive is a list of names and rest_off a name", "labels");
    if (!prove_count(answer, "batches", 0) || !prove_count(answer, "tiles", 0) || !prove_count(answer, "epochs", 1) || !prove_count(answer, "B", 1))
        return prove_bad(why, "batches, tiles, epochs and B are numbers", "");
    if (!prove_null_or(error, json_is_string(json_object_get(error, "text"))))
        return prove_bad(why, "an error without text", "error");
    return true;
}

static bool prove_settled(const json_t *answer, char **why)
{
    const char *key;
    json_t *v, *o, *settled = json_object_get(answer, "settled"), *offers = json_object_get(answer, "offers");
    const json_t *threads = json_object_get(answer, "threads");
    if (!prove_null_or(threads, json_is_boolean(threads)))
        return prove_bad(why, "threads is true or false", "");
    if (!prove_null_or(settled, json_is_object(settled)) || !prove_null_or(offers, prove_texts(offers)) || !prove_count(answer, "memory", 0))
        return prove_bad(why, "settled is an object, offers a list of texts, memory a number", "");
    json_object_foreach(settled, key, v) {
        size_t i;
        bool known = false;
        json_array_foreach(json_object_get(answer, "options"), i, o)
            known |= strcmp(json_string_value(json_object_get(o, "name")), key) == 0;
        if (!known || !json_is_string(v))
            return prove_bad(why, "an option must be settled by a text, and there must be such an option", "settled");
    }
    return true;
}

bool fl_describe_prove(const json_t *answer, char **why)
{
    size_t i;
    json_t *o;
    if (!json_is_object(answer))
        return prove_bad(why, "the answer is no JSON object", "");
    if (json_integer_value(json_object_get(answer, "describe")) != 1)
        return prove_bad(why, "this flowrun understands \"describe\": 1 only", "");
    if (!json_is_array(json_object_get(answer, "options")) || !json_is_array(json_object_get(answer, "ports")))
        return prove_bad(why, "options and ports must be lists", "");
    json_array_foreach(json_object_get(answer, "options"), i, o)
        if (!prove_option(o, why))
            return false;
    return prove_ports(json_object_get(answer, "ports"), why) && prove_bind(answer, why) && prove_rest(answer, why) &&
           prove_settled(answer, why);
}
