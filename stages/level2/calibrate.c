/* Platt's scaling of log-odds, by Newton's method with halved steps. */
#include "stages/level2/calibrate.h"

#include <math.h>

#include "runtime/merge.h"

#define CALIBRATE_STEPS 50
#define CALIBRATE_LEAST 1e-3           /* of a */

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

void fl_l2_calibrate(size_t n, const double *p, const uint8_t *y, size_t stride, const uint8_t *fold, uint32_t skip, double *a, double *b)
{
    struct calibrate c = { n, stride, p, y, fold, skip };
    double g[2], h[3], loss;
    *a = 1.0;
    *b = 0.0;
    if (!calibrate_mixed(&c))
        return;
    loss = calibrate_at(&c, *a, *b, g, h);
    for (int step = 0; step < CALIBRATE_STEPS; step++) {
        double det = h[0] * h[2] - h[1] * h[1], size = 1.0;
        if (!(det > 1e-12 * h[0] * h[2]))
            return;
        double da = -(h[2] * g[0] - h[1] * g[1]) / det, db = -(h[0] * g[1] - h[1] * g[0]) / det, before = loss;
        for (int halved = 0; halved < 30; halved++, size /= 2) {
            double na = fmax(*a + size * da, CALIBRATE_LEAST), nb = *b + size * db, ng[2], nh[3], now = calibrate_at(&c, na, nb, ng, nh);
            if (!(now <= loss))
                continue;
            *a = na;
            *b = nb;
            loss = now;
            g[0] = ng[0], g[1] = ng[1], h[0] = nh[0], h[1] = nh[1], h[2] = nh[2];
            break;
        }
        if (!(before - loss > 1e-12 * (1.0 + loss)))
            return;
    }
}

double fl_l2_calibrated(double p, double a, double b) { return fl_prob_sigmoid(a * fl_prob_logit(p) + b); }
