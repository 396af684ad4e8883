/* The runner behind tests/lib/check.h: runs the cases, counts, keeps their temporary folders. */
#include "tests/lib/check.h"

#include <ftw.h>
#include <limits.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

static struct {
    const char *name;               /* of the running case */
    bool        failed, skipped;
    char        why[256];           /* of the skip */
    char        tmp[PATH_MAX];      /* of the running case, "" = none made */
} check;

void fl_fail_at(const char *file, int line, const char *fmt, ...)
{
    va_list ap;

    check.failed = true;
    printf("FAIL %s: %s:%d: ", check.name, file, line);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
}

void fl_skip(const char *fmt, ...)
{
    va_list ap;

    check.skipped = true;
    va_start(ap, fmt);
    vsnprintf(check.why, sizeof check.why, fmt, ap);
    va_end(ap);
}

const char *fl_data(const char *rel)
{
    static char paths[8][PATH_MAX];
    static unsigned turn;
    const char *root = getenv("FLOWRUN_DATA");
    char *path = paths[turn++ % 8];

    if (root == NULL || root[0] == '\0')
        root = "../shared/data";
    int len = snprintf(path, sizeof paths[0], "%s/%s", root, rel);
    if (len < 0 || (size_t)len >= sizeof paths[0] || access(path, R_OK) != 0) {
        fl_skip("no %s/%s (set FLOWRUN_DATA)", root, rel);
        return NULL;
    }
    return path;
}

static int check_remove(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path) == 0 ? 0 : -1;
}

static void check_tmp_done(void)
{
    if (check.tmp[0] == '\0')
        return;
    if (nftw(check.tmp, check_remove, 16, FTW_DEPTH | FTW_PHYS) != 0)
        fprintf(stderr, "%s: can't remove %s\n", check.name, check.tmp);
    check.tmp[0] = '\0';
}

const char *fl_tmpdir(void)
{
    const char *root = getenv("TMPDIR");

    if (check.tmp[0] != '\0')
        return check.tmp;
    if (root == NULL || root[0] == '\0')
        root = "/tmp";
    int len = snprintf(check.tmp, sizeof check.tmp, "%s/fl-test-XXXXXX", root);
    if (len < 0 || (size_t)len >= sizeof check.tmp || mkdtemp(check.tmp) == NULL) {
        perror("a folder for the test");     /* nothing a case could do without */
        exit(1);
    }
    return check.tmp;
}

static bool check_wanted(const char *name, int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], name) == 0)
            return true;
    return argc <= 1;
}

static int check_unknown(const struct fl_case *cases, int argc, char **argv)
{
    int unknown = 0;

    for (int i = 1; i < argc; i++) {
        const struct fl_case *c = cases;
        while (c->name != NULL && strcmp(c->name, argv[i]) != 0)
            c++;
        if (c->name == NULL) {
            printf("FAIL %s: no such case\n", argv[i]);
            unknown++;
        }
    }
    return unknown;
}

int fl_run(const struct fl_case *cases, int argc, char **argv)
{
    int passed = 0, failed = check_unknown(cases, argc, argv), skipped = 0;

    /* Line by line: after a crash the last line says how far it came, and a forked child repeats nothing. */
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (const struct fl_case *c = cases; c->name != NULL; c++) {
        if (!check_wanted(c->name, argc, argv))
            continue;
        check.name = c->name;
        check.failed = check.skipped = false;
        c->run();
        check_tmp_done();
        if (check.failed) {
            failed++;
        } else if (check.skipped) {
            printf("skip %s: %s\n", c->name, check.why);
            skipped++;
        } else {
            printf("ok %s\n", c->name);
            passed++;
        }
    }
    printf("%d passed, %d failed", passed, failed);
    if (skipped > 0)
        printf(", %d skipped", skipped);
    putchar('\n');
    return failed > 0;
}
