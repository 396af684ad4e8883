/* The in-process harness: fl_host over plain memory. */
#include "tests/lib/harness.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/host.h"
#include "runtime/json.h"
#include "runtime/labels.h"

#define SLOTS 16

struct block { struct block *next; };            /* input tensors of batches still about; freed at the end */

struct fl_harness {
    struct fl_host host;
    unsigned char *slabs[SLOTS];
    struct fl_hosted *out, **out_tail;
    struct block *blocks;
    uint64_t acked;
    uint32_t nresults; struct { char name[64]; double value; } results[32];
    char warnings[8192];
};

static int harness_emit(void *owner, struct fl_batch *b)
{
    struct fl_harness *h = owner;
    struct fl_hosted *held = b->host;
    held->next = NULL;
    *h->out_tail = held;
    h->out_tail = &held->next;
    return FL_OK;
}

static void harness_release(void *owner, struct fl_batch *b)
{
    (void)owner;
    free(b->host);
}

static int harness_ack(void *owner, uint64_t batch, uint32_t attempt, uint32_t predicted, uint32_t rejected)
{
    (void)batch; (void)attempt; (void)predicted; (void)rejected;
    ((struct fl_harness *)owner)->acked++;
    return FL_OK;
}

/* By posix_memalign, which tests that let memory run out leave alone: a slab is no memory of the stage's. */
static void *harness_round(size_t bytes)
{
    void *p = NULL;
    return posix_memalign(&p, 64, bytes) == 0 ? p : NULL;
}

static void *harness_slab(void *owner, uint32_t slot)
{
    struct fl_harness *h = owner;
    if (h->slabs[slot % SLOTS] == NULL)
        h->slabs[slot % SLOTS] = harness_round(h->host.slab_bytes);
    return h->slabs[slot % SLOTS];
}

static void harness_log(void *owner, int level, const char *text)
{
    struct fl_harness *h = owner;
    if (level < FL_LOG_WARN)
        return;
    size_t n = strlen(h->warnings);
    snprintf(h->warnings + n, sizeof h->warnings - n, "%s\n", text);
}

static void harness_result(void *owner, const char *name, double value)
{
    struct fl_harness *h = owner;
    if (h->nresults == 32)
        return;
    snprintf(h->results[h->nresults].name, 64, "%s", name);
    h->results[h->nresults++].value = value;
}

static void harness_alive(void *owner) { (void)owner; }

static const struct fl_host_ops harness_ops = {
    .emit = harness_emit, .release = harness_release, .ack = harness_ack, .slab = harness_slab,
    .log = harness_log, .result = harness_result, .alive = harness_alive,
};

static json_t *harness_options(const char *text, struct fl_err *err)
{
    if (text == NULL)
        return json_object();
    char *copy = strdup(text);
    if (copy == NULL)
        return NULL;
    if (strchr(copy, '"') == NULL)
        for (char *p = copy; *p != '\0'; p++)
            if (*p == '\'')
                *p = '"';
    json_error_t je;
    json_t *j;
    int rc = fl_json_parse(copy, strlen(copy), 0, &j, &je);
    free(copy);
    if (j == NULL)
        fl_err_set(err, rc == FL_E_NOMEM ? rc : FL_E_CONFIG, "options of the test: %s", je.text);
    return j;
}

struct fl_harness *fl_harness_new(const struct fl_stage *st, const struct fl_harness_conf *conf, struct fl_err *err)
{
    static const struct fl_harness_conf none;
    if (conf == NULL)
        conf = &none;
    json_t *options = harness_options(conf->options, err);
    struct fl_harness *h = options != NULL ? calloc(1, sizeof *h) : NULL;
    if (h == NULL) {
        json_decref(options);
        return NULL;
    }
    h->out_tail = &h->out;
    int rc = fl_host_init(&h->host, st, options, &harness_ops, h);
    json_decref(options);
    if (rc != FL_OK) {
        if (err != NULL)
            *err = h->host.err;
        fl_harness_close(h);
        return NULL;
    }
    struct fl_ctx *c = &h->host.ctx;
    c->B = conf->B != 0 ? conf->B : 4;
    c->edges = conf->edges != 0 ? conf->edges : 1;
    c->threads = conf->threads != 0 ? conf->threads : 1;
    c->seed = conf->seed;
    c->run_dir = conf->run_dir;
    if (conf->nlabels != 0) {
        c->nlabels = conf->nlabels;
        c->labels = conf->labels;
        c->exclusive = conf->exclusive;
        c->rest_off = conf->rest_off;
    }
    h->host.pool = 1;
    h->host.slab_bytes = ((conf->slab != 0 ? conf->slab : (size_t)64 << 20) + 63) / 64 * 64;
    return h;
}

struct fl_ctx *fl_harness_ctx(struct fl_harness *h) { return &h->host.ctx; }

static int harness_rc(struct fl_harness *h, int rc, struct fl_err *err)
{
    if (rc != FL_OK && err != NULL)
        *err = h->host.err;
    return rc;
}

int fl_harness_describe(struct fl_harness *h, struct fl_err *err) { return harness_rc(h, fl_host_describe(&h->host), err); }
uint32_t fl_harness_bound(struct fl_harness *h, char letter) { return h->host.bound[(unsigned char)letter & 127]; }
int fl_harness_open(struct fl_harness *h, struct fl_err *err) { return harness_rc(h, fl_host_open(&h->host), err); }

static struct fl_batch *harness_fresh(struct fl_harness *h, uint64_t number)
{
    struct fl_hosted *held = fl_hosted_new(h->host.ctx.edges);
    if (held == NULL)
        abort();
    held->b.run = 1;
    held->b.batch = number;
    held->b.slot = (uint32_t)(number % SLOTS);
    held->b.gen = (uint32_t)(number / SLOTS) + 1;
    return &held->b;
}

void *fl_harness_tensor_edge(struct fl_harness *h, struct fl_batch *b, uint32_t edge, const char *name, int dtype, uint32_t ndim, const uint32_t *shape, const void *data)
{
    uint64_t bytes;
    struct fl_tensor *t = fl_batch_add(b, name);
    if (t == NULL || !fl_shape_bytes(dtype, shape, ndim, &bytes))
        abort();
    struct block *blk = harness_round(64 + bytes);
    if (blk == NULL)
        abort();
    blk->next = h->blocks;
    h->blocks = blk;
    void *mem = (char *)blk + 64;
    if (data != NULL)
        memcpy(mem, data, bytes);
    else
        memset(mem, 0, bytes);
    t->edge = (uint16_t)edge;
    t->dtype = (uint8_t)dtype;
    t->ndim = (uint8_t)ndim;
    memcpy(t->shape, shape, ndim * sizeof *shape);
    t->bytes = bytes;
    t->data = mem;
    return mem;
}

void *fl_harness_tensor(struct fl_harness *h, struct fl_batch *b, const char *name, int dtype, uint32_t ndim, const uint32_t *shape, const void *data)
{
    return fl_harness_tensor_edge(h, b, 0, name, dtype, ndim, shape, data);
}

struct fl_batch *fl_harness_batch(struct fl_harness *h, uint64_t number, uint32_t n)
{
    struct fl_batch *b = harness_fresh(h, number);
    b->n = n;
    char *ids = fl_harness_tensor(h, b, "id", FL_U8, 2, (uint32_t[]){ n, FL_ID_SIZE }, NULL);
    uint64_t *ordinals = fl_harness_tensor(h, b, "ordinal", FL_U64, 1, &n, NULL);
    for (uint32_t i = 0; i < n; i++) {
        ordinals[i] = number * h->host.ctx.B + i;
        snprintf(ids + (size_t)i * FL_ID_SIZE, FL_ID_SIZE, "t%llu", (unsigned long long)ordinals[i]);
    }
    return b;
}

int fl_harness_push(struct fl_harness *h, struct fl_batch *b, struct fl_err *err) { return harness_rc(h, fl_host_batch(&h->host, b), err); }
int fl_harness_trial(struct fl_harness *h, struct fl_batch *b, struct fl_err *err)
{
    int rc = harness_rc(h, fl_host_trial(&h->host, b), err);
    fl_free(&h->host.ctx, &b);
    return rc;
}

int fl_harness_produce(struct fl_harness *h, uint64_t number, struct fl_err *err) { return harness_rc(h, fl_host_produce(&h->host, harness_fresh(h, number)), err); }
int fl_harness_idle(struct fl_harness *h, struct fl_err *err) { return harness_rc(h, fl_host_idle(&h->host), err); }
int fl_harness_dump(struct fl_harness *h, const char *why, struct fl_err *err) { return harness_rc(h, fl_host_dump(&h->host, why), err); }
int fl_harness_drain(struct fl_harness *h, struct fl_err *err) { return harness_rc(h, fl_host_drain(&h->host), err); }

struct fl_batch *fl_harness_pop(struct fl_harness *h)
{
    struct fl_hosted *held = h->out;
    if (held == NULL)
        return NULL;
    h->out = held->next;
    if (h->out == NULL)
        h->out_tail = &h->out;
    return &held->b;
}

void fl_harness_free_batch(struct fl_harness *h, struct fl_batch *b)
{
    (void)h;
    if (b != NULL)
        free(b->host);
}

uint64_t fl_harness_acked(struct fl_harness *h) { return h->acked; }
const char *fl_harness_warnings(struct fl_harness *h) { return h->warnings; }

double fl_harness_result(struct fl_harness *h, const char *name)
{
    for (uint32_t i = h->nresults; i > 0; i--)
        if (strcmp(h->results[i - 1].name, name) == 0)
            return h->results[i - 1].value;
    return NAN;
}

void fl_harness_close(struct fl_harness *h)
{
    if (h == NULL)
        return;
    fl_host_done(&h->host);
    for (struct fl_hosted *p = h->out, *next; p != NULL; p = next) {
        next = p->next;
        free(p);
    }
    for (struct block *p = h->blocks, *next; p != NULL; p = next) {
        next = p->next;
        free(p);
    }
    for (int i = 0; i < SLOTS; i++)
        free(h->slabs[i]);
    free(h);
}
