/* Predictions into an HDF5 file: the same bytes for the same predictions. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/hdf5/hdf5.h"

static hid_t hdf5_text_type(size_t size)
{
    hid_t t = H5Tcopy(H5T_C_S1);
    H5Tset_size(t, size > 0 ? size : 1);
    H5Tset_strpad(t, H5T_STR_NULLPAD);
    H5Tset_cset(t, H5T_CSET_UTF8);
    return t;
}

/* n texts of `width` bytes as texts just long enough for the longest. n 0: no attribute. */
static bool hdf5_put_texts(hid_t f, const char *name, const char *texts, size_t width, uint32_t n, bool scalar)
{
    size_t most = 1;
    for (uint32_t i = 0; i < n; i++)
        most = strlen(texts + i * width) > most ? strlen(texts + i * width) : most;
    char *packed = calloc(n + 1, most);
    for (uint32_t i = 0; packed != NULL && i < n; i++)
        memcpy(packed + i * most, texts + i * width, strlen(texts + i * width));
    hid_t type = hdf5_text_type(most), space = scalar ? H5Screate(H5S_SCALAR) : H5Screate_simple(1, (hsize_t[]){ n }, NULL);
    hid_t a = packed != NULL ? H5Acreate2(f, name, type, space, H5P_DEFAULT, H5P_DEFAULT) : H5I_INVALID_HID;
    bool ok = a >= 0 && H5Awrite(a, type, packed) >= 0;
    H5Aclose(a);
    H5Sclose(space);
    H5Tclose(type);
    free(packed);
    return ok;
}

static bool hdf5_put_text(hid_t f, const char *name, const char *text)
{
    return text[0] == '\0' || hdf5_put_texts(f, name, text, strlen(text) + 1, 1, true);
}

static bool hdf5_put_int(hid_t f, const char *name, int64_t v)
{
    hid_t space = H5Screate(H5S_SCALAR), a = H5Acreate2(f, name, H5T_STD_I64LE, space, H5P_DEFAULT, H5P_DEFAULT);
    bool ok = a >= 0 && H5Awrite(a, H5T_NATIVE_INT64, &v) >= 0;
    H5Aclose(a);
    H5Sclose(space);
    return ok;
}

static bool hdf5_put_meta(hid_t f, const struct fl_hdf5_wire *w)
{
    const struct fl_pred_meta *m = &w->meta;
    return hdf5_put_int(f, "format_version", FL_PRED_FORMAT) && hdf5_put_texts(f, "labels", w->labels[0], 64, w->L, false) &&
           hdf5_put_text(f, "model", m->model) && hdf5_put_text(f, "member", m->member) && (m->fold < 0 || hdf5_put_int(f, "fold", m->fold)) &&
           hdf5_put_text(f, "split", m->split) && hdf5_put_text(f, "tta", m->tta) && hdf5_put_text(f, "merge", m->merge) &&
           (m->n_views == 0 || hdf5_put_int(f, "n_views", m->n_views)) &&
           (m->nsnapshots == 0 || hdf5_put_texts(f, "snapshots", m->snapshots[0], sizeof m->snapshots[0], m->nsnapshots, false)) &&
           hdf5_put_int(f, "seed", (int64_t)m->seed) && hdf5_put_text(f, "created_by", m->created_by);
}

static bool hdf5_put_data(hid_t f, const char *name, hid_t type, hid_t memory, int ndim, const hsize_t *dims, const void *data)
{
    hid_t how = H5Pcreate(H5P_DATASET_CREATE), space = H5Screate_simple(ndim, dims, NULL);
    H5Pset_obj_track_times(how, false);      /* else the same predictions would make other bytes an hour later */
    hid_t d = H5Dcreate2(f, name, type, space, H5P_DEFAULT, how, H5P_DEFAULT);
    bool ok = d >= 0 && H5Dwrite(d, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0;
    H5Dclose(d);
    H5Sclose(space);
    H5Pclose(how);
    return ok;
}

static bool hdf5_put_ids(hid_t f, uint64_t n, const char (*ids)[64])
{
    size_t most = 1;
    for (uint64_t i = 0; i < n; i++)
        most = strnlen(ids[i], 63) > most ? strnlen(ids[i], 63) : most;
    char *packed = calloc(n + 1, most);
    for (uint64_t i = 0; packed != NULL && i < n; i++)
        memcpy(packed + i * most, ids[i], strnlen(ids[i], 63));
    hid_t type = hdf5_text_type(most);
    bool ok = packed != NULL && hdf5_put_data(f, "image_name", type, type, 1, (hsize_t[]){ n }, packed);
    H5Tclose(type);
    free(packed);
    return ok;
}

int hdf5_write(const char *path, struct fl_hdf5_wire *w, const char (*ids)[64], const float *prob)
{
    hid_t f = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    bool ok = hdf5_keep(f >= 0 && hdf5_put_meta(f, w) && hdf5_put_ids(f, w->n, ids) &&
                        hdf5_put_data(f, "prob", H5T_IEEE_F32LE, H5T_NATIVE_FLOAT, 2, (hsize_t[]){ w->n, w->L }, prob));
    if (f >= 0 && !hdf5_keep(H5Fclose(f) >= 0))
        ok = false;
    return ok ? FL_OK : hdf5_fail(w, FL_E_IO, "libhdf5 can't write it");
}
