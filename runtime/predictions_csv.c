/* Predictions as CSV: image_name and one column a label. */
#include <stdlib.h>
#include <string.h>

#include "runtime/number.h"
#include "runtime/predictions_io.h"

static int pred_csv_where(const struct fl_csv *c, struct fl_err *err)
{
    return fl_err_context(err, "%s:%llu", c->name, (unsigned long long)c->line);
}

static int pred_csv_header(const struct fl_csv *c, struct fl_predictions *out, uint32_t *id, struct fl_err *err)
{
    int64_t at = fl_csv_column(c, "image_name");
    if (at < 0)
        return fl_err_set(err, FL_E_LABEL, "no column image_name");
    *id = (uint32_t)at;
    for (uint32_t i = 0; i < c->nfields; i++) {
        int rc = i == *id ? FL_OK : fl_pred_label(out, c->field[i], c->width[i], err);
        if (rc != FL_OK)
            return rc;
    }
    return out->L > 0 ? FL_OK : fl_err_set(err, FL_E_LABEL, "no column but image_name");
}

static int pred_csv_row(const struct fl_csv *c, struct fl_predictions *out, uint32_t id, struct fl_err *err)
{
    if (c->nfields != out->L + 1)
        return fl_err_set(err, FL_E_INPUT, "%u fields, want %u", c->nfields, out->L + 1);
    if (!fl_id_ok(c->field[id], c->width[id]))
        return fl_err_set(err, FL_E_LABEL, "the id \"%.80s\" is outside [A-Za-z0-9_.-]{1,63}", c->field[id]);
    float row[FL_MAX_LABELS];
    for (uint32_t l = 0; l < out->L; l++) {
        const char *text = c->field[l < id ? l : l + 1];
        double wide;
        float v = fl_number_parse(text, &wide) ? strtof(text, NULL) : -1.0f;      /* rounded once, not twice */
        if (!(v >= 0.0f && v <= 1.0f))
            return fl_err_set(err, FL_E_NUM, "%s: \"%.40s\" is not a probability", out->labels[l], text);
        row[l] = v;
    }
    return fl_predictions_add(out, c->field[id], row, err);
}

int fl_pred_read_csv(struct fl_csv *c, struct fl_predictions *out, struct fl_err *err)
{
    uint32_t id = 0;
    int rc = pred_csv_header(c, out, &id, err);
    if (rc != FL_OK)
        return pred_csv_where(c, err);
    while ((rc = fl_csv_next(c, err)) == FL_OK) {
        rc = pred_csv_row(c, out, id, err);
        if (rc != FL_OK)
            return pred_csv_where(c, err);
    }
    return rc == FL_END ? FL_OK : rc;
}
