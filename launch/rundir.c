/* The run directory: configuration, lock, log, the sockets' folder. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "launch/agent.h"
#include "launch/changed.h"
#include "launch/super.h"
#include "runtime/text.h"

#define RUNDIR_LOG 67108864L            /* bytes at which a new log begins */

/* A place that can't be is an argument to be refused; a disk that is full or broken is not. */
static int rundir_cant(const char *path, int why, struct fl_err *err)
{
    bool disk = why == ENOSPC || why == EDQUOT || why == EIO || why == EMFILE || why == ENFILE || why == ENOMEM;
    return fl_err_set(err, disk ? FL_E_IO : FL_E_CONFIG, "run directory %s: %s", path, strerror(why));
}

static int rundir_folders(const char *path, struct fl_err *err)
{
    char p[1024];
    struct stat st;
    snprintf(p, sizeof p, "%s", path);
    for (char *s = p + 1; ; s++) {
        if (*s != '/' && *s != '\0')
            continue;
        char c = *s;
        *s = '\0';
        if (mkdir(p, 0777) != 0 && errno != EEXIST)
            return rundir_cant(p, errno, err);
        if (stat(p, &st) != 0 || !S_ISDIR(st.st_mode))
            return rundir_cant(p, ENOTDIR, err);
        *s = c;
        if (c == '\0')
            return FL_OK;
    }
}

void fl_rundir_stamp(char stamp[32])
{
    time_t t = time(NULL);
    struct tm tm;
    strftime(stamp, 32, "%Y%m%d-%H%M%S", localtime_r(&t, &tm));
}

int fl_rundir_make(const char *want, const char *name, char dir[FL_RUN_DIR], struct fl_err *err)
{
    if (want != NULL) {
        if (strlen(want) >= FL_RUN_DIR)
            return fl_err_set(err, FL_E_CONFIG, "run directory: name too long");
        json_t *text = json_string(want);                     /* stages get it as JSON */
        json_decref(text);
        if (text == NULL)
            return fl_err_set(err, FL_E_CONFIG, "run directory %s: its name is not UTF-8 text", want);
        snprintf(dir, FL_RUN_DIR, "%s", want);
        return rundir_folders(dir, err);
    }
    char stamp[32];
    fl_rundir_stamp(stamp);
    int rc = rundir_folders("runs", err);
    for (int i = 1; rc == FL_OK && i < 1000; i++) {
        snprintf(dir, FL_RUN_DIR, i == 1 ? "runs/%s-%s" : "runs/%s-%s-%d", name, stamp, i);
        if (mkdir(dir, 0777) == 0)
            return FL_OK;
        if (errno != EEXIST)
            return rundir_cant(dir, errno, err);
    }
    return rc != FL_OK ? rc : fl_err_set(err, FL_E_IO, "run directory %s: exists", dir);
}

static int rundir_open_at(const char *dir, const char *name, int flags, struct fl_err *err)
{
    char path[1200];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, flags | O_CLOEXEC, 0666);
    if (fd < 0)
        fl_err_set(err, FL_E_IO, "%s: %s", path, strerror(errno));
    return fd;
}

static int rundir_lock(struct fl_super *s, struct fl_err *err)
{
    s->lock = rundir_open_at(s->dir, "lock", O_RDWR | O_CREAT, err);
    if (s->lock < 0)
        return err->code;
    if (flock(s->lock, LOCK_EX | LOCK_NB) != 0)
        return fl_err_set(err, FL_E_CONFIG, "%s: another flowrun works in this run directory", s->dir);
    return FL_OK;
}

static int rundir_fresh(const struct fl_super *s, struct fl_err *err)
{
    char path[1200];
    snprintf(path, sizeof path, "%s/config.json", s->dir);
    if (!s->conf->resume && access(path, F_OK) == 0)
        return fl_err_set(err, FL_E_CONFIG, "%s: holds a run already; go on with it by --resume %s, or name another folder", s->dir, s->dir);
    return FL_OK;
}

/* Results under two configurations in one file are nothing a person should get without knowing. */
static int rundir_same(struct fl_super *s, const char *path, bool *mixed, struct fl_err *err)
{
    json_error_t why;
    char *text = NULL;
    json_t *was = json_load_file(path, 0, &why);
    if (was == NULL)
        return fl_err_set(err, FL_E_CONFIG, "%s: line %d: %s", path, why.line, why.text);
    enum fl_changed how = fl_config_changed(was, s->g->resolved, &text);
    json_decref(was);
    if (how != FL_CHANGED_NOTHING)
        fprintf(stderr, "%s was begun with another configuration (as it was -> as it is now):\n%s", s->dir, text);
    free(text);
    if (how == FL_CHANGED_BATCHES)
        return fl_err_set(err, FL_E_CONFIG, "what is done and what is missing can't be put together: the batches are not the same; begin a new run");
    if (how == FL_CHANGED_RESULTS && !s->conf->force)
        return fl_err_set(err, FL_E_CONFIG, "not resumed: tiles done and tiles to come would not be treated alike; --force mixes them");
    *mixed = how == FL_CHANGED_RESULTS;
    if (*mixed)
        fprintf(stderr, "warning: --force: batches that are committed keep what the old configuration gave, the others get the new one\n");
    return FL_OK;
}

int fl_rundir_put_aside(const char *dir, const char *name, struct fl_err *err)
{
    char path[1300], to[1300];
    snprintf(path, sizeof path, "%s/%s.json", dir, name);
    for (int i = 1; i < 1000; i++) {
        snprintf(to, sizeof to, "%s/%s-%d.json", dir, name, i);
        if (link(path, to) == 0)
            return FL_OK;
        if (errno != EEXIST)
            break;
    }
    return fl_err_set(err, FL_E_IO, "%s: %s", to, strerror(errno));
}

/* Written last of what a resume needs: a folder with a config.json can be resumed. */
static int rundir_config(struct fl_super *s, struct fl_err *err)
{
    char path[1200];
    snprintf(path, sizeof path, "%s/config.json", s->dir);
    bool mixed = false;
    int rc = s->conf->resume ? rundir_same(s, path, &mixed, err) : FL_OK;
    if (rc == FL_OK && mixed)
        rc = fl_rundir_put_aside(s->dir, "config", err);
    if (rc != FL_OK || (s->conf->resume && !mixed))
        return rc;
    char *text = json_dumps(s->g->resolved, JSON_INDENT(2));
    rc = text != NULL ? fl_write_file(path, 0666, text, strlen(text), err) : fl_err_set(err, FL_E_NOMEM, "config.json");
    free(text);
    return rc;
}

/* The run's id, the same after a resume: batches and journal carry it. */
static int rundir_id(struct fl_super *s, struct fl_err *err)
{
    char path[1200];
    snprintf(path, sizeof path, "%s/id", s->dir);
    FILE *f = fopen(path, s->conf->resume ? "re" : "we");
    if (f == NULL)
        return fl_err_set(err, s->conf->resume ? FL_E_CONFIG : FL_E_IO, "%s: %s", path, strerror(errno));
    int ok;
    if (s->conf->resume) {
        ok = fscanf(f, "%16lx", &s->run) == 1;
    } else {
        ok = getrandom(&s->run, sizeof s->run, 0) == sizeof s->run;
        s->run &= INT64_MAX;
        ok = ok && fprintf(f, "%016lx\n", s->run) > 0;
    }
    if (fclose(f) != 0)
        return fl_err_set(err, FL_E_IO, "%s: %s", path, strerror(errno));
    return ok ? FL_OK : fl_err_set(err, FL_E_IO, "%s: holds no id of a run", path);
}

static void rundir_clean_sockets(const char *path)
{
    DIR *d = opendir(path);
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL; )
        if (e->d_name[0] != '.')
            unlinkat(dirfd(d), e->d_name, 0);
    if (d != NULL)
        closedir(d);
    rmdir(path);
}

int fl_rundir_open(struct fl_super *s, struct fl_err *err)
{
    int rc = fl_rundir_make(s->conf->run_dir, s->g->name, s->dir, err);
    if (rc == FL_OK)
        rc = rundir_lock(s, err);
    if (rc == FL_OK)
        rc = rundir_fresh(s, err);
    if (rc == FL_OK)
        rc = rundir_id(s, err);
    if (rc == FL_OK)
        rc = rundir_config(s, err);
    if (rc != FL_OK)
        return rc;
    char path[1200];
    snprintf(path, sizeof path, "%s/s", s->dir);
    rundir_clean_sockets(path);              /* of a supervisor that was killed */
    if (mkdir(path, 0700) != 0)
        return fl_err_set(err, FL_E_IO, "%s: %s", path, strerror(errno));
    s->sockets = rundir_open_at(s->dir, "s", O_RDONLY | O_DIRECTORY, err);
    int log = rundir_open_at(s->dir, "log.jsonl", O_WRONLY | O_CREAT | O_APPEND, err);
    if (s->sockets < 0 || log < 0)
        return err->code;
    s->sockets = fl_fd_high(s->sockets);
    if (fl_dump_listen(s, err) != FL_OK)
        return err->code;
    s->log = fdopen(log, "a");
    if (s->log == NULL)
        return fl_err_set(err, FL_E_IO, "%s/log.jsonl: %s", s->dir, strerror(errno));
    setvbuf(s->log, NULL, _IOLBF, 0);
    return FL_OK;
}

void fl_rundir_close(struct fl_super *s)
{
    char path[1200];
    snprintf(path, sizeof path, "%s/s", s->dir);
    if (s->ask >= 0)
        close(s->ask);
    if (s->asker >= 0)
        close(s->asker);
    s->ask = s->asker = -1;
    if (s->sockets >= 0) {
        rundir_clean_sockets(path);
        close(s->sockets);
    }
    if (s->log != NULL)
        fclose(s->log);
    if (s->lock >= 0)
        close(s->lock);
    s->sockets = s->lock = -1;
    s->log = NULL;
}

/* The log before this one is kept, those before it are not. */
static void rundir_next_log(struct fl_super *s)
{
    char path[1200], old[1200];
    snprintf(path, sizeof path, "%s/log.jsonl", s->dir);
    snprintf(old, sizeof old, "%s/log.old.jsonl", s->dir);
    if (rename(path, old) == 0 && (s->log = freopen(path, "ae", s->log)) != NULL)
        setvbuf(s->log, NULL, _IOLBF, 0);
}

void fl_super_log(struct fl_super *s, const char *stage, uint32_t instance, int level, const char *text)
{
    static const char *const names[] = { "info", "warning", "error" };
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    char plain[700];
    snprintf(plain, sizeof plain, "%s", text);
    fl_err_mend(plain);
    json_t *j = json_pack("{s:f, s:s, s:s, s:i, s:s}", "time", (double)t.tv_sec + (double)t.tv_nsec / 1e9, "level", names[level >= 0 && level <= 2 ? level : 2],
                          "stage", stage, "instance", (int)instance, "text", plain);
    if (s->log != NULL && ftell(s->log) > RUNDIR_LOG)
        rundir_next_log(s);
    if (j != NULL && s->log != NULL) {
        json_dumpf(j, s->log, JSON_COMPACT | JSON_REAL_PRECISION(17));
        fputc('\n', s->log);
    }
    json_decref(j);
    if (level == FL_LOG_INFO && s->finishing)
        snprintf(s->said, sizeof s->said, "%.40s: %.150s", stage, plain);
    if (s->conf->agent != NULL)
        fl_agent_log(s->conf->agent, stage, instance, level, plain);
    if (level >= FL_LOG_WARN && !s->conf->quiet)
        fprintf(stderr, "%s%s: %s\n", level == FL_LOG_WARN ? "warning: " : "", stage, plain);
}
