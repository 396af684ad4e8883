/* The ledger of batches, ranks and epochs. Windows are small: entries are searched, not indexed. */
#include "stages/feed/ledger.h"

#include <stdlib.h>

int fl_ledger_init(struct fl_ledger *l, uint64_t batches, uint32_t epochs, uint32_t window, double patience, struct fl_err *err)
{
    *l = (struct fl_ledger){ .batches = batches, .window = window, .patience = patience };
    if (batches == 0 || epochs == 0 || batches % epochs != 0)
        return fl_err_set(err, FL_E_CONFIG, "%llu batches in %u epochs: the source must say how many there are, the same number in each epoch", (unsigned long long)batches, epochs);
    l->per_epoch = batches / epochs;
    l->entries = calloc(window, sizeof *l->entries);
    return l->entries != NULL ? FL_OK : fl_err_set(err, FL_E_NOMEM, "ledger");
}

void fl_ledger_done(struct fl_ledger *l)
{
    free(l->entries);
    l->entries = NULL;
    l->n = 0;
}

/* ---- small answers ---- */

static uint64_t ledger_end(const struct fl_ledger *l)
{
    return (l->epoch + 1) * l->per_epoch;
}

static uint32_t ledger_rank(const struct fl_ledger *l, uint64_t batch)
{
    return (uint32_t)((batch % l->world + l->world - l->phase) % l->world);
}

static struct fl_ledger_entry *ledger_find(const struct fl_ledger *l, uint64_t batch)
{
    for (uint32_t i = 0; i < l->n; i++)
        if (l->entries[i].b->batch == batch)
            return &l->entries[i];
    return NULL;
}

static struct fl_batch *ledger_take(struct fl_ledger *l, struct fl_ledger_entry *e)
{
    struct fl_batch *b = e->b;
    *e = l->entries[--l->n];
    return b;
}

static struct fl_ledger_place *ledger_place(struct fl_ledger *l, uint32_t client)
{
    for (uint32_t r = 0; l->active && r < l->world; r++)
        if (l->place[r].client == (int32_t)client)
            return &l->place[r];
    return NULL;
}

static bool ledger_over(const struct fl_ledger *l)
{
    for (uint32_t r = 0; l->active && r < l->world; r++)
        if (l->place[r].next < ledger_end(l))
            return false;
    return true;
}

/* How many batches a rank has left in this epoch. */
static uint64_t ledger_left(const struct fl_ledger *l, const struct fl_ledger_place *p)
{
    return p->next < ledger_end(l) ? (ledger_end(l) - p->next + l->world - 1) / l->world : 0;
}

bool fl_ledger_finished(const struct fl_ledger *l, uint32_t client, uint64_t *epoch)
{
    const struct fl_ledger_place *p = ledger_place((struct fl_ledger *)l, client);
    if (p == NULL || p->told || p->next < ledger_end(l))
        return false;
    *epoch = l->epoch;
    return true;
}

void fl_ledger_told(struct fl_ledger *l, uint32_t client)
{
    ledger_place(l, client)->told = true;
}

void fl_ledger_close(struct fl_ledger *l)
{
    if (l->active && l->ended != NULL)
        l->ended(l->user, l->epoch, l->undelivered, l->skipped);
    l->active = false;
}

/* ---- joining ---- */

static int ledger_ask(const struct fl_ledger *l, uint32_t rank, uint32_t world, uint64_t next, struct fl_err *err)
{
    uint64_t least = 2 * (uint64_t)world < l->batches ? 2 * (uint64_t)world : l->batches;
    if (world == 0 || world > FL_LEDGER_CLIENTS || rank >= world)
        return fl_err_set(err, FL_E_CONFIG, "rank %u of a world of %u: want 0 to world - 1, and a world of 1 to %d", rank, world, FL_LEDGER_CLIENTS);
    if (next >= l->batches || next < rank)
        return fl_err_set(err, FL_E_CONFIG, "rank %u wants batch %llu of %llu", rank, (unsigned long long)next, (unsigned long long)l->batches);
    if (next < l->start)
        return fl_err_set(err, FL_E_STALE, "batch %llu will not come: this run began at batch %llu", (unsigned long long)next, (unsigned long long)l->start);
    if (l->window < least)
        return fl_err_set(err, FL_E_CONFIG, "a world of %u needs %llu batches in flight, there are %u: give `memory:` more, or batches fewer tiles", world,
                          (unsigned long long)least, l->window);
    return FL_OK;
}

static int ledger_sit(struct fl_ledger *l, uint32_t client, uint32_t rank, uint32_t world, uint64_t next, struct fl_err *err)
{
    struct fl_ledger_place *p = &l->place[rank];
    if (world != l->world)
        return fl_err_set(err, FL_E_CONFIG, "epoch %llu has a world of %u, not of %u", (unsigned long long)l->epoch, l->world, world);
    if (ledger_rank(l, next) != rank)
        return fl_err_set(err, FL_E_CONFIG, "rank %u wants batch %llu, which is for rank %u in epoch %llu", rank, (unsigned long long)next, ledger_rank(l, next), (unsigned long long)l->epoch);
    if (p->client >= 0)
        return fl_err_set(err, FL_E_CONFIG, "rank %u of epoch %llu is taken", rank, (unsigned long long)l->epoch);
    if (p->lost)
        return fl_err_set(err, FL_E_STALE, "rank %u was away for more than %g s: its share of epoch %llu is given up; join the next one", rank, l->patience, (unsigned long long)l->epoch);
    if (next < p->top && ledger_find(l, next) == NULL)
        return fl_err_set(err, FL_E_STALE, "batch %llu was used already: to go back to it, start the graph anew there", (unsigned long long)next);
    p->known = true;
    p->client = (int32_t)client;
    p->next = next;
    return FL_OK;
}

static void ledger_begin(struct fl_ledger *l, const struct fl_ledger_client *c, double now)
{
    l->active = true;
    l->epoch = c->next / l->per_epoch;
    l->world = c->world;
    l->phase = (c->next % c->world + c->world - c->rank) % c->world;
    l->undelivered = l->skipped = 0;
    for (uint32_t r = 0; r < l->world; r++)      /* who has not joined yet wants what this one's turn would give it */
        l->place[r] = (struct fl_ledger_place){ .client = -1, .since = now, .next = c->next - c->rank + r };
}

/* Begins the next epoch when the one at hand is over, with all that wait for it. */
static void ledger_turn(struct fl_ledger *l, double now)
{
    const struct fl_ledger_client *first = NULL;
    if (l->active && !ledger_over(l))
        return;
    for (uint32_t i = 0; i < FL_LEDGER_CLIENTS; i++)
        if (l->client[i].waits && (first == NULL || l->client[i].next / l->per_epoch < first->next / l->per_epoch))
            first = &l->client[i];
    if (first == NULL)
        return;
    fl_ledger_close(l);
    ledger_begin(l, first, now);
    for (uint32_t i = 0; i < FL_LEDGER_CLIENTS; i++) {
        struct fl_ledger_client *c = &l->client[i];
        struct fl_err err;
        if (!c->waits || c->next / l->per_epoch != l->epoch)
            continue;
        c->waits = false;
        if (ledger_sit(l, i, c->rank, c->world, c->next, &err) != FL_OK && l->refuse != NULL)
            l->refuse(l->user, i, &err);
    }
}

int fl_ledger_join(struct fl_ledger *l, uint32_t client, uint32_t rank, uint32_t world, uint64_t next, double now, struct fl_err *err)
{
    struct fl_ledger_place *p = ledger_place(l, client);
    int rc = ledger_ask(l, rank, world, next, err);
    if (rc != FL_OK)
        return rc;
    uint64_t epoch = next / l->per_epoch;
    if (l->client[client].waits || (p != NULL && epoch == l->epoch))
        return fl_err_set(err, FL_E_PROTO, "joined twice");
    if (l->active && epoch < l->epoch)
        return fl_err_set(err, FL_E_STALE, "epoch %llu has ended, epoch %llu is at hand: to go back, start the graph anew at batch %llu", (unsigned long long)epoch,
                          (unsigned long long)l->epoch, (unsigned long long)next);
    if (l->active && epoch == l->epoch)
        return ledger_sit(l, client, rank, world, next, err);
    if (p != NULL) {                         /* it goes on without the rest of its share */
        l->skipped += ledger_left(l, p);
        p->next = ledger_end(l) > p->next ? ledger_end(l) : p->next;
        p->client = -1;
    }
    l->client[client] = (struct fl_ledger_client){ .waits = true, .rank = rank, .world = world, .next = next };
    ledger_turn(l, now);
    return FL_OK;
}

void fl_ledger_leave(struct fl_ledger *l, uint32_t client, double now)
{
    struct fl_ledger_place *p = ledger_place(l, client);
    l->client[client].waits = false;
    for (uint32_t i = 0; i < l->n; i++) {
        struct fl_ledger_entry *e = &l->entries[i];
        if (e->client != (int32_t)client)
            continue;
        e->client = -1;
        if (p != NULL && e->b->batch / l->per_epoch == l->epoch && e->b->batch < p->next)
            p->next = e->b->batch;           /* to be given again */
    }
    if (p != NULL) {
        p->client = -1;
        p->told = false;
        p->since = now;
    }
}

/* ---- batches ---- */

int fl_ledger_add(struct fl_ledger *l, struct fl_batch *b, struct fl_batch **twice, struct fl_err *err)
{
    *twice = NULL;
    if (ledger_find(l, b->batch) != NULL) {
        *twice = b;
        return FL_OK;
    }
    if (l->n == l->window)
        return fl_err_set(err, FL_E_BUG, "more batches than the window of %u holds", l->window);
    l->entries[l->n++] = (struct fl_ledger_entry){ .b = b, .client = -1 };
    return FL_OK;
}

int fl_ledger_release(struct fl_ledger *l, uint32_t client, uint64_t batch, uint32_t gen, struct fl_batch **done, struct fl_err *err)
{
    struct fl_ledger_entry *e = ledger_find(l, batch);
    if (e == NULL || e->client != (int32_t)client || e->b->gen != gen)
        return fl_err_set(err, FL_E_PROTO, "batch %llu is released by a trainer that does not have it", (unsigned long long)batch);
    if (l->active && batch / l->per_epoch == l->epoch) {
        struct fl_ledger_place *p = &l->place[ledger_rank(l, batch)];
        p->top = batch + 1 > p->top ? batch + 1 : p->top;
    }
    *done = ledger_take(l, e);
    return FL_OK;
}

struct fl_batch *fl_ledger_for(const struct fl_ledger *l, uint32_t client)
{
    const struct fl_ledger_place *p = ledger_place((struct fl_ledger *)l, client);
    if (p == NULL || p->next >= ledger_end(l))
        return NULL;
    const struct fl_ledger_entry *e = ledger_find(l, p->next);
    return e != NULL && e->client < 0 ? e->b : NULL;
}

void fl_ledger_sent(struct fl_ledger *l, uint32_t client, const struct fl_batch *b)
{
    ledger_find(l, b->batch)->client = (int32_t)client;
    struct fl_ledger_place *p = ledger_place(l, client);
    p->next += l->world;
    /* What it had released before it went away and came back is not given twice. */
    while (p->next < p->top && p->next < ledger_end(l) && ledger_find(l, p->next) == NULL)
        p->next += l->world;
}

static void ledger_give_up(struct fl_ledger *l, double now)
{
    for (uint32_t r = 0; l->active && r < l->world; r++) {
        struct fl_ledger_place *p = &l->place[r];
        if (!p->known || p->client >= 0 || p->next >= ledger_end(l) || now - p->since < l->patience)
            continue;
        l->undelivered += ledger_left(l, p);
        p->lost = true;
        p->next = ledger_end(l);
    }
}

struct fl_batch *fl_ledger_drop(struct fl_ledger *l, double now)
{
    ledger_give_up(l, now);
    ledger_turn(l, now);
    for (uint32_t i = 0; l->active && i < l->n; i++) {
        struct fl_ledger_entry *e = &l->entries[i];
        uint64_t epoch = e->b->batch / l->per_epoch;
        if (e->client >= 0 || epoch > l->epoch)
            continue;
        const struct fl_ledger_place *p = &l->place[ledger_rank(l, e->b->batch)];
        if (epoch < l->epoch || ((p->known || p->next >= ledger_end(l)) && e->b->batch < p->next))
            return ledger_take(l, e);
    }
    return NULL;
}

int32_t fl_ledger_vain(const struct fl_ledger *l)
{
    uint64_t greatest = 0;
    if (!l->active || l->n < l->window)
        return -1;
    for (uint32_t i = 0; i < l->n; i++)
        greatest = l->entries[i].b->batch > greatest ? l->entries[i].b->batch : greatest;
    for (uint32_t r = 0; r < l->world; r++) {
        const struct fl_ledger_place *p = &l->place[r];
        if (p->client >= 0 && p->next < ledger_end(l) && p->next < greatest && ledger_find(l, p->next) == NULL)
            return p->client;
    }
    return -1;
}
