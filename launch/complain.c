/* Gathers complaints, sorts them by position and writes them as lines. */
#include "launch/complain.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launch/mem.h"
#include "runtime/text.h"

/* The same line twice (two expansions of one entry) says nothing new. */
static bool complain_known(const struct fl_complaints *c, struct fl_mark mark, const char *text)
{
    for (uint32_t i = 0; i < c->n; i++)
        if (c->v[i].mark.line == mark.line && c->v[i].mark.column == mark.column && strcmp(c->v[i].text, text) == 0)
            return true;
    return false;
}

void fl_complain(struct fl_complaints *c, struct fl_mark mark, const char *fmt, ...)
{
    char *text = NULL;
    va_list ap;
    va_start(ap, fmt);
    int len = vasprintf(&text, fmt, ap);
    va_end(ap);
    if (len < 0)
        text = fl_need_copy("out of memory");
    /* One complaint is one line, whatever a key or a stage's text holds. */
    for (char *p = text; *p != '\0'; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = ' ';
    bool known = complain_known(c, mark, text);
    if (known || c->n == FL_MAX_COMPLAINTS) {
        c->dropped += !known;
        free(text);
        return;
    }
    if (c->n == c->cap) {
        c->cap = c->cap ? 2 * c->cap : 16;
        c->v = fl_need_grow(c->v, c->cap, sizeof *c->v);
    }
    c->v[c->n] = (struct fl_complaint){ .mark = mark, .order = c->n, .text = text };
    c->n++;
}

static int complain_order(const void *a, const void *b)
{
    const struct fl_complaint *x = a, *y = b;
    if (x->mark.line != y->mark.line)
        return x->mark.line < y->mark.line ? -1 : 1;
    if (x->mark.column != y->mark.column)
        return x->mark.column < y->mark.column ? -1 : 1;
    return x->order < y->order ? -1 : x->order > y->order;
}

static void complain_line(FILE *f, const struct fl_complaints *c, const struct fl_complaint *one)
{
    if (one->mark.line != 0)
        fprintf(f, "%s:%u:%u: %s\n", c->file, one->mark.line, one->mark.column, one->text);
    else if (one->mark.column != 0 && one->mark.column <= c->nsets)
        fprintf(f, "--set %s: %s\n", c->sets[one->mark.column - 1], one->text);
    else
        fprintf(f, "%s: %s\n", c->file, one->text);
}

char *fl_complaints_text(struct fl_complaints *c)
{
    if (c->n == 0)
        return NULL;
    qsort(c->v, c->n, sizeof *c->v, complain_order);
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    if (f == NULL)
        return fl_need_copy("out of memory\n");
    for (uint32_t i = 0; i < c->n; i++)
        complain_line(f, c, &c->v[i]);
    if (c->dropped != 0)
        fprintf(f, "%s: and %llu more\n", c->file, (unsigned long long)c->dropped);
    if (fclose(f) != 0 || text == NULL) {
        free(text);
        return fl_need_copy("out of memory\n");
    }
    return text;
}

void fl_complaints_done(struct fl_complaints *c)
{
    for (uint32_t i = 0; i < c->n; i++)
        free(c->v[i].text);
    free(c->v);
    *c = (struct fl_complaints){ 0 };
}

const char *fl_did_you_mean(const char *word, const char *const *names)
{
    static char text[128];
    const char *near = fl_nearest(word, names);
    if (near == NULL)
        return "";
    snprintf(text, sizeof text, "; did you mean %.90s?", near);
    return text;
}
