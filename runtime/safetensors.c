/* Safetensors read: the header is proven against the bytes before anything is handed out. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/dtype.h"
#include "runtime/json.h"
#include "runtime/model.h"
#include "runtime/safetensors_names.h"

#define SAFETENSORS_HEADER_MAX (100u * 1000 * 1000)     /* of the format */

/* What one entry of the header is proven against. */
struct safetensors_view { const char *file; const unsigned char *data; uint64_t size; };

static int safetensors_bad(struct fl_err *err, const char *file, const char *tensor, const char *what)
{
    return fl_err_set(err, FL_E_INPUT, "%s: tensor \"%.100s\": %s", file, tensor, what);
}

/* A non-negative integer up to max, or false. */
static bool safetensors_uint(const json_t *v, uint64_t max, uint64_t *out)
{
    if (!json_is_integer(v) || json_integer_value(v) < 0 || (uint64_t)json_integer_value(v) > max)
        return false;
    *out = (uint64_t)json_integer_value(v);
    return true;
}

static int safetensors_shape(const struct safetensors_view *view, const json_t *shape, struct fl_st_tensor *t, struct fl_err *err)
{
    if (!json_is_array(shape))
        return safetensors_bad(err, view->file, t->name, "shape is not a list");
    size_t n = json_array_size(shape);
    if (n > FL_MAX_DIMS)
        return safetensors_bad(err, view->file, t->name, "more than 6 dimensions");
    for (size_t i = 0; i < n; i++) {
        uint64_t d;
        if (!safetensors_uint(json_array_get(shape, i), UINT32_MAX, &d))
            return safetensors_bad(err, view->file, t->name, "a dimension is not an integer from 0 to 4294967295");
        t->shape[i] = (uint32_t)d;
    }
    t->ndim = (uint32_t)n;
    return FL_OK;
}

static int safetensors_place(const struct safetensors_view *view, const json_t *offsets, struct fl_st_tensor *t, struct fl_err *err)
{
    uint64_t begin, end, want;
    if (!json_is_array(offsets) || json_array_size(offsets) != 2 ||
        !safetensors_uint(json_array_get(offsets, 0), view->size, &begin) ||
        !safetensors_uint(json_array_get(offsets, 1), view->size, &end) || begin > end)
        return fl_err_set(err, FL_E_INPUT, "%s: tensor \"%s\": data_offsets are not two rising integers within the %llu bytes of data",
                          view->file, t->name, (unsigned long long)view->size);
    if (!fl_shape_bytes(t->dtype, t->shape, t->ndim, &want))
        return safetensors_bad(err, view->file, t->name, "its shape overflows");
    if (end - begin != want)
        return fl_err_set(err, FL_E_INPUT, "%s: tensor \"%s\": %llu bytes, its shape and type want %llu", view->file, t->name,
                          (unsigned long long)(end - begin), (unsigned long long)want);
    t->data = view->data + begin;
    t->bytes = want;
    return FL_OK;
}

static int safetensors_entry(const struct safetensors_view *view, const char *name, json_t *v, struct fl_st_tensor *t, struct fl_err *err)
{
    size_t len = strlen(name);
    if (len == 0 || len >= sizeof t->name)
        return safetensors_bad(err, view->file, name, "a name has 1 to 127 bytes");
    memcpy(t->name, name, len + 1);
    if (!json_is_object(v))
        return safetensors_bad(err, view->file, name, "its entry is not an object");
    const char *key;
    json_t *unused;
    json_object_foreach(v, key, unused)
        if (strcmp(key, "dtype") != 0 && strcmp(key, "shape") != 0 && strcmp(key, "data_offsets") != 0)
            return fl_err_set(err, FL_E_INPUT, "%s: tensor \"%s\": unknown key \"%.60s\"", view->file, name, key);
    const char *dtype = json_string_value(json_object_get(v, "dtype"));
    t->dtype = dtype != NULL ? fl_safetensors_dtype(dtype) : FL_DTYPE_NONE;
    if (t->dtype == FL_DTYPE_NONE)
        return fl_err_set(err, FL_E_INPUT, "%s: tensor \"%s\": dtype %.20s, want one of F64 F32 F16 BF16 I64 I32 U16 U8", view->file,
                          name, dtype != NULL ? dtype : "missing");
    int code = safetensors_shape(view, json_object_get(v, "shape"), t, err);
    return code != FL_OK ? code : safetensors_place(view, json_object_get(v, "data_offsets"), t, err);
}

static int safetensors_metadata(const char *file, json_t *meta, char **text, struct fl_err *err)
{
    const char *key;
    json_t *v;
    if (!json_is_object(meta))
        return fl_err_set(err, FL_E_INPUT, "%s: __metadata__ is not an object", file);
    json_object_foreach(meta, key, v)
        if (!json_is_string(v))
            return fl_err_set(err, FL_E_INPUT, "%s: __metadata__: \"%.60s\" is not a text", file, key);
    const char *ours = json_string_value(json_object_get(meta, "flowrun"));
    if (ours != NULL && (*text = strdup(ours)) == NULL)
        return fl_err_set(err, FL_E_NOMEM, "%s: no memory for its text", file);
    return FL_OK;
}

static int safetensors_by_place(const void *a, const void *b)
{
    const struct fl_st_tensor *x = *(const struct fl_st_tensor *const *)a, *y = *(const struct fl_st_tensor *const *)b;
    const unsigned char *p = x->data, *q = y->data;
    if (p != q)
        return p < q ? -1 : 1;
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

static int safetensors_overlap(const char *file, const struct fl_safetensors *st, struct fl_err *err)
{
    if (st->n < 2)
        return FL_OK;
    const struct fl_st_tensor **order = malloc(st->n * sizeof *order);
    if (order == NULL)
        return fl_err_set(err, FL_E_NOMEM, "%s: no memory for %u tensors", file, st->n);
    for (uint32_t i = 0; i < st->n; i++)
        order[i] = &st->t[i];
    qsort(order, st->n, sizeof *order, safetensors_by_place);
    int code = FL_OK;
    for (uint32_t i = 1; i < st->n && code == FL_OK; i++)
        if ((const unsigned char *)order[i - 1]->data + order[i - 1]->bytes > (const unsigned char *)order[i]->data)
            code = fl_err_set(err, FL_E_INPUT, "%s: tensors \"%s\" and \"%s\" overlap", file, order[i - 1]->name, order[i]->name);
    free(order);
    return code;
}

static int safetensors_entries(const struct safetensors_view *view, json_t *header, struct fl_safetensors *st, struct fl_err *err)
{
    const char *name;
    json_t *v;
    st->t = calloc(json_object_size(header) + 1, sizeof *st->t);
    if (st->t == NULL)
        return fl_err_set(err, FL_E_NOMEM, "%s: no memory for %zu tensors", view->file, json_object_size(header));
    json_t *meta = json_object_get(header, "__metadata__");
    int code = meta != NULL ? safetensors_metadata(view->file, meta, &st->text, err) : FL_OK;
    json_object_foreach(header, name, v)
        if (code == FL_OK && v != meta)
            code = safetensors_entry(view, name, v, &st->t[st->n++], err);
    if (code != FL_OK)
        return code;
    return safetensors_overlap(view->file, st, err);
}

static uint64_t safetensors_le64(const unsigned char *p)
{
    uint64_t v = 0;
    for (int i = 7; i >= 0; i--)
        v = v << 8 | p[i];
    return v;
}

int fl_safetensors_parse(const char *name, const void *bytes, size_t len, struct fl_safetensors *out, struct fl_err *err)
{
    const unsigned char *p = bytes;
    if (len < 8)
        return fl_err_set(err, FL_E_INPUT, "%s: %zu bytes, too short for a safetensors file", name, len);
    uint64_t header_len = safetensors_le64(p);
    if (header_len > SAFETENSORS_HEADER_MAX || header_len > len - 8)
        return fl_err_set(err, FL_E_INPUT, "%s: a header of %llu bytes in a file of %zu: not safetensors, or cut off", name,
                          (unsigned long long)header_len, len);
    json_error_t why;
    json_t *header;
    int code = fl_json_parse((const char *)p + 8, (size_t)header_len, JSON_REJECT_DUPLICATES, &header, &why);
    if (!json_is_object(header)) {
        code = header != NULL ? fl_err_set(err, FL_E_INPUT, "%s: the header is not a JSON object", name)
                              : fl_err_set(err, code, "%s: header: %s", name, why.text);
        json_decref(header);
        return code;
    }
    struct fl_safetensors st = { 0 };
    struct safetensors_view view = { name, p + 8 + header_len, len - 8 - header_len };
    code = safetensors_entries(&view, header, &st, err);
    json_decref(header);
    if (code != FL_OK) {
        free(st.t);
        free(st.text);
        return code;
    }
    *out = st;
    return FL_OK;
}

static int safetensors_map(const char *path, int fd, struct fl_safetensors *out, struct fl_err *err)
{
    struct stat s;
    if (fstat(fd, &s) != 0)
        return fl_err_set(err, FL_E_INPUT, "%s: %s", path, strerror(errno));
    if (!S_ISREG(s.st_mode))
        return fl_err_set(err, FL_E_INPUT, "%s: not a plain file", path);
    if (s.st_size < 8)
        return fl_err_set(err, FL_E_INPUT, "%s: %lld bytes, too short for a safetensors file", path, (long long)s.st_size);
    size_t len = (size_t)s.st_size;
    void *map = mmap(NULL, len, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map == MAP_FAILED)
        return fl_err_set(err, FL_E_NOMEM, "%s: %s", path, strerror(errno));
    int code = fl_safetensors_parse(path, map, len, out, err);
    if (code != FL_OK) {
        munmap(map, len);
        return code;
    }
    out->map = map;
    out->map_len = len;
    out->owned = 1;
    return FL_OK;
}

int fl_safetensors_open(const char *path, struct fl_safetensors *out, struct fl_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return fl_err_set(err, FL_E_INPUT, "%s: %s", path, strerror(errno));
    int code = safetensors_map(path, fd, out, err);
    close(fd);
    return code;
}

void fl_safetensors_close(struct fl_safetensors *st)
{
    if (st == NULL)
        return;
    free(st->t);
    free(st->text);
    if (st->owned)
        munmap(st->map, st->map_len);
    memset(st, 0, sizeof *st);
}

const struct fl_st_tensor *fl_safetensors_find(const struct fl_safetensors *st, const char *name)
{
    for (uint32_t i = 0; i < st->n; i++)
        if (strcmp(st->t[i].name, name) == 0)
            return &st->t[i];
    return NULL;
}
