/* A file of predictions to be scored: a submission, or probabilities with one column a label. */
#ifndef FL_LAUNCH_PREDICTIONS_H
#define FL_LAUNCH_PREDICTIONS_H

#include "runtime/labels.h"

struct fl_predictions {
    uint64_t n;
    char   (*ids)[64];                       /* [n], in file order, all different */
    uint8_t *h;                              /* [n][L] of a submission, else NULL */
    float   *p;                              /* [n][L] of probabilities, else NULL */
    uint32_t L;
    char    *labels[FL_MAX_LABELS];          /* in the order of the columns of h or p */
};

/* Reads `image_name,tags` or `image_name,<labels>` (.gz too). names: the label set, comma-separated, NULL = the default one, or, where
 * most columns have other names, the columns sorted. FL_E_INPUT, FL_E_LABEL (columns, tags, ids), FL_E_NUM (values outside [0,1]),
 * FL_E_CONFIG (names), all naming file and line. */
int  fl_predictions_read(const char *path, const char *names, struct fl_predictions *, struct fl_err *);
void fl_predictions_free(struct fl_predictions *);

#endif
