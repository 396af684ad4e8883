/* Pools of slabs in sealed memfds. */
#include "runtime/slab.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int fl_memfd_new(const char *name, uint64_t bytes, int *fd, struct fl_err *err)
{
    int f = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (f < 0)
        return fl_err_set(err, FL_E_IO, "memfd %s: %s", name, strerror(errno));
    if (ftruncate(f, (off_t)bytes) != 0 || fallocate(f, 0, 0, (off_t)bytes) != 0) {
        int e = errno;
        close(f);
        return fl_err_set(err, FL_E_NOMEM, "pool %s: %.1f MB of shared memory: %s; give `memory:` less", name, (double)bytes / 1e6, strerror(e));
    }
    if (fcntl(f, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
        int e = errno;
        close(f);
        return fl_err_set(err, FL_E_IO, "pool %s: can't be sealed: %s", name, strerror(e));
    }
    *fd = f;
    return FL_OK;
}

int fl_memfd_readonly(int fd, int *ro, struct fl_err *err)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int f = open(path, O_RDONLY | O_CLOEXEC);
    if (f < 0)
        return fl_err_set(err, FL_E_IO, "%s: %s", path, strerror(errno));
    *ro = f;
    return FL_OK;
}

int fl_pool_map(struct fl_pool *p, struct fl_err *err)
{
    uint64_t bytes;
    struct stat st;
    if (__builtin_mul_overflow(p->slab, (uint64_t)p->slots, &bytes) || bytes == 0)
        return fl_err_set(err, FL_E_PROTO, "pool %u: impossible size", p->id);
    if (fstat(p->fd, &st) != 0 || (uint64_t)st.st_size < bytes)
        return fl_err_set(err, FL_E_PROTO, "pool %u: descriptor %d is not %llu bytes long", p->id, p->fd, (unsigned long long)bytes);
    int seals = fcntl(p->fd, F_GET_SEALS);
    if (seals < 0 || !(seals & F_SEAL_SHRINK))
        return fl_err_set(err, FL_E_PROTO, "pool %u: not sealed against shrinking", p->id);
    int prot = p->write ? PROT_READ | PROT_WRITE : PROT_READ;
    void *m = mmap(NULL, bytes, prot, MAP_SHARED | MAP_POPULATE, p->fd, 0);
    if (m == MAP_FAILED)
        return fl_err_set(err, FL_E_NOMEM, "pool %u: mapping %llu bytes: %s", p->id, (unsigned long long)bytes, strerror(errno));
    p->base = m;
    return FL_OK;
}

void fl_pool_unmap(struct fl_pool *p)
{
    if (p->base != NULL)
        munmap(p->base, p->slab * p->slots);
    p->base = NULL;
}

int fl_pool_resolve(const struct fl_pool *p, uint32_t slot, struct fl_tensor *t, struct fl_err *err)
{
    uint64_t bytes;
    if (slot >= p->slots)
        return fl_err_set(err, FL_E_PROTO, "slot %u of %u", slot, p->slots);
    if (!fl_shape_bytes(t->dtype, t->shape, t->ndim, &bytes) || bytes != t->bytes)
        return fl_err_set(err, FL_E_PROTO, "tensor %s: shape and bytes disagree", t->name);
    if (t->off % FL_ALIGN != 0 || t->off > p->slab || t->bytes > p->slab - t->off)
        return fl_err_set(err, FL_E_PROTO, "tensor %s: outside its slab", t->name);
    t->data = p->base + (uint64_t)slot * p->slab + t->off;
    return FL_OK;
}
