/* Slabs: one pool of shared memory a producing stage, cut into `slots` slabs of equal size.
 *
 * The supervisor makes a pool as a sealed memfd (nothing is left behind by any death) and hands it down: read-write to its
 * writers, through a separate read-only descriptor to everybody else. All sizes in bytes, slabs multiples of 4096. */
#ifndef FL_RUNTIME_SLAB_H
#define FL_RUNTIME_SLAB_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/batch.h"
#include "proto/status.h"

struct fl_pool {
    uint32_t id;
    int      fd;                 /* -1 = not handed to this process */
    bool     write;
    uint64_t slab;               /* bytes of one slab */
    uint32_t slots;
    unsigned char *base;         /* NULL until mapped */
};

/* A sealed memfd of `bytes` with its pages allocated, or FL_E_NOMEM saying how much was asked for. *fd is close-on-exec. */
int  fl_memfd_new(const char *name, uint64_t bytes, int *fd, struct fl_err *);
/* A second, read-only descriptor of the same memory. */
int  fl_memfd_readonly(int fd, int *ro, struct fl_err *);
/* Maps the whole pool; checks that the file has slab * slots bytes and can't shrink. */
int  fl_pool_map(struct fl_pool *, struct fl_err *);
void fl_pool_unmap(struct fl_pool *);
/* Proves a tensor's reference against the pool and sets t->data; FL_E_PROTO naming what is wrong. */
int  fl_pool_resolve(const struct fl_pool *, uint32_t slot, struct fl_tensor *t, struct fl_err *);

#endif
