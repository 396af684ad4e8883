/* Option tables: JSON values and defaults into a stage's state. */
#include "runtime/opt.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/json.h"
#include "runtime/text.h"

static void *opt_field(const struct fl_opt *o, void *state)
{
    return (char *)state + o->off;
}

/* ---- messages ---- */

/* "option views: WANT, got VALUE". Long values are cut: they may be whole lists. */
static int opt_wrong(const struct fl_opt *o, const json_t *v, const char *want, struct fl_err *err)
{
    char *got = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
    fl_err_set(err, FL_E_CONFIG, "option %s: want %s, got %.60s%s", o->name, want, got ? got : "?",
               got && strlen(got) > 60 ? "..." : "");
    free(got);
    return FL_E_CONFIG;
}

static int opt_nomem(const struct fl_opt *o, struct fl_err *err)
{
    return fl_err_set(err, FL_E_NOMEM, "option %s: out of memory", o->name);
}

static int opt_limits(const struct fl_opt *o, double x, const json_t *v, struct fl_err *err)
{
    if ((o->min == 0 && o->max == 0) || (x >= o->min && x <= o->max))
        return FL_OK;
    char want[96];
    snprintf(want, sizeof want, "%.15g to %.15g", o->min, o->max);
    return opt_wrong(o, v, want, err);
}

static int opt_unknown(const struct fl_opt *opts, const char *name, struct fl_err *err)
{
    size_t n = 0;
    while (opts[n].name != NULL)
        n++;
    const char **names = calloc(n + 1, sizeof *names);
    if (names == NULL)
        return fl_err_set(err, FL_E_NOMEM, "option %.60s: out of memory", name);
    for (size_t i = 0; i < n; i++)
        names[i] = opts[i].name;
    const char *near = fl_nearest(name, names);
    if (near != NULL)
        fl_err_set(err, FL_E_CONFIG, "option %.60s: unknown, did you mean %s?", name, near);
    else
        fl_err_set(err, FL_E_CONFIG, "option %.60s: unknown", name);
    free(names);
    return FL_E_CONFIG;
}

/* ---- one type each. Numbers may come as text too: a default, or a value from the command line ---- */

static int opt_bool(const struct fl_opt *o, bool *field, const json_t *v, struct fl_err *err)
{
    const char *s = json_is_string(v) ? json_string_value(v) : "";

    if (json_is_true(v) || strcmp(s, "true") == 0)
        *field = true;
    else if (json_is_false(v) || strcmp(s, "false") == 0)
        *field = false;
    else
        return opt_wrong(o, v, "true or false", err);
    return FL_OK;
}

static int opt_int(const struct fl_opt *o, int64_t *field, const json_t *v, struct fl_err *err)
{
    int64_t x;

    if (json_is_integer(v)) {
        x = json_integer_value(v);
    } else if (json_is_string(v) && strchr("+-0123456789", json_string_value(v)[0]) != NULL) {
        char *end;
        errno = 0;
        x = strtoll(json_string_value(v), &end, 10);
        if (errno != 0 || *end != '\0' || end == json_string_value(v))
            return opt_wrong(o, v, "a whole number", err);
    } else {
        return opt_wrong(o, v, "a whole number", err);
    }
    int rc = opt_limits(o, (double)x, v, err);
    if (rc == FL_OK)
        *field = x;
    return rc;
}

static int opt_float(const struct fl_opt *o, double *field, const json_t *v, struct fl_err *err)
{
    double x;

    if (json_is_number(v)) {
        x = json_number_value(v);
    } else if (json_is_string(v) && strchr("+-.0123456789", json_string_value(v)[0]) != NULL) {
        char *end;
        x = strtod(json_string_value(v), &end);
        if (*end != '\0' || end == json_string_value(v))
            return opt_wrong(o, v, "a number", err);
    } else {
        return opt_wrong(o, v, "a number", err);
    }
    if (!isfinite(x))
        return opt_wrong(o, v, "a finite number", err);
    int rc = opt_limits(o, x, v, err);
    if (rc == FL_OK)
        *field = x;
    return rc;
}

static int opt_size(const struct fl_opt *o, uint64_t *field, const json_t *v, struct fl_err *err)
{
    uint64_t x = 0;

    if (json_is_integer(v) && json_integer_value(v) >= 0)
        x = (uint64_t)json_integer_value(v);
    else if (!json_is_string(v) || fl_size_parse(json_string_value(v), &x, NULL) != FL_OK)
        return opt_wrong(o, v, "a size such as 4096, 512MiB or 2GB", err);
    int rc = opt_limits(o, (double)x, v, err);
    if (rc == FL_OK)
        *field = x;
    return rc;
}

static int opt_str(const struct fl_opt *o, char **field, const json_t *v, struct fl_err *err)
{
    char digits[32];
    const char *s = json_string_value(v);

    if (json_is_integer(v)) {               /* a name of digits alone reads as a number in YAML */
        snprintf(digits, sizeof digits, "%lld", (long long)json_integer_value(v));
        s = digits;
    }
    if (s == NULL)
        return opt_wrong(o, v, "text", err);
    *field = strdup(s);
    return *field != NULL ? FL_OK : opt_nomem(o, err);
}

static int opt_choice(const struct fl_opt *o, int *field, const json_t *v, struct fl_err *err)
{
    const char *s = json_string_value(v), *c = o->choices;
    size_t len = s ? strlen(s) : 0;

    for (int i = 0; s != NULL && c != NULL; i++) {
        size_t n = strcspn(c, "|");
        if (n == len && memcmp(c, s, n) == 0) {
            *field = i;
            return FL_OK;
        }
        c = c[n] == '|' ? c + n + 1 : NULL;
    }
    char want[256];
    snprintf(want, sizeof want, "one of %s", o->choices ? o->choices : "nothing");
    return opt_wrong(o, v, want, err);
}

static void opt_list_free(char **list)
{
    for (char **p = list; p != NULL && *p != NULL; p++)
        free(*p);
    free(list);
}

static int opt_list(const struct fl_opt *o, char ***field, const json_t *v, struct fl_err *err)
{
    size_t n = json_is_array(v) ? json_array_size(v) : 1;
    char **list = calloc(n + 1, sizeof *list);

    if (list == NULL)
        return opt_nomem(o, err);
    for (size_t i = 0; i < n; i++) {
        int rc = opt_str(o, &list[i], json_is_array(v) ? json_array_get(v, i) : v, err);
        if (rc != FL_OK) {
            opt_list_free(list);
            return rc == FL_E_CONFIG ? opt_wrong(o, v, "text or a list of texts", err) : rc;
        }
    }
    *field = list;
    return FL_OK;
}

static int opt_set(const struct fl_opt *o, void *state, const json_t *v, struct fl_err *err)
{
    void *field = opt_field(o, state);

    switch (o->type) {
    case FL_OPT_BOOL:   return opt_bool(o, field, v, err);
    case FL_OPT_INT:    return opt_int(o, field, v, err);
    case FL_OPT_FLOAT:  return opt_float(o, field, v, err);
    case FL_OPT_SIZE:   return opt_size(o, field, v, err);
    case FL_OPT_STR:
    case FL_OPT_PATH:
    case FL_OPT_OUT:    return opt_str(o, field, v, err);
    case FL_OPT_CHOICE: return opt_choice(o, field, v, err);
    case FL_OPT_LIST:
    case FL_OPT_PATHS:  return opt_list(o, field, v, err);
    case FL_OPT_JSON:
        *(json_t **)field = json_is_null(v) ? NULL : json_incref((json_t *)v);
        return FL_OK;
    default:
        return fl_err_set(err, FL_E_BUG, "option %s: type %d is not one of enum fl_opt_type", o->name, o->type);
    }
}

/* A default is text: JSON for lists and JSON options that start like JSON, else the plain text of the value. */
static int opt_default(const struct fl_opt *o, void *state, struct fl_err *err)
{
    bool listed = o->type == FL_OPT_LIST || o->type == FL_OPT_PATHS;
    json_error_t why;
    json_t *v;
    int rc = FL_E_NOMEM;

    if (o->def == NULL && !listed)
        return FL_OK;
    if (o->def == NULL)
        v = json_array();
    else if (o->type == FL_OPT_JSON || (listed && o->def[0] == '['))
        rc = fl_json_parse(o->def, strlen(o->def), JSON_DECODE_ANY, &v, &why);
    else
        v = json_string(o->def);
    if (v == NULL)
        return fl_err_set(err, rc == FL_E_NOMEM ? rc : FL_E_BUG, "option %s: its default %s can't be read", o->name, o->def ? o->def : "[]");
    rc = opt_set(o, state, v, err);
    json_decref(v);
    if (rc != FL_E_CONFIG)
        return rc;
    if (err != NULL) {                      /* the table contradicts itself: no user can mend that */
        err->code = FL_E_BUG;
        fl_err_context(err, "default");
    }
    return FL_E_BUG;
}

int fl_opts_apply(const struct fl_opt *opts, void *state, const json_t *values, struct fl_err *err)
{
    int rc = FL_OK;
    const char *key;
    json_t *v;

    if (values != NULL && !json_is_object(values))
        return fl_err_set(err, FL_E_CONFIG, "options: want a map of names and values");
    json_object_foreach((json_t *)values, key, v) {
        const struct fl_opt *o = opts;
        while (o->name != NULL && strcmp(o->name, key) != 0)
            o++;
        if (o->name == NULL)
            return opt_unknown(opts, key, err);
    }
    for (const struct fl_opt *o = opts; rc == FL_OK && o->name != NULL; o++) {
        v = json_object_get(values, o->name);
        if (v != NULL)
            rc = opt_set(o, state, v, err);
        else if (o->required)
            rc = fl_err_set(err, FL_E_CONFIG, "option %s: missing, must be given (%s)", o->name, o->help ? o->help : "");
        else
            rc = opt_default(o, state, err);
    }
    if (rc != FL_OK)
        fl_opts_free(opts, state);
    return rc;
}

void fl_opts_free(const struct fl_opt *opts, void *state)
{
    for (const struct fl_opt *o = opts; o->name != NULL; o++) {
        void *field = opt_field(o, state);
        switch (o->type) {
        case FL_OPT_STR: case FL_OPT_PATH: case FL_OPT_OUT:
            free(*(char **)field);
            *(char **)field = NULL;
            break;
        case FL_OPT_LIST: case FL_OPT_PATHS:
            opt_list_free(*(char ***)field);
            *(char ***)field = NULL;
            break;
        case FL_OPT_JSON:
            json_decref(*(json_t **)field);
            *(json_t **)field = NULL;
            break;
        default:
            break;
        }
    }
}

/* ---- sizes ---- */

static bool opt_unit(const char *text, uint64_t *unit)
{
    static const struct { const char *name; uint64_t bytes; } units[] = {
        { "", 1 }, { "B", 1 },
        { "kB", 1000 }, { "KB", 1000 }, { "MB", 1000000 }, { "GB", 1000000000 }, { "TB", UINT64_C(1000000000000) },
        { "KiB", UINT64_C(1) << 10 }, { "MiB", UINT64_C(1) << 20 }, { "GiB", UINT64_C(1) << 30 }, { "TiB", UINT64_C(1) << 40 },
    };
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (strcmp(text, units[i].name) == 0) {
            *unit = units[i].bytes;
            return true;
        }
    return false;
}

/* Digits and at most one point with 9 digits behind it: exact, no floating point. */
int fl_size_parse(const char *text, uint64_t *bytes, struct fl_err *err)
{
    const char *p = text;
    unsigned __int128 value = 0, scale = 1;
    uint64_t unit;
    bool ok = *p >= '0' && *p <= '9';

    for (; *p >= '0' && *p <= '9' && ok; p++) {
        value = value * 10 + (unsigned)(*p - '0');
        ok = value <= UINT64_MAX;
    }
    if (ok && *p == '.') {
        const char *frac = ++p;
        for (; *p >= '0' && *p <= '9' && p - frac < 9; p++) {
            value = value * 10 + (unsigned)(*p - '0');
            scale *= 10;
        }
        ok = p > frac;
    }
    ok = ok && opt_unit(p, &unit) && (scale == 1 || unit > 1) && value <= ~(unsigned __int128)0 / unit &&
         value * unit / scale <= UINT64_MAX;
    if (!ok)
        return fl_err_set(err, FL_E_CONFIG, "size \"%.60s\": want bytes with an optional unit kB, MB, GB, TB, KiB, MiB, GiB or TiB", text);
    *bytes = (uint64_t)(value * unit / scale);
    return FL_OK;
}
