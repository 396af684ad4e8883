/* Safetensors written, and their elements converted to f32. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <libgen.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/dtype.h"
#include "runtime/json.h"
#include "runtime/model.h"
#include "runtime/safetensors_names.h"

static const struct { const char *name; uint8_t dtype; } safetensors_types[] = {
    { "F64", FL_F64 }, { "F32", FL_F32 }, { "F16", FL_F16 }, { "BF16", FL_BF16 },
    { "I64", FL_I64 }, { "I32", FL_I32 }, { "U16", FL_U16 }, { "U8", FL_U8 },
};
#define SAFETENSORS_NTYPES (sizeof safetensors_types / sizeof safetensors_types[0])

uint8_t fl_safetensors_dtype(const char *name)
{
    for (size_t i = 0; i < SAFETENSORS_NTYPES; i++)
        if (strcmp(safetensors_types[i].name, name) == 0)
            return safetensors_types[i].dtype;
    return FL_DTYPE_NONE;
}

const char *fl_safetensors_dtype_name(int dtype)
{
    for (size_t i = 0; i < SAFETENSORS_NTYPES; i++)
        if (safetensors_types[i].dtype == dtype)
            return safetensors_types[i].name;
    return NULL;
}

/* ---- to f32 ---- */

static float safetensors_from_bits(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static float safetensors_half(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, e = h >> 10 & 31, m = h & 1023;
    if (e == 31)
        return safetensors_from_bits(sign | 0x7F800000u | m << 13);
    if (e != 0)
        return safetensors_from_bits(sign | (e + 112) << 23 | m << 13);
    float f = (float)m * 0x1p-24f;          /* zero and the subnormals, exact */
    return sign != 0 ? -f : f;
}

int fl_st_to_f32(const struct fl_st_tensor *t, float *out, struct fl_err *err)
{
    const unsigned char *p = t->data;
    uint64_t n = t->bytes / (fl_dtype_size(t->dtype) > 0 ? fl_dtype_size(t->dtype) : 1);
    uint16_t h;
    double d;
    switch (t->dtype) {
    case FL_F32:
        if (n > 0)
            memcpy(out, p, n * sizeof *out);
        return FL_OK;
    case FL_F64:
        for (uint64_t i = 0; i < n; i++) {
            memcpy(&d, p + i * sizeof d, sizeof d);
            out[i] = (float)d;
        }
        return FL_OK;
    case FL_F16:
        for (uint64_t i = 0; i < n; i++) {
            memcpy(&h, p + i * sizeof h, sizeof h);
            out[i] = safetensors_half(h);
        }
        return FL_OK;
    case FL_BF16:
        for (uint64_t i = 0; i < n; i++) {
            memcpy(&h, p + i * sizeof h, sizeof h);
            out[i] = safetensors_from_bits((uint32_t)h << 16);
        }
        return FL_OK;
    default:
        return fl_err_set(err, FL_E_INPUT, "tensor \"%s\": %s elements where weights are wanted", t->name, fl_dtype_name(t->dtype));
    }
}

/* ---- write ---- */

static int safetensors_describe(const char *path, const struct fl_st_tensor *t, uint64_t *at, json_t *header, struct fl_err *err)
{
    const char *dtype = fl_safetensors_dtype_name(t->dtype);
    uint64_t bytes;
    if (dtype == NULL)
        return fl_err_set(err, FL_E_INPUT, "%s: tensor \"%s\": %s elements can't be written", path, t->name, fl_dtype_name(t->dtype));
    if (!fl_shape_bytes(t->dtype, t->shape, t->ndim, &bytes) || bytes != t->bytes)
        return fl_err_set(err, FL_E_INPUT, "%s: tensor \"%s\": %llu bytes don't fit its shape", path, t->name, (unsigned long long)t->bytes);
    if (t->name[0] == '\0' || strcmp(t->name, "__metadata__") == 0 || json_object_get(header, t->name) != NULL)
        return fl_err_set(err, FL_E_INPUT, "%s: tensor \"%s\": the name is empty, reserved or there twice", path, t->name);
    json_t *shape = json_array();
    bool whole = true;
    for (uint32_t i = 0; i < t->ndim; i++)
        whole = json_array_append_new(shape, json_integer(t->shape[i])) == 0 && whole;
    json_t *v = json_pack("{s:s, s:o, s:[I, I]}", "dtype", dtype, "shape", shape, "data_offsets", (json_int_t)*at,
                          (json_int_t)(*at + bytes));
    if (json_object_set_new(header, t->name, v) != 0 || !whole)
        return fl_err_set(err, FL_E_NOMEM, "%s: tensor \"%s\": no memory, or its name is not UTF-8", path, t->name);
    *at += bytes;
    return FL_OK;
}

static int safetensors_header(const char *path, const char *meta, const struct fl_st_tensor *t, uint32_t n, char **text, struct fl_err *err)
{
    uint64_t at = 0;
    json_t *header = json_object();
    int code = header == NULL ? fl_err_set(err, FL_E_NOMEM, "%s: no memory for the header", path) : FL_OK;
    if (code == FL_OK && meta != NULL && json_object_set_new(header, "__metadata__", json_pack("{s:s}", "flowrun", meta)) != 0)
        code = fl_err_set(err, FL_E_NOMEM, "%s: no memory for the text, or it is not UTF-8", path);
    for (uint32_t i = 0; i < n && code == FL_OK; i++)
        code = safetensors_describe(path, &t[i], &at, header, err);
    if (code == FL_OK) {
        *text = fl_json_text(header, JSON_COMPACT);
        if (*text == NULL)
            code = fl_err_set(err, FL_E_NOMEM, "%s: no memory for the header", path);
    }
    json_decref(header);
    return code;
}

/* Padded with blanks to 8 bytes, so that a reader's map gives aligned floats. */
static void safetensors_put(FILE *f, const char *header, const struct fl_st_tensor *t, uint32_t n)
{
    uint64_t len = strlen(header), padded = (len + 7) & ~UINT64_C(7);
    for (int i = 0; i < 8; i++)
        putc((int)(padded >> 8 * i & 255), f);
    fwrite(header, 1, len, f);
    for (uint64_t i = len; i < padded; i++)
        putc(' ', f);
    for (uint32_t i = 0; i < n; i++)
        if (t[i].bytes > 0)
            fwrite(t[i].data, 1, t[i].bytes, f);
}

/* The rename is on disk only when the folder is. */
static int safetensors_sync_folder(const char *path)
{
    char copy[PATH_MAX];
    snprintf(copy, sizeof copy, "%s", path);
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    int r = fsync(fd);
    close(fd);
    return r;
}

static int safetensors_store(const char *path, const char *header, const struct fl_st_tensor *t, uint32_t n, struct fl_err *err)
{
    char temp[PATH_MAX];
    if (snprintf(temp, sizeof temp, "%s.tmp.%ld", path, (long)getpid()) >= (int)sizeof temp)
        return fl_err_set(err, FL_E_IO, "%s: the path is too long", path);
    FILE *f = fopen(temp, "wbe");
    if (f == NULL)
        return fl_err_set(err, errno == ENOMEM ? FL_E_NOMEM : FL_E_IO, "%s: %s", temp, strerror(errno));
    errno = 0;
    safetensors_put(f, header, t, n);
    int bad = fflush(f) != 0 || ferror(f) || fsync(fileno(f)) != 0;
    int saved = errno;
    if (fclose(f) != 0 && !bad) {
        bad = 1;
        saved = errno;
    }
    if (!bad && (rename(temp, path) != 0 || safetensors_sync_folder(path) != 0)) {
        bad = 1;
        saved = errno;
    }
    if (bad)
        unlink(temp);
    return bad ? fl_err_set(err, FL_E_IO, "%s: %s", path, strerror(saved)) : FL_OK;
}

int fl_safetensors_write_text(const char *path, const char *text, const struct fl_st_tensor *t, uint32_t n, struct fl_err *err)
{
    char *header = NULL;
    int code = safetensors_header(path, text, t, n, &header, err);
    if (code == FL_OK)
        code = safetensors_store(path, header, t, n, err);
    free(header);
    return code;
}

int fl_safetensors_write(const char *path, const struct fl_st_tensor *t, uint32_t n, struct fl_err *err)
{
    return fl_safetensors_write_text(path, NULL, t, n, err);
}
