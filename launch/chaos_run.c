/* One run of flowrun chaos: flowrun itself as a child, quiet or under fire, and whatever it leaves behind. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launch/chaos.h"
#include "launch/mem.h"
#include "launch/super.h"
#include "runtime/rng.h"

#define ORPHANS_END 2.0                /* seconds in which stages end after their supervisor */
#define HITS_A_STEP 5                  /* hits without a batch committed; then none until one is. Below what the supervisor takes for a stage that can't start */

enum { VIEW_HIT, VIEW_MORE, VIEW_SUPERVISOR };

struct fire {
    const char *name;                  /* below the folder of all runs */
    char    *journal;
    double   next;                     /* hit; fl_now() */
    uint64_t bytes;                    /* of the journal when last looked at */
    uint64_t hits;                     /* since it grew */
    double   grew;                     /* when */
    bool     progress;                 /* it has grown since this supervisor was started */
};

void fl_chaos_draw(const struct fl_chaos *c, uint32_t view, uint64_t action, uint32_t r[4])
{
    static const char name[] = "chaos";
    fl_rng_block(c->seed, fl_rng_tile(name, sizeof name - 1), (uint32_t)(action / FL_RNG_BLOCKS), view, 0, (uint32_t)(action % FL_RNG_BLOCKS), r);
}

/* ---- the child ---- */

static void run_exec(const char **argv, pid_t parent)
{
    sigset_t none;
    sigemptyset(&none);
    prctl(PR_SET_PDEATHSIG, SIGKILL);        /* nothing outlives us: stages end with their supervisor */
    if (getppid() != parent)
        _exit(127);
    setpgid(0, 0);                           /* Ctrl-C is ours */
    sigprocmask(SIG_SETMASK, &none, NULL);
    execv("/proc/self/exe", (char *const *)argv);
    fprintf(stderr, "flowrun: %s: %s\n", argv[0], strerror(errno));
    _exit(127);
}

/* flowrun FILE ... --run DIR/NAME/run, or --resume of it where it has begun already. */
static bool run_start(struct fl_chaos *c, const char *name)
{
    uint32_t nsets, n = 0;
    char **sets = fl_chaos_sets(c, name, &nsets);
    const char **argv = fl_need(2 * (size_t)nsets + 6, sizeof *argv);
    char *run = fl_need_text("%s/%s/run", c->dir, name), *begun = fl_need_text("%s/config.json", run);
    bool resume = access(begun, F_OK) == 0;
    argv[n++] = "flowrun";
    argv[n++] = "-q";
    argv[n++] = resume ? "--resume" : "--run";
    argv[n++] = run;
    if (!resume)
        argv[n++] = c->args->files[0];
    for (uint32_t i = 0; i < nsets && !resume; i++) {
        argv[n++] = "--set";
        argv[n++] = sets[i];
    }
    fflush(stdout);
    pid_t parent = getpid();
    c->supervisor = fork();
    if (c->supervisor == 0)
        run_exec(argv, parent);
    c->supervisor_fd = c->supervisor > 0 ? (int)syscall(SYS_pidfd_open, c->supervisor, 0) : -1;
    if (c->supervisor_fd < 0)
        fprintf(stderr, "flowrun chaos: can't start flowrun: %s\n", strerror(errno));
    for (uint32_t i = 0; i < nsets; i++)
        free(sets[i]);
    free(sets);
    free(argv);
    free(run);
    free(begun);
    return c->supervisor_fd >= 0;
}

/* Its exit status; 128 + the signal it died of. */
static int run_reap(struct fl_chaos *c)
{
    int status = 0;
    while (waitpid(c->supervisor, &status, 0) < 0 && errno == EINTR)
        ;
    close(c->supervisor_fd);
    c->supervisor = 0;
    c->supervisor_fd = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Orphans come to us (PR_SET_CHILD_SUBREAPER). How many were there after `seconds`; these are killed. */
static uint32_t run_orphans(double seconds)
{
    double end = fl_now() + seconds;
    uint32_t late = 0;
    for (;;) {
        siginfo_t si = { 0 };
        pid_t got = waitpid(-1, NULL, WNOHANG);
        if (got < 0 && errno == ECHILD)
            return late;
        if (got != 0)
            continue;
        if (fl_now() < end) {
            usleep(2000);
            continue;
        }
        char list[4096] = "", path[64];
        snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
        FILE *f = fopen(path, "re");
        char *p = f != NULL && fgets(list, sizeof list, f) != NULL ? list : NULL;
        for (char *e; p != NULL; p = e) {
            pid_t pid = (pid_t)strtol(p, &e, 10);
            if (e == p)
                break;
            kill(pid, SIGKILL);
            late++;
        }
        if (f != NULL)
            fclose(f);
        waitid(P_ALL, 0, &si, WEXITED);
        end = fl_now() + 1;
    }
}

static void run_stop_all(struct fl_chaos *c)
{
    if (c->supervisor > 0) {
        kill(c->supervisor, SIGKILL);
        run_reap(c);
    }
    fl_chaos_go_on(c, true);
    run_orphans(ORPHANS_END);
}

/* After an end of flowrun, whichever: nothing of it may be alive. */
static bool run_left_nothing(double seconds)
{
    uint32_t late = run_orphans(seconds);
    if (late > 0)
        fprintf(stderr, "flowrun chaos: %u processes outlived their supervisor by %g s\n", late, seconds);
    return late == 0;
}

static bool run_heard(struct fl_chaos *c)
{
    struct signalfd_siginfo si;
    if (read(c->signals, &si, sizeof si) != sizeof si)
        return false;
    c->interrupted = true;
    run_stop_all(c);
    return true;
}

int fl_chaos_quiet(struct fl_chaos *c, const char *name)
{
    if (!run_start(c, name))
        return -1;
    struct pollfd p[2] = { { .fd = c->supervisor_fd, .events = POLLIN }, { .fd = c->signals, .events = POLLIN } };
    while (p[0].revents == 0) {
        if (poll(p, 2, -1) < 0 && errno != EINTR)
            return -1;
        if (p[1].revents != 0 && run_heard(c))
            return -1;
    }
    int status = run_reap(c);
    return run_left_nothing(0) ? status : -1;
}

/* ---- under fire ---- */

/* Share of what is wanted that is done. */
static double fire_share(const struct fl_chaos *c)
{
    double by_kills = c->kills > 0 ? (double)c->done[FL_CHAOS_KILL] / (double)c->kills : 0;
    double by_time = c->seconds > 0 ? (fl_now() - c->t0) / c->seconds : 0;
    return by_kills > by_time ? by_kills : by_time;
}

bool fl_chaos_enough(const struct fl_chaos *c)
{
    return fire_share(c) >= 1 && c->done[FL_CHAOS_SUPERVISOR] >= c->supervisor_kills;
}

/* Kills of the supervisor are spread over the whole: the i-th somewhere in the i-th part. */
static bool fire_at_supervisor(const struct fl_chaos *c, const struct fire *f)
{
    uint64_t i = c->done[FL_CHAOS_SUPERVISOR];
    uint32_t r[4];
    fl_chaos_draw(c, VIEW_SUPERVISOR, i, r);
    return i < c->supervisor_kills && f->progress && fire_share(c) >= ((double)i + fl_rng_unit(r[0])) / (double)c->supervisor_kills;
}

static void fire_aim(struct fl_chaos *c, struct fire *f)
{
    uint32_t r[4];
    fl_chaos_draw(c, VIEW_HIT, c->draws, r);
    f->next = fl_now() + fl_rng_uniform(r[0], 0, 2 * c->every);
}

static bool fire_kill_supervisor(struct fl_chaos *c, struct fire *f)
{
    kill(c->supervisor, SIGKILL);
    run_reap(c);
    c->done[FL_CHAOS_SUPERVISOR]++;
    fl_chaos_said(c, "flowrun", 0, "killed, to be resumed");
    if (!run_left_nothing(ORPHANS_END))
        return false;
    fl_chaos_go_on(c, true);
    f->progress = false;
    f->grew = fl_now();
    f->hits = 0;
    return run_start(c, f->name);
}

/* Says whether the run got on; false when it has stood still for too long. */
static bool fire_watch(struct fl_chaos *c, struct fire *f)
{
    uint64_t bytes = fl_chaos_bytes(f->journal);
    if (bytes != f->bytes) {
        f->progress = f->progress || f->bytes > 0;       /* the header alone is no batch */
        f->bytes = bytes;
        f->hits = 0;
        f->grew = fl_now();
    }
    if (fl_now() - f->grew < c->patience)
        return true;
    fprintf(stderr, "flowrun chaos: the run stands still: nothing was committed for %.0f s\n", c->patience);
    run_stop_all(c);
    return false;
}

static bool fire_act(struct fl_chaos *c, struct fire *f)
{
    uint32_t r[4], s[4];
    bool ok = true;
    if (fire_at_supervisor(c, f)) {
        ok = fire_kill_supervisor(c, f);
    } else if (fire_share(c) < 1 && f->hits < HITS_A_STEP) {
        fl_chaos_draw(c, VIEW_HIT, c->draws, r);
        fl_chaos_draw(c, VIEW_MORE, c->draws, s);
        c->draws++;
        f->hits++;
        fl_chaos_hit(c, r, s);
    }
    fire_aim(c, f);
    return ok;
}

static int fire_loop(struct fl_chaos *c, struct fire *f)
{
    for (;;) {
        double going = fl_chaos_go_on(c, false), left = f->next - fl_now();
        struct pollfd p[2] = { { .fd = c->supervisor_fd, .events = POLLIN }, { .fd = c->signals, .events = POLLIN } };
        left = going < left ? going : left;
        if (poll(p, 2, left > 0 ? (int)(left * 1000) + 1 : 0) < 0 && errno != EINTR)
            return -1;
        if (p[1].revents != 0 && run_heard(c))
            return -1;
        if (p[0].revents != 0) {
            int status = run_reap(c);
            fl_chaos_go_on(c, true);
            return run_left_nothing(0) ? status : -1;
        }
        if (fl_now() >= f->next && (!fire_watch(c, f) || !fire_act(c, f)))
            return -1;
    }
}

int fl_chaos_fire(struct fl_chaos *c, const char *name)
{
    struct fire f = { .name = name, .journal = fl_need_text("%s/%s/run/journal", c->dir, name), .grew = fl_now() };
    fire_aim(c, &f);
    int status = run_start(c, name) ? fire_loop(c, &f) : -1;
    free(f.journal);
    return status;
}
