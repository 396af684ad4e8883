/* Links between stage processes, on ZeroMQ: the only file that knows it is link.c.
 *
 * A reader binds one socket for all that comes in; a writer connects one socket to each reader. A message from writer to reader is
 * one frame: kind, version, edge (u16 LE), then the batch header (kind 'B') or the number of batches sent (kind 'E', u64 LE).
 * Back flow credit ('C', u64 LE bytes) and the acknowledgement of the end ('A'). High-water marks are off: what bounds a link is
 * the credit that its reader has granted, in bytes. Nothing is delivered by lingering: a writer closes after 'A'.
 * A reader greets each connection with an empty message: a second one tells the writer that the first broke (fl_links_broken). */
#ifndef FL_RUNTIME_LINK_H
#define FL_RUNTIME_LINK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/batch.h"
#include "proto/status.h"

struct fl_links;

int  fl_links_new(uint32_t window, struct fl_links **, struct fl_err *);
void fl_links_free(struct fl_links *);        /* closes at once: everything must have been acknowledged before */

/* ---- reading ---- */

/* Binds the inlet; writers: how many links will come in over all edges. grant: bytes a new writer may send at first, per edge. */
int  fl_links_listen(struct fl_links *, const char *endpoint, uint32_t nedges, const uint32_t *writers, const uint64_t *grant, struct fl_err *);
/* Next batch header that has arrived: *edge, *token (for fl_links_credit) and the descriptor (tensors not resolved). FL_END: none now. */
int  fl_links_next(struct fl_links *, uint32_t *edge, uint64_t *token, struct fl_batch *, struct fl_err *);
/* The header of the batch that next gave last, as it came; good until next is called again. */
const void *fl_links_header(const struct fl_links *, size_t *len);
/* Gives `bytes` of credit back to the writer a batch came from. Sent by fl_links_flush. */
void fl_links_credit(struct fl_links *, uint64_t token, uint64_t bytes);
/* Every writer of the edge, and whoever comes later, may send `bytes` more: for a reader that was granted nothing at first. */
void fl_links_grant(struct fl_links *, uint32_t edge, uint64_t bytes);
bool fl_links_ended(const struct fl_links *);  /* every writer has said that it ended */
/* The writer whose identity begins with `prefix` is dead: nothing of it is taken any more, and its place is free for the next incarnation;
 * over: there will be none, it counts as ended. */
void fl_links_drop_writer(struct fl_links *, const char *prefix, bool over);

/* ---- writing ---- */

/* One out edge to a stage with `readers` instances; keyed: the reader is batch modulo readers (into a join). cost: credit bytes of one batch. */
int  fl_links_edge(struct fl_links *, uint32_t edge, uint32_t readers, bool keyed, uint64_t cost, struct fl_err *);
int  fl_links_connect(struct fl_links *, uint32_t out, uint32_t reader, const char *endpoint, const char *identity, struct fl_err *);
/* The reader is dead: its link and credit are gone; batches wait until it is connected again. over: there will be none, its end counts as acknowledged. */
void fl_links_drop_reader(struct fl_links *, uint32_t out, uint32_t reader, bool over);
/* From now on each send is noted in table[out * window + slot] (runtime/page.h). */
void fl_links_trace(struct fl_links *, _Atomic uint64_t *table);
/* Puts the batch into the queue of every out edge (never blocks: a queue holds a whole window). */
int  fl_links_put(struct fl_links *, const struct fl_batch *, struct fl_err *);
/* Sends what has credit; true when nothing is left in any queue. */
bool fl_links_flush(struct fl_links *, struct fl_err *);
/* Says the end on every out link, once the queues are empty; true when all readers have acknowledged it. */
bool fl_links_finish(struct fl_links *, struct fl_err *);

/* A link broke though nobody died, and what was under way is lost: an error was returned, and the process must end for it to be issued again. */
bool fl_links_broken(const struct fl_links *);

/* Waits until something arrives on a link, or `fd` or the descriptor of fl_links_listen_to is readable, at most ms (-1: for ever). */
void fl_links_listen_to(struct fl_links *, int fd);     /* the stage's own; -1 = none */
int  fl_links_wait(struct fl_links *, int fd, int ms, bool *fd_ready, struct fl_err *);

#endif
