/* Who gets which batch: the global order, ranks, epochs, and what becomes of a dead rank's share. No input or output here.
 *
 * Epoch e is the batches [e P, (e + 1) P), P = batches / epochs of the source. An epoch has a world: of W ranks, rank r gets those with
 * (batch - phase) mod W = r, in order, where phase follows from the first to join (next - rank), so an epoch may begin in its middle. An
 * epoch ends when every rank has been given its share, or has gone on to a later epoch, or has been away for `patience` seconds.
 * Batches wait here in any order, at most a window of them. */
#ifndef FL_STAGES_FEED_LEDGER_H
#define FL_STAGES_FEED_LEDGER_H

#include <stdbool.h>

#include "proto/batch.h"
#include "proto/status.h"

#define FL_LEDGER_CLIENTS 256                /* numbers of clients and ranks lie below */

struct fl_ledger_entry { struct fl_batch *b; int32_t client; };        /* client: who has it, -1 = it waits */

struct fl_ledger_place {                     /* one rank of the epoch at hand */
    bool     known, lost, told;              /* has joined once; was away too long; knows that its share is over */
    int32_t  client;                         /* -1 = away */
    uint64_t next, top;                      /* batch it wants; one past the greatest it released */
    double   since;                          /* away since */
};

struct fl_ledger_client { bool waits; uint32_t rank, world; uint64_t next; };    /* waits: to join an epoch that can't begin yet */

struct fl_ledger {
    uint64_t batches, per_epoch, start, phase;   /* nothing before batch `start` will come; phase < world */
    uint32_t window, n;
    double   patience;
    struct fl_ledger_entry *entries;         /* [window] */
    bool     active;                         /* an epoch is at hand */
    uint64_t epoch;
    uint32_t world;
    struct fl_ledger_place   place[FL_LEDGER_CLIENTS];
    struct fl_ledger_client  client[FL_LEDGER_CLIENTS];
    uint64_t undelivered, skipped;           /* of the epoch at hand: lost with a rank; left out by ranks that went on */
    void   (*refuse)(void *user, uint32_t client, const struct fl_err *);       /* a waiting client can't join after all */
    void   (*ended)(void *user, uint64_t epoch, uint64_t undelivered, uint64_t skipped);
    void    *user;
};

/* batches > 0; epochs divides it, window > 0. The caller sets start, refuse, ended and user afterwards. */
int  fl_ledger_init(struct fl_ledger *, uint64_t batches, uint32_t epochs, uint32_t window, double patience, struct fl_err *);
void fl_ledger_done(struct fl_ledger *);                   /* the batches in it stay the caller's */

/* FL_E_BUG for more than a window. One that is here already under this number is kept, and the new one comes back in *twice. */
int  fl_ledger_add(struct fl_ledger *, struct fl_batch *, struct fl_batch **twice, struct fl_err *);
/* FL_OK: it has joined, or waits until the epoch before has ended. Else what is wrong. */
int  fl_ledger_join(struct fl_ledger *, uint32_t client, uint32_t rank, uint32_t world, uint64_t next, double now, struct fl_err *);
/* The client is gone: what it had goes to the same rank once more, if that comes back in time. */
void fl_ledger_leave(struct fl_ledger *, uint32_t client, double now);
/* The batch comes back in *done. FL_E_PROTO: the client has no such batch. */
int  fl_ledger_release(struct fl_ledger *, uint32_t client, uint64_t batch, uint32_t gen, struct fl_batch **done, struct fl_err *);

/* What the client may be given now, or NULL; fl_ledger_sent when that was done. */
struct fl_batch *fl_ledger_for(const struct fl_ledger *, uint32_t client);
void fl_ledger_sent(struct fl_ledger *, uint32_t client, const struct fl_batch *);
/* True until fl_ledger_told: the client's share of the epoch is over, and it should be told. */
bool fl_ledger_finished(const struct fl_ledger *, uint32_t client, uint64_t *epoch);
void fl_ledger_told(struct fl_ledger *, uint32_t client);
/* The run is over: the last epoch is reported. */
void fl_ledger_close(struct fl_ledger *);
/* Takes out one batch that nobody will ask for; NULL: none. */
struct fl_batch *fl_ledger_drop(struct fl_ledger *, double now);
/* A client that waits for a batch which was released before this ledger began; -1: none. */
int32_t fl_ledger_vain(const struct fl_ledger *);

#endif
