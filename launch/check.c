/* Options of an entry against the table its stage prints: names, types, ranges, choices, files. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launch/config.h"
#include "launch/mem.h"
#include "runtime/opt.h"

struct check { struct fl_complaints *complaints; const char *prefix; const json_t *option; struct fl_absent absent; bool ok; };

static const char *check_name(const struct check *k)
{
    return json_string_value(json_object_get(k->option, "name"));
}

static json_t *check_wrong(struct check *k, const struct fl_node *n, const char *want)
{
    fl_complain(k->complaints, n->mark, "%s%s is %s, want %s", k->prefix, check_name(k), fl_node_say(n), want);
    k->ok = false;
    return NULL;
}

/* ---- numbers ---- */

/* A default outside the limits stands for something else ("0: choose"), so it may be written out as well. */
static bool check_is_default(const struct check *k, const struct fl_node *n, double value)
{
    const char *def = json_string_value(json_object_get(k->option, "default"));
    char *end;
    if (def == NULL || n->text == NULL)
        return false;
    double d = strtod(def, &end);
    return strcmp(def, n->text) == 0 || (end != def && *end == '\0' && d == value);
}

static void check_limit_text(const struct check *k, char *text, size_t size)
{
    const json_t *min = json_object_get(k->option, "min"), *max = json_object_get(k->option, "max");
    if (json_is_number(min) && json_is_number(max))
        snprintf(text, size, "%.15g to %.15g", json_number_value(min), json_number_value(max));
    else if (json_is_number(min))
        snprintf(text, size, "at least %.15g", json_number_value(min));
    else
        snprintf(text, size, "at most %.15g", json_number_value(max));
}

static json_t *check_range(struct check *k, const struct fl_node *n, double value, json_t *as)
{
    const json_t *min = json_object_get(k->option, "min"), *max = json_object_get(k->option, "max");
    char want[96];
    bool low = json_is_number(min) && !(value >= json_number_value(min)), high = json_is_number(max) && !(value <= json_number_value(max));
    if ((!low && !high) || check_is_default(k, n, value))
        return as;
    json_decref(as);
    check_limit_text(k, want, sizeof want);
    return check_wrong(k, n, want);
}

static json_t *check_size(struct check *k, const struct fl_node *n)
{
    uint64_t bytes = 0;
    if ((n->kind != FL_NODE_INT && n->kind != FL_NODE_STR) || fl_size_parse(n->text, &bytes, NULL) != FL_OK)
        return check_wrong(k, n, "a size like 4096, 512MiB or 2GB");
    return check_range(k, n, (double)bytes, n->kind == FL_NODE_INT ? fl_need_json(json_integer(n->i)) : fl_need_str(n->text));
}

/* ---- text ---- */

static bool check_scalar(const struct fl_node *n)
{
    return n->text != NULL && n->kind != FL_NODE_NULL;
}

static json_t *check_choice(struct check *k, const struct fl_node *n)
{
    const json_t *list = json_object_get(k->option, "choices");
    const size_t count = json_array_size(list);
    if (!check_scalar(n))
        return check_wrong(k, n, "one of its choices");
    const char **names = fl_need(count + 1, sizeof *names);
    bool known = false;
    char all[256] = "";
    for (size_t i = 0; i < count; i++) {
        names[i] = json_string_value(json_array_get(list, i));
        known |= strcmp(names[i], n->text) == 0;
        size_t used = strlen(all);
        snprintf(all + used, sizeof all - used, "%s%s", i ? ", " : "", names[i]);
    }
    if (!known) {
        fl_complain(k->complaints, n->mark, "%s%s is %s, want one of %s%s", k->prefix, check_name(k), fl_node_say(n), all, fl_did_you_mean(n->text, names));
        k->ok = false;
    }
    free(names);
    return known ? fl_need_str(n->text) : NULL;
}

bool fl_file_made(const char *text, const char *file)
{
    size_t len = strcspn(text, "*?["), in = strlen(file);
    if (text[len] != '\0')
        while (len > 0 && text[len - 1] != '/')
            len--;
    else if (in > 0 && file[in - 1] == '*' && strncmp(text, file, in - 1) == 0 && text[in - 1] != '\0' && strchr(text + in - 1, '/') == NULL)
        return true;
    while (len > 1 && text[len - 1] == '/')
        len--;
    return len > 0 && strncmp(text, file, len) == 0 && (file[len] == '\0' || file[len] == '/');
}

static bool check_exists(struct check *k, const struct fl_node *n)
{
    struct stat st;
    size_t i;
    json_t *made;
    if (n->text[0] == '\0' || stat(n->text, &st) == 0)
        return true;
    json_array_foreach(k->absent.made, i, made)
        if (errno == ENOENT && fl_file_made(n->text, json_string_value(made)))
            return true;
    fl_complain(k->complaints, n->mark, "%s%s: %s: %s", k->prefix, check_name(k), n->text, errno == ENOENT ? "no such file or folder" : strerror(errno));
    k->ok = false;
    return false;
}

/* What stands in the way of writing a file, or NULL. Not by access() alone: to root it allows everything. */
static const char *check_not_writable(const char *path, bool made)
{
    struct stat st;
    char *dir = fl_need_copy(path), *slash = strrchr(dir, '/');
    const char *why = NULL;
    if (slash == NULL)
        strcpy(dir, ".");
    else
        slash[slash == dir] = '\0';
    if (path[0] == '\0' || path[strlen(path) - 1] == '/')
        why = "a file's name is wanted";
    else if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        why = S_ISDIR(st.st_mode) ? "it is a folder" : "it is there, and no regular file";
    else if (stat(dir, &st) != 0)
        why = errno == ENOENT && made ? NULL : errno == ENOTDIR ? "its folder is no folder" : errno == ENOENT ? "its folder does not exist" : strerror(errno);
    else if (!S_ISDIR(st.st_mode))
        why = "its folder is no folder";
    else if (access(dir, W_OK | X_OK) != 0)
        why = errno == EROFS ? "its folder lies on a read-only file system" : "its folder is not writable";
    free(dir);
    return why;
}

static json_t *check_out(struct check *k, const struct fl_node *n)
{
    if (!check_scalar(n))
        return check_wrong(k, n, "the path of a file to write");
    const char *why = check_is_default(k, n, NAN) ? NULL : check_not_writable(n->text, k->absent.folders);
    if (why == NULL)
        return fl_need_str(n->text);
    fl_complain(k->complaints, n->mark, "%s%s: %s can't be written: %s", k->prefix, check_name(k), n->text, why);
    k->ok = false;
    return NULL;
}

static json_t *check_list(struct check *k, const struct fl_node *n, bool files)
{
    const char *want = files ? "a file or a list of files" : "text or a list of texts";
    bool list = n->kind == FL_NODE_LIST, good = true;
    if (!list && !check_scalar(n))
        return check_wrong(k, n, want);
    json_t *j = fl_need_json(json_array());
    for (uint32_t i = 0; i < (list ? n->n : 1); i++) {
        const struct fl_node *item = list ? n->items[i] : n;
        if (!check_scalar(item)) {
            check_wrong(k, item, want);
            good = false;
        } else if (!files || check_exists(k, item)) {
            fl_need_push(j, fl_need_str(item->text));
        } else {
            good = false;
        }
    }
    if (good)
        return j;
    json_decref(j);
    return NULL;
}

/* ---- one option ---- */

/* The value as JSON, or NULL after a complaint. */
static json_t *check_value(struct check *k, const struct fl_node *n)
{
    const char *type = json_string_value(json_object_get(k->option, "type"));
    if (strcmp(type, "bool") == 0)
        return n->kind == FL_NODE_BOOL ? fl_need_json(json_boolean(n->b)) : check_wrong(k, n, "true or false");
    if (strcmp(type, "int") == 0)
        return n->kind == FL_NODE_INT ? check_range(k, n, n->f, fl_need_json(json_integer(n->i))) : check_wrong(k, n, "a whole number");
    if (strcmp(type, "float") == 0) {
        bool number = n->kind == FL_NODE_INT || (n->kind == FL_NODE_FLOAT && isfinite(n->f));
        return number ? check_range(k, n, n->f, fl_need_json(json_real(n->f))) : check_wrong(k, n, "a number");
    }
    if (strcmp(type, "size") == 0)
        return check_size(k, n);
    if (strcmp(type, "str") == 0)
        return check_scalar(n) ? fl_need_str(n->text) : check_wrong(k, n, "text");
    if (strcmp(type, "path") == 0) {
        if (!check_scalar(n))
            return check_wrong(k, n, "the path of a file or folder");
        return check_exists(k, n) ? fl_need_str(n->text) : NULL;
    }
    if (strcmp(type, "out") == 0)
        return check_out(k, n);
    if (strcmp(type, "choice") == 0)
        return check_choice(k, n);
    if (strcmp(type, "list") == 0 || strcmp(type, "paths") == 0)
        return check_list(k, n, type[0] == 'p');
    return fl_node_json(n);
}

static const json_t *check_find(const json_t *options, const char *name)
{
    size_t i;
    json_t *o;
    json_array_foreach(options, i, o)
        if (strcmp(json_string_value(json_object_get(o, "name")), name) == 0)
            return o;
    return NULL;
}

static void check_unknown(struct check *k, const json_t *options, const char *name, struct fl_mark mark)
{
    const char **names = fl_need(json_array_size(options) + 1, sizeof *names);
    for (size_t i = 0; i < json_array_size(options); i++)
        names[i] = json_string_value(json_object_get(json_array_get(options, i), "name"));
    fl_complain(k->complaints, mark, "%sunknown option %.60s%s", k->prefix, name, fl_did_you_mean(name, names));
    k->ok = false;
    free(names);
}

bool fl_check_options(struct fl_complaints *complaints, const char *prefix, const json_t *table, const struct fl_node *options,
                      struct fl_mark options_mark, struct fl_absent absent, json_t **given)
{
    const json_t *list = json_object_get(table, "options");
    struct check k = { .complaints = complaints, .prefix = prefix, .absent = absent, .ok = true };
    size_t i;
    json_t *o;
    *given = fl_need_json(json_object());
    for (uint32_t m = 0; options != NULL && m < options->n; m++) {
        k.option = check_find(list, options->keys[m]);
        if (k.option == NULL) {
            check_unknown(&k, list, options->keys[m], options->key_marks[m]);
            continue;
        }
        json_t *v = options->items[m]->kind != FL_NODE_NULL ? check_value(&k, options->items[m]) : NULL;
        if (v != NULL)
            fl_need_put(*given, options->keys[m], v);
    }
    json_array_foreach(list, i, o) {
        const struct fl_node *value = fl_node_get(options, json_string_value(json_object_get(o, "name")), NULL);
        if (!json_is_true(json_object_get(o, "required")) || (value != NULL && value->kind != FL_NODE_NULL))
            continue;
        fl_complain(complaints, options_mark, "%soption %s must be given: %s", prefix, json_string_value(json_object_get(o, "name")),
                    json_string_length(json_object_get(o, "help")) ? json_string_value(json_object_get(o, "help")) : "it has no default");
        k.ok = false;
    }
    return k.ok;
}

json_t *fl_option_default(const json_t *option)
{
    const char *def = json_string_value(json_object_get(option, "default")), *type = json_string_value(json_object_get(option, "type"));
    if (def == NULL)
        return NULL;
    struct fl_node *n = fl_node_scalar(def, true, (struct fl_mark){ 0, 0 });
    json_t *j = NULL;
    if ((strcmp(type, "bool") == 0 && n->kind == FL_NODE_BOOL) || (strcmp(type, "int") == 0 && n->kind == FL_NODE_INT)
        || (strcmp(type, "float") == 0 && n->kind == FL_NODE_FLOAT))
        j = fl_node_json(n);
    else if (strcmp(type, "float") == 0 && n->kind == FL_NODE_INT)
        j = fl_need_json(json_real(n->f));
    else if (strcmp(type, "json") == 0)
        j = json_loads(def, JSON_DECODE_ANY, NULL);
    else if (strcmp(type, "list") == 0 || strcmp(type, "paths") == 0)
        fl_need_push(j = fl_need_json(json_array()), fl_need_str(def));
    fl_node_free(n);
    return j != NULL ? j : fl_need_str(def);
}
