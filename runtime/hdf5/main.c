/* flowrun-hdf5 read|write: descriptor 3 is the file, 4 the memfd of predictions_io.h.
 *
 * It is given nothing else: no environment, no plug-ins, little memory, no more processes, and when reading no file it could make
 * larger. What it answers is proven by the one that started it. */
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "runtime/hdf5/hdf5.h"

#define HDF5_MEMORY ((rlim_t)4 << 30)

static char hdf5_said[160];      /* libhdf5 forgets its errors at the next call that succeeds */

/* Of a failed call of the system only what that says: file name, descriptor and time stand before it. */
static herr_t hdf5_deepest(unsigned n, const H5E_error2_t *e, void *text)
{
    static const char system[] = "error message = '";
    const char *desc = e->desc != NULL ? e->desc : "", *said = strstr(desc, system);
    (void)n;
    if (*(char *)text == '\0' && said != NULL)
        snprintf(text, 160, "%.*s", (int)strcspn(said + strlen(system), "'"), said + strlen(system));
    else if (*(char *)text == '\0')
        snprintf(text, 160, "%s", desc);
    return 0;
}

bool hdf5_keep(bool ok)
{
    if (!ok)
        H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, hdf5_deepest, hdf5_said);
    return ok;
}

int hdf5_fail(struct fl_hdf5_wire *w, int code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(w->text, sizeof w->text - sizeof hdf5_said, fmt, ap);
    va_end(ap);
    hdf5_keep(false);
    if (hdf5_said[0] != '\0')
        snprintf(w->text + strlen(w->text), sizeof hdf5_said, " (%.150s)", hdf5_said);
    return code;
}

static void hdf5_limit(int what, rlim_t most)
{
    struct rlimit l = { most, most }, now;
    if (getrlimit(what, &now) == 0 && now.rlim_max < most)
        l.rlim_max = l.rlim_cur = now.rlim_max;
    setrlimit(what, &l);
}

void *hdf5_rows(int memfd, struct fl_hdf5_wire *w, uint64_t n, uint32_t L)
{
    uint64_t row = 64 + 4 * (uint64_t)L;
    if (n > (FL_HDF5_BYTES - sizeof *w) / row) {
        hdf5_fail(w, FL_E_INPUT, "%llu rows, more than there is room for", (unsigned long long)n);
        return NULL;
    }
    size_t bytes = sizeof *w + n * row;
    char *map = ftruncate(memfd, (off_t)bytes) == 0 ? mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0) : MAP_FAILED;
    if (map == MAP_FAILED) {
        hdf5_fail(w, FL_E_NOMEM, "no memory for %llu rows", (unsigned long long)n);
        return NULL;
    }
    return map + sizeof *w;
}

static int hdf5_do_read(struct fl_hdf5_wire *w)
{
    hid_t file = H5Fopen("/proc/self/fd/3", H5F_ACC_RDONLY, H5P_DEFAULT);
    if (file < 0)
        return hdf5_fail(w, FL_E_INPUT, "libhdf5 can't open it");
    w->meta = (struct fl_pred_meta){ .fold = -1 };
    return hdf5_read(file, 4, w);
}

static int hdf5_do_write(struct fl_hdf5_wire *w)
{
    const char *rows = (const char *)(w + 1);
    return hdf5_write("/proc/self/fd/3", w, (const char (*)[64])rows, (const float *)(const void *)(rows + w->n * 64));
}

int main(int argc, char **argv)
{
    bool write = argc == 2 && strcmp(argv[1], "write") == 0;
    off_t bytes = lseek(4, 0, SEEK_END);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (argc != 2 || (!write && strcmp(argv[1], "read") != 0) || bytes < (off_t)sizeof(struct fl_hdf5_wire)) {
        fprintf(stderr, "flowrun-hdf5 is started by flowrun and its stages, with a file as descriptor 3 and a memfd as 4\n");
        return 2;
    }
    hdf5_limit(RLIMIT_CORE, 0);
    hdf5_limit(RLIMIT_CPU, FL_HDF5_SECONDS);
    hdf5_limit(RLIMIT_NPROC, 0);
#ifndef __SANITIZE_ADDRESS__      /* its shadow alone is larger */
    hdf5_limit(RLIMIT_AS, HDF5_MEMORY);
#endif
    if (!write)
        hdf5_limit(RLIMIT_FSIZE, FL_HDF5_BYTES);
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    H5PLset_loading_state(0);
    /* The rows of what is written are far below the limit; those of what is read are mapped when their number is known. */
    struct fl_hdf5_wire *w = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_SHARED, 4, 0);
    if (w == MAP_FAILED)
        return 1;
    int rc = write ? hdf5_do_write(w) : hdf5_do_read(w);
    w->status = rc;
    _exit(0);      /* libhdf5 may have been left in any state */
}
