/* All configurations of a fit side by side. */
#include "stages/stack_fit/table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/text.h"

json_t *fit_score_json(const struct fl_l2_score *s) { return json_pack("{s:f, s:f, s:f}", "log_loss", s->log_loss, "f2", s->f2, "f2_exact", s->f2_exact); }

/* The less the better; what failed comes last. */
static double table_key(const struct fit_jobs *j, const struct fit_result *r)
{
    const struct fl_l2_score *s = &r->cross_fitted;
    if (r->state == 3)
        return 1e300;
    return j->order == FIT_LOG_LOSS ? s->log_loss : j->order == FIT_F2 ? -s->f2 : -s->f2_exact;
}

struct table_row { double key; uint32_t i; };

static int table_order(const void *a, const void *b)
{
    const struct table_row *x = a, *y = b;
    return x->key != y->key ? (x->key > y->key) - (x->key < y->key) : (x->i > y->i) - (x->i < y->i);
}

void fit_table_sort(const struct fit_jobs *j, const struct fit_result *r, uint32_t *order)
{
    struct table_row *rows = calloc(j->grid->n, sizeof *rows);
    for (uint32_t i = 0; i < j->grid->n; i++) {
        order[i] = i;
        if (rows != NULL)
            rows[i] = (struct table_row){ table_key(j, &r[i]), i };
    }
    if (rows != NULL)
        qsort(rows, j->grid->n, sizeof *rows, table_order);
    for (uint32_t i = 0; rows != NULL && i < j->grid->n; i++)
        order[i] = rows[i].i;
    free(rows);
}

static void table_json(FILE *f, const struct fit_jobs *j, const struct fit_result *r, const uint32_t *order, const struct fl_l2_score *prior)
{
    static const char *const orders[] = { "log_loss", "f2", "f2_exact" };
    json_t *fitted = json_array(), *failed = json_array();
    for (uint32_t k = 0; k < j->grid->n; k++) {
        const struct fit_conf *c = &j->grid->c[order[k]];
        const struct fit_result *s = &r[order[k]];
        if (s->state == 3) {
            json_array_append_new(failed, json_pack("{s:s, s:s}", "name", c->name, "why", s->why));
            continue;
        }
        json_t *o = json_pack("{s:s, s:o, s:o, s:o, s:i}", "name", c->name, "options", fl_l2_conf_json(&c->conf), "cross_fitted", fit_score_json(&s->cross_fitted),
                              "in_sample", fit_score_json(&s->in_sample), "dropped", (int)s->dropped);
        json_object_set_new(o, "nested", s->has_nested ? fit_score_json(&s->nested) : json_null());
        json_array_append_new(fitted, o);
    }
    json_t *all = json_pack("{s:i, s:i, s:i, s:s, s:o, s:o, s:o}", "rows", (int)j->d->n, "folds", (int)j->d->K, "models", (int)j->d->M, "sorted_by", orders[j->order], "prior",
                            fit_score_json(prior), "configurations", fitted, "failed", failed);
    json_dumpf(all, f, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
    fputc('\n', f);
    json_decref(all);
}

static void table_csv(FILE *f, const struct fit_jobs *j, const struct fit_result *r, const uint32_t *order)
{
    fprintf(f, "name,log_loss,f2,f2_exact,in_sample_log_loss,in_sample_f2,in_sample_f2_exact,nested_log_loss,nested_f2,nested_f2_exact,why\n");
    for (uint32_t k = 0; k < j->grid->n; k++) {
        const struct fit_result *s = &r[order[k]];
        const struct fl_l2_score *all[] = { &s->cross_fitted, &s->in_sample, &s->nested };
        fprintf(f, "%s", j->grid->c[order[k]].name);
        for (int i = 0; i < 3; i++)
            if (s->state == 3 || (i == 2 && !s->has_nested))
                fprintf(f, ",,,");
            else
                fprintf(f, ",%.17g,%.17g,%.17g", all[i]->log_loss, all[i]->f2, all[i]->f2_exact);
        fprintf(f, ",\"");
        for (const char *p = s->state == 3 ? s->why : ""; *p != '\0'; p++)
            fprintf(f, *p == '"' ? "\"\"" : "%c", *p);
        fprintf(f, "\"\n");
    }
}

static void table_text(FILE *f, const struct fit_jobs *j, const struct fit_result *r, const uint32_t *order, const struct fl_l2_score *prior)
{
    int wide = 13;
    for (uint32_t i = 0; i < j->grid->n; i++)
        wide = (int)strlen(j->grid->c[i].name) > wide ? (int)strlen(j->grid->c[i].name) : wide;
    fprintf(f, "%u rows, %u models, %u labels, %u folds; cross-fitted, best first; log-loss is the mean over rows and labels\n\n", j->d->n, j->d->M, j->d->L, j->d->K);
    fprintf(f, "     %-*s  log-loss    F2 .2  F2 exact  in sample    nested\n", wide, "configuration");
    for (uint32_t k = 0; k < j->grid->n; k++) {
        const struct fit_result *s = &r[order[k]];
        const char *name = j->grid->c[order[k]].name;
        if (s->state == 3) {
            fprintf(f, "   - %-*s  %s\n", wide, name, s->why);
            continue;
        }
        fprintf(f, "%4u %-*s  %.6f  %.5f   %.5f   %.6f", k + 1, wide, name, s->cross_fitted.log_loss, s->cross_fitted.f2, s->cross_fitted.f2_exact, s->in_sample.log_loss);
        if (s->has_nested)
            fprintf(f, "  %.6f", s->nested.log_loss);
        fputc('\n', f);
    }
    fprintf(f, "     %-*s  %.6f  %.5f   %.5f\n", wide, "(frequencies)", prior->log_loss, prior->f2, prior->f2_exact);
}

/* OUT with another ending; a file written anew or not at all. */
static int table_put(const char *out, const char *ending, const char *text, size_t size, struct fl_err *err)
{
    const char *slash = strrchr(out, '/'), *dot = strrchr(out, '.');
    char *path;
    size_t stem = dot != NULL && dot > (slash != NULL ? slash + 1 : out) ? (size_t)(dot - out) : strlen(out);
    if (text == NULL || asprintf(&path, "%.*s%s", (int)stem, out, ending) < 0)
        return fl_err_set(err, FL_E_NOMEM, "%s: no memory", out);
    int rc = fl_write_file(path, 0644, text, size, err);
    free(path);
    return rc;
}

int fit_table_write(const struct fit_jobs *j, const struct fit_result *r, const struct fl_l2_score *prior, struct fl_err *err)
{
    static const char *const endings[] = { ".txt", ".csv", ".json" };
    uint32_t *order = calloc(j->grid->n, sizeof *order);
    int rc = order != NULL ? FL_OK : fl_err_set(err, FL_E_NOMEM, "no memory for a table");
    if (rc == FL_OK)
        fit_table_sort(j, r, order);
    for (int i = 0; rc == FL_OK && i < 3; i++) {
        char *text = NULL;
        size_t size = 0;
        FILE *f = open_memstream(&text, &size);
        if (f == NULL) {
            rc = fl_err_set(err, FL_E_NOMEM, "no memory for a table");
            break;
        }
        if (i == 0)
            table_text(f, j, r, order, prior);
        else if (i == 1)
            table_csv(f, j, r, order);
        else
            table_json(f, j, r, order, prior);
        rc = fclose(f) == 0 ? table_put(j->out, endings[i], text, size, err) : fl_err_set(err, FL_E_NOMEM, "no memory for a table");
        free(text);
    }
    free(order);
    return rc;
}
