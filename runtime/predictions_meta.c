/* What a file of predictions says of itself: from an option, and from where it lies. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/predictions_io.h"
#include "runtime/text.h"

#define META_TEXT(field) { #field, offsetof(struct fl_pred_meta, field), sizeof ((struct fl_pred_meta *)0)->field }
static const struct { const char *name; size_t off, size; } meta_texts[] = {
    META_TEXT(model), META_TEXT(member), META_TEXT(split), META_TEXT(tta), META_TEXT(merge),
};
#define META_NTEXTS (sizeof meta_texts / sizeof *meta_texts)

static int meta_text(const char *key, const json_t *v, char *out, size_t size, struct fl_err *err)
{
    const char *text = json_string_value(v);
    if (text == NULL || strlen(text) >= size)
        return fl_err_set(err, FL_E_CONFIG, "%s: want a text of at most %zu bytes", key, size - 1);
    strcpy(out, text);
    return FL_OK;
}

int fl_pred_meta_snapshots(char *const *digests, struct fl_pred_meta *m, struct fl_err *err)
{
    uint32_t n = 0;
    for (; digests != NULL && digests[n] != NULL; n++) {
        if (n == FL_PRED_MAX_SNAPSHOTS || strlen(digests[n]) >= sizeof m->snapshots[n])
            return fl_err_set(err, FL_E_CONFIG, "snapshots: want a list of at most %d texts of at most %zu bytes", FL_PRED_MAX_SNAPSHOTS, sizeof m->snapshots[n] - 1);
        strcpy(m->snapshots[n], digests[n]);
    }
    m->nsnapshots = n;
    return FL_OK;
}

static int meta_snapshots(const json_t *list, struct fl_pred_meta *m, struct fl_err *err)
{
    size_t i;
    json_t *v;
    if (!json_is_array(list) || json_array_size(list) > FL_PRED_MAX_SNAPSHOTS)
        return fl_err_set(err, FL_E_CONFIG, "snapshots: want a list of at most %d texts", FL_PRED_MAX_SNAPSHOTS);
    json_array_foreach(list, i, v) {
        int rc = meta_text("snapshots", v, m->snapshots[i], sizeof m->snapshots[i], err);
        if (rc != FL_OK)
            return rc;
    }
    m->nsnapshots = (uint32_t)json_array_size(list);
    return FL_OK;
}

static int meta_key(const char *key, const json_t *v, struct fl_pred_meta *m, struct fl_err *err)
{
    static const char *const keys[] = { "model", "member", "fold", "split", "tta", "merge", "n_views", "snapshots", NULL };
    for (size_t i = 0; i < META_NTEXTS; i++)
        if (strcmp(key, meta_texts[i].name) == 0)
            return meta_text(key, v, (char *)m + meta_texts[i].off, meta_texts[i].size, err);
    bool fold = strcmp(key, "fold") == 0;
    if (fold || strcmp(key, "n_views") == 0) {
        if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > 9999)
            return fl_err_set(err, FL_E_CONFIG, "%s: want a whole number from 0 to 9999", key);
        *(fold ? (uint32_t *)&m->fold : &m->n_views) = (uint32_t)json_integer_value(v);
        return FL_OK;
    }
    if (strcmp(key, "snapshots") == 0)
        return meta_snapshots(v, m, err);
    const char *near = fl_nearest(key, keys);
    return fl_err_set(err, FL_E_CONFIG, "unknown key %.60s%s%s%s", key, near ? ", did you mean " : "", near ? near : "", near ? "?" : "");
}

int fl_pred_meta_json(const json_t *map, struct fl_pred_meta *out, struct fl_err *err)
{
    struct fl_pred_meta m = { .fold = -1 };
    const char *key;
    json_t *v;
    if (map != NULL && !json_is_object(map) && !json_is_null(map))
        return fl_err_set(err, FL_E_CONFIG, "want a map");
    json_object_foreach((json_t *)map, key, v) {
        int rc = meta_key(key, v, &m, err);
        if (rc != FL_OK)
            return rc;
    }
    if (m.split[0] != '\0' && strcmp(m.split, "val") != 0 && strcmp(m.split, "test") != 0)
        return fl_err_set(err, FL_E_CONFIG, "split: %s, want val or test", m.split);
    *out = m;
    return FL_OK;
}
