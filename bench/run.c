/* Runs a program and takes the processor time of it and all that it started. */
#include "bench/bench.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

double bench_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double run_seconds(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

/* A process inherits the mask of who starts it. */
static void run_pin(int cpu, cpu_set_t *before)
{
    cpu_set_t one;
    sched_getaffinity(0, sizeof *before, before);
    if (cpu < 0)
        return;
    CPU_ZERO(&one);
    CPU_SET((unsigned)cpu, &one);
    sched_setaffinity(0, sizeof one, &one);
}

static int run_spawn(struct bench *b, const char *const *argv, const char *out, pid_t *pid)
{
    posix_spawn_file_actions_t fa;
    cpu_set_t before;
    posix_spawn_file_actions_init(&fa);
    posix_spawn_file_actions_addopen(&fa, STDOUT_FILENO, out, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    posix_spawn_file_actions_adddup2(&fa, STDOUT_FILENO, STDERR_FILENO);
    run_pin(b->cpu, &before);
    int rc = posix_spawn(pid, argv[0], &fa, NULL, (char *const *)argv, environ);
    sched_setaffinity(0, sizeof before, &before);
    posix_spawn_file_actions_destroy(&fa);
    return rc;
}

int bench_run(struct bench *b, const char *const *argv, const char *out, struct bench_cost *cost, struct fl_err *err)
{
    char path[700];
    snprintf(path, sizeof path, "%s/output", b->dir);
    if (out == NULL)
        out = path;
    pid_t pid;
    double start = bench_now();
    int rc = run_spawn(b, argv, out, &pid), status = 0;
    if (rc != 0)
        return fl_err_set(err, FL_E_IO, "%s: %s", argv[0], strerror(rc));
    struct rusage ru;
    while (wait4(pid, &status, 0, &ru) < 0)         /* what a process waited for is in its own account */
        if (errno != EINTR)
            return fl_err_set(err, FL_E_IO, "%s: %s", argv[0], strerror(errno));
    cost->wall = bench_now() - start;
    cost->cpu = run_seconds(ru.ru_utime) + run_seconds(ru.ru_stime);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return fl_err_set(err, FL_E_IO, "%s %s: ended with %s %d; its output is in %s", argv[0], argv[1] != NULL ? argv[1] : "",
                          WIFEXITED(status) ? "status" : "signal", WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status), out);
    return FL_OK;
}
