/* One number a label from an option: a number for all, a list in label order, a map, or a file. */
#include "stages/lib/values.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/number.h"
#include "runtime/text.h"

#define VALUES_LIMIT (1u << 20)
#define VALUES_BLANK " \t\r,;"

struct values { const char *what; uint32_t L; const char *const *labels; double *out; };

static int values_label(const struct values *s, const char *name, const char *where, uint32_t *l, struct fl_err *err)
{
    for (*l = 0; *l < s->L; ++*l)
        if (strcmp(s->labels[*l], name) == 0)
            return FL_OK;
    const char *names[65] = { NULL };
    for (uint32_t i = 0; i < s->L; i++)
        names[i] = s->labels[i];
    const char *near = fl_nearest(name, names);
    return fl_err_set(err, FL_E_LABEL, "%s: unknown label %.63s%s%s%s", where, name, near ? ", did you mean " : "", near ? near : "", near ? "?" : "");
}

static int values_in_range(const char *where, double v, struct fl_err *err)
{
    return v >= 0.0 && v <= 1.0 ? FL_OK : fl_err_set(err, FL_E_CONFIG, "%s: %g, want a number from 0 to 1", where, v);
}

static int values_list(const struct values *s, const json_t *list, struct fl_err *err)
{
    if (json_array_size(list) != s->L)
        return fl_err_set(err, FL_E_CONFIG, "%s: %zu numbers, want one a label, %u", s->what, json_array_size(list), s->L);
    for (uint32_t l = 0; l < s->L; l++) {
        const json_t *v = json_array_get(list, l);
        if (json_is_string(v)) {
            if (!fl_number_parse(json_string_value(v), &s->out[l]))
                return fl_err_set(err, FL_E_CONFIG, "%s: \"%.63s\" is not a number", s->what, json_string_value(v));
        } else if (json_is_number(v)) {
            s->out[l] = json_number_value(v);
        } else {
            return fl_err_set(err, FL_E_CONFIG, "%s: value %u is not a number", s->what, l + 1);
        }
        int rc = values_in_range(s->what, s->out[l], err);
        if (rc != FL_OK)
            return rc;
    }
    return FL_OK;
}

static int values_map(const struct values *s, json_t *map, struct fl_err *err)
{
    const char *name;
    json_t *v;
    json_object_foreach(map, name, v) {
        uint32_t l;
        int rc = values_label(s, name, s->what, &l, err);
        if (rc == FL_OK && !json_is_number(v))
            rc = fl_err_set(err, FL_E_CONFIG, "%s: %s: want a number", s->what, name);
        if (rc == FL_OK)
            rc = values_in_range(s->what, s->out[l] = json_number_value(v), err);
        if (rc != FL_OK)
            return rc;
    }
    return FL_OK;
}

/* The next word of the file, NUL-terminated in place; NULL at the end of the line. */
static char *values_word(char **p)
{
    char *start = *p + strspn(*p, VALUES_BLANK);
    size_t n = strcspn(start, VALUES_BLANK);
    if (n == 0)
        return NULL;
    *p = start + n + (start[n] != '\0');
    start[n] = '\0';
    return start;
}

static int values_line(const struct values *s, char *line, const char *where, uint32_t *bare, uint64_t *seen, struct fl_err *err)
{
    uint32_t l = 0;
    int named = 0, rc;
    line[strcspn(line, "#")] = '\0';
    for (char *w; (w = values_word(&line)) != NULL; named = 0) {
        double v;
        if (!fl_number_parse(w, &v)) {
            if ((rc = values_label(s, w, where, &l, err)) != FL_OK)
                return rc;
            named = 1;
            w = values_word(&line);
            if (w == NULL || !fl_number_parse(w, &v))
                return fl_err_set(err, FL_E_INPUT, "%s: %s has no number", where, s->labels[l]);
        }
        if (!named && (l = (*bare)++) >= s->L)
            return fl_err_set(err, FL_E_INPUT, "%s: more than %u numbers", where, s->L);
        if (*seen >> l & 1)
            return fl_err_set(err, FL_E_INPUT, "%s: %s is there twice", where, s->labels[l]);
        *seen |= UINT64_C(1) << l;
        if ((rc = values_in_range(where, s->out[l] = v, err)) != FL_OK)
            return rc;
    }
    return FL_OK;
}

static int values_file(const struct values *s, const char *path, struct fl_err *err)
{
    char *text = NULL, where[320];
    size_t len;
    uint64_t seen = 0;
    uint32_t bare = 0, number = 1;
    int rc = fl_read_file(path, VALUES_LIMIT, &text, &len, err);
    if (rc != FL_OK)
        return fl_err_context(err, "%s", s->what);
    for (char *line = text, *next; rc == FL_OK && line != NULL; line = next, number++) {
        next = strchr(line, '\n');
        if (next != NULL)
            *next++ = '\0';
        snprintf(where, sizeof where, "%.280s:%u", path, number);
        rc = values_line(s, line, where, &bare, &seen, err);
    }
    free(text);
    for (uint32_t l = 0; rc == FL_OK && l < s->L; l++)
        if (!(seen >> l & 1))
            rc = fl_err_set(err, FL_E_INPUT, "%s: no number for %s", path, s->labels[l]);
    return rc;
}

int fl_values_read(const char *what, const json_t *value, uint32_t L, const char *const *labels, double other, double *out,
                   struct fl_err *err)
{
    struct values s = { what, L, labels, out };
    double all = json_is_number(value) ? json_number_value(value) : other;
    for (uint32_t l = 0; l < L; l++)
        out[l] = all;
    if (json_is_number(value))
        return values_in_range(what, all, err);
    if (json_is_array(value))
        return values_list(&s, value, err);
    if (json_is_string(value))
        return values_file(&s, json_string_value(value), err);
    if (!json_is_object(value))
        return fl_err_set(err, FL_E_CONFIG, "%s: want a number, a list of %u numbers, a map of labels, or a file", what, L);
    int rc = values_map(&s, (json_t *)value, err);
    for (uint32_t l = 0; rc == FL_OK && l < L; l++)
        if (isnan(out[l]))
            rc = fl_err_set(err, FL_E_CONFIG, "%s: no number for %s", what, labels[l]);
    return rc;
}
