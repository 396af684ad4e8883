/* The status page: what a stage process tells the supervisor without a message. One page a process, written by it alone;
 * it outlives the process, since the supervisor holds the mapping. All fields only grow, but state and waiting. */
#ifndef FL_RUNTIME_PAGE_H
#define FL_RUNTIME_PAGE_H

#include <stdatomic.h>
#include <stdint.h>

#include "proto/frame.h"
#include "runtime/host.h"

enum fl_state { FL_STARTING, FL_IDLE, FL_BUSY, FL_WAIT_CREDIT, FL_ENDED };

struct fl_page {
    _Atomic uint64_t beat;              /* turns of the loop and fl_alive calls: a living stage makes it grow */
    _Atomic uint64_t batches, tiles;    /* emitted, or acknowledged by a sink */
    _Atomic uint64_t busy_ns, wait_in_ns, wait_credit_ns;
    _Atomic uint64_t rejects;
    _Atomic uint32_t state;             /* enum fl_state */
    _Atomic uint32_t waiting;           /* batches at the input */
    _Atomic uint64_t current;           /* batch being worked on + 1; 0 = none */
    _Atomic uint32_t attempt;           /* its attempt */
    _Atomic uint32_t rows;              /* and tiles; of a source that makes it, 0 */
    _Atomic uint64_t faults;            /* minor page faults since the first batch was done */
    _Atomic uint64_t counters[FL_MAX_COUNTERS];
    /* Of the batch under test alone that was worked on last: its first row's id and its header as packed; probe_len 0 = none. */
    _Atomic uint32_t probe_len;
    char             probe_id[FL_ID_SIZE];
    unsigned char    probe_header[FL_FRAME_MAX];
    /* Then, for every slot of the window: where the batch in it was sent (per out edge), and whether it came (per in edge).
     * Entries carry the generation, so what is left of an earlier use of a slot says nothing. They are never cleared. */
};

/* sent[out][slot] = generation << 32 | reader + 1, written when the header has gone into the link. */
static inline _Atomic uint64_t *fl_page_sent(struct fl_page *p, uint32_t window, uint32_t out, uint32_t slot)
{
    return (_Atomic uint64_t *)(p + 1) + (uint64_t)out * window + slot;
}

/* got[edge][slot] = generation, written when the header has been taken in and proven. nout: out edges of the process. */
static inline _Atomic uint32_t *fl_page_got(struct fl_page *p, uint32_t window, uint32_t nout, uint32_t edge, uint32_t slot)
{
    return (_Atomic uint32_t *)((_Atomic uint64_t *)(p + 1) + (uint64_t)nout * window) + (uint64_t)edge * window + slot;
}

static inline uint64_t fl_page_bytes(uint32_t window, uint32_t nout, uint32_t nedges)
{
    return sizeof(struct fl_page) + (uint64_t)window * (8 * (uint64_t)nout + 4 * (uint64_t)nedges);
}

/* The generation table, one page written by the supervisor alone: a message whose gen is not gen[slot] is late and dropped. */
#define FL_MAX_SLOTS 1024
struct fl_gens { _Atomic uint32_t gen[FL_MAX_SLOTS]; };

#endif
