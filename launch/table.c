/* The live view: a table that redraws itself on a terminal, a line now and then elsewhere. */
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "launch/mem.h"
#include "launch/super.h"

#define LINE_EVERY 5.0
#define TABLE_WIDTH 72     /* of a row and the cursor behind it */

static const char *table_eta(char out[32], double left)
{
    if (left < 0 || left > 1e8)
        return "-";
    int t = (int)(left + 0.5);
    if (t >= 86400)
        snprintf(out, 32, "%dd %02dh", t / 86400, t / 3600 % 24);
    else
        snprintf(out, 32, t >= 3600 ? "%d:%02d:%02d" : "%d:%02d", t >= 3600 ? t / 3600 : t / 60, t >= 3600 ? t / 60 % 60 : t % 60, t % 60);
    return out;
}

struct sums { double busy, in, credit, rate; uint64_t waiting; };

/* Shares of the last interval: what one of n instances adds to them. */
static void table_inst(struct fl_inst *in, uint32_t n, double dt, struct sums *m)
{
    uint64_t tiles = atomic_load_explicit(&in->page->tiles, memory_order_relaxed), busy = atomic_load_explicit(&in->page->busy_ns, memory_order_relaxed);
    uint64_t wait = atomic_load_explicit(&in->page->wait_in_ns, memory_order_relaxed), credit = atomic_load_explicit(&in->page->wait_credit_ns, memory_order_relaxed);
    m->rate += (double)(tiles - in->seen.tiles) / dt;
    m->busy += (double)(busy - in->seen.busy) / 1e9 / dt / n;
    m->in += (double)(wait - in->seen.in) / 1e9 / dt / n;
    m->credit += (double)(credit - in->seen.credit) / 1e9 / dt / n;
    m->waiting += atomic_load_explicit(&in->page->waiting, memory_order_relaxed);
    in->seen.tiles = tiles;
    in->seen.busy = busy;
    in->seen.in = wait;
    in->seen.credit = credit;
}

static double share(double x) { return x < 0 ? 0 : x > 1 ? 100 : 100 * x; }

/* Rows of the table; hosts: with one for each host of a stage that is elsewhere. */
static uint32_t table_rows(const struct fl_super *s, bool hosts)
{
    uint32_t n = s->g->nstages + 2;
    for (uint32_t i = 0; hosts && i < s->g->nstages; i++)
        n += s->g->stages[i].remote ? s->g->stages[i].instances : 0;
    return n;
}

/* Columns of the terminal, 0 where there is none or the table has no room: a row that wraps, or one that has scrolled away, can't be drawn again. */
static int table_columns(const struct fl_super *s, bool *hosts)
{
    *hosts = true;
    struct winsize w = { 0 };
    if (!isatty(STDERR_FILENO))
        return 0;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &w) != 0 || w.ws_col == 0)
        return 80;
    *hosts = w.ws_row > table_rows(s, true);
    return w.ws_col >= TABLE_WIDTH && w.ws_row > table_rows(s, false) ? w.ws_col : 0;
}

static void table_row(const char *name, uint32_t instances, const struct sums *m)
{
    fprintf(stderr, "\033[K%-18.18s %4u %10.0f %5.0f%% %8.0f%% %9.0f%% %7llu\n", name, instances, m->rate, share(m->busy), share(m->in), share(m->credit), (unsigned long long)m->waiting);
}

/* A stage that is elsewhere: how each host fares. What is busy here says nothing of there. */
static void table_host(const struct fl_super *s, const struct fl_inst *in, const struct sums *m)
{
    char lost[32] = "";
    if (in->deaths > 0)
        snprintf(lost, sizeof lost, "lost %u time%s", in->deaths, in->deaths == 1 ? "" : "s");
    fprintf(stderr, "\033[K  %-21.21s %10.0f %27s %7llu\n", fl_super_host(s, in->stage, in->index), m->rate, lost, (unsigned long long)m->waiting);
}

static struct sums table_stage(struct fl_super *s, uint32_t stage, double dt, bool hosts)
{
    struct sums m = { 0 };
    uint32_t n = s->g->stages[stage].instances;
    struct fl_inst *first = &s->inst[s->first[stage]];
    struct sums *of = hosts && s->g->stages[stage].remote ? fl_need(n, sizeof *of) : NULL;
    for (uint32_t k = 0; k < n; k++) {
        struct sums one = { 0 };
        table_inst(&first[k], n, dt, &one);
        m = (struct sums){ m.busy + one.busy, m.in + one.in, m.credit + one.credit, m.rate + one.rate, m.waiting + one.waiting };
        if (of != NULL)
            of[k] = one;
    }
    table_row(s->g->stages[stage].name, n, &m);
    for (uint32_t k = 0; of != NULL && k < n; k++)
        table_host(s, &first[k], &of[k]);
    free(of);
    return m;
}

static void table_draw(struct fl_super *s, double dt, const char *summary, const char *rest, int columns, bool hosts)
{
    double most = 0;
    const char *limits = "-";
    if (s->table_lines > 0)
        fprintf(stderr, "\033[%dA", s->table_lines);
    fprintf(stderr, "\033[K%-18s %4s %10s %6s %9s %10s %7s\n", "stage", "inst", "tiles/s", "busy", "no input", "no credit", "waiting");
    for (uint32_t i = 0; i < s->g->nstages; i++) {
        struct sums m = table_stage(s, i, dt, hosts);
        if (m.busy > most) {
            most = m.busy;
            limits = s->g->stages[i].name;
        }
    }
    char line[512];
    snprintf(line, sizeof line, "%s; limited by %s%s", summary, limits, rest);
    fprintf(stderr, "\033[K%.*s\n", columns - 1, line);
    s->table_lines = (int)table_rows(s, hosts);
}

void fl_table_tick(struct fl_super *s, bool last)
{
    double now = fl_now(), dt = now - s->t_table;
    bool hosts;
    const int columns = table_columns(s, &hosts);
    if (s->conf->quiet || !s->started || (last && columns == 0) || (columns == 0 && dt < LINE_EVERY && s->t_table > 0))
        return;
    if (s->t_table == 0) {
        s->t_table = now;
        s->table_tiles = s->tiles_done;
        return;
    }
    char eta[32], line[256], rest[64];
    double rate = (double)(s->tiles_done - s->table_tiles) / dt, mean = (double)(s->tiles_done - s->tiles_before) / (now - s->t_start);
    snprintf(line, sizeof line, "%llu of %llu tiles (%.1f%%), %.0f tiles/s, ETA %s", (unsigned long long)s->tiles_done, (unsigned long long)s->tiles_total,
             s->tiles_total > 0 ? 100.0 * (double)s->tiles_done / (double)s->tiles_total : 100.0, rate,
             table_eta(eta, mean > 0 ? (double)(s->tiles_total - s->tiles_done) / mean : -1));
    snprintf(rest, sizeof rest, "; %llu batches in flight, %llu rejected", (unsigned long long)s->in_flight, (unsigned long long)s->rejected);
    if (s->said[0] != '\0')
        snprintf(line, sizeof line, "%s", s->said);
    if (columns > 0)
        table_draw(s, dt, line, rest, columns, hosts);
    else
        fprintf(stderr, "%s%s\n", line, s->said[0] != '\0' ? "" : rest);
    s->t_table = now;
    s->table_tiles = s->tiles_done;
}
