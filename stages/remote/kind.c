/* What a host has: kept in RUN/hosts/ENTRY.HOST.json. What its stages come to must be what those of the first host came to (RUN/hosts/ENTRY.json). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/text.h"
#include "stages/remote/remote.h"

/* {STAGE: {OPTION: value}} of {STAGE: {"settled": {OPTION: value}, "offers": [...]}}. */
static json_t *kind_settled(json_t *has)
{
    const char *stage;
    json_t *v, *out = json_object();
    json_object_foreach(has, stage, v)
        if (json_is_object(json_object_get(v, "settled")))
            json_object_set(out, stage, json_object_get(v, "settled"));
    return out;
}

static int kind_write(const char *path, const json_t *j, struct fl_err *err)
{
    char *text = j != NULL ? json_dumps(j, JSON_INDENT(1) | JSON_SORT_KEYS) : NULL;
    int rc = text != NULL ? fl_write_file(path, 0666, text, strlen(text), err) : fl_err_set(err, FL_E_NOMEM, "hosts");
    free(text);
    return rc;
}

/* The first value that is another one, in words; NULL: there is none. */
static char *kind_differs(json_t *was, json_t *is)
{
    const char *stage, *option;
    json_t *options, *v;
    char *text = NULL;
    json_object_foreach(was, stage, options)
        json_object_foreach(options, option, v) {
            const char *a = json_string_value(v), *b = json_string_value(json_object_get(json_object_get(is, stage), option));
            if (text == NULL && (a == NULL || b == NULL || strcmp(a, b) != 0) && asprintf(&text, "%s: %s comes to %.60s there, %.60s on the hosts of this run", stage, option,
                                                                                   b != NULL ? b : "nothing", a != NULL ? a : "nothing") < 0)
                text = NULL;
        }
    return text;
}

int remote_keep(struct fl_ctx *ctx, json_t *has, char **differs, struct fl_err *err)
{
    struct remote *s = ctx->state;
    char dir[1100], own[1300], first[1300], tmp[1400];
    json_t *is = kind_settled(has), *was = NULL;
    snprintf(dir, sizeof dir, "%s/hosts", ctx->run_dir);
    snprintf(own, sizeof own, "%s/%s.%s.json", dir, ctx->name, s->name);
    snprintf(first, sizeof first, "%s/%s.json", dir, ctx->name);
    snprintf(tmp, sizeof tmp, "%s.%u", first, ctx->instance);
    mkdir(dir, 0777);                            /* a failure shows when the file is made */
    int rc = kind_write(own, has, err);
    if (rc == FL_OK)
        rc = kind_write(tmp, is, err);
    if (rc == FL_OK && link(tmp, first) != 0 && errno != EEXIST)       /* hosts join at once: one of them is the first */
        rc = fl_err_set(err, FL_E_IO, "%s: %s", first, strerror(errno));
    unlink(tmp);
    if (rc == FL_OK && (was = json_load_file(first, 0, NULL)) == NULL)
        rc = fl_err_set(err, FL_E_INPUT, "%s: can't be read", first);
    *differs = rc == FL_OK ? kind_differs(was, is) : NULL;
    json_decref(was);
    json_decref(is);
    return rc;
}
