/* Runs `STAGE --describe`, several at a time, each with a time-out and a limit on what it may print. */
#include "launch/describe.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "launch/mem.h"
#include "runtime/json.h"

extern char **environ;

#define DESCRIBE_STDERR 4096      /* bytes kept of what a stage says on stderr */
#define DESCRIBE_TURN   0.05      /* seconds between calls of go_on */

struct describe_job {
    struct fl_ask *ask;           /* NULL = free */
    pid_t  pid;
    int    fd[2];                 /* stdout, stderr; -1 = closed */
    char  *out;
    size_t len, cap;
    char   said[DESCRIBE_STDERR + 1];
    size_t said_len;
    double deadline;
};

/* Whoever stops flowrun while stages are asked stops these too: they are in groups of their own. A signal that is held back or handled is somebody's already. */
struct describe_guard {
    sigset_t before;
    int      fd;                  /* -1 = none */
};

static double describe_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int describe_spawn(struct describe_job *j, const sigset_t *mask, int out, int err)
{
    const struct fl_ask *a = j->ask;
    const char *argv[8] = { a->exe, "--describe" };
    int n = 2;
    if (a->options != NULL) {
        argv[n++] = "--options";
        argv[n++] = a->options;
    }
    if (a->labels != NULL) {
        argv[n++] = "--labels";
        argv[n++] = a->labels;
    }
    posix_spawn_file_actions_t fa;
    posix_spawnattr_t at;
    if (posix_spawn_file_actions_init(&fa) != 0)
        return ENOMEM;
    if (posix_spawnattr_init(&at) != 0) {
        posix_spawn_file_actions_destroy(&fa);
        return ENOMEM;
    }
    /* A group of its own, so that a time-out ends what a script has started as well. */
    int rc = posix_spawnattr_setflags(&at, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK);
    rc = rc ? rc : posix_spawnattr_setsigmask(&at, mask);
    rc = rc ? rc : posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDONLY, 0);
    rc = rc ? rc : posix_spawn_file_actions_adddup2(&fa, out, 1);
    rc = rc ? rc : posix_spawn_file_actions_adddup2(&fa, err, 2);
    rc = rc ? rc : posix_spawn(&j->pid, a->exe, &fa, &at, (char *const *)argv, environ);
    posix_spawnattr_destroy(&at);
    posix_spawn_file_actions_destroy(&fa);
    return rc;
}

static void describe_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static bool describe_start(struct describe_job *j, struct fl_ask *a, const sigset_t *mask, double seconds)
{
    int out[2] = { -1, -1 }, err[2] = { -1, -1 };
    *j = (struct describe_job){ .ask = a, .fd = { -1, -1 }, .deadline = describe_now() + seconds };
    int rc = pipe2(out, O_CLOEXEC) != 0 || pipe2(err, O_CLOEXEC) != 0 ? errno : describe_spawn(j, mask, out[1], err[1]);
    describe_close(&out[1]);
    describe_close(&err[1]);
    j->fd[0] = out[0];
    j->fd[1] = err[0];
    if (rc == 0)
        return true;
    describe_close(&j->fd[0]);
    describe_close(&j->fd[1]);
    a->error = fl_need_text("%s --describe can't be run: %s", a->exe, strerror(rc));
    j->ask = NULL;
    return false;
}

/* The last line a stage said tells most. */
static const char *describe_last_line(struct describe_job *j)
{
    while (j->said_len > 0 && (j->said[j->said_len - 1] == '\n' || j->said[j->said_len - 1] == ' '))
        j->said_len--;
    j->said[j->said_len] = '\0';
    char *line = strrchr(j->said, '\n');
    return line != NULL ? line + 1 : j->said;
}

static void describe_read_answer(struct describe_job *j)
{
    struct fl_ask *a = j->ask;
    json_error_t e;
    char *why = NULL;
    json_t *answer;
    if (fl_json_parse(j->out != NULL ? j->out : "", j->len, JSON_REJECT_DUPLICATES, &answer, &e) != FL_OK) {
        a->error = fl_need_text("%s --describe printed no JSON: %s", a->exe, j->len ? e.text : "nothing at all");
    } else if (!fl_describe_prove(answer, &why)) {
        a->error = fl_need_text("%s --describe: %s", a->exe, why);
        json_decref(answer);
    } else {
        a->answer = answer;
    }
    free(why);
}

static void describe_finish(struct describe_job *j, const char *killed)
{
    int status = 0;
    struct fl_ask *a = j->ask;
    if (killed != NULL)
        kill(-j->pid, SIGKILL);
    describe_close(&j->fd[0]);
    describe_close(&j->fd[1]);
    while (waitpid(j->pid, &status, 0) < 0 && errno == EINTR)
        ;
    const char *said = describe_last_line(j);
    if (killed != NULL)
        a->error = fl_need_text("%s --describe %s", a->exe, killed);
    else if (WIFSIGNALED(status))
        a->error = fl_need_text("%s --describe was ended by signal %d%s%s", a->exe, WTERMSIG(status), *said ? ": " : "", said);
    else if (WEXITSTATUS(status) != 0)
        a->error = fl_need_text("%s --describe ended with status %d%s%s", a->exe, WEXITSTATUS(status), *said ? ": " : "", said);
    else
        describe_read_answer(j);
    free(j->out);
    *j = (struct describe_job){ .fd = { -1, -1 } };
}

/* False at the end of the stream. */
static bool describe_read_out(struct describe_job *j)
{
    if (j->cap - j->len < 65536) {
        j->cap = j->cap ? 2 * j->cap : 131072;
        j->out = fl_need_grow(j->out, j->cap, 1);
    }
    ssize_t got = read(j->fd[0], j->out + j->len, j->cap - j->len);
    if (got < 0)
        return errno == EINTR || errno == EAGAIN;
    j->len += (size_t)got;
    return got > 0;
}

static bool describe_read_err(struct describe_job *j)
{
    char buf[1024];
    ssize_t got = read(j->fd[1], buf, sizeof buf);
    if (got < 0)
        return errno == EINTR || errno == EAGAIN;
    size_t n = (size_t)got;
    if (j->said_len + n > DESCRIBE_STDERR) {
        size_t drop = j->said_len + n - DESCRIBE_STDERR;
        drop = drop < j->said_len ? drop : j->said_len;
        memmove(j->said, j->said + drop, j->said_len - drop);
        j->said_len -= drop;
    }
    memcpy(j->said + j->said_len, buf, n);
    j->said_len += n;
    return got > 0;
}

/* True when the job is over. */
static bool describe_step(struct describe_job *j, short out_events, short err_events)
{
    if (err_events != 0 && !describe_read_err(j))
        describe_close(&j->fd[1]);
    if (out_events != 0 && !describe_read_out(j))
        describe_close(&j->fd[0]);
    if (j->len > FL_DESCRIBE_MAX)
        describe_finish(j, "printed more than 4 MiB");
    else if (j->fd[0] < 0 && j->fd[1] < 0)
        describe_finish(j, NULL);
    else if (describe_now() >= j->deadline)
        describe_finish(j, "did not end in time");
    return j->ask == NULL;
}

static void describe_watch(struct describe_guard *g)
{
    static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
    struct sigaction is;
    sigset_t set;
    sigemptyset(&set);
    sigprocmask(SIG_BLOCK, NULL, &g->before);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        if (sigismember(&g->before, signals[i]) == 0 && sigaction(signals[i], NULL, &is) == 0 && is.sa_handler == SIG_DFL)
            sigaddset(&set, signals[i]);
    sigprocmask(SIG_BLOCK, &set, NULL);
    g->fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void describe_unwatch(struct describe_guard *g)
{
    describe_close(&g->fd);
    sigprocmask(SIG_SETMASK, &g->before, NULL);
}

static void describe_interrupt(struct describe_job jobs[FL_DESCRIBE_JOBS])
{
    for (int i = 0; i < FL_DESCRIBE_JOBS; i++)
        if (jobs[i].ask != NULL)
            describe_finish(&jobs[i], "was interrupted");
}

/* A signal has come: it is let through when nobody is left. */
static void describe_stop(struct describe_job jobs[FL_DESCRIBE_JOBS], struct describe_guard *g)
{
    struct signalfd_siginfo si;
    if (read(g->fd, &si, sizeof si) != sizeof si)
        return;
    describe_interrupt(jobs);
    sigprocmask(SIG_SETMASK, &g->before, NULL);
    raise((int)si.ssi_signo);
}

static void describe_poll(struct describe_job jobs[FL_DESCRIBE_JOBS], struct describe_guard *g, double most)
{
    struct pollfd p[2 * FL_DESCRIBE_JOBS + 1];
    double wait = most, now = describe_now();
    for (int i = 0; i < FL_DESCRIBE_JOBS; i++) {
        bool on = jobs[i].ask != NULL;
        p[2 * i] = (struct pollfd){ .fd = on ? jobs[i].fd[0] : -1, .events = POLLIN };
        p[2 * i + 1] = (struct pollfd){ .fd = on ? jobs[i].fd[1] : -1, .events = POLLIN };
        if (on && jobs[i].deadline - now < wait)
            wait = jobs[i].deadline - now;
    }
    p[2 * FL_DESCRIBE_JOBS] = (struct pollfd){ .fd = g->fd, .events = POLLIN };
    if (poll(p, 2 * FL_DESCRIBE_JOBS + 1, wait > 0 ? (int)(wait * 1000) + 1 : 0) < 0)
        for (int i = 0; i < 2 * FL_DESCRIBE_JOBS + 1; i++)
            p[i].revents = 0;
    if (p[2 * FL_DESCRIBE_JOBS].revents != 0)
        describe_stop(jobs, g);
    for (int i = 0; i < FL_DESCRIBE_JOBS; i++)
        if (jobs[i].ask != NULL)
            describe_step(&jobs[i], p[2 * i].revents, p[2 * i + 1].revents);
}

static bool describe_equal(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* The first question that is the same, or i itself. */
static uint32_t describe_first(const struct fl_ask *asks, uint32_t i)
{
    for (uint32_t k = 0; k < i; k++)
        if (describe_equal(asks[k].exe, asks[i].exe) && describe_equal(asks[k].options, asks[i].options)
            && describe_equal(asks[k].labels, asks[i].labels))
            return k;
    return i;
}

void fl_ask_all(struct fl_ask *asks, uint32_t n, double seconds)
{
    fl_ask_while(asks, n, seconds, NULL, NULL);
}

void fl_ask_while(struct fl_ask *asks, uint32_t n, double seconds, bool (*go_on)(void *of), void *of)
{
    struct describe_job jobs[FL_DESCRIBE_JOBS] = { { 0 } };
    struct describe_guard guard;
    bool on = true;
    uint32_t next = 0, *first = fl_need(n, sizeof *first);
    describe_watch(&guard);
    for (uint32_t i = 0; i < n; i++)
        first[i] = describe_first(asks, i);
    for (;;) {
        bool busy = false;
        for (int k = 0; k < FL_DESCRIBE_JOBS; k++) {
            while (jobs[k].ask == NULL && next < n) {
                uint32_t i = next++;
                if (first[i] == i && !on)
                    asks[i].error = fl_need_text("%s was not asked", asks[i].exe);
                else if (first[i] == i)
                    describe_start(&jobs[k], &asks[i], &guard.before, seconds);
            }
            busy |= jobs[k].ask != NULL;
        }
        if (!busy)
            break;
        describe_poll(jobs, &guard, go_on != NULL ? DESCRIBE_TURN : 60);
        if (on && go_on != NULL && !go_on(of)) {
            on = false;
            describe_interrupt(jobs);
        }
    }
    describe_unwatch(&guard);
    for (uint32_t i = 0; i < n; i++) {
        const struct fl_ask *a = &asks[first[i]];
        if (first[i] == i)
            continue;
        asks[i].answer = json_incref(a->answer);
        asks[i].error = a->error != NULL ? fl_need_copy(a->error) : NULL;
    }
    free(first);
}

void fl_ask_done(struct fl_ask *a)
{
    free(a->options);
    free(a->labels);
    free(a->error);
    json_decref(a->answer);
    *a = (struct fl_ask){ 0 };
}

bool fl_listed(const json_t *names, const char *name)
{
    size_t i;
    json_t *v;
    json_array_foreach((json_t *)names, i, v)
        if (strcmp(json_string_value(v), name) == 0)
            return true;
    return false;
}
