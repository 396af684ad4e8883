/* flowrun agent. */
#include "launch/agent.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "launch/cmd.h"
#include "launch/describe.h"
#include "launch/folder.h"
#include "launch/hosts.h"
#include "launch/mem.h"
#include "launch/super.h"
#include "launch/versions.h"
#include "runtime/dial.h"
#include "runtime/parcel.h"

#define AGENT_LETTER  16384              /* bytes of what comes on standard input */
#define AGENT_WELCOME 30.0               /* seconds for the other host's answer */

struct fl_agent {
    struct fl_dial *dial;
    int     channel;                     /* of the launcher; -1 = started by hand, with a letter in a file */
    json_t *letter;                      /* what came on standard input */
    double  silence, heard, said;
    unsigned char buf[FL_WIRE_MAX];
    size_t  len;
};

/* ---- saying ---- */

static void agent_say(struct fl_agent *a, char kind, json_t *j)
{
    unsigned char head[FL_WIRE_PREFIX];
    char *text = j != NULL ? json_dumps(j, JSON_COMPACT) : NULL;
    fl_wire_head(head, kind, 0);
    if (j == NULL || text != NULL)
        fl_dial_say(a->dial, head, sizeof head, text, text != NULL ? strlen(text) : 0, NULL);      /* an end is noticed when hearing */
    free(text);
    json_decref(j);
}

void fl_agent_log(struct fl_agent *a, const char *stage, uint32_t instance, int level, const char *text)
{
    char line[900];
    snprintf(line, sizeof line, "%.31s.%u: %.600s", stage, instance, text);
    json_t *j = json_object();
    json_object_set_new(j, "log", fl_need_str(line));
    json_object_set_new(j, "level", json_integer(level));
    agent_say(a, 'J', j);
}

void fl_agent_fail(struct fl_agent *a, const char *stage, uint32_t instance, const char *text)
{
    char line[900];
    snprintf(line, sizeof line, "%.31s.%u: %.600s", stage, instance, text);
    json_t *j = json_object();
    json_object_set_new(j, "fail", fl_need_str(line));
    agent_say(a, 'J', j);
}

void fl_agent_killed(struct fl_agent *a, const struct fl_killer *k, const void *header, uint32_t len)
{
    json_t *j = json_pack("{s:I, s:i, s:o, s:o, s:i, s:o, s:b}", "killed", (json_int_t)k->batch, "row", (int)k->row, "id", fl_need_str(k->id), "stage", fl_need_str(k->stage),
                          "instance", (int)k->instance, "cause", fl_need_str(k->cause), "alone", (int)k->alone);
    char hex[2 * FL_FRAME_MAX + 1];
    for (uint32_t i = 0; header != NULL && i < len && i < FL_FRAME_MAX; i++)
        snprintf(hex + 2 * (size_t)i, 3, "%02x", ((const unsigned char *)header)[i]);
    if (j != NULL && header != NULL && len > 0)
        json_object_set_new(j, "header", json_string(hex));
    agent_say(a, 'J', j);
}

void fl_agent_ready(struct fl_super *s)
{
    agent_say(s->conf->agent, 'J', json_pack("{s:i}", "ready", (int)s->g->window));
}

/* ---- hearing ---- */

void fl_agent_poll(const struct fl_agent *a, struct pollfd p[FL_AGENT_FDS])
{
    p[0] = (struct pollfd){ .fd = fl_dial_fd(a->dial), .events = POLLIN };
    p[1] = (struct pollfd){ .fd = a->channel, .events = POLLIN };
}

bool fl_agent_by_hand(const struct fl_agent *a)
{
    return a->channel < 0;
}

void fl_agent_lost(struct fl_super *s)
{
    s->failed = true;
    s->open = false;
    fl_super_kill_all(s);
}

/* The launcher's channel: nothing more comes by it but its end. */
static bool agent_orphan(const struct fl_agent *a)
{
    char c;
    struct pollfd p = { .fd = a->channel, .events = POLLIN };
    return poll(&p, 1, 0) > 0 && read(a->channel, &c, 1) <= 0;
}

void fl_agent_step(struct fl_super *s)
{
    struct fl_agent *a = s->conf->agent;
    double now = fl_now();
    int rc;
    while (!s->killed && (rc = fl_dial_next(a->dial, a->buf, &a->len, NULL)) != FL_END) {
        if (rc != FL_OK) {
            fl_agent_lost(s);
            return;
        }
        a->heard = now;
        if (fl_wire_is(a->buf, a->len) && a->buf[0] == 'E') {
            s->open = false;
            fl_super_finish(s);
        }
    }
    if (!s->killed && (now - a->heard > a->silence || agent_orphan(a)))
        fl_agent_lost(s);
    if (now - a->said > a->silence / 6) {
        a->said = now;
        agent_say(a, 'P', NULL);
    }
}

/* ---- joining ---- */

static int agent_letter(struct fl_agent *a, const char *path, struct fl_err *err)
{
    char text[AGENT_LETTER];
    size_t n = 0;
    int fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : STDIN_FILENO;
    if (fd < 0)
        return fl_err_set(err, FL_E_CONFIG, "%s: %s", path, strerror(errno));
    while (n < sizeof text - 1 && (n == 0 || text[n - 1] != '\n')) {
        ssize_t got = read(fd, text + n, 1);       /* no byte too many: what comes later is watched by poll */
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        n++;
    }
    if (path != NULL)
        close(fd);
    a->channel = path != NULL ? -1 : fd;
    a->letter = json_loadb(text, n, JSON_REJECT_DUPLICATES, NULL);
    a->silence = json_number_value(json_object_get(a->letter, "silence"));
    memset(text, 0, sizeof text);
    if (json_integer_value(json_object_get(a->letter, "flowrun_agent")) != FL_WIRE_VERSION || !(a->silence > 0))
        return fl_err_set(err, FL_E_CONFIG, "%s: want a line of JSON, as flowrun's launchers give it", path != NULL ? path : "standard input");
    return FL_OK;
}

static const char *agent_text(const struct fl_agent *a, const char *key)
{
    return json_string_value(json_object_get(a->letter, key));
}

static int agent_hello(struct fl_agent *a, struct fl_err *err)
{
    const char *address = agent_text(a, "address"), *pass = agent_text(a, "pass");
    const struct fl_dial_conf conf = { .address = address, .server_key = agent_text(a, "server_key"), .public_key = agent_text(a, "public_key"),
                                       .secret_key = agent_text(a, "secret_key"), .most = FL_WIRE_MAX, .silence = (uint32_t)(a->silence * 1000) };
    unsigned char head[FL_WIRE_PREFIX];
    char id[130], *processor = fl_versions_processor(), *text = NULL;
    if (address == NULL || pass == NULL || strlen(pass) != FL_WIRE_PASS || (conf.server_key != NULL && (conf.public_key == NULL || conf.secret_key == NULL)))
        return fl_err_set(err, FL_E_CONFIG, "the letter lacks address, pass or keys");
    fl_versions_id("/proc/self/exe", id);
    json_t *j = json_pack("{s:i, s:s, s:s, s:s}", "protocol", FL_WIRE_VERSION, "version", FL_VERSION, "build", id, "processor", processor);
    char *said = j != NULL ? json_dumps(j, JSON_COMPACT) : NULL;
    text = fl_need_text("%s%s", pass, said != NULL ? said : "{}");
    fl_wire_head(head, 'H', FL_WIRE_AGENT);
    int rc = fl_dial_open(&conf, &a->dial, err);
    if (rc == FL_OK)
        rc = fl_dial_say(a->dial, head, sizeof head, text, strlen(text), err);
    json_decref(j);
    free(said);
    free(text);
    free(processor);
    return rc;
}

/* The part of the graph that is ours, or a refusal. */
static json_t *agent_welcome(struct fl_agent *a, struct fl_err *err)
{
    double until = fl_now() + AGENT_WELCOME;
    while (fl_now() < until) {
        struct pollfd p[FL_AGENT_FDS];
        int rc = fl_dial_next(a->dial, a->buf, &a->len, err);
        a->heard = fl_now();
        if (rc == FL_OK && fl_wire_is(a->buf, a->len) && a->buf[0] == 'W')
            return json_loadb((char *)a->buf + FL_WIRE_PREFIX, a->len - FL_WIRE_PREFIX, JSON_REJECT_DUPLICATES, NULL);
        if (rc == FL_OK && fl_wire_is(a->buf, a->len) && a->buf[0] == 'X') {
            fl_err_set(err, FL_E_CONFIG, "refused: %.*s", (int)(a->len - FL_WIRE_PREFIX), (char *)a->buf + FL_WIRE_PREFIX);
            return NULL;
        }
        if (rc != FL_OK && rc != FL_END)
            return NULL;
        if (rc == FL_END) {
            fl_agent_poll(a, p);
            poll(p, FL_AGENT_FDS, 100);
            if (p[1].revents != 0 && agent_orphan(a)) {
                fl_err_set(err, FL_E_PEER, "the other host has gone");
                return NULL;
            }
        }
    }
    fl_err_set(err, FL_E_PEER, "%s does not answer", agent_text(a, "address"));
    return NULL;
}

static json_t *agent_line(const struct fl_agent *a)
{
    static const char *const keys[] = { "address", "server_key", "public_key", "secret_key", "pass", "silence" };
    json_t *line = fl_need_json(json_object());
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (json_object_get(a->letter, keys[i]) != NULL)
            json_object_set(line, keys[i], json_object_get(a->letter, keys[i]));
    return line;
}

/* ---- the run ---- */

/* While stages are asked, which may take a device some seconds: the other host must not take us for gone, and if it is gone nobody wants the answer. */
static bool agent_lives(void *of)
{
    struct fl_agent *a = of;
    double now = fl_now();
    if (now - a->said > a->silence / 6) {
        a->said = now;
        agent_say(a, 'P', NULL);
    }
    return !agent_orphan(a);
}

/* What one stage has come to, under these options and (offers) on this host. */
static int agent_settled(struct fl_stage_node *n, const struct fl_ask ask[2], json_t *all, struct fl_err *err)
{
    const json_t *error = json_object_get(ask[0].answer, "error");
    json_t *settled = json_object_get(ask[0].answer, "settled"), *offers = json_object_get(ask[1].answer, "offers"), *v;
    const char *key;
    if (ask[0].answer == NULL || json_is_object(error))
        return fl_err_set(err, FL_E_CONFIG, "%s: %.300s", n->name, ask[0].answer == NULL ? ask[0].error : json_string_value(json_object_get(error, "text")));
    if (json_is_object(settled))
        fl_need_put(all, n->name, fl_need_json(json_pack("{s:O, s:O*}", "settled", settled, "offers", offers)));
    json_object_foreach(settled, key, v)
        fl_need_put(n->options, key, fl_need_json(json_deep_copy(v)));
    return FL_OK;
}

/* Options that leave a choice to the machine ("auto") come to what this host has: said to the other host, which knows what the others have come to. */
static int agent_settle(struct fl_agent *a, const json_t *part, struct fl_graph *g, struct fl_err *err)
{
    json_t *all = fl_need_json(json_object());
    char *labels = json_dumps(json_object_get(part, "labels"), JSON_COMPACT);
    struct fl_ask *asks = fl_need(2 * (size_t)g->nstages, sizeof *asks);
    uint32_t *of = fl_need(g->nstages, sizeof *of), n = 0;
    int rc = FL_OK;
    for (uint32_t i = 1; i + 1 < g->nstages; i++) {
        const struct fl_stage_node *s = &g->stages[i];
        if (!json_is_true(json_object_get(json_array_get(json_object_get(part, "stages"), i - 1), "settle")))
            continue;
        asks[2 * n] = (struct fl_ask){ .exe = s->exe, .options = json_dumps(s->options, JSON_COMPACT | JSON_SORT_KEYS), .labels = fl_need_copy(labels != NULL ? labels : "{}") };
        asks[2 * n + 1] = (struct fl_ask){ .exe = s->exe };
        of[n++] = i;
    }
    fl_ask_while(asks, 2 * n, FL_DESCRIBE_SECONDS, agent_lives, a);
    for (uint32_t k = 0; k < n; k++) {
        if (rc == FL_OK)
            rc = agent_settled(&g->stages[of[k]], &asks[2 * k], all, err);
        fl_ask_done(&asks[2 * k]);
        fl_ask_done(&asks[2 * k + 1]);
    }
    if (rc == FL_OK)
        agent_say(a, 'J', fl_need_json(json_pack("{s:O}", "has", all)));
    json_decref(all);
    free(asks);
    free(of);
    free(labels);
    return rc;
}

static int agent_run(struct fl_agent *a, const json_t *part, struct fl_err *err)
{
    const char *dir = json_string_value(json_object_get(part, "dir"));
    json_t *line = agent_line(a);
    struct fl_graph *g = dir == NULL || chdir(dir) != 0 ? NULL : fl_part_graph(part, line, err);
    struct fl_folder own = { 0 };
    int status = 1;
    json_decref(line);
    if (g == NULL) {
        if (err->code == FL_OK)
            fl_err_set(err, FL_E_CONFIG, "no folder %.200s here", dir != NULL ? dir : "?");
        return 1;
    }
    if (agent_settle(a, part, g, err) == FL_OK && fl_folder_make("agent", &own, err) == FL_OK)
        status = fl_run_graph(g, &(struct fl_run_conf){ .run_dir = own.path, .quiet = true, .agent = a });
    fl_folder_done(&own);
    fl_graph_free(g);
    return status;
}

int fl_cmd_agent(const struct fl_args *args)
{
    struct fl_agent *a = fl_need(1, sizeof *a);
    struct fl_err err = { 0 };
    json_t *part = NULL;
    int status = 1;
    const char *path = args->nfiles > 0 ? args->files[0] : NULL;
    /* Ctrl-C goes to everybody at a terminal, a cluster's SIGTERM to everybody in a job: the run drains, and we with it. By hand such a signal is meant for us. */
    if (path == NULL) {
        signal(SIGINT, SIG_IGN);
        signal(SIGTERM, SIG_IGN);
    }
    if (agent_letter(a, path, &err) == FL_OK && agent_hello(a, &err) == FL_OK && (part = agent_welcome(a, &err)) != NULL)
        status = agent_run(a, part, &err);
    if (err.code != FL_OK && part != NULL)
        fl_agent_fail(a, "agent", 0, err.text);
    else if (err.code != FL_OK)
        fprintf(stderr, "flowrun agent: %s\n", err.text);
    fl_dial_close(a->dial);
    json_decref(part);
    json_decref(a->letter);
    free(a);
    return status;
}
