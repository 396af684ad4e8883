/* What the models are called that arrive at a stage: names from those upstream, into its option `models`. */
#include <string.h>

#include "launch/config.h"
#include "launch/mem.h"

/* The matrix' part of an expanded entry's name says which model it is. */
static const char *models_short(const struct fl_entry *e)
{
    size_t len = strlen(e->base);
    return strlen(e->full) > len + 1 && strncmp(e->full, e->base, len) == 0 && e->full[len] == '-' ? e->full + len + 1 : e->name;
}

static bool models_twice(const json_t *list)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        for (size_t k = 0; k < i; k++)
            if (json_equal(json_array_get(list, i), json_array_get(list, k)))
                return true;
    return false;
}

/* In the order of the edges; names: what entries are called in short, or as they are. */
static json_t *models_of(const struct fl_config *c, const struct fl_entry *e, bool names)
{
    json_t *list = fl_need_json(json_array()), *v;
    size_t i;
    for (uint32_t k = 0; k < e->nfrom; k++) {
        const struct fl_entry *up = &c->entries[e->from_ids[k]];
        const json_t *said = json_object_get(up->describe, "models");
        json_array_foreach((json_t *)said, i, v)
            fl_need_push(list, json_incref(v));
        if (!json_is_array(said))
            fl_need_push(list, fl_need_str(names ? models_short(up) : up->name));
    }
    return list;
}

static bool models_wants(const struct fl_entry *e)
{
    size_t i;
    json_t *o;
    json_array_foreach(json_object_get(e->table, "options"), i, o)
        if (strcmp(json_string_value(json_object_get(o, "name")), "models") == 0 && strcmp(json_string_value(json_object_get(o, "type")), "list") == 0)
            return e->given != NULL && !e->bad && e->nfrom > 0;
    return false;
}

/* What was counted before is in a resolved configuration; there a recording may stand upstream. */
static void models_count(struct fl_config *c, const struct fl_entry *e, const json_t *given, const json_t *come)
{
    size_t n = json_array_size(given), m = json_array_size(come);
    if (!c->resolved && n > 0 && n != m)
        fl_complain(c->complaints, e->options_mark, "%s: models names %zu, but %zu arrive%s: %.60s%s", e->name, n, m, m == 1 ? "s" : "",
                    json_string_value(json_array_get(come, 0)), m > 1 ? ", ..." : "");
}

/* Who has something wrong with it says nothing; what follows from that isn't told as well. */
static bool models_silent(const struct fl_config *c, const struct fl_entry *e)
{
    for (uint32_t k = 0; k < e->nfrom; k++) {
        const struct fl_entry *up = &c->entries[e->from_ids[k]];
        const json_t *error = json_object_get(up->describe, "error");
        if (up->bad || up->describe == NULL || (error != NULL && !json_is_null(error)))
            return true;
    }
    return false;
}

bool fl_models_name(struct fl_config *c, bool *named)
{
    bool any = false;
    for (uint32_t i = 0; i < c->nentries; i++) {
        struct fl_entry *e = &c->entries[i];
        named[i] = false;
        if (!models_wants(e) || models_silent(c, e))
            continue;
        json_t *given = json_object_get(e->given, "models"), *come = models_of(c, e, true);
        if (json_array_size(given) > 0) {
            models_count(c, e, given, come);
            json_decref(come);
            continue;
        }
        if (models_twice(come)) {
            json_decref(come);
            come = models_of(c, e, false);
        }
        fl_need_put(e->given, "models", come);
        named[i] = any = true;
    }
    return any;
}
