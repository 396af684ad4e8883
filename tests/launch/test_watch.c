/* What counts as a hang: time that nobody watched does not. */
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

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = {
        CASE(who_was_not_watched_does_not_hang),
        CASE(who_is_stopped_does_not_hang),
        { 0 },
    };
    return fl_run(cases, argc, argv);
}
