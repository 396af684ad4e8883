/* Commands that a tool beside flowrun carries out: what needs a stage's innards is not in here. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "launch/cmd.h"

/* ../tools/NAME or ../libexec/flowrun/tools/NAME beside this executable. */
static bool tool_find(const char *name, char path[PATH_MAX + 64])
{
    static const char *const places[] = { "../tools", "../libexec/flowrun/tools" };
    char self[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
    self[len > 0 ? len : 0] = '\0';
    char *slash = strrchr(self, '/');
    if (slash != NULL)
        *slash = '\0';
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        snprintf(path, PATH_MAX + 64, "%s/%s/%s", self, places[i], name);
        if (access(path, X_OK) == 0)
            return true;
    }
    return false;
}

/* Becomes `TOOL COMMAND ARG...`; comes back only when that fails. */
static int tool_become(const char *tool, const char *command, int argc, char **argv)
{
    char path[PATH_MAX + 64];
    if (!tool_find(tool, path)) {
        fprintf(stderr, "flowrun %s: the tool %s is not beside flowrun\n", command, tool);
        return 1;
    }
    char **all = calloc((size_t)argc + 3, sizeof *all);
    if (all == NULL) {
        fputs("flowrun: out of memory\n", stderr);
        return 1;
    }
    all[0] = path;
    all[1] = (char *)command;
    for (int i = 0; i < argc; i++)
        all[2 + i] = argv[i];
    execv(path, all);
    fprintf(stderr, "flowrun %s: %s: %s\n", command, path, strerror(errno));
    free(all);
    return 1;
}

int fl_cmd_bench(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--help") == 0)
        return tool_become("forward", "bench", argc - 1, argv + 1);
    if (argc < 2 || strcmp(argv[1], "forward") != 0) {
        fputs("flowrun bench: want the stage to measure: forward\nusage: flowrun bench forward (--model FILE | --arch NAME) [--OPTION VALUE]...\n", stderr);
        return 2;
    }
    return tool_become("forward", "bench", argc - 2, argv + 2);
}

int fl_cmd_models(int argc, char **argv) { return tool_become("forward", argv[0], argc - 1, argv + 1); }
