/* The table over all configurations of a fit, as JSON, CSV and text. */
#ifndef FL_STACK_FIT_TABLE_H
#define FL_STACK_FIT_TABLE_H

#include "stages/stack_fit/jobs.h"

json_t *fit_score_json(const struct fl_l2_score *);
/* Best first by the cross-fitted score; ties as given. order [grid->n]. */
void fit_table_sort(const struct fit_jobs *, const struct fit_result *, uint32_t *order);
/* DIR/TABLE.json, .csv and .txt. prior: what the label frequencies of the other folds score. FL_E_IO, FL_E_NOMEM. */
int  fit_table_write(const struct fit_jobs *, const struct fit_result *, const struct fl_l2_score *prior, struct fl_err *);

#endif
