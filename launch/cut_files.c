/* What goes into an archive beside the recordings: the configuration, and the files that its options name. Of a folder that one names, the
 * files that are called after a chosen tile. Sources can't be replayed out of an archive: what their options name stays where it is. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launch/archive.h"
#include "launch/describe.h"
#include "launch/mem.h"
#include "launch/replay.h"

/* within: fl_archive_may; names: of files that are in, by their path. */
struct cut_files { const char *dir, *within; json_t *names; bool folders; struct fl_err *err; };

static int cut_copy(const char *from, const char *to, struct fl_err *err)
{
    char buf[65536];
    size_t n;
    FILE *in = fopen(from, "rbe"), *out = in != NULL ? fopen(to, "wbe") : NULL;
    bool ok = in != NULL && out != NULL;
    while (ok && (n = fread(buf, 1, sizeof buf, in)) > 0)
        ok = fwrite(buf, 1, n, out) == n;
    ok = ok && !ferror(in);
    if (in != NULL)
        fclose(in);
    if (out != NULL && fclose(out) != 0)
        ok = false;
    return ok ? FL_OK : fl_err_set(err, FL_E_IO, "%.200s to %.200s: %s", from, to, strerror(errno));
}

/* A name in files/ that neither this file's nor its description's is taken: NAME, 2-NAME, ... */
static char *cut_name(const struct cut_files *c, const char *base, size_t stem)
{
    for (uint32_t k = base[0] == '.' ? 2 : 1;; k++) {             /* none begins with a dot */
        char *name = k == 1 ? fl_need_copy(base) : fl_need_text("%u-%s", k, base);
        char *to = fl_need_text("%s/files/%s", c->dir, name), *beside = fl_need_text("%s/files/%.*s.json", c->dir, (int)(strlen(name) - strlen(base) + stem), name);
        bool taken = access(to, F_OK) == 0 || access(beside, F_OK) == 0;
        free(to);
        free(beside);
        if (!taken)
            return name;
        free(name);
    }
}

static bool cut_is_folder(const struct cut_files *c, const json_t *value)
{
    struct stat st;
    const char *path = json_string_value(value);
    return path != NULL && fl_archive_may(c->within, path) && stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* A folder becomes an empty one in files/, which fl_cut_tiles fills. */
static int cut_folder(struct cut_files *c, json_t **value)
{
    const char *path = json_string_value(*value);
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/')
        end--;
    size_t begin = end;
    while (begin > 0 && path[begin - 1] != '/')
        begin--;
    char *base = end > begin ? fl_need_text("%.*s", (int)(end - begin), path + begin) : fl_need_copy("folder");
    const char *had = json_string_value(json_object_get(c->names, path));
    char *name = had != NULL ? fl_need_copy(had) : cut_name(c, base, strlen(base)), *to = fl_need_text("%s/files/%s", c->dir, name);
    int rc = had != NULL || mkdir(to, 0777) == 0 ? FL_OK : fl_err_set(c->err, FL_E_IO, "%.300s: %s", to, strerror(errno));
    fl_need_put(c->names, path, fl_need_str(name));
    c->folders = true;
    char *text = fl_need_text("archive:%s", name);
    *value = fl_need_str(text);
    free(text);
    free(to);
    free(name);
    free(base);
    return rc;
}

/* A file that an option names goes into files/; the option is changed to archive:NAME, which replay makes a path again. */
static int cut_value(struct cut_files *c, json_t **value)
{
    struct stat st;
    const char *path = json_string_value(*value);
    if (path == NULL || !fl_archive_may(c->within, path) || stat(path, &st) != 0 || !S_ISREG(st.st_mode))
        return FL_OK;
    const char *slash = strrchr(path, '/'), *base = slash != NULL ? slash + 1 : path, *dot = strrchr(base, '.');
    size_t stem = dot != NULL ? (size_t)(dot - base) : strlen(base);
    char *name = json_object_get(c->names, path) != NULL ? fl_need_copy(json_string_value(json_object_get(c->names, path))) : cut_name(c, base, stem);
    int rc = FL_OK;
    if (json_object_get(c->names, path) == NULL) {
        char *to = fl_need_text("%s/files/%s", c->dir, name), *beside = fl_need_text("%.*s.json", (int)((size_t)(base - path) + stem), path);
        char *there = fl_need_text("%s/files/%.*s.json", c->dir, (int)(strlen(name) - strlen(base) + stem), name);
        rc = cut_copy(path, to, c->err);
        if (rc == FL_OK && dot != NULL && strcmp(dot, ".safetensors") == 0 && access(beside, R_OK) == 0)
            rc = cut_copy(beside, there, c->err);
        fl_need_put(c->names, path, fl_need_str(name));
        free(to);
        free(beside);
        free(there);
    }
    char *text = fl_need_text("archive:%s", name);
    *value = fl_need_str(text);
    free(text);
    free(name);
    return rc;
}

/* Files that a stage writes are no part of what it computes with. NULL: the stage can't be asked, and all options count. */
static json_t *cut_describe(const json_t *entry)
{
    const char *exe = json_string_value(json_object_get(entry, "exe"));
    struct fl_ask ask = { .exe = exe };
    json_t *options = NULL;
    if (exe != NULL && access(exe, X_OK) == 0)
        fl_ask_all(&ask, 1, FL_DESCRIBE_SECONDS);
    if (ask.answer != NULL)
        options = json_incref(json_object_get(ask.answer, "options"));
    fl_ask_done(&ask);
    return options;
}

static const char *cut_type(const json_t *described, const char *key)
{
    size_t i;
    json_t *o;
    json_array_foreach((json_t *)described, i, o)
        if (strcmp(json_string_value(json_object_get(o, "name")), key) == 0)
            return json_string_value(json_object_get(o, "type"));
    return "";
}

/* What the archive lacks is told. */
static void cut_missing(const char *stage, const char *key, const json_t *v)
{
    const char *path = json_string_value(v);
    if (path != NULL && *path != '\0' && strncmp(path, "archive:", 8) != 0)
        fprintf(stderr, "flowrun: %s: %s: %s is no file that could be taken along: what needs it can't be replayed elsewhere\n", stage, key, path);
}

static int cut_options(struct cut_files *c, const char *stage, const json_t *entry)
{
    const char *key;
    json_t *options = json_object_get(entry, "options"), *described = cut_describe(entry), *v, *one;
    size_t i;
    void *next;
    int rc = FL_OK;
    json_object_foreach_safe(options, next, key, v) {
        const char *type = cut_type(described, key);
        if (strcmp(type, "out") == 0)
            continue;
        bool named = strncmp(type, "path", 4) == 0;           /* path or paths: a file, surely */
        json_array_foreach(v, i, one) {
            json_t *item = one;
            if (rc == FL_OK && (rc = cut_value(c, &item)) == FL_OK && item != one)
                json_array_set_new(v, i, item);
            else if (rc == FL_OK && named)
                cut_missing(stage, key, one);
        }
        json_t *value = v;
        if (rc == FL_OK && (rc = strcmp(type, "path") == 0 && cut_is_folder(c, v) ? cut_folder(c, &value) : cut_value(c, &value)) == FL_OK && value != v)
            json_object_set_new(options, key, value);          /* v is gone from here on */
        else if (rc == FL_OK && named)
            cut_missing(stage, key, v);
    }
    json_decref(described);
    return rc;
}

int fl_cut_config(const char *dir, const struct fl_replay *r, bool *folders, struct fl_err *err)
{
    struct cut_files c = { .dir = dir, .within = r->foreign ? r->run : NULL, .names = fl_need_json(json_object()), .err = err };
    const char *name;
    json_t *e, *config = fl_need_json(json_deep_copy(r->config));
    int rc = FL_OK;
    json_object_foreach(json_object_get(config, "stages"), name, e)
        if (rc == FL_OK && json_array_size(json_object_get(e, "from")) > 0)
            rc = cut_options(&c, name, e);
    *folders = c.folders;
    char *path = fl_need_text("%s/config.json", dir), *versions = fl_need_text("%s/versions.json", r->run), *to = fl_need_text("%s/versions.json", dir);
    if (rc == FL_OK && json_dump_file(config, path, JSON_INDENT(2)) != 0)
        rc = fl_err_set(err, FL_E_IO, "%s can't be written", path);
    if (rc == FL_OK && access(versions, R_OK) == 0)
        rc = cut_copy(versions, to, err);
    free(path);
    free(versions);
    free(to);
    json_decref(config);
    json_decref(c.names);
    return rc;
}

/* ---- folders ---- */

/* The name of a file without its end is a tile's id. */
static bool cut_is_of(const json_t *tiles, const char *file)
{
    const char *dot = strrchr(file, '.');
    char *id = fl_need_text("%.*s", (int)(dot != NULL ? dot - file : (long)strlen(file)), file);
    bool is = json_object_get(tiles, id) != NULL;
    free(id);
    return is;
}

static int cut_fill(const char *from, const char *to, const json_t *tiles, struct fl_err *err)
{
    int rc = FL_OK;
    DIR *d = opendir(from);
    if (d == NULL)
        return fl_err_set(err, FL_E_IO, "%.300s: %s", from, strerror(errno));
    for (const struct dirent *e; rc == FL_OK && (e = readdir(d)) != NULL;) {
        struct stat st;
        if (!cut_is_of(tiles, e->d_name))
            continue;
        char *file = fl_need_text("%s/%s", from, e->d_name), *there = fl_need_text("%s/%s", to, e->d_name);
        if (stat(file, &st) == 0 && S_ISREG(st.st_mode) && access(there, F_OK) != 0)
            rc = cut_copy(file, there, err);
        free(file);
        free(there);
    }
    closedir(d);
    return rc;
}

/* DIR/files/NAME of an option archive:NAME, where that is a folder; malloc'd, or NULL. */
static char *cut_folder_of(const char *dir, const json_t *value)
{
    struct stat st;
    const char *text = json_string_value(value);
    char *path = text != NULL && strncmp(text, "archive:", 8) == 0 && strchr(text, '/') == NULL && text[8] != '.' ? fl_need_text("%s/files/%s", dir, text + 8) : NULL;
    if (path != NULL && stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return path;
    free(path);
    return NULL;
}

static uint64_t cut_count(const char *folder)
{
    uint64_t n = 0;
    DIR *d = opendir(folder);
    for (const struct dirent *e; d != NULL && (e = readdir(d)) != NULL;)
        n += e->d_name[0] != '.';
    if (d != NULL)
        closedir(d);
    return n;
}

int fl_cut_tiles(const char *dir, const struct fl_replay *r, const json_t *tiles, struct fl_err *err)
{
    char *path = fl_need_text("%s/config.json", dir);
    json_t *config = json_load_file(path, 0, NULL), *e, *v;
    const char *name, *key, *within = r->foreign ? r->run : NULL;
    int rc = config != NULL ? FL_OK : fl_err_set(err, FL_E_IO, "%s can't be read", path);
    json_object_foreach(json_object_get(config, "stages"), name, e)
        json_object_foreach(json_object_get(e, "options"), key, v) {
            const char *from = json_string_value(json_object_get(json_object_get(fl_replay_stage(r, name), "options"), key));
            char *to = cut_folder_of(dir, v);
            if (rc == FL_OK && to != NULL && from != NULL && fl_archive_may(within, from))
                rc = cut_fill(from, to, tiles, err);
            free(to);
        }
    json_decref(config);
    free(path);
    return rc;
}

void fl_cut_lacks(const char *dir, const json_t *tiles)
{
    char *path = fl_need_text("%s/config.json", dir);
    json_t *config = json_load_file(path, 0, NULL), *e, *v;
    const char *name, *key;
    json_object_foreach(json_object_get(config, "stages"), name, e)
        json_object_foreach(json_object_get(e, "options"), key, v) {
            char *folder = cut_folder_of(dir, v);
            uint64_t have = folder != NULL ? cut_count(folder) : 0;
            if (folder != NULL && have < json_object_size(tiles))
                fprintf(stderr, "flowrun: %s: %s: %llu of its files are called after the %zu chosen tiles: what else it needs of it can't be replayed elsewhere\n", name, key,
                        (unsigned long long)have, json_object_size(tiles));
            free(folder);
        }
    json_decref(config);
    free(path);
}
