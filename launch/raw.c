/* Arguments of commands that work on files of results. */
#include "launch/raw.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "runtime/number.h"
#include "runtime/text.h"

int fl_raw_wrong(const struct fl_raw *c, const char *fmt, ...)
{
    va_list ap;
    fprintf(stderr, "flowrun %s: ", c->name);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fprintf(stderr, "\nusage: flowrun %s %s\n", c->name, c->usage);
    return 2;
}

static void raw_help(const struct fl_raw *c)
{
    printf("usage: flowrun %s %s\n\n%s\n\n", c->name, c->usage, c->help);
    for (const struct fl_raw_opt *o = c->opts; o->name != NULL; o++) {
        char left[64];
        snprintf(left, sizeof left, "%s%s%s", o->name, o->value != NULL ? " " : "", o->value != NULL ? o->value : "");
        printf("  %-24s %s\n", left, o->help);
    }
    printf("  %-24s this text, the version\n\nExit status: 0 done, 1 a file can't be used, 2 the arguments are wrong.\n", "--help, --version");
}

static int raw_choice(const struct fl_raw *c, const struct fl_raw_opt *o, const char *text)
{
    int i = 0;
    for (const char *p = o->choices; ; i++) {
        size_t len = strcspn(p, "|");
        if (strlen(text) == len && strncmp(p, text, len) == 0) {
            *(int *)o->to = i;
            return -1;
        }
        if (p[len] == '\0')
            return fl_raw_wrong(c, "%s %s, want one of %s", o->name, text, o->choices);
        p += len + 1;
    }
}

static int raw_number(const struct fl_raw *c, const struct fl_raw_opt *o, const char *text)
{
    bool unit = o->type == FL_RAW_UNIT;
    double v;
    if (!fl_number_parse(text, &v) || (unit ? !(v >= 0.0 && v <= 1.0) : !(v > 0.0 && v <= 1000.0)))
        return fl_raw_wrong(c, "%s %s, want a number %s", o->name, text, unit ? "from 0 to 1" : "above 0, at most 1000");
    *(double *)o->to = v;
    return -1;
}

static int raw_set(const struct fl_raw *c, const struct fl_raw_opt *o, const char *text)
{
    if (o->type == FL_RAW_CHOICE)
        return raw_choice(c, o, text);
    if (o->type == FL_RAW_EACH) {
        struct fl_raw_list *list = o->to;
        if (list->n == FL_RAW_MOST)
            return fl_raw_wrong(c, "%s more than %u times", o->name, FL_RAW_MOST);
        list->text[list->n++] = text;
        return -1;
    }
    if (o->type != FL_RAW_TEXT)
        return raw_number(c, o, text);
    *(const char **)o->to = text;
    return -1;
}

static int raw_unknown(const struct fl_raw *c, const char *word)
{
    const char *names[40] = { "--help", "--version" };
    uint32_t n = 2;
    for (const struct fl_raw_opt *o = c->opts; o->name != NULL && n < 39; o++)
        names[n++] = o->name;
    names[n] = NULL;
    const char *near = fl_nearest(word, names);
    return fl_raw_wrong(c, "unknown option %s%s%s%s", word, near ? ", did you mean " : "", near ? near : "", near ? "?" : "");
}

/* Option argv[*i] as `--name value`, `--name=value` or `--flag`. */
static int raw_option(const struct fl_raw *c, int argc, char **argv, int *i)
{
    const char *word = argv[*i];
    size_t len = strcspn(word, "=");
    const struct fl_raw_opt *o = c->opts;
    while (o->name != NULL && (strlen(o->name) != len || strncmp(o->name, word, len) != 0))
        o++;
    if (o->name == NULL)
        return raw_unknown(c, word);
    if (o->type == FL_RAW_FLAG && word[len] == '=')
        return fl_raw_wrong(c, "%s takes no value", o->name);
    if (o->type == FL_RAW_FLAG) {
        *(bool *)o->to = true;
        return -1;
    }
    if (word[len] == '=')
        return raw_set(c, o, word + len + 1);
    if (*i + 1 >= argc)
        return fl_raw_wrong(c, "%s wants a value", o->name);
    return raw_set(c, o, argv[++*i]);
}

int fl_raw_read(const struct fl_raw *c, int argc, char **argv, const char **files, uint32_t *n)
{
    bool only_files = false;
    *n = 0;
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            raw_help(c);
            return 0;
        }
        if (strcmp(argv[i], "--version") == 0)
            return printf("flowrun %s\n", FL_VERSION) < 0;
    }
    for (int i = 1; i < argc; i++) {
        int rc = -1;
        if (!only_files && strcmp(argv[i], "--") == 0)
            only_files = true;
        else if (!only_files && argv[i][0] == '-' && argv[i][1] != '\0')
            rc = raw_option(c, argc, argv, &i);
        else if (*n == c->max)
            rc = fl_raw_wrong(c, "one argument too many: %s", argv[i]);
        else
            files[(*n)++] = argv[i];
        if (rc >= 0)
            return rc;
    }
    return *n < c->min ? fl_raw_wrong(c, "want %s", c->want) : -1;
}
