/* Normalisation by name, by numbers, or from a file. */
#include "stages/augment/norm.h"

#include <string.h>

#include "runtime/model.h"
#include "runtime/text.h"

#define NORM_BANDS 8u

static const struct { const char *name; struct fl_norm norm; } norm_named[] = {
    { "imagenet", { 3, { .485, .456, .406 }, { .229, .224, .225 } } },
    { "planet_jpg", { 3, { .3115, .3406, .2989 }, { .1673, .1439, .1375 } } },
    { "dpn", { 3, { 124.0 / 255, 117.0 / 255, 104.0 / 255 }, { 1 / (.0167 * 255), 1 / (.0167 * 255), 1 / (.0167 * 255) } } },
    { "none", { 0, { 0 }, { 1, 1, 1, 1, 1, 1, 1, 1 } } },
};

static int norm_list(const json_t *o, const char *key, double *out, uint32_t *n, struct fl_err *err)
{
    const json_t *list = json_object_get(o, key);
    size_t have = json_array_size(list);
    if (!json_is_array(list) || have == 0 || have > NORM_BANDS || (*n != 0 && have != *n))
        return fl_err_set(err, FL_E_CONFIG, "option normalise: %s, want a list of one number a band", key);
    for (size_t i = 0; i < have; i++) {
        if (!json_is_number(json_array_get(list, i)))
            return fl_err_set(err, FL_E_CONFIG, "option normalise: %s holds something that is no number", key);
        out[i] = json_number_value(json_array_get(list, i));
    }
    *n = (uint32_t)have;
    return FL_OK;
}

static int norm_object(const json_t *o, struct fl_norm *out, struct fl_err *err)
{
    struct fl_norm n = { 0 };
    int rc = norm_list(o, "mean", n.mean, &n.channels, err);
    if (rc == FL_OK)
        rc = norm_list(o, "std", n.std, &n.channels, err);
    for (uint32_t c = 0; rc == FL_OK && c < n.channels; c++)
        if (!(n.std[c] > 0))
            rc = fl_err_set(err, FL_E_CONFIG, "option normalise: std of band %u is %g, want more than 0", c + 1, n.std[c]);
    if (rc == FL_OK)
        *out = n;
    return rc;
}

/* A file with mean and std at its top (flowrun stats) or under "input" (a manifest). */
static int norm_file(const char *path, struct fl_norm *out, struct fl_err *err)
{
    json_error_t je;
    size_t len = strlen(path);
    if (len > 12 && strcmp(path + len - 12, ".safetensors") == 0) {
        struct fl_manifest m = { 0 };
        int rc = fl_manifest_read(path, 0, &m, err);
        if (rc == FL_OK) {
            out->channels = m.channels;
            memcpy(out->mean, m.mean, sizeof out->mean);
            memcpy(out->std, m.std, sizeof out->std);
        }
        fl_manifest_free(&m);
        return rc;
    }
    json_t *o = json_load_file(path, 0, &je);
    if (o == NULL)
        return fl_err_set(err, FL_E_CONFIG, "option normalise: %.200s: %s", path, je.text);
    const json_t *input = json_object_get(o, "input");
    int rc = norm_object(input != NULL ? input : o, out, err);
    json_decref(o);
    return rc;
}

int fl_norm_read(const json_t *spec, struct fl_norm *out, struct fl_err *err)
{
    const char *name = spec == NULL || json_is_null(spec) ? "imagenet" : json_string_value(spec), *names[8] = { NULL };
    if (json_is_object(spec))
        return norm_object(spec, out, err);
    if (name == NULL)
        return fl_err_set(err, FL_E_CONFIG, "option normalise: want a name, a file or {mean: [..], std: [..]}");
    for (size_t i = 0; i < sizeof norm_named / sizeof norm_named[0]; i++) {
        names[i] = norm_named[i].name;
        if (strcmp(name, norm_named[i].name) == 0) {
            *out = norm_named[i].norm;
            return FL_OK;
        }
    }
    if (strchr(name, '.') != NULL || strchr(name, '/') != NULL)
        return norm_file(name, out, err);
    const char *near = fl_nearest(name, names);
    return fl_err_set(err, FL_E_CONFIG, "option normalise: unknown name \"%.60s\"%s%s%s", name, near != NULL ? ", did you mean " : "",
                      near != NULL ? near : "", near != NULL ? "?" : " (imagenet, planet_jpg, dpn, none, or a file)");
}

int fl_norm_fit(struct fl_norm *n, uint32_t channels, struct fl_err *err)
{
    if (channels > NORM_BANDS)
        return fl_err_set(err, FL_E_CONFIG, "option normalise: tiles of %u bands, at most %u can be painted", channels, NORM_BANDS);
    if (n->channels != 0 && n->channels != channels)
        return fl_err_set(err, FL_E_CONFIG, "option normalise is for %u bands, the tiles have %u", n->channels, channels);
    n->channels = channels;
    return FL_OK;
}
