/* Composing the geometric ops of a view into one inverse map, and walking it row by row. */
#include "stages/augment/map.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/rng.h"
#include "stages/augment/exact.h"
#include "stages/lib/views.h"

/* ---- kernels ---- */

static uint32_t map_mirror(int64_t i, uint32_t n)
{
    int64_t period = 2 * ((int64_t)n - 1), m = period > 0 ? i % period : 0;
    if (m < 0)
        m += period;
    return (uint32_t)(m < n ? m : period - m);
}

uint32_t fl_gauss(double s, float kernel[FL_GAUSS_MAX])
{
    uint32_t radius = (uint32_t)(4 * s + .5);
    double w[FL_GAUSS_MAX], sum = 0;
    for (uint32_t i = 0; i <= 2 * radius; i++) {
        double d = (double)i - radius;
        w[i] = radius > 0 ? fl_exp(-d * d / (2 * s * s)) : 1;
        sum += w[i];
    }
    for (uint32_t i = 0; i <= 2 * radius; i++)
        kernel[i] = (float)(w[i] / sum);
    return radius;
}

void fl_convolve(const struct fl_loops *loops, float *image, uint32_t n, const float *kernel, uint32_t radius, float *work)
{
    float *line = work + (size_t)n * n;
    for (uint32_t y = 0; y < n; y++) {
        float *row = image + (size_t)y * n, *to = work + (size_t)y * n;
        for (uint32_t i = 0; i < radius; i++) {
            line[i] = row[map_mirror((int64_t)i - radius, n)];
            line[n + radius + i] = row[map_mirror((int64_t)n + i, n)];
        }
        memcpy(line + radius, row, n * sizeof *line);
        memset(to, 0, n * sizeof *to);
        for (uint32_t k = 0; k <= 2 * radius; k++)
            loops->mac(to, line + k, kernel[k], n);
    }
    for (uint32_t y = 0; y < n; y++) {
        float *row = image + (size_t)y * n;
        memset(row, 0, n * sizeof *row);
        for (uint32_t k = 0; k <= 2 * radius; k++)
            loops->mac(row, work + (size_t)map_mirror((int64_t)y + k - radius, n) * n, kernel[k], n);
    }
}

/* ---- composing ---- */

/* Puts an affine step behind those there are: one that follows another is multiplied into it. */
static void map_affine(struct fl_map *m, double a0, double a1, double a2, double a3, double a4, double a5)
{
    if (m->n == 0 || m->step[m->n - 1].kind != FL_MAP_AFFINE) {
        m->step[m->n++] = (struct fl_map_step){ .kind = FL_MAP_AFFINE, .a = { a0, a1, a2, a3, a4, a5 } };
        return;
    }
    double *p = m->step[m->n - 1].a, q[6];
    memcpy(q, p, sizeof q);
    p[0] = q[0] * a0 + q[1] * a3;
    p[1] = q[0] * a1 + q[1] * a4;
    p[2] = q[0] * a2 + q[1] * a5 + q[2];
    p[3] = q[3] * a0 + q[4] * a3;
    p[4] = q[3] * a1 + q[4] * a4;
    p[5] = q[3] * a2 + q[4] * a5 + q[5];
}

static void map_d4(struct fl_map *m, uint32_t g, uint32_t n)
{
    double far = n - 1.0, fx = g & 1 ? -1 : 1, fy = g & 2 ? -1 : 1, ox = g & 1 ? far : 0, oy = g & 2 ? far : 0;
    if (g & 4)
        map_affine(m, 0, fy, oy, fx, 0, ox);
    else if (g != 0)
        map_affine(m, fx, 0, ox, 0, fy, oy);
}

static void map_rotate(struct fl_map *m, double theta, double c)
{
    double s, k;
    fl_sincos_degrees(theta, &s, &k);
    map_affine(m, k, -s, c - k * c + s * c, s, k, c - s * c - k * c);
}

static void map_shear(struct fl_map *m, double s, double axis, double c)
{
    if (axis == 0)
        map_affine(m, 1, -s, s * c, 0, 1, 0);
    else
        map_affine(m, 1, 0, 0, -s, 1, s * c);
}

static void map_window(struct fl_map *m, double x0, double y0, double w, double h, double size)
{
    map_affine(m, w / size, 0, x0 + .5 * w / size - .5, 0, h / size, y0 + .5 * h / size - .5);
}

/* ---- distortions ---- */

static int map_room(float **buf, size_t *room, size_t need, struct fl_err *err)
{
    if (need <= *room)
        return FL_OK;
    float *more = realloc(*buf, need * sizeof *more);
    if (more == NULL)
        return fl_err_set(err, FL_E_NOMEM, "no memory for a distortion");
    *buf = more;
    *room = need;
    return FL_OK;
}

/* Knots of the varied cells, which span the whole side again. */
static void map_knots(const double *u, uint32_t cells, uint32_t n, double *knot)
{
    double sum = 0, at = 0;
    for (uint32_t i = 0; i < cells; i++)
        sum += 1 + u[i];
    for (uint32_t i = 0; i < cells; i++) {
        knot[i] = at / sum * (n - 1.0);
        at += 1 + u[i];
    }
    knot[cells] = n - 1.0;
}

static int map_grid(struct fl_map *m, const struct fl_act *act, struct fl_err *err)
{
    uint32_t cells = act->op->cells;
    if (m->knots + 2 * (cells + 1) > m->knot_room) {
        size_t room = m->knots + (size_t)FL_OPS_MAX * (FL_OP_VALUES + 2);
        double *more = realloc(m->knot, room * sizeof *more);
        if (more == NULL)
            return fl_err_set(err, FL_E_NOMEM, "no memory for a distortion");
        m->knot = more;
        m->knot_room = room;
    }
    map_knots(act->v, cells, act->n, m->knot + m->knots);
    map_knots(act->v + cells, cells, act->n, m->knot + m->knots + cells + 1);
    m->knots += 2 * ((size_t)cells + 1);
    m->step[m->n++] = (struct fl_map_step){ .kind = FL_MAP_GRID, .act = act, .n = act->n };
    return FL_OK;
}

/* Noise for every pixel, row by row, four draws a block; `block` is the first. */
static int map_noise(const struct fl_draw_key *key, uint32_t op, uint32_t block, float *out, size_t n, struct fl_err *err)
{
    for (size_t i = 0; i < n; i += 4, block++) {
        uint32_t r[4];
        if (fl_rng_block(key->seed, key->tile, key->epoch, key->view, op, block, r) != FL_OK)
            return fl_err_set(err, FL_E_CONFIG, "ops: distort_elastic: the image needs more draws than there are");
        for (size_t k = 0; k < 4 && i + k < n; k++)
            out[i + k] = (float)fl_rng_uniform(r[k], -1, 1);
    }
    return FL_OK;
}

static int map_elastic(struct fl_map *m, const struct fl_act *act, const struct fl_draw_key *key, const struct fl_loops *loops,
                       struct fl_err *err)
{
    float kernel[FL_GAUSS_MAX];
    uint32_t n = act->n, radius = fl_gauss(act->op->sigma, kernel);
    size_t pixels = (size_t)n * n, blocks = (pixels + 3) / 4;
    int rc = map_room(&m->work, &m->work_room, pixels + n + 2 * (size_t)radius, err);
    if (pixels > m->room) {
        size_t room[2] = { m->room, m->room };
        for (int k = 0; k < 2 && rc == FL_OK; k++)
            rc = map_room(&m->field[k], &room[k], pixels, err);
        m->room = rc == FL_OK ? pixels : 0;
    }
    for (int k = 0; k < 2 && rc == FL_OK; k++) {
        rc = map_noise(key, act->number, (uint32_t)(1 + (size_t)k * blocks), m->field[k], pixels, err);
        if (rc == FL_OK) {
            fl_convolve(loops, m->field[k], n, kernel, radius, m->work);
            loops->scale(m->field[k], pixels, (float)act->op->alpha, 0);
        }
    }
    m->step[m->n++] = (struct fl_map_step){ .kind = FL_MAP_ELASTIC, .act = act, .n = n };
    return rc;
}

static int map_op(struct fl_map *m, const struct fl_drawn *d, uint32_t i, const struct fl_draw_key *key, uint32_t size, const struct fl_loops *loops,
                  struct fl_err *err)
{
    const struct fl_act *act = &d->act[i];
    const double *v = act->v, n = act->n, c = (n - 1) / 2;
    switch (act->op->kind) {
    case FL_OP_D4: map_d4(m, (uint32_t)v[0], act->n); break;
    case FL_OP_OFFSET: map_affine(m, 1, 0, -v[0] * n, 0, 1, -v[1] * n); break;
    case FL_OP_RANDOM_CROP: map_affine(m, 1, 0, v[0], 0, 1, v[1]); break;
    case FL_OP_ROTATE: map_rotate(m, v[0], c); break;
    case FL_OP_SCALE: map_affine(m, 1 / v[0], 0, c - c / v[0], 0, 1 / v[0], c - c / v[0]); break;
    case FL_OP_SHEAR: map_shear(m, v[0], v[1], c); break;
    case FL_OP_RANDOM_SIZED_CROP: map_window(m, v[0], v[1], v[2], v[3], size); break;
    case FL_OP_SCALED: map_window(m, 0, 0, n, n, size); break;
    case FL_OP_DISTORT_RADIAL:
        m->step[m->n++] = (struct fl_map_step){ .kind = FL_MAP_RADIAL, .a = { c + v[1] * n, c + v[2] * n, v[0] * 1e-5 * (256 / n) * (256 / n) } };
        break;
    case FL_OP_DISTORT_GRID: return map_grid(m, act, err);
    case FL_OP_DISTORT_ELASTIC: return map_elastic(m, act, key, loops, err);
    default: break;       /* pixel values come later */
    }
    return FL_OK;
}

int fl_map_make(struct fl_map *m, const struct fl_drawn *d, const struct fl_draw_key *key, uint32_t before, uint32_t after, uint32_t tile, uint32_t size,
                const struct fl_loops *loops, struct fl_err *err)
{
    int rc = FL_OK;
    m->side = tile;
    m->n = 0;
    m->knots = 0;
    map_d4(m, before, tile);
    for (uint32_t i = 0; rc == FL_OK && i < d->n; i++)
        rc = map_op(m, d, i, key, size, loops, err);
    if (rc != FL_OK)
        return rc;
    if (d->side < size)
        return fl_err_set(err, FL_E_CONFIG, "the ops leave %u pixels a side, want %u", d->side, size);
    uint32_t cut = (d->side - size) / 2;
    if (cut > 0)
        map_affine(m, 1, 0, cut, 0, 1, cut);
    map_d4(m, after, size);
    return FL_OK;
}

void fl_map_done(struct fl_map *m)
{
    free(m->field[0]);
    free(m->field[1]);
    free(m->work);
    free(m->knot);
    memset(m, 0, sizeof *m);
}

/* ---- walking ---- */

static void map_grid_row(const double *knot, uint32_t cells, uint32_t side, double *x, uint32_t n)
{
    double per = cells / (side > 1 ? side - 1.0 : 1.0), width = 1 / per;
    for (uint32_t i = 0; i < n; i++) {
        double at = x[i] * per;
        uint32_t cell = at < 0 ? 0 : at >= cells ? cells - 1 : (uint32_t)at;
        x[i] = knot[cell] + (x[i] - cell * width) * (knot[cell + 1] - knot[cell]) * per;
    }
}

/* The displacement at places between the pixels: bilinear, and beyond the image that of its border. */
static void map_elastic_row(float *const field[2], uint32_t side, double *x, double *y, uint32_t n)
{
    const double far = side - 1.0;
    for (uint32_t i = 0; i < n; i++) {
        double u = x[i] < 0 ? 0 : x[i] > far ? far : x[i], v = y[i] < 0 ? 0 : y[i] > far ? far : y[i];
        uint32_t x0 = (uint32_t)u, y0 = (uint32_t)v, x1 = x0 + 1 < side ? x0 + 1 : x0, y1 = y0 + 1 < side ? y0 + 1 : y0;
        double px = u - x0, py = v - y0, d[2];
        for (int k = 0; k < 2; k++) {
            const float *top = field[k] + (size_t)y0 * side, *low = field[k] + (size_t)y1 * side;
            double a = (double)top[x0] * (1 - px) + (double)top[x1] * px, b = (double)low[x0] * (1 - px) + (double)low[x1] * px;
            d[k] = a * (1 - py) + b * py;
        }
        x[i] += d[0];
        y[i] += d[1];
    }
}

/* What lies more than a period off: the reflected value is period minus the distance, below 0. */
static void map_far(double *x, uint32_t n, uint32_t side)
{
    const double period = 2.0 * (side - 1);
    for (uint32_t i = 0; i < n; i++)
        if (x[i] < 0) {
            double t = fmod(period - x[i], period);
            x[i] = t < period - t ? t : period - t;
        }
}

static void map_reflect(const struct fl_loops *loops, double *x, uint32_t n, uint32_t side)
{
    if (side == 1)
        memset(x, 0, n * sizeof *x);
    else if (loops->reflect(x, n, side))
        map_far(x, n, side);
}

const double *fl_map_plain(const struct fl_map *m, uint32_t size)
{
    static const double identity[6] = { 1, 0, 0, 0, 1, 0 };
    const double far = size - 1.0, period = 2.0 * (m->side - 1), *a = m->n == 0 ? identity : m->step[0].a;
    if (m->n > 1 || (m->n == 1 && m->step[0].kind != FL_MAP_AFFINE) || m->side == 1)
        return NULL;
    for (int i = 0; i < 8; i++) {       /* both coordinates of four corners; a pixel to spare for rounding */
        const double *r = a + (i & 4 ? 3 : 0);
        if (!(fabs(r[0] * (i & 1 ? far : 0) + r[1] * (i & 2 ? far : 0) + r[2]) <= period - 1))
            return NULL;
    }
    return a;
}

void fl_map_row(const struct fl_map *m, const struct fl_loops *loops, uint32_t row, uint32_t n, double *x, double *y)
{
    const double *knot = m->knot + m->knots;
    for (uint32_t i = 0; i < n; i++) {
        x[i] = i;
        y[i] = row;
    }
    for (uint32_t s = m->n; s-- > 0; ) {
        const struct fl_map_step *step = &m->step[s];
        if (step->kind == FL_MAP_AFFINE) {
            loops->affine(step->a, x, y, n);
        } else if (step->kind == FL_MAP_RADIAL) {
            loops->radial(step->a[0], step->a[1], step->a[2], x, y, n);
        } else if (step->kind == FL_MAP_GRID) {
            uint32_t cells = step->act->op->cells;
            knot -= 2 * ((size_t)cells + 1);
            map_grid_row(knot, cells, step->n, x, n);
            map_grid_row(knot + cells + 1, cells, step->n, y, n);
        } else {
            map_elastic_row(m->field, step->n, x, y, n);
        }
    }
    map_reflect(loops, x, n, m->side);
    map_reflect(loops, y, n, m->side);
}
