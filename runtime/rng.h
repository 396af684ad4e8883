/* Counter-based randomness: a draw depends on what is drawn (seed, tile, epoch, view, op), never on order. Philox4x32-10. */
#ifndef FL_RUNTIME_RNG_H
#define FL_RUNTIME_RNG_H

#include <stddef.h>
#include <stdint.h>

#include "proto/status.h"

#define FL_RNG_VIEWS    256u           /* view 0..255 */
#define FL_RNG_OPS      64u            /* op 0..63 */
#define FL_RNG_BLOCKS   (1u << 18)     /* block 0..2^18-1 */
#define FL_EPOCH_TEST   UINT32_MAX     /* the epoch of test-time draws */

#define FL_OP_TIES      60u            /* reserved ops */
#define FL_OP_DROPOUT   61u
#define FL_OP_SHUFFLE   63u

/* One block of the generator: ten rounds over a counter of four words with a key of two. */
void fl_philox(const uint32_t ctr[4], const uint32_t key[2], uint32_t out[4]);

/* h of a tile: FNV-1a-64 of its id (or of a name, for draws that belong to no tile). */
uint64_t fl_rng_tile(const char *id, size_t len);

/* The four draws of a block. FL_E_CONFIG when view, op or block is out of range; out is written on success only. */
int fl_rng_block(uint64_t seed, uint64_t h, uint32_t epoch, uint32_t view, uint32_t op, uint32_t block, uint32_t out[4]);

/* Draws of one op in order, block after block. */
struct fl_rng {
    uint64_t seed, h;
    uint32_t epoch, view, op;
    uint32_t block;                    /* the next one */
    uint32_t left;                     /* draws left in buf */
    uint32_t buf[4];
};

/* FL_E_CONFIG when view or op is out of range. */
int fl_rng_init(struct fl_rng *, uint64_t seed, uint64_t h, uint32_t epoch, uint32_t view, uint32_t op);
/* The next draw. FL_E_CONFIG once the op's blocks are used up; *r is then 0. */
int fl_rng_next(struct fl_rng *, uint32_t *r);

/* [0,1) in steps of 2^-24. */
static inline double fl_rng_unit(uint32_t r) { return (double)(r >> 8) * 0x1p-24; }
/* a + (b-a)u */
static inline double fl_rng_uniform(uint32_t r, double a, double b) { return a + (b - a) * fl_rng_unit(r); }
/* An integer in [0,n). */
static inline uint32_t fl_rng_integer(uint32_t r, uint32_t n) { return (uint32_t)(((uint64_t)r * n) >> 32); }

/* Sort key of a tile in an epoch's order: r0<<32 | r1 of op FL_OP_SHUFFLE. Ties go by id bytes. */
uint64_t fl_rng_order(uint64_t seed, uint64_t h, uint32_t epoch);

#endif
