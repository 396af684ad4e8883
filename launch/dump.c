/* Taps that hold batches in memory write them out when something goes wrong, or when a person asks (flowrun dump RUN). */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "launch/cmd.h"
#include "launch/super.h"

#define DUMP_MOST   10.0               /* seconds that taps of a failed run may take */
#define DUMP_ARRIVE 0.5                /* seconds that the supervisor waits for what is on its way to a ring */
#define DUMP_WAIT   120000             /* ms that a person waits */

/* Whether a ring lacks a batch that another reader of its edge has been sent. */
static bool dump_lacks(struct fl_super *s, const struct fl_inst *tap)
{
    const struct fl_graph *g = s->g;
    uint32_t up = g->stages[tap->stage].from[0], outs = fl_stage_out_edges(g, up);
    for (uint32_t slot = 0; slot < g->window; slot++) {
        uint32_t gen = atomic_load(&s->gens->gen[slot]);
        bool sent = false;
        for (uint32_t k = 0; k < g->stages[up].instances; k++)
            for (uint32_t out = 0; out < outs; out++)
                sent |= atomic_load_explicit(fl_page_sent(s->inst[s->first[up] + k].page, g->window, out, slot), memory_order_acquire) >> 32 == gen;
        if (s->slots[slot].used && sent && atomic_load_explicit(fl_page_got(tap->page, g->window, 0, 0, slot), memory_order_acquire) != gen)
            return true;
    }
    return false;
}

/* The batch that a stage died over went to the ring of its edge at the same time, but may be on its way: once its slot is given up it would
 * be dropped there as late. */
static void dump_let_arrive(struct fl_super *s, const struct fl_inst *tap)
{
    double until = fl_now() + DUMP_ARRIVE;
    if (json_integer_value(json_object_get(s->g->stages[tap->stage].options, "ring")) > 0)
        while (dump_lacks(s, tap) && fl_now() < until)
            nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
}

void fl_dump(struct fl_super *s, const char *why)
{
    struct fl_control c = { .type = "dump" };
    snprintf(c.text, sizeof c.text, "%s", why);
    for (uint32_t i = 0; i < s->ninst; i++) {
        struct fl_inst *in = &s->inst[i];
        if (!s->g->stages[in->stage].tap || in->pid == 0 || !in->ready || in->control < 0)
            continue;
        dump_let_arrive(s, in);
        in->dumping = true;
        fl_super_tell(in, &c);
    }
    s->dump_at = fl_now();
}

static bool dump_under_way(const struct fl_super *s)
{
    for (uint32_t i = 0; i < s->ninst; i++)
        if (s->inst[i].dumping && s->inst[i].pid > 0)
            return true;
    return false;
}

static void dump_answer(struct fl_super *s)
{
    unsigned char buf[FL_CONTROL_MAX];
    size_t len;
    struct fl_control c = { .type = "dumped" };
    for (uint32_t i = 0; i < s->g->nstages; i++)
        c.batches += s->g->stages[i].tap;
    if (fl_control_pack(&c, buf, sizeof buf, &len, NULL) == FL_OK && send(s->asker, buf, len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        len = 0;                         /* who asked is gone */
    close(s->asker);
    s->asker = -1;
    s->asked = false;
}

void fl_dump_done(struct fl_super *s, struct fl_inst *in)
{
    in->dumping = false;
    if (s->killed && in->pid > 0)
        kill(in->pid, SIGKILL);
    if (s->asked && !dump_under_way(s))
        dump_answer(s);
}

void fl_dump_watch(struct fl_super *s)
{
    for (uint32_t i = 0; i < s->ninst && s->killed && fl_now() - s->dump_at > DUMP_MOST; i++)
        if (s->inst[i].dumping)
            fl_dump_done(s, &s->inst[i]);
}

/* ---- a person asks: RUN/s/ask ---- */

static struct sockaddr_un dump_address(int dir)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    snprintf(a.sun_path, sizeof a.sun_path, "/proc/self/fd/%d/ask", dir);
    return a;
}

int fl_dump_listen(struct fl_super *s, struct fl_err *err)
{
    struct sockaddr_un a = dump_address(s->sockets);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) != 0 || listen(fd, 4) != 0) {
        fl_err_set(err, FL_E_IO, "%s/s/ask: %s", s->dir, strerror(errno));
        if (fd >= 0)
            close(fd);
        return err->code;
    }
    s->ask = fl_fd_high(fd);
    return FL_OK;
}

/* One at a time; the next waits in the queue of the socket. */
void fl_dump_hear(struct fl_super *s, bool call, bool words)
{
    unsigned char buf[FL_CONTROL_MAX];
    struct fl_control c;
    if (call && s->asker < 0) {
        int fd = accept4(s->ask, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        s->asker = fd >= 0 ? fl_fd_high(fd) : -1;
    }
    if (!words || s->asker < 0)
        return;
    ssize_t n = recv(s->asker, buf, sizeof buf, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0 || fl_control_unpack(buf, (size_t)n, &c, NULL) != FL_OK || strcmp(c.type, "dump") != 0) {
        close(s->asker);
        s->asker = -1;
        s->asked = false;
        return;
    }
    s->asked = true;
    fl_dump(s, "asked for");
    if (!dump_under_way(s))
        dump_answer(s);
}

/* ---- the command ---- */

static int dump_connect(const char *run)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/s", run);
    int dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return -1;
    struct sockaddr_un a = dump_address(dir);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof a) != 0) {
        close(fd);
        fd = -1;
    }
    close(dir);
    return fd;
}

/* How many taps there are, or -1. */
static int dump_ask(int fd)
{
    unsigned char buf[FL_CONTROL_MAX];
    size_t len;
    struct fl_control c = { .type = "dump" };
    struct pollfd p = { .fd = fd, .events = POLLIN };
    if (fl_control_pack(&c, buf, sizeof buf, &len, NULL) != FL_OK || send(fd, buf, len, MSG_NOSIGNAL) < 0 || poll(&p, 1, DUMP_WAIT) <= 0)
        return -1;
    ssize_t n = recv(fd, buf, sizeof buf, 0);
    return n > 0 && fl_control_unpack(buf, (size_t)n, &c, NULL) == FL_OK && strcmp(c.type, "dumped") == 0 ? (int)c.batches : -1;
}

int fl_cmd_dump(const struct fl_args *a)
{
    const char *run = a->files[0];
    int fd = dump_connect(run);
    if (fd < 0) {
        fprintf(stderr, "flowrun: %s: no flowrun works in this run directory (%s)\n", run, strerror(errno));
        return 2;
    }
    int taps = dump_ask(fd);
    close(fd);
    if (taps <= 0) {
        fprintf(stderr, "flowrun: %s: %s\n", run, taps < 0 ? "no answer" : "nothing is recorded in this run (record: in its configuration, or --record)");
        return 1;
    }
    printf("%s/recordings\n", run);
    return 0;
}
