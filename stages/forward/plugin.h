/* Executors that are objects of their own, so that a host without what they link still starts. */
#ifndef FL_FORWARD_PLUGIN_H
#define FL_FORWARD_PLUGIN_H

#include "stages/forward/backend.h"

/* What such an object, forward_NAME.so, exports. */
#define FL_PLUGIN_SYMBOL "fl_forward_plugin"

/* Loads forward_NAME.so once: from the folder in FLOWRUN_PLUGINS, else from ../plugins beside the executable's folder. It stays loaded.
 * NULL and why: not there, can't be loaded, made for another version. */
const struct fl_backend *fl_plugin_backend(const char *name, char *why, size_t n);

#endif
