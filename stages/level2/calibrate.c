/* Platt's scaling of log-odds, by Newton's method with halved steps; a stays at its least where the loss falls further below it. */
#include "stages/level2/calibrate.h"

#include <math.h>

#include "runtime/merge.h"

#define CALIBRATE_STEPS 100
#define CALIBRATE_GAIN  1e-12          /* of 1 + loss: less can't be told from rounding */
#define CALIBRATE_LEAST 1e-3           /* of a */
#define CALIBRATE_SHORT 1e-9           /* of a step: shorter ones aren't tried */

struct calibrate { size_t n, stride; const double *p; const uint8_t *y, *fold; uint32_t skip; };

/* Loss, gradient (2) and Hessian (aa, ab, bb) at (a, b). */
static double calibrate_at(const struct calibrate *c, double a, double b, double g[2], double h[3])
{
    double loss = 0.0;
    g[0] = g[1] = h[0] = h[1] = h[2] = 0.0;
    for (size_t i = 0; i < c->n; i++) {
        if (c->fold != NULL && c->fold[i] == c->skip)
            continue;
        double x = fl_prob_logit(c->p[i * c->stride]), z = a * x + b, s = fl_prob_sigmoid(z), e = s - c->y[i * c->stride], w = s * (1.0 - s);
        loss += (z > 0.0 ? z : 0.0) - z * c->y[i * c->stride] + log1p(exp(-fabs(z)));
        g[0] += e * x;
        g[1] += e;
        h[0] += w * x * x;
        h[1] += w * x;
        h[2] += w;
    }
    return loss;
}

static int calibrate_mixed(const struct calibrate *c)
{
    int seen = 0;
    for (size_t i = 0; i < c->n && seen != 3; i++)
        if (c->fold == NULL || c->fold[i] != c->skip)
            seen |= c->y[i * c->stride] ? 2 : 1;
    return seen == 3;
}

/* Newton's step from (a, b) with what it gains if the loss is a parabola. Only b moves where a is at its least and would fall, and where all log-odds are alike. */
static double calibrate_step(double a, const double g[2], const double h[3], double d[2])
{
    double det = h[0] * h[2] - h[1] * h[1];
    int both = det > 1e-12 * h[0] * h[2];
    d[0] = both ? -(h[2] * g[0] - h[1] * g[1]) / det : 0.0;
    if (a <= CALIBRATE_LEAST && d[0] < 0.0)
        d[0] = 0.0;
    d[1] = d[0] != 0.0 ? -(h[0] * g[1] - h[1] * g[0]) / det : h[2] > 0.0 ? -g[1] / h[2] : 0.0;
    return -(g[0] * d[0] + g[1] * d[1]) / 2;
}

int fl_l2_calibrate(size_t n, const double *p, const uint8_t *y, size_t stride, const uint8_t *fold, uint32_t skip, double *a, double *b)
{
    struct calibrate c = { n, stride, p, y, fold, skip };
    double g[2], h[3], d[2];
    *a = 1.0;
    *b = 0.0;
    if (!calibrate_mixed(&c))
        return 1;
    double loss = calibrate_at(&c, *a, *b, g, h);
    for (int step = 0; step < CALIBRATE_STEPS; step++) {
        if (calibrate_step(*a, g, h, d) <= CALIBRATE_GAIN * (1.0 + loss))
            return 1;
        double whole = *a + d[0] < CALIBRATE_LEAST ? (CALIBRATE_LEAST - *a) / d[0] : 1.0, size = whole, before = loss, a0 = *a, b0 = *b;
        do {
            *a = size < 1.0 && size == whole ? CALIBRATE_LEAST : a0 + size * d[0];
            *b = b0 + size * d[1];
            loss = calibrate_at(&c, *a, *b, g, h);
            size /= 2;
        } while (!(loss <= before) && size > CALIBRATE_SHORT * whole);
        if (!(loss <= before))
            return 0;
    }
    return 0;
}

double fl_l2_calibrated(double p, double a, double b) { return fl_prob_sigmoid(a * fl_prob_logit(p) + b); }
