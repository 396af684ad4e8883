/* Status names and error texts. */
#include "proto/status.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

const char *fl_status_name(int code)
{
    switch (code) {
#define X(sym, val, name, text) case val: return name;
        FL_STATUSES(X)
#undef X
    default: return "E_?";
    }
}

int fl_status_parse(const char *name)
{
#define X(sym, val, text, help) if (strcmp(name, text) == 0) return val;
    FL_STATUSES(X)
#undef X
    return FL_E_BUG;
}

/* Bytes of the UTF-8 character at p, 0 where none is whole and well formed. */
static size_t status_char(const unsigned char *p)
{
    const size_t n = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    const bool bad = (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f);
    return bad ? 0 : n;
}

void fl_err_mend(char *text)
{
    for (size_t n; *text != '\0'; text += n) {
        n = status_char((const unsigned char *)text);
        if (n == 0)
            *text = '?', n = 1;
    }
}

int fl_err_vset(struct fl_err *err, int code, const char *fmt, va_list ap)
{
    if (err != NULL) {
        err->code = code;
        vsnprintf(err->text, sizeof err->text, fmt, ap);
        fl_err_mend(err->text);
    }
    return code;
}

int (fl_err_set)(struct fl_err *err, int code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fl_err_vset(err, code, fmt, ap);
    va_end(ap);
    return code;
}

int fl_err_context(struct fl_err *err, const char *fmt, ...)
{
    char old[sizeof err->text];
    memcpy(old, err->text, sizeof old);
    old[sizeof old - 1] = '\0';
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(err->text, sizeof err->text, fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n + 3 < sizeof err->text) {
        memcpy(err->text + n, ": ", 2);
        size_t room = sizeof err->text - (size_t)n - 3, len = strlen(old);
        memcpy(err->text + n + 2, old, len < room ? len : room);
        err->text[(size_t)n + 2 + (len < room ? len : room)] = '\0';
    }
    fl_err_mend(err->text);
    return err->code;
}
