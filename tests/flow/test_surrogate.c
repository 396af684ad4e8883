/* Decoders on surrogate probabilities of the real label table: calibrated by construction, so each decoder's gain is known.
 *
 * Of 48 models with shared and own noise the best stack sees, for label y with frequency pi, x = (2y-1) + .64 e + .20/sqrt(48) n, and its
 * probability is sigmoid(logit(pi) + 2x / (.64^2 + .20^2/48)). */
#include <math.h>

#include "runtime/metric.h"
#include "runtime/f2.h"
#include "tests/lib/check.h"

#define L 17

static uint64_t rnd_state = 12345;
static double rnd(void)
{
    rnd_state = rnd_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return ((double)(rnd_state >> 11) + 0.5) * 0x1p-53;
}

static double normal(void) { return sqrt(-2 * log(rnd())) * cos(6.283185307179586 * rnd()); }

struct surrogate { struct fl_truth t; double pi[L], *p; uint8_t *h; struct fl_f2 f; double work[FL_F2_ENUM_WORK]; };

static void surrogate_free(struct surrogate *s)
{
    if (s == NULL)
        return;
    fl_truth_free(&s->t);
    free(s->p);
    free(s->h);
    free(s);
}

static struct surrogate *surrogate_new(void)
{
    const char *path = fl_data("planet-labels/train_v2.csv.gz");
    struct surrogate *s = path != NULL ? calloc(1, sizeof *s) : NULL;
    double var = .64 * .64 + .20 * .20 / 48;
    if (s == NULL)
        return NULL;
    fl_f2_init(&s->f, L, 2, 0, FL_DEFAULT_EXCLUSIVE, FL_DEFAULT_REST_OFF, NULL);
    if (fl_truth_read(path, L, fl_default_labels, FL_DEFAULT_EXCLUSIVE, FL_DEFAULT_REST_OFF, 0, &s->t, NULL) == FL_OK) {
        s->p = malloc(s->t.n * L * sizeof *s->p);
        s->h = malloc(s->t.n * L);
    }
    if (s->p == NULL || s->h == NULL) {
        surrogate_free(s);
        return NULL;
    }
    for (uint64_t i = 0; i < s->t.n * L; i++)
        s->pi[i % L] += s->t.y[i] / (double)s->t.n;
    for (uint64_t i = 0; i < s->t.n * L; i++) {
        double x = 2.0 * s->t.y[i] - 1 + sqrt(var) * normal(), pi = s->pi[i % L];
        s->p[i] = (float)(1 / (1 + exp(-(log(pi / (1 - pi)) + 2 * x / var))));
    }
    return s;
}

enum how { THRESHOLD, ENUM, EXACT, NORM, NORM1, ODDS, ODDS1 };

static uint64_t decode(struct surrogate *s, const double *p, enum how how)
{
    double e, none, q[L], r[L], Q[L * L], t[L];
    int many;
    for (int l = 0; l < L; l++)
        t[l] = 0.2;
    if (how == THRESHOLD)
        return fl_f2_threshold(&s->f, p, t);
    if (how == ENUM)
        return fl_f2_bayes_enum(&s->f, p, s->work, &many);
    if (how == EXACT)
        return fl_f2_exact(&s->f, p, &e);
    if (how == NORM || how == NORM1)
        fl_f2_weather_norm(&s->f, p, q, r);
    else
        fl_f2_weather_odds(&s->f, p, s->pi, q, r);
    fl_f2_q_weather(&s->f, q, r, Q, &none);
    return fl_f2_gfm(&s->f, Q, none, how == NORM1 || how == ODDS1, &e);
}

static double score(struct surrogate *s, enum how how)
{
    struct fl_metric m = { 0 };
    for (uint64_t i = 0; i < s->t.n; i++) {
        uint64_t set = decode(s, s->p + i * L, how);
        for (uint32_t l = 0; l < L; l++)
            s->h[i * L + l] = set >> l & 1;
    }
    return fl_metric(s->t.n, L, s->t.y, s->h, 2, 0, NULL, &m, NULL) == FL_OK ? m.mean : NAN;
}

/* The ranges seen over many seeds, widened by .0005. */
FL_TEST(each_decoder_gains_what_it_should)
{
    struct surrogate *s = surrogate_new();
    if (s == NULL)
        return;
    double f[7];
    for (int how = THRESHOLD; how <= ODDS1; how++)
        f[how] = score(s, how);
    surrogate_free(s);
    CHECK_NEAR(f[THRESHOLD], (.9345 + .9361) / 2, .0008 + .0005);
    CHECK_NEAR(f[EXACT], (.9362 + .9381) / 2, .00095 + .0005);
    CHECK_NEAR(f[ENUM] - f[THRESHOLD], (.0010 + .0021) / 2, .00055 + .0005);
    CHECK_NEAR(f[EXACT] - f[THRESHOLD], (.0014 + .0023) / 2, .00045 + .0005);
    CHECK_NEAR(f[NORM], (.9486 + .9501) / 2, .00075 + .0005);
    CHECK_NEAR(f[NORM1], (.9518 + .9535) / 2, .00085 + .0005);
    CHECK_NEAR(f[ODDS], (.9573 + .9590) / 2, .00085 + .0005);
    CHECK_NEAR(f[ODDS1], (.9537 + .9554) / 2, .00085 + .0005);
}

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = { CASE(each_decoder_gains_what_it_should), { 0 } };
    return fl_run(cases, argc, argv);
}
