/* Allocation that ends the program when there is no memory: nothing has been started then, so there is nothing to undo. */
#include "launch/mem.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Noreturn static void mem_out(void)
{
    fputs("flowrun: out of memory\n", stderr);
    exit(1);
}

void *fl_need(size_t n, size_t size)
{
    void *p = calloc(n ? n : 1, size ? size : 1);
    if (p == NULL)
        mem_out();
    return p;
}

void *fl_need_grow(void *old, size_t n, size_t size)
{
    void *p = reallocarray(old, n ? n : 1, size);
    if (p == NULL)
        mem_out();
    return p;
}

char *fl_need_copy(const char *text)
{
    char *p = strdup(text);
    if (p == NULL)
        mem_out();
    return p;
}

char *fl_need_text(const char *fmt, ...)
{
    char *p = NULL;
    va_list ap;
    va_start(ap, fmt);
    int n = vasprintf(&p, fmt, ap);
    va_end(ap);
    if (n < 0)
        mem_out();
    return p;
}

json_t *fl_need_json(json_t *j)
{
    if (j == NULL)
        mem_out();
    return j;
}

json_t *fl_need_str(const char *text)
{
    json_t *j = json_string(text);
    if (j != NULL)
        return j;
    /* Not UTF-8 (a file name may be anything). */
    char *copy = fl_need_copy(text);
    for (char *p = copy; *p != '\0'; p++)
        if ((unsigned char)*p >= 0x80)
            *p = '?';
    j = fl_need_json(json_string(copy));
    free(copy);
    return j;
}

void fl_need_put(json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, fl_need_json(value)) != 0)
        mem_out();
}

void fl_need_push(json_t *array, json_t *value)
{
    if (json_array_append_new(array, fl_need_json(value)) != 0)
        mem_out();
}
