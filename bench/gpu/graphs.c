/* cuDNN plans every distinct layer of the five nets for a described card: no card is needed. graphs DEVICE.json [PLANS]
 *
 * Lists of configurations for all layers; whole plans for the first PLANS (10) of them and for each kind of fusion. A plan that is compiled at
 * run time stops where its code would be loaded: cuLibraryLoadData returned error (34). The list is a lower bound of what a card offers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stages/forward/cuda/graph.h"
#include "stages/forward/cuda/program.h"

#define GRAPHS_ROOM 2048
struct graphs { struct fl_cu_target target; char (*seen)[FL_CU_KEY]; uint32_t nseen, failed, planned, want; bool kinds[8]; };

static bool graphs_new(struct graphs *g, const char *key)
{
    for (uint32_t i = 0; i < g->nseen; i++)
        if (strcmp(g->seen[i], key) == 0)
            return false;
    if (g->nseen < GRAPHS_ROOM)
        memcpy(g->seen[g->nseen++], key, FL_CU_KEY);
    return true;
}

/* Of the first configurations one makes a plan, or is stopped at the loading of its code. */
static bool graphs_plan(struct graphs *g, cudnnBackendDescriptor_t graph, const struct fl_cu_config *c, int n, struct fl_err *err)
{
    for (int i = 0; i < n && i < 3; i++) {
        cudnnBackendDescriptor_t plan = NULL;
        int64_t workspace = 0;
        if (fl_cu_plan(&g->target, graph, &c[i], &plan, &workspace, err) == FL_OK) {
            cudnnBackendDestroyDescriptor(plan);
            return true;
        }
        if (strstr(err->text, "cuLibraryLoadData returned error  (34)") != NULL)
            return true;
    }
    return false;
}

/* exact f32 has no engine for a prologue: there, the two-step form is what must have one. */
static void graphs_layer(struct graphs *g, const char *arch, const struct fl_cu_layer *l, bool bare)
{
    char key[FL_CU_KEY];
    struct fl_cu_config config[64];
    struct fl_be_bag b;
    struct fl_err err = { 0 };
    uint32_t rt = 0;
    fl_cu_layer_key(l, key);
    if (!graphs_new(g, key) || (l->pro && l->type == FL_CU_F32 && !bare))
        return;
    fl_be_init(&b, &err);
    cudnnBackendDescriptor_t graph = fl_cu_graph(&b, l);
    int n = graph == NULL ? b.code : fl_cu_configs(&g->target, graph, l->type == FL_CU_F32, config, 64, &rt, &err);
    uint32_t kind = (l->pro ? 1u : 0) | (l->out_stride != l->co ? 2u : 0) | (l->res_stride > 0 ? 4u : 0);
    bool plan = n > 0 && (g->planned < g->want || !g->kinds[kind]), ok = n > 0;
    if (plan) {
        g->planned++;
        g->kinds[kind] = true;
        ok = graphs_plan(g, graph, config, n, &err);
    }
    if (!ok) {
        g->failed++;
        printf("FAIL %s %s: %d configurations: %s\n", arch, key, n, err.text);
    }
    fl_be_done(&b);
}

static void graphs_net(struct graphs *g, const char *arch, uint32_t size, uint32_t rows, int prec)
{
    struct fl_err err = { 0 };
    struct fl_net *net = NULL;
    struct fl_cu_program p = { 0 };
    int code = fl_net_new(arch, 3, size, 17, 0, &net, &err);
    if (code == FL_OK)
        code = fl_cu_program_make(net, rows, prec, &p, &err);
    for (uint32_t i = 0; i < p.nops && code == FL_OK; i++)
        if (p.ops[i].kind == FL_CU_CONV) {
            graphs_layer(g, arch, &p.ops[i].layer, false);
            if (p.ops[i].layer.pro)
                graphs_layer(g, arch, &p.ops[i].bare, true);
        }
    if (code != FL_OK) {
        g->failed++;
        printf("FAIL %s: %s\n", arch, err.text);
    }
    fl_cu_program_done(&p);
    fl_net_free(net);
}

static bool graphs_device(struct fl_be_bag *b, const char *path, struct graphs *g)
{
    char text[8192];
    FILE *f = fopen(path, "re");
    size_t n = f != NULL ? fread(text, 1, sizeof text - 1, f) : 0;
    if (f != NULL)
        fclose(f);
    text[n] = '\0';
    if (n == 0)
        return false;
    g->target.described = fl_be_new(b, CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
    fl_be_set(b, g->target.described, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, (int64_t)n + 1, text);
    fl_be_finalize(b, g->target.described, path);
    return b->code == FL_OK;
}

int main(int argc, char **argv)
{
    static const char *const archs[] = { "densenet121", "densenet169", "resnet50", "resnext50_32x4d", "vgg16" };
    struct graphs g = { .want = argc > 2 ? (uint32_t)atoi(argv[2]) : 10, .seen = calloc(GRAPHS_ROOM, FL_CU_KEY) };
    struct fl_err err = { 0 };
    struct fl_be_bag b;
    fl_be_init(&b, &err);
    if (argc < 2 || g.seen == NULL || !graphs_device(&b, argv[1], &g)) {
        printf("graphs: no device described by %s: %s\n", argc > 1 ? argv[1] : "(nothing)", err.text);
        fl_be_done(&b);
        free(g.seen);
        return 1;
    }
    for (size_t i = 0; i < sizeof archs / sizeof archs[0]; i++)
        graphs_net(&g, archs[i], 224, 64, FL_PREC_F16);
    graphs_net(&g, "densenet121", 224, 64, FL_PREC_BF16);
    graphs_net(&g, "resnet50", 256, 64, FL_PREC_F16);
    graphs_net(&g, "resnet50", 224, 64, FL_PREC_F32);
    printf("%u distinct layers, %u whole plans, cuDNN %zu\n%u passed, %u failed\n", g.nseen, g.planned, cudnnGetVersion(), g.nseen - g.failed, g.failed);
    fl_be_done(&b);
    free(g.seen);
    return g.failed > 0;
}
