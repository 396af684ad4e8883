/* Batches between hosts, as messages: what is put comes out, in whatever pieces; nothing out of turn, too large or torn is believed. */
#include <string.h>

#include "runtime/parcel.h"
#include "tests/lib/check.h"

#define MESSAGES 16

struct tape { struct { size_t len; unsigned char *bytes; } m[MESSAGES]; uint32_t n; };

static int tape_add(void *to, const void *head, size_t hlen, const void *data, size_t dlen)
{
    struct tape *t = to;
    if (t->n == MESSAGES)
        return FL_E_NOMEM;
    unsigned char *p = malloc(hlen + dlen);
    memcpy(p, head, hlen);
    if (dlen > 0)
        memcpy(p + hlen, data, dlen);
    t->m[t->n].bytes = p;
    t->m[t->n++].len = hlen + dlen;
    return FL_OK;
}

static void tape_done(struct tape *t)
{
    for (uint32_t i = 0; i < t->n; i++)
        free(t->m[i].bytes);
    t->n = 0;
}

static void add(struct fl_batch *b, const char *name, int dtype, uint32_t cols, void *data)
{
    struct fl_tensor *t = fl_batch_add(b, name);
    t->dtype = (uint8_t)dtype;
    t->ndim = 2;
    t->shape[0] = b->n;
    t->shape[1] = cols;
    t->place = 3;
    t->bytes = (uint64_t)b->n * cols * fl_dtype_size(dtype);
    t->data = data;
}

/* ids, pixels of more than two messages, an empty tensor, one that isn't asked for. */
static unsigned char pixels[2][5 * 500000], ids[2][5 * 64], empty[2][1];
static char *const names[] = { "pixels", "none", "id", NULL };

static void batch(struct fl_batch *b, struct tape *t, struct fl_err *err)
{
    static float other[5 * 3];
    for (size_t i = 0; i < sizeof pixels[0]; i++)
        pixels[0][i] = (unsigned char)(i * 2654435761u >> 13);
    memset(ids[0], 'x', sizeof ids[0]);
    memset(b, 0, sizeof *b);
    b->run = 7;
    b->batch = 99;
    b->n = 5;
    add(b, "id", FL_U8, 64, ids[0]);
    add(b, "none", FL_U8, 0, empty[0]);
    add(b, "other", FL_F32, 3, other);
    add(b, "pixels", FL_U8, 500000, pixels[0]);
    CHECK_OK(fl_parcel_put(b, 42, names, tape_add, t, err), *err);
}

static void room(struct fl_parcel *p)
{
    for (uint32_t i = 0; i < p->b.ntensors; i++)
        p->b.t[i].data = strcmp(p->b.t[i].name, "pixels") == 0 ? pixels[1] : strcmp(p->b.t[i].name, "id") == 0 ? ids[1] : empty[1];
}

FL_TEST(what_is_put_comes_out)
{
    static struct fl_parcel p;
    static struct fl_batch b;
    struct fl_err err = { 0 };
    struct tape t = { 0 };
    uint64_t token;
    batch(&b, &t, &err);
    CHECK_INT(t.n, 1 + 1 + 3);                             /* header, ids, pixels in three */
    CHECK_OK(fl_parcel_token(t.m[0].bytes, t.m[0].len, &token, &err), err);
    CHECK_INT(token, 42);
    CHECK_OK(fl_parcel_begin(&p, t.m[0].bytes, t.m[0].len, 5, 3000000, &err), err);
    CHECK_INT(p.token, 42);
    CHECK_INT(p.b.ntensors, 3);
    CHECK_INT(p.b.batch, 99);
    room(&p);
    for (uint32_t i = 1; i < t.n; i++) {
        CHECK(!fl_parcel_whole(&p));
        CHECK_OK(fl_parcel_add(&p, t.m[i].bytes, t.m[i].len, &err), err);
    }
    CHECK(fl_parcel_whole(&p));
    CHECK(memcmp(pixels[0], pixels[1], sizeof pixels[0]) == 0 && memcmp(ids[0], ids[1], sizeof ids[0]) == 0);
    CHECK_INT(fl_parcel_add(&p, t.m[1].bytes, t.m[1].len, &err), FL_E_PROTO);
    tape_done(&t);
}

FL_TEST(what_is_out_of_turn_or_too_large_is_refused)
{
    static struct fl_parcel p;
    static struct fl_batch b;
    struct fl_err err = { 0 };
    struct tape t = { 0 };
    batch(&b, &t, &err);
    CHECK_INT(fl_parcel_begin(&p, t.m[0].bytes, t.m[0].len, 4, 3000000, &err), FL_E_PROTO);        /* more rows than B */
    CHECK_INT(fl_parcel_begin(&p, t.m[0].bytes, t.m[0].len, 5, 2500000, &err), FL_E_PROTO);        /* more bytes than the slab */
    for (size_t cut = 0; cut < t.m[0].len; cut++)
        CHECK_INT(fl_parcel_begin(&p, t.m[0].bytes, cut, 5, 3000000, &err), FL_E_PROTO);
    CHECK_OK(fl_parcel_begin(&p, t.m[0].bytes, t.m[0].len, 5, 3000000, &err), err);
    room(&p);
    CHECK_INT(fl_parcel_add(&p, t.m[2].bytes, t.m[2].len, &err), FL_E_PROTO);                      /* pixels before ids */
    CHECK_OK(fl_parcel_add(&p, t.m[1].bytes, t.m[1].len, &err), err);
    CHECK_INT(fl_parcel_add(&p, t.m[3].bytes, t.m[3].len, &err), FL_E_PROTO);                      /* the second piece first */
    CHECK_INT(fl_parcel_add(&p, t.m[2].bytes, FL_PARCEL_HEAD, &err), FL_E_PROTO);                  /* no bytes at all */
    CHECK_OK(fl_parcel_add(&p, t.m[2].bytes, t.m[2].len, &err), err);
    CHECK_INT(fl_parcel_add(&p, t.m[2].bytes, t.m[2].len, &err), FL_E_PROTO);                      /* twice */
    CHECK_OK(fl_parcel_add(&p, t.m[3].bytes, t.m[3].len, &err), err);
    unsigned char *more = malloc(t.m[4].len + 1);
    memcpy(more, t.m[4].bytes, t.m[4].len);
    more[t.m[4].len] = 0;
    CHECK_INT(fl_parcel_add(&p, more, t.m[4].len + 1, &err), FL_E_PROTO);                          /* one byte too many */
    free(more);
    CHECK_OK(fl_parcel_add(&p, t.m[4].bytes, t.m[4].len, &err), err);
    CHECK(fl_parcel_whole(&p));
    tape_done(&t);
}


int main(int argc, char **argv)
{
    static const struct fl_case cases[] = {
        CASE(what_is_put_comes_out),
        CASE(what_is_out_of_turn_or_too_large_is_refused),
        { 0 }
    };
    return fl_run(cases, argc, argv);
}
