/* What flowrun show shares: the listing (cmd_show.c) and the contact sheet (show_sheet.c). */
#ifndef FL_LAUNCH_SHOW_H
#define FL_LAUNCH_SHOW_H

#include "launch/cmd.h"
#include "launch/replay.h"

/* Paints a->png out of the run, of which these edges were recorded: the exit status. */
int  fl_show_sheet(struct fl_replay *, char *const *edges, uint32_t n, const struct fl_args *a);

#endif
