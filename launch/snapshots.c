/* The weights that stand upstream of a stage, by their digests, into its option `snapshots`. */
#include <stdlib.h>
#include <string.h>

#include "launch/config.h"
#include "launch/mem.h"

#define SNAPSHOTS_MOST 64u             /* of more nothing is said: some of them would look like all */

static bool snapshots_wants(const struct fl_entry *e)
{
    size_t i;
    json_t *o;
    json_array_foreach(json_object_get(e->table, "options"), i, o)
        if (strcmp(json_string_value(json_object_get(o, "name")), "snapshots") == 0 && strcmp(json_string_value(json_object_get(o, "type")), "list") == 0)
            return e->given != NULL && !e->bad && json_array_size(json_object_get(e->given, "snapshots")) == 0;
    return false;
}

static bool snapshots_has(const json_t *list, const json_t *digest)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        if (json_equal(json_array_get(list, i), digest))
            return true;
    return false;
}

/* In the order of the edges, each once; seen [nentries]. */
static void snapshots_up(const struct fl_config *c, const struct fl_entry *e, bool *seen, json_t *list)
{
    size_t i;
    json_t *v;
    for (uint32_t k = 0; k < e->nfrom; k++) {
        const struct fl_entry *up = &c->entries[e->from_ids[k]];
        if (seen[e->from_ids[k]])
            continue;
        seen[e->from_ids[k]] = true;
        json_array_foreach(json_object_get(up->describe, "snapshots"), i, v)
            if (!snapshots_has(list, v))
                fl_need_push(list, json_incref(v));
        snapshots_up(c, up, seen, list);
    }
}

void fl_snapshots_name(struct fl_config *c)
{
    for (uint32_t i = 0; i < c->nentries; i++) {
        struct fl_entry *e = &c->entries[i];
        if (!snapshots_wants(e))
            continue;
        bool *seen = fl_need(c->nentries, sizeof *seen);
        json_t *list = fl_need_json(json_array());
        snapshots_up(c, e, seen, list);
        if (json_array_size(list) > 0 && json_array_size(list) <= SNAPSHOTS_MOST)
            fl_need_put(e->given, "snapshots", json_incref(list));
        json_decref(list);
        free(seen);
    }
}
