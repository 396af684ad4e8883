/* NumPy .npy files: the header is a Python literal, of which the few forms that NumPy writes are read. */
#include "runtime/npy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/dtype.h"
#include "runtime/model.h"

#define NPY_MAX_HEAD (1u << 20)

struct npy_text { const char *name, *p, *end; struct fl_err *err; };

static int npy_bad(const struct npy_text *t, const char *what)
{
    return fl_err_set(t->err, FL_E_INPUT, "%s: %s", t->name, what);
}

/* ---- tokens ---- */

static void npy_blank(struct npy_text *t)
{
    while (t->p < t->end && (*t->p == ' ' || *t->p == '\n' || *t->p == '\t'))
        t->p++;
}

static bool npy_take(struct npy_text *t, char c)
{
    npy_blank(t);
    if (t->p == t->end || *t->p != c)
        return false;
    t->p++;
    return true;
}

static bool npy_word(struct npy_text *t, const char *word)
{
    size_t len = strlen(word);
    npy_blank(t);
    if ((size_t)(t->end - t->p) < len || memcmp(t->p, word, len) != 0)
        return false;
    t->p += len;
    return true;
}

static bool npy_string(struct npy_text *t, char *out, size_t size)
{
    npy_blank(t);
    if (t->p == t->end || (*t->p != '\'' && *t->p != '"'))
        return false;
    char quote = *t->p++;
    size_t n = 0;
    for (; t->p < t->end && *t->p != quote; t->p++) {
        if (n + 1 >= size || *t->p == '\\' || *t->p == '\0')
            return false;
        out[n++] = *t->p;
    }
    out[n] = '\0';
    return t->p++ < t->end;
}

static bool npy_digits(struct npy_text *t, uint64_t *v)
{
    npy_blank(t);
    const char *start = t->p;
    *v = 0;
    for (; t->p < t->end && *t->p >= '0' && *t->p <= '9'; t->p++) {
        if (*v > (UINT64_C(1) << 56))
            return false;
        *v = 10 * *v + (uint64_t)(*t->p - '0');
    }
    return t->p > start;
}

/* ---- the dictionary ---- */

/* '<f4', '|S64', 'u1' ... */
static bool npy_type(const char *text, struct fl_npy_field *f)
{
    f->big = *text == '>';
    if (*text == '<' || *text == '>' || *text == '|' || *text == '=')
        text++;
    f->kind = *text;
    char *end;
    unsigned long n = *text != '\0' && text[1] >= '0' && text[1] <= '9' ? strtoul(text + 1, &end, 10) : 0;
    if (n == 0 || n > 4096 || *end != '\0')
        return false;
    f->size = (uint32_t)(f->kind == 'U' ? 4 * n : n);
    switch (f->kind) {
    case 'f': return n == 2 || n == 4 || n == 8;
    case 'u': case 'i': return n == 1 || n == 2 || n == 4 || n == 8;
    case 'b': return n == 1;
    case 'S': case 'U': return true;
    default: return false;
    }
}

static int npy_field(struct npy_text *t, struct fl_npy *a)
{
    char type[32];
    if (a->nfields == FL_NPY_MAX_FIELDS)
        return npy_bad(t, "more than 80 columns");
    struct fl_npy_field *f = &a->field[a->nfields++];
    if (!npy_take(t, '(') || !npy_string(t, f->name, sizeof f->name) || f->name[0] == '\0' || !npy_take(t, ','))
        return npy_bad(t, "a column whose name can't be read (1 to 63 bytes, no backslash)");
    if (!npy_string(t, type, sizeof type) || !npy_type(type, f) || !npy_take(t, ')'))
        return npy_bad(t, "a column that is neither number nor text");
    f->off = a->item;
    a->item += f->size;
    return FL_OK;
}

static int npy_descr(struct npy_text *t, struct fl_npy *a)
{
    char type[32];
    a->nfields = a->item = 0;
    a->plain = !npy_take(t, '[');
    if (a->plain) {
        a->field[0] = (struct fl_npy_field){ .off = 0 };
        a->nfields = 1;
        if (!npy_string(t, type, sizeof type) || !npy_type(type, &a->field[0]))
            return npy_bad(t, "the type of its values is neither number nor text");
        a->item = a->field[0].size;
        return FL_OK;
    }
    int rc = npy_field(t, a);
    while (rc == FL_OK && !npy_take(t, ']')) {
        if (!npy_take(t, ','))
            return npy_bad(t, "a broken list of columns in the header");
        if (npy_take(t, ']'))
            break;
        rc = npy_field(t, a);
    }
    return rc;
}

static int npy_shape(struct npy_text *t, struct fl_npy *a)
{
    a->ndim = 0;
    a->count = 1;
    if (!npy_take(t, '('))
        return npy_bad(t, "no shape in the header");
    while (!npy_take(t, ')')) {
        uint64_t d;
        if (a->ndim == FL_NPY_MAX_DIMS || !npy_digits(t, &d))
            return npy_bad(t, "a shape that can't be read, or of more than four dimensions");
        if (d != 0 && a->count > (UINT64_C(1) << 40) / d)
            return npy_bad(t, "a shape that is too large");
        a->shape[a->ndim++] = d;
        a->count *= d;
        if (!npy_take(t, ',')) {
            if (!npy_take(t, ')'))
                return npy_bad(t, "a broken shape in the header");
            break;
        }
    }
    return FL_OK;
}

static int npy_dict(struct npy_text *t, struct fl_npy *a)
{
    unsigned seen = 0;
    char key[32];
    int rc = FL_OK;
    if (!npy_take(t, '{'))
        return npy_bad(t, "the header is no dictionary");
    while (rc == FL_OK && !npy_take(t, '}')) {
        if (!npy_string(t, key, sizeof key) || !npy_take(t, ':'))
            return npy_bad(t, "a broken key in the header");
        unsigned which = strcmp(key, "descr") == 0 ? 1 : strcmp(key, "fortran_order") == 0 ? 2 : strcmp(key, "shape") == 0 ? 4 : 0;
        if (which == 0 || (seen & which))
            return npy_bad(t, "an unknown or repeated key in the header");
        seen |= which;
        if (which == 1)
            rc = npy_descr(t, a);
        else if (which == 4)
            rc = npy_shape(t, a);
        else if (!(a->fortran = npy_word(t, "True")) && !npy_word(t, "False"))
            return npy_bad(t, "fortran_order is neither True nor False");
        if (rc == FL_OK && !npy_take(t, ',') && !(npy_blank(t), t->p < t->end && *t->p == '}'))
            return npy_bad(t, "a broken header");
    }
    npy_blank(t);
    if (rc == FL_OK && (seen != 7 || t->p != t->end))
        return npy_bad(t, "a header without descr, fortran_order or shape, or with more after them");
    return rc;
}

int fl_npy_parse(const char *name, const void *bytes, size_t len, struct fl_npy *out, struct fl_err *err)
{
    const uint8_t *b = bytes;
    struct npy_text t = { .name = name, .err = err };
    struct fl_npy a = { .plain = true };
    if (len < 12 || memcmp(b, "\x93NUMPY", 6) != 0)
        return npy_bad(&t, "no .npy file");
    bool first = b[6] == 1;
    if (b[6] < 1 || b[6] > 3)
        return npy_bad(&t, "an unknown version of the .npy format");
    size_t at = first ? 10 : 12, head = b[8] | (size_t)b[9] << 8;
    if (!first)
        head |= (size_t)b[10] << 16 | (size_t)b[11] << 24;
    if (head > NPY_MAX_HEAD || head > len - at)
        return npy_bad(&t, "the header is longer than the file, or than 1 MiB");
    t.p = (const char *)b + at;
    t.end = t.p + head;
    int rc = npy_dict(&t, &a);
    if (rc != FL_OK)
        return rc;
    a.data = b + at + head;
    if (a.count > (len - at - head) / a.item || a.count * a.item != len - at - head)
        return fl_err_set(err, FL_E_INPUT, "%s: %zu bytes of data, the header says %llu times %u", name, len - at - head,
                          (unsigned long long)a.count, a.item);
    *out = a;
    return FL_OK;
}

/* ---- values ---- */

static uint64_t npy_bits(const struct fl_npy_field *f, const uint8_t *p)
{
    uint64_t v = 0;
    for (uint32_t i = 0; i < f->size; i++)
        v |= (uint64_t)p[f->big ? f->size - 1 - i : i] << (8 * i);
    return v;
}

double fl_npy_number(const struct fl_npy_field *f, const uint8_t *item)
{
    uint64_t v = npy_bits(f, item + f->off);
    if (f->kind == 'f') {
        uint32_t w = (uint32_t)v;
        uint16_t h = (uint16_t)v;
        float single;
        double d;
        memcpy(&d, &v, sizeof d);
        if (f->size == 8)
            return d;
        memcpy(&single, &w, sizeof single);
        if (f->size == 2)
            fl_st_to_f32(&(struct fl_st_tensor){ .dtype = FL_F16, .data = &h, .bytes = sizeof h }, &single, NULL);
        return single;
    }
    if (f->kind != 'i')
        return (double)v;
    uint32_t shift = 64 - 8 * f->size;
    return (double)((int64_t)(v << shift) >> shift);
}

bool fl_npy_text(const struct fl_npy_field *f, const uint8_t *item, char *out, size_t size)
{
    uint32_t wide = f->kind == 'U' ? 4 : 1, n = f->size / wide;
    struct fl_npy_field one = { .size = wide, .big = f->big };
    size_t len = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t c = npy_bits(&one, item + f->off + (size_t)i * wide);
        if (c > 126 || len + 1 >= size)
            return false;
        out[len++] = (char)c;
        if (c == 0)
            break;
    }
    out[len] = '\0';
    return true;
}

int fl_npy_head(const char *dict, char **head, size_t *len, struct fl_err *err)
{
    bool utf8 = false;
    for (const char *p = dict; *p != '\0'; p++)
        utf8 |= (unsigned char)*p > 127;
    size_t n = strlen(dict), front = utf8 ? 12 : 10, all = (front + n + 1 + 63) / 64 * 64;
    char *h = all - front <= 65535 ? malloc(all) : NULL;
    if (h == NULL)
        return fl_err_set(err, FL_E_NOMEM, "no memory for a header of %zu bytes", n);
    memcpy(h, "\x93NUMPY\x01\x00\x00\x00\x00\x00", 12);
    h[6] = utf8 ? 3 : 1;
    h[8] = (char)((all - front) & 255);
    h[9] = (char)((all - front) >> 8);
    memset(h + front, ' ', all - front);
    memcpy(h + front, dict, n);
    h[all - 1] = '\n';
    *head = h;
    *len = all;
    return FL_OK;
}
