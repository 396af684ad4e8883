/* Photometric ops on the planes of a view; values are not divided by M, so amplitudes are multiplied by it. Each op clips to [0, M]. */
#include "stages/augment/paint.h"

/* Brightness of red, green and blue together; every other band stands for itself. Sums go row by row, as sampling makes them. */
static void photo_contrast(const struct fl_loops *loops, double al, const float *planes, uint32_t channels, uint32_t side, const double *sum, float *mul, float *add)
{
    double mean[FL_OP_BANDS] = { 0 }, n = (double)side * side;
    for (uint32_t c = 0; c < channels; c++) {
        double s = sum != NULL ? sum[c] : 0;
        for (uint32_t y = 0; sum == NULL && y < side; y++)
            s += loops->sum(planes + ((size_t)c * side + y) * side, side);
        mean[c] = s / n;
    }
    if (channels >= 3)
        mean[0] = mean[1] = mean[2] = .299 * mean[0] + .587 * mean[1] + .114 * mean[2];
    for (uint32_t c = 0; c < channels; c++) {
        mul[c] = (float)al;
        add[c] = (float)((1 - al) * mean[c]);
    }
}

bool fl_photo_levels(const struct fl_loops *loops, const struct fl_act *act, const float *planes, uint32_t channels, uint32_t side, float top,
                     const double *sum, float mul[FL_OP_BANDS], float add[FL_OP_BANDS])
{
    const double *v = act->v;
    switch (act->op->kind) {
    case FL_OP_CONTRAST:
        photo_contrast(loops, v[0], planes, channels, side, sum, mul, add);
        return true;
    case FL_OP_CONTRAST_MID:
        for (uint32_t c = 0; c < channels; c++) {
            mul[c] = (float)v[c];
            add[c] = (float)((1 - v[c]) * .5 * (double)top);
        }
        return true;
    case FL_OP_CHANNEL_MUL:
        for (uint32_t c = 0; c < channels; c++) {
            mul[c] = (float)v[c];
            add[c] = 0;
        }
        return true;
    case FL_OP_CHANNEL_ADD:
        for (uint32_t c = 0; c < channels; c++) {
            mul[c] = 1;
            add[c] = (float)(v[c] / 255 * (double)top);
        }
        return true;
    default:
        return false;
    }
}

/* (1 - share) x + share blurred(x), a plane at a time. */
static void photo_blur(const struct fl_loops *loops, float *planes, uint32_t channels, uint32_t side, const float *kernel, uint32_t radius, double share,
                       float top, float *work)
{
    size_t n = (size_t)side * side;
    float *blurred = work + n + side + FL_GAUSS_MAX;
    for (uint32_t c = 0; c < channels; c++, planes += n) {
        for (size_t i = 0; i < n; i++)
            blurred[i] = planes[i];
        fl_convolve(loops, blurred, side, kernel, radius, work);
        loops->scale(planes, n, (float)(1 - share), 0);
        loops->mac(planes, blurred, (float)share, n);
        loops->levels(planes, n, 1, 0, top);
    }
}

void fl_photo(const struct fl_loops *loops, const struct fl_act *act, float *planes, uint32_t channels, uint32_t side, float top, const double *sum,
              float *work)
{
    float mul[FL_OP_BANDS], add[FL_OP_BANDS], kernel[FL_GAUSS_MAX] = { 1.0f / 3, 1.0f / 3, 1.0f / 3 };
    const double *v = act->v;
    size_t n = (size_t)side * side;
    if (fl_photo_levels(loops, act, planes, channels, side, top, sum, mul, add)) {
        for (uint32_t c = 0; c < channels; c++)
            loops->levels(planes + c * n, n, mul[c], add[c], top);
    } else if (act->op->kind == FL_OP_HSV && channels >= 3) {
        loops->hsv(planes, planes + n, planes + 2 * n, n, (float)(v[0] / 60), (float)(v[1] / 255), (float)(v[2] / 255), top);
    } else if (act->op->kind == FL_OP_BLUR) {
        photo_blur(loops, planes, channels, side, kernel, 1, v[0], top, work);
    } else if (act->op->kind == FL_OP_BLUR_GAUSS) {
        uint32_t radius = fl_gauss(v[0], kernel);
        if (radius > 0)
            photo_blur(loops, planes, channels, side, kernel, radius, 1, top, work);
    }
}
