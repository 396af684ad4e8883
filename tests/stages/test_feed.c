/* feed: who gets which batch, through joins, deaths and epochs; and what trainers may say. */
#include "stages/feed/client_msg.h"
#include "stages/feed/ledger.h"
#include "tests/lib/check.h"

#define MANY 64

static struct fl_batch batches[MANY];
static struct { uint32_t refused; char why[512]; uint64_t epoch, undelivered, skipped; uint32_t ended; } seen;

static void ledger_refuse(void *user, uint32_t client, const struct fl_err *err)
{
    (void)user;
    seen.refused = client + 1;
    snprintf(seen.why, sizeof seen.why, "%s", err->text);
}

static void ledger_ended(void *user, uint64_t epoch, uint64_t undelivered, uint64_t skipped)
{
    (void)user;
    seen.ended++;
    seen.epoch = epoch;
    seen.undelivered = undelivered;
    seen.skipped = skipped;
}

static void ledger_new(struct fl_ledger *l, uint64_t total, uint32_t epochs, uint32_t window)
{
    struct fl_err err;
    memset(&seen, 0, sizeof seen);
    memset(batches, 0, sizeof batches);
    if (fl_ledger_init(l, total, epochs, window, 10, &err) != FL_OK)
        abort();
    l->refuse = ledger_refuse;
    l->ended = ledger_ended;
}

static int ledger_put(struct fl_ledger *l, uint64_t number)
{
    struct fl_batch *twice;
    struct fl_err err;
    batches[number].batch = number;
    batches[number].gen = (uint32_t)number + 1;
    int rc = fl_ledger_add(l, &batches[number], &twice, &err);
    return rc != FL_OK ? rc : twice != NULL;
}

/* Gives the client what it may have: the number, or -1. */
static int ledger_get(struct fl_ledger *l, uint32_t client)
{
    struct fl_batch *b = fl_ledger_for(l, client);
    if (b == NULL)
        return -1;
    fl_ledger_sent(l, client, b);
    return (int)b->batch;
}

static int ledger_back(struct fl_ledger *l, uint32_t client, uint64_t number)
{
    struct fl_batch *done = NULL;
    struct fl_err err;
    int rc = fl_ledger_release(l, client, number, (uint32_t)number + 1, &done, &err);
    return rc != FL_OK ? rc : done == &batches[number] ? FL_OK : FL_E_BUG;
}

static int ledger_dropped(struct fl_ledger *l, double now)
{
    const struct fl_batch *b = fl_ledger_drop(l, now);
    return b != NULL ? (int)b->batch : -1;
}

/* ---- order ---- */

FL_TEST(batches_in_any_order_come_in_order)
{
    static const int arrive[] = { 3, 1, 0, 2, 5, 4 };
    struct fl_ledger l;
    struct fl_err err;
    int next = 0;
    ledger_new(&l, 6, 1, 6);
    CHECK_OK(fl_ledger_join(&l, 7, 0, 1, 0, 0, &err), err);
    for (int i = 0; i < 6; i++) {
        CHECK_INT(ledger_put(&l, (uint64_t)arrive[i]), 0);
        for (int got; (got = ledger_get(&l, 7)) >= 0; next++)
            CHECK_INT(got, next);
    }
    CHECK_INT(next, 6);
    for (uint64_t b = 6; b-- > 0; )
        CHECK_INT(ledger_back(&l, 7, b), FL_OK);
    CHECK_INT(l.n, 0);
    fl_ledger_done(&l);
}

FL_TEST(ranks_share_an_epoch_and_hear_when_their_share_is_over)
{
    struct fl_ledger l;
    struct fl_err err;
    uint64_t epoch = 9;
    ledger_new(&l, 10, 2, 10);
    for (uint64_t b = 0; b < 10; b++)
        CHECK_INT(ledger_put(&l, b), 0);
    CHECK_INT(ledger_get(&l, 0), -1);
    CHECK_OK(fl_ledger_join(&l, 0, 0, 2, 0, 0, &err), err);
    CHECK_OK(fl_ledger_join(&l, 1, 1, 2, 1, 0, &err), err);
    CHECK_INT(ledger_get(&l, 0), 0);
    CHECK_INT(ledger_get(&l, 0), 2);
    CHECK(!fl_ledger_finished(&l, 0, &epoch));
    CHECK_INT(ledger_get(&l, 0), 4);
    CHECK_INT(ledger_get(&l, 0), -1);
    CHECK(fl_ledger_finished(&l, 0, &epoch));
    CHECK_INT(epoch, 0);
    CHECK(fl_ledger_finished(&l, 0, &epoch));                     /* its socket was full: it is to be told yet */
    fl_ledger_told(&l, 0);
    CHECK(!fl_ledger_finished(&l, 0, &epoch));
    CHECK_INT(ledger_get(&l, 1), 1);
    CHECK_OK(fl_ledger_join(&l, 0, 0, 1, 5, 0, &err), err);       /* alone from now on */
    CHECK_INT(ledger_get(&l, 0), -1);                             /* not before rank 1 has had its share */
    CHECK_INT(ledger_get(&l, 1), 3);
    CHECK_INT(ledger_dropped(&l, 0), -1);                         /* begins the next epoch */
    for (int b = 5; b < 10; b++)
        CHECK_INT(ledger_get(&l, 0), b);
    CHECK_INT(ledger_back(&l, 1, 3), FL_OK);                      /* late, but its own */
    fl_ledger_done(&l);
}

FL_TEST(an_epoch_may_begin_in_its_middle_in_another_world)
{
    struct fl_ledger l;
    struct fl_err err;
    ledger_new(&l, 12, 1, 12);
    for (uint64_t b = 5; b < 12; b++)
        CHECK_INT(ledger_put(&l, b), 0);
    for (uint32_t r = 0; r < 3; r++)
        CHECK_OK(fl_ledger_join(&l, r, r, 3, 6 + r, 0, &err), err);
    CHECK_INT(ledger_dropped(&l, 0), 5);                          /* was had before */
    for (int b = 6; b < 12; b++)
        CHECK_INT(ledger_get(&l, (uint32_t)b % 3), b);
    fl_ledger_done(&l);
}

/* ---- deaths ---- */

FL_TEST(a_rank_that_comes_back_gets_what_it_had_once_more)
{
    struct fl_ledger l;
    struct fl_err err;
    ledger_new(&l, 8, 1, 8);
    for (uint64_t b = 0; b < 8; b++)
        CHECK_INT(ledger_put(&l, b), 0);
    CHECK_OK(fl_ledger_join(&l, 0, 0, 1, 0, 0, &err), err);
    for (int b = 0; b < 5; b++)
        CHECK_INT(ledger_get(&l, 0), b);
    CHECK_INT(ledger_back(&l, 0, 0), FL_OK);
    CHECK_INT(ledger_back(&l, 0, 3), FL_OK);                      /* out of order */
    fl_ledger_leave(&l, 0, 1);
    CHECK_INT(ledger_back(&l, 0, 1), FL_E_PROTO);
    CHECK_INT(ledger_dropped(&l, 5), -1);
    CHECK_INT(fl_ledger_join(&l, 3, 0, 1, 0, 5, &err), FL_E_STALE);   /* 0 was used */
    CHECK_HAS(err.text, "batch 0 was used already");
    CHECK_OK(fl_ledger_join(&l, 3, 0, 1, 1, 5, &err), err);
    static const int want[] = { 1, 2, 4, 5, 6, 7, -1 };
    for (int i = 0; i < 7; i++)
        CHECK_INT(ledger_get(&l, 3), want[i]);
    fl_ledger_done(&l);
}

FL_TEST(the_share_of_a_rank_that_stays_away_is_given_up_and_counted)
{
    struct fl_ledger l;
    struct fl_err err;
    ledger_new(&l, 12, 2, 12);
    for (uint64_t b = 0; b < 12; b++)
        CHECK_INT(ledger_put(&l, b), 0);
    CHECK_OK(fl_ledger_join(&l, 0, 0, 2, 0, 0, &err), err);
    CHECK_OK(fl_ledger_join(&l, 1, 1, 2, 1, 0, &err), err);
    CHECK_INT(ledger_get(&l, 1), 1);
    fl_ledger_leave(&l, 1, 100);
    CHECK_INT(ledger_dropped(&l, 109), -1);
    int sum = 0;
    for (int i = 0; i < 3; i++)
        sum += ledger_dropped(&l, 111);
    CHECK_INT(sum, 1 + 3 + 5);
    CHECK_INT(ledger_dropped(&l, 111), -1);
    CHECK_INT(fl_ledger_join(&l, 2, 1, 2, 3, 112, &err), FL_E_STALE);
    CHECK_HAS(err.text, "its share of epoch 0 is given up");
    for (int b = 0; b < 6; b += 2)
        CHECK_INT(ledger_get(&l, 0), b);
    CHECK_OK(fl_ledger_join(&l, 0, 0, 1, 6, 112, &err), err);
    CHECK_INT(seen.ended, 1);
    CHECK_INT(seen.epoch, 0);
    CHECK_INT(seen.undelivered, 3);
    CHECK_INT(ledger_get(&l, 0), 6);
    fl_ledger_done(&l);
}

FL_TEST(a_rank_may_leave_out_the_rest_of_an_epoch)
{
    struct fl_ledger l;
    struct fl_err err;
    ledger_new(&l, 12, 3, 8);
    for (uint64_t b = 0; b < 8; b++)
        CHECK_INT(ledger_put(&l, b), 0);
    CHECK_OK(fl_ledger_join(&l, 0, 0, 1, 0, 0, &err), err);
    CHECK_INT(ledger_get(&l, 0), 0);
    CHECK_OK(fl_ledger_join(&l, 0, 0, 1, 8, 0, &err), err);       /* over an epoch */
    CHECK_INT(seen.skipped, 3);
    for (int n = 7; n > 0; n--)
        CHECK(ledger_dropped(&l, 0) > 0);
    CHECK_INT(ledger_dropped(&l, 0), -1);
    CHECK_INT(l.n, 1);                                            /* the one it still has */
    CHECK_INT(ledger_put(&l, 8), 0);
    CHECK_INT(ledger_get(&l, 0), 8);
    fl_ledger_leave(&l, 0, 0);
    CHECK_INT(ledger_dropped(&l, 0), 0);
    fl_ledger_done(&l);
}

FL_TEST(a_batch_that_an_earlier_feed_gave_is_not_waited_for)
{
    struct fl_ledger l;
    struct fl_err err;
    ledger_new(&l, 20, 1, 4);
    for (uint64_t b = 6; b < 9; b++)
        CHECK_INT(ledger_put(&l, b), 0);
    CHECK_OK(fl_ledger_join(&l, 2, 0, 1, 5, 0, &err), err);
    CHECK_INT(fl_ledger_vain(&l), -1);                            /* 5 may be under way */
    CHECK_INT(ledger_put(&l, 9), 0);
    CHECK_INT(fl_ledger_vain(&l), 2);
    fl_ledger_done(&l);
}

/* ---- refusals ---- */

FL_TEST(joins_that_make_no_sense_are_refused)
{
    static const struct { uint32_t client, rank, world; uint64_t next; int code; const char *text; } bad[] = {
        { 5, 0, 0, 0, FL_E_CONFIG, "want 0 to world - 1" },
        { 5, 2, 2, 4, FL_E_CONFIG, "rank 2 of a world of 2" },
        { 5, 0, 257, 4, FL_E_CONFIG, "at most" },
        { 5, 0, 2, 99, FL_E_CONFIG, "wants batch 99 of 20" },
        { 5, 1, 2, 0, FL_E_CONFIG, "rank 1 wants batch 0" },
        { 5, 0, 9, 0, FL_E_CONFIG, "needs 18 batches in flight, there are 8" },
        { 5, 1, 3, 1, FL_E_CONFIG, "has a world of 2, not of 3" },
        { 5, 1, 2, 2, FL_E_CONFIG, "which is for rank 0" },
        { 5, 0, 2, 2, FL_E_CONFIG, "is taken" },
        { 0, 0, 2, 0, FL_E_PROTO, "joined twice" },
    };
    struct fl_ledger l;
    struct fl_err err;
    ledger_new(&l, 20, 2, 8);
    CHECK_OK(fl_ledger_join(&l, 0, 0, 2, 0, 0, &err), err);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (bad[i].world == 257)
            continue;                                             /* its text is that of the first */
        CHECK_INT(fl_ledger_join(&l, bad[i].client, bad[i].rank, bad[i].world, bad[i].next, 0, &err), bad[i].code);
        CHECK_HAS(err.text, bad[i].text);
    }
    CHECK_INT(fl_ledger_join(&l, 5, 0, 257, 4, 0, &err), FL_E_CONFIG);
    l.start = 4;
    CHECK_INT(fl_ledger_join(&l, 5, 1, 2, 3, 0, &err), FL_E_STALE);
    CHECK_HAS(err.text, "began at batch 4");
    fl_ledger_done(&l);
}

FL_TEST(who_waits_with_another_world_is_refused_when_the_epoch_begins)
{
    struct fl_ledger l;
    struct fl_err err;
    ledger_new(&l, 4, 2, 4);
    CHECK_OK(fl_ledger_join(&l, 0, 0, 1, 0, 0, &err), err);
    CHECK_OK(fl_ledger_join(&l, 1, 0, 1, 2, 0, &err), err);
    CHECK_OK(fl_ledger_join(&l, 2, 1, 2, 3, 0, &err), err);
    for (uint64_t b = 0; b < 4; b++)
        CHECK_INT(ledger_put(&l, b), 0);
    CHECK_INT(ledger_get(&l, 0), 0);
    CHECK_INT(ledger_get(&l, 0), 1);
    CHECK_INT(ledger_dropped(&l, 0), -1);
    CHECK_INT(seen.refused, 3);
    CHECK_HAS(seen.why, "has a world of 1, not of 2");
    CHECK_INT(ledger_get(&l, 1), 2);
    fl_ledger_done(&l);
}

FL_TEST(epochs_are_of_equal_length)
{
    struct fl_ledger l;
    struct fl_err err;
    CHECK_INT(fl_ledger_init(&l, 10, 3, 4, 1, &err), FL_E_CONFIG);
    CHECK_INT(fl_ledger_init(&l, 0, 1, 4, 1, &err), FL_E_CONFIG);
}

/* ---- messages ---- */

FL_TEST(messages_of_trainers_are_proven)
{
    static const struct { const char *bytes; size_t len; int code; } m[] = {
        { "H\1\0\0", 4, FL_OK },
        { "H\1\0\0x", 5, FL_E_PROTO },
        { "H\2\0\0", 4, FL_E_PROTO },
        { "", 0, FL_E_PROTO },
        { "R\1\0\0\3\0\0\0\7\0\0\0\0\0\0\0", 16, FL_OK },
        { "R\1\0\0\3\0\0\0\7\0\0\0\0\0\0", 15, FL_E_PROTO },
        { "J\1\0\0\1\0\0\0\2\0\0\0\5\0\0\0\0\0\0\0", 20, FL_OK },
        { "J\1\1\0\1\0\0\0\2\0\0\0\5\0\0\0\0\0\0\0id\0", 23, FL_OK },
        { "J\1\1\0\1\0\0\0\2\0\0\0\5\0\0\0\0\0\0\0id", 22, FL_E_PROTO },
        { "J\1\1\0\1\0\0\0\2\0\0\0\5\0\0\0\0\0\0\0id\0x", 24, FL_E_PROTO },
        { "J\1\1\0\1\0\0\0\2\0\0\0\5\0\0\0\0\0\0\0\0", 21, FL_E_PROTO },
        { "J\1\x11\0\1\0\0\0\2\0\0\0\5\0\0\0\0\0\0\0", 20, FL_E_PROTO },
        { "Q\1\0\0", 4, FL_E_PROTO },
    };
    struct fl_client_msg got = { 0 };
    struct fl_err err;
    for (size_t i = 0; i < sizeof m / sizeof *m; i++)
        CHECK_INT(fl_client_msg_read(m[i].bytes, m[i].len, &got, &err), m[i].code);
    CHECK_OK(fl_client_msg_read(m[7].bytes, m[7].len, &got, &err), err);
    CHECK_INT(got.kind, 'J');
    CHECK_INT(got.rank, 1);
    CHECK_INT(got.world, 2);
    CHECK_INT(got.next, 5);
    CHECK_STR(got.names[0], "id");
    CHECK_OK(fl_client_msg_read(m[4].bytes, m[4].len, &got, &err), err);
    CHECK_INT(got.gen, 3);
    CHECK_INT(got.batch, 7);
}

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = {
        CASE(batches_in_any_order_come_in_order), CASE(ranks_share_an_epoch_and_hear_when_their_share_is_over),
        CASE(an_epoch_may_begin_in_its_middle_in_another_world), CASE(a_rank_that_comes_back_gets_what_it_had_once_more),
        CASE(the_share_of_a_rank_that_stays_away_is_given_up_and_counted), CASE(a_rank_may_leave_out_the_rest_of_an_epoch),
        CASE(a_batch_that_an_earlier_feed_gave_is_not_waited_for), CASE(joins_that_make_no_sense_are_refused),
        CASE(who_waits_with_another_world_is_refused_when_the_epoch_begins), CASE(epochs_are_of_equal_length), CASE(messages_of_trainers_are_proven),
        { 0 } };
    return fl_run(cases, argc, argv);
}
