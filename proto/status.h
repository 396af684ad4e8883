/* Status codes and error texts shared by every layer.
 *
 * Functions return FL_OK (0), a positive FL_END where documented, or a negative FL_E_* code.
 * The text is made where the failure is: `return fl_err_set(err, FL_E_SHAPE, "%s: ...", ...);` */
#ifndef FL_PROTO_STATUS_H
#define FL_PROTO_STATUS_H

#include <stdarg.h>

/*      symbol      value  printed       meaning */
#define FL_STATUSES(X)                                                      \
    X(FL_OK,          0, "OK",         "success")                           \
    X(FL_END,         1, "END",        "nothing more will come")            \
    X(FL_E_INPUT,    -1, "E_INPUT",    "unreadable or malformed data")      \
    X(FL_E_LABEL,    -2, "E_LABEL",    "label or id outside the grammar")   \
    X(FL_E_SHAPE,    -3, "E_SHAPE",    "wrong dimensions")                  \
    X(FL_E_NUM,      -4, "E_NUM",      "not a number, or out of [0,1]")     \
    X(FL_E_CONFIG,   -5, "E_CONFIG",   "bad parameter")                     \
    X(FL_E_NOMEM,    -6, "E_NOMEM",    "out of memory")                     \
    X(FL_E_IO,       -7, "E_IO",       "the system refused")                \
    X(FL_E_PROTO,    -8, "E_PROTO",    "a message breaks the protocol")     \
    X(FL_E_STALE,    -9, "E_STALE",    "a reference to a slab used again")  \
    X(FL_E_PEER,    -10, "E_PEER",     "the other side is gone")            \
    X(FL_E_DEVICE,  -11, "E_DEVICE",   "the device can't do it")            \
    X(FL_E_BUG,     -12, "E_BUG",      "a stage breaks its contract")       \
    X(FL_E_POISON,  -13, "E_POISON",   "a tile that kills a stage")

enum fl_status {
#define X(sym, val, name, text) sym = val,
    FL_STATUSES(X)
#undef X
};

/* "E_INPUT" for FL_E_INPUT; "E_?" for an unknown code. Static storage. */
const char *fl_status_name(int code);

/* The code printed as `name` ("E_INPUT"), or FL_E_BUG when no code is called so. */
int fl_status_parse(const char *name);

/* One error: code and a line of UTF-8 text without newline. Zeroed = no error. */
struct fl_err {
    int  code;
    char text[512];
};

/* Fills *err (may be NULL) and returns code. A text that is too long is cut. */
int fl_err_set(struct fl_err *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int fl_err_vset(struct fl_err *err, int code, const char *fmt, va_list ap) __attribute__((format(printf, 3, 0)));

/* Puts "context: " before the text of an error on its way up; returns err->code. */
int fl_err_context(struct fl_err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Makes each byte that is no part of a UTF-8 character a '?': texts go into JSON, but file names may be any bytes, and a text that was cut may
 * end within a character. What the functions above make is so already. */
void fl_err_mend(char *text);

#ifdef __clang_analyzer__      /* it sees one file at a time, and must know that what comes back is the code */
#define fl_err_set(err, code, ...) (fl_err_set(err, code, __VA_ARGS__), (code))
#endif

#endif
