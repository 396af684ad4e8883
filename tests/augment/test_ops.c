/* Lists of ops: reading, refusing, halving, phases, draws. */
#include "runtime/rng.h"
#include "stages/augment/norm.h"
#include "stages/augment/ops.h"
#include "stages/augment/phases.h"
#include "tests/lib/check.h"

static json_t *json(const char *text)
{
    char buf[1000];
    snprintf(buf, sizeof buf, "%s", text);
    for (char *p = buf; *p != '\0'; p++)
        *p = *p == '\'' ? '"' : *p;
    return json_loads(buf, JSON_DECODE_ANY, NULL);
}

static int parse(const char *text, struct fl_ops *ops, struct fl_err *err)
{
    json_t *j = json(text);
    int rc = fl_ops_parse(j, ops, err);
    json_decref(j);
    return rc;
}

FL_TEST(numbers_go_by_preorder)
{
    struct fl_err err = { 0 };
    struct fl_ops ops;
    char names[64 * 32];
    CHECK_OK(parse("['d4',{'one_of':['distort_radial',{'group':{'p':0.5,'ops':['blur','hsv']}}]},{'contrast':{'al':[0.5,1.5]}}]", &ops, &err), err);
    static const uint8_t kinds[] = { FL_OP_D4, FL_OP_ONE_OF, FL_OP_DISTORT_RADIAL, FL_OP_GROUP, FL_OP_BLUR, FL_OP_HSV, FL_OP_CONTRAST };
    static const uint32_t ends[] = { 1, 6, 3, 6, 5, 6, 7 };
    CHECK_INT(ops.n, 7);
    for (uint32_t i = 0; i < 7; i++) {
        CHECK_INT(ops.op[i].kind, kinds[i]);
        CHECK_INT(ops.op[i].end, ends[i]);
    }
    CHECK(ops.op[3].p == .5 && ops.op[6].r[0].lo == .5 && ops.op[6].r[0].hi == 1.5);
    CHECK_INT(fl_ops_columns(&ops), 7 + 1 + 1 + 3 + 0 + 1 + 3 + 1);
    fl_ops_column_names(&ops, names);
    CHECK_STR(names, "0.d4");
    CHECK_STR(names + 32, "0.d4.g");
    CHECK_STR(names + 3 * 32, "1.one_of.choice");
    CHECK_STR(names + 16 * 32, "6.contrast.al");
}

static const struct { const char *text, *says; } refused[] = {
    { "[]", "empty" }, { "'d4'", "list" }, { "['d5']", "did you mean d4" }, { "[7]", "entry 1" }, { "[{'d4':{},'blur':{}}]", "entry 1" },
    { "[{'scale':{'s':[1.1,0.9]}}]", "in order" }, { "[{'scale':{'s':[0,1]}}]", "from 0.01" }, { "[{'scale':{'p':1.5}}]", "from 0 to 1" },
    { "[{'scale':{'p':-0.1}}]", "from 0 to 1" }, { "[{'group':{'p':-1,'ops':['d4']}}]", "from 0 to 1" }, { "[{'offset':{'dy':[0.1,-0.1]}}]", "in order" },
    { "[{'hsv':{'dv':[5,-5]}}]", "in order" }, { "[{'random_sized_crop':{'ratio':[2,1]}}]", "in order" }, { "[{'one_of':['blur',{'rotate':{'theta':[9,-9]}}]}]", "in order" },
    { "[{'channel_add':{'a':300}}]", "from -255 to 255" }, { "['contrst']", "did you mean contrast" }, { "[{'one_of':['d4','blurr']}]", "did you mean blur" },
    { "[{'scale':{'q':1}}]", "unknown key" }, { "[{'scale':{'s':'big'}}]", "[LOW, HIGH]" }, { "[{'scale':3}]", "map" }, { "['one_of']", "list of ops" },
    { "[{'one_of':[]}]", "empty" }, { "[{'group':{'p':2,'ops':['d4']}}]", "from 0 to 1" }, { "[{'distort_grid':{'n':33}}]", "32" },
    { "[{'distort_grid':{'n':2.5}}]", "whole" }, { "[{'distort_elastic':{'sigma':0}}]", "sigma" }, { "[{'rotate':{'integer':1}}]", "true or false" },
    { "[{'group':[{'group':[{'group':[{'group':[{'group':['d4']}]}]}]}]}]", "nested" }, { "[{'blur':{'b':[0,2]}}]", "from 0 to 1" },
    { "['d4','d4','d4','d4','d4','d4','d4','d4','d4','d4','d4','d4','d4','d4','d4','d4','d4','d4','d4','d4','d4','d4','d4','d4','d4','d4','d4','d4','d4','d4','d4','d4',"
      "'d4','d4','d4','d4','d4','d4','d4','d4','d4','d4','d4','d4','d4','d4','d4','d4','d4','d4','d4','d4','d4','d4','d4','d4','d4','d4','d4','d4','d4']", "60" },
};

FL_TEST(bad_lists_are_named)
{
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        struct fl_err err = { 0 };
        struct fl_ops ops;
        CHECK_INT(parse(refused[i].text, &ops, &err), FL_E_CONFIG);
        CHECK_HAS(err.text, refused[i].says);
    }
}

FL_TEST(a_tile_must_be_large_enough)
{
    struct fl_err err = { 0 };
    struct fl_ops ops;
    static const struct { const char *ops; int phase; uint32_t tile, size; bool fits; } cases[] = {
        { "['d4']", FL_PHASE_FULL, 64, 64, true }, { "['d4']", FL_PHASE_FULL, 64, 65, false }, { "['random_sized_crop']", FL_PHASE_FULL, 64, 96, true },
        { "['random_sized_crop']", FL_PHASE_UNBIASED, 64, 96, false }, { "['random_sized_crop','scaled']", FL_PHASE_UNBIASED, 64, 96, true },
        { "[{'random_sized_crop':{'p':0.9}}]", FL_PHASE_FULL, 64, 96, false }, { "[{'one_of':['random_sized_crop','d4']}]", FL_PHASE_FULL, 64, 96, false },
        { "[{'group':['random_sized_crop']}]", FL_PHASE_FULL, 64, 96, true }, { "['distort_elastic']", FL_PHASE_FULL, 700, 64, true },
        { "['distort_elastic']", FL_PHASE_FULL, 800, 64, false }, { "['distort_elastic','distort_elastic']", FL_PHASE_FULL, 64, 64, false },
        { "['scaled']", FL_PHASE_NONE, 64, 96, false },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CHECK_OK(parse(cases[i].ops, &ops, &err), err);
        CHECK_INT(fl_ops_fit(&ops, cases[i].phase, cases[i].tile, cases[i].size, &err), cases[i].fits ? FL_OK : FL_E_CONFIG);
    }
}

/* recipe 0.4: seed 42, train_10059, epoch 0, view 0, op 0: applied, element 2. */
FL_TEST(draws_are_those_of_the_recipe)
{
    struct fl_err err = { 0 };
    struct fl_ops ops;
    static struct fl_drawn d;
    float params[2];
    CHECK_OK(parse("['d4']", &ops, &err), err);
    struct fl_draw_key key = { 42, fl_rng_tile("train_10059", 11), 0, 0 };
    CHECK_OK(fl_ops_draw(&ops, FL_PHASE_FULL, &key, 256, 256, 3, &d, params, &err), err);
    CHECK_INT(d.n, 1);
    CHECK(d.act[0].v[0] == 2 && params[0] == 1 && params[1] == 2);
    ops.op[0].p = .46;      /* u0 is .46458 */
    CHECK_OK(fl_ops_draw(&ops, FL_PHASE_FULL, &key, 256, 256, 3, &d, params, &err), err);
    CHECK_INT(d.n, 0);
    CHECK(params[0] == 0 && params[1] == 0);
    ops.op[0].p = .47;
    CHECK_OK(fl_ops_draw(&ops, FL_PHASE_FULL, &key, 256, 256, 3, &d, params, &err), err);
    CHECK_INT(d.n, 1);
    key.view = 256;
    CHECK_INT(fl_ops_draw(&ops, FL_PHASE_FULL, &key, 256, 256, 3, &d, params, &err), FL_E_CONFIG);
}

/* 8e5 draws: each element within four sigma of an eighth, sigma = sqrt(n/8 * 7/8) = 295.8. */
FL_TEST(elements_are_drawn_alike)
{
    struct fl_err err = { 0 };
    struct fl_ops ops;
    static struct fl_drawn d;
    long count[8] = { 0 };
    CHECK_OK(parse("['d4']", &ops, &err), err);
    for (uint32_t i = 0; i < 800000; i++) {
        char id[32];
        int len = snprintf(id, sizeof id, "train_%u", i % 40000);
        struct fl_draw_key key = { 7, fl_rng_tile(id, (size_t)len), i / 40000, 0 };
        CHECK_OK(fl_ops_draw(&ops, FL_PHASE_FULL, &key, 256, 256, 3, &d, NULL, &err), err);
        count[(int)d.act[0].v[0]]++;
    }
    for (int g = 0; g < 8; g++)
        CHECK(labs(count[g] - 100000) < 1184);
}

FL_TEST(phases_hold_from_their_epoch)
{
    struct fl_err err = { 0 };
    struct fl_phases p;
    json_t *j = json("{'27':'unbiased','30':'none','3':'unbiased','4':'full'}");
    CHECK_OK(fl_phases_read(j, &p, &err), err);
    json_decref(j);
    static const struct { uint32_t epoch; int phase; } want[] = {
        { 0, FL_PHASE_FULL }, { 2, FL_PHASE_FULL }, { 3, FL_PHASE_UNBIASED }, { 4, FL_PHASE_FULL }, { 26, FL_PHASE_FULL }, { 27, FL_PHASE_UNBIASED },
        { 29, FL_PHASE_UNBIASED }, { 30, FL_PHASE_NONE }, { 4000000000u, FL_PHASE_NONE },
    };
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++)
        CHECK_INT(fl_phase_at(&p, want[i].epoch), want[i].phase);
    static const char *const bad[] = { "'some'", "7", "{'x':'full'}", "{'-1':'full'}", "{'3':'half'}", "{'3':'full','03':'none'}" };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        j = json(bad[i]);
        CHECK_INT(fl_phases_read(j, &p, &err), FL_E_CONFIG);
        CHECK_HAS(err.text, "option augs");
        json_decref(j);
    }
}

FL_TEST(normalisations_are_read)
{
    struct fl_err err = { 0 };
    struct fl_norm n;
    CHECK_OK(fl_norm_read(NULL, &n, &err), err);
    CHECK(n.channels == 3 && n.mean[0] == .485 && n.std[2] == .225);
    CHECK_INT(fl_norm_fit(&n, 4, &err), FL_E_CONFIG);
    CHECK_OK(fl_norm_fit(&n, 3, &err), err);
    json_t *j = json("{'mean':[0.1,0.2,0.3,0.4],'std':[1,2,3,4]}");
    CHECK_OK(fl_norm_read(j, &n, &err), err);
    json_decref(j);
    CHECK(n.channels == 4 && n.mean[3] == .4 && n.std[1] == 2);
    static const char *const bad[] = { "'imagnet'", "7", "{'mean':[1]}", "{'mean':[1],'std':[0]}", "{'mean':[1],'std':[1,2]}", "{'mean':['a'],'std':[1]}", "'nowhere/x.json'" };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        j = json(bad[i]);
        CHECK_INT(fl_norm_read(j, &n, &err), FL_E_CONFIG);
        CHECK_HAS(err.text, "option normalise");
        json_decref(j);
    }
    /* x = 124 is the mean of n01z3's red band, and one grey level is .0167. */
    j = json("'dpn'");
    CHECK_OK(fl_norm_read(j, &n, &err), err);
    json_decref(j);
    CHECK_NEAR((125.0 / 255 - n.mean[0]) / n.std[0], .0167, 1e-12);
}

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = {
        CASE(numbers_go_by_preorder), CASE(bad_lists_are_named), CASE(a_tile_must_be_large_enough), CASE(draws_are_those_of_the_recipe),
        CASE(elements_are_drawn_alike), CASE(phases_hold_from_their_epoch), CASE(normalisations_are_read), { 0 }
    };
    return fl_run(cases, argc, argv);
}
