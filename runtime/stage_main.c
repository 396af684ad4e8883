/* One executable a stage: compiled once for each with -DFL_STAGE=fl_stage_NAME. */
#include "runtime/main.h"

extern const struct fl_stage FL_STAGE;

int main(int argc, char **argv)
{
    return fl_stage_main(&FL_STAGE, argc, argv);
}
