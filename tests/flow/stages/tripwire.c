/* A stage of the tests: passes batches on, and dies over the tiles it is told to. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "runtime/stage.h"

enum { TRIP_SEGV, TRIP_ABORT, TRIP_EXIT, TRIP_HANG, TRIP_OOM, TRIP_KILL, TRIP_OPEN };

struct tripwire {
    char  **tiles, **stillborn;      /* options */
    int     how;
    int64_t company;
    char   *log;
};

static bool trip_on(const struct tripwire *s, const char *id)
{
    for (char **t = s->tiles; t != NULL && *t != NULL; t++)
        if (strcmp(*t, id) == 0)
            return true;
    return false;
}

/* One line a batch that comes in: number, attempt, and how many of its rows are good. */
static void trip_log(const struct tripwire *s, const struct fl_batch *b, uint32_t good)
{
    FILE *f = s->log != NULL ? fopen(s->log, "ae") : NULL;
    if (f == NULL)
        return;
    fprintf(f, "%llu %u %u\n", (unsigned long long)b->batch, b->attempt, good);
    fclose(f);
}

static void trip_oom(void)
{
    for (size_t n = 16u << 20;;) {
        char *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p != MAP_FAILED)
            memset(p, 1, n);
    }
}

static void trip(int how)
{
    switch (how) {
    case TRIP_SEGV:  raise(SIGSEGV); break;
    case TRIP_ABORT: abort();
    case TRIP_EXIT:  _exit(7);
    case TRIP_HANG:  for (;;) pause();
    case TRIP_OOM:   trip_oom(); break;
    default:         raise(SIGKILL); break;
    }
}

/* Counts the starts in LOG.starts, a byte each. */
static int tripwire_open(struct fl_ctx *ctx)
{
    const struct tripwire *s = ctx->state;
    char path[1024];
    if (s->how == TRIP_OPEN)
        trip(TRIP_HANG);
    if (s->stillborn == NULL || s->stillborn[0] == NULL)
        return FL_OK;
    snprintf(path, sizeof path, "%s.starts", s->log);
    FILE *f = fopen(path, "ae");
    if (f == NULL || fputc('.', f) == EOF || fflush(f) != 0)
        return fl_fail(ctx, FL_E_IO, "%s: can't be written", path);
    long start = ftell(f);
    fclose(f);
    for (char **n = s->stillborn; *n != NULL; n++)
        if (strtol(*n, NULL, 10) == start)
            trip(s->how);
    return FL_OK;
}

static int tripwire_batch(struct fl_ctx *ctx, struct fl_batch *b)
{
    const struct tripwire *s = ctx->state;
    uint32_t hit = 0, good = 0;
    for (uint32_t r = 0; r < b->n; r++) {
        good += !fl_rejected(b, r);
        hit += !fl_rejected(b, r) && trip_on(s, fl_id(b, r));
    }
    trip_log(s, b, good);
    if (hit >= (uint64_t)s->company)
        trip(s->how);
    return fl_emit(ctx, &b);
}

static const struct fl_opt tripwire_opts[] = {
    { .name = "tiles", .type = FL_OPT_LIST, .off = offsetof(struct tripwire, tiles), .help = "ids of tiles that kill" },
    { .name = "how", .type = FL_OPT_CHOICE, .off = offsetof(struct tripwire, how), .def = "segv", .choices = "segv|abort|exit|hang|oom|kill|open", .help = "how it dies; open: it hangs before it is ready" },
    { .name = "company", .type = FL_OPT_INT, .off = offsetof(struct tripwire, company), .def = "1", .min = 1, .max = 1000, .help = "so many of them must be in a batch" },
    { .name = "stillborn", .type = FL_OPT_LIST, .off = offsetof(struct tripwire, stillborn), .help = "starts, counted from 1 over all instances, that die before they are ready; wants log" },
    { .name = "log", .type = FL_OPT_STR, .off = offsetof(struct tripwire, log), .help = "file that gets a line for each batch" },
    { 0 }
};

static const struct fl_spec tripwire_tensors[] = { { "id", "u8", "B,64", 0 }, { 0 } };
static const struct fl_port tripwire_ports[] = { { "in", FL_IN, tripwire_tensors }, { "out", FL_OUT, (const struct fl_spec[]){ { 0 } } }, { 0 } };

extern const struct fl_stage fl_stage_tripwire;
const struct fl_stage fl_stage_tripwire = {
    .name = "tripwire",
    .help = "Dies over the tiles it is told to.",
    .state_size = sizeof(struct tripwire),
    .opts = tripwire_opts,
    .ports = tripwire_ports,
    .open = tripwire_open,
    .batch = tripwire_batch,
};
