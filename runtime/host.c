/* Drives one stage: options, describe, callbacks, and the calls a stage may make (runtime/stage.h). */
#include "runtime/host.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "runtime/labels.h"

const struct fl_port *fl_stage_port(const struct fl_stage *st, unsigned dir)
{
    for (const struct fl_port *p = st->ports; p != NULL && p->name != NULL; p++)
        if (p->flags & dir)
            return p;
    return NULL;
}

struct fl_hosted *fl_hosted_new(uint32_t parts)
{
    struct fl_hosted *h = calloc(1, sizeof *h + parts * sizeof h->parts[0]);
    if (h != NULL)
        h->b.host = h;
    return h;
}

static void host_default_labels(struct fl_ctx *ctx)
{
    ctx->nlabels = FL_DEFAULT_NLABELS;
    ctx->labels = fl_default_labels;
    ctx->exclusive = FL_DEFAULT_EXCLUSIVE;
    ctx->rest_off = FL_DEFAULT_REST_OFF;
}

int fl_host_init(struct fl_host *h, const struct fl_stage *st, const json_t *options, const struct fl_host_ops *ops, void *owner)
{
    memset(h, 0, sizeof *h);
    h->stage = st;
    h->ops = ops;
    h->owner = owner;
    h->pool = -1;
    h->batches = h->tiles = UINT64_MAX;
    h->listen = -1;
    h->rest_off = FL_NO_LABEL;
    h->ctx.host = h;
    h->ctx.name = st->name;
    h->ctx.edges = 1;
    h->ctx.threads = 1;
    host_default_labels(&h->ctx);
    h->ctx.state = calloc(1, st->state_size > 0 ? st->state_size : 1);
    h->options = options != NULL ? json_deep_copy(options) : json_object();
    if (h->ctx.state == NULL || h->options == NULL)
        return fl_err_set(&h->err, FL_E_NOMEM, "%s: no memory for the state", st->name);
    return fl_opts_apply(st->opts, h->ctx.state, h->options, &h->err);
}

int fl_host_describe(struct fl_host *h)
{
    return h->stage->describe != NULL ? h->stage->describe(&h->ctx) : FL_OK;
}

int fl_host_open(struct fl_host *h)
{
    h->opened = true;
    return h->stage->open != NULL ? h->stage->open(&h->ctx) : FL_OK;
}

int fl_host_produce(struct fl_host *h, struct fl_batch *b)
{
    return h->stage->produce(&h->ctx, b);
}

int fl_host_idle(struct fl_host *h)
{
    return h->stage->idle != NULL ? h->stage->idle(&h->ctx) : FL_OK;
}

int fl_host_drain(struct fl_host *h)
{
    return h->stage->drain != NULL ? h->stage->drain(&h->ctx) : FL_OK;
}

int fl_host_dump(struct fl_host *h, const char *why)
{
    return h->stage->dump != NULL ? h->stage->dump(&h->ctx, why) : FL_OK;
}

void fl_host_done(struct fl_host *h)
{
    if (h->opened && h->stage->close != NULL)
        h->stage->close(&h->ctx);
    if (h->ctx.state != NULL && h->stage != NULL)
        fl_opts_free(h->stage->opts, h->ctx.state);
    free(h->ctx.state);
    json_decref(h->options);
    json_decref(h->settled);
    json_decref(h->models);
    json_decref(h->snapshots);
    for (uint32_t i = 0; i < h->nlabels; i++)
        free(h->labels[i]);
    free(h->labels);
    free(h->given);
    memset(h, 0, sizeof *h);
}

/* ---- inputs against the port ---- */

static bool host_option_value(const struct fl_host *h, const char *name, size_t len, int64_t *value)
{
    for (const struct fl_opt *o = h->stage->opts; o != NULL && o->name != NULL; o++)
        if (o->type == FL_OPT_INT && strlen(o->name) == len && memcmp(o->name, name, len) == 0) {
            memcpy(value, (const char *)h->ctx.state + o->off, sizeof *value);
            return true;
        }
    return false;
}

static bool host_dtype_allowed(const char *list, int dtype)
{
    const char *want = fl_dtype_name(dtype);
    size_t n = strlen(want);
    for (const char *p = list; *p != '\0'; ) {
        size_t len = strcspn(p, "|");
        if (len == n && memcmp(p, want, n) == 0)
            return true;
        p += len + (p[len] == '|');
    }
    return false;
}

/* One dimension: what it must be, 0 = anything (then letters[] learns it). */
static int host_check_dim(struct fl_host *h, const struct fl_batch *b, const struct fl_tensor *t, const char *tok, size_t len,
                          uint32_t got, uint32_t *letters)
{
    uint32_t want = 0;
    int64_t opt;
    if (isdigit((unsigned char)tok[0])) {
        want = (uint32_t)strtoul(tok, NULL, 10);
    } else if (len == 1 && isupper((unsigned char)tok[0])) {
        unsigned char c = (unsigned char)tok[0];
        want = c == 'B' ? b->n : c == 'L' ? h->ctx.nlabels : h->bound[c] != 0 ? h->bound[c] : letters[c];
        if (c == 'B' && got != want)
            return fl_fail(&h->ctx, FL_E_SHAPE, "batch %llu: %s has %u rows, want %u", (unsigned long long)b->batch, t->name, got, want);
        letters[c] = got;
    } else if (host_option_value(h, tok, len, &opt)) {
        want = (uint32_t)opt;
    }
    if (want != 0 && got != want)
        return fl_fail(&h->ctx, FL_E_SHAPE, "batch %llu: %s has %u in dimension %.*s, want %u", (unsigned long long)b->batch, t->name, got, (int)len, tok, want);
    return FL_OK;
}

static int host_check_tensor(struct fl_host *h, const struct fl_batch *b, const struct fl_spec *s, const struct fl_tensor *t, uint32_t *letters)
{
    if (!host_dtype_allowed(s->dtypes, t->dtype))
        return fl_fail(&h->ctx, FL_E_SHAPE, "batch %llu: %s is %s, want %s", (unsigned long long)b->batch, s->name, fl_dtype_name(t->dtype), s->dtypes);
    uint32_t dim = 0;
    for (const char *p = s->shape; *p != '\0'; dim++) {
        size_t len = strcspn(p, ",");
        if (dim >= t->ndim)
            break;
        int rc = host_check_dim(h, b, t, p, len, t->shape[dim], letters);
        if (rc != FL_OK)
            return rc;
        p += len + (p[len] == ',');
        if (p[-1] != ',')
            { dim++; break; }
    }
    if (dim != t->ndim)
        return fl_fail(&h->ctx, FL_E_SHAPE, "batch %llu: %s has %u dimensions, want [%s]", (unsigned long long)b->batch, s->name, t->ndim, s->shape);
    return FL_OK;
}

/* What fl_id, fl_rejected and fl_reason index, whatever the port names. */
static int host_check_rows(struct fl_host *h, const struct fl_batch *b)
{
    for (uint32_t i = 0; i < b->ntensors; i++) {
        const struct fl_tensor *t = &b->t[i];
        uint64_t want = strcmp(t->name, "id") == 0 ? FL_ID_SIZE : strcmp(t->name, "reason") == 0 ? FL_REASON_SIZE : strcmp(t->name, "status") == 0 ? sizeof(int32_t) : 0;
        int dtype = want == sizeof(int32_t) ? FL_I32 : FL_U8;
        if (want != 0 && (t->dtype != dtype || t->bytes != want * b->n))
            return fl_fail(&h->ctx, FL_E_SHAPE, "batch %llu: %s is %s of %llu bytes, want %s of %llu", (unsigned long long)b->batch, t->name, fl_dtype_name(t->dtype),
                           (unsigned long long)t->bytes, fl_dtype_name(dtype), (unsigned long long)(want * b->n));
    }
    return FL_OK;
}

static int host_check_inputs(struct fl_host *h, const struct fl_batch *b)
{
    const struct fl_port *in = fl_stage_port(h->stage, FL_IN);
    uint32_t letters[128] = { 0 };
    const char *either = NULL;
    bool any = false;
    for (const struct fl_spec *s = in->tensors; s != NULL && s->name != NULL; s++) {
        bool found = false;
        for (uint32_t i = 0; i < b->ntensors; i++)
            if (strcmp(b->t[i].name, s->name) == 0) {
                int rc = host_check_tensor(h, b, s, &b->t[i], letters);
                if (rc != FL_OK)
                    return rc;
                found = true;
            }
        if (s->flags & FL_EITHER) {
            either = s->name;
            any |= found;
        } else if (!found && !(s->flags & FL_OPTIONAL)) {
            return fl_fail(&h->ctx, FL_E_PROTO, "batch %llu: no tensor %s at the input", (unsigned long long)b->batch, s->name);
        }
    }
    if (either != NULL && !any)
        return fl_fail(&h->ctx, FL_E_PROTO, "batch %llu: neither %s nor one that may stand for it at the input", (unsigned long long)b->batch, either);
    return FL_OK;
}

static int host_check(struct fl_host *h, struct fl_batch *b)
{
    int rc = host_check_rows(h, b);
    return rc == FL_OK ? host_check_inputs(h, b) : rc;
}

int fl_host_batch(struct fl_host *h, struct fl_batch *b)
{
    int rc = host_check(h, b);
    if (rc != FL_OK) {
        fl_free(&h->ctx, &b);
        return rc;
    }
    return h->stage->batch(&h->ctx, b);
}

int fl_host_trial(struct fl_host *h, struct fl_batch *b)
{
    int rc = host_check(h, b);
    return rc == FL_OK && h->stage->trial != NULL ? h->stage->trial(&h->ctx, b) : rc;
}

/* ---- what a stage may call ---- */

void *fl_out(struct fl_ctx *ctx, struct fl_batch *b, const char *name, int dtype, uint32_t ndim, const uint32_t *shape)
{
    struct fl_host *h = ctx->host;
    struct fl_hosted *held = b->host;
    uint64_t bytes;
    if (ndim > FL_MAX_DIMS || !fl_shape_bytes(dtype, shape, ndim, &bytes)) {
        fl_fail(ctx, FL_E_BUG, "output %s: impossible shape", name);
        return NULL;
    }
    unsigned char *slab = h->ops->slab(h->owner, b->slot);
    uint64_t off = (held->used + FL_ALIGN - 1) / FL_ALIGN * FL_ALIGN;
    if (slab == NULL || off > h->slab_bytes || bytes > h->slab_bytes - off) {
        fl_fail(ctx, FL_E_BUG, "output %s of %llu bytes does not fit: %llu of %llu bytes of the slab are taken", name,
                (unsigned long long)bytes, (unsigned long long)off, (unsigned long long)h->slab_bytes);
        return NULL;
    }
    fl_batch_drop(b, name);
    struct fl_tensor *t = fl_batch_add(b, name);
    if (t == NULL) {
        fl_fail(ctx, FL_E_BUG, "output %s: too many tensors in the batch", name);
        return NULL;
    }
    t->dtype = (uint8_t)dtype;
    t->ndim = (uint8_t)ndim;
    memcpy(t->shape, shape, ndim * sizeof *shape);
    t->place = h->pool;
    t->off = off;
    t->bytes = bytes;
    t->data = slab + off;
    held->used = off + bytes;
    return t->data;
}

/* Takes the marks of one edge over: a row keeps the first mark it gets. */
static void host_merge_marks(const struct fl_batch *b, const struct fl_tensor *status, int32_t *into, char *reason)
{
    const struct fl_tensor *text = fl_batch_find_edge(b, status->edge, "reason");
    for (uint32_t r = 0; r < b->n; r++) {
        int code = ((const int32_t *)status->data)[r];
        if (code == 0 || into[r] != 0)
            continue;
        into[r] = code;
        if (text != NULL)
            memcpy(reason + (size_t)r * FL_REASON_SIZE, (const char *)text->data + (size_t)r * FL_REASON_SIZE, FL_REASON_SIZE);
    }
}

/* The marks must lie in this stage's own slab before they are written: upstream's are read-only. Those of all edges are merged. */
static int host_own_marks(struct fl_ctx *ctx, struct fl_batch *b)
{
    struct fl_hosted *held = b->host;
    if (held->marks)
        return FL_OK;
    struct fl_batch old = { .n = b->n };                 /* the marks as they came */
    for (uint32_t i = 0; i < b->ntensors; i++)
        if (strcmp(b->t[i].name, "status") == 0 || strcmp(b->t[i].name, "reason") == 0)
            old.t[old.ntensors++] = b->t[i];
    int32_t *status = fl_out(ctx, b, "status", FL_I32, 1, (uint32_t[]){ b->n });
    char *reason = status != NULL ? fl_out(ctx, b, "reason", FL_U8, 2, (uint32_t[]){ b->n, FL_REASON_SIZE }) : NULL;
    if (reason == NULL)
        return FL_E_BUG;
    memset(status, 0, b->n * sizeof *status);
    memset(reason, 0, (size_t)b->n * FL_REASON_SIZE);
    for (uint32_t i = 0; i < old.ntensors; i++)
        if (strcmp(old.t[i].name, "status") == 0)
            host_merge_marks(&old, &old.t[i], status, reason);
    held->marks = true;
    return FL_OK;
}

int fl_host_mark(struct fl_ctx *ctx, struct fl_batch *b, uint32_t row, int code, const char *text)
{
    if (row >= b->n)
        return fl_fail(ctx, FL_E_BUG, "row %u rejected in a batch of %u", row, b->n);
    if (fl_rejected(b, row) != 0)
        return FL_OK;
    int rc = host_own_marks(ctx, b);
    if (rc != FL_OK)
        return rc;
    ((int32_t *)fl_batch_find(b, "status")->data)[row] = code;
    char *reason = (char *)fl_batch_find(b, "reason")->data + (size_t)row * FL_REASON_SIZE;
    snprintf(reason, FL_REASON_SIZE, "%s", text);
    fl_err_mend(reason);
    ctx->host->rejects++;
    return FL_OK;
}

int fl_reject(struct fl_ctx *ctx, struct fl_batch *b, uint32_t row, int code, const char *fmt, ...)
{
    char text[FL_REASON_SIZE];
    int n = snprintf(text, FL_REASON_SIZE, "%s: %s: ", ctx->name, fl_status_name(code));
    if (n > 0 && n < FL_REASON_SIZE) {
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(text + n, FL_REASON_SIZE - (size_t)n, fmt, ap);
        va_end(ap);
    }
    return fl_host_mark(ctx, b, row, code, text);
}

const struct fl_frame *fl_head(const struct fl_batch *b)
{
    const struct fl_hosted *h = b->host;
    return h->head.len > 0 ? &h->head : NULL;
}

int fl_rejected(const struct fl_batch *b, uint32_t row)
{
    for (uint32_t i = 0; i < b->ntensors && row < b->n; i++)
        if (strcmp(b->t[i].name, "status") == 0 && ((const int32_t *)b->t[i].data)[row] != 0)
            return ((const int32_t *)b->t[i].data)[row];
    return 0;
}

const char *fl_reason(const struct fl_batch *b, uint32_t row)
{
    for (uint32_t i = 0; i < b->ntensors && row < b->n; i++)
        if (strcmp(b->t[i].name, "status") == 0 && ((const int32_t *)b->t[i].data)[row] != 0) {
            const struct fl_tensor *t = fl_batch_find_edge(b, b->t[i].edge, "reason");
            return t != NULL ? (const char *)t->data + (size_t)row * FL_REASON_SIZE : "";
        }
    return "";
}

const char *fl_id(const struct fl_batch *b, uint32_t row)
{
    const struct fl_tensor *t = fl_batch_find(b, "id");
    return t != NULL && row < b->n ? (const char *)t->data + (size_t)row * FL_ID_SIZE : "";
}

/* What the port takes ends here, and of the tensors that several edges brought under one name the first goes on. */
static void host_leave(const struct fl_host *h, struct fl_batch *b)
{
    const struct fl_port *in = fl_stage_port(h->stage, FL_IN);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < b->ntensors; i++) {
        bool keep = true;
        for (const struct fl_spec *s = in != NULL ? in->tensors : NULL; keep && s != NULL && s->name != NULL; s++)
            keep = !((s->flags & FL_TAKEN) && b->t[i].place != h->pool && (strcmp(s->name, "*") == 0 || strcmp(s->name, b->t[i].name) == 0));
        for (uint32_t k = 0; keep && k < kept; k++)
            keep = strcmp(b->t[k].name, b->t[i].name) != 0;
        if (keep && kept != i)
            b->t[kept] = b->t[i];
        kept += keep;
    }
    b->ntensors = kept;
}

int fl_emit(struct fl_ctx *ctx, struct fl_batch **b)
{
    struct fl_batch *out = *b;
    *b = NULL;
    uint32_t marks = 0;
    for (uint32_t i = 0; i < out->ntensors; i++)
        marks += strcmp(out->t[i].name, "status") == 0;
    int rc = marks > 1 ? host_own_marks(ctx, out) : FL_OK;    /* each edge of a join brings its own */
    if (rc != FL_OK) {
        ctx->host->ops->release(ctx->host->owner, out);
        return rc;
    }
    host_leave(ctx->host, out);
    return ctx->host->ops->emit(ctx->host->owner, out);
}

void fl_free(struct fl_ctx *ctx, struct fl_batch **b)
{
    if (*b == NULL)
        return;
    ctx->host->ops->release(ctx->host->owner, *b);
    *b = NULL;
}

int fl_ack(struct fl_ctx *ctx, uint64_t batch, uint32_t attempt, uint32_t predicted, uint32_t rejected)
{
    return ctx->host->ops->ack(ctx->host->owner, batch, attempt, predicted, rejected);
}

int fl_ack_batch(struct fl_ctx *ctx, const struct fl_batch *b)
{
    uint32_t rejected = 0;
    for (uint32_t i = 0; i < b->n; i++)
        rejected += fl_rejected(b, i) != 0;
    return fl_ack(ctx, b->batch, b->attempt, b->n - rejected, rejected);
}

void fl_bind(struct fl_ctx *ctx, char letter, uint32_t value)
{
    ctx->host->bound[(unsigned char)letter & 127] = value;
}

void fl_bind_dtype(struct fl_ctx *ctx, const char *tensor, int dtype)
{
    struct fl_host *h = ctx->host;
    if (h->nbound_dtypes == sizeof h->bound_dtype / sizeof h->bound_dtype[0])
        return;
    snprintf(h->bound_name[h->nbound_dtypes], FL_NAME_MAX, "%s", tensor);
    h->bound_dtype[h->nbound_dtypes++] = dtype;
}

void fl_bind_absent(struct fl_ctx *ctx, const char *tensor)
{
    fl_bind_dtype(ctx, tensor, FL_DTYPE_NONE);
}

void fl_bind_want(struct fl_ctx *ctx, const char *tensor)
{
    struct fl_host *h = ctx->host;
    if (h->nwant < sizeof h->want / sizeof h->want[0])
        snprintf(h->want[h->nwant++], FL_NAME_MAX, "%s", tensor);
}

int fl_give(struct fl_ctx *ctx, const char *name, const char *dtypes, const char *shape, unsigned flags)
{
    struct fl_host *h = ctx->host;
    struct fl_given g = { .flags = flags };
    if (strlen(name) >= sizeof g.name || strlen(dtypes) >= sizeof g.dtypes || strlen(shape) >= sizeof g.shape)
        return fl_fail(ctx, FL_E_BUG, "output %.60s: its type or shape is too long", name);
    strcpy(g.name, name);
    strcpy(g.dtypes, dtypes);
    strcpy(g.shape, shape);
    struct fl_given *p = realloc(h->given, (h->ngiven + (size_t)1) * sizeof *p);
    if (p == NULL)
        return fl_fail(ctx, FL_E_NOMEM, "output %s", name);
    h->given = p;
    p[h->ngiven++] = g;
    return FL_OK;
}

int fl_set_labels(struct fl_ctx *ctx, uint32_t n, const char *const *labels, uint64_t exclusive, uint32_t rest_off)
{
    struct fl_host *h = ctx->host;
    char **copy = calloc(n > 0 ? n : 1, sizeof *copy);
    if (copy == NULL)
        return fl_fail(ctx, FL_E_NOMEM, "labels");
    for (uint32_t i = 0; i < n; i++)
        if ((copy[i] = strdup(labels[i])) == NULL) {
            while (i > 0)
                free(copy[--i]);
            free(copy);
            return fl_fail(ctx, FL_E_NOMEM, "labels");
        }
    for (uint32_t i = 0; i < h->nlabels; i++)
        free(h->labels[i]);
    free(h->labels);
    h->labels = copy;
    h->nlabels = n;
    h->exclusive = exclusive;
    h->rest_off = rest_off;
    return FL_OK;
}

static int host_texts(struct fl_ctx *ctx, json_t **to, const char *what, uint32_t n, const char *const *texts)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < n || list == NULL; i++)
        if (list == NULL || json_array_append_new(list, json_string(texts[i])) != 0) {
            char mended[256];
            snprintf(mended, sizeof mended, "%s", i < n ? texts[i] : "");
            fl_err_mend(mended);
            json_decref(list);
            return i < n && strncmp(mended, texts[i], 250) != 0 ? fl_fail(ctx, FL_E_LABEL, "%s %u: its name is no UTF-8 text", what, i)
                                                               : fl_fail(ctx, FL_E_NOMEM, "names of %u %ss", n, what);
        }
    json_decref(*to);
    *to = list;
    return FL_OK;
}

int fl_set_models(struct fl_ctx *ctx, uint32_t n, const char *const *names) { return host_texts(ctx, &ctx->host->models, "model", n, names); }

int fl_set_snapshots(struct fl_ctx *ctx, uint32_t n, const char *const *digests) { return host_texts(ctx, &ctx->host->snapshots, "snapshot", n, digests); }

void fl_set_total(struct fl_ctx *ctx, uint64_t batches, uint64_t tiles)
{
    ctx->host->batches = batches;
    ctx->host->tiles = tiles;
}

void fl_set_epochs(struct fl_ctx *ctx, uint32_t epochs)
{
    ctx->host->epochs = epochs;
}

void fl_listen(struct fl_ctx *ctx, int fd)
{
    ctx->host->listen = fd;
}

void fl_lent(struct fl_ctx *ctx, uint32_t n)
{
    ctx->host->lent = n;
}

uint32_t fl_pools(struct fl_ctx *ctx, struct fl_shared *out, uint32_t max)
{
    return ctx->host->ops->pools != NULL ? ctx->host->ops->pools(ctx->host->owner, out, max) : 0;
}

int fl_gens(struct fl_ctx *ctx)
{
    return ctx->host->ops->gens != NULL ? ctx->host->ops->gens(ctx->host->owner) : -1;
}

void fl_grant(struct fl_ctx *ctx, uint32_t batches)
{
    if (ctx->host->ops->grant != NULL)
        ctx->host->ops->grant(ctx->host->owner, batches);
}

void fl_more(struct fl_ctx *ctx, uint64_t batches)
{
    if (ctx->host->ops->more != NULL)
        ctx->host->ops->more(ctx->host->owner, batches);
}

void fl_killed(struct fl_ctx *ctx, const struct fl_killer *k)
{
    if (ctx->host->ops->killer != NULL)
        ctx->host->ops->killer(ctx->host->owner, k);
}

int fl_lost(struct fl_ctx *ctx, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fl_err_vset(&ctx->host->err, FL_E_PEER, fmt, ap);
    va_end(ap);
    ctx->host->lost = true;
    return FL_E_PEER;
}

bool fl_held(struct fl_ctx *ctx, const struct fl_batch *b, uint32_t row)
{
    return ctx->host->ops->held != NULL && ctx->host->ops->held(ctx->host->owner, b, row);
}

void fl_settle(struct fl_ctx *ctx, const char *option, const char *value)
{
    struct fl_host *h = ctx->host;
    if (h->settled == NULL)
        h->settled = json_object();
    json_object_set_new(h->settled, option, json_string(value));
}

void fl_set_memory(struct fl_ctx *ctx, uint64_t bytes)
{
    ctx->host->memory = bytes;
}

int (fl_fail)(struct fl_ctx *ctx, int code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fl_err_vset(&ctx->host->err, code, fmt, ap);
    va_end(ap);
    return code;
}

static void host_log(struct fl_ctx *ctx, int level, const char *fmt, va_list ap)
{
    char text[512];
    vsnprintf(text, sizeof text, fmt, ap);
    fl_err_mend(text);
    ctx->host->ops->log(ctx->host->owner, level, text);
}

void fl_warn(struct fl_ctx *ctx, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    host_log(ctx, FL_LOG_WARN, fmt, ap);
    va_end(ap);
}

void fl_info(struct fl_ctx *ctx, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    host_log(ctx, FL_LOG_INFO, fmt, ap);
    va_end(ap);
}

void fl_count(struct fl_ctx *ctx, int counter, uint64_t n)
{
    if (counter >= 0 && counter < FL_MAX_COUNTERS)
        ctx->host->counters[counter] += n;
}

void fl_result(struct fl_ctx *ctx, const char *name, double value)
{
    ctx->host->ops->result(ctx->host->owner, name, value);
}

void fl_alive(struct fl_ctx *ctx)
{
    ctx->host->ops->alive(ctx->host->owner);
}

bool fl_pause(struct fl_ctx *ctx, int64_t ns)
{
    if (ctx->host->ops->pause != NULL)
        return ctx->host->ops->pause(ctx->host->owner, ns);
    struct timespec t = { .tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000 };
    nanosleep(&t, NULL);
    return true;
}
