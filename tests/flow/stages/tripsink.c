/* A sink of the tests: the real one, but a good row that TRIP_SINK names kills it, in a trial and in earnest.
 * TRIP_LOG gets a line for each batch: number, attempt, good rows. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/stage.h"

extern const struct fl_stage fl_stage_sink;
extern struct fl_stage fl_stage_tripsink;
struct fl_stage fl_stage_tripsink;

static bool trip_on(const char *id)
{
    const char *ids = getenv("TRIP_SINK"), *at = ids != NULL ? strstr(ids, id) : NULL;
    size_t n = strlen(id);
    return at != NULL && n > 0 && (at == ids || at[-1] == ',') && (at[n] == ',' || at[n] == '\0');
}

static void trip(const struct fl_batch *b)
{
    const char *log = getenv("TRIP_LOG");
    uint32_t good = 0;
    bool hit = false;
    for (uint32_t r = 0; r < b->n; r++) {
        good += !fl_rejected(b, r);
        hit = hit || (!fl_rejected(b, r) && trip_on(fl_id(b, r)));
    }
    FILE *f = log != NULL ? fopen(log, "ae") : NULL;
    if (f != NULL) {
        fprintf(f, "%llu %u %u\n", (unsigned long long)b->batch, b->attempt, good);
        fclose(f);
    }
    if (hit)
        raise(SIGSEGV);
}

static int trip_batch(struct fl_ctx *ctx, struct fl_batch *b)
{
    trip(b);
    return fl_stage_sink.batch(ctx, b);
}

static int trip_trial(struct fl_ctx *ctx, struct fl_batch *b)
{
    trip(b);
    return fl_stage_sink.trial(ctx, b);
}

__attribute__((constructor)) static void trip_make(void)
{
    fl_stage_tripsink = fl_stage_sink;
    fl_stage_tripsink.name = "tripsink";
    fl_stage_tripsink.batch = trip_batch;
    fl_stage_tripsink.trial = trip_trial;
}
