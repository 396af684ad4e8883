/* remote: one other host, seen from the graph as one more instance of a stage (docs/hosts.md).
 *
 * The entries that `place:` puts on a group of hosts become one entry of this stage, an instance for each host: batches go there, their
 * new tensors come back, what only passes through stays here. Credit is granted once the host's stages are ready, so that others do the
 * work until then; a host that is lost after that ends this process as a broken link would, and the supervisor issues again what it had. */
#include "stages/remote/remote.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define REMOTE_JOIN  60.0                        /* seconds from the call to the agent's word; that its stages get ready is its own matter */
#define REMOTE_AGAIN 1.0                         /* until a host that could not be had is called again, doubling to */
#define REMOTE_MOST  15.0
#define REMOTE_LEAVE 10.0                        /* for a host's last words */
#define REMOTE_TURNS 256                         /* of hearing and giving until the process has other things to do */
#define REMOTE_LINES 5.0                         /* lines a second that others may cause in our log, once */
#define REMOTE_BURST 200.0                       /* have been used up */
#define REMOTE_HUSH  5.0                         /* seconds until it is told how many were left out */

double remote_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- what others say ---- */

void remote_told(struct fl_ctx *ctx, bool warn, const char *fmt, ...)
{
    struct remote *s = ctx->state;
    double now = remote_now();
    char text[600];
    va_list ap;
    s->lines.room = s->lines.at == 0 || s->lines.room + (now - s->lines.at) * REMOTE_LINES > REMOTE_BURST ? REMOTE_BURST : s->lines.room + (now - s->lines.at) * REMOTE_LINES;
    s->lines.at = now;
    if (s->lines.room < 1) {
        s->lines.left++;
        return;
    }
    s->lines.room--;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (warn)
        fl_warn(ctx, "%s: %s", s->name, text);
    else
        fl_info(ctx, "%s: %s", s->name, text);
}

static void remote_left_out(struct fl_ctx *ctx, bool now)
{
    struct remote *s = ctx->state;
    if (s->lines.left == 0 || (!now && remote_now() < s->lines.hush))
        return;
    fl_warn(ctx, "%s: %llu lines more were left out", s->name, (unsigned long long)s->lines.left);
    s->lines.left = 0;
    s->lines.hush = remote_now() + REMOTE_HUSH;
}

static void remote_hang_up(struct remote *s)
{
    remote_stop(s);
    fl_door_close(s->door);
    s->door = NULL;
    s->state = REMOTE_DOWN;
    s->ready = false;
    for (int i = 0; i < FL_WIRE_ROLES; i++)
        s->peer[i] = -1;
}

/* Trouble with the host's set-up (fatal) ends the run where nothing of it ever worked; else it is one more host that isn't there now. */
int remote_trouble(struct fl_ctx *ctx, bool fatal, const char *fmt, ...)
{
    struct remote *s = ctx->state;
    char text[450];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    remote_printed(ctx);
    if (fatal && (s->state == REMOTE_UP || (s->backoff == 0 && ctx->incarnation == 0)))
        return fl_fail(ctx, FL_E_PEER, "host %s: %s", s->name, text);
    if (s->state == REMOTE_UP || s->state == REMOTE_ENDING)
        return fl_lost(ctx, "host %s: %s", s->name, text);
    remote_hang_up(s);
    s->backoff = s->backoff == 0 ? REMOTE_AGAIN : s->backoff * 2 > REMOTE_MOST ? REMOTE_MOST : s->backoff * 2;
    s->retry = remote_now() + s->backoff;
    if (strcmp(text, s->why) != 0)               /* a host that is off is told of once */
        fl_warn(ctx, "host %s: %s; it is called again until it answers", s->name, text);
    snprintf(s->why, sizeof s->why, "%s", text);
    return FL_OK;
}

/* ---- its life ---- */

static int remote_call(struct fl_ctx *ctx)
{
    struct remote *s = ctx->state;
    int rc = remote_start(ctx);
    s->called = s->heard = remote_now();
    s->state = REMOTE_CALLED;
    return rc;
}

static int remote_up(struct fl_ctx *ctx)
{
    struct remote *s = ctx->state;
    s->state = REMOTE_UP;
    s->heard = remote_now();
    s->why[0] = '\0';
    fl_info(ctx, "host %s is ready, %u batches at once", s->name, s->window);
    fl_grant(ctx, s->share);
    return FL_OK;
}

static int remote_watch(struct fl_ctx *ctx)
{
    struct remote *s = ctx->state;
    double now = remote_now();
    int status = 0;
    remote_printed(ctx);
    remote_left_out(ctx, false);
    if (s->state == REMOTE_DOWN)
        return now >= s->retry ? remote_call(ctx) : FL_OK;
    if (remote_ended(s, &status))
        return WIFEXITED(status) ? remote_trouble(ctx, WEXITSTATUS(status) == 126 || WEXITSTATUS(status) == 127, "its agent ended with status %d", WEXITSTATUS(status))
                                 : remote_trouble(ctx, false, "its launcher died of signal %d", WTERMSIG(status));
    if (s->peer[FL_WIRE_AGENT] >= 0 && now - s->heard > s->silence)
        return remote_trouble(ctx, false, "silent for %.1f s", now - s->heard);
    if (s->peer[FL_WIRE_AGENT] < 0 && s->join[0] == '\0' && now - s->called > REMOTE_JOIN)
        return remote_trouble(ctx, false, "no word from its agent in %.0f s", REMOTE_JOIN);
    if (s->peer[FL_WIRE_AGENT] >= 0 && now - s->said > s->silence / 6) {
        s->said = now;
        remote_say(s, FL_WIRE_AGENT, 'P', NULL, 0);
    }
    return FL_OK;
}

static int remote_step(struct fl_ctx *ctx)
{
    struct remote *s = ctx->state;
    bool any = true;
    int rc = FL_OK, turns = REMOTE_TURNS;
    while (rc == FL_OK && any && turns-- > 0) {
        any = false;
        rc = remote_hear(ctx, &any);
        if (rc == FL_OK && s->state == REMOTE_CALLED && s->ready && s->peer[FL_WIRE_INLET] >= 0 && s->peer[FL_WIRE_OUTLET] >= 0)
            rc = remote_up(ctx);
        if (rc == FL_OK && s->state == REMOTE_UP && s->nwaiting > 0 && s->nheld < s->window) {
            struct fl_batch *b = s->waiting[0];
            memmove(s->waiting, s->waiting + 1, --s->nwaiting * sizeof(struct fl_batch *));
            any = true;
            rc = remote_give(ctx, b);
        }
    }
    if (rc == FL_OK)
        rc = remote_watch(ctx);
    fl_lent(ctx, s->nheld + s->nwaiting);
    return rc;
}

/* ---- callbacks ---- */

static bool remote_host_ok(const json_t *host)
{
    size_t i;
    json_t *word, *argv = json_object_get(host, "argv");
    json_array_foreach(argv, i, word)
        if (!json_is_string(word))
            return false;
    return (json_array_size(argv) > 0 || json_is_true(json_object_get(host, "join"))) && json_is_string(json_object_get(host, "name")) && json_is_object(json_object_get(host, "part"));
}

static int remote_open(struct fl_ctx *ctx)
{
    struct remote *s = ctx->state;
    const json_t *host = json_array_get(s->hosts, ctx->instance);
    s->in = s->out = s->pidfd = -1;
    s->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (s->epoll < 0)
        return fl_fail(ctx, FL_E_IO, "epoll: %s", strerror(errno));
    if (!remote_host_ok(host))
        return fl_fail(ctx, FL_E_CONFIG, "option hosts: want {name, argv or join, part, share} for each instance");
    json_int_t share = json_integer_value(json_object_get(host, "share"));
    s->share = share >= 1 && share < ctx->window ? (uint32_t)share : ctx->window;
    s->name = json_string_value(json_object_get(host, "name"));
    if (json_is_true(json_object_get(host, "join")))
        snprintf(s->join, sizeof s->join, "%s/hosts/%s.%s.join", ctx->run_dir, ctx->name, s->name);
    s->buf = malloc(FL_WIRE_MAX);
    s->held = calloc(ctx->window, sizeof *s->held);
    s->waiting = calloc(ctx->window, sizeof(struct fl_batch *));
    s->ngiven = 4 * ctx->window;
    s->given = calloc(s->ngiven, sizeof *s->given);
    if (s->buf == NULL || s->held == NULL || s->waiting == NULL || s->given == NULL)
        return fl_fail(ctx, FL_E_NOMEM, "batches");
    fl_listen(ctx, s->epoll);
    return FL_OK;
}

static int remote_batch(struct fl_ctx *ctx, struct fl_batch *b)
{
    struct remote *s = ctx->state;
    s->waiting[s->nwaiting++] = b;               /* fewer than the window are there, and no more are granted */
    return remote_step(ctx);
}

/* Everything has come back: the graph's end is told when all is acknowledged. */
static int remote_drain(struct fl_ctx *ctx)
{
    struct remote *s = ctx->state;
    double until = remote_now() + REMOTE_LEAVE;
    int status = 0, rc = FL_OK;
    bool any;
    if (s->state != REMOTE_UP) {
        remote_hang_up(s);
        return FL_OK;
    }
    s->state = REMOTE_ENDING;
    remote_say(s, FL_WIRE_AGENT, 'E', NULL, 0);
    while (rc == FL_OK && (s->pid > 0 || (s->join[0] != '\0' && s->peer[FL_WIRE_AGENT] >= 0)) && remote_now() < until) {
        struct epoll_event e;
        epoll_wait(s->epoll, &e, 1, 100);
        fl_alive(ctx);
        rc = remote_hear(ctx, &any);
        remote_printed(ctx);
        if (remote_ended(s, &status) && status != 0)
            fl_warn(ctx, "host %s: its agent did not end well", s->name);
    }
    if (s->pid > 0)
        fl_warn(ctx, "host %s: its agent does not end", s->name);
    return rc;
}

static void remote_close(struct fl_ctx *ctx)
{
    struct remote *s = ctx->state;
    if (s->epoll <= 0)
        return;
    remote_left_out(ctx, true);
    remote_hang_up(s);
    close(s->epoll);
    free(s->buf);
    free(s->held);
    free(s->given);
    free(s->waiting);
}

static const struct fl_opt remote_opts[] = {
    { .name = "hosts", .type = FL_OPT_JSON, .off = offsetof(struct remote, hosts), .required = 1, .help = "For each instance {name, argv: the launcher's command, or join: true for a host that is waited for, part: of the graph, share: batches that each writer may send at once}." },
    { .name = "listen", .type = FL_OPT_STR, .off = offsetof(struct remote, listen), .def = "tcp://127.0.0.1:*", .help = "Where the agent finds this host." },
    { .name = "send", .type = FL_OPT_LIST, .off = offsetof(struct remote, send), .help = "Tensors that go there, where a batch has them." },
    { .name = "give", .type = FL_OPT_LIST, .off = offsetof(struct remote, give), .help = "Tensors that are made there." },
    { .name = "pass", .type = FL_OPT_LIST, .off = offsetof(struct remote, pass), .help = "Tensors that go on as they came." },
    { .name = "silence", .type = FL_OPT_FLOAT, .off = offsetof(struct remote, silence), .def = "3", .min = 0.1, .max = 3600,
      .help = "Seconds without a sign of the host until it counts as gone." },
    { .name = "insecure", .type = FL_OPT_BOOL, .off = offsetof(struct remote, insecure), .def = "false", .help = "No encryption." },
    { .name = "mixed", .type = FL_OPT_BOOL, .off = offsetof(struct remote, mixed), .def = "false", .help = "Hosts with another processor may join." },
    { .name = "build", .type = FL_OPT_STR, .off = offsetof(struct remote, build), .help = "What flowrun there must be built as." },
    { .name = "processor", .type = FL_OPT_STR, .off = offsetof(struct remote, processor), .help = "The one that hosts must have unless mixed." },
    { 0 }
};

static const struct fl_spec remote_in[] = { { "*", "u8", "", FL_OPTIONAL }, { 0 } };
static const struct fl_port remote_ports[] = { { "in", FL_IN, remote_in }, { "out", FL_OUT, (const struct fl_spec[]){ { 0 } } }, { 0 } };
static const char *const remote_counters[] = { "sent", "bytes_out", "bytes_in", "starts", "refused", NULL };

extern const struct fl_stage fl_stage_remote;
const struct fl_stage fl_stage_remote = {
    .name = "remote",
    .help = "Hands batches to another host and takes them back: what place: makes of the entries of a group of hosts.",
    .state_size = sizeof(struct remote),
    .opts = remote_opts,
    .ports = remote_ports,
    .counters = remote_counters,
    .open = remote_open,
    .batch = remote_batch,
    .idle = remote_step,
    .drain = remote_drain,
    .close = remote_close,
};
