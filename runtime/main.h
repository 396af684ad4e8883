/* The main of every stage: --describe, --help, --version, or the loop under a supervisor. */
#ifndef FL_RUNTIME_MAIN_H
#define FL_RUNTIME_MAIN_H

#include "runtime/stage.h"

int fl_stage_main(const struct fl_stage *, int argc, char **argv);

#endif
