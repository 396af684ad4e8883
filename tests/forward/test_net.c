/* Networks: parameter lists against torchvision's, sizes, bad input, and the lowered lists with their memory. */
#include "stages/forward/lower.h"
#include "tests/forward/rule_weights.h"
#include "tests/lib/check.h"

static struct fl_net *net_make(const char *arch, uint32_t channels, uint32_t size, uint32_t labels, uint32_t two_layer)
{
    struct fl_net *n = NULL;
    struct fl_err err = { 0 };
    if (fl_net_new(arch, channels, size, labels, two_layer, &n, &err) != FL_OK)
        fl_fail_at(__FILE__, __LINE__, "%s: %s", arch, err.text);
    return n;
}

static uint64_t net_numbers(const struct fl_net *n)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < fl_net_nparams(n); i++)
        sum += strstr(fl_net_param(n, i)->name, "running_") ? 0 : rule_count(fl_net_param(n, i));
    return sum;
}

static uint64_t net_hash(const struct fl_net *n)
{
    size_t cap = fl_net_nparams(n) * 160 + 1, at = 0;
    char *text = calloc(cap, 1);
    for (uint32_t i = 0; i < fl_net_nparams(n); i++) {
        const struct fl_param *p = fl_net_param(n, i);
        at += (size_t)snprintf(text + at, cap - at, "%s", p->name);
        for (uint32_t d = 0; d < p->ndim; d++)
            at += (size_t)snprintf(text + at, cap - at, " %u", p->shape[d]);
        at += (size_t)snprintf(text + at, cap - at, "\n");
    }
    uint64_t h = rule_fnv(text);
    free(text);
    return h;
}

FL_TEST(parameters_are_torchvisions)
{
    FILE *f = fopen("tests/data/forward_keys.txt", "r");
    CHECK(f != NULL);
    char line[256], arch[64];
    unsigned count;
    unsigned long long hash;
    int seen = 0;
    while (fgets(line, sizeof line, f) != NULL) {
        if (sscanf(line, "%63s %u %llx", arch, &count, &hash) != 3 || arch[0] == '#')
            continue;
        struct fl_net *n = net_make(arch, 3, 64, 17, 0);
        if (n == NULL)
            break;
        if (fl_net_nparams(n) != count || net_hash(n) != hash)
            fl_fail_at(__FILE__, __LINE__, "%s: %u tensors, hash %016llx", arch, fl_net_nparams(n), (unsigned long long)net_hash(n));
        fl_net_free(n);
        seen++;
    }
    fclose(f);
    CHECK_INT(seen, 17);
}

/* Published figures: numbers with 1000 and 17 classes, keys, features, convolutions, BNs, GMAC at 224 and 256 px. */
static const struct { const char *arch; uint64_t p1000, p17; uint32_t keys, features, convs, bns; double mac224, mac256; } net_table[] = {
    { "densenet121", 7978856, 6971281, 606, 1024, 120, 121, 2.833, 3.700 },
    { "densenet169", 14149480, 12512785, 846, 1664, 168, 169, 3.358, 4.386 },
    { "vgg16", 138357544, 134330193, 32, 4096, 13, 0, 15.466, 20.164 },
    { "resnet50", 25557032, 23542865, 267, 2048, 53, 53, 4.087, 5.338 },
    { "resnext50_32x4d", 25028904, 23014737, 267, 2048, 53, 53, 4.228, 5.523 },
};

static uint32_t net_kind(const struct fl_net *n, int kind)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; i < n->nops; i++)
        sum += n->ops[i].kind == kind;
    return sum;
}

FL_TEST(sizes_are_the_published_ones)
{
    for (size_t i = 0; i < sizeof net_table / sizeof net_table[0]; i++) {
        struct fl_net *a = net_make(net_table[i].arch, 3, 224, 1000, 0), *b = net_make(net_table[i].arch, 3, 256, 17, 0);
        CHECK(a != NULL && b != NULL);
        CHECK_INT(net_numbers(a), net_table[i].p1000);
        CHECK_INT(net_numbers(b), net_table[i].p17);
        CHECK_INT(fl_net_nparams(b), net_table[i].keys);
        CHECK_INT(fl_net_param(b, fl_net_nparams(b) - 2)->shape[1], net_table[i].features);
        CHECK_INT(net_kind(a, FL_OP_CONV), net_table[i].convs);
        CHECK_INT(net_kind(a, FL_OP_BN), net_table[i].bns);
        struct fl_net *c = net_make(net_table[i].arch, 3, 224, 17, 0);
        CHECK(c != NULL);
        double m17 = (double)fl_net_macs(c) * 1e-9, m256 = (double)fl_net_macs(b) * 1e-9;
        CHECK_NEAR(m17, net_table[i].mac224, 0.0006);
        CHECK_NEAR(m256, net_table[i].mac256, 0.0006);
        fl_net_free(a);
        fl_net_free(b);
        fl_net_free(c);
    }
}

FL_TEST(squeezenet_planet_is_the_kerasfiles)
{
    struct fl_net *n = net_make("squeezenet_planet", 3, 256, 17, 0);
    CHECK(n != NULL);
    CHECK_INT(net_numbers(n), 977186);
    CHECK_INT(fl_net_nparams(n), 2 * (1 + 8 * 3 + 1 + 2));
    const struct fl_param *d1 = fl_net_param(n, fl_net_nparams(n) - 4);
    CHECK_STR(d1->name, "classifier.3.weight");
    CHECK_INT(d1->shape[0], 64);
    CHECK_INT(d1->shape[1], 15 * 15 * 17);
    fl_net_free(n);
}

FL_TEST(channels_widen_the_first_convolution_only)
{
    static const char *const archs[] = { "resnet50", "densenet121", "vgg16" };
    static const uint32_t more[] = { 3136, 3136, 576 };
    for (int i = 0; i < 3; i++) {
        struct fl_net *a = net_make(archs[i], 3, 64, 17, 0), *b = net_make(archs[i], 4, 64, 17, 0);
        CHECK(a != NULL && b != NULL);
        CHECK_INT(net_numbers(b) - net_numbers(a), more[i]);
        CHECK_INT(fl_net_param(b, 0)->shape[1], 4);
        fl_net_free(a);
        fl_net_free(b);
    }
}

FL_TEST(two_layer_head)
{
    struct fl_net *n = net_make("resnet18", 3, 64, 17, 512);
    CHECK(n != NULL);
    uint32_t m = fl_net_nparams(n);
    CHECK_STR(fl_net_param(n, m - 4)->name, "fc.0.weight");
    CHECK_INT(fl_net_param(n, m - 4)->shape[0], 512);
    CHECK_INT(fl_net_param(n, m - 4)->shape[1], 512);
    CHECK_STR(fl_net_param(n, m - 2)->name, "fc.3.weight");
    CHECK_STR(fl_net_param(n, m - 1)->name, "fc.3.bias");
    fl_net_free(n);
    n = net_make("vgg11", 3, 64, 17, 512);
    CHECK(n != NULL);
    CHECK_STR(fl_net_param(n, fl_net_nparams(n) - 2)->name, "classifier.6.3.weight");
    fl_net_free(n);
}

FL_TEST(bad_input_is_refused_by_name)
{
    static const struct { const char *arch; uint32_t channels, size, labels, two; int code; const char *text; } bad[] = {
        { "resnet51", 3, 64, 17, 0, FL_E_CONFIG, "resnet50" },        { "", 3, 64, 17, 0, FL_E_CONFIG, "unknown" },
        { "resnet50", 3, 31, 17, 0, FL_E_SHAPE, "size 31" },          { "resnet50", 3, 4096, 17, 0, FL_E_SHAPE, "size 4096" },
        { "resnet50", 0, 64, 17, 0, FL_E_SHAPE, "0 channels" },       { "resnet50", 9, 64, 17, 0, FL_E_SHAPE, "9 channels" },
        { "resnet50", 3, 64, 0, 0, FL_E_CONFIG, "0 labels" },         { "squeezenet1_1", 3, 64, 17, 9, FL_E_CONFIG, "two_layer" },
        { "resnet50", 3, 64, 17, 1u << 30, FL_E_CONFIG, "two_layer" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct fl_net *n = NULL;
        struct fl_err err = { 0 };
        CHECK_INT(fl_net_new(bad[i].arch, bad[i].channels, bad[i].size, bad[i].labels, bad[i].two, &n, &err), bad[i].code);
        CHECK_HAS(err.text, bad[i].text);
        CHECK(n == NULL);
    }
}

FL_TEST(every_arch_builds_at_every_size)
{
    for (const char *const *a = fl_net_archs(); *a != NULL; a++)
        for (uint32_t size = 32; size <= 97; size += 13) {
            struct fl_net *n = net_make(*a, 1 + size % 8, size, 5, 0);
            CHECK(n != NULL);
            CHECK_INT(n->ops[n->nops - 1].c, 5);
            CHECK_INT(n->ops[n->nops - 1].h, 1);
            fl_net_free(n);
        }
}

/* ---- lowering ---- */

static struct fl_low *net_lower(const char *arch, uint32_t size, unsigned passes)
{
    struct fl_net *n = net_make(arch, 3, size, 17, 0);
    struct fl_low *l = NULL;
    struct fl_err err = { 0 };
    if (n != NULL && fl_lower(n, passes, &l, &err) != FL_OK)
        fl_fail_at(__FILE__, __LINE__, "%s: %s", arch, err.text);
    fl_net_free(n);
    return l;
}

static uint32_t net_steps(const struct fl_low *l, int kind)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < l->nsteps; i++)
        n += l->steps[i].kind == kind;
    return n;
}

FL_TEST(lowered_lists_are_as_short_as_they_can_be)
{
    /* without prologues of convolutions: convolutions, BNs left over, pools, and all steps */
    static const struct { const char *arch; uint32_t convs, bns, steps; } want[] = {
        { "resnet50", 53, 0, 53 + 1 + 1 + 1 },       { "resnext50_32x4d", 53, 0, 56 },      { "vgg16", 13, 0, 13 + 5 + 1 + 3 },
        { "densenet121", 120, 58, 120 + 58 + 1 + 3 + 1 + 1 }, { "squeezenet1_1", 26, 0, 26 + 3 + 1 }, { "tilenet", 4, 0, 4 + 2 + 1 + 1 },
    };
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        struct fl_low *l = net_lower(want[i].arch, 64, FL_PASSES_ALL & ~FL_PASS_PRO_CONV);
        CHECK(l != NULL);
        CHECK_INT(net_steps(l, FL_OP_CONV), want[i].convs);
        CHECK_INT(net_steps(l, FL_OP_BN), want[i].bns);
        CHECK_INT(l->nsteps, want[i].steps);
        fl_low_free(l);
    }
    struct fl_low *l = net_lower("densenet121", 64, FL_PASSES_ALL);
    CHECK(l != NULL);
    CHECK_INT(net_steps(l, FL_OP_BN), 0);
    CHECK_INT(l->nsteps, 120 + 1 + 3 + 1 + 1);
    fl_low_free(l);
}

/* Walks the list with a stamp on every element-range: whoever reads must find what was meant for it. */
static bool net_plan_holds(const struct fl_low *l)
{
    for (uint32_t i = 0; i < l->nbufs; i++)
        for (uint32_t j = 0; j < i; j++) {
            const struct fl_buf *a = &l->bufs[i], *b = &l->bufs[j];
            size_t na = (size_t)a->h * a->w * a->c, nb = (size_t)b->h * b->w * b->c;
            bool input = (int32_t)i == l->vals[l->input].buf || (int32_t)j == l->vals[l->input].buf;
            bool apart = a->at + na <= b->at || b->at + nb <= a->at, other_time = a->last < b->first || b->last < a->first;
            if (!input && !apart && !other_time)
                return false;
        }
    for (uint32_t i = 0; i < l->nsteps; i++) {
        const struct fl_buf *in = &l->bufs[l->vals[l->steps[i].in].buf], *out = &l->bufs[l->vals[l->steps[i].out].buf];
        int32_t now = (int32_t)i + 1;
        if (in->first > now || in->last < now || out->first > now || out->last < now)
            return false;
        if (l->steps[i].in >= 0 && l->vals[l->steps[i].in].buf == l->vals[l->steps[i].out].buf && l->steps[i].kind == FL_OP_CONV
            && l->vals[l->steps[i].in].c0 + l->vals[l->steps[i].in].c > l->vals[l->steps[i].out].c0)
            return false;
    }
    return true;
}

FL_TEST(living_buffers_never_share_memory)
{
    for (const char *const *a = fl_net_archs(); *a != NULL; a++) {
        struct fl_low *packed = net_lower(*a, 97, FL_PASSES_ALL), *loose = net_lower(*a, 97, FL_PASSES_ALL & ~FL_PASS_MEMORY);
        CHECK(packed != NULL && loose != NULL);
        if (!net_plan_holds(packed) || !net_plan_holds(loose))
            fl_fail_at(__FILE__, __LINE__, "%s: living buffers overlap", *a);
        if (packed->elems * 10 > loose->elems * 7)
            fl_fail_at(__FILE__, __LINE__, "%s: %zu elements a row, %zu without sharing", *a, packed->elems, loose->elems);
        fl_low_free(packed);
        fl_low_free(loose);
    }
}

FL_TEST(the_rule_is_philox_and_fnv)
{
    static const struct { uint32_t ctr[4], key[2], want[4]; } known[] = {
        { { 0, 0, 0, 0 }, { 0, 0 }, { 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 } },
        { { ~0u, ~0u, ~0u, ~0u }, { ~0u, ~0u }, { 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd } },
        { { 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344 }, { 0xa4093822, 0x299f31d0 }, { 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1 } },
    };
    for (int i = 0; i < 3; i++) {
        uint32_t got[4];
        rule_philox(known[i].ctr, known[i].key[0], known[i].key[1], got);
        CHECK(memcmp(got, known[i].want, sizeof got) == 0);
    }
    CHECK(rule_fnv("") == 0xcbf29ce484222325u);
    CHECK(rule_fnv("train_0") == 0xeca7967cf0687696u);
    CHECK(rule_fnv("train_10059") == 0x8004a732c968b82fu);
}

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = {
        CASE(the_rule_is_philox_and_fnv), CASE(parameters_are_torchvisions), CASE(sizes_are_the_published_ones),
        CASE(squeezenet_planet_is_the_kerasfiles), CASE(channels_widen_the_first_convolution_only), CASE(two_layer_head),
        CASE(bad_input_is_refused_by_name), CASE(every_arch_builds_at_every_size), CASE(lowered_lists_are_as_short_as_they_can_be),
        CASE(living_buffers_never_share_memory), { 0 }
    };
    return fl_run(cases, argc, argv);
}
