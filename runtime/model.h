/* Weights on disk: safetensors and the manifest NAME.json beside NAME.safetensors. */
#ifndef FL_RUNTIME_MODEL_H
#define FL_RUNTIME_MODEL_H

#include <stddef.h>
#include <stdint.h>

#include "proto/status.h"

/* ---- safetensors ---- */

struct fl_st_tensor { char name[128]; uint8_t dtype; uint32_t ndim; uint32_t shape[6]; const void *data; uint64_t bytes; };   /* dtype: enum fl_dtype; data unaligned, in the mapping */
struct fl_safetensors { uint32_t n; struct fl_st_tensor *t; void *map; size_t map_len; int owned;
                        char *text; };      /* text: "flowrun" of __metadata__, or NULL */

/* Maps and proves the file: u64 LE header length (<= 100 MB), JSON without duplicates, offsets inside the data, not overlapping,
 * product(shape)*size = length. F64, F32, F16, BF16, I64, I32, U8, U16. Anything else FL_E_INPUT naming file and tensor. */
int  fl_safetensors_open(const char *path, struct fl_safetensors *, struct fl_err *);
int  fl_safetensors_parse(const char *name, const void *bytes, size_t len, struct fl_safetensors *, struct fl_err *);   /* borrows bytes */
void fl_safetensors_close(struct fl_safetensors *);
const struct fl_st_tensor *fl_safetensors_find(const struct fl_safetensors *, const char *name);
/* Converts F64/F32/F16/BF16 data to f32; out has product(shape) elements. FL_E_INPUT for integer types. */
int  fl_st_to_f32(const struct fl_st_tensor *, float *out, struct fl_err *);
/* Writes tensors (data f32/f64/... per dtype) to a temporary name, fsync, rename. */
int  fl_safetensors_write(const char *path, const struct fl_st_tensor *t, uint32_t n, struct fl_err *);
/* The same with a text as "flowrun" in __metadata__. */
int  fl_safetensors_write_text(const char *path, const char *text, const struct fl_st_tensor *t, uint32_t n, struct fl_err *);

/* ---- manifest ---- */

#define FL_MODEL_FORMAT 1
struct fl_manifest {
    char     kind[32];                       /* "network", "ridge", "linear", "thresholds", ... */
    char     arch[64];
    uint32_t nlabels; char **labels;         /* owned */
    uint64_t exclusive; uint32_t rest_off;   /* as in struct fl_ctx; from "exclusive": [names], "rest_off": name */
    int      softmax;                        /* trained with softmax over the exclusive labels, sigmoid for the others */
    char     mode[16];                       /* rgb | rgbn | ngb */
    uint32_t channels, size;
    double   M;                              /* 255 | 65535 */
    double   mean[8], std[8];                /* of x/M */
    uint32_t two_layer;                      /* hidden width of the head, 0 = none */
    int      bf16_ok, f16_ok;                /* a recorded, passed tolerance check */
    char     sha256[65];                     /* of the weights file; "" = not stated */
    char     created_by[64];
};
/* Reads the .json beside `weights` (NAME.safetensors -> NAME.json), checks every key (unknown keys are FL_E_CONFIG with the nearest known) and, when verify
 * is non-zero, that sha256 is the file's. */
int  fl_manifest_read(const char *weights, int verify, struct fl_manifest *, struct fl_err *);
int  fl_manifest_parse(const char *name, const char *json, size_t len, struct fl_manifest *, struct fl_err *);
void fl_manifest_free(struct fl_manifest *);

/* Lower-case hex SHA-256 of a file or of bytes. */
int  fl_sha256_file(const char *path, char hex[65], struct fl_err *);
void fl_sha256(const void *bytes, size_t len, char hex[65]);
/* The same value without special instructions. */
void fl_sha256_plain(const void *bytes, size_t len, char hex[65]);

#endif
