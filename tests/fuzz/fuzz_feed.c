/* Fuzz target: what trainers say to feed. The input is a list of steps: a client's number, how many bytes follow, and they are its message; with
 * no bytes it leaves; client 255 stands for the graph, which brings the next batch. Whatever is said, each batch is with at most one
 * client, none is given out of its rank's order, and a window holds them all. */
#include "stages/feed/client_msg.h"
#include "stages/feed/ledger.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define WINDOW  8
#define BATCHES 24
#define CLIENTS 5

static struct fl_batch fuzz_batches[BATCHES];

static void fuzz_give(struct fl_ledger *l)
{
    for (uint32_t c = 0; c < CLIENTS; c++)
        for (struct fl_batch *b, *before = NULL; (b = fl_ledger_for(l, c)) != NULL; before = b) {
            if (before != NULL && b->batch <= before->batch)
                abort();
            fl_ledger_sent(l, c, b);
        }
    for (uint32_t i = 0; i < l->n; i++)
        for (uint32_t k = 0; k < i; k++)
            if (l->entries[i].b == l->entries[k].b)
                abort();
    if (l->n > WINDOW)
        abort();
}

static void fuzz_hear(struct fl_ledger *l, uint32_t client, const uint8_t *bytes, size_t len, double now)
{
    struct fl_client_msg m;
    struct fl_err err;
    struct fl_batch *done = NULL;
    if (fl_client_msg_read(bytes, len, &m, &err) != FL_OK) {
        fl_ledger_leave(l, client, now);
        return;
    }
    if (m.kind == 'J' && fl_ledger_join(l, client, m.rank, m.world, m.next, now, &err) != FL_OK)
        fl_ledger_leave(l, client, now);
    if (m.kind == 'R' && fl_ledger_release(l, client, m.batch, m.gen, &done, &err) == FL_OK && done == NULL)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fl_ledger l;
    struct fl_err err;
    double now = 0;
    uint64_t next = 0;
    if (fl_ledger_init(&l, BATCHES, 3, WINDOW, 3, &err) != FL_OK)
        abort();
    for (size_t at = 0; at + 2 <= size; now++) {
        uint32_t client = data[at];
        size_t len = data[at + 1] < size - at - 2 ? data[at + 1] : size - at - 2;
        struct fl_batch *twice;
        at += 2;
        if (client == 255 && next < BATCHES && l.n < WINDOW) {
            fuzz_batches[next] = (struct fl_batch){ .batch = next, .gen = 1 };
            if (fl_ledger_add(&l, &fuzz_batches[next++], &twice, &err) != FL_OK || twice != NULL)
                abort();
        } else if (len == 0) {
            fl_ledger_leave(&l, client % CLIENTS, now);
        } else {
            fuzz_hear(&l, client % CLIENTS, data + at, len, now);
        }
        at += client == 255 ? 0 : len;
        fuzz_give(&l);
        while (fl_ledger_drop(&l, now) != NULL)
            ;
        if (fl_ledger_vain(&l) >= CLIENTS)
            abort();
    }
    fl_ledger_done(&l);
    return 0;
}
