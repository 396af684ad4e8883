/* The share of the time that a process is at work. */
#include "stages/lib/pace.h"

bool fl_pace_work(struct fl_pace *p, int64_t began, int64_t ended, double *seconds)
{
    if (p->start == 0)
        p->start = began;
    p->busy += ended - began;
    int64_t all = ended - p->start;
    if (all < FL_PACE_STRETCH)
        return false;
    bool full = (double)p->busy >= FL_PACE_FULL * (double)all;
    *seconds = (double)all / 1e9;
    *p = (struct fl_pace){ .start = ended };
    return full;
}
