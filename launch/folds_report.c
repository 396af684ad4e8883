/* How the labels lie in the folds: a table with bars, and the same as a picture. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launch/folds.h"

int fl_fold_count(const struct fl_fold_items *in, uint32_t k, const uint32_t *fold, struct fl_fold_counts *c, struct fl_err *err)
{
    *c = (struct fl_fold_counts){ .k = k, .L = in->L, .n = in->n };
    c->size = calloc(k, sizeof *c->size);
    c->count = calloc((size_t)k * in->L + 1, sizeof *c->count);
    c->total = calloc(in->L + 1, sizeof *c->total);
    if (c->size == NULL || c->count == NULL || c->total == NULL) {
        fl_fold_counts_free(c);
        return fl_err_set(err, FL_E_NOMEM, "no memory for the counts of %u folds", k);
    }
    for (uint32_t i = 0; i < in->n; i++) {
        c->size[fold[i]]++;
        for (uint32_t l = 0; l < in->L; l++) {
            c->count[(size_t)fold[i] * in->L + l] += in->y[(size_t)i * in->L + l];
            c->total[l] += in->y[(size_t)i * in->L + l];
        }
    }
    return FL_OK;
}

void fl_fold_counts_free(struct fl_fold_counts *c)
{
    free(c->size);
    free(c->count);
    free(c->total);
    *c = (struct fl_fold_counts){ 0 };
}

double fl_fold_worst(const struct fl_fold_counts *c, uint32_t l)
{
    double worst = 0, share = (double)c->total[l] / c->k;
    for (uint32_t k = 0; k < c->k; k++)
        worst = fmax(worst, fabs((double)c->count[(size_t)k * c->L + l] - share));
    return worst;
}

/* ---- text ---- */

/* One sign a fold: its count against an even share, eighths from half to one and a half. */
static void folds_bars(const struct fl_fold_counts *c, uint32_t l)
{
    static const char *const bar[9] = { " ", "\u2581", "\u2582", "\u2583", "\u2584", "\u2585", "\u2586", "\u2587", "\u2588" };
    double share = (double)c->total[l] / c->k;
    for (uint32_t k = 0; k < c->k && k < 40; k++) {
        double v = share > 0 ? (double)c->count[(size_t)k * c->L + l] / share : 0;
        int at = (int)lround(8 * (v - .5));
        fputs(bar[at < 0 ? 0 : at > 8 ? 8 : at], stdout);
    }
}

void fl_folds_print(const struct fl_fold_counts *c, const char *const *labels)
{
    uint32_t shown = c->k < 16 ? c->k : 16;
    printf("%-20s %7s %8s ", "label", "tiles", "worst");
    for (uint32_t k = 0; k < shown; k++)
        printf(" %6s%u", k < 10 ? "fold " : "fold", k);
    printf("%s\n%-20s %7llu %8s ", shown < c->k ? "  ..." : "", "(all)", (unsigned long long)c->n, "");
    for (uint32_t k = 0; k < shown; k++)
        printf(" %7llu", (unsigned long long)c->size[k]);
    printf("\n");
    for (uint32_t l = 0; l < c->L; l++) {
        printf("%-20s %7llu %8.1f ", labels[l], (unsigned long long)c->total[l], fl_fold_worst(c, l));
        for (uint32_t k = 0; k < shown; k++)
            printf(" %7llu", (unsigned long long)c->count[(size_t)k * c->L + l]);
        printf("  ");
        folds_bars(c, l);
        printf("\n");
    }
    printf("worst: tiles that a fold has more or fewer than an even share. Bars: each fold's share, half empty where it is even.\n");
}

/* ---- picture ---- */

enum { SVG_BAR = 14, SVG_NAME = 150, SVG_PANEL = 150, SVG_TOP = 34 };

static void svg_text(FILE *f, const char *text)
{
    for (; *text != '\0'; text++)
        switch (*text) {
        case '&': fputs("&amp;", f); break;
        case '<': fputs("&lt;", f); break;
        case '>': fputs("&gt;", f); break;
        default: fputc(*text, f);
        }
}

/* One panel: a bar a label, as long as the label's share of the fold's tiles; a stroke where it would be if all folds were alike. */
static void svg_fold(FILE *f, const struct fl_fold_counts *c, uint32_t k)
{
    double left = SVG_NAME + (double)k * SVG_PANEL, wide = SVG_PANEL - 20;
    fprintf(f, "<text x=\"%g\" y=\"24\" class=\"h\">fold %u: %llu</text>\n", left, k, (unsigned long long)c->size[k]);
    for (uint32_t l = 0; l < c->L; l++) {
        double y = SVG_TOP + (double)l * SVG_BAR, of = c->size[k] > 0 ? (double)c->size[k] : 1;
        double v = (double)c->count[(size_t)k * c->L + l] / of, even = (double)c->total[l] / (double)c->n;
        fprintf(f, "<rect x=\"%g\" y=\"%g\" width=\"%.2f\" height=\"%d\" fill=\"#4878a8\"><title>%llu</title></rect>"
                   "<path d=\"M%.2f %gv%d\" stroke=\"#c03028\"/>\n", left, y + 2, wide * v, SVG_BAR - 4,
                (unsigned long long)c->count[(size_t)k * c->L + l], left + wide * even, y + 1, SVG_BAR - 2);
    }
}

int fl_folds_svg(const struct fl_fold_counts *c, const char *const *labels, const char *path, struct fl_err *err)
{
    FILE *f = fopen(path, "we");
    if (f == NULL)
        return fl_err_set(err, FL_E_IO, "%s: %s", path, strerror(errno));
    fprintf(f, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%u\" height=\"%u\" font-family=\"sans-serif\" font-size=\"10\">\n"
               "<style>.h{font-size:12px;font-weight:bold}</style><rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n",
            SVG_NAME + c->k * SVG_PANEL, SVG_TOP + c->L * SVG_BAR + 10);
    for (uint32_t l = 0; l < c->L; l++) {
        fprintf(f, "<text x=\"%d\" y=\"%u\" text-anchor=\"end\">", SVG_NAME - 8, SVG_TOP + l * SVG_BAR + SVG_BAR - 4);
        svg_text(f, labels[l]);
        fputs("</text>\n", f);
    }
    for (uint32_t k = 0; k < c->k; k++)
        svg_fold(f, c, k);
    fputs("</svg>\n", f);
    bool bad = ferror(f) != 0;
    bad |= fclose(f) != 0;
    return bad ? fl_err_set(err, FL_E_IO, "%s: %s", path, strerror(errno)) : FL_OK;
}
