/* Links: credit bounds what is under way, nothing is lost at an orderly end, strangers are refused. */
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zmq.h>

#include "proto/frame.h"
#include "runtime/link.h"
#include "tests/lib/check.h"

#define WINDOW 8

struct pair { struct fl_links *w, *r; char endpoint[256]; struct fl_err err; };

static int pair_open(struct pair *p, uint32_t cost_batches)
{
    memset(p, 0, sizeof *p);
    snprintf(p->endpoint, sizeof p->endpoint, "ipc://%s/r", fl_tmpdir());
    uint32_t writers = 1;
    uint64_t grant = 10 * cost_batches;
    int rc = fl_links_new(WINDOW, &p->r, &p->err);
    if (rc == FL_OK)
        rc = fl_links_listen(p->r, p->endpoint, 1, &writers, &grant, &p->err);
    if (rc == FL_OK)
        rc = fl_links_new(WINDOW, &p->w, &p->err);
    if (rc == FL_OK)
        rc = fl_links_edge(p->w, 0, 1, false, 10, &p->err);
    if (rc == FL_OK)
        rc = fl_links_connect(p->w, 0, 0, p->endpoint, "w.0.0>0", &p->err);
    return rc;
}

static void pair_close(struct pair *p)
{
    fl_links_free(p->w);
    fl_links_free(p->r);
}

static void wait_both(struct pair *p)
{
    bool ready;
    fl_links_wait(p->r, -1, 1, &ready, &p->err);
    fl_links_wait(p->w, -1, 1, &ready, &p->err);
}

/* A reader that takes `per_turn` batches a turn; returns how many came in order, or -1. */
static long run_pair(struct pair *p, uint64_t total, uint32_t per_turn, uint64_t *most)
{
    uint64_t put = 0, got = 0;
    bool finished = false;
    *most = 0;
    for (long turns = 0; turns < 2000000 && !(finished && got == total); turns++) {
        if (put < total && fl_links_flush(p->w, &p->err)) {
            struct fl_batch b = { .run = 1, .batch = put, .n = 1 };
            if (fl_links_put(p->w, &b, &p->err) != FL_OK)
                return -1;
            put++;
        }
        if (put == total)
            finished = fl_links_finish(p->w, &p->err);
        for (uint32_t i = 0; i < per_turn; i++) {
            uint32_t edge;
            uint64_t token;
            struct fl_batch b;
            int rc = fl_links_next(p->r, &edge, &token, &b, &p->err);
            if (rc == FL_END)
                break;
            if (rc != FL_OK || b.batch != got)
                return -1;
            got++;
            fl_links_credit(p->r, token, 10);
        }
        if (put - got > *most)
            *most = put - got;
        fl_links_flush(p->r, &p->err);
        if (p->err.code != FL_OK)
            return -1;
        wait_both(p);
    }
    return (long)got;
}

FL_TEST(credit_bounds_what_is_under_way)
{
    struct pair p;
    CHECK_OK(pair_open(&p, 2), p.err);
    uint64_t most;
    CHECK_INT(run_pair(&p, 300, 1, &most), 300);
    CHECK(most <= 4);             /* two with credit, one queued, one just taken from the caller */
    CHECK(fl_links_ended(p.r));
    pair_close(&p);
}

FL_TEST(nothing_is_lost_at_the_end_of_a_link_with_a_slow_reader)
{
    int rounds = getenv("FLOWRUN_LONG") != NULL ? 1000 : 20;
    for (int i = 0; i < rounds; i++) {
        struct pair p;
        CHECK_OK(pair_open(&p, WINDOW), p.err);
        uint64_t most;
        CHECK_INT(run_pair(&p, 40, 1, &most), 40);
        pair_close(&p);
    }
}

FL_TEST(no_credit_no_message)
{
    struct pair p;
    CHECK_OK(pair_open(&p, 1), p.err);
    for (uint64_t i = 0; i < 3; i++)
        CHECK_OK(fl_links_put(p.w, &(struct fl_batch){ .batch = i }, &p.err), p.err);
    uint32_t edge, got = 0;
    uint64_t token;
    struct fl_batch b;
    for (int turn = 0; turn < 100; turn++) {
        fl_links_flush(p.w, &p.err);
        while (fl_links_next(p.r, &edge, &token, &b, &p.err) == FL_OK)
            got++;
        wait_both(&p);
    }
    CHECK_INT(got, 1);
    CHECK(!fl_links_flush(p.w, &p.err));
    fl_links_credit(p.r, token, 20);
    for (int turn = 0; turn < 1000 && got < 3; turn++) {
        fl_links_flush(p.r, &p.err);
        fl_links_flush(p.w, &p.err);
        while (fl_links_next(p.r, &edge, &token, &b, &p.err) == FL_OK)
            got++;
        wait_both(&p);
    }
    CHECK_INT(got, 3);
    pair_close(&p);
}

FL_TEST(a_full_window_is_refused_by_name)
{
    struct pair p;
    CHECK_OK(pair_open(&p, 1), p.err);
    int rc = FL_OK;
    for (uint64_t i = 0; i < WINDOW + 1 && rc == FL_OK; i++)
        rc = fl_links_put(p.w, &(struct fl_batch){ .batch = i }, &p.err);
    CHECK_INT(rc, FL_E_BUG);
    CHECK_HAS(p.err.text, "window of 8");
    pair_close(&p);
}

FL_TEST(garbage_from_a_stranger_is_a_named_error)
{
    static const struct { const char *bytes; size_t len; const char *says; } cases[] = {
        { "", 0, "none of ours" }, { "B\1\0", 3, "none of ours" }, { "B\2\0\0", 4, "none of ours" },
        { "B\1\0\0\x80", 5, "did not say hello" }, { "H\1\7\0", 4, "a writer too many on edge 7" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct pair p;
        CHECK_OK(pair_open(&p, 1), p.err);
        void *ctx = zmq_ctx_new(), *s = zmq_socket(ctx, ZMQ_DEALER);
        int zero = 0;
        zmq_setsockopt(s, ZMQ_LINGER, &zero, sizeof zero);
        CHECK_INT(zmq_connect(s, p.endpoint), 0);
        CHECK_INT(zmq_send(s, cases[i].bytes, cases[i].len, 0), (int)cases[i].len);
        int rc = FL_END;
        uint32_t edge;
        uint64_t token;
        struct fl_batch b;
        for (int turn = 0; turn < 1000 && rc == FL_END; turn++) {
            wait_both(&p);
            rc = fl_links_next(p.r, &edge, &token, &b, &p.err);
        }
        CHECK_INT(rc, FL_E_PROTO);
        CHECK_HAS(p.err.text, cases[i].says);
        zmq_close(s);
        zmq_ctx_term(ctx);
        pair_close(&p);
    }
}

FL_TEST(a_header_is_seen_as_it_came)
{
    struct pair p = { 0 };
    struct fl_batch b = { .run = 1, .batch = 3, .n = 2 };
    unsigned char msg[4 + FL_FRAME_MAX] = "B\1\0";
    size_t len, seen;
    uint32_t writers = 1, edge;
    uint64_t grant = 10, token;
    snprintf(p.endpoint, sizeof p.endpoint, "ipc://%s/r", fl_tmpdir());
    CHECK_OK(fl_links_new(WINDOW, &p.r, &p.err), p.err);
    CHECK_OK(fl_links_listen(p.r, p.endpoint, 1, &writers, &grant, &p.err), p.err);
    CHECK_OK(fl_frame_pack(&b, msg + 4, FL_FRAME_MAX, &len, &p.err), p.err);
    msg[4]++;                                        /* one key more, and a number that takes more bytes than it needs */
    memcpy(msg + 4 + len, "\xa5later\xcd\x00\x07", 9);
    len += 9;
    void *ctx = zmq_ctx_new(), *s = zmq_socket(ctx, ZMQ_DEALER);
    int zero = 0, rc = FL_END;
    bool ready;
    zmq_setsockopt(s, ZMQ_LINGER, &zero, sizeof zero);
    CHECK_INT(zmq_connect(s, p.endpoint), 0);
    CHECK_INT(zmq_send(s, "H\1\0\0", 4, 0), 4);
    CHECK_INT(zmq_send(s, msg, 4 + len, 0), (int)(4 + len));
    for (int turn = 0; turn < 1000 && rc == FL_END; turn++) {
        fl_links_wait(p.r, -1, 1, &ready, &p.err);
        rc = fl_links_next(p.r, &edge, &token, &b, &p.err);
    }
    CHECK_OK(rc, p.err);
    CHECK_INT(b.batch, 3);
    const void *head = fl_links_header(p.r, &seen);
    CHECK_INT(seen, len);
    CHECK(memcmp(head, msg + 4, len) == 0);
    zmq_close(s);
    zmq_ctx_term(ctx);
    fl_links_free(p.r);
}

/* Shuts every connected stream socket of this process, as a network that breaks would. */
static int cut_all(void)
{
    int cut = 0;
    for (int fd = 3; fd < 256; fd++) {
        int type = 0, listens = 1;
        socklen_t len = sizeof type;
        if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) == 0 &&
            type == SOCK_STREAM && !listens && shutdown(fd, SHUT_RDWR) == 0)
            cut++;
    }
    return cut;
}

FL_TEST(a_writer_learns_that_its_link_broke)
{
    struct pair p;
    CHECK_OK(pair_open(&p, WINDOW), p.err);
    CHECK_OK(fl_links_put(p.w, &(struct fl_batch){ .batch = 0 }, &p.err), p.err);
    for (int turn = 0; turn < 1000 && !fl_links_flush(p.w, &p.err); turn++) {      /* until credit has come: both ends are up */
        uint32_t edge;
        uint64_t token;
        struct fl_batch b;
        fl_links_next(p.r, &edge, &token, &b, &p.err);
        wait_both(&p);
    }
    CHECK(!fl_links_broken(p.w) && p.err.code == FL_OK);
    CHECK(cut_all() >= 1);
    for (int turn = 0; turn < 100000 && !fl_links_broken(p.w); turn++) {           /* until it has connected again */
        fl_links_flush(p.w, &p.err);
        wait_both(&p);
    }
    CHECK_INT(p.err.code, FL_E_PEER);
    CHECK(fl_links_broken(p.w));
    pair_close(&p);
}

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = {
        CASE(credit_bounds_what_is_under_way), CASE(nothing_is_lost_at_the_end_of_a_link_with_a_slow_reader), CASE(no_credit_no_message),
        CASE(a_full_window_is_refused_by_name), CASE(garbage_from_a_stranger_is_a_named_error), CASE(a_header_is_seen_as_it_came),
        CASE(a_writer_learns_that_its_link_broke), { 0 }
    };
    return fl_run(cases, argc, argv);
}
