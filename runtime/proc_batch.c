/* Batches of a stage process: taken in, proven, joined, let go of; and what a stage says to the supervisor. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "runtime/proc_state.h"

/* ---- to the supervisor ---- */

void fl_proc_say(struct proc *p, const struct fl_control *c)
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
    fl_proc_say(owner, &c);
}

static void proc_result(void *owner, const char *name, double value)
{
    struct fl_control c = { .type = "result", .value = value };
    snprintf(c.name, sizeof c.name, "%s", name);
    fl_proc_say(owner, &c);
}

void fl_proc_alive(void *owner)
{
    struct proc *p = owner;
    atomic_fetch_add_explicit(&p->page->beat, 1, memory_order_relaxed);
}

/* ---- batches ---- */

struct fl_hosted *fl_proc_take(struct proc *p)
{
    struct fl_hosted *h = p->spare;
    if (h == NULL)
        return fl_hosted_new(p->s.nedges > 0 ? p->s.nedges : 1);
    p->spare = h->next;
    h->used = 0;
    h->marks = false;
    h->nparts = 0;
    h->head.len = 0;
    h->next = NULL;
    return h;
}

/* Tells the supervisor that nothing here refers to the cancelled use of the slot any more. */
void fl_proc_let_go(struct proc *p, uint32_t slot)
{
    if (p->cancelled[slot] == 0 || p->held[slot] > 0)
        return;
    struct fl_control c = { .type = "cancelled", .slot = slot, .gen = p->cancelled[slot] };
    p->cancelled[slot] = 0;
    fl_proc_say(p, &c);
}

void fl_proc_hold(struct proc *p, const struct fl_batch *b)
{
    p->held[b->slot]++;
}

void fl_proc_release(void *owner, struct fl_batch *b)
{
    struct proc *p = owner;
    struct fl_hosted *h = b->host;
    if (--p->held[b->slot] == 0)
        fl_proc_let_go(p, b->slot);
    for (uint32_t i = 0; i < h->nparts; i++)
        fl_links_credit(p->links, h->parts[i].token, p->s.costs[h->parts[i].edge]);
    h->next = p->spare;
    p->spare = h;
}

static int proc_emit(void *owner, struct fl_batch *b)
{
    struct proc *p = owner;
    int rc = fl_hold_back(p, b);
    if (rc == FL_OK)
        rc = fl_links_put(p->links, b, &p->host.err);
    atomic_fetch_add_explicit(&p->page->batches, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&p->page->tiles, b->n, memory_order_relaxed);
    fl_proc_release(p, b);
    return rc;
}

static int proc_ack(void *owner, uint64_t batch, uint32_t attempt, uint32_t predicted, uint32_t rejected)
{
    struct proc *p = owner;
    struct fl_control c = { .type = "ack", .batch = batch, .attempt = attempt, .predicted = predicted, .rejected = rejected };
    atomic_fetch_add_explicit(&p->page->batches, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&p->page->tiles, predicted + rejected, memory_order_relaxed);
    fl_proc_say(p, &c);
    return FL_OK;
}

static void *proc_slab(void *owner, uint32_t slot)
{
    struct proc *p = owner;
    return p->own != NULL && slot < p->own->slots ? p->own->base + (uint64_t)slot * p->own->slab : NULL;
}

static uint32_t proc_pools(void *owner, struct fl_shared *out, uint32_t max)
{
    const struct proc *p = owner;
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->s.npools && n < max; i++)
        if (!p->s.pools[i].write)
            out[n++] = (struct fl_shared){ .place = (int32_t)p->s.pools[i].id, .fd = p->s.pools[i].fd, .slab = p->s.pools[i].slab };
    return n;
}

static int proc_gens(void *owner)
{
    return ((const struct proc *)owner)->s.gens_fd;
}

static void proc_grant(void *owner, uint32_t batches)
{
    struct proc *p = owner;
    for (uint32_t e = 0; e < p->s.nedges; e++)
        fl_links_grant(p->links, e, batches * p->s.costs[e]);
}

static void proc_more(void *owner, uint64_t batches)
{
    struct fl_control c = { .type = "more", .batches = batches };
    fl_proc_say(owner, &c);
}

static void proc_killer(void *owner, const struct fl_killer *k)
{
    struct fl_control c = { .type = "quarantine", .batch = k->batch, .first = k->row, .rows = k->alone, .code = k->instance };
    snprintf(c.name, sizeof c.name, "%s", k->stage);
    snprintf(c.id, sizeof c.id, "%s", k->id);
    snprintf(c.text, sizeof c.text, "%s", k->cause);
    fl_proc_say(owner, &c);
}

const struct fl_host_ops fl_proc_ops = {
    .emit = proc_emit, .release = fl_proc_release, .ack = proc_ack, .slab = proc_slab,
    .log = proc_log, .result = proc_result, .alive = fl_proc_alive, .pools = proc_pools, .gens = proc_gens,
    .grant = proc_grant, .more = proc_more, .held = fl_hold_has, .killer = proc_killer, .pause = fl_proc_pause,
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

/* Taps alone look at it. */
static void proc_keep_header(const struct proc *p, struct fl_hosted *h)
{
    size_t len;
    const struct fl_port *in = fl_stage_port(p->host.stage, FL_IN);
    if (in == NULL || !(in->flags & FL_TAP))
        return;
    const void *bytes = fl_links_header(p->links, &len);
    memcpy(h->head.bytes, bytes, len);
    h->head.len = (uint32_t)len;
}

static void proc_enqueue(struct proc *p, struct fl_hosted *h)
{
    h->next = NULL;
    *p->ready_tail = h;
    p->ready_tail = &h->next;
    p->nready++;
}

int fl_proc_receive(struct proc *p)
{
    for (;;) {
        struct fl_hosted *h = fl_proc_take(p), *dropped = NULL;
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
        proc_keep_header(p, h);
        h->nparts = 1;
        h->parts[0].edge = edge;
        h->parts[0].token = token;
        if (h->b.slot >= p->s.window)
            return fl_err_set(&p->err, FL_E_PROTO, "slot %u of %u", h->b.slot, p->s.window);
        fl_proc_hold(p, &h->b);
        if (proc_stale(p, &h->b)) {
            fl_proc_release(p, &h->b);
            continue;
        }
        rc = proc_resolve(p, &h->b, edge);
        if (rc != FL_OK) {
            fl_proc_release(p, &h->b);
            return rc;
        }
        atomic_store_explicit(fl_page_got(p->page, p->s.window, p->s.nout, edge, h->b.slot), h->b.gen, memory_order_release);
        if (p->join != NULL) {
            uint32_t slot = h->b.slot, before = fl_join_open(p->join);
            rc = fl_join_add(p->join, h, &h, &dropped, &p->err);
            if (dropped == NULL && !(rc == FL_END && fl_join_open(p->join) > before))
                p->held[slot]--;                       /* merged into what waited there */
            if (dropped != NULL)
                fl_proc_release(p, &dropped->b);
            if (rc == FL_END)
                continue;
            if (rc != FL_OK)
                return rc;
        }
        proc_enqueue(p, h);
    }
}
