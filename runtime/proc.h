/* A stage process under a supervisor: set-up from a descriptor, the loop, the end. */
#ifndef FL_RUNTIME_PROC_H
#define FL_RUNTIME_PROC_H

#include <jansson.h>

#include "runtime/stage.h"

/* Runs the stage as the JSON in descriptor `setup` says (docs/protocol.md). Exit status of the process. */
int fl_proc_run(const struct fl_stage *, int setup);

/* The graph's labels as in {"names": [...], "exclusive": [...], "rest_off": name|null}; conf owns what ctx then points to. */
struct fl_labels_conf { char **names; uint32_t n; };
int  fl_labels_conf_read(const json_t *, struct fl_labels_conf *conf, struct fl_ctx *, struct fl_err *);
void fl_labels_conf_free(struct fl_labels_conf *);

#endif
