/* How soon flowrun tells of a stage that was killed. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/bench.h"

#define DEATH_WAIT 30000               /* ms until something must have been said */

extern char **environ;

static pid_t death_start(char *const argv[], int *said)
{
    int to[2];
    pid_t pid = -1;
    posix_spawn_file_actions_t fa;
    if (pipe2(to, O_CLOEXEC) != 0)
        return -1;
    posix_spawn_file_actions_init(&fa);
    posix_spawn_file_actions_adddup2(&fa, to[1], STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&fa, to[1], STDERR_FILENO);
    if (posix_spawn(&pid, argv[0], &fa, NULL, argv, environ) != 0)
        pid = -1;
    posix_spawn_file_actions_destroy(&fa);
    close(to[1]);
    if (pid < 0)
        close(to[0]);
    *said = to[0];
    return pid;
}

/* The child of `parent` that is called `name`, or -1. */
static pid_t death_child(pid_t parent, const char *name)
{
    char path[80], list[4096] = "", comm[32], *end;
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)parent, (int)parent);
    FILE *f = fopen(path, "re");
    char *p = f != NULL ? fgets(list, sizeof list, f) : NULL;
    if (f != NULL)
        fclose(f);
    for (; p != NULL; p = end) {
        pid_t pid = (pid_t)strtol(p, &end, 10);
        if (end == p)
            return -1;
        snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
        f = fopen(path, "re");
        bool found = f != NULL && fgets(comm, sizeof comm, f) != NULL && strncmp(comm, name, strlen(name)) == 0 && comm[strlen(name)] == '\n';
        if (f != NULL)
            fclose(f);
        if (found)
            return pid;
    }
    return -1;
}

/* Reads until `text` was said; false when the output ends without it. */
static bool death_heard(int fd, const char *text)
{
    char said[65536];
    size_t n = 0;
    struct pollfd p = { .fd = fd, .events = POLLIN };
    said[0] = '\0';
    while (n < sizeof said - 1 && poll(&p, 1, DEATH_WAIT) > 0) {
        ssize_t got = read(fd, said + n, sizeof said - 1 - n);
        if (got <= 0)
            return false;
        n += (size_t)got;
        said[n] = '\0';
        if (strstr(said, text) != NULL)
            return true;
    }
    return false;
}

/* In the midst of a run: results lie in the journal. */
static bool death_begun(const char *run)
{
    char path[800];
    struct stat st;
    snprintf(path, sizeof path, "%s/journal/sink/00000000.j", run);
    for (int i = 0; i < DEATH_WAIT; i++) {
        if (stat(path, &st) == 0 && st.st_size > 64)
            return true;
        usleep(1000);
    }
    return false;
}

static int death_end(pid_t pid, int said, int rc, struct fl_err *err)
{
    char rest[4096];
    int status = 0;
    if (rc != FL_OK)
        kill(pid, SIGKILL);
    while (read(said, rest, sizeof rest) > 0)
        ;
    close(said);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return rc == FL_OK && status != 0 ? fl_err_set(err, FL_E_IO, "flowrun did not end well after a kill") : rc;
}

int bench_death(struct bench *b, double *ms, struct fl_err *err)
{
    char exe[600], run[700], file[700];
    snprintf(exe, sizeof exe, "%s/bin/flowrun", b->bin);
    snprintf(file, sizeof file, "%s/death.yaml", b->dir);
    int rc = bench_fresh(b, "run", run, sizeof run, err), said;
    FILE *f = rc == FL_OK ? fopen(file, "we") : NULL;
    if (f == NULL || fprintf(f, "memory: 40MB\nstages:\n  tiles: {stage: source, options: {files: \"@%s/jpeg.%d.list\", batch: 16}}\n"
                                "  decode: {from: tiles}\n  sink: {from: decode}\n", b->dir, BENCH_FEW) < 0 || fclose(f) != 0)
        return rc != FL_OK ? rc : fl_err_set(err, FL_E_IO, "%s: can't be written", file);
    pid_t pid = death_start((char *[]){ exe, file, (char *)"--run", run, NULL }, &said), stage = -1;
    if (pid < 0)
        return fl_err_set(err, FL_E_IO, "%s: can't be started", exe);
    if (!death_begun(run) || (stage = death_child(pid, "decode")) < 0)
        return death_end(pid, said, fl_err_set(err, FL_E_IO, "no stage at work to be killed"), err);
    double at = bench_now();
    kill(stage, SIGKILL);
    if (!death_heard(said, "died of signal 9"))
        rc = fl_err_set(err, FL_E_IO, "flowrun does not tell of a killed stage");
    *ms = (bench_now() - at) * 1e3;
    return death_end(pid, said, rc, err);
}
