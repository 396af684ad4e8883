/* Death of a stage: who held what, issue it again, start the stage anew (docs/delivery.md).
 *
 * In order: its neighbours let go of their links to it and say so ("down"). From then on nothing of it can come any more, and the
 * pages tell exactly what is lost: batches that were sent to it and that not all its readers have got. Each lost batch's slot gets a new
 * generation, so that whatever is late is dropped on sight; the batch is issued again in another slot, attempt + 1; the old slot
 * is free when everybody has said that nothing refers to it ("cancelled"). Meanwhile the stage is started again, after a back-off. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "launch/agent.h"
#include "launch/super.h"

#define BACKOFF_FIRST 0.01
#define BACKOFF_MOST  5.0
#define STILLBORN_MOST 5               /* starts in a row that die by themselves before they are ready */
#define BARREN_MOST 20                 /* own deaths of a stage in a row without a batch finished, and two for each batch of the window: more than halving takes */
#define FAR 1e9

uint32_t fl_stage_out_edges(const struct fl_graph *g, uint32_t stage)
{
    uint32_t n = 0;
    for (uint32_t r = 0; r < g->nstages; r++)
        for (uint32_t e = 0; e < g->stages[r].nfrom; e++)
            n += g->stages[r].from[e] == stage;
    return n;
}

/* Number of the out edge of `stage` that is in edge `edge` of `reader`: in the order of spawn_out. */
static uint32_t recover_out(const struct fl_graph *g, uint32_t stage, uint32_t reader, uint32_t edge)
{
    uint32_t n = 0;
    for (uint32_t r = 0; r <= reader; r++)
        for (uint32_t e = 0; e < g->stages[r].nfrom && !(r == reader && e == edge); e++)
            n += g->stages[r].from[e] == stage;
    return n;
}

static bool recover_living(const struct fl_inst *in)
{
    return in->pid > 0 && in->ready;
}

/* ---- what is lost ---- */

static bool recover_was_sent(struct fl_super *s, const struct fl_inst *dead, uint32_t slot, uint32_t gen)
{
    const struct fl_graph *g = s->g;
    const struct fl_stage_node *n = &g->stages[dead->stage];
    for (uint32_t e = 0; e < n->nfrom; e++) {
        uint32_t up = n->from[e], out = recover_out(g, up, dead->stage, e);
        for (uint32_t k = 0; k < g->stages[up].instances; k++) {
            struct fl_page *p = s->inst[s->first[up] + k].page;
            if (atomic_load_explicit(fl_page_sent(p, g->window, out, slot), memory_order_acquire) == ((uint64_t)gen << 32 | (dead->index + 1)))
                return true;
        }
    }
    return n->source;                  /* what was issued was sent to it */
}

static bool recover_got(struct fl_super *s, uint32_t reader, uint32_t edge, uint32_t slot, uint32_t gen)
{
    const struct fl_graph *g = s->g;
    for (uint32_t k = 0; k < g->stages[reader].instances; k++) {
        struct fl_page *p = s->inst[s->first[reader] + k].page;
        if (atomic_load_explicit(fl_page_got(p, g->window, fl_stage_out_edges(g, reader), edge, slot), memory_order_acquire) == gen)
            return true;
    }
    return false;
}

static bool recover_passed_on(struct fl_super *s, const struct fl_inst *dead, uint32_t slot, uint32_t gen)
{
    const struct fl_graph *g = s->g;
    if (g->stages[dead->stage].sink)
        return s->slots[slot].acked & fl_super_sink_bit(s, dead->stage);
    for (uint32_t r = 0; r < g->nstages; r++)
        for (uint32_t e = 0; e < g->stages[r].nfrom; e++)
            if (g->stages[r].from[e] == dead->stage && !recover_got(s, r, e, slot, gen))
                return false;
    return true;
}

static void recover_slot(struct fl_super *s, uint32_t slot)
{
    struct fl_slot *sl = &s->slots[slot];
    uint32_t gen = atomic_fetch_add(&s->gens->gen[slot], 1);
    sl->used = false;
    if (!fl_poison_keeps(s, sl->batch, sl->attempt + 1))
        s->redo[s->nredo++] = (struct fl_redo){ .batch = sl->batch, .attempt = sl->attempt + 1 };
    struct fl_control c = { .type = "cancel", .slot = slot, .gen = gen };
    for (uint32_t i = 0; i < s->ninst; i++) {
        sl->fence[i] = recover_living(&s->inst[i]);
        sl->nfence += sl->fence[i];
        if (sl->fence[i])
            fl_super_tell(&s->inst[i], &c);
    }
}

static void recover_mourn(struct fl_super *s, struct fl_inst *dead)
{
    for (uint32_t i = 0; i < s->g->window; i++) {
        uint32_t gen = atomic_load(&s->gens->gen[i]);
        if (s->slots[i].used && recover_was_sent(s, dead, i, gen) && !recover_passed_on(s, dead, i, gen))
            recover_slot(s, i);
    }
    dead->mourned = true;
    fl_super_issue_all(s);
    if (dead->ready)
        fl_recover_ready(s, dead);
}

/* ---- answers ---- */

static void recover_settle(struct fl_super *s, const struct fl_inst *from, uint32_t dead)
{
    if (s->inst[dead].await == NULL || !s->inst[dead].await[from - s->inst])
        return;
    s->inst[dead].await[from - s->inst] = false;
    if (--s->inst[dead].nawait == 0 && !s->inst[dead].mourned)
        recover_mourn(s, &s->inst[dead]);
}

/* An answer names the incarnation that died: one that comes late must not settle a newer death. */
void fl_recover_down(struct fl_super *s, struct fl_inst *from, uint32_t dead, uint32_t incarnation)
{
    if (dead < s->ninst && incarnation + 1 == s->inst[dead].incarnation)
        recover_settle(s, from, dead);
}

void fl_recover_cancelled(struct fl_super *s, struct fl_inst *from, uint32_t slot)
{
    if (slot >= s->g->window || !s->slots[slot].fence[from - s->inst])
        return;
    s->slots[slot].fence[from - s->inst] = false;
    if (--s->slots[slot].nfence == 0)
        fl_super_issue(s, slot);
}

/* The dead owe no answers. */
static void recover_excuse(struct fl_super *s, struct fl_inst *dead)
{
    for (uint32_t i = 0; i < s->ninst; i++)
        recover_settle(s, dead, i);
    for (uint32_t i = 0; i < s->g->window; i++)
        fl_recover_cancelled(s, dead, i);
}

/* ---- the neighbours ---- */

static void recover_tell_up(struct fl_super *s, const struct fl_inst *dead, struct fl_control *c, struct fl_inst *await_for)
{
    const struct fl_graph *g = s->g;
    const struct fl_stage_node *n = &g->stages[dead->stage];
    for (uint32_t e = 0; e < n->nfrom; e++)
        for (uint32_t k = 0; k < g->stages[n->from[e]].instances; k++) {
            struct fl_inst *up = &s->inst[s->first[n->from[e]] + k];
            c->slot = recover_out(g, n->from[e], dead->stage, e);
            c->attempt = dead->index;
            if (up->pid == 0 || (await_for != NULL && !recover_living(up)))
                continue;
            fl_super_tell(up, c);
            if (await_for != NULL && !await_for->await[up - s->inst]) {
                await_for->await[up - s->inst] = true;
                await_for->nawait++;
            }
        }
}

static void recover_tell_down(struct fl_super *s, struct fl_inst *dead)
{
    const struct fl_graph *g = s->g;
    struct fl_control c = { .type = "writer-down", .batch = (uint64_t)(dead - s->inst), .gen = dead->incarnation };
    snprintf(c.name, sizeof c.name, "%.31s.%u.%u>", g->stages[dead->stage].name, dead->index, dead->incarnation);
    for (uint32_t i = 0; i < s->ninst; i++) {
        bool reads = false;
        for (uint32_t e = 0; e < g->stages[s->inst[i].stage].nfrom; e++)
            reads = reads || g->stages[s->inst[i].stage].from[e] == dead->stage;
        if (!reads || !recover_living(&s->inst[i]))
            continue;
        fl_super_tell(&s->inst[i], &c);
        if (!dead->await[i])
            dead->nawait++;
        dead->await[i] = true;
    }
}

/* ---- a death ---- */

static const char *recover_cause(const struct fl_inst *in, int status, char out[120])
{
    if (in->hung)
        snprintf(out, 120, in->ready ? "made no progress for stall_timeout and was killed"
                                     : "was not ready, made no progress for open_timeout and was killed");
    else if (in->oom)
        snprintf(out, 120, "was killed by the kernel: out of memory");
    else if (WIFSIGNALED(status))
        snprintf(out, 120, "died of signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    else if (WEXITSTATUS(status) == FL_EXIT_BROKEN_LINK)
        snprintf(out, 120, "lost a link");
    else
        snprintf(out, 120, "ended with exit status %d before its work was done", WEXITSTATUS(status));
    return out;
}

/* A SIGKILL that goes with a new count of the kernel's. */
static bool recover_oom(struct fl_super *s, const struct fl_inst *in, int status)
{
    if (in->hung || !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL || fl_oom_kills() <= s->oom_seen)
        return false;
    s->oom_seen++;
    return true;
}

/* Kills from outside and broken links are not held against the batch in work. */
static bool recover_own_doing(const struct fl_inst *in, int status)
{
    if (WIFEXITED(status) && WEXITSTATUS(status) == FL_EXIT_BROKEN_LINK)
        return false;
    return in->hung || in->oom || !WIFSIGNALED(status) || (WTERMSIG(status) != SIGKILL && WTERMSIG(status) != SIGTERM);
}

/* Adds the page's counts to those of earlier incarnations and clears them for the next. The tables of slots stay. */
static void recover_keep_counts(struct fl_inst *in)
{
    struct fl_page *p = in->page;
    in->base.batches += atomic_exchange(&p->batches, 0);
    in->base.tiles += atomic_exchange(&p->tiles, 0);
    in->base.busy += atomic_exchange(&p->busy_ns, 0);
    in->base.in += atomic_exchange(&p->wait_in_ns, 0);
    in->base.credit += atomic_exchange(&p->wait_credit_ns, 0);
    for (uint32_t c = 0; c < FL_MAX_COUNTERS; c++)
        in->base.counters[c] += atomic_exchange(&p->counters[c], 0);
    atomic_store(&p->current, 0);
    atomic_store(&p->state, FL_STARTING);
    memset(&in->seen, 0, sizeof in->seen);
}

/* Counts a stage's own deaths since any of its instances finished a batch. */
static uint32_t recover_barren(struct fl_super *s, uint32_t stage)
{
    struct fl_inst *first = &s->inst[s->first[stage]];
    uint64_t batches = 1;
    for (uint32_t k = 0; k < s->g->stages[stage].instances; k++)
        batches += first[k].base.batches + atomic_load(&first[k].page->batches);
    first->barren = first->barren_then == batches ? first->barren + 1 : 1;
    first->barren_then = batches;
    return first->barren;
}

/* The deaths by which a batch is tested are awaited: they say nothing of the machine. */
double fl_recover_backoff(const struct fl_inst *in, bool tested)
{
    if (in->backoff == 0 || tested || atomic_load(&in->page->batches) > 0)
        return BACKOFF_FIRST;
    return in->backoff * 2 > BACKOFF_MOST ? BACKOFF_MOST : in->backoff * 2;
}

static void recover_schedule(struct fl_inst *in, bool tested)
{
    in->backoff = fl_recover_backoff(in, tested);
    in->restart_at = fl_now() + in->backoff;
}

/* All batches are committed; only the end is left. Who is dead is missed by nobody but a sink, which has files to write. */
static void recover_in_the_end(struct fl_super *s, struct fl_inst *in, bool clean)
{
    struct fl_control over = { .type = "reader-down", .code = 1 }, finish = { .type = "finish" };
    recover_tell_up(s, in, &over, NULL);
    if (clean)
        return;
    for (uint32_t i = 0; i < s->ninst; i++)
        if (s->inst[i].pid > 0)
            fl_super_tell(&s->inst[i], &finish);
    if (s->g->stages[in->stage].sink) {
        recover_schedule(in, false);
        in->incarnation++;
        in->mourned = true;
    }
}

/* What kills is what a replay is to show: nothing is started again, nobody is blamed. */
static void recover_end_replay(struct fl_super *s, const struct fl_inst *in, uint64_t current, const char *cause)
{
    const char *name = s->g->stages[in->stage].name;
    char text[700], tiles[500] = "";
    if (current > 0)
        fl_poison_told(s->conf->replay_of, name, current - 1, tiles, sizeof tiles);
    if (current > 0)
        snprintf(text, sizeof text, "%s over batch %llu%s", cause, (unsigned long long)current - 1, tiles);
    fl_super_fail(s, name, in->index, current > 0 ? text : cause);
}

void fl_recover_death(struct fl_super *s, struct fl_inst *in, int status)
{
    const char *name = s->g->stages[in->stage].name;
    bool clean = in->done && WIFEXITED(status) && WEXITSTATUS(status) == 0, was_ready = in->ready;
    char cause[120], text[256];
    if (s->failed || s->killed || (clean && s->finishing)) {
        if (clean && !s->failed && !s->killed)
            recover_in_the_end(s, in, true);
        recover_excuse(s, in);
        return;
    }
    if (s->conf->agent != NULL && (s->g->stages[in->stage].source || s->g->stages[in->stage].sink)) {
        fl_agent_lost(s);
        recover_excuse(s, in);
        return;
    }
    uint64_t current = atomic_load(&in->page->current);
    in->oom = recover_oom(s, in, status);
    bool own = recover_own_doing(in, status), blamed = own && current > 0;
    recover_cause(in, status, cause);
    in->deaths++;
    in->stillborn = was_ready ? 0 : in->stillborn + own;
    if (s->conf->replay_of != NULL) {
        recover_end_replay(s, in, current, cause);
        return;
    }
    if ((!s->started && in->hung) || in->stillborn > STILLBORN_MOST) {
        fl_super_fail(s, name, in->index, cause);
        return;
    }
    bool tested = blamed && fl_poison_blame(s, in, current - 1, cause);
    uint32_t barren = blamed ? recover_barren(s, in->stage) : 0;
    if (barren > BARREN_MOST + 2 * s->g->window) {
        snprintf(text, sizeof text, "%s, %u times in a row without finishing a batch", cause, barren);
        fl_super_fail(s, name, in->index, text);
    }
    if (s->failed)
        return;
    if (atomic_load(&in->page->batches) > 0)
        in->idle_deaths = 0;
    if (current == 0 && was_ready && own && ++in->idle_deaths > STILLBORN_MOST) {
        snprintf(text, sizeof text, "%s, %u times between batches", cause, in->idle_deaths);
        fl_super_fail(s, name, in->index, text);
        return;
    }
    fl_dump(s, cause);
    snprintf(text, sizeof text, "%s%s; starting it again", cause, blamed ? " over a batch" : "");
    fl_super_log(s, name, in->index, FL_LOG_WARN, text);
    s->restarts++;
    in->ready = in->done = in->hung = false;
    if (!s->started) {                 /* nobody is connected yet: the same incarnation begins once more */
        recover_schedule(in, false);
        return;
    }
    if (s->finishing) {
        recover_keep_counts(in);
        recover_in_the_end(s, in, false);
        recover_excuse(s, in);
        return;
    }
    recover_schedule(in, tested);
    recover_keep_counts(in);
    if (in->await == NULL && (in->await = calloc(s->ninst, sizeof *in->await)) == NULL) {
        fl_super_fail(s, name, in->index, "no memory");
        return;
    }
    in->mourned = false;
    struct fl_control down = { .type = "reader-down", .batch = (uint64_t)(in - s->inst), .gen = in->incarnation };
    recover_tell_up(s, in, &down, in);
    recover_tell_down(s, in);
    in->incarnation++;
    recover_excuse(s, in);
    if (in->nawait == 0 && !in->mourned)
        recover_mourn(s, in);
}

/* ---- the next incarnation ---- */

/* Readers that ended while `in` was away could not tell it that they need nothing more. */
static void recover_tell_ended(struct fl_super *s, struct fl_inst *in)
{
    const struct fl_graph *g = s->g;
    struct fl_control over = { .type = "reader-down", .code = 1 };
    for (uint32_t r = 0; r < g->nstages; r++)
        for (uint32_t e = 0; e < g->stages[r].nfrom; e++)
            for (uint32_t k = 0; g->stages[r].from[e] == in->stage && k < g->stages[r].instances; k++) {
                const struct fl_inst *reader = &s->inst[s->first[r] + k];
                over.slot = recover_out(g, in->stage, r, e);
                over.attempt = k;
                if (reader->pid == 0 && reader->restart_at == 0)
                    fl_super_tell(in, &over);
            }
}

void fl_recover_ready(struct fl_super *s, struct fl_inst *in)
{
    struct fl_control start = { .type = "start" }, up = { .type = "reader-up" }, finish = { .type = "finish" }, partial = { .type = "partial" };
    if (!in->mourned)
        return;                        /* recover_mourn calls again */
    fl_super_tell(in, &start);
    if (s->interrupted)
        fl_super_tell(in, &partial);
    if (s->finishing) {
        recover_tell_ended(s, in);
        fl_super_tell(in, &finish);
        return;
    }
    fl_spawn_endpoint(up.text, in->stage, in->index, in->incarnation);
    recover_tell_up(s, in, &up, NULL);
    fl_super_issue_all(s);              /* a source may have been missing */
}

double fl_recover_tick(struct fl_super *s)
{
    double now = fl_now(), next = FAR;
    for (uint32_t i = 0; i < s->ninst && !s->killed; i++) {
        struct fl_inst *in = &s->inst[i];
        struct fl_err err = { 0 };
        if (in->restart_at == 0)
            continue;
        if (in->restart_at > now) {
            next = in->restart_at - now < next ? in->restart_at - now : next;
            continue;
        }
        in->restart_at = 0;
        if (fl_spawn(s, i, &err) != FL_OK)
            fl_super_fail(s, s->g->stages[in->stage].name, in->index, err.text);
    }
    return next;
}
