/* Extra trees: one forest by every way, exact fits, and the score of scikit-learn's. */
#include <unistd.h>

#include "stages/level2/trees.h"
#include "stages/level2/trees_own.h"
#include "tests/level2/make.h"
#include "tests/lib/check.h"

static struct fl_l2_table table(const struct fl_l2_data *d)
{
    return (struct fl_l2_table){ .n = d->n, .P = d->M * d->L, .T = d->L, .x = d->x, .stride = (size_t)d->M * d->L, .y = d->y, .y_stride = d->L };
}

static void apply(const struct fl_l2_trees *m, const struct fl_l2_table *t, double *out)
{
    uint16_t *steps = malloc(((size_t)t->n * m->P + FL_L2_STEPS_SLACK) * sizeof *steps);
    CHECK(steps != NULL);
    fl_l2_trees_steps(m, t, steps);
    fl_l2_trees_rows(m, t->n, steps, out);
    free(steps);
}

static int same(const struct fl_l2_trees *a, const struct fl_l2_trees *b)
{
    return a->trees == b->trees && a->nleaves == b->nleaves && memcmp(a->first, b->first, (a->trees + 1) * sizeof *a->first) == 0 &&
           memcmp(a->node, b->node, a->first[a->trees] * sizeof *a->node) == 0 &&
           memcmp(a->leaf, b->leaf, (size_t)a->nleaves * a->T * sizeof *a->leaf) == 0;
}

/* Each kernel by itself, at every length of a tail: a compiler that gets one wrong is told by its name. */
FL_TEST(kernels_agree)
{
    const struct trees_kernel *plain = trees_kernel("plain"), *k = trees_kernel(NULL);
    static uint16_t v[2][300 + TREES_SLACK], spare[300 + TREES_SLACK], lo[2], hi[2];
    uint64_t mask[2][5], bits[5 * 24], all[24] = { 0 };
    uint32_t draws[2][32];
    for (uint32_t n = 1; n <= 300; n++) {
        struct trees_cut cut[2];
        for (uint32_t i = 0; i < n + TREES_SLACK; i++)
            v[0][i] = v[1][i] = (uint16_t)(make_unit() * 65536);
        for (uint32_t i = 0; i < 5 * 24; i++)
            bits[i] = (uint64_t)(make_unit() * 0x1p32) << 32 | (uint64_t)(make_unit() * 0x1p32);
        for (uint32_t w = 0; w < 5; w++)
            for (uint32_t t = 0; t < 24; t++) {
                uint64_t here = w * 64 + 64 <= n ? UINT64_MAX : w * 64 < n ? (UINT64_C(1) << n % 64) - 1 : 0;
                bits[w * 24 + t] &= here;
                all[t] = (w > 0 ? all[t] : 0) + (uint64_t)__builtin_popcountll(bits[w * 24 + t]);
            }
        uint16_t at = v[0][n / 2];
        for (int i = 0; i < 2; i++) {
            const struct trees_kernel *one = i == 0 ? plain : k;
            one->range(v[i], n, &lo[i], &hi[i]);
            one->mask(v[i], n, at, mask[i]);
            one->cut(v[i], n, at, 24, bits, all, &cut[i]);
            one->part(v[i], n, mask[i], spare);
            one->draws(n, UINT64_C(0x123456789abcdef) * n, n, 1, 8, draws[i]);
        }
        uint32_t left = 0;
        for (uint32_t i = 0; i < n; i++)
            left += (uint32_t)(mask[0][i / 64] >> i % 64 & 1);
        CHECK(left >= 1 && cut[0].nl == left);
        CHECK(lo[0] == lo[1] && hi[0] == hi[1]);
        CHECK(memcmp(mask[0], mask[1], (n + 63) / 64 * sizeof **mask) == 0);
        CHECK(cut[0].nl == cut[1].nl && cut[0].ql == cut[1].ql && cut[0].qr == cut[1].qr);
        CHECK(memcmp(v[0], v[1], n * sizeof **v) == 0);
        CHECK(memcmp(draws[0], draws[1], sizeof draws[0]) == 0);
    }
}

/* Steps at the ends and outside of the range; walks of every number of rows, down trees of one node and of many. */
FL_TEST(predictions_agree)
{
    const struct trees_kernel *kernels[] = { trees_kernel("plain"), trees_kernel(NULL) };
    struct fl_l2_data d = make_data(600, 3, 7, 2, .4, 1);
    struct fl_l2_table t = table(&d);
    struct fl_l2_trees m;
    struct fl_err err = { 0 };
    struct fl_l2_trees_conf c = { .seed = 9, .trees = 5, .columns = 21, .n_min = 2, .min_leaf = 1, .hi = 1 };
    static uint16_t steps[2][600 * 21 + FL_L2_STEPS_SLACK];
    static uint32_t leaf[2][6 * 300];
    float ends[21] = { -1, 0, 1, 2, .5f, .25f, 0.99999994f, 1e-30f };
    CHECK_OK(fl_l2_trees_fit(&t, &c, &m, &err), err);
    for (uint32_t i = 0; i < 600; i++)
        for (int k = 0; k < 2; k++)
            kernels[k]->steps(i == 0 ? ends : d.x + (size_t)i * 21, 21, 0, trees_scale(0, 1), steps[k] + (size_t)i * 21);
    CHECK(memcmp(steps[0], steps[1], sizeof *steps - FL_L2_STEPS_SLACK * sizeof **steps) == 0);
    CHECK_INT(steps[0][0], 0);
    CHECK_INT(steps[0][1], 0);
    CHECK_INT(steps[0][2], 65535);
    CHECK_INT(steps[0][3], 65535);
    CHECK_INT(steps[0][4], 32768);
    CHECK_INT(steps[0][5], 16384);
    uint64_t *node = malloc((m.first[5] + 1) * sizeof *node), first[7] = { 0 };
    node[0] = (uint64_t)FL_L2_LEAF << 32 | 3;                       /* a tree that is one leaf, before the others */
    memcpy(node + 1, m.node, m.first[5] * sizeof *node);
    for (uint32_t k = 0; k <= 5; k++)
        first[k + 1] = m.first[k] + 1;
    for (uint32_t rows = 1; rows <= 300; rows++) {
        struct trees_walk w = { .node = node, .first = first, .trees = 1 + rows % 6, .P = 21, .rows = rows, .steps = steps[0] };
        for (int k = 0; k < 2; k++)
            kernels[k]->walk(&w, leaf[k]);
        CHECK(memcmp(leaf[0], leaf[1], (size_t)w.trees * rows * sizeof **leaf) == 0);
        for (uint32_t i = 0; i < rows; i++)
            CHECK_INT(leaf[0][i], 3);
        for (uint32_t k = 1; k < w.trees; k++)
            for (uint32_t i = 0; i < rows; i++) {
                const uint64_t *tree = node + first[k];
                uint32_t at = 0;
                while (trees_column(tree[at]) != FL_L2_LEAF)
                    at = steps[0][(size_t)i * 21 + trees_column(tree[at])] <= tree[at] >> 48 ? at + 1 : (uint32_t)tree[at];
                CHECK(leaf[0][k * rows + i] == (uint32_t)tree[at]);
            }
    }
    free(node);
    fl_l2_trees_done(&m);
    make_free(&d);
}

/* By plain loops, by wide ones, by one thread or three, with columns moved or rows listed, with outputs as bits or as numbers. */
FL_TEST(one_forest_by_every_way)
{
    static const struct { uint32_t n, M, L, columns, n_min, min_leaf; } sizes[] = {
        { 300, 3, 5, 15, 2, 1 }, { 300, 3, 5, 2, 2, 1 }, { 1, 1, 1, 1, 2, 1 }, { 2, 1, 1, 1, 2, 1 }, { 65, 2, 17, 34, 5, 2 }, { 257, 4, 9, 6, 5, 3 }, { 600, 1, 25, 0, 2, 1 },
        { 130, 1, 40, 40, 2, 1 },
    };
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        struct fl_l2_data d = make_data(sizes[s].n, sizes[s].M, sizes[s].L, 2, .6, 1);
        struct fl_l2_table t = table(&d), real = t;
        struct fl_l2_trees first, other;
        struct fl_err err = { 0 };
        struct fl_l2_trees_conf c = { .seed = 42, .trees = 7, .columns = sizes[s].columns, .n_min = sizes[s].n_min, .min_leaf = sizes[s].min_leaf,
                                      .threads = 1, .hi = 1, .kernel = "plain" };
        double *y = malloc((size_t)d.n * d.L * sizeof *y);
        for (size_t i = 0; i < (size_t)d.n * d.L; i++)
            y[i] = d.y[i];
        real.real = y;
        CHECK_OK(fl_l2_trees_fit(&t, &c, &first, &err), err);
        CHECK_OK(fl_l2_trees_prove(&first, &err), err);
        for (int way = 0; way < 4; way++) {
            c.kernel = way == 1 ? "plain" : NULL;
            c.threads = way < 2 ? 3 : 1;
            CHECK_OK(fl_l2_trees_fit(way == 3 ? &real : &t, &c, &other, &err), err);
            CHECK(same(&first, &other));
            fl_l2_trees_done(&other);
        }
        free(y);
        fl_l2_trees_done(&first);
        make_free(&d);
    }
}

FL_TEST(another_seed_is_another_forest)
{
    struct fl_l2_data d = make_data(100, 2, 3, 2, .6, 1);
    struct fl_l2_table t = table(&d);
    struct fl_l2_trees a, b;
    struct fl_err err = { 0 };
    struct fl_l2_trees_conf c = { .seed = 1, .trees = 3, .n_min = 2, .min_leaf = 1, .hi = 1 };
    CHECK_OK(fl_l2_trees_fit(&t, &c, &a, &err), err);
    c.seed = 2;
    CHECK_OK(fl_l2_trees_fit(&t, &c, &b, &err), err);
    CHECK(!same(&a, &b));
    fl_l2_trees_done(&a);
    fl_l2_trees_done(&b);
    make_free(&d);
}

/* Rows that differ are told apart to the last one; elsewhere predictions stay within the outputs. A row alone comes to the same as among many. */
FL_TEST(distinct_rows_are_fitted_exactly)
{
    for (int drawn = 0; drawn < 2; drawn++) {
        struct fl_l2_data d = make_data(500, 3, 4, 2, .3, 1), other = make_data(200, 3, 4, 2, .3, 2);
        struct fl_l2_table t = table(&d), u = table(&other);
        struct fl_l2_trees m;
        struct fl_err err = { 0 };
        struct fl_l2_trees_conf c = { .seed = 3, .trees = 5, .columns = drawn ? 1 : 12, .n_min = 2, .min_leaf = 1, .threads = 2, .hi = 1 };
        double out[500 * 4] = { 0 }, one[4] = { 0 };
        CHECK_OK(fl_l2_trees_fit(&t, &c, &m, &err), err);
        apply(&m, &t, out);
        for (uint32_t i = 0; i < 500 * 4; i++)
            CHECK(out[i] == d.y[i]);
        apply(&m, &u, out);
        for (uint32_t i = 0; i < 200; i++) {
            struct fl_l2_table alone = { .n = 1, .x = other.x, .stride = 12, .rows = &i };
            apply(&m, &alone, one);
            CHECK(memcmp(one, out + (size_t)i * 4, sizeof one) == 0);
            for (uint32_t l = 0; l < 4; l++)
                CHECK(one[l] >= 0 && one[l] <= 1);
        }
        fl_l2_trees_done(&m);
        make_free(&d);
        make_free(&other);
    }
}

FL_TEST(leaves_are_as_small_as_asked)
{
    struct fl_l2_data d = make_data(400, 2, 3, 2, .3, 1);
    struct fl_l2_table t = table(&d);
    struct fl_l2_trees m;
    struct fl_err err = { 0 };
    struct fl_l2_trees_conf c = { .seed = 3, .trees = 1, .columns = 6, .n_min = 2, .min_leaf = 7, .hi = 1 };
    double out[400 * 3];
    CHECK_OK(fl_l2_trees_fit(&t, &c, &m, &err), err);
    apply(&m, &t, out);
    for (uint32_t i = 0; i < 400; i++) {
        uint32_t alike = 0;
        for (uint32_t j = 0; j < 400; j++)
            alike += memcmp(out + (size_t)i * 3, out + (size_t)j * 3, 3 * sizeof *out) == 0;
        CHECK(alike >= 7);
    }
    fl_l2_trees_done(&m);
    make_free(&d);
}

FL_TEST(rows_and_columns_can_be_chosen)
{
    struct fl_l2_data d = make_data(60, 2, 3, 2, .6, 1);
    static const uint32_t rows[] = { 5, 2, 40, 11, 30, 31, 59, 0, 1, 17 }, columns[] = { 4, 1 }, outputs[] = { 2 };
    float x[20];
    uint8_t y[10];
    for (uint32_t i = 0; i < 10; i++) {
        x[2 * i] = d.x[rows[i] * 6 + 4];
        x[2 * i + 1] = d.x[rows[i] * 6 + 1];
        y[i] = d.y[rows[i] * 3 + 2];
    }
    struct fl_l2_table t = { .n = 10, .P = 2, .T = 1, .x = d.x, .stride = 6, .rows = rows, .columns = columns, .y = d.y, .y_stride = 3, .outputs = outputs };
    struct fl_l2_table u = { .n = 10, .P = 2, .T = 1, .x = x, .stride = 2, .y = y, .y_stride = 1 };
    struct fl_l2_trees_conf c = { .seed = 3, .trees = 4, .n_min = 2, .min_leaf = 1, .hi = 1 };
    struct fl_l2_trees a, b;
    struct fl_err err = { 0 };
    CHECK_OK(fl_l2_trees_fit(&t, &c, &a, &err), err);
    CHECK_OK(fl_l2_trees_fit(&u, &c, &b, &err), err);
    CHECK(same(&a, &b));
    fl_l2_trees_done(&a);
    fl_l2_trees_done(&b);
    make_free(&d);
}

FL_TEST(broken_nodes_are_refused)
{
    const uint64_t leaf = (uint64_t)FL_L2_LEAF << 32;
    const struct { uint64_t node[3]; uint32_t trees; } cases[] = {
        { { 1, leaf, leaf }, 1 }, { { 3, leaf, leaf }, 1 }, { { 2, leaf, 2 }, 1 }, { { 2, leaf | 1, leaf }, 1 }, { { 2 | UINT64_C(9) << 32, leaf, leaf }, 1 }, { { 0, leaf, leaf }, 1 },
    };
    const uint64_t first[] = { 0, 3 };
    struct fl_err err = { 0 };
    struct fl_l2_trees m = { .trees = 1, .P = 2, .T = 1, .nleaves = 1, .first = first, .node = (const uint64_t[]){ 2, leaf, leaf } };
    CHECK_OK(fl_l2_trees_prove(&m, &err), err);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        m.node = cases[i].node;
        CHECK_INT(fl_l2_trees_prove(&m, &err), FL_E_INPUT);
    }
    CHECK_INT(fl_l2_trees_fit(&(struct fl_l2_table){ .n = 0 }, &(struct fl_l2_trees_conf){ .trees = 1, .n_min = 2, .min_leaf = 1 }, &m, &err), FL_E_CONFIG);
}

/* Out-of-sample R2 on Friedman-1, ten seeds. */
FL_TEST(as_good_as_scikit_learn)
{
    char path[300], cmd[600];
    float x[1000 * 10];
    double y[1000], theirs, sum = 0, out[500];
    snprintf(path, sizeof path, "%s/friedman", fl_tmpdir());
    if (access("/usr/bin/python3", X_OK) != 0 || system("/usr/bin/python3 -c 'import sklearn' 2>/dev/null") != 0) {
        fl_skip("no scikit-learn for /usr/bin/python3");
        return;
    }
    snprintf(cmd, sizeof cmd, "OMP_NUM_THREADS=1 /usr/bin/python3 -B tests/level2/friedman.py %s", path);
    CHECK_INT(system(cmd), 0);
    FILE *f = fopen(path, "rb");
    CHECK(f != NULL);
    for (uint32_t seed = 0; seed < 10; seed++) {
        CHECK(fread(x, sizeof x, 1, f) == 1 && fread(y, sizeof y, 1, f) == 1 && fread(&theirs, sizeof theirs, 1, f) == 1);
        struct fl_l2_table fit = { .n = 500, .P = 10, .T = 1, .x = x, .stride = 10, .real = y };
        struct fl_l2_table score = { .n = 500, .P = 10, .T = 1, .x = x + 5000, .stride = 10 };
        struct fl_l2_trees_conf c = { .seed = seed, .trees = 100, .columns = 3, .n_min = 5, .min_leaf = 1, .threads = 2, .hi = 1 };
        struct fl_l2_trees m;
        struct fl_err err = { 0 };
        CHECK_OK(fl_l2_trees_fit(&fit, &c, &m, &err), err);
        apply(&m, &score, out);
        double mean = 0, all = 0, rest = 0, least = y[0], most = y[0];
        for (uint32_t i = 0; i < 500; i++) {
            least = fmin(least, y[i]);
            most = fmax(most, y[i]);
        }
        for (uint32_t i = 0; i < 500; i++) {
            CHECK((float)least <= (float)out[i] && (float)out[i] <= (float)most);
            mean += y[500 + i] / 500;
        }
        for (uint32_t i = 0; i < 500; i++) {
            all += (y[500 + i] - mean) * (y[500 + i] - mean);
            rest += (y[500 + i] - out[i]) * (y[500 + i] - out[i]);
        }
        sum += 1 - rest / all - theirs;
        fl_l2_trees_done(&m);
    }
    fclose(f);
    CHECK_NEAR(sum / 10, 0, .01);
}

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = {
        CASE(kernels_agree), CASE(predictions_agree), CASE(one_forest_by_every_way), CASE(another_seed_is_another_forest), CASE(distinct_rows_are_fitted_exactly), CASE(leaves_are_as_small_as_asked),
        CASE(rows_and_columns_can_be_chosen), CASE(broken_nodes_are_refused), CASE(as_good_as_scikit_learn), { 0 }
    };
    return fl_run(cases, argc, argv);
}
