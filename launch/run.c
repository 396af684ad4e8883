/* The supervisor: starts the stages, issues batches, counts them back in, ends the graph or says what failed. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "launch/agent.h"
#include "launch/mem.h"
#include "launch/super.h"
#include "launch/versions.h"
#include "proto/control.h"

#define READ_MOST 64              /* messages of one stage in a turn: a chatterbox must not keep the others waiting */
#define TICK 0.5                  /* seconds between looks at the pages */

double fl_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

void fl_super_tell(struct fl_inst *in, const struct fl_control *c)
{
    unsigned char buf[FL_CONTROL_MAX];
    size_t len;
    if (in->control < 0 || fl_control_pack(c, buf, sizeof buf, &len, NULL) != FL_OK)
        return;
    if (in->told == NULL && (send(in->control, buf, len, MSG_NOSIGNAL) >= 0 || errno != EAGAIN))
        return;                                         /* a dead stage is noticed by its pidfd */
    struct fl_told *t = fl_need(1, sizeof *t + len);
    memcpy(t->bytes, buf, len);
    t->len = len;
    *(in->told != NULL ? in->told_tail : &in->told) = t;
    in->told_tail = &t->next;
}

void fl_super_flush(struct fl_inst *in)
{
    for (struct fl_told *t; (t = in->told) != NULL; ) {
        if (in->control >= 0 && send(in->control, t->bytes, t->len, MSG_NOSIGNAL) < 0 && errno == EAGAIN)
            return;
        in->told = t->next;
        free(t);
    }
}

static void run_tell_all(struct fl_super *s, const char *type)
{
    struct fl_control c = { 0 };
    snprintf(c.type, sizeof c.type, "%s", type);
    for (uint32_t i = 0; i < s->ninst; i++)
        fl_super_tell(&s->inst[i], &c);
}

const char *fl_super_host(const struct fl_super *s, uint32_t stage, uint32_t index)
{
    const char *name = json_string_value(json_object_get(json_array_get(json_object_get(s->g->stages[stage].options, "hosts"), index), "name"));
    return name != NULL ? name : "?";
}

void fl_super_kill_all(struct fl_super *s)
{
    s->killed = true;
    for (uint32_t i = 0; i < s->ninst; i++)
        if (s->inst != NULL && s->inst[i].pid > 0 && !s->inst[i].dumping)   /* that one is killed when it has written */
            kill(s->inst[i].pid, SIGKILL);
}

void fl_super_fail(struct fl_super *s, const char *stage, uint32_t instance, const char *text)
{
    if (!s->failed && !s->killed) {
        fl_super_log(s, stage, instance, FL_LOG_ERROR, text);
        if (s->conf->agent != NULL)
            fl_agent_fail(s->conf->agent, stage, instance, text);
        else if (s->conf->quiet)
            fprintf(stderr, "%s: %s\n", stage, text);
        fl_dump(s, text);
    }
    s->failed = true;
    fl_super_kill_all(s);
}

/* ---- batches ---- */

/* What is to be done again comes first: others wait for it. */
static bool run_next(struct fl_super *s, struct fl_redo *next)
{
    enum fl_poison suspect = fl_poison_next(s, next);
    if (suspect != FL_POISON_NONE) {
        s->reissued += suspect == FL_POISON_NEXT;
        return suspect == FL_POISON_NEXT;
    }
    if (s->nredo > 0) {
        *next = s->redo[0];
        memmove(s->redo, s->redo + 1, --s->nredo * sizeof *s->redo);
        s->reissued++;
        return true;
    }
    while (s->next < s->total && fl_resume_has(s, s->next))
        s->next++;
    if (s->next == s->total || s->interrupted)
        return false;
    *next = (struct fl_redo){ .batch = s->next++ };
    s->in_flight++;
    return true;
}

void fl_super_issue(struct fl_super *s, uint32_t slot)
{
    struct fl_slot *sl = &s->slots[slot];
    struct fl_inst *source = &s->inst[s->first[0]];
    struct fl_redo next;
    if (sl->used || sl->nfence > 0 || !source->ready || source->pid == 0 || !run_next(s, &next))
        return;
    sl->used = true;
    sl->batch = next.batch;
    sl->attempt = next.attempt;
    sl->probe = next.rows > 0;
    sl->acked = sl->rejected = 0;
    struct fl_control c = { .type = "issue", .batch = next.batch, .attempt = next.attempt, .slot = slot, .gen = atomic_load(&s->gens->gen[slot]),
                            .first = next.first, .rows = next.rows, .code = fl_poison_has_marks(s, next.batch) };
    fl_super_tell(source, &c);
}

void fl_super_issue_all(struct fl_super *s)
{
    for (uint32_t i = 0; i < s->g->window; i++)
        fl_super_issue(s, i);
}

void fl_super_finish(struct fl_super *s)
{
    if (s->open || s->finishing || !s->started || s->in_flight > 0 || (s->next < s->total && !s->interrupted))
        return;
    s->finishing = true;
    fl_versions_complete(s);
    struct fl_control c = { .type = "finish" };
    fl_super_tell(&s->inst[s->first[0]], &c);
}

uint64_t fl_super_sink_bit(const struct fl_super *s, uint32_t stage)
{
    uint32_t bit = 0;
    for (uint32_t i = 0; i < stage; i++)
        bit += s->g->stages[i].sink;
    return UINT64_C(1) << bit;
}

static void run_count(struct fl_super *s, const struct fl_slot *sl, const struct fl_control *c)
{
    s->in_flight--;
    s->finished++;
    s->tiles_done += c->predicted + c->rejected;
    s->rejected += sl->rejected;
    if (s->t_first == 0)
        s->t_first = fl_now();
}

static void run_ack(struct fl_super *s, const struct fl_inst *sink, const struct fl_control *c)
{
    for (uint32_t i = 0; i < s->g->window; i++) {
        struct fl_slot *sl = &s->slots[i];
        if (!sl->used || sl->batch != c->batch || sl->attempt != c->attempt)
            continue;
        sl->rejected = c->rejected > sl->rejected ? c->rejected : sl->rejected;
        sl->acked |= fl_super_sink_bit(s, sink->stage);
        if (sl->acked != fl_super_sink_bit(s, s->g->nstages) - 1)
            return;
        sl->used = false;
        atomic_fetch_add(&s->gens->gen[i], 1);           /* whatever still speaks of this use of the slot is late */
        if (!sl->probe)
            run_count(s, sl, c);
        if (fl_poison_passed(s, sl->batch, sl->probe))
            fl_super_issue_all(s);
        else
            fl_super_issue(s, i);
        fl_super_finish(s);
        return;
    }
}

/* ---- from the stages ---- */

static void run_start_if_ready(struct fl_super *s)
{
    for (uint32_t i = 0; i < s->ninst; i++)
        if (!s->inst[i].ready)
            return;
    if (s->conf->agent == NULL && fl_versions_settle(s) != FL_OK)
        return;
    s->started = true;
    s->t_start = fl_now();
    run_tell_all(s, "start");
    fl_super_issue_all(s);
    if (s->conf->agent != NULL)
        fl_agent_ready(s);
    fl_super_finish(s);
}

/* What --start leaves out. */
static bool run_skip(struct fl_super *s)
{
    char text[120];
    if (s->conf->start > s->total) {
        snprintf(text, sizeof text, "--start %llu: there are %llu batches", (unsigned long long)s->conf->start, (unsigned long long)s->total);
        fl_super_fail(s, "flowrun", 0, text);
        return false;
    }
    if (s->conf->start > 0) {
        s->next = s->resumed = s->finished = s->conf->start;
        s->tiles_total = (uint64_t)((double)s->tiles_total * (double)(s->total - s->next) / (double)s->total);
    }
    return true;
}

static void run_ready(struct fl_super *s, struct fl_inst *in, const struct fl_control *c)
{
    in->ready = true;
    in->beat_at = s->watched;
    if (s->started) {
        fl_recover_ready(s, in);
        return;
    }
    if (s->g->stages[in->stage].source) {
        if (c->batches == 0 && !s->open) {
            fl_super_fail(s, s->g->stages[in->stage].name, in->index, "did not say how many batches there are");
            return;
        }
        s->total = c->batches;
        s->tiles_total = c->tiles;
        if (s->conf->resume && s->committed == NULL && fl_resume_read(s) != FL_OK)
            return;
        if (s->conf->nonly > 0 && s->committed == NULL && fl_resume_only(s) != FL_OK)
            return;
        if (!run_skip(s))
            return;
    }
    run_start_if_ready(s);
}

static void run_hear(struct fl_super *s, struct fl_inst *in, const struct fl_control *c)
{
    const struct fl_stage_node *n = &s->g->stages[in->stage];
    if (strcmp(c->type, "ready") == 0) {
        run_ready(s, in, c);
    } else if (strcmp(c->type, "ack") == 0) {
        run_ack(s, in, c);
    } else if (strcmp(c->type, "more") == 0 && s->open && n->source) {
        s->total = c->batches > s->total ? c->batches : s->total;
        fl_super_issue_all(s);
    } else if (strcmp(c->type, "log") == 0) {
        fl_super_log(s, n->name, in->index, (int)c->code, c->text);
    } else if (strcmp(c->type, "result") == 0) {
        json_t *of = json_object_get(s->results, n->name);
        if (of == NULL) {
            json_object_set_new(s->results, n->name, json_object());
            of = json_object_get(s->results, n->name);
        }
        json_object_set_new(of, c->name, json_real(c->value));
    } else if (strcmp(c->type, "down") == 0) {
        fl_recover_down(s, in, (uint32_t)c->code, c->gen);
    } else if (strcmp(c->type, "cancelled") == 0) {
        fl_recover_cancelled(s, in, c->slot);
    } else if (strcmp(c->type, "quarantine") == 0 && n->remote) {
        fl_poison_far(s, in, c);
    } else if (strcmp(c->type, "dumped") == 0) {
        fl_dump_done(s, in);
    } else if (strcmp(c->type, "done") == 0) {
        in->done = true;
    } else if (strcmp(c->type, "fail") == 0) {
        char text[700];
        s->misfit = s->misfit || strcmp(c->name, fl_status_name(FL_E_CONFIG)) == 0;
        if (c->batch > 0)
            snprintf(text, sizeof text, "%s: %s (batch %llu)", c->name, c->text, (unsigned long long)(c->batch - 1));
        else
            snprintf(text, sizeof text, "%s: %s", c->name, c->text);
        fl_super_fail(s, n->name, in->index, text);
    }
}

static void run_read(struct fl_super *s, struct fl_inst *in, uint32_t most)
{
    while (most-- > 0) {
        unsigned char buf[FL_CONTROL_MAX];
        ssize_t n = recv(in->control, buf, sizeof buf, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n < 0 && errno == ECONNRESET)     /* it ended with something unread; what it said before is still to come */
            continue;
        if (n <= 0) {
            close(in->control);
            in->control = -1;
            return;
        }
        struct fl_control c;
        struct fl_err err = { 0 };
        if (fl_control_unpack(buf, (size_t)n, &c, &err) == FL_OK)
            run_hear(s, in, &c);
        else
            fl_super_log(s, s->g->stages[in->stage].name, in->index, FL_LOG_WARN, err.text);
    }
}

static void run_reap(struct fl_super *s, struct fl_inst *in)
{
    int status = 0;
    struct rusage used = { 0 };
    if (in->control >= 0)
        run_read(s, in, UINT32_MAX);                      /* its last words */
    while (wait4(in->pid, &status, 0, &used) < 0 && errno == EINTR)
        ;
    in->cpu += (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) + (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
    in->pid = 0;
    close(in->pidfd);
    in->pidfd = -1;
    if (in->control >= 0)
        close(in->control);
    in->control = -1;
    fl_super_flush(in);
    if (in->dumping)
        fl_dump_done(s, in);
    fl_recover_death(s, in, status);
}

/* ---- the loop ---- */

static void run_signal(struct fl_super *s, int fd)
{
    struct signalfd_siginfo si;
    if (read(fd, &si, sizeof si) != sizeof si)
        return;
    if (s->conf->agent != NULL) {
        fl_agent_lost(s);
        return;
    }
    if (s->conf->asked != NULL)
        *s->conf->asked = true;
    if (s->interrupted || !s->started) {
        s->interrupted = true;
        fl_super_kill_all(s);
        return;
    }
    s->t_interrupt = fl_now();
    if (s->finishing) {                                   /* all is committed: let the files be written; the second one kills */
        if (s->finish_signals++ > 0)
            s->interrupted = true, fl_super_kill_all(s);
        return;
    }
    s->interrupted = true;
    if (!s->conf->quiet)
        fprintf(stderr, "%s: draining %llu batches; once more to stop at once\n", strsignal((int)si.ssi_signo), (unsigned long long)s->in_flight);
    run_tell_all(s, "partial");
    fl_super_finish(s);
}

static uint32_t run_pollset(const struct fl_super *s, struct pollfd *p, int sigfd)
{
    uint32_t n = 0;
    p[n++] = (struct pollfd){ .fd = sigfd, .events = POLLIN };
    for (uint32_t i = 0; i < s->ninst; i++) {
        p[n++] = (struct pollfd){ .fd = s->inst[i].control, .events = s->inst[i].told != NULL ? POLLIN | POLLOUT : POLLIN };
        p[n++] = (struct pollfd){ .fd = s->inst[i].pidfd, .events = POLLIN };
    }
    p[n++] = (struct pollfd){ .fd = s->asker < 0 ? s->ask : -1, .events = POLLIN };
    p[n++] = (struct pollfd){ .fd = s->asker, .events = POLLIN };
    p[n++] = (struct pollfd){ .fd = s->metrics_fd, .events = POLLIN };
    return n;
}

static bool run_alive(const struct fl_super *s)
{
    for (uint32_t i = 0; i < s->ninst; i++)
        if (s->inst[i].pid > 0 || (s->inst[i].restart_at > 0 && !s->killed))
            return true;
    return false;
}

static int run_loop(struct fl_super *s, int sigfd, struct fl_err *err)
{
    struct pollfd *p = calloc(4 + FL_AGENT_FDS + 2 * (size_t)s->ninst, sizeof *p);
    double tick = fl_now();
    if (p == NULL)
        return fl_err_set(err, FL_E_NOMEM, "poll");
    while (run_alive(s)) {
        double due = fl_recover_tick(s), left = tick + TICK - fl_now();
        uint32_t n = run_pollset(s, p, sigfd), all = n + (s->conf->agent != NULL ? FL_AGENT_FDS : 0);      /* with those just started in it */
        if (all > n)
            fl_agent_poll(s->conf->agent, p + n);
        int ms = (int)((due < left ? due : left) * 1000);
        if (poll(p, all, ms < 0 ? 0 : ms + 1) < 0 && errno != EINTR)
            break;
        if (p[0].revents != 0)
            run_signal(s, sigfd);
        if (all > n)
            fl_agent_step(s);
        for (uint32_t i = 0; i < s->ninst; i++) {
            if (p[1 + 2 * i].revents & POLLOUT)
                fl_super_flush(&s->inst[i]);
            if (p[1 + 2 * i].revents & ~POLLOUT && s->inst[i].control >= 0)
                run_read(s, &s->inst[i], READ_MOST);
            if (p[2 + 2 * i].revents != 0 && s->inst[i].pidfd >= 0)
                run_reap(s, &s->inst[i]);
        }
        fl_dump_hear(s, p[n - 3].revents != 0, p[n - 2].revents != 0);
        if (p[n - 1].revents != 0)
            fl_metrics_serve(s);
        if (fl_now() >= tick + TICK) {
            tick = fl_now();
            fl_dump_watch(s);
            fl_watch(s);
            fl_table_tick(s, false);
            fl_metrics_serve(s);                          /* lets go of the idle */
        }
    }
    free(p);
    return FL_OK;
}

/* Under a debugger Ctrl-C is the debugger's; an agent that was called ignores both signals (fl_cmd_agent). */
static int run_signals(const struct fl_run_conf *conf)
{
    sigset_t set;
    const bool called = conf->agent != NULL && !fl_agent_by_hand(conf->agent);
    sigemptyset(&set);
    if (conf->attached != NULL)
        signal(SIGINT, SIG_IGN);
    else if (!called)
        sigaddset(&set, SIGINT);
    if (!called)
        sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* Before any descriptor is made: fl_fd_high needs the room. */
static void run_limits(void)
{
    struct rlimit rl;
    if (getrlimit(RLIMIT_NOFILE, &rl) == 0 && rl.rlim_cur < rl.rlim_max) {
        rl.rlim_cur = rl.rlim_max;
        setrlimit(RLIMIT_NOFILE, &rl);
    }
}

static int run_prepare(struct fl_super *s, struct fl_err *err)
{
    const struct fl_graph *g = s->g;
    s->first = calloc(g->nstages, sizeof *s->first);
    s->pool_rw = calloc(g->nstages, sizeof *s->pool_rw);
    s->pool_ro = calloc(g->nstages, sizeof *s->pool_ro);
    s->slots = calloc(g->window, sizeof *s->slots);
    s->redo = calloc(g->window, sizeof *s->redo);
    s->results = json_object();
    for (uint32_t i = 0; i < g->nstages; i++) {
        if (s->first == NULL || s->pool_rw == NULL || s->pool_ro == NULL)
            return fl_err_set(err, FL_E_NOMEM, "supervisor");
        s->first[i] = s->ninst;
        s->ninst += g->stages[i].instances;
        s->nsinks += g->stages[i].sink;
        s->pool_rw[i] = s->pool_ro[i] = -1;
    }
    s->inst = calloc(s->ninst, sizeof *s->inst);
    if (s->inst == NULL || s->slots == NULL || s->redo == NULL)
        return fl_err_set(err, FL_E_NOMEM, "supervisor");
    for (uint32_t i = 0; i < g->nstages; i++)
        for (uint32_t k = 0; k < g->stages[i].instances; k++)
            s->inst[s->first[i] + k] = (struct fl_inst){ .stage = i, .index = k, .pidfd = -1, .control = -1, .page_fd = -1 };
    for (uint32_t i = 0; i < g->window; i++)
        if ((s->slots[i].fence = calloc(s->ninst, sizeof(bool))) == NULL)
            return fl_err_set(err, FL_E_NOMEM, "supervisor");
    if (s->nsinks > 63)
        return fl_err_set(err, FL_E_CONFIG, "%u sinks, at most 63", s->nsinks);
    return FL_OK;
}

static int run_status(const struct fl_super *s)
{
    if (s->failed)
        return 1;
    if (s->interrupted)
        return 4;
    return s->rejected > 0 ? 3 : 0;
}

static void run_free(struct fl_super *s)
{
    if (s->inst != NULL)
        fl_spawn_free(s);
    fl_metrics_close(s);
    fl_rundir_close(s);
    free(s->inst);
    free(s->first);
    free(s->pool_rw);
    free(s->pool_ro);
    for (uint32_t i = 0; s->slots != NULL && i < s->g->window; i++)
        free(s->slots[i].fence);
    free(s->slots);
    free(s->redo);
    fl_poison_done(s);
    free(s->committed);
    json_decref(s->results);
    json_decref(s->versions);
}

int fl_run_graph(const struct fl_graph *g, const struct fl_run_conf *conf)
{
    struct fl_super s = { .g = g, .conf = conf, .open = conf->agent != NULL, .lock = -1, .sockets = -1, .ask = -1, .asker = -1, .metrics_fd = -1, .gens_fd = -1, .t0 = fl_now(), .looked = fl_now(), .oom_seen = fl_oom_kills() };
    struct fl_err err = { 0 };
    run_limits();
    int sigfd = run_signals(conf);
    int rc = fl_metrics_open(&s, &err);
    if (rc == FL_OK)
        rc = run_prepare(&s, &err);
    if (rc == FL_OK)
        rc = fl_spawn_room(&s, &err);
    if (rc == FL_OK)
        rc = fl_rundir_open(&s, &err);
    if (rc == FL_OK) {
        fl_poison_open(&s);
        rc = fl_spawn_pools(&s, &err);
    }
    if (rc == FL_OK && !conf->quiet)
        fprintf(stderr, "run: %s; window %u batches of %u tiles\n", s.dir, g->window, g->B);
    for (uint32_t i = 0; rc == FL_OK && i < s.ninst; i++)
        rc = fl_spawn(&s, i, &err);
    if (rc == FL_OK) {
        if (conf->agent == NULL)
            fl_versions_files(&s);
        rc = run_loop(&s, sigfd, &err);
    }
    int status = rc == FL_E_CONFIG ? 2 : 1;
    if (rc != FL_OK) {
        if (conf->agent != NULL)
            fl_agent_fail(conf->agent, "agent", 0, err.text);
        else
            fprintf(stderr, "flowrun: %s\n", err.text);
        fl_super_kill_all(&s);
        for (uint32_t i = 0; i < s.ninst && s.inst != NULL; i++)
            if (s.inst[i].pid > 0)
                waitpid(s.inst[i].pid, NULL, 0);
    } else {
        fl_table_tick(&s, true);
        status = s.refused ? 2 : conf->agent != NULL ? run_status(&s) : fl_report(&s, run_status(&s));      /* the report of what was done before stays */
    }
    run_free(&s);
    close(sigfd);
    return status;
}
