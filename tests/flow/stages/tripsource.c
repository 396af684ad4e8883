/* A source of the tests: the real one on a file system that kills who looks at certain files. TRIP_FILES: words of their paths.
 * TRIP_HOW: exit, hang, a signal otherwise. TRIP_ONCE: a file; the source dies only while it is not there, and makes it.
 * TRIP_STARTS: a file that gets a byte a start; the first TRIP_STILLBORN of them die. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/stage.h"

extern const struct fl_stage fl_stage_source;
extern struct fl_stage fl_stage_tripsource;
struct fl_stage fl_stage_tripsource;

static void trip(void)
{
    const char *how = getenv("TRIP_HOW");
    if (how != NULL && strcmp(how, "exit") == 0)
        _exit(7);
    if (how != NULL && strcmp(how, "hang") == 0)
        for (;;)
            pause();
    raise(SIGBUS);
}

static bool trip_first(void)
{
    const char *once = getenv("TRIP_ONCE");
    FILE *f = once != NULL ? fopen(once, "wxe") : NULL;
    if (f != NULL)
        fclose(f);
    return once == NULL || f != NULL;
}

/* In the place of libc's: what the source asks of a file. */
int access(const char *path, int mode)
{
    const char *files = getenv("TRIP_FILES");
    char words[1000], *save = NULL;
    struct stat st;
    (void)mode;
    snprintf(words, sizeof words, "%s", files != NULL ? files : "");
    for (char *w = strtok_r(words, ",", &save); w != NULL; w = strtok_r(NULL, ",", &save))
        if (strstr(path, w) != NULL && trip_first())
            trip();
    return stat(path, &st);
}

static int trip_open(struct fl_ctx *ctx)
{
    const char *starts = getenv("TRIP_STARTS"), *deaths = getenv("TRIP_STILLBORN");
    FILE *f = starts != NULL ? fopen(starts, "ae") : NULL;
    long start = 0;
    if (f != NULL) {
        fputc('.', f);
        start = ftell(f);
        fclose(f);
    }
    if (deaths != NULL && start <= strtol(deaths, NULL, 10))
        trip();
    return fl_stage_source.open(ctx);
}

__attribute__((constructor)) static void trip_make(void)
{
    fl_stage_tripsource = fl_stage_source;
    fl_stage_tripsource.name = "tripsource";
    fl_stage_tripsource.open = trip_open;
}
