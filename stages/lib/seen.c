/* Which batches a sink has had: a bitmap that grows. */
#include "stages/lib/seen.h"

#include <stdlib.h>
#include <string.h>

bool fl_seen_has(const struct fl_seen *s, uint64_t batch)
{
    return batch / 64 < s->words && s->bits[batch / 64] >> batch % 64 & 1;
}

int fl_seen_add(struct fl_seen *s, uint64_t batch, struct fl_err *err)
{
    if (batch > UINT32_MAX)
        return fl_err_set(err, FL_E_BUG, "batch %llu: numbers lie below 2^32", (unsigned long long)batch);
    if (batch / 64 >= s->words) {
        uint64_t words = 2 * (batch / 64 + 1);
        uint64_t *bits = realloc(s->bits, words * sizeof *bits);
        if (bits == NULL)
            return fl_err_set(err, FL_E_NOMEM, "no memory for %llu batches", (unsigned long long)batch);
        memset(bits + s->words, 0, (words - s->words) * sizeof *bits);
        s->bits = bits;
        s->words = words;
    }
    s->bits[batch / 64] |= UINT64_C(1) << batch % 64;
    return FL_OK;
}

void fl_seen_done(struct fl_seen *s)
{
    free(s->bits);
    memset(s, 0, sizeof *s);
}
