/* What flowrun chaos does to one stage process: kill, stop for a while, cut one of its links. */
#include <errno.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "launch/chaos.h"
#include "launch/super.h"
#include "runtime/rng.h"

#define STOP_LEAST 0.02                /* seconds */
#define STOP_MOST  1.0
#define SOCKETS    256                 /* of one process that are looked at */

void fl_chaos_said(const struct fl_chaos *c, const char *stage, uint32_t instance, const char *fmt, ...)
{
    char what[200];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    printf("%9.3f s  %-15s %3u  %s\n", fl_now() - c->t0, stage, instance, what);
    fflush(stdout);
}

static int hit_send(int pidfd, int sig)
{
    return (int)syscall(SYS_pidfd_send_signal, pidfd, sig, NULL, 0);
}

/* ---- finding a stage ---- */

/* What a file of /proc says, with a NUL behind it; bytes read. */
static size_t hit_proc(char *buf, size_t size, pid_t pid, const char *name)
{
    char path[96];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t len = 0;
    for (ssize_t n; fd >= 0 && len < size - 1 && (n = read(fd, buf + len, size - 1 - len)) > 0; )
        len += (size_t)n;
    if (fd >= 0)
        close(fd);
    buf[len] = '\0';
    return len;
}

/* Whether the process is this instance of this stage: the supervisor says so in its environment. */
static bool hit_is(pid_t pid, const char *stage, uint32_t instance)
{
    static char env[1 << 17];
    char want[64 + FL_NAME_MAX];
    snprintf(want, sizeof want, "FLOWRUN_STAGE=%s.%u", stage, instance);
    size_t len = hit_proc(env, sizeof env, pid, "environ");
    for (size_t i = 0; i < len; i += strlen(env + i) + 1)
        if (strcmp(env + i, want) == 0)
            return true;
    return false;
}

/* A pidfd, or -1 while it is being restarted. */
static int hit_find(const struct fl_chaos *c, const char *stage, uint32_t instance, pid_t *pid)
{
    char list[1 << 16], path[64], *end;
    snprintf(path, sizeof path, "task/%d/children", (int)c->supervisor);
    hit_proc(list, sizeof list, c->supervisor, path);
    for (char *p = list; ; p = end) {
        *pid = (pid_t)strtol(p, &end, 10);
        if (end == p)
            return -1;
        int fd = (int)syscall(SYS_pidfd_open, *pid, 0);
        if (fd >= 0 && hit_is(*pid, stage, instance))
            return fd;
        if (fd >= 0)
            close(fd);
    }
}

/* The drawn instance, else the next after it that lives. */
static int hit_choose(const struct fl_chaos *c, const uint32_t r[4], const struct fl_stage_node **node, uint32_t *instance, pid_t *pid)
{
    uint32_t s = fl_rng_integer(r[1], c->g->nstages);
    for (uint32_t i = 0; i < c->g->nstages; i++) {
        *node = &c->g->stages[(s + i) % c->g->nstages];
        uint32_t k = fl_rng_integer(r[2], (*node)->instances);
        for (uint32_t j = 0; j < (*node)->instances; j++) {
            *instance = (k + j) % (*node)->instances;
            int fd = hit_find(c, (*node)->name, *instance, pid);
            if (fd >= 0)
                return fd;
        }
    }
    return -1;
}

/* ---- links ---- */

static int hit_option(int fd, int option)
{
    int v = -1;
    socklen_t len = sizeof v;
    return getsockopt(fd, SOL_SOCKET, option, &v, &len) == 0 ? v : -1;
}

/* A connected stream socket: of all that a stage has open, its links alone are that (the control socket keeps packets apart). */
static bool hit_is_link(int fd)
{
    struct sockaddr_storage peer;
    socklen_t len = sizeof peer;
    return hit_option(fd, SO_TYPE) == SOCK_STREAM && hit_option(fd, SO_ACCEPTCONN) == 0 && getpeername(fd, (struct sockaddr *)&peer, &len) == 0;
}

/* Our copies of the links of a process; how many. */
static uint32_t hit_links(struct fl_chaos *c, pid_t pid, int pidfd, int links[SOCKETS])
{
    char path[64];
    uint32_t n = 0;
    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    DIR *d = opendir(path);
    for (struct dirent *e; d != NULL && n < SOCKETS && (e = readdir(d)) != NULL; ) {
        char to[32] = "";
        if (e->d_name[0] == '.' || readlinkat(dirfd(d), e->d_name, to, sizeof to - 1) < 0 || strncmp(to, "socket:", 7) != 0)
            continue;
        int fd = (int)syscall(SYS_pidfd_getfd, pidfd, (int)strtol(e->d_name, NULL, 10), 0);
        if (fd < 0 && (errno == EPERM || errno == ENOSYS))
            c->no_cut = strerror(errno);
        if (fd >= 0 && hit_is_link(fd))
            links[n++] = fd;
        else if (fd >= 0)
            close(fd);
    }
    if (d != NULL)
        closedir(d);
    return n;
}

static bool hit_cut(struct fl_chaos *c, pid_t pid, int pidfd, uint32_t draw, uint32_t *of)
{
    int links[SOCKETS];
    uint32_t n = hit_links(c, pid, pidfd, links);
    bool cut = n > 0 && shutdown(links[fl_rng_integer(draw, n)], SHUT_RDWR) == 0;
    for (uint32_t i = 0; i < n; i++)
        close(links[i]);
    *of = n;
    return cut;
}

/* ---- the action ---- */

static bool hit_stop(struct fl_chaos *c, int pidfd, double seconds)
{
    int fd = c->nstopped < FL_CHAOS_STOPPED ? fcntl(pidfd, F_DUPFD_CLOEXEC, 0) : -1;
    if (fd < 0 || hit_send(pidfd, SIGSTOP) != 0) {
        if (fd >= 0)
            close(fd);
        return false;
    }
    c->stopped[c->nstopped++] = (struct fl_chaos_stopped){ .pidfd = fd, .until = fl_now() + seconds };
    return true;
}

void fl_chaos_hit(struct fl_chaos *c, const uint32_t r[4], const uint32_t s[4])
{
    static const enum fl_chaos_kind kinds[] = { FL_CHAOS_KILL, FL_CHAOS_KILL, FL_CHAOS_STOP, FL_CHAOS_CUT };
    const struct fl_stage_node *node;
    uint32_t instance, of;
    pid_t pid;
    int fd = hit_choose(c, r, &node, &instance, &pid);
    if (fd < 0)
        return;
    enum fl_chaos_kind kind = kinds[fl_rng_integer(r[3], sizeof kinds / sizeof kinds[0])];
    double seconds = fl_rng_uniform(s[0], STOP_LEAST, STOP_MOST);
    if (kind == FL_CHAOS_KILL && hit_send(fd, SIGKILL) == 0) {
        c->done[kind]++;
        fl_chaos_said(c, node->name, instance, "killed");
    } else if (kind == FL_CHAOS_STOP && hit_stop(c, fd, seconds)) {
        c->done[kind]++;
        fl_chaos_said(c, node->name, instance, "stopped for %.2f s", seconds);
    } else if (kind == FL_CHAOS_CUT && hit_cut(c, pid, fd, s[1], &of)) {
        c->done[kind]++;
        fl_chaos_said(c, node->name, instance, "one of its %u links cut", of);
    }
    close(fd);
}

double fl_chaos_go_on(struct fl_chaos *c, bool all)
{
    double now = fl_now(), next = 1e9;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < c->nstopped; i++) {
        struct fl_chaos_stopped *s = &c->stopped[i];
        if (all || s->until <= now) {
            hit_send(s->pidfd, SIGCONT);
            close(s->pidfd);
            continue;
        }
        next = s->until - now < next ? s->until - now : next;
        c->stopped[kept++] = *s;
    }
    c->nstopped = kept;
    return next;
}
