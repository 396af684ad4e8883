/* Which mapping a piece of memory lies in: slabs are shared mappings, and a whole one is registered for DMA once. */
#include "stages/forward/cuda/maps.h"

#include <inttypes.h>
#include <stdio.h>

bool fl_cu_find_mapping(const void *p, size_t n, uintptr_t *at, size_t *bytes, bool *writable)
{
    uintptr_t want = (uintptr_t)p, from, to;
    char line[512], perms[5];
    bool found = false;
    FILE *f = fopen("/proc/self/maps", "re");
    while (f != NULL && !found && fgets(line, sizeof line, f) != NULL) {
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s", &from, &to, perms) != 3 || want < from || want >= to)
            continue;
        if (n > to - want || perms[0] != 'r' || perms[3] != 's')
            break;
        *at = from;
        *bytes = to - from;
        *writable = perms[1] == 'w';
        found = true;
    }
    if (f != NULL)
        fclose(f);
    return found;
}
