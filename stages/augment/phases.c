/* Phases of a training: full, unbiased, none, by epoch. */
#include "stages/augment/phases.h"

#include <stdlib.h>
#include <string.h>

static int phases_name(const json_t *v, int *phase, struct fl_err *err)
{
    static const char *const names[] = { "full", "unbiased", "none" };
    const char *name = json_string_value(v);
    for (int i = 0; name != NULL && i < 3; i++)
        if (strcmp(name, names[i]) == 0) {
            *phase = i;
            return FL_OK;
        }
    return fl_err_set(err, FL_E_CONFIG, "option augs: want full, unbiased or none%s%.40s", name != NULL ? ", not " : "", name != NULL ? name : "");
}

static int phases_order(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

int fl_phases_read(const json_t *spec, struct fl_phases *out, struct fl_err *err)
{
    const char *key;
    json_t *v;
    *out = (struct fl_phases){ .n = 1 };
    if (spec == NULL || json_is_null(spec))
        return FL_OK;
    if (!json_is_object(spec))
        return phases_name(spec, &out->at[0].phase, err);
    json_object_foreach((json_t *)spec, key, v) {
        char *end;
        unsigned long from = strtoul(key, &end, 10);
        if (key[0] < '0' || key[0] > '9' || *end != '\0' || from >= UINT32_MAX)
            return fl_err_set(err, FL_E_CONFIG, "option augs: \"%.40s\" is no epoch", key);
        uint32_t at = from == 0 ? 0 : out->n;
        if (at == FL_PHASES_MAX)
            return fl_err_set(err, FL_E_CONFIG, "option augs: more than %u phases", FL_PHASES_MAX);
        int rc = phases_name(v, &out->at[at].phase, err);
        if (rc != FL_OK)
            return rc;
        out->at[at].from = (uint32_t)from;
        out->n += at == out->n;
    }
    qsort(out->at, out->n, sizeof out->at[0], phases_order);
    for (uint32_t i = 1; i < out->n; i++)
        if (out->at[i].from == out->at[i - 1].from)
            return fl_err_set(err, FL_E_CONFIG, "option augs: epoch %u is there twice", out->at[i].from);
    return FL_OK;
}

int fl_phase_at(const struct fl_phases *p, uint32_t epoch)
{
    uint32_t i = p->n;
    while (--i > 0 && p->at[i].from > epoch)
        ;
    return p->at[i].phase;
}
