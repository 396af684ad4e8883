/* Networks by name: looks the family up, runs its description, and holds the builder it calls. */
#include "stages/forward/net.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/text.h"

static const struct fl_family *const net_families[] = { &fl_densenet, &fl_resnet, &fl_vgg, &fl_squeezenet, &fl_tilenet };
#define NET_FAMILIES (sizeof net_families / sizeof net_families[0])
#define NET_MAX_ARCHS 63

/* ---- growing lists ---- */

static int net_op(struct fl_net *n, struct fl_op op)
{
    if (n->bad != 0)
        return 0;
    if (n->nops == n->ops_cap) {
        uint32_t cap = n->ops_cap ? 2 * n->ops_cap : 64;
        struct fl_op *more = realloc(n->ops, cap * sizeof *more);
        if (more == NULL) {
            n->bad = FL_E_NOMEM;
            return 0;
        }
        n->ops = more;
        n->ops_cap = cap;
    }
    n->ops[n->nops] = op;
    return (int)n->nops++;
}

static int32_t net_param(struct fl_net *n, const char *layer, const char *what, uint32_t ndim, const uint32_t *shape)
{
    if (n->bad != 0)
        return -1;
    if (n->nparams == n->params_cap) {
        uint32_t cap = n->params_cap ? 2 * n->params_cap : 64;
        struct fl_param *more = realloc(n->params, cap * sizeof *more);
        if (more == NULL) {
            n->bad = FL_E_NOMEM;
            return -1;
        }
        n->params = more;
        n->params_cap = cap;
    }
    struct fl_param *p = &n->params[n->nparams];
    *p = (struct fl_param){ .ndim = ndim };
    snprintf(p->name, sizeof p->name, "%s.%s", layer, what);
    for (uint32_t i = 0; i < ndim; i++)
        p->shape[i] = shape[i];
    return (int32_t)n->nparams++;
}

/* The value an operation reads. While the builder has failed nothing has dimensions, so any will do. */
static struct fl_op net_value(const struct fl_net *n, int v)
{
    return n->bad != 0 || v < 0 || (uint32_t)v >= n->nops ? (struct fl_op){ .h = 1, .w = 1, .c = 1 } : n->ops[v];
}

/* ---- builder ---- */

/* Windows along one side; with `ceil` the last one may reach over the border but must start inside or in the left padding. */
static uint32_t net_windows(uint32_t n, struct fl_geom g)
{
    if (n + 2 * g.pad < g.k)
        return 0;
    uint32_t room = n + 2 * g.pad - g.k, out = room / g.stride + 1;
    if (g.ceil && room % g.stride != 0 && out * g.stride < n + g.pad)
        out++;
    return out;
}

static int net_windowed(struct fl_net *n, struct fl_op op, struct fl_op in, struct fl_geom g)
{
    op.h = net_windows(in.h, g);
    op.w = net_windows(in.w, g);
    op.k = g.k;
    op.stride = g.stride;
    op.pad = g.pad;
    if ((op.h == 0 || op.w == 0) && n->bad == 0)
        n->bad = FL_E_SHAPE;
    return net_op(n, op);
}

#define NET_LAYER_NAME(layer, fmt)                  \
    char layer[64];                                 \
    do {                                            \
        va_list ap_;                                \
        va_start(ap_, fmt);                         \
        vsnprintf(layer, sizeof layer, fmt, ap_);   \
        va_end(ap_);                                \
    } while (0)

int fl_nb_conv(struct fl_net *n, int in, struct fl_geom g, const char *fmt, ...)
{
    NET_LAYER_NAME(layer, fmt);
    struct fl_op v = net_value(n, in);
    g.stride += g.stride == 0;
    g.groups += g.groups == 0;
    int32_t par = net_param(n, layer, "weight", 4, (uint32_t[]){ g.out, v.c / g.groups, g.k, g.k });
    if (g.bias)
        net_param(n, layer, "bias", 1, &g.out);
    struct fl_op op = { .kind = FL_OP_CONV, .in = { in, -1 }, .c = g.out, .groups = g.groups, .bias = g.bias, .par = par };
    return net_windowed(n, op, v, g);
}

int fl_nb_bn(struct fl_net *n, int in, const char *fmt, ...)
{
    NET_LAYER_NAME(layer, fmt);
    struct fl_op v = net_value(n, in);
    int32_t par = net_param(n, layer, "weight", 1, &v.c);
    net_param(n, layer, "bias", 1, &v.c);
    net_param(n, layer, "running_mean", 1, &v.c);
    net_param(n, layer, "running_var", 1, &v.c);
    return net_op(n, (struct fl_op){ .kind = FL_OP_BN, .in = { in, -1 }, .h = v.h, .w = v.w, .c = v.c, .par = par });
}

int fl_nb_linear(struct fl_net *n, int in, uint32_t out, bool hwc, const char *fmt, ...)
{
    NET_LAYER_NAME(layer, fmt);
    struct fl_op v = net_value(n, in);
    int32_t par = net_param(n, layer, "weight", 2, (uint32_t[]){ out, v.h * v.w * v.c });
    net_param(n, layer, "bias", 1, &out);
    return net_op(n, (struct fl_op){ .kind = FL_OP_LINEAR, .in = { in, -1 }, .h = 1, .w = 1, .c = out, .bias = true, .hwc = hwc, .par = par });
}

static int net_same(struct fl_net *n, enum fl_op_kind kind, int in)
{
    struct fl_op v = net_value(n, in);
    return net_op(n, (struct fl_op){ .kind = kind, .in = { in, -1 }, .h = v.h, .w = v.w, .c = v.c, .par = -1 });
}

int fl_nb_relu(struct fl_net *n, int in) { return net_same(n, FL_OP_RELU, in); }
int fl_nb_dropout(struct fl_net *n, int in) { return net_same(n, FL_OP_DROPOUT, in); }

int fl_nb_add(struct fl_net *n, int a, int b)
{
    struct fl_op v = net_value(n, a);
    return net_op(n, (struct fl_op){ .kind = FL_OP_ADD, .in = { a, b }, .h = v.h, .w = v.w, .c = v.c, .par = -1 });
}

int fl_nb_concat(struct fl_net *n, int a, int b)
{
    struct fl_op v = net_value(n, a), u = net_value(n, b);
    return net_op(n, (struct fl_op){ .kind = FL_OP_CONCAT, .in = { a, b }, .h = v.h, .w = v.w, .c = v.c + u.c, .par = -1 });
}

int fl_nb_max(struct fl_net *n, int in, struct fl_geom g)
{
    struct fl_op v = net_value(n, in);
    g.stride += g.stride == 0;
    return net_windowed(n, (struct fl_op){ .kind = FL_OP_MAX, .in = { in, -1 }, .c = v.c, .par = -1 }, v, g);
}

int fl_nb_avg(struct fl_net *n, int in, uint32_t k)
{
    struct fl_op v = net_value(n, in);
    return net_windowed(n, (struct fl_op){ .kind = FL_OP_AVG, .in = { in, -1 }, .c = v.c, .par = -1 }, v, (struct fl_geom){ .k = k, .stride = k });
}

int fl_nb_adapt(struct fl_net *n, int in, uint32_t bins)
{
    struct fl_op v = net_value(n, in);
    return net_op(n, (struct fl_op){ .kind = FL_OP_ADAPT, .in = { in, -1 }, .h = bins, .w = bins, .c = v.c, .k = bins, .par = -1 });
}

int fl_nb_mean(struct fl_net *n, int in)
{
    struct fl_op v = net_value(n, in);
    return net_op(n, (struct fl_op){ .kind = FL_OP_MEAN, .in = { in, -1 }, .h = 1, .w = 1, .c = v.c, .par = -1 });
}

int fl_nb_head(struct fl_net *n, int in, const char *name)
{
    if (n->two_layer == 0)
        return fl_nb_linear(n, in, n->labels, false, "%s", name);
    int x = fl_nb_linear(n, in, n->two_layer, false, "%s.0", name);
    x = fl_nb_dropout(n, fl_nb_relu(n, x));
    return fl_nb_linear(n, x, n->labels, false, "%s.3", name);
}

/* ---- the public face ---- */

/* Filled on first use; a second thread would write the same pointers. */
const char *const *fl_net_archs(void)
{
    static const char *all[NET_MAX_ARCHS + 1];
    uint32_t m = 0;
    for (uint32_t i = 0; i < NET_FAMILIES; i++)
        for (const char *const *a = net_families[i]->archs; *a != NULL && m < NET_MAX_ARCHS; a++)
            all[m++] = *a;
    return all;
}

static const struct fl_family *net_find(const char *arch, uint32_t *which)
{
    for (uint32_t i = 0; i < NET_FAMILIES; i++)
        for (uint32_t j = 0; net_families[i]->archs[j] != NULL; j++)
            if (strcmp(net_families[i]->archs[j], arch) == 0) {
                *which = j;
                return net_families[i];
            }
    return NULL;
}

static int net_refuse(const char *arch, uint32_t channels, uint32_t size, uint32_t labels, struct fl_err *err)
{
    if (size < FL_NET_MIN_SIZE || size > FL_NET_MAX_SIZE)
        return fl_err_set(err, FL_E_SHAPE, "%s: size %u, want %u to %u", arch, size, FL_NET_MIN_SIZE, FL_NET_MAX_SIZE);
    if (channels < 1 || channels > FL_NET_MAX_CHANNELS)
        return fl_err_set(err, FL_E_SHAPE, "%s: %u channels, want 1 to %u", arch, channels, FL_NET_MAX_CHANNELS);
    if (labels < 1 || labels > FL_NET_MAX_LABELS)
        return fl_err_set(err, FL_E_CONFIG, "%s: %u labels, want 1 to %u", arch, labels, FL_NET_MAX_LABELS);
    return FL_OK;
}

int fl_net_new(const char *arch, uint32_t channels, uint32_t size, uint32_t labels, uint32_t two_layer, struct fl_net **out, struct fl_err *err)
{
    uint32_t which = 0;
    const struct fl_family *family = net_find(arch, &which);
    if (family == NULL) {
        const char *near = fl_nearest(arch, fl_net_archs());
        return fl_err_set(err, FL_E_CONFIG, "arch \"%s\" is unknown%s%s%s", arch, near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
    }
    int code = net_refuse(arch, channels, size, labels, err);
    if (code != FL_OK)
        return code;
    if (two_layer > FL_NET_MAX_LABELS)
        return fl_err_set(err, FL_E_CONFIG, "%s: two_layer %u, want at most %u", arch, two_layer, FL_NET_MAX_LABELS);
    struct fl_net *n = calloc(1, sizeof *n);
    if (n == NULL)
        return fl_err_set(err, FL_E_NOMEM, "%s: no memory for the network", arch);
    snprintf(n->arch, sizeof n->arch, "%s", arch);
    n->channels = channels;
    n->size = size;
    n->labels = labels;
    n->two_layer = two_layer;
    net_op(n, (struct fl_op){ .kind = FL_OP_INPUT, .in = { -1, -1 }, .par = -1, .h = size, .w = size, .c = channels });
    family->build(n, which);
    if (n->bad != 0) {
        code = n->bad;
        fl_net_free(n);
        return code == FL_E_NOMEM ? fl_err_set(err, code, "%s: no memory for the network", arch)
             : code == FL_E_SHAPE ? fl_err_set(err, code, "%s: size %u is too small for its layers", arch, size)
                                  : fl_err_set(err, code, "%s: ends in a convolution, so two_layer doesn't apply", arch);
    }
    *out = n;
    return FL_OK;
}

void fl_net_free(struct fl_net *n)
{
    if (n == NULL)
        return;
    free(n->ops);
    free(n->params);
    free(n);
}

uint32_t fl_net_nparams(const struct fl_net *n) { return n->nparams; }

size_t fl_param_count(const struct fl_param *p)
{
    size_t n = 1;
    for (uint32_t i = 0; i < p->ndim; i++)
        n *= p->shape[i];
    return n;
}

const struct fl_param *fl_net_param(const struct fl_net *n, uint32_t i) { return i < n->nparams ? &n->params[i] : NULL; }

uint64_t fl_net_macs(const struct fl_net *n)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < n->nops; i++) {
        const struct fl_op *o = &n->ops[i];
        if (o->kind != FL_OP_CONV && o->kind != FL_OP_LINEAR)
            continue;
        const struct fl_op *v = &n->ops[o->in[0]];
        sum += o->kind == FL_OP_CONV ? (uint64_t)o->h * o->w * o->c * o->k * o->k * (v->c / o->groups) : (uint64_t)v->h * v->w * v->c * o->c;
    }
    return sum;
}
