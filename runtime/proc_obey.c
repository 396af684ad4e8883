/* What the supervisor tells a stage process, and what is done about it. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "runtime/proc_state.h"

#define PAUSE_MS 100             /* between signs of life */

static int proc_connect(struct proc *p, uint32_t out, uint32_t reader, const char *endpoint)
{
    char id[64];
    snprintf(id, sizeof id, "%.31s.%u.%u>%u", p->s.name, p->s.instance, p->s.incarnation, p->s.out[out].edge);
    return fl_links_connect(p->links, out, reader, endpoint, id, &p->err);
}

/* Readers that are just being restarted have no endpoint yet: they come by "reader-up". */
static int proc_connect_all(struct proc *p)
{
    for (uint32_t i = 0; i < p->s.nout; i++)
        for (uint32_t k = 0; k < p->s.out[i].readers; k++) {
            const char *endpoint = p->s.out[i].endpoints[k];
            int rc = endpoint != NULL ? proc_connect(p, i, k, endpoint) : FL_OK;
            if (rc != FL_OK)
                return rc;
        }
    p->started = true;
    return FL_OK;
}

/* A use of a slot was given up: what waits of it is dropped now, what is in work is when it leaves, and so is what is to be dumped. */
static void proc_cancel(struct proc *p, uint32_t slot, uint32_t gen)
{
    struct fl_hosted **at = &p->ready, *h;
    while ((h = *at) != NULL) {
        if (h->b.slot == slot && h->b.gen == gen && !p->dump) {
            *at = h->next;
            p->nready--;
            fl_proc_release(p, &h->b);
        } else {
            at = &h->next;
        }
    }
    p->ready_tail = at;
    for (uint32_t i = 0, n = p->issue_count; i < n; i++) {
        struct fl_issue is = p->issues[p->issue_head];
        p->issue_head = (p->issue_head + 1) % p->s.window;
        p->issue_count--;
        if (is.slot != slot || is.gen != gen)
            p->issues[(p->issue_head + p->issue_count++) % p->s.window] = is;
    }
    h = p->join != NULL ? fl_join_cancel(p->join, slot, gen) : NULL;
    if (h != NULL)
        fl_proc_release(p, &h->b);
    p->cancelled[slot] = gen;
    fl_proc_let_go(p, slot);
}

/* Somebody next to us died. All that it sent and that has come is taken in first; then the supervisor may read the pages. */
static int proc_neighbour(struct proc *p, const struct fl_control *c)
{
    int rc = FL_OK;
    bool up = strcmp(c->type, "reader-up") == 0, over = c->code != 0;
    if (strcmp(c->type, "writer-down") == 0) {
        rc = fl_proc_receive(p);
        fl_links_drop_writer(p->links, c->name, over);
    } else if (c->slot >= p->s.nout || c->attempt >= p->s.out[c->slot].readers) {
        return fl_err_set(&p->err, FL_E_PROTO, "%s: reader %u of edge %u", c->type, c->attempt, c->slot);
    } else if (up) {
        p->s.out[c->slot].endpoints[c->attempt] = NULL;    /* what the set-up said is older: "start" must not go back to it */
        return proc_connect(p, c->slot, c->attempt, c->text);
    } else {
        fl_links_drop_reader(p->links, c->slot, c->attempt, over);
    }
    struct fl_control r = { .type = "down", .code = c->batch, .gen = c->gen };
    fl_proc_say(p, &r);
    return rc;
}

/* What has come already belongs to it: the batch that a stage died over may be among them. */
static int proc_dump(struct proc *p, const struct fl_control *c)
{
    int rc = fl_proc_receive(p);
    p->dump = true;
    p->dump_after = p->nready;
    memcpy(p->dump_why, c->text, sizeof p->dump_why);
    return rc;
}

static int proc_obey(struct proc *p, const struct fl_control *c)
{
    if (strcmp(c->type, "start") == 0)
        return proc_connect_all(p);
    if (strcmp(c->type, "reader-up") == 0 || strcmp(c->type, "reader-down") == 0 || strcmp(c->type, "writer-down") == 0)
        return proc_neighbour(p, c);
    if (strcmp(c->type, "cancel") == 0) {
        if (c->slot >= p->s.window)
            return fl_err_set(&p->err, FL_E_PROTO, "cancel: slot %u of %u", c->slot, p->s.window);
        proc_cancel(p, c->slot, c->gen);
        return FL_OK;
    }
    if (strcmp(c->type, "dump") == 0)
        return proc_dump(p, c);
    if (strcmp(c->type, "finish") == 0) {
        p->finish = true;
    } else if (strcmp(c->type, "partial") == 0) {
        p->host.ctx.partial = true;
    } else if (strcmp(c->type, "issue") == 0) {
        if (p->issue_count == p->s.window || c->slot >= p->s.window)
            return fl_err_set(&p->err, FL_E_PROTO, "more batches issued than the window of %u holds", p->s.window);
        p->issues[(p->issue_head + p->issue_count++) % p->s.window] = (struct fl_issue){ c->batch, c->attempt, c->slot, c->gen, c->first, c->rows, c->code != 0 };
    }
    return FL_OK;
}

int fl_proc_listen(struct proc *p)
{
    for (;;) {
        unsigned char buf[FL_CONTROL_MAX];
        ssize_t n = recv(p->s.control, buf, sizeof buf, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return FL_OK;
        if (n <= 0) {
            p->gone = true;
            return FL_OK;
        }
        struct fl_control c;
        int rc = fl_control_unpack(buf, (size_t)n, &c, &p->err);
        if (rc == FL_OK)
            rc = proc_obey(p, &c);
        if (rc != FL_OK)
            return rc;
    }
}

/* What goes wrong here the loop sees when it has its turn. */
bool fl_proc_pause(void *owner, int64_t ns)
{
    struct proc *p = owner;
    const int64_t most = PAUSE_MS * INT64_C(1000000);
    while (ns > 0 && !p->gone && !p->host.ctx.partial && p->err.code == FL_OK) {
        struct pollfd fd = { .fd = p->s.control, .events = POLLIN };
        struct timespec now, then, nap = { .tv_nsec = ns < most ? ns : most };
        clock_gettime(CLOCK_MONOTONIC, &now);
        fl_proc_alive(p);
        if (ppoll(&fd, 1, &nap, NULL) > 0)
            fl_proc_listen(p);
        clock_gettime(CLOCK_MONOTONIC, &then);
        ns -= (then.tv_sec - now.tv_sec) * INT64_C(1000000000) + then.tv_nsec - now.tv_nsec;
    }
    return ns <= 0;
}
