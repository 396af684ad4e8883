/* What a run computed with: libraries loaded later are in it, large files with their digest, files that changed meanwhile without. */
#include <dlfcn.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launch/super.h"
#include "launch/versions.h"
#include "tests/lib/check.h"

#define LATER "libturbojpeg.so.0"            /* linked with no part of flowrun's front; any library would do */

static char *in_tmp(const char *name)
{
    char *path;
    return asprintf(&path, "%s/%s", fl_tmpdir(), name) < 0 ? NULL : path;
}

/* A file of zeros with this word at its end; its SHA-256 by the system's program. */
static void make(const char *path, long size, char hex[65])
{
    char command[5000];
    FILE *f = fopen(path, "w");
    if (f == NULL || fseek(f, size, SEEK_SET) != 0 || fputs("end", f) < 0 || fclose(f) != 0)
        abort();
    snprintf(command, sizeof command, "sha256sum < %s", path);
    FILE *p = popen(command, "r");
    if (p == NULL || fgets(hex, 65, p) == NULL || pclose(p) != 0)
        abort();
}

static json_t *stage_in(const struct fl_super *s)
{
    char path[1200];
    snprintf(path, sizeof path, "%s/versions.json", s->dir);
    return json_load_file(path, 0, NULL);
}

static const char *digest(const json_t *versions, const char *file)
{
    const json_t *files = json_object_get(json_object_get(json_object_get(versions, "stages"), "net"), "files");
    return json_string_value(json_object_get(json_object_get(files, file), "sha256"));
}

static bool has_library(const json_t *versions, const char *name)
{
    const char *path;
    json_t *id;
    json_object_foreach(json_object_get(json_object_get(json_object_get(versions, "stages"), "net"), "mapped"), path, id)
        if (strstr(path, name) != NULL)
            return true;
    return false;
}

FL_TEST(what_came_later_is_in_it)
{
    char *small = in_tmp("small"), *large = in_tmp("large"), *changed = in_tmp("changed"), hex[3][65];
    make(small, 1000, hex[0]);
    make(large, 65l << 20, hex[1]);
    make(changed, 65l << 20, hex[2]);
    json_t *options = json_pack("{s:s, s:[s, s]}", "table", small, "weights", large, changed);
    json_t *describe = json_pack("{s:[{s:s, s:s}, {s:s, s:s}]}", "options", "name", "table", "type", "path", "name", "weights", "type", "paths");
    struct fl_stage_node node = { .name = "net", .exe = "/proc/self/exe", .options = options, .describe = describe, .instances = 2 };
    struct fl_graph g = { .nstages = 1, .stages = &node };
    struct fl_inst inst[2] = { { .pid = getpid() }, { .pid = 0 } };       /* the second is dead */
    uint32_t first = 0;
    const struct fl_run_conf conf = { 0 };
    struct fl_super s = { .g = &g, .conf = &conf, .inst = inst, .ninst = 2, .first = &first };
    snprintf(s.dir, sizeof s.dir, "%s", fl_tmpdir());

    fl_versions_files(&s);
    CHECK_INT(fl_versions_settle(&s), FL_OK);
    json_t *then = stage_in(&s);
    CHECK_STR(digest(then, small), hex[0]);
    CHECK(digest(then, large) == NULL);
    CHECK(has_library(then, "libc.so"));
    CHECK(!has_library(then, LATER));

    CHECK(dlopen(LATER, RTLD_NOW) != NULL);
    CHECK_INT(truncate(changed, 70l << 20), 0);
    fl_versions_complete(&s);
    json_t *now = stage_in(&s);
    CHECK_STR(digest(now, small), hex[0]);
    CHECK_STR(digest(now, large), hex[1]);
    CHECK(digest(now, changed) == NULL);                   /* whatever was read of it is not there any more */
    CHECK(has_library(now, "libc.so"));
    CHECK(has_library(now, LATER));
    json_decref(then);
    json_decref(now);
    json_decref(s.versions);
    json_decref(options);
    json_decref(describe);
    free(small);
    free(large);
    free(changed);
}

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = { CASE(what_came_later_is_in_it), { 0 } };
    return fl_run(cases, argc, argv);
}
