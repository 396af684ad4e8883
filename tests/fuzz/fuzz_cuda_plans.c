/* Any bytes as a file of timed plans, with a right checksum so that the lines are read: refused, or plans that are written again alike. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/crc32c.h"
#include "stages/forward/cuda/plans.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_plans(const char *text, size_t len)
{
    struct fl_cu_plans p, q;
    struct fl_err err = { 0 };
    size_t out = 0;
    fl_cu_plans_init(&p, "fuzz");
    fl_cu_plans_init(&q, "fuzz");
    if (fl_cu_plans_parse(&p, text, len, &err) == FL_OK) {
        char *again = fl_cu_plans_format(&p, &out);
        if (again == NULL || fl_cu_plans_parse(&q, again, out, &err) != FL_OK || q.n != p.n)
            abort();
        for (uint32_t i = 0; i < p.n; i++)
            if (strcmp(p.choice[i].key, q.choice[i].key) != 0 || p.choice[i].config.nknobs > FL_CU_KNOBS ||
                p.choice[i].config.engine != q.choice[i].config.engine)
                abort();
        free(again);
    } else if (err.code != FL_E_INPUT || p.n != 0) {
        abort();
    }
    fl_cu_plans_done(&p);
    fl_cu_plans_done(&q);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 16);
    if (text == NULL)
        return 0;
    if (size > 0)
        memcpy(text, data, size);
    fuzz_plans(text, size);
    snprintf(text + size, 16, "sum %08x\n", (unsigned)fl_crc32c(0, data, size));
    fuzz_plans(text, size + 13);
    free(text);
    return 0;
}
