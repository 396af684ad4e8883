/* What no message tells: processes that stand still, graphs that do, drains that take too long. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "launch/super.h"

#define WATCH_STEP 0.5        /* seconds from one look to the next, as a rule */

/* A process that is stopped (state T) does not hang: it is not its own doing. */
static bool watch_stopped(pid_t pid)
{
    char path[64], line[512];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *f = fopen(path, "re");
    bool stopped = false;
    if (f != NULL && fgets(line, sizeof line, f) != NULL) {
        const char *p = strrchr(line, ')');
        stopped = p != NULL && (p[2] == 'T' || p[2] == 't');
    }
    if (f != NULL)
        fclose(f);
    return stopped;
}

/* Batches in flight while every stage waits for input: some stage keeps or loses what it is given. */
static void watch_quiet(struct fl_super *s, double now)
{
    bool quiet = s->started && !s->killed && s->in_flight > 0 && s->finished == s->quiet_finished;
    for (uint32_t i = 0; i < s->ninst && quiet; i++) {
        const struct fl_page *p = s->inst[i].page;
        quiet = s->inst[i].pid > 0 && s->inst[i].ready && atomic_load(&p->state) == FL_IDLE && atomic_load(&p->waiting) == 0 && !watch_stopped(s->inst[i].pid);
    }
    s->quiet_finished = s->finished;
    if (!quiet || s->quiet_since == 0) {
        s->quiet_since = quiet ? now : 0;
    } else if (now - s->quiet_since > s->g->stall_timeout) {
        char text[160];
        snprintf(text, sizeof text, "%llu batches are in flight, but every stage waits for input: one keeps or drops what it is given", (unsigned long long)s->in_flight);
        fl_super_fail(s, "flowrun", 0, text);
    }
}

/* Time counts only while somebody watches: who was stopped together with flowrun, or by a machine that stood still, had no time to move. */
static double watch_clock(struct fl_super *s)
{
    double now = fl_now(), step = now - s->looked;
    s->looked = now;
    return s->watched += step < WATCH_STEP ? step : WATCH_STEP;
}

void fl_watch(struct fl_super *s)
{
    double now = watch_clock(s);
    watch_quiet(s, now);
    if (s->interrupted && s->t_interrupt > 0 && fl_now() - s->t_interrupt > s->g->drain_timeout && !s->killed)
        fl_super_kill_all(s);
    for (uint32_t i = 0; i < s->ninst && !s->killed; i++) {
        struct fl_inst *in = &s->inst[i];
        uint64_t beat = atomic_load_explicit(&in->page->beat, memory_order_relaxed);
        double limit = in->ready ? s->g->stall_timeout : s->g->open_timeout;
        if (in->pid == 0 || beat != in->beat || watch_stopped(in->pid)) {
            in->beat = beat;
            in->beat_at = now;
        } else if (now - in->beat_at > limit && atomic_load(&in->page->state) != FL_ENDED) {
            in->hung = true;
            kill(in->pid, SIGKILL);
            in->beat_at = now;
        }
    }
}
