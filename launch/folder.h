/* Folders of a flowrun in TMPDIR (/tmp): locked while it lives, so that what a killed one left behind is found and removed by the next. */
#ifndef FL_LAUNCH_FOLDER_H
#define FL_LAUNCH_FOLDER_H

#include "proto/status.h"

/* path: NULL = there is none; lock: a descriptor, not inherited. */
struct fl_folder { char *path; int lock; };

/* TMPDIR/flowrun-KIND-XXXXXX, mode 0700, empty; removes those of that kind whose owner is gone first. FL_E_IO. */
int  fl_folder_make(const char *kind, struct fl_folder *, struct fl_err *);
/* Removes it with all that is in it. Zeroed ones are accepted. */
void fl_folder_done(struct fl_folder *);
/* A folder or file with all that is in it; links are not followed. */
void fl_folder_remove(const char *path);

#endif
