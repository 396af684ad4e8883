/* The CPU executor's kernels without special instructions. */
#include <stdbool.h>

static bool kern_probe(void)
{
    return true;
}

#define KERN_NAME  "plain"
#define KERN_TABLE fl_cpu_kernels_plain
#define KERN_PROBE kern_probe
#include "stages/forward/cpu_kernels_body.h"
