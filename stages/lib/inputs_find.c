/* What an entry of a source's `files` stands for: files, folders, patterns, lists. */
#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "runtime/text.h"
#include "stages/lib/inputs.h"

#define INPUTS_DEPTH 16                      /* folders within folders; links can go in circles */

bool fl_inputs_is_tile(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot != NULL && (strcasecmp(dot, ".jpg") == 0 || strcasecmp(dot, ".jpeg") == 0 || strcasecmp(dot, ".tif") == 0 || strcasecmp(dot, ".tiff") == 0);
}

static bool inputs_is_tar(const char *name)
{
    size_t len = strlen(name);
    return len > 4 && strcasecmp(name + len - 4, ".tar") == 0;
}

static bool inputs_is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static int inputs_folder(struct fl_inputs *in, const char *folder, const char *pattern, int depth, struct fl_err *err);

/* One entry of a folder. With a pattern all that fits counts; without one what looks like a tile, and folders below. */
static int inputs_entry(struct fl_inputs *in, const char *folder, const struct dirent *e, const char *pattern, int depth, struct fl_err *err)
{
    char path[4200];
    bool fits = pattern != NULL ? fnmatch(pattern, e->d_name, FNM_PERIOD) == 0 : e->d_name[0] != '.';
    if (!fits)
        return FL_OK;
    const char *slash = folder[0] == '\0' || folder[strlen(folder) - 1] == '/' ? "" : "/";
    if ((size_t)snprintf(path, sizeof path, "%s%s%s", folder, slash, e->d_name) >= sizeof path)
        return fl_err_set(err, FL_E_CONFIG, "%.300s...: a path over 4096 bytes", path);
    /* A folder called x.jpg is a tile that can't be read, and is to be reported as one. */
    if (fl_inputs_is_tile(e->d_name))
        return fl_inputs_path(in, path, err);
    bool dir = e->d_type == DT_DIR || (e->d_type != DT_REG && inputs_is_dir(path));
    if (dir)
        return inputs_folder(in, path, NULL, depth + 1, err);
    if (inputs_is_tar(e->d_name))
        return fl_inputs_tar(in, path, err);
    return pattern != NULL ? fl_inputs_path(in, path, err) : FL_OK;
}

static int inputs_folder(struct fl_inputs *in, const char *folder, const char *pattern, int depth, struct fl_err *err)
{
    if (depth > INPUTS_DEPTH)
        return fl_err_set(err, FL_E_INPUT, "%.300s: folders more than %d deep (a link in a circle?)", folder, INPUTS_DEPTH);
    DIR *d = opendir(folder[0] != '\0' ? folder : ".");
    if (d == NULL)
        return fl_err_set(err, errno == ENOMEM ? FL_E_NOMEM : FL_E_INPUT, "%.300s: %s", folder, strerror(errno));
    int rc = FL_OK;
    for (;;) {
        errno = 0;
        const struct dirent *e = readdir(d);
        if (e == NULL)
            break;
        rc = inputs_entry(in, folder, e, pattern, depth, err);
        if (rc != FL_OK)
            break;
    }
    if (rc == FL_OK && errno != 0)
        rc = fl_err_set(err, FL_E_INPUT, "%.300s: %s", folder, strerror(errno));
    closedir(d);
    return rc;
}

static bool inputs_wild(const char *text)
{
    return strpbrk(text, "*?[") != NULL;
}

/* The folders by glob(3), the names in the last step by fnmatch: a folder of 10^7 tiles is walked without a list of its own. */
static int inputs_glob(struct fl_inputs *in, const char *what, struct fl_err *err)
{
    const char *slash = strrchr(what, '/'), *pattern = slash != NULL ? slash + 1 : what;
    char *folder = strndup(what, (size_t)(pattern - what));
    if (folder == NULL)
        return fl_err_set(err, FL_E_NOMEM, "%.300s: out of memory", what);
    int rc = FL_OK;
    if (!inputs_wild(folder)) {
        rc = inputs_folder(in, folder, pattern, 0, err);
        free(folder);
        return rc;
    }
    glob_t g = { 0 };
    int grc = glob(folder, GLOB_NOSORT, NULL, &g);
    free(folder);
    if (grc != 0 && grc != GLOB_NOMATCH)
        rc = fl_err_set(err, grc == GLOB_NOSPACE ? FL_E_NOMEM : FL_E_INPUT, "%.300s: the pattern can't be followed", what);
    for (size_t i = 0; grc == 0 && rc == FL_OK && i < g.gl_pathc; i++)
        if (inputs_is_dir(g.gl_pathv[i]))
            rc = inputs_folder(in, g.gl_pathv[i], pattern, 0, err);
    globfree(&g);
    return rc;
}

/* One line of a list, `len` bytes with its end. */
static int inputs_list_line(struct fl_inputs *in, char *line, size_t len, struct fl_err *err)
{
    if (len > 0 && line[len - 1] == '\n')
        len--;
    if (len > 0 && line[len - 1] == '\r')
        len--;
    line[len] = '\0';
    if (strlen(line) != len)
        return fl_err_set(err, FL_E_INPUT, "a NUL byte in the text");
    if (len == 0)
        return FL_OK;
    uint64_t i = in->n;
    int rc = inputs_is_tar(line) ? fl_inputs_tar(in, line, err) : fl_inputs_path(in, line, err);
    for (; rc == FL_OK && i < in->n; i++)            /* here the line is known */
        rc = fl_inputs_check_id(in, i, err);
    return rc;
}

/* Keeps which line the tiles from `from` on stand in. */
static int inputs_keep_line(struct fl_inputs *in, const char *list, uint64_t line, uint64_t from, struct fl_err *err)
{
    struct fl_inputs_lines *last = in->nlines > 0 ? &in->lines[in->nlines - 1] : NULL;
    bool archive = in->n - from > 1;
    if (in->n == from)
        return FL_OK;
    if (last != NULL && last->list == list && !last->archive && !archive && last->to == from && last->line + (from - last->from) == line) {
        last->to++;
        return FL_OK;
    }
    if (in->lines == NULL || in->nlines == in->lines_cap) {
        uint64_t cap = in->lines_cap ? in->lines_cap * 2 : 16;
        struct fl_inputs_lines *grown = realloc(in->lines, cap * sizeof *grown);
        if (grown == NULL)
            return fl_err_set(err, FL_E_NOMEM, "no memory for %llu lines", (unsigned long long)cap);
        in->lines = grown;
        in->lines_cap = cap;
    }
    in->lines[in->nlines++] = (struct fl_inputs_lines){ list, from, in->n, line, archive };
    return FL_OK;
}

static int inputs_list(struct fl_inputs *in, const char *list, struct fl_err *err)
{
    char *line = NULL;
    size_t cap = 0;
    ssize_t len = 0;
    int rc = FL_OK;
    FILE *f = fopen(list, "re");
    if (f == NULL)
        return fl_err_set(err, errno == ENOMEM ? FL_E_NOMEM : FL_E_INPUT, "%s: %s", list, strerror(errno));
    for (uint64_t n = 1, from = in->n; rc == FL_OK && (errno = 0, len = getline(&line, &cap, f)) >= 0; n++, from = in->n)
        if ((rc = inputs_list_line(in, line, (size_t)len, err)) != FL_OK || (rc = inputs_keep_line(in, list, n, from, err)) != FL_OK)
            fl_err_context(err, "%s:%llu", list, (unsigned long long)n);
    if (rc == FL_OK && !feof(f))
        rc = fl_err_set(err, errno == ENOMEM ? FL_E_NOMEM : FL_E_INPUT, "%s: %s", list, strerror(errno));
    free(line);
    fclose(f);
    return rc;
}

int fl_inputs_add(struct fl_inputs *in, const char *what, struct fl_err *err)
{
    uint64_t before = in->n;
    struct stat st;
    int rc;
    if (what[0] == '@')
        rc = inputs_list(in, what + 1, err);
    else if (strncmp(what, "list:", 5) == 0)
        rc = inputs_list(in, what + 5, err);
    else if (inputs_is_tar(what) && lstat(what, &st) == 0 && !inputs_is_dir(what))
        rc = fl_inputs_tar(in, what, err);
    else if (lstat(what, &st) == 0)
        rc = !fl_inputs_is_tile(what) && inputs_is_dir(what) ? inputs_folder(in, what, NULL, 0, err) : fl_inputs_path(in, what, err);
    else if (inputs_wild(what))
        rc = inputs_glob(in, what, err);
    else
        return fl_err_set(err, FL_E_INPUT, "%.300s: %s", what, strerror(errno));
    if (rc == FL_OK && in->n == before)
        return fl_err_set(err, FL_E_INPUT, "%.300s: no tiles there", what);
    return rc;
}
