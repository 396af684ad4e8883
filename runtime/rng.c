/* Counter-based randomness: Philox4x32-10 (Salmon et al. 2011) and the counters it is asked with. */
#include "runtime/rng.h"

#include <string.h>

#include "runtime/text.h"

#define RNG_M0 0xD2511F53u
#define RNG_M1 0xCD9E8D57u
#define RNG_W0 0x9E3779B9u
#define RNG_W1 0xBB67AE85u

void fl_philox(const uint32_t ctr[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t c0 = ctr[0], c1 = ctr[1], c2 = ctr[2], c3 = ctr[3], k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)RNG_M0 * c0, p1 = (uint64_t)RNG_M1 * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += RNG_W0;
        k1 += RNG_W1;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

uint64_t fl_rng_tile(const char *id, size_t len)
{
    return fl_fnv1a(id, len);
}

int fl_rng_block(uint64_t seed, uint64_t h, uint32_t epoch, uint32_t view, uint32_t op, uint32_t block, uint32_t out[4])
{
    if (view >= FL_RNG_VIEWS || op >= FL_RNG_OPS || block >= FL_RNG_BLOCKS)
        return FL_E_CONFIG;
    const uint32_t key[2] = { (uint32_t)seed, (uint32_t)(seed >> 32) };
    const uint32_t ctr[4] = { (uint32_t)h, (uint32_t)(h >> 32), epoch, view << 24 | op << 18 | block };
    fl_philox(ctr, key, out);
    return FL_OK;
}

int fl_rng_init(struct fl_rng *g, uint64_t seed, uint64_t h, uint32_t epoch, uint32_t view, uint32_t op)
{
    memset(g, 0, sizeof *g);
    if (view >= FL_RNG_VIEWS || op >= FL_RNG_OPS)
        return FL_E_CONFIG;
    g->seed = seed;
    g->h = h;
    g->epoch = epoch;
    g->view = view;
    g->op = op;
    return FL_OK;
}

int fl_rng_next(struct fl_rng *g, uint32_t *r)
{
    if (g->left == 0) {
        if (fl_rng_block(g->seed, g->h, g->epoch, g->view, g->op, g->block, g->buf) != FL_OK) {
            *r = 0;
            return FL_E_CONFIG;
        }
        g->block++;
        g->left = 4;
    }
    *r = g->buf[4 - g->left--];
    return FL_OK;
}

uint64_t fl_rng_order(uint64_t seed, uint64_t h, uint32_t epoch)
{
    uint32_t r[4] = { 0 };
    fl_rng_block(seed, h, epoch, 0, FL_OP_SHUFFLE, 0, r);
    return (uint64_t)r[0] << 32 | r[1];
}
