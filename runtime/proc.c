/* The loop of a stage process: control, links, callbacks. Written once for all stages. */
#include "runtime/proc.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "proto/control.h"
#include "runtime/join.h"
#include "runtime/link.h"
#include "runtime/setup.h"

#define HEARTBEAT_MS 100

struct issue { uint64_t batch; uint32_t attempt, slot, gen; };

struct proc {
    struct fl_host   host;
    struct fl_setup  s;
    struct fl_links *links;
    struct fl_join  *join;
    struct fl_page  *page;
    const struct fl_gens *gens;
    const struct fl_pool *own;
    struct fl_hosted *ready, **ready_tail;     /* whole batches that wait for the stage */
    struct fl_hosted *spare;                   /* batch objects for use again */
    uint32_t nready;
    struct issue *issues;                      /* source: what to produce, a ring of window entries */
    uint32_t issue_head, issue_count;
    uint32_t *held;                            /* by slot: batch objects about; a slot is let go of when none is */
    uint32_t *cancelled;                       /* by slot: generation whose end the supervisor waits to hear of, 0 = none */
    bool     started, finish, gone;
    long     faults0;                          /* minor faults when the first batch was done; -1 before */
    struct fl_err err;
};

static uint64_t proc_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- to the supervisor ---- */

static void proc_say(struct proc *p, const struct fl_control *c)
{
    unsigned char buf[FL_CONTROL_MAX];
    size_t len;
    if (fl_control_pack(c, buf, sizeof buf, &len, NULL) != FL_OK)
        return;
    while (send(p->s.control, buf, len, MSG_NOSIGNAL) < 0)
        if (errno != EINTR) {
            p->gone = true;      /* the supervisor is dead: nobody is left to be told */
            return;
        }
}

static void proc_log(void *owner, int level, const char *text)
{
    struct fl_control c = { .type = "log", .code = (uint64_t)level };
    snprintf(c.text, sizeof c.text, "%s", text);
    proc_say(owner, &c);
}

static void proc_result(void *owner, const char *name, double value)
{
    struct fl_control c = { .type = "result", .value = value };
    snprintf(c.name, sizeof c.name, "%s", name);
    proc_say(owner, &c);
}

static void proc_alive(void *owner)
{
    struct proc *p = owner;
    atomic_fetch_add_explicit(&p->page->beat, 1, memory_order_relaxed);
}

/* ---- batches ---- */

static struct fl_hosted *proc_take(struct proc *p)
{
    struct fl_hosted *h = p->spare;
    if (h == NULL)
        return fl_hosted_new(p->s.nedges > 0 ? p->s.nedges : 1);
    p->spare = h->next;
    h->used = 0;
    h->marks = false;
    h->nparts = 0;
    h->next = NULL;
    return h;
}

/* Tells the supervisor that nothing here refers to the cancelled use of the slot any more. */
static void proc_let_go(struct proc *p, uint32_t slot)
{
    if (p->cancelled[slot] == 0 || p->held[slot] > 0)
        return;
    struct fl_control c = { .type = "cancelled", .slot = slot, .gen = p->cancelled[slot] };
    p->cancelled[slot] = 0;
    proc_say(p, &c);
}

static void proc_hold(struct proc *p, const struct fl_batch *b)
{
    p->held[b->slot]++;
}

static void proc_release(void *owner, struct fl_batch *b)
{
    struct proc *p = owner;
    struct fl_hosted *h = b->host;
    if (--p->held[b->slot] == 0)
        proc_let_go(p, b->slot);
    for (uint32_t i = 0; i < h->nparts; i++)
        fl_links_credit(p->links, h->parts[i].token, p->s.costs[h->parts[i].edge]);
    h->next = p->spare;
    p->spare = h;
}

static int proc_emit(void *owner, struct fl_batch *b)
{
    struct proc *p = owner;
    int rc = fl_links_put(p->links, b, &p->host.err);
    atomic_fetch_add_explicit(&p->page->batches, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&p->page->tiles, b->n, memory_order_relaxed);
    proc_release(p, b);
    return rc;
}

static int proc_ack(void *owner, uint64_t batch, uint32_t attempt, uint32_t predicted, uint32_t rejected)
{
    struct proc *p = owner;
    struct fl_control c = { .type = "ack", .batch = batch, .attempt = attempt, .predicted = predicted, .rejected = rejected };
    atomic_fetch_add_explicit(&p->page->batches, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&p->page->tiles, predicted + rejected, memory_order_relaxed);
    proc_say(p, &c);
    return FL_OK;
}

static void *proc_slab(void *owner, uint32_t slot)
{
    struct proc *p = owner;
    return p->own != NULL && slot < p->own->slots ? p->own->base + (uint64_t)slot * p->own->slab : NULL;
}

static const struct fl_host_ops proc_ops = {
    .emit = proc_emit, .release = proc_release, .ack = proc_ack, .slab = proc_slab,
    .log = proc_log, .result = proc_result, .alive = proc_alive,
};

static bool proc_stale(const struct proc *p, const struct fl_batch *b)
{
    return atomic_load_explicit(&p->gens->gen[b->slot], memory_order_acquire) != b->gen;
}

static int proc_resolve(struct proc *p, struct fl_batch *b, uint32_t edge)
{
    if (b->run != p->s.run)
        return fl_err_set(&p->err, FL_E_PROTO, "a batch of run %llx", (unsigned long long)b->run);
    for (uint32_t i = 0; i < b->ntensors; i++) {
        const struct fl_pool *pool = NULL;
        for (uint32_t k = 0; k < p->s.npools && pool == NULL; k++)
            if (b->t[i].place >= 0 && p->s.pools[k].id == (uint32_t)b->t[i].place)
                pool = &p->s.pools[k];
        if (pool == NULL)
            return fl_err_set(&p->err, FL_E_PROTO, "tensor %s lies in pool %d, which is not ours to see", b->t[i].name, b->t[i].place);
        int rc = fl_pool_resolve(pool, b->slot, &b->t[i], &p->err);
        if (rc != FL_OK)
            return rc;
        b->t[i].edge = (uint16_t)edge;
    }
    return FL_OK;
}

static void proc_enqueue(struct proc *p, struct fl_hosted *h)
{
    h->next = NULL;
    *p->ready_tail = h;
    p->ready_tail = &h->next;
    p->nready++;
}

static int proc_receive(struct proc *p)
{
    for (;;) {
        struct fl_hosted *h = proc_take(p), *dropped = NULL;
        if (h == NULL)
            return fl_err_set(&p->err, FL_E_NOMEM, "batches");
        uint32_t edge;
        uint64_t token;
        int rc = fl_links_next(p->links, &edge, &token, &h->b, &p->err);
        h->b.host = h;
        if (rc != FL_OK) {
            h->next = p->spare;
            p->spare = h;
            return rc == FL_END ? FL_OK : rc;
        }
        h->nparts = 1;
        h->parts[0].edge = edge;
        h->parts[0].token = token;
        if (h->b.slot >= p->s.window)
            return fl_err_set(&p->err, FL_E_PROTO, "slot %u of %u", h->b.slot, p->s.window);
        proc_hold(p, &h->b);
        if (proc_stale(p, &h->b)) {
            proc_release(p, &h->b);
            continue;
        }
        rc = proc_resolve(p, &h->b, edge);
        if (rc != FL_OK) {
            proc_release(p, &h->b);
            return rc;
        }
        atomic_store_explicit(fl_page_got(p->page, p->s.window, p->s.nout, edge, h->b.slot), h->b.gen, memory_order_release);
        if (p->join != NULL) {
            uint32_t slot = h->b.slot, before = fl_join_open(p->join);
            rc = fl_join_add(p->join, h, &h, &dropped, &p->err);
            if (dropped == NULL && !(rc == FL_END && fl_join_open(p->join) > before))
                p->held[slot]--;                       /* merged into what waited there */
            if (dropped != NULL)
                proc_release(p, &dropped->b);
            if (rc == FL_END)
                continue;
            if (rc != FL_OK)
                return rc;
        }
        proc_enqueue(p, h);
    }
}

/* ---- from the supervisor ---- */

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

/* A use of a slot was given up: what waits of it is dropped now, what is in work is when it leaves. */
static void proc_cancel(struct proc *p, uint32_t slot, uint32_t gen)
{
    struct fl_hosted **at = &p->ready, *h;
    while ((h = *at) != NULL) {
        if (h->b.slot == slot && h->b.gen == gen) {
            *at = h->next;
            p->nready--;
            proc_release(p, &h->b);
        } else {
            at = &h->next;
        }
    }
    p->ready_tail = at;
    for (uint32_t i = 0, n = p->issue_count; i < n; i++) {
        struct issue is = p->issues[p->issue_head];
        p->issue_head = (p->issue_head + 1) % p->s.window;
        p->issue_count--;
        if (is.slot != slot || is.gen != gen)
            p->issues[(p->issue_head + p->issue_count++) % p->s.window] = is;
    }
    h = p->join != NULL ? fl_join_cancel(p->join, slot, gen) : NULL;
    if (h != NULL)
        proc_release(p, &h->b);
    p->cancelled[slot] = gen;
    proc_let_go(p, slot);
}

static int proc_receive(struct proc *p);

/* Somebody next to us died. All that it sent and that has come is taken in first; then the supervisor may read the pages. */
static int proc_neighbour(struct proc *p, const struct fl_control *c)
{
    int rc = FL_OK;
    bool up = strcmp(c->type, "reader-up") == 0, over = c->code != 0;
    if (strcmp(c->type, "writer-down") == 0) {
        rc = proc_receive(p);
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
    proc_say(p, &r);
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
    if (strcmp(c->type, "finish") == 0) {
        p->finish = true;
    } else if (strcmp(c->type, "partial") == 0) {
        p->host.ctx.partial = true;
    } else if (strcmp(c->type, "issue") == 0) {
        if (p->issue_count == p->s.window || c->slot >= p->s.window)
            return fl_err_set(&p->err, FL_E_PROTO, "more batches issued than the window of %u holds", p->s.window);
        p->issues[(p->issue_head + p->issue_count++) % p->s.window] = (struct issue){ c->batch, c->attempt, c->slot, c->gen };
    }
    return FL_OK;
}

static int proc_listen(struct proc *p)
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

/* ---- work ---- */

static void proc_state(struct proc *p, enum fl_state s, uint64_t *since)
{
    uint64_t now = proc_now(), d = now - *since;
    switch (atomic_load_explicit(&p->page->state, memory_order_relaxed)) {
    case FL_BUSY: atomic_fetch_add_explicit(&p->page->busy_ns, d, memory_order_relaxed); break;
    case FL_IDLE: atomic_fetch_add_explicit(&p->page->wait_in_ns, d, memory_order_relaxed); break;
    case FL_WAIT_CREDIT: atomic_fetch_add_explicit(&p->page->wait_credit_ns, d, memory_order_relaxed); break;
    default: break;
    }
    *since = now;
    atomic_store_explicit(&p->page->state, s, memory_order_relaxed);
}

static void proc_account(struct proc *p)
{
    struct rusage ru;
    if (p->faults0 < 0) {
        getrusage(RUSAGE_SELF, &ru);
        p->faults0 = ru.ru_minflt;
    }
    for (int i = 0; i < FL_MAX_COUNTERS && p->host.stage->counters != NULL && p->host.stage->counters[i] != NULL; i++)
        atomic_store_explicit(&p->page->counters[i], p->host.counters[i], memory_order_relaxed);
    atomic_store_explicit(&p->page->rejects, p->host.rejects, memory_order_relaxed);
    atomic_store_explicit(&p->page->current, 0, memory_order_relaxed);
}

static int proc_produce(struct proc *p)
{
    struct issue i = p->issues[p->issue_head];
    p->issue_head = (p->issue_head + 1) % p->s.window;
    p->issue_count--;
    struct fl_hosted *h = proc_take(p);
    if (h == NULL)
        return fl_err_set(&p->err, FL_E_NOMEM, "batches");
    memset(&h->b, 0, offsetof(struct fl_batch, t));
    h->b.host = h;
    h->b.run = p->s.run;
    h->b.batch = i.batch;
    h->b.attempt = i.attempt;
    h->b.slot = i.slot;
    h->b.gen = i.gen;
    proc_hold(p, &h->b);
    atomic_store_explicit(&p->page->current, i.batch + 1, memory_order_relaxed);
    return fl_host_produce(&p->host, &h->b);
}

static int proc_consume(struct proc *p)
{
    struct fl_hosted *h = p->ready;
    p->ready = h->next;
    if (p->ready == NULL)
        p->ready_tail = &p->ready;
    p->nready--;
    atomic_store_explicit(&p->page->attempt, h->b.attempt, memory_order_relaxed);
    atomic_store_explicit(&p->page->current, h->b.batch + 1, memory_order_relaxed);
    return fl_host_batch(&p->host, &h->b);
}

static bool proc_input_over(const struct proc *p)
{
    if (p->finish)                        /* to a source; or to a sink that died after the end and is told that nothing comes */
        return p->issue_count == 0 && p->nready == 0;
    return p->s.nedges > 0 && p->started && fl_links_ended(p->links) && p->nready == 0;
}

static int proc_step(struct proc *p, bool *over, uint64_t *since)
{
    bool clear = fl_links_flush(p->links, &p->err), fd_ready = false;
    int rc = p->err.code;
    if (rc != FL_OK)
        return rc;
    atomic_store_explicit(&p->page->waiting, p->nready + p->issue_count, memory_order_relaxed);
    if (p->started && clear && (p->nready > 0 || p->issue_count > 0)) {
        proc_state(p, FL_BUSY, since);
        rc = p->nready > 0 ? proc_consume(p) : proc_produce(p);
        proc_account(p);
        if (rc != FL_OK)
            return rc;
        fl_links_flush(p->links, &p->err);
        rc = p->err.code != FL_OK ? p->err.code : fl_links_wait(p->links, p->s.control, 0, &fd_ready, &p->err);
    } else {
        if (proc_input_over(p)) {
            *over = true;
            return FL_OK;
        }
        if (p->started && p->nready == 0 && (rc = fl_host_idle(&p->host)) != FL_OK)
            return rc;
        fl_links_flush(p->links, &p->err);
        proc_state(p, clear ? FL_IDLE : FL_WAIT_CREDIT, since);
        rc = p->err.code != FL_OK ? p->err.code : fl_links_wait(p->links, p->s.control, HEARTBEAT_MS, &fd_ready, &p->err);
    }
    atomic_fetch_add_explicit(&p->page->beat, 1, memory_order_relaxed);
    if (rc == FL_OK && fd_ready)
        rc = proc_listen(p);
    return rc == FL_OK ? proc_receive(p) : rc;
}

static int proc_loop(struct proc *p)
{
    uint64_t since = proc_now();
    bool over = false;
    int rc = FL_OK;
    while (rc == FL_OK && !over && !p->gone)
        rc = proc_step(p, &over, &since);
    if (rc != FL_OK || p->gone)
        return rc;
    if (p->join != NULL && fl_join_open(p->join) > 0)
        return fl_err_set(&p->err, FL_E_INPUT, "the input ended while %u batches waited for parts", fl_join_open(p->join));
    if ((rc = proc_listen(p)) != FL_OK || p->gone)     /* "partial" was sent before the end: it is here */
        return rc;
    proc_state(p, FL_BUSY, &since);
    rc = fl_host_drain(&p->host);
    proc_account(p);
    while (rc == FL_OK && !p->gone && !fl_links_finish(p->links, &p->err)) {
        bool fd_ready = false;
        proc_alive(p);
        rc = p->err.code != FL_OK ? p->err.code : fl_links_wait(p->links, p->s.control, HEARTBEAT_MS, &fd_ready, &p->err);
        if (rc == FL_OK && fd_ready)
            rc = proc_listen(p);
    }
    proc_state(p, FL_ENDED, &since);
    return rc;
}

/* ---- begin and end ---- */

static int proc_map(struct proc *p)
{
    void *page = mmap(NULL, fl_page_bytes(p->s.window, p->s.nout, p->s.nedges), PROT_READ | PROT_WRITE, MAP_SHARED, p->s.page_fd, 0);
    void *gens = mmap(NULL, sizeof *p->gens, PROT_READ, MAP_SHARED, p->s.gens_fd, 0);
    if (page == MAP_FAILED || gens == MAP_FAILED)
        return fl_err_set(&p->err, FL_E_IO, "status page: %s", strerror(errno));
    p->page = page;
    p->gens = gens;
    for (uint32_t i = 0; i < p->s.npools; i++)
        if ((int32_t)p->s.pools[i].id == p->s.pool)
            p->own = &p->s.pools[i];
    return FL_OK;
}

static int proc_links(struct proc *p)
{
    int rc = fl_links_new(p->s.window, &p->links, &p->err);
    if (rc == FL_OK)
        fl_links_trace(p->links, fl_page_sent(p->page, p->s.window, 0, 0));
    if (rc == FL_OK && p->s.listen != NULL)
        rc = fl_links_listen(p->links, p->s.listen, p->s.nedges, p->s.writers, p->s.grants, &p->err);
    for (uint32_t i = 0; rc == FL_OK && i < p->s.nout; i++)
        rc = fl_links_edge(p->links, p->s.out[i].edge, p->s.out[i].readers, p->s.out[i].keyed, p->s.out[i].cost, &p->err);
    if (rc == FL_OK && p->s.nedges > 1)
        rc = fl_join_new(p->s.window, p->s.nedges, &p->join, &p->err);
    return rc;
}

static int proc_begin(struct proc *p, const struct fl_stage *st, struct fl_ctx *labels)
{
    int rc = fl_host_init(&p->host, st, json_object_get(p->s.json, "options"), &proc_ops, p);
    if (rc == FL_OK && (rc = proc_map(p)) == FL_OK)
        rc = proc_links(p);
    if (rc != FL_OK)
        return rc;
    struct fl_ctx *c = &p->host.ctx;
    c->name = p->s.name;
    c->instance = p->s.instance;
    c->edges = p->s.nedges > 0 ? p->s.nedges : 1;
    c->B = p->s.B;
    c->threads = p->s.threads > 0 ? p->s.threads : 1;
    c->seed = p->s.seed;
    c->run_dir = p->s.run_dir;
    c->nlabels = labels->nlabels;
    c->labels = labels->labels;
    c->exclusive = labels->exclusive;
    c->rest_off = labels->rest_off;
    p->host.pool = p->s.pool;
    p->host.slab_bytes = p->own != NULL ? p->own->slab : 0;
    rc = fl_host_describe(&p->host);     /* binds the letters that inputs are checked against */
    if (rc == FL_OK)
        rc = fl_host_open(&p->host);
    if (rc != FL_OK)
        return rc;
    struct fl_control c2 = { .type = "ready", .batches = p->host.batches == UINT64_MAX ? 0 : p->host.batches, .tiles = p->host.tiles == UINT64_MAX ? 0 : p->host.tiles };
    proc_say(p, &c2);
    return FL_OK;
}

static void proc_tell_end(struct proc *p, int rc)
{
    struct fl_control c = { .type = "done" };
    if (rc != FL_OK) {
        const struct fl_err *e = p->host.err.code != FL_OK ? &p->host.err : &p->err;
        snprintf(c.type, sizeof c.type, "fail");
        snprintf(c.name, sizeof c.name, "%s", fl_status_name(rc));
        snprintf(c.text, sizeof c.text, "%s", e->text);
        c.batch = p->page != NULL ? atomic_load(&p->page->current) : 0;
    } else if (p->faults0 >= 0) {
        struct rusage ru;
        getrusage(RUSAGE_SELF, &ru);
        atomic_store(&p->page->faults, (uint64_t)(ru.ru_minflt - p->faults0));
    }
    proc_say(p, &c);
}

int fl_proc_run(const struct fl_stage *st, int setup)
{
    static struct proc proc;              /* one a process; large, so not on the stack */
    struct proc *p = &proc;
    struct fl_ctx labels = { 0 };
    prctl(PR_SET_PDEATHSIG, SIGKILL);     /* a stage never outlives its supervisor */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT, SIG_IGN);              /* a cluster's SIGTERM goes to everybody: the supervisor alone drains */
    signal(SIGTERM, SIG_IGN);
    p->ready_tail = &p->ready;
    p->faults0 = -1;
    int rc = fl_setup_read(setup, &p->s, &labels, &p->err);
    if (rc == FL_OK) {
        p->issues = calloc(p->s.window, sizeof *p->issues);
        p->held = calloc(p->s.window, sizeof *p->held);
        p->cancelled = calloc(p->s.window, sizeof *p->cancelled);
        rc = p->issues == NULL || p->held == NULL || p->cancelled == NULL ? fl_err_set(&p->err, FL_E_NOMEM, "issues") : proc_begin(p, st, &labels);
    }
    if (rc == FL_OK)
        rc = proc_loop(p);
    if (p->s.control > 0)
        proc_tell_end(p, rc);
    else
        fprintf(stderr, "%s: %s\n", st->name, p->err.text);
    fl_host_done(&p->host);
    if (p->gone)
        return 1;
    fl_links_free(p->links);
    fl_join_free(p->join);
    for (struct fl_hosted *h = p->spare, *next; h != NULL; h = next) {
        next = h->next;
        free(h);
    }
    free(p->issues);
    free(p->held);
    free(p->cancelled);
    fl_setup_free(&p->s);
    return rc == FL_OK ? 0 : 1;
}
