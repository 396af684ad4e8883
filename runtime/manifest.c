/* The manifest beside a weights file: what the weights are, and what input they were trained on. */
#include <ctype.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/json.h"
#include "runtime/labels.h"
#include "runtime/model.h"
#include "runtime/stage.h"
#include "runtime/text.h"

#define MANIFEST_LIMIT (1u << 20)
#define MANIFEST_SIZE_MAX 4096u

static const char *const manifest_keys[] = {
    "format", "kind", "arch", "labels", "exclusive", "softmax", "rest_off", "input", "two_layer", "bf16_ok", "f16_ok", "sha256", "created_by", "average", "checks", NULL,
};
static const char *const manifest_input_keys[] = { "mode", "channels", "size", "M", "mean", "std", NULL };
static const struct { const char *name; uint32_t channels; } manifest_modes[] = { { "rgb", 3 }, { "rgbn", 4 }, { "ngb", 3 } };

static int manifest_unknown(const char *name, const char *in, json_t *o, const char *const *known, struct fl_err *err)
{
    const char *key;
    json_t *v;
    json_object_foreach(o, key, v) {
        uint32_t i = 0;
        while (known[i] != NULL && strcmp(known[i], key) != 0)
            i++;
        if (known[i] != NULL)
            continue;
        const char *near = fl_nearest(key, known);
        return fl_err_set(err, FL_E_CONFIG, "%s: unknown key \"%s%.60s\"%s%s%s", name, in, key, near != NULL ? ", did you mean \"" : "",
                          near != NULL ? near : "", near != NULL ? "\"?" : "");
    }
    return FL_OK;
}

/* A text of less than `room` bytes into `out`; absent or null leaves "" unless it is required. */
static int manifest_text(const char *name, json_t *o, const char *key, int required, char *out, size_t room, struct fl_err *err)
{
    json_t *v = json_object_get(o, key);
    if (!required && (v == NULL || json_is_null(v)))
        return FL_OK;
    if (!json_is_string(v) || json_string_length(v) == 0 || json_string_length(v) >= room)
        return fl_err_set(err, FL_E_CONFIG, "%s: %s%s, want a text of 1 to %zu bytes", name, key, v == NULL ? " is missing" : "", room - 1);
    memcpy(out, json_string_value(v), json_string_length(v) + 1);
    return FL_OK;
}

static int manifest_uint(const char *name, json_t *o, const char *key, int required, uint32_t min, uint32_t max, uint32_t *out,
                         struct fl_err *err)
{
    json_t *v = json_object_get(o, key);
    if (!required && v == NULL)
        return FL_OK;
    json_int_t i = json_integer_value(v);
    if (!json_is_integer(v) || i < (json_int_t)min || i > (json_int_t)max)
        return fl_err_set(err, FL_E_CONFIG, "%s: %s%s, want an integer from %u to %u", name, key, v == NULL ? " is missing" : "", min, max);
    *out = (uint32_t)i;
    return FL_OK;
}

static int manifest_flag(const char *name, json_t *o, const char *key, int *out, struct fl_err *err)
{
    json_t *v = json_object_get(o, key);
    if (v != NULL && !json_is_boolean(v))
        return fl_err_set(err, FL_E_CONFIG, "%s: %s, want true or false", name, key);
    *out = json_is_true(v);
    return FL_OK;
}

/* ---- labels ---- */

static int manifest_label_ok(const char *s)
{
    size_t n = strlen(s);
    if (n == 0 || n > 63)
        return 0;
    for (; *s != '\0'; s++)     /* tags are joined by blanks in a field of a CSV */
        if (isspace((unsigned char)*s) || iscntrl((unsigned char)*s) || *s == ',' || *s == '"')
            return 0;
    return 1;
}

static uint32_t manifest_find(const struct fl_manifest *m, const char *label)
{
    for (uint32_t i = 0; label != NULL && i < m->nlabels; i++)
        if (strcmp(m->labels[i], label) == 0)
            return i;
    return FL_NO_LABEL;
}

static int manifest_labels(const char *name, json_t *list, struct fl_manifest *m, struct fl_err *err)
{
    size_t n = json_array_size(list);
    if (!json_is_array(list) || n == 0 || n > FL_MAX_LABELS)
        return fl_err_set(err, FL_E_CONFIG, "%s: labels, want a list of 1 to %u names", name, FL_MAX_LABELS);
    m->nlabels = 0;
    m->labels = calloc(n, sizeof *m->labels);
    if (m->labels == NULL)
        return fl_err_set(err, FL_E_NOMEM, "%s: no memory for %zu labels", name, n);
    for (size_t i = 0; i < n; i++) {
        const char *label = json_string_value(json_array_get(list, i));
        if (label == NULL || !manifest_label_ok(label))
            return fl_err_set(err, FL_E_LABEL, "%s: labels: entry %zu, want a name of 1 to 63 bytes without blanks, commas and quotes", name, i + 1);
        if (manifest_find(m, label) != FL_NO_LABEL)
            return fl_err_set(err, FL_E_LABEL, "%s: labels: \"%s\" is there twice", name, label);
        m->labels[i] = strdup(label);
        if (m->labels[i] == NULL)
            return fl_err_set(err, FL_E_NOMEM, "%s: no memory for %zu labels", name, n);
        m->nlabels++;
    }
    return FL_OK;
}

static int manifest_no_label(const char *name, const char *key, const struct fl_manifest *m, const json_t *v, struct fl_err *err)
{
    const char *word = json_string_value(v), *near = NULL;
    if (word == NULL)
        return fl_err_set(err, FL_E_CONFIG, "%s: %s, want names of labels", name, key);
    const char *names[FL_MAX_LABELS + 1] = { NULL };
    for (uint32_t i = 0; i < m->nlabels; i++)
        names[i] = m->labels[i];
    near = fl_nearest(word, names);
    return fl_err_set(err, FL_E_LABEL, "%s: %s: \"%.63s\" is none of the labels%s%s%s", name, key, word, near != NULL ? ", did you mean \"" : "",
                      near != NULL ? near : "", near != NULL ? "\"?" : "");
}

static int manifest_groups(const char *name, json_t *o, struct fl_manifest *m, struct fl_err *err)
{
    json_t *list = json_object_get(o, "exclusive"), *rest = json_object_get(o, "rest_off");
    if (list != NULL && !json_is_null(list) && !json_is_array(list))
        return fl_err_set(err, FL_E_CONFIG, "%s: exclusive, want a list of labels", name);
    for (size_t i = 0; i < json_array_size(list); i++) {
        uint32_t l = manifest_find(m, json_string_value(json_array_get(list, i)));
        if (l == FL_NO_LABEL)
            return manifest_no_label(name, "exclusive", m, json_array_get(list, i), err);
        m->exclusive |= UINT64_C(1) << l;
    }
    int code = manifest_flag(name, o, "softmax", &m->softmax, err);
    if (code != FL_OK)
        return code;
    if (m->softmax && (m->exclusive & (m->exclusive - 1)) == 0)
        return fl_err_set(err, FL_E_CONFIG, "%s: softmax is over the exclusive labels, want two or more of them", name);
    if (rest == NULL || json_is_null(rest))
        return FL_OK;
    m->rest_off = manifest_find(m, json_string_value(rest));
    return m->rest_off == FL_NO_LABEL ? manifest_no_label(name, "rest_off", m, rest, err) : FL_OK;
}

/* ---- input ---- */

static int manifest_stats(const char *name, json_t *input, const char *key, uint32_t channels, int positive, double *out, struct fl_err *err)
{
    json_t *list = json_object_get(input, key);
    if (!json_is_array(list) || json_array_size(list) != channels)
        return fl_err_set(err, FL_E_CONFIG, "%s: input.%s, want a list of %u numbers, one a channel", name, key, channels);
    for (uint32_t c = 0; c < channels; c++) {
        json_t *v = json_array_get(list, c);
        out[c] = json_number_value(v);
        if (!json_is_number(v) || !isfinite(out[c]) || (positive && out[c] <= 0))
            return fl_err_set(err, FL_E_CONFIG, "%s: input.%s: entry %u, want a number%s", name, key, c + 1, positive ? " above 0" : "");
    }
    return FL_OK;
}

static int manifest_mode(const char *name, struct fl_manifest *m, struct fl_err *err)
{
    for (size_t i = 0; i < sizeof manifest_modes / sizeof manifest_modes[0]; i++) {
        if (strcmp(manifest_modes[i].name, m->mode) != 0)
            continue;
        if (manifest_modes[i].channels == m->channels)
            return FL_OK;
        return fl_err_set(err, FL_E_CONFIG, "%s: input.channels is %u, but mode %s has %u", name, m->channels, m->mode,
                          manifest_modes[i].channels);
    }
    return fl_err_set(err, FL_E_CONFIG, "%s: input.mode is \"%s\", want rgb, rgbn or ngb", name, m->mode);
}

static int manifest_input(const char *name, json_t *o, struct fl_manifest *m, struct fl_err *err)
{
    json_t *input = json_object_get(o, "input");
    int code;
    if (!json_is_object(input))
        return fl_err_set(err, FL_E_CONFIG, "%s: input, want an object with mode, channels, size, M, mean and std", name);
    if ((code = manifest_unknown(name, "input.", input, manifest_input_keys, err)) != FL_OK ||
        (code = manifest_text(name, input, "mode", 1, m->mode, sizeof m->mode, err)) != FL_OK ||
        (code = manifest_uint(name, input, "channels", 1, 1, 8, &m->channels, err)) != FL_OK ||
        (code = manifest_uint(name, input, "size", 1, 1, MANIFEST_SIZE_MAX, &m->size, err)) != FL_OK ||
        (code = manifest_mode(name, m, err)) != FL_OK ||
        (code = manifest_stats(name, input, "mean", m->channels, 0, m->mean, err)) != FL_OK ||
        (code = manifest_stats(name, input, "std", m->channels, 1, m->std, err)) != FL_OK)
        return code;
    m->M = json_number_value(json_object_get(input, "M"));
    if (m->M != 255 && m->M != 65535)
        return fl_err_set(err, FL_E_CONFIG, "%s: input.M, want 255 (8-bit tiles) or 65535 (16-bit tiles)", name);
    return FL_OK;
}

/* ---- whole ---- */

static int manifest_sha(const char *name, struct fl_manifest *m, struct fl_err *err)
{
    if (m->sha256[0] != '\0' && strspn(m->sha256, "0123456789abcdef") != 64)
        return fl_err_set(err, FL_E_CONFIG, "%s: sha256, want 64 lower-case hexadecimal digits", name);
    return FL_OK;
}

/* `ok` tells of a check; where the check is recorded, both must say the same. */
static int manifest_proven(const char *name, json_t *o, const char *prec, const char *ok, int *out, struct fl_err *err)
{
    const json_t *checks = json_object_get(o, "checks"), *one = json_object_get(checks, prec), *passed = json_object_get(one, "passed");
    int code = manifest_flag(name, o, ok, out, err);
    if (code != FL_OK)
        return code;
    if ((checks != NULL && !json_is_object(checks)) || (one != NULL && !json_is_boolean(passed)))
        return fl_err_set(err, FL_E_CONFIG, "%s: checks, want a map of precisions with \"passed\": true or false", name);
    if (one != NULL && *out != json_is_true(passed))
        return fl_err_set(err, FL_E_CONFIG, "%s: %s is %s, but the recorded check of %s was %spassed", name, ok, *out ? "true" : "false", prec, *out ? "not " : "");
    return FL_OK;
}

static int manifest_fill(const char *name, json_t *o, struct fl_manifest *m, struct fl_err *err)
{
    uint32_t format = 0;
    int code;
    m->rest_off = FL_NO_LABEL;
    if ((code = manifest_unknown(name, "", o, manifest_keys, err)) != FL_OK ||
        (code = manifest_uint(name, o, "format", 1, FL_MODEL_FORMAT, FL_MODEL_FORMAT, &format, err)) != FL_OK ||
        (code = manifest_text(name, o, "kind", 1, m->kind, sizeof m->kind, err)) != FL_OK)
        return code;
    int network = strcmp(m->kind, "network") == 0;      /* other kinds have no graph and no pixels */
    if ((code = manifest_text(name, o, "arch", network, m->arch, sizeof m->arch, err)) != FL_OK ||
        (code = manifest_labels(name, json_object_get(o, "labels"), m, err)) != FL_OK ||
        (code = manifest_groups(name, o, m, err)) != FL_OK ||
        (code = manifest_uint(name, o, "two_layer", 0, 0, 65536, &m->two_layer, err)) != FL_OK ||
        (code = manifest_text(name, o, "sha256", 0, m->sha256, sizeof m->sha256, err)) != FL_OK ||
        (code = manifest_sha(name, m, err)) != FL_OK ||
        (code = manifest_text(name, o, "created_by", 0, m->created_by, sizeof m->created_by, err)) != FL_OK)
        return code;
    if (json_object_get(o, "average") != NULL && !json_is_object(json_object_get(o, "average")))
        return fl_err_set(err, FL_E_CONFIG, "%s: average, want a map", name);
    if ((code = manifest_proven(name, o, "bf16", "bf16_ok", &m->bf16_ok, err)) != FL_OK || (code = manifest_proven(name, o, "f16", "f16_ok", &m->f16_ok, err)) != FL_OK)
        return code;
    return network || json_object_get(o, "input") != NULL ? manifest_input(name, o, m, err) : FL_OK;
}

int fl_manifest_parse(const char *name, const char *json, size_t len, struct fl_manifest *out, struct fl_err *err)
{
    json_error_t why;
    json_t *o;
    int code = fl_json_parse(json, len, JSON_REJECT_DUPLICATES, &o, &why);
    if (code != FL_OK)
        return fl_err_set(err, code, "%s:%d: %s", name, why.line, why.text);
    struct fl_manifest m = { 0 };
    code = json_is_object(o) ? manifest_fill(name, o, &m, err) : fl_err_set(err, FL_E_INPUT, "%s: not a JSON object", name);
    json_decref(o);
    if (code == FL_OK)
        *out = m;
    else
        fl_manifest_free(&m);
    return code;
}

static int manifest_verify(const char *weights, const struct fl_manifest *m, struct fl_err *err)
{
    char hex[65] = "";
    if (m->sha256[0] == '\0')
        return FL_OK;
    int code = fl_sha256_file(weights, hex, err);
    if (code == FL_OK && strcmp(hex, m->sha256) != 0)
        return fl_err_set(err, FL_E_INPUT, "%s: its SHA-256 is %s, its manifest says %s", weights, hex, m->sha256);
    return code;
}

int fl_manifest_read(const char *weights, int verify, struct fl_manifest *out, struct fl_err *err)
{
    static const char ends[] = ".safetensors";
    size_t len = strlen(weights), stem = len - (sizeof ends - 1);
    if (len < sizeof ends || strcmp(weights + stem, ends) != 0)
        return fl_err_set(err, FL_E_CONFIG, "%s: weights are a file NAME.safetensors with NAME.json beside it", weights);
    char *path = malloc(stem + sizeof ".json"), *text = NULL;
    if (path == NULL)
        return fl_err_set(err, FL_E_NOMEM, "%s: no memory for its manifest", weights);
    memcpy(path, weights, stem);
    memcpy(path + stem, ".json", sizeof ".json");
    struct fl_manifest m;
    size_t size = 0;
    int code = fl_read_file(path, MANIFEST_LIMIT, &text, &size, err);
    if (code != FL_OK)
        fl_err_context(err, "%s, its manifest", weights);
    else
        code = fl_manifest_parse(path, text, size, &m, err);
    free(text);
    free(path);
    if (code != FL_OK)
        return code;
    if (verify && (code = manifest_verify(weights, &m, err)) != FL_OK) {
        fl_manifest_free(&m);
        return code;
    }
    *out = m;
    return FL_OK;
}

void fl_manifest_free(struct fl_manifest *m)
{
    if (m == NULL)
        return;
    for (uint32_t i = 0; i < m->nlabels; i++)
        free(m->labels[i]);
    free(m->labels);
    memset(m, 0, sizeof *m);
}
