/* The launcher's process: started with keys and address on its standard input, which stays open: its end tells the agent that we are gone. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/text.h"
#include "stages/remote/remote.h"

#define START_END 2.0                            /* seconds for an agent to end */
#define START_READS 64                           /* of what it prints, until we look after everything else: who prints without end must not make us look hung */

static bool start_pass(struct remote *s)
{
    unsigned char raw[FL_WIRE_PASS / 2];
    if (getrandom(raw, sizeof raw, 0) != sizeof raw)
        return false;
    for (size_t i = 0; i < sizeof raw; i++)
        snprintf(s->pass_word + 2 * i, 3, "%02x", raw[i]);
    return true;
}

static char *start_letter(const struct remote *s)
{
    json_t *j = json_pack("{s:i, s:s, s:s, s:s, s:f}", "flowrun_agent", FL_WIRE_VERSION, "host", s->name, "address", fl_door_address(s->door),
                          "pass", s->pass_word, "silence", s->silence);
    if (j != NULL && !s->insecure) {
        json_object_set_new(j, "server_key", json_string(fl_door_key(s->door, FL_DOOR_SERVER)));
        json_object_set_new(j, "public_key", json_string(fl_door_key(s->door, FL_DOOR_PUBLIC)));
        json_object_set_new(j, "secret_key", json_string(fl_door_key(s->door, FL_DOOR_SECRET)));
    }
    char *text = j != NULL ? json_dumps(j, JSON_COMPACT) : NULL;
    json_decref(j);
    return text;
}

static char **start_argv(const json_t *list)
{
    size_t n = json_array_size(list);
    char **argv = calloc(n + 1, sizeof *argv);
    for (size_t i = 0; argv != NULL && i < n; i++)
        argv[i] = (char *)json_string_value(json_array_get(list, i));      /* texts: proven at open */
    return argv;
}

/* Between fork and exec only what is safe in a process with threads. SIGINT and SIGTERM stay ignored: who drains needs his hosts. */
static pid_t start_fork(char **argv, int in, int out)
{
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    if (dup2(in, 0) >= 0 && dup2(out, 1) >= 0 && dup2(out, 2) >= 0 && syscall(SYS_close_range, 3u, ~0u, 0u) == 0)
        execvp(argv[0], argv);
    int e = errno;
    dprintf(2, "%s: %s\n", argv[0], strerror(e));
    _exit(127);
}

static int start_process(struct fl_ctx *ctx, char **argv)
{
    struct remote *s = ctx->state;
    int in[2] = { -1, -1 }, out[2] = { -1, -1 };
    if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0 || (s->pid = start_fork(argv, in[0], out[1])) < 0) {
        int e = errno;
        for (int i = 0; i < 2; i++) {
            if (in[i] >= 0)
                close(in[i]);
            if (out[i] >= 0)
                close(out[i]);
        }
        s->pid = 0;
        return fl_fail(ctx, FL_E_IO, "%s: can't be started: %s", argv[0], strerror(e));
    }
    close(in[0]);
    close(out[1]);
    s->in = in[1];
    s->out = out[0];
    fcntl(s->out, F_SETFL, O_NONBLOCK);
    s->pidfd = (int)syscall(SYS_pidfd_open, s->pid, 0);
    struct epoll_event e = { .events = EPOLLIN };
    if (s->pidfd < 0 || epoll_ctl(s->epoll, EPOLL_CTL_ADD, s->out, &e) != 0 || epoll_ctl(s->epoll, EPOLL_CTL_ADD, s->pidfd, &e) != 0)
        return fl_fail(ctx, FL_E_IO, "%s: can't be watched: %s", argv[0], strerror(errno));
    return FL_OK;
}

/* Nobody is called: whoever starts an agent with the letter is the host. */
static int start_wait(struct fl_ctx *ctx, const char *letter)
{
    struct remote *s = ctx->state;
    struct fl_err err = { 0 };
    char dir[1100], *text = NULL;
    snprintf(dir, sizeof dir, "%s/hosts", ctx->run_dir);
    mkdir(dir, 0777);                            /* a failure shows when the file is made */
    int len = asprintf(&text, "%s\n", letter);
    int rc = len > 0 ? fl_write_file(s->join, 0600, text, (size_t)len, &err) : fl_err_set(&err, FL_E_NOMEM, "letter");
    if (len > 0)
        free(text);
    if (rc != FL_OK)
        return fl_fail(ctx, rc, "%s", err.text);
    fl_info(ctx, "host %s may join: flowrun agent %s", s->name, s->join);
    return FL_OK;
}

int remote_start(struct fl_ctx *ctx)
{
    struct remote *s = ctx->state;
    const json_t *host = json_array_get(s->hosts, ctx->instance);
    int rc = start_pass(s) ? remote_open_door(ctx) : fl_fail(ctx, FL_E_IO, "no random numbers");
    if (rc != FL_OK)
        return rc;
    char *letter = start_letter(s);
    if (s->join[0] != '\0') {
        rc = letter != NULL ? start_wait(ctx, letter) : fl_fail(ctx, FL_E_NOMEM, "letter");
        free(letter);
        return rc;
    }
    char **argv = start_argv(json_object_get(host, "argv"));
    rc = argv != NULL && letter != NULL ? start_process(ctx, argv) : fl_fail(ctx, FL_E_NOMEM, "launcher");
    /* The letter fits into the pipe: nobody needs to read for it. That nobody will is noticed by the process's end. */
    if (rc == FL_OK)
        dprintf(s->in, "%s\n", letter);
    free(argv);
    free(letter);
    s->line_len = 0;
    fl_count(ctx, REMOTE_STARTS, 1);
    return rc;
}

bool remote_ended(struct remote *s, int *status)
{
    if (s->pid == 0 || waitpid(s->pid, status, WNOHANG) != s->pid)
        return false;
    s->pid = 0;
    close(s->pidfd);
    s->pidfd = -1;
    return true;
}

/* An agent that hears us ends by itself when its channel does, and tidies up; a launcher that hangs doesn't. */
static void start_wait_end(struct remote *s)
{
    double until = remote_now() - s->heard < s->silence ? remote_now() + START_END : 0;
    int status;
    while (!remote_ended(s, &status) && s->pid > 0 && remote_now() < until)
        poll(&(struct pollfd){ .fd = s->pidfd, .events = POLLIN }, 1, 50);
}

void remote_stop(struct remote *s)
{
    if (s->join[0] != '\0')
        unlink(s->join);                         /* its keys are over */
    if (s->in >= 0)
        close(s->in);
    if (s->pid > 0)
        start_wait_end(s);
    if (s->pid > 0) {
        kill(s->pid, SIGKILL);
        while (waitpid(s->pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    if (s->pidfd >= 0)
        close(s->pidfd);
    if (s->out >= 0)
        close(s->out);
    s->in = s->out = s->pidfd = -1;
    s->pid = 0;
}

static void start_line(struct fl_ctx *ctx)
{
    struct remote *s = ctx->state;
    if (s->line_len > 0)
        remote_told(ctx, true, "%.*s", (int)s->line_len, s->line);
    s->line_len = 0;
}

void remote_printed(struct fl_ctx *ctx)
{
    struct remote *s = ctx->state;
    char buf[4096];
    ssize_t n;
    int turns = START_READS;
    while (s->out >= 0 && turns-- > 0 && (n = read(s->out, buf, sizeof buf)) >= 0) {
        for (ssize_t i = 0; i < n; i++) {
            if (buf[i] == '\n')
                start_line(ctx);
            else if (s->line_len < sizeof s->line)
                s->line[s->line_len++] = buf[i];
        }
        if (n > 0)
            continue;
        start_line(ctx);
        close(s->out);
        s->out = -1;
    }
}
