/* What is seen over HTTP while a graph runs: /metrics for Prometheus, /status.json, and a page that shows the latter. The numbers are
 * those of the report. Served by libmicrohttpd from the supervisor's own loop, so that nothing is read while it changes. */
#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "launch/mem.h"
#include "launch/metrics_page.h"
#include "launch/super.h"

#define CONNECTIONS 16u           /* at once; the next ones are closed */
#define IDLE_SECONDS 10u          /* a peer that asks nothing for so long is let go */
#define REQUEST_BYTES 16384u      /* of one connection: request, headers */

/* ---- Prometheus' text format, version 0.0.4 ---- */

static void text_label(FILE *f, const char *value)
{
    for (const char *p = value; *p != '\0'; p++) {
        if (*p == '\n')
            fputs("\\n", f);
        else
            fprintf(f, *p == '"' || *p == '\\' ? "\\%c" : "%c", *p);
    }
}

static void text_head(FILE *f, const char *name, const char *type, const char *help)
{
    fprintf(f, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

struct of_run { const char *name, *key, *type, *help; };

static const struct of_run run_metrics[] = {
    { "flowrun_tiles", "tiles", "gauge", "Tiles of the whole run." },
    { "flowrun_tiles_done_total", "done", "counter", "Tiles committed by every sink." },
    { "flowrun_tiles_predicted_total", "predicted", "counter", "Tiles with a result." },
    { "flowrun_tiles_rejected_total", "rejected", "counter", "Tiles without one, each with its reason in rejects.csv." },
    { "flowrun_tiles_quarantined_total", "quarantined", "counter", "Tiles put aside because they kill a stage." },
    { "flowrun_batches", "batches", "gauge", "Batches of the whole run." },
    { "flowrun_batches_in_flight", "in_flight", "gauge", "Batches issued and not yet committed by every sink." },
    { "flowrun_batches_reissued_total", "reissued_batches", "counter", "Batches issued again after a loss." },
    { "flowrun_batches_duplicate_total", "duplicates", "counter", "Batches that came to a sink twice and were dropped." },
    { "flowrun_elapsed_seconds", "seconds", "gauge", "Since the stages were told to start." },
};

static const struct of_run stage_metrics[] = {
    { "flowrun_stage_instances", "instances", "gauge", "Processes of the stage." },
    { "flowrun_stage_batches_total", "batches", "counter", "Batches the stage has done." },
    { "flowrun_stage_tiles_total", "tiles", "counter", "Tiles the stage has done." },
    { "flowrun_stage_busy_seconds_total", "busy_s", "counter", "Time its processes computed, added up." },
    { "flowrun_stage_wait_input_seconds_total", "wait_input_s", "counter", "Time they waited for input." },
    { "flowrun_stage_wait_credit_seconds_total", "wait_credit_s", "counter", "Time they waited for their readers." },
    { "flowrun_stage_waiting_batches", "waiting", "gauge", "Batches at its input." },
    { "flowrun_stage_page_faults_total", "page_faults", "counter", "Page faults of its processes after their first batch." },
    { "flowrun_stage_deaths_total", "deaths", "counter", "Processes of the stage that died." },
};

static void text_counters(FILE *f, const json_t *stages)
{
    const char *stage, *name;
    json_t *of, *value;
    text_head(f, "flowrun_stage_counter_total", "counter", "What a stage counts itself; flowrun describe STAGE names them.");
    json_object_foreach((json_t *)stages, stage, of) {
        json_object_foreach(json_object_get(of, "counters"), name, value) {
            fputs("flowrun_stage_counter_total{stage=\"", f);
            text_label(f, stage);
            fputs("\",counter=\"", f);
            text_label(f, name);
            fprintf(f, "\"} %lld\n", (long long)json_integer_value(value));
        }
    }
}

/* One line for each figure of each host that a stage stands for. */
static void text_hosts(FILE *f, const json_t *stages)
{
    const char *stage, *host, *name;
    json_t *of, *figures, *value;
    text_head(f, "flowrun_host_total", "counter", "What went to a host and came back, by host.");
    json_object_foreach((json_t *)stages, stage, of)
        json_object_foreach(json_object_get(of, "hosts"), host, figures)
            json_object_foreach(figures, name, value) {
                fputs("flowrun_host_total{stage=\"", f);
                text_label(f, stage);
                fputs("\",host=\"", f);
                text_label(f, host);
                fputs("\",what=\"", f);
                text_label(f, name);
                fprintf(f, "\"} %lld\n", (long long)json_integer_value(value));
            }
}

static void text_all(FILE *f, const struct fl_super *s, const json_t *report)
{
    const json_t *stages = json_object_get(report, "stages");
    text_head(f, "flowrun_run_info", "gauge", "Which run this is.");
    fputs("flowrun_run_info{directory=\"", f);
    text_label(f, s->dir);
    fprintf(f, "\",run=\"%016llx\",version=\"%s\"} 1\n", (unsigned long long)s->run, FL_VERSION);
    for (size_t i = 0; i < sizeof run_metrics / sizeof *run_metrics; i++) {
        const struct of_run *m = &run_metrics[i];
        text_head(f, m->name, m->type, m->help);
        fprintf(f, "%s %.17g\n", m->name, json_number_value(json_object_get(report, m->key)));
    }
    for (size_t i = 0; i < sizeof stage_metrics / sizeof *stage_metrics; i++) {
        const struct of_run *m = &stage_metrics[i];
        const char *stage;
        json_t *of;
        text_head(f, m->name, m->type, m->help);
        json_object_foreach((json_t *)stages, stage, of) {
            fprintf(f, "%s{stage=\"", m->name);
            text_label(f, stage);
            fprintf(f, "\"} %.17g\n", json_number_value(json_object_get(of, m->key)));
        }
    }
    text_counters(f, stages);
    text_hosts(f, stages);
}

/* ---- answers ---- */

static char *answer_text(const struct fl_super *s, size_t *len)
{
    char *text = NULL;
    json_t *report = fl_report_json(s, fl_report_running(s));
    FILE *f = report != NULL ? open_memstream(&text, len) : NULL;
    if (f != NULL) {
        text_all(f, s, report);
        fclose(f);                                       /* text stays NULL when memory was short */
    }
    json_decref(report);
    return text;
}

static char *answer_json(const struct fl_super *s, size_t *len)
{
    json_t *report = fl_report_json(s, fl_report_running(s));
    char *text = report != NULL ? json_dumps(report, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) : NULL;
    *len = text != NULL ? strlen(text) : 0;
    json_decref(report);
    return text;
}

static enum MHD_Result answer(struct MHD_Connection *c, unsigned code, struct MHD_Response *r, const char *type)
{
    if (r == NULL)
        return MHD_NO;
    MHD_add_response_header(r, "Content-Type", type);
    MHD_add_response_header(r, "Cache-Control", "no-store");
    if (code == MHD_HTTP_METHOD_NOT_ALLOWED)
        MHD_add_response_header(r, "Allow", "GET, HEAD");
    enum MHD_Result rc = MHD_queue_response(c, code, r);
    MHD_destroy_response(r);
    return rc;
}

static enum MHD_Result answer_constant(struct MHD_Connection *c, unsigned code, const char *text, const char *type)
{
    return answer(c, code, MHD_create_response_from_buffer(strlen(text), (void *)text, MHD_RESPMEM_PERSISTENT), type);
}

static enum MHD_Result metrics_answer(void *ctx, struct MHD_Connection *c, const char *url, const char *method, const char *version, const char *body,
                                      size_t *body_len, void **state)
{
    const struct fl_super *s = ctx;
    static int begun;
    (void)version;
    (void)body;
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
        return answer_constant(c, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET\n", "text/plain");
    if (*state == NULL) {                                /* called once when the headers are there, and once for the answer */
        *state = &begun;
        return MHD_YES;
    }
    if (*body_len > 0)
        return MHD_NO;
    if (strcmp(url, "/") == 0)
        return answer_constant(c, MHD_HTTP_OK, metrics_page, "text/html; charset=utf-8");
    bool prometheus = strcmp(url, "/metrics") == 0;
    if (!prometheus && strcmp(url, "/status.json") != 0)
        return answer_constant(c, MHD_HTTP_NOT_FOUND, "there are /, /metrics and /status.json\n", "text/plain");
    size_t len = 0;
    char *text = prometheus ? answer_text(s, &len) : answer_json(s, &len);
    struct MHD_Response *r = text != NULL ? MHD_create_response_from_buffer(len, text, MHD_RESPMEM_MUST_FREE) : NULL;
    return answer(c, MHD_HTTP_OK, r, prometheus ? "text/plain; version=0.0.4; charset=utf-8" : "application/json");
}

/* ---- the socket ---- */

/* HOST:PORT, [HOST]:PORT, :PORT or PORT; without a host the loopback. Cuts `addr` in place. */
static bool metrics_split(char *addr, const char **host, const char **port)
{
    char *colon = strrchr(addr, ':'), *end;
    *host = "127.0.0.1";
    *port = addr;
    if (colon != NULL) {
        *colon = '\0';
        *port = colon + 1;
        if (addr[0] == '[' && colon > addr && colon[-1] == ']') {
            colon[-1] = '\0';
            addr++;
        }
        if (addr[0] != '\0')
            *host = addr;
    }
    unsigned long n = strtoul(*port, &end, 10);
    return (*port)[0] >= '0' && (*port)[0] <= '9' && *end == '\0' && n <= 65535;
}

static int metrics_bind(const char *host, const char *port, int *fd, struct fl_err *err)
{
    struct addrinfo *ai, want = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV };
    int rc = getaddrinfo(host, port, &want, &ai), yes = 1;
    if (rc != 0)
        return fl_err_set(err, FL_E_CONFIG, "--metrics: %s: %s", host, gai_strerror(rc));
    *fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool bound = *fd >= 0 && setsockopt(*fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) == 0 && bind(*fd, ai->ai_addr, ai->ai_addrlen) == 0 &&
                 listen(*fd, (int)CONNECTIONS) == 0;
    int why = errno;
    freeaddrinfo(ai);
    if (bound)
        return FL_OK;
    if (*fd >= 0)
        close(*fd);
    return fl_err_set(err, FL_E_CONFIG, "--metrics: %s port %s: %s", host, port, strerror(why));
}

static void metrics_announce(const struct fl_super *s, int fd)
{
    struct sockaddr_storage at;
    socklen_t len = sizeof at;
    char host[64], port[8];
    if (s->conf->quiet || getsockname(fd, (struct sockaddr *)&at, &len) != 0 ||
        getnameinfo((struct sockaddr *)&at, len, host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return;
    bool loopback = strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0;
    fprintf(stderr, strchr(host, ':') != NULL ? "metrics: http://[%s]:%s/%s\n" : "metrics: http://%s:%s/%s\n", host, port,
            loopback ? "" : " (open to whoever reaches this address)");
}

int fl_metrics_open(struct fl_super *s, struct fl_err *err)
{
    if (s->conf->metrics == NULL)
        return FL_OK;
    char *addr = fl_need_text("%s", s->conf->metrics);
    const char *host, *port;
    int fd = -1, rc = FL_OK;
    if (!metrics_split(addr, &host, &port))
        rc = fl_err_set(err, FL_E_CONFIG, "--metrics %s: want [HOST:]PORT", s->conf->metrics);
    if (rc == FL_OK)
        rc = metrics_bind(host, port, &fd, err);
    free(addr);
    if (rc != FL_OK)
        return rc;
    s->metrics = MHD_start_daemon(MHD_USE_EPOLL, 0, NULL, NULL, metrics_answer, s, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS,
                                  MHD_OPTION_CONNECTION_TIMEOUT, IDLE_SECONDS, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)REQUEST_BYTES, MHD_OPTION_END);
    if (s->metrics == NULL) {
        close(fd);
        return fl_err_set(err, FL_E_IO, "--metrics: libmicrohttpd does not start");
    }
    s->metrics_fd = MHD_get_daemon_info(s->metrics, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
    metrics_announce(s, fd);
    return FL_OK;
}

void fl_metrics_serve(struct fl_super *s)
{
    if (s->metrics != NULL)
        MHD_run(s->metrics);
}

void fl_metrics_close(struct fl_super *s)
{
    if (s->metrics != NULL)
        MHD_stop_daemon(s->metrics);                     /* closes the listening socket */
    s->metrics = NULL;
    s->metrics_fd = -1;
}
