/* Predictions out of an HDF5 file: image_name and prob as datasets, or a group in pandas' fixed format. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/hdf5/hdf5.h"

/* A float array [rows][columns]; rows and columns are filled in. */
static hid_t hdf5_matrix(hid_t at, const char *name, hsize_t dims[2])
{
    hid_t d = hdf5_dataset(at, name), space = d >= 0 ? H5Dget_space(d) : H5I_INVALID_HID, type = d >= 0 ? H5Dget_type(d) : H5I_INVALID_HID;
    bool ok = space >= 0 && type >= 0 && H5Tget_class(type) == H5T_FLOAT && H5Sget_simple_extent_ndims(space) == 2 &&
              H5Sget_simple_extent_dims(space, dims, NULL) == 2;
    if (space >= 0)
        H5Sclose(space);
    if (type >= 0)
        H5Tclose(type);
    if (!ok && d >= 0)
        H5Dclose(d);
    return ok ? d : H5I_INVALID_HID;
}

/* Where the rows go: ids, then probabilities. */
struct hdf5_out { char *ids; float *p; };

static int hdf5_out(int memfd, struct fl_hdf5_wire *w, uint64_t n, struct hdf5_out *out)
{
    out->ids = hdf5_rows(memfd, w, n, w->L);
    if (out->ids == NULL)
        return FL_E_INPUT;
    out->p = (float *)(void *)(out->ids + n * 64);
    w->n = n;
    return FL_OK;
}

static int hdf5_ids(hid_t at, const char *name, struct fl_hdf5_wire *w, const struct hdf5_out *out)
{
    uint64_t n = w->n;
    hid_t d = hdf5_dataset(at, name);
    if (d < 0)
        return hdf5_fail(w, FL_E_INPUT, "no dataset %s", name);
    bool texts = hdf5_strings(d, false, NULL, 64, &n);
    if (texts && n != w->n)
        return hdf5_fail(w, FL_E_SHAPE, "%s: %llu rows, the probabilities have %llu", name, (unsigned long long)n, (unsigned long long)w->n);
    if (!texts || !hdf5_strings(d, false, out->ids, 64, &n))
        return hdf5_fail(w, FL_E_LABEL, "%s: want one text of at most 63 bytes a row", name);
    return FL_OK;
}

/* ---- the project's own, and h5py's ---- */

static int hdf5_whole(hid_t obj, const char *name, int64_t low, int64_t high, int64_t *v, struct fl_hdf5_wire *w)
{
    if (H5Aexists(obj, name) <= 0)
        return FL_OK;
    if (!hdf5_int(obj, name, v) || *v < low || *v > high)
        return hdf5_fail(w, FL_E_INPUT, "attribute %s: want a whole number from %lld to %lld", name, (long long)low, (long long)high);
    return FL_OK;
}

static int hdf5_meta(hid_t f, struct fl_hdf5_wire *w)
{
    struct fl_pred_meta *m = &w->meta;
    const struct { const char *name; char *out; size_t size; } texts[] = {
        { "model", m->model, sizeof m->model }, { "member", m->member, sizeof m->member }, { "split", m->split, sizeof m->split },
        { "tta", m->tta, sizeof m->tta }, { "merge", m->merge, sizeof m->merge }, { "created_by", m->created_by, sizeof m->created_by },
    };
    int64_t version = FL_PRED_FORMAT, fold = -1, views = 0, seed = 0;
    uint64_t snapshots = FL_PRED_MAX_SNAPSHOTS;
    int rc = hdf5_whole(f, "format_version", 1, FL_PRED_FORMAT, &version, w);
    if (rc == FL_OK)
        rc = hdf5_whole(f, "fold", 0, 9999, &fold, w);
    if (rc == FL_OK)
        rc = hdf5_whole(f, "n_views", 0, 1 << 20, &views, w);
    if (rc == FL_OK)
        rc = hdf5_whole(f, "seed", INT64_MIN, INT64_MAX, &seed, w);
    for (size_t i = 0; rc == FL_OK && i < sizeof texts / sizeof *texts; i++)
        if (H5Aexists(f, texts[i].name) > 0 && !hdf5_text(f, texts[i].name, texts[i].out, texts[i].size))
            rc = hdf5_fail(w, FL_E_INPUT, "attribute %s: want a text of at most %zu bytes", texts[i].name, texts[i].size - 1);
    if (rc == FL_OK && H5Aexists(f, "snapshots") > 0) {
        if (!hdf5_texts(f, "snapshots", m->snapshots[0], sizeof m->snapshots[0], &snapshots))
            return hdf5_fail(w, FL_E_INPUT, "attribute snapshots: want at most %d texts of at most 64 bytes", FL_PRED_MAX_SNAPSHOTS);
        m->nsnapshots = (uint32_t)snapshots;
    }
    m->fold = (int32_t)fold;
    m->n_views = (uint32_t)views;
    m->seed = (uint64_t)seed;
    return rc;
}

static int hdf5_own(hid_t f, int memfd, struct fl_hdf5_wire *w)
{
    hsize_t dims[2];
    uint64_t labels = FL_MAX_LABELS;
    struct hdf5_out out;
    hid_t prob = hdf5_matrix(f, "prob", dims);
    if (prob < 0)
        return hdf5_fail(w, FL_E_SHAPE, "prob: want floating-point numbers in two dimensions, rows and labels, kept in this file");
    bool named = hdf5_texts(f, "labels", w->labels[0], 64, &labels) || (labels = FL_MAX_LABELS, hdf5_texts(prob, "labels", w->labels[0], 64, &labels));
    if (!named)
        return hdf5_fail(w, FL_E_LABEL, "no attribute labels that names the columns of prob (at most %d, each of at most 63 bytes)", FL_MAX_LABELS);
    if (dims[1] != labels || labels == 0)
        return hdf5_fail(w, FL_E_SHAPE, "prob has %llu columns, labels names %llu", (unsigned long long)dims[1], (unsigned long long)labels);
    w->L = (uint32_t)labels;
    int rc = hdf5_meta(f, w);
    if (rc == FL_OK)
        rc = hdf5_out(memfd, w, dims[0], &out);
    if (rc == FL_OK)
        rc = hdf5_ids(f, "image_name", w, &out);
    if (rc == FL_OK && H5Dread(prob, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, out.p) < 0)
        rc = hdf5_fail(w, FL_E_INPUT, "prob can't be read");
    return rc;
}

/* ---- pandas, format="fixed": axis0 names the columns, axis1 the rows; columns of one type lie together in a block ---- */

static int64_t hdf5_column(const struct fl_hdf5_wire *w, const char *name)
{
    for (uint32_t l = 0; l < w->L; l++)
        if (strncmp(w->labels[l], name, 64) == 0)
            return l;
    return -1;
}

static int hdf5_block(hid_t g, unsigned number, struct fl_hdf5_wire *w, const struct hdf5_out *out, uint64_t *seen)
{
    char items[32], values[32], names[FL_MAX_LABELS][64];
    uint64_t n = FL_MAX_LABELS;
    hsize_t dims[2];
    snprintf(items, sizeof items, "block%u_items", number);
    snprintf(values, sizeof values, "block%u_values", number);
    hid_t d = hdf5_dataset(g, items), v = hdf5_matrix(g, values, dims);
    if (d < 0 || !hdf5_strings(d, false, names[0], 64, &n))
        return hdf5_fail(w, FL_E_LABEL, "%s: want the columns' names, each of at most 63 bytes", items);
    if (v < 0 || dims[0] != w->n || dims[1] != n)
        return hdf5_fail(w, FL_E_SHAPE, "%s: want floating-point numbers, %llu rows of %llu", values, (unsigned long long)w->n, (unsigned long long)n);
    float *block = malloc((w->n * n + 1) * sizeof *block);
    if (block == NULL || H5Dread(v, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, block) < 0)
        return hdf5_fail(w, block == NULL ? FL_E_NOMEM : FL_E_INPUT, "%s can't be read", values);
    int rc = FL_OK;
    for (uint64_t j = 0; rc == FL_OK && j < n; j++) {
        int64_t l = hdf5_column(w, names[j]);
        if (l < 0 || *seen >> l & 1) {
            rc = hdf5_fail(w, FL_E_LABEL, "%s: the column %.63s is not in axis0, or there twice", items, names[j]);
            break;
        }
        *seen |= UINT64_C(1) << l;
        for (uint64_t i = 0; i < w->n; i++)
            out->p[i * w->L + (uint64_t)l] = block[i * n + j];
    }
    free(block);
    return rc;
}

static int hdf5_pandas(hid_t g, int memfd, struct fl_hdf5_wire *w)
{
    uint64_t labels = FL_MAX_LABELS, rows = 0, seen = 0;
    struct hdf5_out out;
    hid_t columns = hdf5_dataset(g, "axis0"), index = hdf5_dataset(g, "axis1");
    if (columns < 0 || index < 0)
        return hdf5_fail(w, FL_E_INPUT, "the group is not in pandas' fixed format: no axis0 or axis1");
    if (!hdf5_strings(columns, false, w->labels[0], 64, &labels) || labels == 0)
        return hdf5_fail(w, FL_E_LABEL, "axis0: want 1 to %d names of columns, each of at most 63 bytes", FL_MAX_LABELS);
    if (!hdf5_strings(index, false, NULL, 64, &rows))
        return hdf5_fail(w, FL_E_LABEL, "axis1: want the rows' ids as texts");
    w->L = (uint32_t)labels;
    int rc = hdf5_out(memfd, w, rows, &out);
    if (rc == FL_OK)
        rc = hdf5_ids(g, "axis1", w, &out);
    char items[32];
    for (unsigned b = 0; rc == FL_OK && b < FL_MAX_LABELS; b++) {
        snprintf(items, sizeof items, "block%u_items", b);
        if (!hdf5_has(g, items))
            break;
        rc = hdf5_block(g, b, w, &out, &seen);
    }
    for (uint32_t l = 0; rc == FL_OK && l < w->L; l++)
        if (!(seen >> l & 1))
            rc = hdf5_fail(w, FL_E_LABEL, "the column %.63s is in no block of numbers", w->labels[l]);
    return rc;
}

/* ---- which of them ---- */

static bool hdf5_is_group(hid_t at, const char *name)
{
    H5O_info_t info;
    return hdf5_has(at, name) && H5Oget_info_by_name2(at, name, &info, H5O_INFO_BASIC, H5P_DEFAULT) >= 0 && info.type == H5O_TYPE_GROUP;
}

struct hdf5_search { char name[64]; uint32_t found; };

static herr_t hdf5_look(hid_t at, const char *name, const H5L_info_t *info, void *user)
{
    struct hdf5_search *s = user;
    (void)info;
    if (hdf5_is_group(at, name) && strlen(name) < sizeof s->name) {
        strcpy(s->name, name);
        s->found++;
    }
    return 0;
}

int hdf5_read(hid_t file, int memfd, struct fl_hdf5_wire *w)
{
    struct hdf5_search s = { .found = 0 };
    w->group[sizeof w->group - 1] = '\0';
    if (w->group[0] == '\0' && hdf5_has(file, "prob") && !hdf5_is_group(file, "prob"))
        return hdf5_own(file, memfd, w);
    if (w->group[0] != '\0')
        snprintf(s.name, sizeof s.name, "%s", w->group);
    else if (hdf5_is_group(file, "prob"))
        strcpy(s.name, "prob");
    else if (H5Literate(file, H5_INDEX_NAME, H5_ITER_INC, NULL, hdf5_look, &s) < 0 || s.found != 1)
        return hdf5_fail(w, FL_E_INPUT, "neither a dataset prob nor one group that pandas wrote");
    if (!hdf5_is_group(file, s.name))
        return hdf5_fail(w, FL_E_INPUT, "no group %s", s.name);
    hid_t g = H5Gopen2(file, s.name, H5P_DEFAULT);
    return g < 0 ? hdf5_fail(w, FL_E_INPUT, "the group %s can't be opened", s.name) : hdf5_pandas(g, memfd, w);
}
