/* Executables, libraries and files that a run computed with. */
#include "launch/versions.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "launch/mem.h"
#include "launch/super.h"
#include "runtime/host.h"
#include "runtime/model.h"
#include "runtime/text.h"

#define VERSIONS_HASHED (INT64_C(64) << 20)      /* a larger file is hashed at the end of the run, when nobody waits for this process */
#define VERSIONS_NOTES  65536

/* ---- build ids ---- */

static bool versions_note(const unsigned char *p, size_t len, char hex[130])
{
    while (len >= sizeof(Elf64_Nhdr)) {
        Elf64_Nhdr n;
        memcpy(&n, p, sizeof n);
        size_t name = ((size_t)n.n_namesz + 3) & ~(size_t)3, desc = ((size_t)n.n_descsz + 3) & ~(size_t)3;
        if (name > len || desc > len || sizeof n + name + desc > len)
            return false;
        if (n.n_type == NT_GNU_BUILD_ID && n.n_namesz == 4 && memcmp(p + sizeof n, "GNU", 4) == 0 && n.n_descsz <= 64) {
            for (size_t i = 0; i < n.n_descsz; i++)
                snprintf(hex + 2 * i, 3, "%02x", p[sizeof n + name + i]);
            return true;
        }
        p += sizeof n + name + desc;
        len -= sizeof n + name + desc;
    }
    return false;
}

void fl_versions_id(const char *path, char hex[130])
{
    Elf64_Ehdr e;
    struct stat st;
    bool found = false;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool elf = fd >= 0 && pread(fd, &e, sizeof e, 0) == (ssize_t)sizeof e && memcmp(e.e_ident, ELFMAG, SELFMAG) == 0 && e.e_ident[EI_CLASS] == ELFCLASS64;
    for (int i = 0; elf && !found && i < e.e_phnum; i++) {
        Elf64_Phdr h;
        unsigned char notes[VERSIONS_NOTES];
        if (pread(fd, &h, sizeof h, (off_t)(e.e_phoff + (uint64_t)i * sizeof h)) != (ssize_t)sizeof h)
            break;
        if (h.p_type != PT_NOTE || h.p_filesz > sizeof notes || pread(fd, notes, h.p_filesz, (off_t)h.p_offset) != (ssize_t)h.p_filesz)
            continue;
        found = versions_note(notes, h.p_filesz, hex);
    }
    if (!found)
        snprintf(hex, 130, "%lld bytes", fd >= 0 && fstat(fd, &st) == 0 ? (long long)st.st_size : -1LL);
    if (fd >= 0)
        close(fd);
}

/* What is mapped to be executed: the executable and its libraries, into `all`. */
static void versions_mapped(pid_t pid, json_t *all)
{
    char path[64], *line = NULL, id[130];
    size_t cap = 0;
    snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
    FILE *f = fopen(path, "re");
    while (f != NULL && getline(&line, &cap, f) > 0) {
        char *at = strchr(line, '/'), *perm = strchr(line, ' ');
        if (at == NULL || perm == NULL || perm[3] != 'x')
            continue;
        at[strcspn(at, "\n")] = '\0';
        if (strncmp(at, "/memfd:", 7) == 0 || strncmp(at, "/dev/", 5) == 0 || json_object_get(all, at) != NULL)
            continue;
        fl_versions_id(at, id);
        fl_need_put(all, at, fl_need_str(id));
    }
    free(line);
    if (f != NULL)
        fclose(f);
}

/* ---- files ---- */

static void versions_file(json_t *files, const char *path)
{
    struct stat st;
    struct fl_err err;
    char hex[65] = "";
    if (path == NULL || stat(path, &st) != 0 || !S_ISREG(st.st_mode) || json_object_get(files, path) != NULL)
        return;
    json_t *j = fl_need_json(json_pack("{s:I, s:I}", "bytes", (json_int_t)st.st_size, "mtime", (json_int_t)st.st_mtime));
    if (st.st_size <= VERSIONS_HASHED && fl_sha256_file(path, hex, &err) == FL_OK)
        fl_need_put(j, "sha256", fl_need_str(hex));
    fl_need_put(files, path, j);
}

/* A stage that is a script is mapped by no process. */
static void versions_script(json_t *files, const char *exe)
{
    char magic[SELFMAG];
    int fd = open(exe, O_RDONLY | O_CLOEXEC);
    bool elf = fd >= 0 && pread(fd, magic, sizeof magic, 0) == (ssize_t)sizeof magic && memcmp(magic, ELFMAG, SELFMAG) == 0;
    if (fd >= 0)
        close(fd);
    if (!elf)
        versions_file(files, exe);
}

/* With the description beside it: NAME.json of NAME.safetensors. */
static void versions_value(json_t *files, const json_t *v)
{
    size_t i;
    json_t *one;
    json_array_foreach((json_t *)v, i, one)
        versions_value(files, one);
    if (!json_is_string(v))
        return;
    versions_file(files, json_string_value(v));
    const char *dot = strrchr(json_string_value(v), '.');
    char *beside = fl_need_text("%.*s.json", (int)(dot != NULL ? dot - json_string_value(v) : 0), json_string_value(v));
    if (dot != NULL)
        versions_file(files, beside);
    free(beside);
}

static json_t *versions_files(const struct fl_stage_node *n)
{
    size_t i;
    json_t *o, *files = fl_need_json(json_object());
    json_array_foreach(json_object_get(n->describe, "options"), i, o) {
        const char *type = json_string_value(json_object_get(o, "type"));
        if (strcmp(type, "path") == 0 || strcmp(type, "paths") == 0)
            versions_value(files, json_object_get(n->options, json_string_value(json_object_get(o, "name"))));
    }
    versions_script(files, n->exe);
    return files;
}

/* ---- the machine ---- */

char *fl_versions_processor(void)
{
    struct utsname u = { 0 };
    char *line = NULL, *model = NULL;
    size_t cap = 0;
    FILE *f = fopen("/proc/cpuinfo", "re");
    while (f != NULL && model == NULL && getline(&line, &cap, f) > 0)
        if (strncmp(line, "model name", 10) == 0 && strchr(line, ':') != NULL) {
            line[strcspn(line, "\n")] = '\0';
            model = fl_need_copy(strchr(line, ':') + 2);
        }
    if (f != NULL)
        fclose(f);
    free(line);
    uname(&u);
    return model != NULL ? model : fl_need_copy(u.machine);
}

static json_t *versions_machine(void)
{
    json_t *j = fl_need_json(json_object());
    char *model = fl_versions_processor();
    fl_need_put(j, "processor", fl_need_str(model));
    free(model);
    return j;
}

static void versions_save(struct fl_super *s)
{
    char path[1200], *text = json_dumps(s->versions, JSON_INDENT(1));
    struct fl_err err = { 0 };
    snprintf(path, sizeof path, "%s/versions.json", s->dir);
    int rc = text != NULL ? fl_write_file(path, 0666, text, strlen(text), &err) : fl_err_set(&err, FL_E_NOMEM, "no memory");
    if (rc != FL_OK) {
        char why[1400];
        snprintf(why, sizeof why, "versions.json can't be written: %s", err.text);
        fl_super_log(s, "flowrun", 0, FL_LOG_WARN, why);
    }
    free(text);
}

void fl_versions_files(struct fl_super *s)
{
    json_t *stages = fl_need_json(json_object());
    char here[PATH_MAX];
    s->versions = fl_need_json(json_object());
    if (getcwd(here, sizeof here) != NULL)
        fl_need_put(s->versions, "folder", fl_need_str(here));
    fl_need_put(s->versions, "flowrun", fl_need_str(FL_VERSION));
    fl_need_put(s->versions, "machine", versions_machine());
    for (uint32_t i = 0; i < s->g->nstages; i++) {
        const struct fl_stage_node *n = &s->g->stages[i];
        json_t *e = fl_need_json(json_object());
        fl_need_put(e, "exe", fl_need_str(n->exe));
        fl_need_put(e, "files", versions_files(n));
        fl_need_put(stages, n->name, e);
    }
    fl_need_put(s->versions, "stages", stages);
}

/* Files that were too large at the start, if they are still those of the start. */
static bool versions_hash(json_t *files)
{
    const char *path;
    json_t *f;
    bool any = false;
    json_object_foreach(files, path, f) {
        struct stat st;
        struct fl_err err;
        char hex[65];
        if (json_object_get(f, "sha256") != NULL || stat(path, &st) != 0 || (json_int_t)st.st_size != json_integer_value(json_object_get(f, "bytes")) ||
            (json_int_t)st.st_mtime != json_integer_value(json_object_get(f, "mtime")) || fl_sha256_file(path, hex, &err) != FL_OK)
            continue;
        fl_need_put(f, "sha256", fl_need_str(hex));
        any = true;
    }
    return any;
}

void fl_versions_complete(struct fl_super *s)
{
    bool more = false;
    for (uint32_t i = 0; s->versions != NULL && i < s->g->nstages; i++) {
        json_t *e = json_object_get(json_object_get(s->versions, "stages"), s->g->stages[i].name), *mapped = json_object_get(e, "mapped");
        size_t before = json_object_size(mapped);
        if (!json_is_object(mapped) || !json_is_object(json_object_get(e, "files")))
            continue;                  /* of a file that somebody else wrote */
        for (uint32_t k = 0; k < s->g->stages[i].instances; k++)
            if (s->inst[s->first[i] + k].pid > 0)
                versions_mapped(s->inst[s->first[i] + k].pid, mapped);
        more |= json_object_size(mapped) > before;
        more |= versions_hash(json_object_get(e, "files"));
    }
    if (more)
        versions_save(s);
}

/* ---- the comparison ---- */

enum { VERSIONS_REPLAY, VERSIONS_RESUME };

static const char *versions_base(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

static void versions_say(FILE *out, const char *stage, const char *what, const char *was, const char *is)
{
    fprintf(out, "%s: %s was %.24s, is %.24s\n", stage, what, was != NULL ? was : "absent", is != NULL ? is : "absent");
}

/* What lies in the same place, else what has the same name: a replay may run elsewhere. */
static const json_t *versions_find(const json_t *all, const char *path)
{
    const char *key;
    json_t *v = json_object_get(all, path);
    if (v != NULL)
        return v;
    json_object_foreach((json_t *)all, key, v)
        if (strcmp(versions_base(key), versions_base(path)) == 0)
            return v;
    return NULL;
}

/* A library that is loaded when it is first wanted may be in one of the two and not in the other, which shows in a replay and is no reason to
 * refuse to resume. */
static void versions_libraries(FILE *out, int why, const char *stage, const json_t *was, const json_t *is)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)was, key, v) {
        const char *now = json_string_value(versions_find(is, key));
        if (json_is_string(v) && (now == NULL ? why == VERSIONS_REPLAY : strcmp(now, json_string_value(v)) != 0))
            versions_say(out, stage, versions_base(key), json_string_value(v), now);
    }
    json_object_foreach((json_t *)is, key, v)
        if (why == VERSIONS_REPLAY && versions_find(was, key) == NULL)
            versions_say(out, stage, versions_base(key), NULL, json_string_value(v));
}

/* Where one is too large for a digest: its size, and on the same machine its time. */
static bool versions_same_file(int why, const json_t *was, const json_t *is)
{
    const char *a = json_string_value(json_object_get(was, "sha256")), *b = json_string_value(json_object_get(is, "sha256"));
    if (a != NULL && b != NULL)
        return strcmp(a, b) == 0;
    return json_equal(json_object_get(was, "bytes"), json_object_get(is, "bytes")) &&
           (why == VERSIONS_REPLAY || json_equal(json_object_get(was, "mtime"), json_object_get(is, "mtime")));
}

static void versions_contents(FILE *out, int why, const char *stage, const json_t *was, const json_t *is)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)was, key, v) {
        const json_t *now = versions_find(is, key);
        const char *a = json_string_value(json_object_get(v, "sha256")), *b = json_string_value(json_object_get(now, "sha256"));
        if (now == NULL)
            versions_say(out, stage, key, "there", NULL);
        else if (!versions_same_file(why, v, now))
            versions_say(out, stage, key, a != NULL ? a : "of another size or time", b != NULL ? b : "another");
    }
}

static void versions_stage(FILE *out, int why, const char *stage, const json_t *was, const json_t *is)
{
    const json_t *x = json_object_get(json_object_get(was, "stages"), stage), *y = json_object_get(json_object_get(is, "stages"), stage);
    if (x == NULL || y == NULL)
        return;                        /* a stage that is gone or new is the configuration's to tell */
    versions_libraries(out, why, stage, json_object_get(x, "mapped"), json_object_get(y, "mapped"));
    versions_contents(out, why, stage, json_object_get(x, "files"), json_object_get(y, "files"));
}

static void versions_processor(const json_t *was, const json_t *is)
{
    const char *p = json_string_value(json_object_get(json_object_get(was, "machine"), "processor"));
    const char *q = json_string_value(json_object_get(json_object_get(is, "machine"), "processor"));
    if (p != NULL && q != NULL && strcmp(p, q) != 0)
        versions_say(stderr, "machine", "the processor", p, q);
}

void fl_versions_compare(const char *run, const char *replay, const char *const *stages, uint32_t n)
{
    char *a = fl_need_text("%s/versions.json", run), *b = fl_need_text("%s/versions.json", replay);
    json_t *was = json_load_file(a, 0, NULL), *is = json_load_file(b, 0, NULL);
    if (was == NULL)
        fprintf(stderr, "%s is missing: whether executables and libraries are those of the run isn't known\n", a);
    else if (is != NULL)
        versions_processor(was, is);
    for (uint32_t i = 0; was != NULL && is != NULL && i < n; i++)
        versions_stage(stderr, VERSIONS_REPLAY, stages[i], was, is);
    json_decref(was);
    json_decref(is);
    free(a);
    free(b);
}

/* ---- of a run that begins or goes on ---- */

/* What differs, one line each, malloc'd; "" when nothing does. */
static char *versions_changed(const struct fl_super *s, const json_t *was)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    if (out == NULL)
        abort();
    for (uint32_t i = 0; i < s->g->nstages; i++)
        versions_stage(out, VERSIONS_RESUME, s->g->stages[i].name, was, s->versions);
    fclose(out);
    return text;
}

static int versions_resume(struct fl_super *s, json_t *was)
{
    struct fl_err err = { 0 };
    versions_processor(was, s->versions);
    char *text = versions_changed(s, was);
    bool same = text[0] == '\0';
    if (!same)
        fprintf(stderr, "%s was begun with other executables, libraries or files:\n%s", s->dir, text);
    free(text);
    if (same) {                        /* what was loaded and hashed later is in the file already */
        json_decref(s->versions);
        s->versions = json_incref(was);
        return FL_OK;
    }
    if (!s->conf->force) {
        s->refused = true;
        fl_super_fail(s, "flowrun", 0, "not resumed: tiles done and tiles to come would not be treated alike; --force mixes them");
        return FL_E_CONFIG;
    }
    fprintf(stderr, "warning: --force: batches that are committed keep what these gave, the others get what is there now\n");
    if (fl_rundir_put_aside(s->dir, "versions", &err) != FL_OK) {
        fl_super_fail(s, "flowrun", 0, err.text);
        return err.code;
    }
    versions_save(s);
    return FL_OK;
}

int fl_versions_settle(struct fl_super *s)
{
    char path[1200];
    json_t *stages = json_object_get(s->versions, "stages"), *was = NULL;
    for (uint32_t i = 0; i < s->g->nstages; i++) {
        json_t *mapped = fl_need_json(json_object());
        versions_mapped(s->inst[s->first[i]].pid, mapped);
        fl_need_put(json_object_get(stages, s->g->stages[i].name), "mapped", mapped);
    }
    snprintf(path, sizeof path, "%s/versions.json", s->dir);
    if (s->conf->resume && (was = json_load_file(path, 0, NULL)) == NULL)
        fl_super_log(s, "flowrun", 0, FL_LOG_WARN, "versions.json is missing or broken: whether executables and files are those the run was begun with isn't known");
    if (was == NULL) {
        versions_save(s);
        return FL_OK;
    }
    int rc = versions_resume(s, was);
    json_decref(was);
    return rc;
}

bool fl_versions_go(const char *run)
{
    char *path = fl_need_text("%s/versions.json", run), here[PATH_MAX];
    json_t *versions = json_load_file(path, 0, NULL);
    const char *folder = json_string_value(json_object_get(versions, "folder"));
    bool other = folder != NULL && folder[0] == '/' && (getcwd(here, sizeof here) == NULL || strcmp(here, folder) != 0);
    if (other && chdir(folder) != 0) {
        fprintf(stderr, "flowrun: the folder that the run was started in: %s: %s\n", folder, strerror(errno));
        other = false;
    }
    json_decref(versions);
    free(path);
    return other;
}
