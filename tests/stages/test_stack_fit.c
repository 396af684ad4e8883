/* The rows of a fit: in any order, twice, after a restart, torn on disk; what is wrong with them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/text.h"
#include "tests/lib/check.h"
#include "tests/lib/harness.h"

extern const struct fl_stage fl_stage_stack_fit;

enum { ROWS = 4, BATCHES = 6, MODELS = 2, LABELS = 2 };

static const char *const ab[] = { "a", "b", NULL };

struct bench { struct fl_harness *h; struct fl_err err; char dir[200]; };

static int opened(struct bench *t, const char *more)
{
    char options[900];
    snprintf(options, sizeof options, "{\"out\":\"%s/table.json\",\"oof\":\"csv\",\"models\":[\"q\",\"p\"]%s}", t->dir, more);
    t->err = (struct fl_err){ 0 };
    t->h = fl_harness_new(&fl_stage_stack_fit, &(struct fl_harness_conf){ .options = options, .B = ROWS, .nlabels = LABELS, .labels = ab, .rest_off = FL_NO_LABEL, .run_dir = t->dir }, &t->err);
    return t->h != NULL && fl_harness_open(t->h, &t->err) == FL_OK;
}

static void place(struct bench *t, const char *name)
{
    snprintf(t->dir, sizeof t->dir, "%s/%s", fl_tmpdir(), name);
    mkdir(t->dir, 0700);
}

/* Batch k as the source would send it; value: NULL, or put in the place of model p, label b of row 1. folds: rows take turns among so many. */
static int send(struct bench *t, uint64_t k, const float *value, uint32_t folds, int (*how)(struct fl_harness *, struct fl_batch *, struct fl_err *))
{
    struct fl_batch *b = fl_harness_batch(t->h, k, ROWS);
    float p[ROWS][MODELS][LABELS];
    uint8_t y[ROWS][LABELS], fold[ROWS];
    for (uint32_t i = 0; i < ROWS; i++) {
        uint32_t n = (uint32_t)k * ROWS + i;
        fold[i] = (uint8_t)(n % folds);
        for (uint32_t l = 0; l < LABELS; l++) {
            y[i][l] = (n * 5 + l) % 7 < 3;
            for (uint32_t j = 0; j < MODELS; j++)
                p[i][j][l] = (float)((n * 37 + l * 11 + j * 23) % 89) / 100 + (y[i][l] ? .1f : 0);
        }
    }
    if (value != NULL)
        p[1][1][1] = *value;
    fl_harness_tensor(t->h, b, "models", FL_F32, 3, (uint32_t[]){ ROWS, MODELS, LABELS }, p);
    fl_harness_tensor(t->h, b, "truth", FL_U8, 2, (uint32_t[]){ ROWS, LABELS }, y);
    fl_harness_tensor(t->h, b, "fold", FL_U8, 1, (uint32_t[]){ ROWS }, fold);
    return how(t->h, b, &t->err);
}

static int push(struct bench *t, uint64_t k, const float *value, uint32_t folds) { return send(t, k, value, folds, fl_harness_push); }

static char *text_of(const struct bench *t, const char *name)
{
    char path[300], *text = NULL;
    size_t len;
    snprintf(path, sizeof path, "%s/%s", t->dir, name);
    return fl_read_file(path, 1 << 20, &text, &len, NULL) == FL_OK ? text : strdup("");
}

static int same_files(const struct bench *a, const struct bench *b)
{
    static const char *const names[] = { "table.json", "table.csv", "table.txt", "ridge.json", "ridge.csv", "ridge.safetensors" };
    int same = 1;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *x = text_of(a, names[i]), *y = text_of(b, names[i]);
        same = same && *x != '\0' && strcmp(x, y) == 0;
        free(x);
        free(y);
    }
    return same;
}

static int in_order(struct bench *t)
{
    place(t, "order");
    int ok = opened(t, "");
    for (uint64_t k = 0; ok && k < BATCHES; k++)
        ok = push(t, k, NULL, 3) == FL_OK;
    ok = ok && fl_harness_drain(t->h, &t->err) == FL_OK;
    fl_harness_close(t->h);
    return ok;
}

FL_TEST(any_order_and_twice)
{
    struct bench t, want;
    static const uint64_t order[] = { 3, 0, 5, 3, 1, 4, 0, 2 };
    CHECK(in_order(&want));
    place(&t, "turned");
    CHECK(opened(&t, ""));
    for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
        CHECK_OK(send(&t, order[i], NULL, 3, fl_harness_trial), t.err);      /* nothing of it stays */
        CHECK_OK(push(&t, order[i], NULL, 3), t.err);
    }
    CHECK_INT(fl_harness_acked(t.h), 8);
    CHECK_OK(fl_harness_drain(t.h, &t.err), t.err);
    CHECK(fl_harness_result(t.h, "log_loss") > 0);
    fl_harness_close(t.h);
    CHECK(same_files(&want, &t));
    char *oof = text_of(&t, "ridge.csv");
    CHECK(strncmp(oof, "image_name,a,b\nt0,", 18) == 0);
    free(oof);
}

/* A stage that died after some batches, with the last record torn: what was whole is there, the rest comes again. */
FL_TEST(a_restarted_one_has_its_rows)
{
    struct bench t, want;
    struct stat st;
    char path[300];
    CHECK(in_order(&want));
    place(&t, "died");
    CHECK(opened(&t, ""));
    for (uint64_t k = 0; k < 4; k++)
        CHECK_OK(push(&t, k, NULL, 3), t.err);
    snprintf(path, sizeof path, "%s/%s.rows", t.dir, fl_harness_ctx(t.h)->name);
    fl_harness_close(t.h);
    CHECK(stat(path, &st) == 0 && truncate(path, st.st_size - 5) == 0);
    CHECK(opened(&t, ""));
    for (uint64_t k = 3; k < BATCHES; k++)
        CHECK_OK(push(&t, k, NULL, 3), t.err);
    CHECK_OK(fl_harness_drain(t.h, &t.err), t.err);
    fl_harness_close(t.h);
    CHECK(same_files(&want, &t));
}

FL_TEST(bad_rows_are_named)
{
    struct bench t;
    static const float bad = 1.5f;
    place(&t, "bad");
    CHECK(opened(&t, ""));
    CHECK_INT(push(&t, 1, &bad, 3), FL_E_NUM);
    CHECK_HAS(t.err.text, "t5, model p, label b: 1.5 is not a probability");
    fl_harness_close(t.h);
    place(&t, "folds");
    CHECK(opened(&t, ""));
    CHECK_OK(push(&t, 0, NULL, 1), t.err);
    CHECK_INT(fl_harness_drain(t.h, &t.err), FL_E_CONFIG);
    CHECK_HAS(t.err.text, "1 folds, want 2");
    fl_harness_close(t.h);
    place(&t, "gap");
    CHECK(opened(&t, ""));
    CHECK_OK(push(&t, 0, NULL, 9), t.err);       /* folds 0 to 3 */
    CHECK_OK(push(&t, 4, NULL, 200), t.err);     /* 16 to 19 */
    CHECK_INT(fl_harness_drain(t.h, &t.err), FL_E_LABEL);
    CHECK_HAS(t.err.text, "has no row");
    fl_harness_close(t.h);
}

/* One that can't be fitted leaves the other alone, and is told. */
FL_TEST(one_fails_alone)
{
    struct bench t;
    place(&t, "alone");
    CHECK(opened(&t, ",\"matrix\":{\"method\":[\"mlp\",\"ridge\"]}"));
    CHECK_OK(push(&t, 0, NULL, 2), t.err);
    CHECK_OK(push(&t, 1, NULL, 2), t.err);
    CHECK_INT(fl_harness_drain(t.h, &t.err), FL_E_NUM);
    CHECK_HAS(t.err.text, "1 of 2 configurations can't be fitted");
    CHECK_HAS(t.err.text, "mlp: E_CONFIG");
    fl_harness_close(t.h);
    char *table = text_of(&t, "table.csv");
    CHECK_HAS(table, "\nridge,");
    CHECK_HAS(table, "\nmlp,,,,");
    free(table);
}

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = { CASE(any_order_and_twice), CASE(a_restarted_one_has_its_rows), CASE(bad_rows_are_named), CASE(one_fails_alone), { 0 } };
    return fl_run(cases, argc, argv);
}
