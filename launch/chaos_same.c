/* Folders for flowrun chaos: equal or not, how large. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "launch/chaos.h"
#include "launch/mem.h"

static bool same_files(const char *a, const char *b)
{
    FILE *f = fopen(a, "re"), *g = fopen(b, "re");
    uint64_t at = 0, line = 1;
    bool same = f != NULL && g != NULL;
    if (!same)
        printf("  %s: %s\n", f == NULL ? a : b, strerror(errno));
    while (same) {
        int x = getc(f), y = getc(g);
        if (x != y) {
            printf("  %s: differs from %s at byte %llu, line %llu\n", b, a, (unsigned long long)at, (unsigned long long)line);
            same = false;
        }
        if (x == EOF)
            break;
        at++;
        line += x == '\n';
    }
    if (f != NULL)
        fclose(f);
    if (g != NULL)
        fclose(g);
    return same;
}

static bool same_names(const char *a, const char *b)
{
    DIR *d = opendir(b);
    bool same = true;
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL; ) {
        struct stat st;
        char *path = fl_need_text("%s/%s", a, e->d_name);
        if (lstat(path, &st) != 0) {
            printf("  %s/%s: the quiet run has no such file\n", b, e->d_name);
            same = false;
        }
        free(path);
    }
    if (d != NULL)
        closedir(d);
    return same;
}

bool fl_chaos_same(const char *a, const char *b, uint64_t *files)
{
    struct stat st;
    if (stat(a, &st) != 0 || !S_ISDIR(st.st_mode)) {
        ++*files;
        return same_files(a, b);
    }
    DIR *d = opendir(a);
    bool same = same_names(a, b);
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL; ) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        char *x = fl_need_text("%s/%s", a, e->d_name), *y = fl_need_text("%s/%s", b, e->d_name);
        same = fl_chaos_same(x, y, files) && same;
        free(x);
        free(y);
    }
    if (d != NULL)
        closedir(d);
    return same;
}

uint64_t fl_chaos_bytes(const char *folder)
{
    uint64_t bytes = 0;
    DIR *d = opendir(folder);
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL; ) {
        struct stat st;
        char *path = fl_need_text("%s/%s", folder, e->d_name);
        if (e->d_name[0] != '.' && lstat(path, &st) == 0)
            bytes += S_ISDIR(st.st_mode) ? fl_chaos_bytes(path) : (uint64_t)st.st_size;
        free(path);
    }
    if (d != NULL)
        closedir(d);
    return bytes;
}
