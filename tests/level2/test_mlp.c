/* The network: the same bits by every kernel, and what NumPy makes of the same definition in double. */
#include <unistd.h>

#include "stages/level2/mlp.h"
#include "tests/level2/make.h"
#include "tests/lib/check.h"

static struct fl_l2_table table(const struct fl_l2_data *d)
{
    return (struct fl_l2_table){ .n = d->n, .P = d->M * d->L, .T = d->L, .x = d->x, .stride = (size_t)d->M * d->L, .y = d->y, .y_stride = d->L };
}

/* All rows at once, or one by one. */
static int predict(const struct fl_l2_mlp *m, const struct fl_l2_data *d, uint32_t block, double *out)
{
    size_t P = m->P;
    double *x = malloc(d->n * P * sizeof *x);
    float *work = aligned_alloc(64, (fl_l2_mlp_work(m, block) * sizeof *work + 64) / 64 * 64);
    for (size_t i = 0; x != NULL && i < d->n * P; i++)
        x[i] = (double)d->x[i];
    for (uint32_t from = 0; x != NULL && work != NULL && from < d->n; from += block)
        fl_l2_mlp_rows(m, d->n - from < block ? d->n - from : block, x + from * P, work, out + (size_t)from * m->T);
    int ok = x != NULL && work != NULL;
    free(x);
    free(work);
    return ok;
}

FL_TEST(the_same_bits_by_every_kernel_and_alone)
{
    static const char *const names[] = { "plain", "avx2", "avx512" };
    struct fl_l2_data d = make_data(333, 3, 5, 2, 1, 1);
    struct fl_l2_table t = table(&d);
    struct fl_l2_mlp_conf c = fl_l2_mlp_default;
    double out[4][333 * 5];
    c.hidden = 37;
    c.batch = 50;
    c.epochs = 3;
    c.seeds = 2;
    for (int i = 0; i < 3; i++) {
        struct fl_l2_mlp m;
        struct fl_err err = { 0 };
        c.kernel = names[i];
        int rc = fl_l2_mlp_fit(&t, &c, &m, &err);
        if (rc == FL_E_CONFIG && i > 0)
            continue;
        CHECK_INT(rc, FL_OK);
        CHECK(predict(&m, &d, d.n, out[i]));
        CHECK(predict(&m, &d, 1, out[3]));
        CHECK(memcmp(out[i], out[3], sizeof out[3]) == 0);
        CHECK(memcmp(out[0], out[3], sizeof out[3]) == 0);
        fl_l2_mlp_done(&m);
    }
    make_free(&d);
}

static int reference(const struct fl_l2_data *d, const struct fl_l2_mlp_conf *c, double *out)
{
    char in[300], res[300], cmd[900];
    uint32_t P = d->M * d->L;
    snprintf(in, sizeof in, "%s/in", fl_tmpdir());
    snprintf(res, sizeof res, "%s/out", fl_tmpdir());
    if (access("/usr/bin/python3", X_OK) != 0 || system("/usr/bin/python3 -c 'import numpy' 2>/dev/null") != 0) {
        fl_skip("no NumPy for /usr/bin/python3");
        return 0;
    }
    FILE *f = fopen(in, "wb");
    const int32_t head[8] = { (int32_t)d->n, (int32_t)P, (int32_t)d->L, (int32_t)c->hidden, (int32_t)c->seeds, (int32_t)c->batch, (int32_t)c->epochs, (int32_t)c->seed };
    fwrite(head, sizeof head, 1, f);
    fwrite(&c->dropout, 8, 1, f);
    for (size_t i = 0; i < (size_t)d->n * P; i++)
        fwrite(&(double){ (double)d->x[i] }, 8, 1, f);
    for (size_t i = 0; i < (size_t)d->n * d->L; i++)
        fwrite(&(double){ d->y[i] }, 8, 1, f);
    fclose(f);
    snprintf(cmd, sizeof cmd, "OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 /usr/bin/python3 -B tests/level2/mlp.py %s %s", in, res);
    if (system(cmd) != 0 || (f = fopen(res, "rb")) == NULL) {
        fl_fail_at(__FILE__, __LINE__, "%s failed", cmd);
        return 0;
    }
    int ok = fread(out, sizeof *out * d->L, d->n, f) == d->n;
    fclose(f);
    return ok;
}

/* Ours is in float32: after some dozens of steps predictions differ in the fifth place. */
FL_TEST(as_numpy_makes_it)
{
    for (int dropout = 0; dropout < 2; dropout++) {
        struct fl_l2_data d = make_data(400, 3, 4, 2, 1, 1);
        struct fl_l2_table t = table(&d);
        struct fl_l2_mlp_conf c = fl_l2_mlp_default;
        struct fl_l2_mlp m;
        struct fl_err err = { 0 };
        double out[400 * 4], theirs[400 * 4];
        c.hidden = 30;
        c.batch = 64;
        c.epochs = 12;
        c.seeds = 2;
        c.seed = 77;
        c.dropout = dropout ? .3 : 0;
        if (!reference(&d, &c, theirs)) {
            make_free(&d);
            return;
        }
        CHECK_OK(fl_l2_mlp_fit(&t, &c, &m, &err), err);
        CHECK(predict(&m, &d, d.n, out));
        for (uint32_t i = 0; i < 400 * 4; i++)
            CHECK_NEAR(out[i], theirs[i], 2e-4);
        fl_l2_mlp_done(&m);
        make_free(&d);
    }
}

FL_TEST(bad_options_are_refused)
{
    struct fl_l2_data d = make_data(40, 1, 2, 2, 1, 1);
    struct fl_l2_table t = table(&d);
    struct fl_l2_mlp_conf c = fl_l2_mlp_default;
    struct fl_l2_mlp m;
    struct fl_err err = { 0 };
    c.dropout = 1;
    CHECK_INT(fl_l2_mlp_fit(&t, &c, &m, &err), FL_E_CONFIG);
    c = fl_l2_mlp_default;
    c.hidden = 0;
    CHECK_INT(fl_l2_mlp_fit(&t, &c, &m, &err), FL_E_CONFIG);
    c = fl_l2_mlp_default;
    t.n = 9;
    CHECK_INT(fl_l2_mlp_fit(&t, &c, &m, &err), FL_E_CONFIG);
    make_free(&d);
}

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = { CASE(the_same_bits_by_every_kernel_and_alone), CASE(as_numpy_makes_it), CASE(bad_options_are_refused), { 0 } };
    return fl_run(cases, argc, argv);
}
