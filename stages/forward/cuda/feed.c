/* Views painted on the card, two executions in flight: while one computes, the next one's tiles are copied.
 *
 * Streams: copy uploads tiles and rows of a slot, compute paints them into the network's input, runs every snapshot and brings the
 * logits back. `uploaded` holds compute until the tiles are there, `painted` holds copy until they may be overwritten. */
#include <stdlib.h>
#include <string.h>

#include "stages/forward/cuda/device.h"
#include "stages/forward/cuda/launch.h"
#include "stages/forward/cuda/maps.h"

int fl_cu_feed_init(struct fl_prog *g, struct fl_err *err)
{
    size_t bytes = g->p.rows * sizeof(struct fl_fwd_row);
    for (int i = 0; i < FL_FWD_DEPTH; i++) {
        struct fl_cu_slot *s = &g->slot[i];
        int code = fl_cu_alloc((void **)&s->rows, bytes, "rows", err);
        if (code != FL_OK)
            return code;
        FL_CU_TRY(err, cudaHostAlloc((void **)&s->rows_pin, bytes, cudaHostAllocDefault), "pinned memory");
        FL_CU_TRY(err, cudaEventCreateWithFlags(&s->uploaded, cudaEventDisableTiming), "an event");
        FL_CU_TRY(err, cudaEventCreateWithFlags(&s->painted, cudaEventDisableTiming), "an event");
        FL_CU_TRY(err, cudaEventCreateWithFlags(&s->done, cudaEventDisableTiming | cudaEventBlockingSync), "an event");
    }
    return FL_OK;
}

void fl_cu_feed_done(struct fl_prog *g)
{
    for (int i = 0; i < FL_FWD_DEPTH; i++) {
        struct fl_cu_slot *s = &g->slot[i];
        const cudaEvent_t event[] = { s->uploaded, s->painted, s->done };
        void *const pinned[] = { s->pin, s->rows_pin, s->logits };
        for (int k = 0; k < 3; k++) {
            if (event[k] != NULL)
                (void)cudaEventDestroy(event[k]);
            if (pinned[k] != NULL)
                (void)cudaFreeHost(pinned[k]);
        }
        (void)cudaFree(s->raw);
        (void)cudaFree(s->rows);
    }
    for (uint32_t i = 0; i < g->nmappings; i++)
        if (g->mapping[i].registered)
            (void)cudaHostUnregister((void *)g->mapping[i].at);
}

/* ---- where tiles come from ---- */

static bool feed_register(uintptr_t at, size_t bytes, bool writable)
{
    cudaError_t e = cudaHostRegister((void *)at, bytes, writable ? cudaHostRegisterDefault : cudaHostRegisterReadOnly);
    (void)cudaGetLastError();
    return e == cudaSuccess;
}

/* Whether DMA may read the tiles where they lie: they are in a slab, whose mapping is registered when it is first seen. */
static bool feed_direct(struct fl_prog *g, const void *tiles, size_t bytes)
{
    uintptr_t p = (uintptr_t)tiles, at;
    size_t len;
    bool writable;
    for (uint32_t i = 0; i < g->nmappings; i++)
        if (p >= g->mapping[i].at && p - g->mapping[i].at < g->mapping[i].bytes)
            return g->mapping[i].registered && bytes <= g->mapping[i].bytes - (p - g->mapping[i].at);
    if (g->nmappings == FL_CU_MAPPINGS || !fl_cu_find_mapping(tiles, bytes, &at, &len, &writable))
        return false;
    struct fl_cu_mapping *m = &g->mapping[g->nmappings++];
    *m = (struct fl_cu_mapping){ at, len, feed_register(at, len, writable) };
    return m->registered;
}

/* Device memory for the tiles of a slot that is not in flight. */
static int feed_raw(struct fl_cu_slot *s, size_t bytes, struct fl_err *err)
{
    if (bytes <= s->raw_room)
        return FL_OK;
    FL_CU_TRY(err, cudaFree(s->raw), "freeing tiles");
    s->raw = NULL;
    s->raw_room = 0;
    int code = fl_cu_alloc(&s->raw, bytes, "tiles", err);
    if (code == FL_OK)
        s->raw_room = bytes;
    return code;
}

static int feed_pinned(void **p, size_t *room, size_t bytes, struct fl_err *err)
{
    if (bytes <= *room)
        return FL_OK;
    if (*p != NULL)
        FL_CU_TRY(err, cudaFreeHost(*p), "freeing pinned memory");
    *p = NULL;
    *room = 0;
    FL_CU_TRY(err, cudaHostAlloc(p, bytes, cudaHostAllocDefault), "pinned memory");
    *room = bytes;
    return FL_OK;
}

/* ---- rows ---- */

/* The card believes what it is told, so that a row that reaches beyond its tile ends here. */
static int feed_rows(const struct fl_prog *g, const struct fl_fwd_views *v, struct fl_err *err)
{
    for (uint32_t i = 0; i < g->p.rows; i++) {
        const struct fl_fwd_row *r = &v->row[i];
        uint32_t wide = r->g & 4 ? v->h : v->w, high = r->g & 4 ? v->w : v->h;
        if (r->tile == FL_FWD_BLANK)
            continue;
        if (r->tile >= v->n || r->g > 7 || r->w == 0 || r->h == 0 || r->w > wide || r->h > high || r->x0 > wide - r->w || r->y0 > high - r->h)
            return fl_err_set(err, FL_E_BUG, "cuda: row %u {tile %u of %u, %u %u %u %u %u} doesn't lie in a tile of %u x %u", i, r->tile, v->n, r->g, r->x0,
                              r->y0, r->w, r->h, v->w, v->h);
    }
    return FL_OK;
}

static int feed_upload(struct fl_prog *g, struct fl_cu_slot *s, const struct fl_fwd_views *v, struct fl_err *err)
{
    size_t bytes = (size_t)v->n * v->h * v->w * g->p.low->channels * (v->wide ? 2 : 1);
    const void *from = v->tiles;
    int code = feed_raw(s, bytes, err);
    if (code != FL_OK)
        return code;
    if (bytes > 0 && !feed_direct(g, v->tiles, bytes)) {
        if ((code = feed_pinned(&s->pin, &s->pin_room, bytes, err)) != FL_OK)
            return code;
        memcpy(s->pin, v->tiles, bytes);
        from = s->pin;
    }
    memcpy(s->rows_pin, v->row, g->p.rows * sizeof *v->row);
    FL_CU_TRY(err, cudaStreamWaitEvent(g->copy, s->painted, 0), "an event");      /* of the slot's last use; none at first */
    if (bytes > 0)
        FL_CU_TRY(err, cudaMemcpyAsync(s->raw, from, bytes, cudaMemcpyHostToDevice, g->copy), "copying tiles");
    FL_CU_TRY(err, cudaMemcpyAsync(s->rows, s->rows_pin, g->p.rows * sizeof *v->row, cudaMemcpyHostToDevice, g->copy), "copying rows");
    FL_CU_TRY(err, cudaEventRecord(s->uploaded, g->copy), "an event");
    return FL_OK;
}

static int feed_paint(struct fl_prog *g, struct fl_cu_slot *s, const struct fl_fwd_views *v, struct fl_err *err)
{
    struct fl_cu_paint_args a = { .tiles = s->raw, .rows = s->rows, .out = g->area[FL_CU_INPUT], .h = v->h, .w = v->w, .channels = g->p.low->channels,
                                  .size = g->p.low->size, .padded = g->p.channels, .wide = v->wide, .type = g->p.type };
    memcpy(a.mul, v->mul, g->p.low->channels * sizeof(float));
    memcpy(a.add, v->add, g->p.low->channels * sizeof(float));
    FL_CU_TRY(err, cudaStreamWaitEvent(g->compute, s->uploaded, 0), "an event");
    FL_CU_TRY(err, (cudaError_t)fl_cu_launch_paint(&a, g->p.rows, g->compute), "the input kernel");
    FL_CU_TRY(err, cudaEventRecord(s->painted, g->compute), "an event");
    return FL_OK;
}

static int feed_compute(struct fl_prog *g, struct fl_cu_slot *s, struct fl_snap *const *snaps, struct fl_err *err)
{
    size_t each = (size_t)g->p.rows * g->p.logits;
    for (uint32_t k = 0; k < s->k; k++) {
        int code = fl_cu_launch(g, snaps[k], err);
        if (code != FL_OK)
            return code;
        FL_CU_TRY(err, cudaMemcpyAsync(s->logits + k * each, g->area[FL_CU_LOGITS], each * sizeof(float), cudaMemcpyDeviceToHost, g->compute), "copying logits");
    }
    FL_CU_TRY(err, cudaEventRecord(s->done, g->compute), "an event");
    return FL_OK;
}

/* ---- the table's calls ---- */

int fl_cu_submit(struct fl_prog *g, struct fl_snap *const *snaps, uint32_t k, const struct fl_fwd_views *v, uint64_t *ticket, struct fl_err *err)
{
    struct fl_cu_slot *s = &g->slot[g->tickets % FL_FWD_DEPTH];
    if (s->busy || k == 0)
        return fl_err_set(err, FL_E_BUG, "cuda: %s", k == 0 ? "no weights" : "more than two executions in flight");
    FL_CU_TRY(err, cudaSetDevice(g->device), "taking the card");
    int code = feed_rows(g, v, err);
    if (code == FL_OK)
        code = feed_pinned((void **)&s->logits, &s->logits_room, k * g->p.logits_bytes, err);
    if (code == FL_OK)
        code = feed_upload(g, s, v, err);
    if (code == FL_OK)
        code = feed_paint(g, s, v, err);
    s->k = k;
    if (code == FL_OK)
        code = feed_compute(g, s, snaps, err);
    if (code != FL_OK) {             /* nothing of it may still read the tiles */
        (void)cudaStreamSynchronize(g->copy);
        (void)cudaStreamSynchronize(g->compute);
        (void)cudaGetLastError();
        return code;
    }
    s->busy = true;
    s->ticket = *ticket = g->tickets++;
    return FL_OK;
}

int fl_cu_wait(struct fl_prog *g, uint64_t ticket, float *logits, struct fl_err *err)
{
    struct fl_cu_slot *s = &g->slot[ticket % FL_FWD_DEPTH];
    uint32_t labels = g->p.low->labels;
    if (!s->busy || s->ticket != ticket)
        return fl_err_set(err, FL_E_BUG, "cuda: no execution %llu in flight", (unsigned long long)ticket);
    s->busy = false;
    FL_CU_TRY(err, cudaEventSynchronize(s->done), "a run");
    for (size_t row = 0; row < (size_t)s->k * g->p.rows; row++)
        memcpy(logits + row * labels, s->logits + row * g->p.logits, labels * sizeof(float));
    return FL_OK;
}
