/* What counts as a hang: time that nobody watched does not. When a stage that died is started again. */
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "launch/super.h"
#include "tests/lib/check.h"

static void nap(double seconds)
{
    struct timespec t = { .tv_sec = (time_t)seconds, .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9) };
    nanosleep(&t, NULL);
}

/* A supervisor of one stage that is ready and never moves. */
struct scene { struct fl_page page; struct fl_stage_node node; struct fl_graph g; struct fl_run_conf conf; struct fl_inst in; struct fl_super s; };

static void stage(struct scene *c)
{
    memset(c, 0, sizeof *c);
    c->g = (struct fl_graph){ .stages = &c->node, .nstages = 1, .stall_timeout = 1, .open_timeout = 1, .drain_timeout = 1 };
    c->in = (struct fl_inst){ .page = &c->page, .ready = true, .pid = fork() };
    if (c->in.pid == 0)
        for (;;)
            pause();
    c->s = (struct fl_super){ .g = &c->g, .conf = &c->conf, .inst = &c->in, .ninst = 1, .started = true, .looked = fl_now() };
    atomic_store(&c->page.state, FL_BUSY);
}

static bool dead(const struct scene *c)
{
    return waitpid(c->in.pid, NULL, WNOHANG) == c->in.pid;
}

FL_TEST(who_was_not_watched_does_not_hang)
{
    struct scene c;
    stage(&c);
    fl_watch(&c.s);
    nap(1.5);                                  /* flowrun was stopped, and all with it */
    fl_watch(&c.s);
    CHECK(!c.in.hung && !dead(&c));
    int looks = 0;
    while (!c.in.hung && looks++ < 100) {
        nap(0.1);
        fl_watch(&c.s);
    }
    CHECK(c.in.hung);
    CHECK_INT(waitpid(c.in.pid, NULL, 0), c.in.pid);
}

FL_TEST(who_is_stopped_does_not_hang)
{
    struct scene c;
    stage(&c);
    kill(c.in.pid, SIGSTOP);
    waitpid(c.in.pid, NULL, WUNTRACED);
    for (int i = 0; i < 16; i++) {
        fl_watch(&c.s);
        nap(0.1);
    }
    CHECK(!c.in.hung && !dead(&c));
    kill(c.in.pid, SIGKILL);
    CHECK_INT(waitpid(c.in.pid, NULL, 0), c.in.pid);
}

static void waits(struct fl_inst *in, bool tested, double want)
{
    in->backoff = fl_recover_backoff(in, tested);
    CHECK_NEAR(in->backoff, want, 1e-12);
}

FL_TEST(the_wait_before_a_start_doubles_until_a_batch_is_finished)
{
    static const double want[] = { 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5, 5, 5 };
    struct fl_page page;
    memset(&page, 0, sizeof page);
    struct fl_inst in = { .page = &page };
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++)
        waits(&in, false, want[i]);
    atomic_store(&page.batches, 1);
    waits(&in, false, 0.01);
    atomic_store(&page.batches, 0);                    /* the next incarnation's */
    waits(&in, false, 0.02);
    waits(&in, false, 0.04);
    waits(&in, true, 0.01);                            /* its death was the answer to a test */
    waits(&in, false, 0.02);
}

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = {
        CASE(who_was_not_watched_does_not_hang),
        CASE(who_is_stopped_does_not_hang),
        CASE(the_wait_before_a_start_doubles_until_a_batch_is_finished),
        { 0 },
    };
    return fl_run(cases, argc, argv);
}
