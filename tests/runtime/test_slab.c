/* Slabs: sealed, read-only for readers, and no reference outside a slab is believed. */
#include <sys/mman.h>
#include <unistd.h>

#include "runtime/slab.h"
#include "tests/lib/check.h"

static struct fl_pool pool(int fd, bool write) { return (struct fl_pool){ .id = 1, .fd = fd, .write = write, .slab = 8192, .slots = 2 }; }

FL_TEST(readers_see_what_writers_write_and_cannot_write)
{
    struct fl_err err = { 0 };
    int fd, ro;
    CHECK_OK(fl_memfd_new("t", 16384, &fd, &err), err);
    CHECK_OK(fl_memfd_readonly(fd, &ro, &err), err);
    struct fl_pool w = pool(fd, true), r = pool(ro, false), bad = pool(ro, true);
    CHECK_OK(fl_pool_map(&w, &err), err);
    CHECK_OK(fl_pool_map(&r, &err), err);
    w.base[8192 + 64] = 7;
    CHECK_INT(r.base[8192 + 64], 7);
    CHECK_INT(fl_pool_map(&bad, &err), FL_E_NOMEM);
    CHECK(ftruncate(fd, 4096) != 0);
    fl_pool_unmap(&w);
    fl_pool_unmap(&r);
    close(fd);
    close(ro);
}

FL_TEST(references_are_proven)
{
    struct fl_err err = { 0 };
    int fd;
    CHECK_OK(fl_memfd_new("t", 16384, &fd, &err), err);
    struct fl_pool p = pool(fd, true);
    CHECK_OK(fl_pool_map(&p, &err), err);
    static const struct { uint32_t slot; uint64_t off; uint32_t rows; uint64_t bytes; int want; } cases[] = {
        { 1, 64, 10, 40, FL_OK }, { 1, 8192 - 64, 16, 64, FL_OK }, { 2, 0, 10, 40, FL_E_PROTO }, { 0, 4, 10, 40, FL_E_PROTO },
        { 0, 8192 - 64, 17, 68, FL_E_PROTO }, { 0, UINT64_MAX - 63, 10, 40, FL_E_PROTO }, { 0, 0, 10, 44, FL_E_PROTO }, { 0, 0, UINT32_MAX, 40, FL_E_PROTO },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fl_tensor t = { .name = "x", .dtype = FL_F32, .ndim = 1, .shape = { cases[i].rows }, .off = cases[i].off, .bytes = cases[i].bytes };
        CHECK_INT(fl_pool_resolve(&p, cases[i].slot, &t, &err), cases[i].want);
        if (cases[i].want == FL_OK)
            CHECK(t.data == p.base + cases[i].slot * 8192u + cases[i].off);
    }
    fl_pool_unmap(&p);
    close(fd);
}

FL_TEST(a_descriptor_that_is_too_short_or_not_sealed_is_refused)
{
    struct fl_err err = { 0 };
    int fd, loose = memfd_create("loose", MFD_CLOEXEC);
    CHECK_OK(fl_memfd_new("t", 8192, &fd, &err), err);
    struct fl_pool small = pool(fd, true), open_ended = pool(loose, true);
    CHECK_INT(fl_pool_map(&small, &err), FL_E_PROTO);
    CHECK_INT(ftruncate(loose, 16384), 0);
    CHECK_INT(fl_pool_map(&open_ended, &err), FL_E_PROTO);
    CHECK_HAS(err.text, "sealed");
    close(fd);
    close(loose);
}

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = {
        CASE(readers_see_what_writers_write_and_cannot_write), CASE(references_are_proven),
        CASE(a_descriptor_that_is_too_short_or_not_sealed_is_refused), { 0 }
    };
    return fl_run(cases, argc, argv);
}
