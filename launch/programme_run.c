/* Runs a programme pass after pass, each an ordinary run in a folder of its own, and goes on with one that was broken off.
 *
 * DIR/programme.json is the programme as it was begun, DIR/versions.json the folder it was started in, DIR/passes.json how its steps
 * were cut and what is done, DIR/PASS the run directory of each pass. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "launch/config.h"
#include "launch/mem.h"
#include "launch/programme.h"
#include "runtime/text.h"

/* ---- what is done ---- */

static json_t *state_pass(const struct fl_step *s, const struct fl_pass *pass)
{
    json_t *j = fl_need_json(json_object()), *sinks = fl_need_json(json_array());
    fl_need_put(j, "step", fl_need_str(s->name));
    fl_need_put(j, "pass", fl_need_str(pass->name));
    for (uint32_t i = 0; i < pass->nsinks; i++)
        fl_need_push(sinks, fl_need_str(pass->sinks[i]));
    fl_need_put(j, "jobs", sinks);
    fl_need_put(j, "exit", pass->exit == FL_PASS_TODO ? json_null() : json_integer(pass->exit));
    fl_need_put(j, "tiles", json_integer((json_int_t)pass->tiles));
    fl_need_put(j, "rejected", json_integer((json_int_t)pass->rejected));
    fl_need_put(j, "seconds", json_real(pass->seconds));
    return j;
}

static int state_write(const char *dir, const char *name, json_t *j)
{
    struct fl_err err = { 0 };
    char *path = fl_need_text("%s/%s", dir, name), *text = json_dumps(j, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
    int rc = text != NULL ? fl_write_file(path, 0666, text, strlen(text), &err) : fl_err_set(&err, FL_E_NOMEM, "%s", path);
    if (rc != FL_OK)
        fprintf(stderr, "flowrun: %s\n", err.text);
    free(text);
    free(path);
    json_decref(j);
    return rc;
}

static int state_save(const struct fl_programme *p, const char *dir)
{
    json_t *all = fl_need_json(json_array());
    for (uint32_t i = 0; i < p->nsteps; i++)
        for (uint32_t k = 0; k < p->steps[i].npasses; k++)
            fl_need_push(all, state_pass(&p->steps[i], &p->steps[i].passes[k]));
    return state_write(dir, "passes.json", all);
}

static bool state_take(struct fl_step *s, const json_t *j)
{
    const json_t *sinks = json_object_get(j, "jobs"), *exit = json_object_get(j, "exit"), *sink;
    const char *name = json_string_value(json_object_get(j, "pass"));
    size_t i;
    if (name == NULL || !json_is_array(sinks) || json_array_size(sinks) == 0 || strchr(name, '/') != NULL || name[0] == '.' ||
        !(json_is_null(exit) || (json_is_integer(exit) && (json_integer_value(exit) == 0 || json_integer_value(exit) == 3))))
        return false;
    s->passes = fl_need_grow(s->passes, s->npasses + 1, sizeof *s->passes);
    struct fl_pass *pass = &s->passes[s->npasses++];
    *pass = (struct fl_pass){ .name = fl_need_copy(name), .sinks = fl_need(json_array_size(sinks), sizeof *pass->sinks),
                              .exit = json_is_integer(exit) ? (int)json_integer_value(exit) : FL_PASS_TODO,
                              .tiles = (uint64_t)json_integer_value(json_object_get(j, "tiles")),
                              .rejected = (uint64_t)json_integer_value(json_object_get(j, "rejected")),
                              .seconds = json_number_value(json_object_get(j, "seconds")) };
    json_array_foreach(sinks, i, sink)
        pass->sinks[pass->nsinks++] = fl_need_copy(json_is_string(sink) ? json_string_value(sink) : "");
    return true;
}

int fl_programme_done(struct fl_programme *p, const char *dir)
{
    json_error_t why;
    char *path = fl_need_text("%s/passes.json", dir);
    json_t *all = access(path, F_OK) == 0 ? json_load_file(path, 0, &why) : fl_need_json(json_array()), *j;
    bool ok = json_is_array(all);
    size_t i;
    json_array_foreach(all, i, j) {
        const char *step = json_string_value(json_object_get(j, "step"));
        uint32_t k = 0;
        while (step != NULL && k < p->nsteps && strcmp(p->steps[k].name, step) != 0)
            k++;
        ok = ok && step != NULL && k < p->nsteps && state_take(&p->steps[k], j);
    }
    json_decref(all);
    if (!ok)
        fprintf(stderr, "flowrun: %s: not a list of passes of the programme beside it\n", path);
    free(path);
    return ok ? FL_OK : FL_E_CONFIG;
}

/* ---- folders ---- */

static int run_folder(const char *path)
{
    char *p = fl_need_copy(path);
    int rc = FL_OK;
    for (char *s = p + 1; rc == FL_OK; s++) {
        if (*s != '/' && *s != '\0')
            continue;
        char c = *s;
        *s = '\0';
        if (mkdir(p, 0777) != 0 && errno != EEXIST) {
            fprintf(stderr, "flowrun: %s: %s\n", p, strerror(errno));
            rc = FL_E_IO;
        }
        *s = c;
        if (c == '\0')
            break;
    }
    free(p);
    return rc;
}

static int run_out_folders(const struct fl_programme *p)
{
    size_t i;
    json_t *out;
    for (uint32_t k = 0; k < p->nsteps; k++)
        json_array_foreach(p->steps[k].out, i, out) {
            char *path = fl_need_copy(json_string_value(out)), *slash = strrchr(path, '/');
            if (slash != NULL && slash != path)
                *slash = '\0';
            int rc = slash != NULL && slash != path ? run_folder(path) : FL_OK;
            free(path);
            if (rc != FL_OK)
                return rc;
        }
    return FL_OK;
}

static char *run_name(const struct fl_programme *p)
{
    char stamp[32];
    struct tm tm;
    time_t t = time(NULL);
    strftime(stamp, sizeof stamp, "%Y%m%d-%H%M%S", localtime_r(&t, &tm));
    return fl_need_text("runs/%s-%s", p->name, stamp);
}

/* Two flowruns must not work on the same programme. The descriptor, or -1 after a line. */
static int run_lock(const char *dir)
{
    char *path = fl_need_text("%s/programme.lock", dir);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0)
        fprintf(stderr, "flowrun: %s: %s\n", path, strerror(errno));
    else if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        fprintf(stderr, "flowrun: %s: another flowrun works on this programme\n", dir);
        close(fd);
        fd = -1;
    }
    free(path);
    return fd;
}

/* Runs that lie there would be taken for passes that were begun. False after a line. */
static bool run_fresh(const char *dir)
{
    if (fl_programme_is_dir(dir)) {
        fprintf(stderr, "flowrun: %s: holds a programme already; go on with it by --resume %s, or name another folder\n", dir, dir);
        return false;
    }
    DIR *d = opendir(dir);
    char *found = NULL;
    for (struct dirent *e; d != NULL && found == NULL && (e = readdir(d)) != NULL; ) {
        char *config = fl_need_text("%s/%s/config.json", dir, e->d_name);
        if (strcmp(e->d_name, "..") != 0 && access(config, F_OK) == 0)
            found = config;
        else
            free(config);
    }
    if (d != NULL)
        closedir(d);
    if (found != NULL)
        fprintf(stderr, "flowrun: %s: there is a run already (%s), but no programme; name another folder\n", dir, found);
    bool fresh = found == NULL;
    free(found);
    return fresh;
}

/* ---- passes ---- */

static void run_account(struct fl_pass *pass, const char *dir, int status)
{
    char *path = fl_need_text("%s/report.json", dir);
    json_t *j = json_load_file(path, 0, NULL);
    pass->exit = status;
    pass->tiles = (uint64_t)json_integer_value(json_object_get(j, "tiles"));
    pass->rejected = (uint64_t)json_integer_value(json_object_get(j, "rejected"));
    pass->seconds = json_number_value(json_object_get(j, "seconds"));
    json_decref(j);
    free(path);
}

/* Its configuration as it was begun, where it was. */
static int run_graph(const struct fl_programme *p, const struct fl_step *s, const struct fl_pass *pass, const char *config, bool begun, struct fl_graph **g)
{
    if (!begun)
        return fl_programme_pass(p, s, pass, g);
    char *complaints = NULL;
    int rc = fl_graph_load(config, NULL, 0, g, &complaints);
    if (complaints != NULL)
        fputs(complaints, stderr);
    free(complaints);
    return rc;
}

/* Exit status of the pass; 4 as well where it is complete, but a signal came at its end. */
static int run_pass(struct fl_programme *p, struct fl_step *s, struct fl_pass *pass, const char *dir, const struct fl_run_conf *how)
{
    char *run = fl_need_text("%s/%s", dir, pass->name), *config = fl_need_text("%s/config.json", run);
    bool begun = access(config, F_OK) == 0, asked = false;
    struct fl_graph *g = NULL;
    int status = 2;
    if (!how->quiet)
        fprintf(stderr, "%s: %u jobs%s\n", pass->name, pass->nsinks, begun ? ", begun before" : "");
    if (run_graph(p, s, pass, config, begun, &g) == FL_OK) {
        const struct fl_run_conf conf = { .run_dir = run, .quiet = how->quiet, .metrics = how->metrics, .resume = begun, .force = begun && how->force, .asked = &asked };
        status = fl_cmd_run_graph(g, &conf);
    }
    if (status == 0 || status == 3) {
        run_account(pass, run, status);
        if (state_save(p, dir) != FL_OK)
            status = 1;
        else if (asked)
            status = 4;
    }
    fl_graph_free(g);
    free(run);
    free(config);
    return status;
}

static int run_step(struct fl_programme *p, struct fl_step *s, const char *dir, const struct fl_run_conf *how)
{
    int worst = 0;
    if (s->npasses == 0) {
        if (fl_programme_open(p, s) != FL_OK)
            return 2;
        if (state_save(p, dir) != FL_OK)
            return 1;
    }
    for (uint32_t k = 0; k < s->npasses; k++) {
        int status = s->passes[k].exit;
        if (status == FL_PASS_TODO)
            status = run_pass(p, s, &s->passes[k], dir, how);
        if (status != 0 && status != 3)
            return status;
        worst = status > worst ? status : worst;
    }
    return worst;
}

static int run_all(struct fl_programme *p, const char *dir, const struct fl_run_conf *how)
{
    int worst = 0;
    bool any = false;
    for (uint32_t i = 0; i < p->nsteps; i++) {
        int status = run_step(p, &p->steps[i], dir, how);
        if (status != 0 && status != 3) {
            fprintf(stderr, "programme: stopped at step %s; to go on: flowrun --resume %s\n", p->steps[i].name, dir);
            return status == 2 && any ? 1 : status;      /* 2 is for what is refused before anything runs */
        }
        worst = status > worst ? status : worst;
        any = true;
    }
    if (!how->quiet)
        fprintf(stderr, "programme: complete%s\n", worst == 3 ? " with rejected tiles" : "");
    return worst;
}

static int run_begin(struct fl_programme *p, const char *dir)
{
    json_t *tree = fl_need_json(fl_node_json(p->root));
    fl_need_put(tree, "name", fl_need_str(p->name));
    char here[PATH_MAX];
    int rc = state_save(p, dir);
    if (rc == FL_OK && getcwd(here, sizeof here) != NULL)
        rc = state_write(dir, "versions.json", fl_need_json(json_pack("{s:s, s:o}", "flowrun", FL_VERSION, "folder", fl_need_str(here))));
    if (rc == FL_OK)
        rc = state_write(dir, "programme.json", tree);       /* last: what has one can be resumed */
    else
        json_decref(tree);
    return rc;
}

bool fl_programme_is_dir(const char *dir)
{
    char *path = fl_need_text("%s/programme.json", dir);
    bool is = access(path, F_OK) == 0;
    free(path);
    return is;
}

int fl_programme_run(struct fl_programme *p, const struct fl_run_conf *how)
{
    if (fl_programme_check(p) != FL_OK)
        return 2;
    char *dir = how->run_dir != NULL ? fl_need_copy(how->run_dir) : run_name(p);
    int status = 2, lock = -1;
    if (run_folder(dir) == FL_OK && (lock = run_lock(dir)) >= 0 && run_fresh(dir))
        status = run_out_folders(p) == FL_OK && run_begin(p, dir) == FL_OK ? run_all(p, dir, how) : 1;
    if (lock >= 0)
        close(lock);
    free(dir);
    return status;
}

/* Steps that are begun keep their cut; they need not be asked again. */
int fl_programme_resume(const struct fl_run_conf *how)
{
    const char *dir = how->run_dir;
    char *file = fl_need_text("%s/programme.json", dir);
    struct fl_programme *p = NULL;
    int status = 2, lock = run_lock(dir);
    if (lock >= 0 && fl_programme_load(file, NULL, 0, &p) == FL_OK && p != NULL && fl_programme_done(p, dir) == FL_OK)
        status = run_all(p, dir, how);
    fl_programme_free(p);
    if (lock >= 0)
        close(lock);
    free(file);
    return status;
}
