/* The state of the stage feed and what its files call of each other. feed.c: the stage, who gets what; client.c: one trainer, told
 * and heard over either transport; local.c: the socket in the run directory; remote.c: TCP. */
#ifndef FL_STAGES_FEED_FEED_H
#define FL_STAGES_FEED_FEED_H

#include "runtime/door.h"
#include "runtime/stage.h"
#include "stages/feed/client_msg.h"
#include "stages/feed/ledger.h"

enum { FEED_BATCHES, FEED_TILES, FEED_UNDELIVERED, FEED_SKIPPED, FEED_REFUSED, FEED_JOINS };     /* counters */

enum feed_kind { FEED_NOBODY, FEED_LOCAL, FEED_REMOTE };

struct feed_client {
    enum feed_kind kind;
    int      fd;                                 /* local */
    uint32_t peer;                               /* remote: number at the door */
    bool     blocked;                            /* local: its socket is full */
    uint32_t nnames;                             /* tensors it asked for; 0 = all */
    char     names[FL_CLIENT_NAMES][FL_NAME_MAX];
};

#define FEED_TCP_MAX 1024                        /* bytes of a message from a trainer over TCP */
#define FEED_POOLS 250                           /* descriptors in one message, less the generation table */

struct feed {
    char   *listen, *address;                    /* options */
    double  rejoin;
    struct fl_ledger ledger;
    struct feed_client clients[FL_LEDGER_CLIENTS];
    int     epoll, server, gens;                 /* one past the descriptor, so that 0 = none */
    struct fl_door *door;
    char   *welcome;                             /* JSON, behind its prefix */
    size_t  welcome_len;
    struct fl_shared pools[FEED_POOLS];
    uint32_t npools;
    double  stuck_since;                         /* all batches wait and nobody takes any; 0 = no */
    bool    stuck_told;
    struct fl_batch out;                         /* scratch: what one trainer is told of a batch */
};

/* local.c */
int  feed_local_open(struct fl_ctx *);                               /* binds RUN/s/NAME.feed */
void feed_local_accept(struct fl_ctx *);                             /* lets in who waits at the socket */
int  feed_local_send(struct feed_client *, const void *, size_t, const int *fds, uint32_t nfds);    /* FL_OK, FL_END: its socket is full, FL_E_PEER */
int  feed_local_read(struct feed_client *, void *buf, size_t *len);  /* FL_OK, FL_END: nothing now, FL_E_PEER */

/* remote.c */
int  feed_remote_open(struct fl_ctx *);                              /* binds `listen`, writes RUN/NAME.json */
int  feed_remote_batch(struct fl_ctx *, struct feed_client *, const struct fl_batch *, struct fl_err *);     /* tensors in-line */

/* client.c */
struct feed_client *feed_client_new(struct feed *, enum feed_kind);  /* NULL: no room */
struct feed_client *feed_client_of(struct feed *, uint32_t peer);    /* NULL: unknown */
uint32_t feed_client_index(const struct feed *, const struct feed_client *);
int  feed_client_say(struct feed *, struct feed_client *, char kind, const void *body, size_t len);          /* as feed_local_send */
int  feed_client_batch(struct fl_ctx *, struct feed_client *, const struct fl_batch *, struct fl_err *);     /* likewise, or what is wrong with the batch */
void feed_client_end(struct fl_ctx *, struct feed_client *, const struct fl_err *why);      /* why: told to the trainer; NULL: it has gone */
void feed_client_hear(struct fl_ctx *, struct feed_client *, const void *, size_t);         /* one message */
void feed_client_select(const struct feed_client *, const struct fl_batch *, struct fl_batch *out);          /* the tensors it asked for, each name once */

/* feed.c */
double feed_now(void);
void feed_over(struct fl_ctx *, struct fl_batch *, bool delivered);  /* takes the batch: acknowledged, slot free */

#endif
