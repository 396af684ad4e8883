/* flowrun-hdf5: the one program that is linked with libhdf5. */
#ifndef FL_RUNTIME_HDF5_H
#define FL_RUNTIME_HDF5_H

#include <hdf5.h>

#include "runtime/predictions_io.h"

/* Fills *w but for status, then the memfd with the rows. FL_OK, or FL_E_* with w->text. */
int  hdf5_read(hid_t file, int memfd, struct fl_hdf5_wire *w);
/* Makes the file. FL_OK, or FL_E_IO with w->text. */
int  hdf5_write(const char *path, struct fl_hdf5_wire *w, const char (*ids)[64], const float *prob);

/* The answer's room for n rows of L, mapped behind the header: grown, limits checked. NULL after hdf5_fail. */
void *hdf5_rows(int memfd, struct fl_hdf5_wire *w, uint64_t n, uint32_t L);
/* Keeps what libhdf5 says is wrong, unless ok, for hdf5_fail; returns ok. */
bool hdf5_keep(bool ok);
/* Says what is wrong, with what libhdf5 said first and deepest down, and returns code. */
int  hdf5_fail(struct fl_hdf5_wire *w, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* ---- pieces (pieces.c) ---- */

/* A dataset reached by a hard link whose bytes are all in this file, or H5I_INVALID_HID. */
hid_t hdf5_dataset(hid_t at, const char *name);
/* Whether `name` is there, by a hard link. */
bool  hdf5_has(hid_t at, const char *name);
/* Strings of a one-dimensional dataset or attribute into rows of `width` bytes, NUL padded; *n in: room, out: how many.
 * out NULL: only how many. False: no such thing, too many, or one does not fit. */
bool  hdf5_strings(hid_t obj, bool attribute, char *out, size_t width, uint64_t *n);
/* An attribute: false where it is absent. */
bool  hdf5_text(hid_t obj, const char *name, char *out, size_t size);
bool  hdf5_texts(hid_t obj, const char *name, char *out, size_t width, uint64_t *n);
bool  hdf5_int(hid_t obj, const char *name, int64_t *v);

#endif
