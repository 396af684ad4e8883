/* The report of `flowrun score`: one HTML file with its pictures inside. */
#include <stdarg.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "launch/score.h"
#include "runtime/pred_file.h"

#define HTML_W 460
#define HTML_H 260

struct html { struct fl_pred_file *f; };

static void html_put(struct html *o, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void html_put(struct html *o, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    fl_pred_bytes(o->f, text, n < (int)sizeof text ? (size_t)n : sizeof text - 1);
}

static void html_text(struct html *o, const char *text)
{
    for (; *text != '\0'; text++) {
        const char *as = *text == '<' ? "&lt;" : *text == '>' ? "&gt;" : *text == '&' ? "&amp;" : *text == '"' ? "&quot;" : NULL;
        if (as != NULL)
            html_put(o, "%s", as);
        else
            fl_pred_bytes(o->f, text, 1);
    }
}

/* ---- a picture with axes; x and y run over [x0,x1] and [y0,y1] ---- */

struct plot { double x0, x1, y0, y1; };

static double plot_x(const struct plot *p, double x) { return 50 + (x - p->x0) / (p->x1 - p->x0) * (HTML_W - 70); }
static double plot_y(const struct plot *p, double y) { return HTML_H - 35 - (y - p->y0) / (p->y1 - p->y0) * (HTML_H - 65); }

/* 1, 2 or 5 times a power of ten, so that `range` has at most `most` of it. */
static double plot_step(double range, int most)
{
    double step = pow(10.0, floor(log10(range / most)));
    return range / step <= most ? step : range / step <= 2 * most ? 2 * step : range / step <= 5 * most ? 5 * step : 10 * step;
}

/* Of scores: a little room about what is shown, within [0,1]. */
static void plot_range(struct plot *p, double low, double high)
{
    double room = high > low ? (high - low) / 20 : 0.01;
    p->y0 = low > room ? low - room : 0.0;
    p->y1 = high + room < 1.0 ? high + room : 1.0;
}

/* Digits that tell multiples of `step` apart. */
static int plot_digits(double step) { return step < 1.0 ? (int)ceil(-log10(step) - 1e-9) : 0; }

static void plot_begin(struct html *o, const struct plot *p, const char *title, const char *xname, double xstep)
{
    double step = plot_step(p->y1 - p->y0, 5);
    html_put(o, "<svg width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\"><text x=\"50\" y=\"18\" class=\"t\">%s</text>\n", HTML_W, HTML_H, HTML_W, HTML_H, title);
    for (double i = ceil(p->y0 / step - 1e-6) + 0.0; i * step < p->y1 + 1e-6 * step; i++)
        html_put(o, "<line x1=\"50\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" class=\"g\"/><text x=\"42\" y=\"%.1f\" class=\"e\">%.*f</text>\n", HTML_W - 20,
                 plot_y(p, i * step), plot_y(p, i * step), plot_y(p, i * step) + 4, plot_digits(step), i * step);
    for (double i = ceil(p->x0 / xstep - 1e-6) + 0.0; i * xstep < p->x1 + 1e-6 * xstep; i++)
        html_put(o, "<text x=\"%.1f\" y=\"%d\" class=\"m\">%.*f</text>\n", plot_x(p, i * xstep), HTML_H - 18, plot_digits(xstep), i * xstep);
    html_put(o, "<text x=\"%d\" y=\"%d\" class=\"m\">%s</text>\n", HTML_W / 2 + 15, HTML_H - 3, xname);
}

static void plot_point(struct html *o, const struct plot *p, double x, double y, const char *kind, const char *say)
{
    html_put(o, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\" class=\"%s\"><title>%s</title></circle>\n", plot_x(p, x), plot_y(p, y), kind, say);
}

/* ---- the pictures ---- */

static void html_curve(struct html *o, const struct score *s)
{
    double low = 1.0;
    char title[80], name[24], say[80];
    for (int g = 0; g < SCORE_GRID; g++)
        low = s->curve[g] < low ? s->curve[g] : low;
    struct plot p = { .x0 = 0.05, .x1 = 0.5 };
    plot_range(&p, low, s->best);
    snprintf(title, sizeof title, "%s by threshold", score_name(s, name));
    plot_begin(o, &p, title, "threshold", 0.1);
    html_put(o, "<polyline class=\"l\" points=\"");
    for (int g = 0; g < SCORE_GRID; g++)
        html_put(o, "%.1f,%.1f ", plot_x(&p, (g + 10) / 200.0), plot_y(&p, s->curve[g]));
    html_put(o, "\"/>\n");
    snprintf(say, sizeof say, "best: %.6f at %g", s->best, s->best_at);
    plot_point(o, &p, s->best_at, s->best, "a", say);
    html_put(o, "</svg>\n");
}

static void html_reliability(struct html *o, const struct score *s)
{
    struct plot p = { 0, 1, 0, 1 };
    char title[80], say[120];
    snprintf(title, sizeof title, "Reliability (expected calibration error %.4f)", s->ece);
    plot_begin(o, &p, title, "true frequency by predicted probability", 0.2);
    html_put(o, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" class=\"d\"/>\n<polyline class=\"l\" points=\"", plot_x(&p, 0), plot_y(&p, 0), plot_x(&p, 1), plot_y(&p, 1));
    for (int b = 0; b < SCORE_BINS; b++)
        if (s->bin_n[b] > 0)
            html_put(o, "%.1f,%.1f ", plot_x(&p, s->bin_p[b]), plot_y(&p, s->bin_y[b]));
    html_put(o, "\"/>\n");
    for (int b = 0; b < SCORE_BINS; b++) {
        snprintf(say, sizeof say, "%llu values, mean %.4f, true %.4f", (unsigned long long)s->bin_n[b], s->bin_p[b], s->bin_y[b]);
        if (s->bin_n[b] > 0)
            plot_point(o, &p, s->bin_p[b], s->bin_y[b], "a", say);
    }
    html_put(o, "</svg>\n");
}

static void html_spread(struct html *o, const struct score *s)
{
    double low = 1.0, high = 0.0;
    char name[24], title[80], say[80];
    for (uint32_t k = 0; k < s->folds.k; k++)
        for (int j = 0; j < 2; j++) {
            double v = j == 0 || s->other.n == 0 ? s->each[k].f : s->each[k].other;
            if (s->each[k].n > 0) {
                low = v < low ? v : low;
                high = v > high ? v : high;
            }
        }
    struct plot p = { .x1 = s->folds.k > 1 ? s->folds.k - 1.0 : 1.0 };
    double step = plot_step(p.x1, 12);
    plot_range(&p, low, high);
    snprintf(title, sizeof title, "%s by fold%s", score_name(s, name), s->other.n > 0 ? " (hollow: against)" : "");
    plot_begin(o, &p, title, "fold", step > 1.0 ? step : 1.0);
    for (uint32_t k = 0; k < s->folds.k; k++) {
        if (s->each[k].n == 0)
            continue;
        snprintf(say, sizeof say, "fold %u: %.6f", k, s->each[k].f);
        plot_point(o, &p, k, s->each[k].f, "a", say);
        if (s->other.n > 0) {
            snprintf(say, sizeof say, "fold %u, against: %.6f", k, s->each[k].other);
            plot_point(o, &p, k, s->each[k].other, "b", say);
        }
    }
    html_put(o, "</svg>\n");
}

static void html_bars(struct html *o, const struct score *s)
{
    static const char *const kinds[] = { "p", "r", "f" };
    uint32_t L = s->pred.L, left = 150;                /* room for names: letters are 7 wide at most, most of them less */
    for (uint32_t l = 0; l < L; l++)
        left = 10 + 7 * (uint32_t)strlen(s->pred.labels[l]) > left ? 10 + 7 * (uint32_t)strlen(s->pred.labels[l]) : left;
    const double wide = 2 * HTML_W - 90.0 - left;
    html_put(o, "<svg width=\"%d\" height=\"%u\"><text x=\"%u\" y=\"14\" class=\"t\">By label: <tspan class=\"p\">precision</tspan>, "
                "<tspan class=\"r\">recall</tspan>, <tspan class=\"f\">F</tspan></text>\n", 2 * HTML_W, 30 + 26 * L, left);
    for (uint32_t l = 0; l < L; l++) {
        const struct fl_metric_class *c = &s->a.m.label[l];
        const double v[] = { c->precision, c->recall, c->f };
        html_put(o, "<text x=\"%u\" y=\"%u\" class=\"e\">", left - 5, 40 + 26 * l);
        html_text(o, s->pred.labels[l]);
        html_put(o, "</text>\n");
        if (c->tp + c->fn == 0) {
            html_put(o, "<text x=\"%u\" y=\"%u\">no tile has it; predicted for %llu</text>\n", left + 5, 40 + 26 * l, (unsigned long long)c->fp);
            continue;
        }
        for (int i = 0; i < 3; i++)
            html_put(o, "<rect x=\"%u\" y=\"%u\" width=\"%.1f\" height=\"6\" class=\"%s\"><title>%.4f</title></rect>\n", left, 26 + 26 * l + 7 * (uint32_t)i,
                     v[i] * wide, kinds[i], v[i]);
        html_put(o, "<text x=\"%.1f\" y=\"%u\">%.3f</text>\n", left + 5 + (c->f > c->recall ? c->f : c->recall) * wide, 46 + 26 * l, c->f);
    }
    html_put(o, "</svg>\n");
}

static void html_summary(struct html *o, const struct score *s)
{
    char name[24];
    html_put(o, "<p>%s <b>%.6f</b> over %llu tiles", score_name(s, name), s->a.m.mean, (unsigned long long)s->a.m.n);
    if (s->pred.p != NULL)
        html_put(o, " at threshold %g; best single threshold %g: %.6f; by expected %s: %.6f", s->threshold, s->best_at, s->best, name, s->a.exact_mean);
    if (isfinite(s->t_exact))
        html_put(o, " (against the threshold, paired t over folds %.3f)", s->t_exact);
    if (s->pred.p != NULL)
        html_put(o, "; log-loss %.6f", s->a.bce);
    if (s->other.n > 0) {
        html_put(o, "; against %.6f", s->b.m.mean);
        if (s->b.m.mean > 0.0)
            html_put(o, ": %+.4f %%", score_gain(s->a.m.mean, s->b.m.mean));
        if (isfinite(s->t))
            html_put(o, ", paired t over folds %.3f", s->t);
    }
    if (isfinite(s->fitted_in))
        html_put(o, "; thresholds by label %.6f in sample", s->fitted_in);
    if (isfinite(s->fitted_out))
        html_put(o, ", %.6f cross-fitted", s->fitted_out);
    html_put(o, ".</p>\n");
}

int score_html(const struct score *s, const char *title, const char *path, struct fl_err *err)
{
    struct html o;
    int rc = fl_pred_open(path, &o.f, err);
    if (rc != FL_OK)
        return rc;
    html_put(&o, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Score</title><style>\n"
                 "body{font:14px sans-serif;margin:2em;max-width:980px;color:#222}svg{margin:0 8px 16px 0}svg text{font:11px sans-serif;fill:#333}\n"
                 "svg .t{font-weight:bold;font-size:12px}.e{text-anchor:end}.m{text-anchor:middle}.g{stroke:#ddd}.d{stroke:#999;stroke-dasharray:4}\n"
                 ".l{fill:none;stroke:#1f5fa8;stroke-width:2}.a{fill:#1f5fa8}.b{fill:#fff;stroke:#c0392b;stroke-width:2}\n"
                 "svg .p{fill:#7fb069}svg .r{fill:#e6aa68}svg .f{fill:#1f5fa8}\n</style></head><body><h1>");
    html_text(&o, title);
    html_put(&o, "</h1>\n");
    html_summary(&o, s);
    if (s->pred.p != NULL) {
        html_curve(&o, s);
        html_reliability(&o, s);
    }
    if (s->fold != NULL)
        html_spread(&o, s);
    html_bars(&o, s);
    html_put(&o, "</body></html>\n");
    rc = fl_pred_finish(o.f, err);
    if (rc == FL_OK)
        rc = fl_pred_commit(o.f, err);
    fl_pred_close(o.f);
    return rc;
}
