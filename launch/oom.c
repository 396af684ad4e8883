/* How much memory there is, and how often the kernel has killed for want of it: in this process's cgroup, or on the whole machine where that can't be read. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "launch/super.h"

/* The number behind `key` at the start of a line. */
static bool oom_read(const char *path, const char *key, uint64_t *n)
{
    char line[256];
    FILE *f = fopen(path, "re");
    bool found = false;
    size_t len = strlen(key);
    while (f != NULL && !found && fgets(line, sizeof line, f) != NULL)
        found = strncmp(line, key, len) == 0 && line[len] == ' ' && sscanf(line + len, "%lu", n) == 1;
    if (f != NULL)
        fclose(f);
    return found;
}

/* A file of this process's memory cgroup: version 2 ("0::/path"), then version 1 ("7:memory:/path"). */
static bool oom_cgroup(const char *name2, const char *name1, char path[800])
{
    char line[600];
    FILE *f = fopen("/proc/self/cgroup", "re");
    bool found = false;
    while (f != NULL && !found && fgets(line, sizeof line, f) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        const char *names = strchr(line, ':'), *at = names != NULL ? strchr(names + 1, ':') : NULL;
        if (at == NULL)
            continue;
        if (at == names + 1)
            snprintf(path, 800, "/sys/fs/cgroup%s/%s", at + 1, name2);
        else if (strncmp(names + 1, "memory:", 7) == 0)
            snprintf(path, 800, "/sys/fs/cgroup/memory%s/%s", at + 1, name1);
        else
            continue;
        found = access(path, R_OK) == 0;
    }
    if (f != NULL)
        fclose(f);
    return found;
}

uint64_t fl_oom_kills(void)
{
    char path[800];
    uint64_t n = 0;
    if (!oom_cgroup("memory.events", "memory.oom_control", path) || !oom_read(path, "oom_kill", &n))
        oom_read("/proc/vmstat", "oom_kill", &n);
    return n;
}

uint64_t fl_memory_free(void)
{
    char path[800];
    uint64_t free = 0, swap = 0, most;
    if (!oom_read("/proc/meminfo", "MemAvailable:", &free))
        return UINT64_MAX;
    oom_read("/proc/meminfo", "SwapFree:", &swap);
    free = (free + swap) * 1024;
    /* Of what a cgroup uses much is cache, which goes when it must: its limit alone says what is too much. */
    FILE *f = oom_cgroup("memory.max", "memory.limit_in_bytes", path) ? fopen(path, "re") : NULL;
    if (f != NULL && fscanf(f, "%lu", &most) == 1 && most < free)
        free = most;
    if (f != NULL)
        fclose(f);
    return free;
}
