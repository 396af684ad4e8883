/* Reads CSV records from memory, and tables from plain or gzip files. */
#include "runtime/csv.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "runtime/text.h"

void fl_csv_init(struct fl_csv *c, const char *name, const char *text, size_t len)
{
    memset(c, 0, sizeof *c);
    c->name = name;
    c->text = text;
    c->len = len;
    c->next = 1;
    if (len >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0)
        c->pos = 3;
}

void fl_csv_done(struct fl_csv *c)
{
    if (c == NULL)
        return;
    free(c->buf);
    free(c->field);
    free(c->width);
    memset(c, 0, sizeof *c);
}

static int csv_bad(const struct fl_csv *c, struct fl_err *err, const char *what)
{
    return fl_err_set(err, FL_E_INPUT, "%s:%llu: %s", c->name, (unsigned long long)c->line, what);
}

static int csv_grow(struct fl_csv *c, struct fl_err *err)
{
    uint32_t cap = c->field_cap ? c->field_cap * 2 : 32;
    char **field = realloc(c->field, cap * sizeof *field);
    if (field != NULL)
        c->field = field;
    size_t *width = realloc(c->width, cap * sizeof *width);
    if (width != NULL)
        c->width = width;
    if (field == NULL || width == NULL)
        return fl_err_set(err, FL_E_NOMEM, "%s: out of memory", c->name);
    c->field_cap = cap;
    return FL_OK;
}

/* Bytes from pos to the end of the record's last line, quotes honoured; bounds the copy that follows. */
static int csv_span(const struct fl_csv *c, size_t *span, struct fl_err *err)
{
    bool quoted = false;
    size_t i = c->pos;
    for (; i < c->len; i++) {
        char ch = c->text[i];
        if (ch == '"')
            quoted = !quoted;
        else if (ch == '\0')
            return csv_bad(c, err, "a NUL byte in the text");
        else if (ch == '\n' && !quoted)
            break;
        if (i - c->pos >= FL_CSV_MAX_RECORD)
            return csv_bad(c, err, quoted ? "a quote that is never closed" : "a record of more than 1 MiB");
    }
    if (quoted)
        return csv_bad(c, err, "a quote that is never closed");
    *span = i - c->pos;
    return FL_OK;
}

static int csv_room(struct fl_csv *c, size_t need, struct fl_err *err)
{
    if (need <= c->buf_cap)
        return FL_OK;
    size_t cap = need < 4096 ? 4096 : need * 2;
    char *buf = realloc(c->buf, cap);
    if (buf == NULL)
        return fl_err_set(err, FL_E_NOMEM, "%s: out of memory", c->name);
    c->buf = buf;
    c->buf_cap = cap;
    return FL_OK;
}

/* One field from [p, end) into *w; returns where its separator (or end) is, NULL for a misplaced quote. */
static const char *csv_field(struct fl_csv *c, const char *p, const char *end, char **w)
{
    if (p < end && *p == '"') {
        for (p++; p < end; p++) {
            if (*p == '\n')
                c->next++;
            if (*p == '"') {
                if (p + 1 == end || p[1] != '"')
                    break;
                p++;
            }
            *(*w)++ = *p;
        }
        p++;
        return p > end || (p < end && *p != ',') ? NULL : p;
    }
    for (; p < end && *p != ','; p++) {
        if (*p == '"' || *p == '\r')
            return NULL;
        *(*w)++ = *p;
    }
    return p;
}

static int csv_split(struct fl_csv *c, const char *p, const char *end, struct fl_err *err)
{
    char *w = c->buf;
    for (c->nfields = 0;; p++) {
        if (c->nfields == FL_CSV_MAX_FIELDS)
            return csv_bad(c, err, "too many fields");
        if (c->nfields == c->field_cap) {
            int rc = csv_grow(c, err);
            if (rc != FL_OK)
                return rc;
        }
        char *start = w;
        p = csv_field(c, p, end, &w);
        if (p == NULL)
            return csv_bad(c, err, "a quote or carriage return inside a field");
        c->field[c->nfields] = start;
        c->width[c->nfields++] = (size_t)(w - start);
        *w++ = '\0';
        if (p == end)
            return FL_OK;
    }
}

int fl_csv_next(struct fl_csv *c, struct fl_err *err)
{
    for (;;) {
        c->line = c->next;
        c->nfields = 0;
        if (c->pos >= c->len)
            return FL_END;
        size_t span = 0;
        int rc = csv_span(c, &span, err);
        /* Each field takes a NUL more than its text, at the place of its separator; the last one needs one byte. */
        if (rc == FL_OK)
            rc = csv_room(c, span + 2, err);
        if (rc != FL_OK)
            return rc;
        const char *p = c->text + c->pos, *end = p + span;
        c->pos += span + (c->pos + span < c->len);
        if (end > p && end[-1] == '\r')
            end--;
        if (end > p) {
            rc = csv_split(c, p, end, err);
            c->next++;
            return rc;
        }
        c->next++;
    }
}

int64_t fl_csv_column(const struct fl_csv *c, const char *name)
{
    for (uint32_t i = 0; i < c->nfields; i++)
        if (strcmp(c->field[i], name) == 0)
            return i;
    return -1;
}

/* Reads to the end of the stream into *text, growing it. */
static int csv_unpack(gzFile gz, const char *path, char **text, size_t *len, struct fl_err *err)
{
    size_t cap = 1u << 16, n = 0;
    char *buf = malloc(cap + 1);
    for (;;) {
        if (n == cap) {
            cap *= 2;
            char *more = cap <= FL_CSV_MAX_FILE ? realloc(buf, cap + 1) : NULL;
            if (more == NULL) {
                free(buf);
                return fl_err_set(err, cap > FL_CSV_MAX_FILE ? FL_E_INPUT : FL_E_NOMEM, "%s: too large once unpacked", path);
            }
            buf = more;
        }
        if (buf == NULL)
            return fl_err_set(err, FL_E_NOMEM, "%s: out of memory", path);
        size_t want = cap - n < (1u << 30) ? cap - n : 1u << 30;
        int got = gzread(gz, buf + n, (unsigned)want);
        if (got <= 0)
            break;
        n += (size_t)got;
    }
    int zerr = Z_OK;
    const char *what = gzerror(gz, &zerr);
    if (zerr != Z_OK && zerr != Z_STREAM_END) {
        fl_err_set(err, FL_E_INPUT, "%s: %s", path, what[0] ? what : "unreadable");
        free(buf);
        return FL_E_INPUT;
    }
    buf[n] = '\0';
    *text = buf;
    *len = n;
    return FL_OK;
}

int fl_csv_load(const char *path, char **text, size_t *len, struct fl_err *err)
{
    size_t plen = strlen(path);
    if (plen < 3 || strcmp(path + plen - 3, ".gz") != 0)
        return fl_read_file(path, FL_CSV_MAX_FILE, text, len, err);
    gzFile gz = gzopen(path, "rb");
    if (gz == NULL)
        return fl_err_set(err, FL_E_INPUT, "%s: can't be opened", path);
    char *buf = NULL;
    size_t n = 0;
    int rc = csv_unpack(gz, path, &buf, &n, err);
    /* zlib hands plain bytes through; a name that promises gzip must keep the promise. */
    if (rc == FL_OK && gzdirect(gz))
        rc = fl_err_set(err, FL_E_INPUT, "%s: not a gzip file", path);
    gzclose(gz);
    if (rc != FL_OK) {
        free(buf);
        return rc;
    }
    *text = buf;
    *len = n;
    return FL_OK;
}
