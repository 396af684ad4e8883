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
#include <time.h>
#include <unistd.h>

#include "runtime/proc_state.h"

#define HEARTBEAT_MS 100

static uint64_t proc_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
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
    struct fl_issue i = p->at = p->issues[p->issue_head];
    p->issue_head = (p->issue_head + 1) % p->s.window;
    p->issue_count--;
    struct fl_hosted *h = fl_proc_take(p);
    if (h == NULL)
        return fl_err_set(&p->err, FL_E_NOMEM, "batches");
    memset(&h->b, 0, offsetof(struct fl_batch, t));
    h->b.host = h;
    h->b.run = p->s.run;
    h->b.batch = i.batch;
    h->b.attempt = i.attempt;
    h->b.slot = i.slot;
    h->b.gen = i.gen;
    h->b.probe = i.rows > 0 ? i.first + 1 : 0;
    fl_proc_hold(p, &h->b);
    atomic_store_explicit(&p->page->current, i.batch + 1, memory_order_relaxed);
    int rc = fl_hold_read(p);
    if (rc == FL_OK)
        return fl_host_produce(&p->host, &h->b);
    fl_proc_release(p, &h->b);
    return rc;
}

/* Should it kill this process, the supervisor finds here what to put into quarantine. */
static void proc_note_probe(struct proc *p, const struct fl_batch *b)
{
    size_t len = 0;
    if (fl_frame_pack(b, p->page->probe_header, sizeof p->page->probe_header, &len, NULL) != FL_OK)
        len = 0;
    snprintf(p->page->probe_id, sizeof p->page->probe_id, "%.*s", FL_ID_SIZE - 1, fl_id(b, b->probe - 1));
    atomic_store_explicit(&p->page->probe_len, (uint32_t)len, memory_order_release);
}

static int proc_consume(struct proc *p)
{
    struct fl_hosted *h = p->ready;
    p->ready = h->next;
    if (p->ready == NULL)
        p->ready_tail = &p->ready;
    p->nready--;
    p->dump_after -= p->dump_after > 0;
    atomic_store_explicit(&p->page->attempt, h->b.attempt, memory_order_relaxed);
    atomic_store_explicit(&p->page->rows, h->b.n, memory_order_relaxed);
    if (h->b.probe > 0)
        proc_note_probe(p, &h->b);
    atomic_store_explicit(&p->page->current, h->b.batch + 1, memory_order_release);
    if (h->b.probe == 0 || p->s.nout > 0)
        return fl_host_batch(&p->host, &h->b);
    int rc = fl_host_trial(&p->host, &h->b);              /* a sink: did it come through? that is all */
    if (rc == FL_OK)
        rc = fl_ack(&p->host.ctx, h->b.batch, h->b.attempt, 0, 0);
    fl_proc_release(p, &h->b);
    return rc;
}

static bool proc_input_over(const struct proc *p)
{
    if (p->finish)                        /* to a source; or to a sink that died after the end and is told that nothing comes */
        return p->issue_count == 0 && p->nready == 0;
    return p->s.nedges > 0 && p->started && fl_links_ended(p->links) && p->nready == 0;
}

static int proc_dump_if_due(struct proc *p)
{
    if (!p->dump || (p->dump_after > 0 && p->nready > 0))
        return FL_OK;
    struct fl_control c = { .type = "dumped" };
    int rc = fl_host_dump(&p->host, p->dump_why);
    p->dump = false;
    proc_account(p);
    fl_proc_say(p, &c);
    return rc;
}

static int proc_step(struct proc *p, bool *over, uint64_t *since)
{
    bool clear = fl_links_flush(p->links, &p->err), fd_ready = false;
    int rc = p->err.code != FL_OK ? p->err.code : proc_dump_if_due(p);
    if (rc != FL_OK)
        return rc;
    atomic_store_explicit(&p->page->waiting, p->nready + p->issue_count + p->host.lent, memory_order_relaxed);
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
        if (p->started && (rc = fl_host_idle(&p->host)) != FL_OK)
            return rc;
        fl_links_flush(p->links, &p->err);
        proc_state(p, clear && p->host.lent == 0 ? FL_IDLE : FL_WAIT_CREDIT, since);
        rc = p->err.code != FL_OK ? p->err.code : fl_links_wait(p->links, p->s.control, HEARTBEAT_MS, &fd_ready, &p->err);
    }
    atomic_fetch_add_explicit(&p->page->beat, 1, memory_order_relaxed);
    if (rc == FL_OK && fd_ready)
        rc = fl_proc_listen(p);
    return rc == FL_OK ? fl_proc_receive(p) : rc;
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
    if ((rc = fl_proc_listen(p)) != FL_OK || p->gone)     /* "partial" was sent before the end: it is here */
        return rc;
    proc_state(p, FL_BUSY, &since);
    rc = fl_host_drain(&p->host);
    proc_account(p);
    while (rc == FL_OK && !p->gone && !fl_links_finish(p->links, &p->err)) {
        bool fd_ready = false;
        fl_proc_alive(p);
        rc = p->err.code != FL_OK ? p->err.code : fl_links_wait(p->links, p->s.control, HEARTBEAT_MS, &fd_ready, &p->err);
        if (rc == FL_OK && fd_ready)
            rc = fl_proc_listen(p);
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
    int rc = fl_host_init(&p->host, st, json_object_get(p->s.json, "options"), &fl_proc_ops, p);
    if (rc == FL_OK && (rc = proc_map(p)) == FL_OK)
        rc = proc_links(p);
    if (rc != FL_OK)
        return rc;
    struct fl_ctx *c = &p->host.ctx;
    c->name = p->s.name;
    c->instance = p->s.instance;
    c->incarnation = p->s.incarnation;
    c->edges = p->s.nedges > 0 ? p->s.nedges : 1;
    c->B = p->s.B;
    c->threads = p->s.threads > 0 ? p->s.threads : 1;
    c->seed = p->s.seed;
    c->window = p->s.window;
    c->batches = p->s.batches;
    c->epochs = p->s.epochs;
    c->start = p->s.start;
    c->run_dir = p->s.run_dir;
    c->run = p->s.run;
    c->from = p->s.nedges > 0 ? p->s.from : NULL;
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
    fl_links_listen_to(p->links, p->host.listen);
    struct fl_control c2 = { .type = "ready", .batches = p->host.batches == UINT64_MAX ? 0 : p->host.batches, .tiles = p->host.tiles == UINT64_MAX ? 0 : p->host.tiles };
    fl_proc_say(p, &c2);
    return FL_OK;
}

/* A link within the host, or the one to another host. */
static bool proc_broken(const struct proc *p)
{
    return fl_links_broken(p->links) || p->host.lost;
}

static void proc_tell_end(struct proc *p, int rc)
{
    struct fl_control c = { .type = "done" };
    if (proc_broken(p)) {
        c = (struct fl_control){ .type = "log", .code = FL_LOG_WARN };
        snprintf(c.text, sizeof c.text, "%.520s; it ends, what it held is issued again", p->host.lost ? p->host.err.text : p->err.text);
    } else if (rc != FL_OK) {
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
    fl_proc_say(p, &c);
}

int fl_proc_run(const struct fl_stage *st, int setup)
{
    static struct proc proc;              /* one a process; large, so not on the stack */
    struct proc *p = &proc;
    struct fl_ctx labels = { 0 };
    prctl(PR_SET_PDEATHSIG, SIGKILL);     /* a stage never outlives its supervisor */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);             /* a file that may not grow further is a failed write, like a full disk */
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
    bool broken = proc_broken(p);
    fl_host_done(&p->host);
    if (p->gone)
        return 1;
    if (broken)                           /* nobody is left to wait for */
        return FL_EXIT_BROKEN_LINK;
    fl_links_free(p->links);
    fl_join_free(p->join);
    for (struct fl_hosted *h = p->spare, *next; h != NULL; h = next) {
        next = h->next;
        free(h);
    }
    free(p->issues);
    free(p->held);
    free(p->cancelled);
    json_decref(p->aside);
    fl_setup_free(&p->s);
    return rc == FL_OK ? 0 : 1;
}
