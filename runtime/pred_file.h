/* Writes result files: CSV (RFC 4180, LF) under a temporary name beside the target, renamed when complete. */
#ifndef FL_RUNTIME_PRED_FILE_H
#define FL_RUNTIME_PRED_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "proto/status.h"

struct fl_pred_file;

/* Makes DIR/.NAME.part beside the target DIR/NAME and holds a lock on it; the target is left alone until fl_pred_commit.
 * FL_E_IO naming the file: can't be made, or another run writes it. FL_E_CONFIG: the target is there and no regular file. */
int  fl_pred_open(const char *path, struct fl_pred_file **out, struct fl_err *err);
const char *fl_pred_path(const struct fl_pred_file *);

/* A row: fields, then the end. Errors are kept until fl_pred_finish. */
void fl_pred_text(struct fl_pred_file *, const char *text);
void fl_pred_end(struct fl_pred_file *);
/* Bytes as they are; errors are kept until fl_pred_finish. */
void fl_pred_bytes(struct fl_pred_file *, const void *bytes, size_t len);
/* The temporary file, for one who fills it by other means than these; it stays this struct's. */
int  fl_pred_fd(const struct fl_pred_file *);

/* `image_name,tags`; the tags in label order, joined by one space; pred: label l in bit l. */
void fl_pred_submission_head(struct fl_pred_file *);
void fl_pred_submission(struct fl_pred_file *, const char *id, uint64_t pred, uint32_t L, const char *const *labels);
/* `image_name,<labels>`, nine significant digits: the float32 that was written is the one that is read. */
void fl_pred_probabilities_head(struct fl_pred_file *, uint32_t L, const char *const *labels);
void fl_pred_probabilities(struct fl_pred_file *, const char *id, const float *prob, uint32_t L);
/* `id,stage,reason` from "stage: text". */
void fl_pred_rejects_head(struct fl_pred_file *);
void fl_pred_reject(struct fl_pred_file *, const char *id, const char *reason);

/* Everything written so far is on disk, or FL_E_IO naming the file. */
int  fl_pred_finish(struct fl_pred_file *, struct fl_err *err);
/* After finish: the file takes the target's name. */
int  fl_pred_commit(struct fl_pred_file *, struct fl_err *err);
/* Removes the temporary file unless committed. Accepts NULL. */
void fl_pred_close(struct fl_pred_file *);

#endif
