/* JSON from memory that may run out.
 *
 * Where an allocation fails, jansson 2.14 drops a character of a text without a word, or ends in an assert. So it isn't told: the parse is left
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

static void json_leave(json_malloc_t take, json_free_t give)
{
    json_set_alloc_funcs(take, give);
    free(json.taken);
    json.taken = NULL;
    json.n = json.room = 0;
}

int fl_json_parse(const char *text, size_t len, size_t flags, json_t **out, json_error_t *why)
{
    json_malloc_t take;
    json_free_t give;
    json_get_alloc_funcs(&take, &give);
    *out = NULL;
    if (setjmp(json.back) != 0) {
        while (json.n > 0)
            free(json.taken[--json.n]);
        json_leave(take, give);
        snprintf(why->text, sizeof why->text, "out of memory");
        return FL_E_NOMEM;
    }
    json_set_alloc_funcs(json_take, json_give);
    *out = json_loadb(text, len, flags, why);
    json_leave(take, give);
    return *out != NULL ? FL_OK : FL_E_INPUT;
}
