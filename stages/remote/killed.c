/* A tile that kills a stage over there: its agent has found it, rejects it, and says so. It goes to RUN/quarantine here, where the run is. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "proto/frame.h"
#include "runtime/text.h"
#include "stages/remote/remote.h"

static const struct remote_given *killed_batch(const struct remote *s, json_int_t token)
{
    const struct remote_given *g = &s->given[(uint64_t)token % s->ngiven];
    return token >= 0 && (uint64_t)token < s->next && g->token == (uint64_t)token && g->n > 0 ? g : NULL;
}

/* One of those that were placed there: the name goes into a command. */
static bool killed_stage(const struct fl_ctx *ctx, const char *name)
{
    const struct remote *s = ctx->state;
    const json_t *stages = json_object_get(json_object_get(json_array_get(s->hosts, ctx->instance), "part"), "stages");
    for (size_t i = 0; i < json_array_size(stages); i++) {
        const char *one = json_string_value(json_object_get(json_array_get(stages, i), "name"));
        if (one != NULL && name != NULL && strcmp(one, name) == 0)
            return true;
    }
    return false;
}

static size_t killed_bytes(const char *hex, unsigned char out[FL_FRAME_MAX])
{
    size_t n = 0;
    unsigned byte;
    for (; hex != NULL && n < FL_FRAME_MAX && sscanf(hex + 2 * n, "%2x", &byte) == 1; n++)
        out[n] = (unsigned char)byte;
    return n;
}

/* Batches have numbers of their own there. */
static void killed_header(const struct fl_ctx *ctx, const struct remote_given *g, uint32_t row, const char *hex)
{
    static struct fl_batch b;                    /* one thread a process; large */
    unsigned char bytes[FL_FRAME_MAX];
    char path[1200];
    size_t len = killed_bytes(hex, bytes);
    if (len == 0 || fl_frame_unpack(bytes, len, &b, NULL) != FL_OK)
        return;
    b.run = ctx->run;
    b.batch = g->batch;
    b.attempt = g->attempt;
    if (fl_frame_pack(&b, bytes, sizeof bytes, &len, NULL) != FL_OK)
        return;
    snprintf(path, sizeof path, "%s/quarantine", ctx->run_dir);
    mkdir(path, 0777);                           /* a failure shows when the file is made */
    snprintf(path, sizeof path, "%s/quarantine/%llu-%u.header", ctx->run_dir, (unsigned long long)g->batch, row);
    fl_write_file(path, 0666, bytes, len, NULL);
}

void remote_killed(struct fl_ctx *ctx, const json_t *word)
{
    const struct remote_given *g = killed_batch(ctx->state, json_integer_value(json_object_get(word, "killed")));
    const char *stage = json_string_value(json_object_get(word, "stage")), *id = json_string_value(json_object_get(word, "id")), *cause = json_string_value(json_object_get(word, "cause"));
    json_int_t row = json_integer_value(json_object_get(word, "row"));
    if (g == NULL || row < 0 || row >= (json_int_t)g->n || id == NULL || cause == NULL || !killed_stage(ctx, stage)) {
        remote_told(ctx, true, "it tells of a tile that kills, which it wasn't given");
        return;
    }
    struct fl_killer k = { .batch = g->batch, .row = (uint32_t)row, .id = id, .stage = stage, .instance = (uint32_t)json_integer_value(json_object_get(word, "instance")), .cause = cause,
                           .alone = json_is_true(json_object_get(word, "alone")) };
    killed_header(ctx, g, k.row, json_string_value(json_object_get(word, "header")));
    fl_killed(ctx, &k);
}
