/* How often the kernel has killed for want of memory: in this process's cgroup, or on the whole machine where that can't be read. */
#include <stdio.h>
#include <string.h>

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

/* The memory cgroup's counter: version 2 ("0::/path"), then version 1 ("7:memory:/path"). */
static bool oom_cgroup(const char *proc, uint64_t *n)
{
    char line[600], path[800];
    FILE *f = fopen(proc, "re");
    bool found = false;
    while (f != NULL && !found && fgets(line, sizeof line, f) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        const char *names = strchr(line, ':'), *at = names != NULL ? strchr(names + 1, ':') : NULL;
        if (at == NULL)
            continue;
        if (at == names + 1) {
            snprintf(path, sizeof path, "/sys/fs/cgroup%s/memory.events", at + 1);
            found = oom_read(path, "oom_kill", n);
        } else if (strncmp(names + 1, "memory:", 7) == 0) {
            snprintf(path, sizeof path, "/sys/fs/cgroup/memory%s/memory.oom_control", at + 1);
            found = oom_read(path, "oom_kill", n);
        }
    }
    if (f != NULL)
        fclose(f);
    return found;
}

uint64_t fl_oom_kills(void)
{
    uint64_t n = 0;
    if (!oom_cgroup("/proc/self/cgroup", &n))
        oom_read("/proc/vmstat", "oom_kill", &n);
    return n;
}
