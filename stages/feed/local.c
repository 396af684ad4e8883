/* Trainers on this host: a SOCK_SEQPACKET socket in the run's 0700 folder. Who connects is told what there is and gets the slabs'
 * descriptors, read-only; from then on a batch is its header. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "stages/feed/feed.h"

#define LOCAL_BACKLOG 64

int feed_local_open(struct fl_ctx *ctx)
{
    struct feed *s = ctx->state;
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    struct epoll_event e = { .events = EPOLLIN, .data.u32 = FL_LEDGER_CLIENTS };
    char path[1200], name[64];
    snprintf(path, sizeof path, "%s/s", ctx->run_dir);
    snprintf(name, sizeof name, "%s.feed", ctx->name);
    int dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return fl_fail(ctx, FL_E_IO, "%s: %s", path, strerror(errno));
    unlinkat(dir, name, 0);                      /* of an earlier incarnation */
    snprintf(a.sun_path, sizeof a.sun_path, "/proc/self/fd/%d/%s", dir, name);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&a, sizeof a) != 0 || listen(fd, LOCAL_BACKLOG) != 0 || epoll_ctl(s->epoll - 1, EPOLL_CTL_ADD, fd, &e) != 0) {
        int rc = fl_fail(ctx, FL_E_IO, "%s/%s: %s", path, name, strerror(errno));
        close(dir);
        if (fd >= 0)
            close(fd);
        return rc;
    }
    close(dir);
    s->server = fd + 1;
    return FL_OK;
}

/* The folder keeps others out; this says who it was if somebody opened it. */
static bool local_same_user(int fd)
{
    struct ucred u;
    socklen_t len = sizeof u;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &u, &len) == 0 && (u.uid == geteuid() || u.uid == 0);
}

void feed_local_accept(struct fl_ctx *ctx)
{
    struct feed *s = ctx->state;
    int fds[FEED_POOLS + 1], fd;
    for (uint32_t i = 0; i < s->npools; i++)
        fds[i] = s->pools[i].fd;
    fds[s->npools] = s->gens - 1;
    while ((fd = accept4(s->server - 1, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
        struct feed_client *c = local_same_user(fd) ? feed_client_new(s, FEED_LOCAL) : NULL;
        if (c == NULL) {
            fl_warn(ctx, "a connection was turned away: %s", local_same_user(fd) ? "there are too many" : "of another user");
            close(fd);
            continue;
        }
        struct epoll_event e = { .events = EPOLLIN, .data.u32 = feed_client_index(s, c) };
        c->fd = fd;
        if (epoll_ctl(s->epoll - 1, EPOLL_CTL_ADD, fd, &e) != 0 || feed_local_send(c, s->welcome, s->welcome_len, fds, s->npools + 1) != FL_OK)
            feed_client_end(ctx, c, NULL);
    }
}

int feed_local_send(struct feed_client *c, const void *bytes, size_t len, const int *fds, uint32_t nfds)
{
    char control[CMSG_SPACE(sizeof(int) * (FEED_POOLS + 1))] = { 0 };
    struct iovec v = { (void *)bytes, len };
    struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };
    if (nfds > 0) {
        m.msg_control = control;
        m.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
        struct cmsghdr *h = CMSG_FIRSTHDR(&m);
        h->cmsg_level = SOL_SOCKET;
        h->cmsg_type = SCM_RIGHTS;
        h->cmsg_len = CMSG_LEN(nfds * sizeof(int));
        memcpy(CMSG_DATA(h), fds, nfds * sizeof(int));
    }
    while (sendmsg(c->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
        if (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS)
            return FL_END;
        if (errno != EINTR)
            return FL_E_PEER;
    }
    return FL_OK;
}

int feed_local_read(struct feed_client *c, void *buf, size_t *len)
{
    ssize_t n;
    do
        n = recv(c->fd, buf, FL_CLIENT_MAX + 1, MSG_DONTWAIT);      /* a longer one is cut, and refused by its length */
    while (n < 0 && (errno == EINTR || errno == ECONNRESET));       /* reset: it left something unread; what it said before is still to come */
    if (n < 0 && errno == EAGAIN)
        return FL_END;
    *len = n > 0 ? (size_t)n : 0;
    return n > 0 ? FL_OK : FL_E_PEER;
}
