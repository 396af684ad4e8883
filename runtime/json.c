/* JSON from memory that may run out.
 *
 * Where an allocation fails, jansson 2.14 drops a character of a text without a word, or ends in an assert. So it isn't told: its work is left
 * there and then, and what it had taken is given back from a list. */
#include "runtime/json.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

static _Thread_local struct {
    jmp_buf back;
    void  **taken;                /* [n], the newest last */
    size_t  n, room;
} json;

static void *json_take(size_t bytes)
{
    if (json.n == json.room) {
        void **more = realloc(json.taken, (2 * json.room + 64) * sizeof *more);
        if (more == NULL)
            longjmp(json.back, 1);
        json.taken = more;
        json.room = 2 * json.room + 64;
    }
    void *p = malloc(bytes);
    if (p == NULL)
        longjmp(json.back, 1);
    return json.taken[json.n++] = p;
}

static void json_give(void *p)
{
    for (size_t i = json.n; p != NULL && i-- > 0;)      /* most live for a moment only, and are near the end */
        if (json.taken[i] == p) {
            json.taken[i] = json.taken[--json.n];
            break;
        }
    free(p);
}

static struct { json_malloc_t take; json_free_t give; } json_before;

static void json_enter(void)
{
    json_get_alloc_funcs(&json_before.take, &json_before.give);
    json_set_alloc_funcs(json_take, json_give);
}

static void json_leave(void)
{
    json_set_alloc_funcs(json_before.take, json_before.give);
    free(json.taken);
    json.taken = NULL;
    json.n = json.room = 0;
}

/* After a jump back: memory has run out. */
static void json_give_up(void)
{
    while (json.n > 0)
        free(json.taken[--json.n]);
    json_leave();
}

int fl_json_parse(const char *text, size_t len, size_t flags, json_t **out, json_error_t *why)
{
    *out = NULL;
    if (setjmp(json.back) != 0) {
        json_give_up();
        snprintf(why->text, sizeof why->text, "out of memory");
        return FL_E_NOMEM;
    }
    json_enter();
    *out = json_loadb(text, len, flags, why);
    json_leave();
    return *out != NULL ? FL_OK : FL_E_INPUT;
}

char *fl_json_text(const json_t *j, size_t flags)
{
    if (setjmp(json.back) != 0) {
        json_give_up();
        return NULL;
    }
    json_enter();
    char *text = json_dumps(j, flags);
    json_leave();
    return text;
}
