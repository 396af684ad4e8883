/* The configurations of a fit: one, or a matrix of options. */
#ifndef FL_STACK_FIT_GRID_H
#define FL_STACK_FIT_GRID_H

#include "stages/level2/fit.h"

#define FIT_CONFS 10000u

struct fit_conf { char name[96]; struct fl_l2_conf conf; };      /* name: also of its files */
struct fit_grid { uint32_t n; struct fit_conf *c; };

/* matrix: NULL, a map of options of fl_l2_conf_opts whose values may be lists (one configuration for each combination, the last runs
 * fastest), or a list of such maps. What it doesn't name is as in base. FL_E_CONFIG naming the option: unknown, a wrong value, one that has no part in
 * the method it meets, two configurations alike, more than FIT_CONFS. names as in fl_l2_conf_check. */
int  fit_grid(const struct fl_l2_conf *base, const json_t *matrix, uint32_t n, char *const *names, struct fit_grid *, struct fl_err *);
void fit_grid_done(struct fit_grid *);

#endif
