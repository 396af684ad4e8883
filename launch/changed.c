#include "launch/changed.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launch/mem.h"

#define CHANGED_SHOWN 160     /* characters of a value */

struct changed {
    FILE *out;
    enum fl_changed worst;
};

static bool changed_one_of(const char *key, const char *const *names)
{
    while (*names != NULL && strcmp(*names, key) != 0)
        names++;
    return *names != NULL;
}

static void changed_value(FILE *out, const json_t *v)
{
    char *text = v != NULL ? json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    if (text == NULL)
        fputs("not there", out);
    else
        fprintf(out, "%.*s%s", CHANGED_SHOWN, text, strlen(text) > CHANGED_SHOWN ? "..." : "");
    free(text);
}

static void changed_tell(struct changed *c, const char *where, const char *key, const json_t *was, const json_t *is, enum fl_changed how)
{
    fprintf(c->out, "  %s%s: ", where, key);
    changed_value(c->out, was);
    fputs(" -> ", c->out);
    changed_value(c->out, is);
    fputc('\n', c->out);
    c->worst = how > c->worst ? how : c->worst;
}

/* Members of either map, but for the names in `free_names`. */
static void changed_members(struct changed *c, const char *where, const json_t *was, const json_t *is, const char *const *free_names, enum fl_changed how)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)was, key, v)
        if (!changed_one_of(key, free_names) && !json_equal(v, json_object_get(is, key)))
            changed_tell(c, where, key, v, json_object_get(is, key), how);
    json_object_foreach((json_t *)is, key, v)
        if (!changed_one_of(key, free_names) && json_object_get(was, key) == NULL)
            changed_tell(c, where, key, NULL, v, how);
}

/* The source decides which tiles a batch number means. */
static bool changed_is_source(const json_t *entry)
{
    return json_array_size(json_object_get(entry, "from")) == 0;
}

static void changed_entry(struct changed *c, const char *name, const json_t *was, const json_t *is)
{
    static const char *const free_names[] = { "instances", "place", "exe", "options", NULL };
    static const char *const by_content[] = { "snapshots", NULL };      /* digests of files, which are compared themselves and told by name */
    char *where = fl_need_text("stages.%s.", name), *options = fl_need_text("stages.%s.options.", name);
    enum fl_changed how = changed_is_source(was) || changed_is_source(is) ? FL_CHANGED_BATCHES : FL_CHANGED_RESULTS;
    changed_members(c, where, was, is, free_names, how);
    changed_members(c, options, json_object_get(was, "options"), json_object_get(is, "options"), by_content, how);
    free(where);
    free(options);
}

enum fl_changed fl_config_changed(const json_t *was, const json_t *is, char **text)
{
    static const char *const free_names[] = { "name", "file", "memory", "window", "stall_timeout", "open_timeout", "drain_timeout", "stage_path", "stages", "seed", "batch", "labels", "hosts", "cluster", "local", NULL };
    static const char *const batches[] = { "seed", "batch", "labels", NULL };
    size_t size;
    struct changed c = { .out = open_memstream(text, &size) };
    const json_t *a = json_object_get(was, "stages"), *b = json_object_get(is, "stages");
    const char *name;
    json_t *v;
    if (c.out == NULL)
        abort();
    changed_members(&c, "", was, is, free_names, FL_CHANGED_RESULTS);
    for (const char *const *key = batches; *key != NULL; key++)
        if (!json_equal(json_object_get(was, *key), json_object_get(is, *key)))
            changed_tell(&c, "", *key, json_object_get(was, *key), json_object_get(is, *key), FL_CHANGED_BATCHES);
    json_object_foreach((json_t *)a, name, v)
        if (json_object_get(b, name) != NULL)
            changed_entry(&c, name, v, json_object_get(b, name));
        else
            changed_tell(&c, "stages.", name, v, NULL, FL_CHANGED_RESULTS);
    json_object_foreach((json_t *)b, name, v)
        if (json_object_get(a, name) == NULL)
            changed_tell(&c, "stages.", name, NULL, v, FL_CHANGED_RESULTS);
    fclose(c.out);
    return c.worst;
}
