/* Pieces of an HDF5 file: what is reached otherwise than by hard links, or lies in other files, is not there. */
#include <stdlib.h>
#include <string.h>

#include "runtime/hdf5/hdf5.h"

#define HDF5_MAX_TEXT 4096u

bool hdf5_has(hid_t at, const char *name)
{
    H5L_info_t info;
    return H5Lexists(at, name, H5P_DEFAULT) > 0 && H5Lget_info(at, name, &info, H5P_DEFAULT) >= 0 && info.type == H5L_TYPE_HARD;
}

hid_t hdf5_dataset(hid_t at, const char *name)
{
    H5O_info_t info;
    if (!hdf5_has(at, name) || H5Oget_info_by_name2(at, name, &info, H5O_INFO_BASIC, H5P_DEFAULT) < 0 || info.type != H5O_TYPE_DATASET)
        return H5I_INVALID_HID;
    hid_t d = H5Dopen2(at, name, H5P_DEFAULT);
    hid_t how = d >= 0 ? H5Dget_create_plist(d) : H5I_INVALID_HID;
    bool inside = how >= 0 && H5Pget_external_count(how) == 0 && H5Pget_layout(how) != H5D_VIRTUAL;
    if (how >= 0)
        H5Pclose(how);
    if (inside)
        return d;
    if (d >= 0)
        H5Dclose(d);
    return H5I_INVALID_HID;
}

static bool hdf5_fits(char *out, const char *text, size_t len, size_t width)
{
    if (len >= width)
        return false;
    memset(out, 0, width);
    memcpy(out, text, len);
    return true;
}

/* Values of fixed length, as they lie in the file. */
static bool hdf5_fixed(hid_t obj, bool attribute, hid_t type, uint64_t n, char *out, size_t width)
{
    size_t size = H5Tget_size(type);
    bool blank = H5Tget_strpad(type) == H5T_STR_SPACEPAD, ok = size > 0 && size <= HDF5_MAX_TEXT && n <= FL_HDF5_BYTES / size;
    char *raw = ok ? malloc(n * size + 1) : NULL;
    ok = raw != NULL && hdf5_keep((attribute ? H5Aread(obj, type, raw) : H5Dread(obj, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, raw)) >= 0);
    for (uint64_t i = 0; ok && i < n; i++) {
        size_t len = strnlen(raw + i * size, size);
        while (blank && len > 0 && raw[i * size + len - 1] == ' ')
            len--;
        ok = hdf5_fits(out + i * width, raw + i * size, len, width);
    }
    free(raw);
    return ok;
}

static bool hdf5_variable(hid_t obj, bool attribute, hid_t type, uint64_t n, char *out, size_t width)
{
    char **raw = n <= FL_HDF5_BYTES / sizeof *raw ? calloc(n + 1, sizeof *raw) : NULL;
    bool ok = raw != NULL && hdf5_keep((attribute ? H5Aread(obj, type, raw) : H5Dread(obj, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, raw)) >= 0);
    for (uint64_t i = 0; ok && i < n; i++)
        ok = raw[i] != NULL && hdf5_fits(out + i * width, raw[i], strnlen(raw[i], width), width);
    free(raw);      /* the texts go with the process */
    return ok;
}

bool hdf5_strings(hid_t obj, bool attribute, char *out, size_t width, uint64_t *n)
{
    hid_t space = attribute ? H5Aget_space(obj) : H5Dget_space(obj), type = attribute ? H5Aget_type(obj) : H5Dget_type(obj);
    int ndim = space >= 0 ? H5Sget_simple_extent_ndims(space) : -1;
    hsize_t dims[1] = { 1 };
    bool ok = type >= 0 && H5Tget_class(type) == H5T_STRING && (ndim == 0 || ndim == 1) && (ndim == 0 || H5Sget_simple_extent_dims(space, dims, NULL) == 1) &&
              H5Sget_simple_extent_type(space) != H5S_NULL;
    ok = ok && (out == NULL || dims[0] <= *n);
    if (ok)
        *n = dims[0];
    if (ok && out != NULL)
        ok = H5Tis_variable_str(type) > 0 ? hdf5_variable(obj, attribute, type, dims[0], out, width) : hdf5_fixed(obj, attribute, type, dims[0], out, width);
    if (space >= 0)
        H5Sclose(space);
    if (type >= 0)
        H5Tclose(type);
    return ok;
}

bool hdf5_texts(hid_t obj, const char *name, char *out, size_t width, uint64_t *n)
{
    hid_t a = H5Aexists(obj, name) > 0 ? H5Aopen(obj, name, H5P_DEFAULT) : H5I_INVALID_HID;
    bool ok = a >= 0 && hdf5_strings(a, true, out, width, n);
    if (a >= 0)
        H5Aclose(a);
    return ok;
}

bool hdf5_text(hid_t obj, const char *name, char *out, size_t size)
{
    uint64_t one = 1;
    return hdf5_texts(obj, name, out, size, &one) && one == 1;
}

bool hdf5_int(hid_t obj, const char *name, int64_t *v)
{
    hid_t a = H5Aexists(obj, name) > 0 ? H5Aopen(obj, name, H5P_DEFAULT) : H5I_INVALID_HID;
    hid_t space = a >= 0 ? H5Aget_space(a) : H5I_INVALID_HID, type = a >= 0 ? H5Aget_type(a) : H5I_INVALID_HID;
    bool ok = space >= 0 && type >= 0 && H5Sget_simple_extent_npoints(space) == 1 && H5Tget_class(type) == H5T_INTEGER && H5Aread(a, H5T_NATIVE_INT64, v) >= 0;
    if (space >= 0)
        H5Sclose(space);
    if (type >= 0)
        H5Tclose(type);
    if (a >= 0)
        H5Aclose(a);
    return ok;
}
