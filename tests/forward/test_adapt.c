/* Weights to parameters: the rules for four channels by their formulas, old DenseNet names, all faults by name. */
#include "proto/dtype.h"
#include "stages/forward/adapt.h"
#include "tests/lib/check.h"

struct model { struct fl_net *net; struct fl_safetensors st; struct fl_st_tensor t[1100]; };

/* Tensors of the network's names and shapes; element i of parameter p is p + i/1024 (exact in f32). */
static void model_make(struct model *m, const char *arch, uint32_t channels)
{
    struct fl_net *three;
    memset(m, 0, sizeof *m);
    if (fl_net_new(arch, channels, 64, 5, 0, &m->net, NULL) != FL_OK || fl_net_new(arch, 3, 64, 5, 0, &three, NULL) != FL_OK)
        abort();
    for (uint32_t i = 0; i < fl_net_nparams(three); i++) {
        const struct fl_param *p = fl_net_param(three, i);
        struct fl_st_tensor *t = &m->t[i];
        size_t n = 1;
        for (uint32_t d = 0; d < p->ndim; d++)
            n *= p->shape[d];
        float *v = malloc(n * sizeof *v);
        if (v == NULL)
            abort();
        for (size_t k = 0; k < n; k++)
            v[k] = (float)i + (float)(k % 1024) / 1024;
        snprintf(t->name, sizeof t->name, "%s", p->name);
        t->dtype = FL_F32;
        t->ndim = p->ndim;
        memcpy(t->shape, p->shape, sizeof p->shape);
        t->data = v;
        t->bytes = n * 4;
    }
    m->st = (struct fl_safetensors){ .n = fl_net_nparams(three), .t = m->t };
    fl_net_free(three);
}

static void model_free(struct model *m)
{
    for (uint32_t i = 0; i < m->st.n; i++)
        free((void *)(uintptr_t)m->t[i].data);
    fl_net_free(m->net);
}

static struct model model;

FL_TEST(weights_come_in_the_order_of_the_net)
{
    struct fl_adapted w;
    struct fl_err err = { 0 };
    model_make(&model, "tilenet", 3);
    struct fl_st_tensor first = model.t[0];
    model.t[0] = model.t[model.st.n - 1];             /* the file's order is free */
    model.t[model.st.n - 1] = first;
    CHECK_OK(fl_adapt_check(model.net, &model.st, "f", FL_ADAPT_NONE, &err), err);
    CHECK_OK(fl_adapt_load(model.net, &model.st, "f", FL_ADAPT_NONE, &w, &err), err);
    for (uint32_t i = 0; i < fl_net_nparams(model.net); i++)
        CHECK(w.weights.data[i][0] == (float)i);
    fl_adapt_free(&w);
    model_free(&model);
}

/* Recipe: zero adds zeros; mean adds the mean, times 3/4; timm adds R's, times 3/4. */
static void widened(int adapt)
{
    struct fl_adapted w;
    struct fl_err err = { 0 };
    model_make(&model, "tilenet", 4);
    CHECK_OK(fl_adapt_check(model.net, &model.st, "f", adapt, &err), err);
    CHECK_OK(fl_adapt_load(model.net, &model.st, "f", adapt, &w, &err), err);
    const float *from = model.t[0].data, *to = w.weights.data[0];
    CHECK_INT(fl_net_param(model.net, 0)->shape[1], 4);
    for (uint32_t o = 0; o < model.t[0].shape[0]; o++)
        for (uint32_t i = 0; i < 9; i++) {
            const float *f = from + o * 27 + i, *g = to + o * 36 + i;
            double share = adapt == FL_ADAPT_ZERO ? 1 : .75;
            double nir = adapt == FL_ADAPT_ZERO ? 0 : adapt == FL_ADAPT_TIMM ? f[0] : ((double)f[0] + f[9] + f[18]) / 3;
            for (uint32_t c = 0; c < 3; c++)
                CHECK(g[c * 9] == (float)(share * f[c * 9]));
            CHECK(g[27] == (float)(share * nir));
        }
    for (uint32_t i = 1; i < model.st.n; i++)
        CHECK(memcmp(w.weights.data[i], model.t[i].data, model.t[i].bytes) == 0);
    fl_adapt_free(&w);
    model_free(&model);
}

FL_TEST(zero_adds_zeros) { widened(FL_ADAPT_ZERO); }
FL_TEST(mean_adds_the_mean) { widened(FL_ADAPT_MEAN); }
FL_TEST(timm_adds_red) { widened(FL_ADAPT_TIMM); }

FL_TEST(channels_are_adapted_on_request_only)
{
    struct fl_err err = { 0 };
    model_make(&model, "tilenet", 4);
    CHECK_INT(fl_adapt_check(model.net, &model.st, "file", FL_ADAPT_NONE, &err), FL_E_SHAPE);
    CHECK_HAS(err.text, "file: tensor \"features.conv0.weight\" is [16,3,3,3], the network wants [16,4,3,3]");
    model.t[0].shape[1] = 4;
    CHECK_INT(fl_adapt_check(model.net, &model.st, "file", FL_ADAPT_ZERO, &err), FL_E_SHAPE);
    CHECK_HAS(err.text, "is [16,4,3,3], the network wants [16,3,3,3]");
    model_free(&model);
}

/* Torchvision's published DenseNet files: denselayer1.norm.1 for denselayer1.norm1. */
FL_TEST(old_densenet_names)
{
    struct fl_err err = { 0 };
    uint32_t renamed = 0;
    model_make(&model, "densenet121", 3);
    for (uint32_t i = 0; i < model.st.n; i++) {
        char *p = strstr(model.t[i].name, "denselayer");
        p = p != NULL ? strchr(p, '.') : NULL;
        if (p == NULL)
            continue;
        p += 5;                                      /* behind ".norm" or ".conv" */
        memmove(p + 1, p, strlen(p) + 1);
        *p = '.';
        renamed++;
    }
    CHECK_INT(renamed, 58 * 10);                     /* 6+12+24+16 layers, two norms of 4 and two convolutions each */
    CHECK_OK(fl_adapt_check(model.net, &model.st, "f", FL_ADAPT_NONE, &err), err);
    for (uint32_t i = 0; i < model.st.n; i++)
        if (strcmp(model.t[i].name, "features.denseblock1.denselayer2.norm.1.weight") == 0)
            strcpy(model.t[i].name, "features.denseblock1.denselayer1.norm1.weight");
    CHECK_INT(fl_adapt_check(model.net, &model.st, "f", FL_ADAPT_NONE, &err), FL_E_SHAPE);
    CHECK_HAS(err.text, "\"features.denseblock1.denselayer1.norm.1.weight\" and \"features.denseblock1.denselayer1.norm1.weight\" are the same");
    model_free(&model);
}

FL_TEST(counters_of_batches_are_ignored)
{
    static const int64_t steps = 7;
    struct fl_err err = { 0 };
    model_make(&model, "resnet18", 3);
    uint32_t n = model.st.n;
    model.t[n] = (struct fl_st_tensor){ .name = "bn1.num_batches_tracked", .dtype = FL_I64, .data = &steps, .bytes = 8 };
    model.st.n = n + 1;
    int code = fl_adapt_check(model.net, &model.st, "f", FL_ADAPT_NONE, &err);
    model.st.n = n;
    model_free(&model);
    CHECK_OK(code, err);
}

FL_TEST(integers_are_no_weights)
{
    struct fl_err err = { 0 };
    model_make(&model, "tilenet", 3);
    model.t[1].dtype = FL_I32;
    CHECK_INT(fl_adapt_check(model.net, &model.st, "f", FL_ADAPT_NONE, &err), FL_E_SHAPE);
    CHECK_HAS(err.text, "is i32, want floats");
    model_free(&model);
}

FL_TEST(values_that_are_no_numbers)
{
    static const float bad[3] = { NAN, INFINITY, -INFINITY };
    struct fl_adapted w;
    struct fl_err err = { 0 };
    for (int i = 0; i < 3; i++) {
        model_make(&model, "tilenet", 3);
        ((float *)(uintptr_t)model.t[3].data)[5] = bad[i];
        CHECK_INT(fl_adapt_load(model.net, &model.st, "f", FL_ADAPT_NONE, &w, &err), FL_E_NUM);
        CHECK_HAS(err.text, "f: tensor \"features.norm0.running_mean\": element 5 is ");
        model_free(&model);
    }
}

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = {
        CASE(weights_come_in_the_order_of_the_net), CASE(zero_adds_zeros), CASE(mean_adds_the_mean), CASE(timm_adds_red),
        CASE(channels_are_adapted_on_request_only), CASE(old_densenet_names), CASE(counters_of_batches_are_ignored),
        CASE(integers_are_no_weights), CASE(values_that_are_no_numbers), { 0 },
    };
    return fl_run(cases, argc, argv);
}
