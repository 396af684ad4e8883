/* Label tables: `image_name,tags` or one column a label. */
#include "runtime/labels.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/csv.h"
#include "runtime/index.h"
#include "runtime/text.h"

const char *const fl_default_labels[] = {
    "agriculture", "artisinal_mine", "bare_ground", "blooming", "blow_down", "clear", "cloudy", "conventional_mine", "cultivation",
    "habitation", "haze", "partly_cloudy", "primary", "road", "selective_logging", "slash_burn", "water", NULL
};

int fl_id_ok(const char *id, size_t len)
{
    if (len < 1 || len > 63)
        return 0;
    for (size_t i = 0; i < len; i++) {
        char c = id[i];
        if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '-'))
            return 0;
    }
    return 1;
}

struct labels_reader {
    const char *name;
    uint32_t L;
    const char *const *labels;
    uint64_t exclusive;
    uint32_t rest_off;
    int allow_empty;
    uint32_t columns;                     /* of the header; every row has as many */
    uint32_t id_column;
    int64_t tags_column;                  /* -1: one-hot */
    int64_t column_of[FL_MAX_LABELS];     /* one-hot: where label l stands */
    uint64_t cap;
    struct fl_truth *out;
};

static int labels_bad(const struct labels_reader *r, uint64_t line, struct fl_err *err, const char *fmt, ...) __attribute__((format(printf, 4, 5)));

static int labels_bad(const struct labels_reader *r, uint64_t line, struct fl_err *err, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fl_err_vset(err, FL_E_LABEL, fmt, ap);
    va_end(ap);
    if (err != NULL)
        fl_err_context(err, "%s:%llu", r->name, (unsigned long long)line);
    return FL_E_LABEL;
}

static int64_t labels_number(const struct labels_reader *r, const char *text, size_t len)
{
    for (uint32_t l = 0; l < r->L; l++)
        if (strlen(r->labels[l]) == len && memcmp(r->labels[l], text, len) == 0)
            return l;
    return -1;
}

/* " (did you mean haze?)" or "". */
static const char *labels_hint(const struct labels_reader *r, const char *word, char hint[96])
{
    const char *names[FL_MAX_LABELS + 1] = { NULL };
    for (uint32_t l = 0; l < r->L; l++)
        names[l] = r->labels[l];
    const char *near = fl_nearest(word, names);
    hint[0] = '\0';
    if (near != NULL)
        snprintf(hint, 96, " (did you mean %.60s?)", near);
    return hint;
}

/* ---- header ---- */

static int labels_one_hot_header(struct labels_reader *r, const struct fl_csv *c, struct fl_err *err)
{
    char hint[96];
    for (uint32_t l = 0; l < r->L; l++)
        r->column_of[l] = -1;
    for (uint32_t i = 0; i < c->nfields; i++) {
        if (i == r->id_column)
            continue;
        int64_t l = labels_number(r, c->field[i], c->width[i]);
        if (l < 0)
            return labels_bad(r, c->line, err, "column %.60s is neither tags nor a label%s", c->field[i], labels_hint(r, c->field[i], hint));
        if (r->column_of[l] >= 0)
            return labels_bad(r, c->line, err, "column %s comes twice", r->labels[l]);
        r->column_of[l] = i;
    }
    for (uint32_t l = 0; l < r->L; l++)
        if (r->column_of[l] < 0)
            return labels_bad(r, c->line, err, "no column tags, and none for label %s", r->labels[l]);
    return FL_OK;
}

/* Which of two such columns counts nobody could tell. */
static int labels_once(const struct labels_reader *r, const struct fl_csv *c, const char *name, struct fl_err *err)
{
    uint32_t found = 0;
    for (uint32_t i = 0; i < c->nfields; i++)
        found += strcmp(c->field[i], name) == 0;
    return found <= 1 ? FL_OK : labels_bad(r, c->line, err, "column %s comes twice", name);
}

static int labels_header(struct labels_reader *r, struct fl_csv *c, struct fl_err *err)
{
    int rc = fl_csv_next(c, err);
    if (rc == FL_END)
        return labels_bad(r, 1, err, "empty: no header image_name,tags");
    if (rc != FL_OK)
        return rc;
    int64_t id = fl_csv_column(c, "image_name");
    if (id < 0)
        return labels_bad(r, c->line, err, "no column image_name");
    if ((rc = labels_once(r, c, "image_name", err)) != FL_OK || (rc = labels_once(r, c, "tags", err)) != FL_OK)
        return rc;
    r->id_column = (uint32_t)id;
    r->columns = c->nfields;
    r->tags_column = fl_csv_column(c, "tags");
    for (uint32_t i = 0; r->tags_column >= 0 && i < c->nfields; i++)
        if (labels_number(r, c->field[i], c->width[i]) >= 0 && (int64_t)i != r->tags_column)
            return labels_bad(r, c->line, err, "a column tags and a column for the label %s: which of them counts?", c->field[i]);
    return r->L == 0 || r->tags_column >= 0 ? FL_OK : labels_one_hot_header(r, c, err);
}

/* ---- one row ---- */

static int labels_tags(const struct labels_reader *r, const struct fl_csv *c, uint8_t *y, bool *repeated, struct fl_err *err)
{
    const char *id = c->field[r->id_column], *p = c->field[r->tags_column];
    for (char hint[96]; *p != '\0'; ) {
        size_t len = strcspn(p, " ");
        char word[64];
        snprintf(word, sizeof word, "%.*s", (int)(len < 63 ? len : 63), p);
        if (len == 0 || (p[len] == ' ' && p[len + 1] == '\0'))
            return labels_bad(r, c->line, err, "%s: tags must be separated by single spaces", id);
        int64_t l = labels_number(r, p, len);
        if (l < 0)
            return labels_bad(r, c->line, err, "%s: unknown tag %s%s", id, word, labels_hint(r, word, hint));
        *repeated |= y[l] != 0;
        y[l] = 1;
        p += len + (p[len] == ' ');
    }
    return FL_OK;
}

static int labels_one_hot(const struct labels_reader *r, const struct fl_csv *c, uint8_t *y, struct fl_err *err)
{
    for (uint32_t l = 0; l < r->L; l++) {
        const char *v = c->field[r->column_of[l]];
        if ((v[0] != '0' && v[0] != '1') || v[1] != '\0')
            return labels_bad(r, c->line, err, "%s: label %s is \"%.20s\", want 0 or 1", c->field[r->id_column], r->labels[l], v);
        y[l] = v[0] == '1';
    }
    return FL_OK;
}

/* The rules that real tables break now and then: counted, the first one kept for a message. */
static void labels_odd(const struct labels_reader *r, const struct fl_csv *c, const uint8_t *y, bool repeated)
{
    struct fl_truth *t = r->out;
    const char *what = NULL;
    uint32_t all = 0, of_group = 0;
    for (uint32_t l = 0; l < r->L; l++) {
        all += y[l];
        of_group += y[l] && (r->exclusive >> l & 1);
    }
    if (repeated) {
        t->repeated++;
        what = "a tag written twice";
    }
    if (r->rest_off < r->L && y[r->rest_off] && all > 1) {
        t->odd_rest_off++;
        what = "a label beside the one that allows no other";
    }
    if (r->exclusive != 0 && of_group != 1) {
        t->odd_exclusive++;
        what = of_group == 0 ? "none of the exclusive labels" : "more than one of the exclusive labels";
    }
    if (what != NULL && t->first_odd[0] == '\0')
        snprintf(t->first_odd, sizeof t->first_odd, "line %llu: %s: %s", (unsigned long long)c->line, c->field[r->id_column], what);
}

static int labels_room(struct labels_reader *r, struct fl_err *err)
{
    struct fl_truth *t = r->out;
    if (t->n < r->cap)
        return FL_OK;
    uint64_t cap = r->cap ? r->cap * 2 : 1024;
    void *ids = realloc(t->ids, cap * sizeof *t->ids);
    if (ids != NULL)
        t->ids = ids;
    void *y = realloc(t->y, cap * (r->L ? r->L : 1));
    if (y != NULL)
        t->y = y;
    if (ids == NULL || y == NULL)
        return fl_err_set(err, FL_E_NOMEM, "%s: no memory for %llu rows", r->name, (unsigned long long)cap);
    r->cap = cap;
    return FL_OK;
}

static int labels_row(struct labels_reader *r, const struct fl_csv *c, struct fl_err *err)
{
    struct fl_truth *t = r->out;
    if (c->nfields != r->columns)
        return labels_bad(r, c->line, err, "%u columns, the header has %u", c->nfields, r->columns);
    const char *id = c->field[r->id_column];
    if (!fl_id_ok(id, c->width[r->id_column]))
        return labels_bad(r, c->line, err, "image_name \"%.80s\" is not an id ([A-Za-z0-9_.-], 1 to 63 characters)", id);
    int rc = labels_room(r, err);
    if (rc != FL_OK)
        return rc;
    uint8_t *y = t->y + t->n * r->L;
    bool repeated = false;
    memset(y, 0, r->L);
    if (r->L > 0 && r->tags_column >= 0)
        rc = labels_tags(r, c, y, &repeated, err);
    else
        rc = labels_one_hot(r, c, y, err);
    if (rc != FL_OK)
        return rc;
    if (r->L > 0 && !r->allow_empty && memchr(y, 1, r->L) == NULL)
        return labels_bad(r, c->line, err, "%s: no tags (allow_empty takes that for a tile without labels)", id);
    memset(t->ids[t->n], 0, sizeof t->ids[0]);
    memcpy(t->ids[t->n], id, c->width[r->id_column]);
    t->n++;
    labels_odd(r, c, y, repeated);
    return FL_OK;     /* NOLINT(clang-analyzer-unix.Malloc): what was allocated is in r->out, which it loses sight of */
}

/* ---- the table ---- */

static const char *labels_key(const void *items, uint32_t i, size_t *len)
{
    const char (*ids)[64] = items;
    *len = strlen(ids[i]);
    return ids[i];
}

/* Line of the row-th record, for messages only. */
static uint64_t labels_line(const char *name, const char *text, size_t len, uint64_t row)
{
    struct fl_csv c;
    fl_csv_init(&c, name, text, len);
    for (uint64_t i = 0; i <= row + 1 && fl_csv_next(&c, NULL) == FL_OK; i++)
        ;
    uint64_t line = c.line;
    fl_csv_done(&c);
    return line;
}

static int labels_index(struct labels_reader *r, const char *text, size_t len, struct fl_err *err)
{
    struct fl_truth *t = r->out;
    struct fl_index *x = calloc(1, sizeof *x);
    if (x == NULL)
        return fl_err_set(err, FL_E_NOMEM, "%s: no memory for an index", r->name);
    t->index = x;
    int rc = fl_index_init(x, t->n, labels_key, t->ids, err);
    for (uint32_t i = 0; rc == FL_OK && i < t->n; i++) {
        int64_t first = fl_index_add(x, i);
        if (first >= 0)
            rc = labels_bad(r, labels_line(r->name, text, len, i), err, "image_name %s comes twice, first in line %llu", t->ids[i],
                            (unsigned long long)labels_line(r->name, text, len, (uint64_t)first));
    }
    return rc;
}

int fl_truth_parse(const char *name, const char *text, size_t len, uint32_t L, const char *const *labels, uint64_t exclusive,
                   uint32_t rest_off, int allow_empty, struct fl_truth *out, struct fl_err *err)
{
    if (L > FL_MAX_LABELS)
        return fl_err_set(err, FL_E_CONFIG, "%s: %u labels, at most %d", name, L, FL_MAX_LABELS);
    struct fl_truth t = { .L = L };
    struct labels_reader r = { .name = name, .L = L, .labels = labels, .exclusive = exclusive, .rest_off = rest_off,
                               .allow_empty = allow_empty, .out = &t };
    struct fl_csv c;
    fl_csv_init(&c, name, text, len);
    int rc = labels_header(&r, &c, err);
    while (rc == FL_OK && (rc = fl_csv_next(&c, err)) == FL_OK)
        rc = labels_row(&r, &c, err);
    fl_csv_done(&c);
    if (rc == FL_END)
        rc = labels_index(&r, text, len, err);
    if (rc != FL_OK) {
        fl_truth_free(&t);
        return rc;
    }
    *out = t;
    return FL_OK;
}

int fl_truth_read(const char *path, uint32_t L, const char *const *labels, uint64_t exclusive, uint32_t rest_off,
                  int allow_empty, struct fl_truth *out, struct fl_err *err)
{
    char *text;
    size_t len;
    int rc = fl_csv_load(path, &text, &len, err);
    if (rc != FL_OK)
        return rc;
    rc = fl_truth_parse(path, text, len, L, labels, exclusive, rest_off, allow_empty, out, err);
    free(text);
    return rc;
}

int64_t fl_truth_find(const struct fl_truth *t, const char *id)
{
    return t->index != NULL ? fl_index_find(t->index, id, strlen(id)) : -1;
}

void fl_truth_free(struct fl_truth *t)
{
    if (t == NULL)
        return;
    free(t->ids);
    free(t->y);
    fl_index_done(t->index);
    free(t->index);
    memset(t, 0, sizeof *t);
}
