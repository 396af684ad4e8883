/* The join: parts in any order, twice, or of an attempt given up. */
#include "runtime/join.h"
#include "tests/lib/check.h"

static struct fl_hosted *part(uint64_t batch, uint32_t slot, uint32_t gen, uint32_t edge, uint64_t token)
{
    struct fl_hosted *h = fl_hosted_new(1);
    h->b.batch = batch;
    h->b.slot = slot;
    h->b.gen = gen;
    h->b.n = 3;
    struct fl_tensor *id = fl_batch_add(&h->b, "id"), *prob = fl_batch_add(&h->b, "prob");
    id->place = 0;                                   /* shared by all parts */
    prob->place = (int32_t)edge + 1;
    id->edge = prob->edge = (uint16_t)edge;
    h->nparts = 1;
    h->parts[0].edge = edge;
    h->parts[0].token = token;
    return h;
}

FL_TEST(parts_meet_in_edge_order_whatever_order_they_come_in)
{
    struct fl_err err = { 0 };
    struct fl_join *j;
    struct fl_hosted *whole, *dropped;
    CHECK_OK(fl_join_new(2, 3, &j, &err), err);
    CHECK_INT(fl_join_add(j, part(5, 1, 9, 2, 20), &whole, &dropped, &err), FL_END);
    CHECK_INT(fl_join_add(j, part(4, 0, 9, 1, 11), &whole, &dropped, &err), FL_END);
    CHECK_INT(fl_join_add(j, part(5, 1, 9, 0, 0), &whole, &dropped, &err), FL_END);
    CHECK_INT(fl_join_open(j), 2);
    CHECK_INT(fl_join_add(j, part(5, 1, 9, 1, 10), &whole, &dropped, &err), FL_OK);
    CHECK(dropped == NULL);
    CHECK_INT(whole->b.batch, 5);
    CHECK_INT(whole->nparts, 3);
    CHECK_INT(whole->b.ntensors, 4);                 /* id once, three prob */
    for (uint32_t e = 0; e < 3; e++)
        CHECK_INT(fl_batch_find_edge(&whole->b, e, "prob")->place, e + 1);
    CHECK_INT(fl_join_open(j), 1);
    free(whole);
    fl_join_free(j);
}

FL_TEST(a_part_that_comes_twice_is_dropped)
{
    struct fl_err err = { 0 };
    struct fl_join *j;
    struct fl_hosted *whole, *dropped;
    CHECK_OK(fl_join_new(2, 2, &j, &err), err);
    CHECK_INT(fl_join_add(j, part(0, 0, 1, 0, 7), &whole, &dropped, &err), FL_END);
    CHECK_INT(fl_join_add(j, part(0, 0, 1, 0, 8), &whole, &dropped, &err), FL_END);
    CHECK(dropped != NULL && dropped->parts[0].token == 8);
    free(dropped);
    CHECK_INT(fl_join_add(j, part(0, 0, 1, 1, 9), &whole, &dropped, &err), FL_OK);
    CHECK_INT(whole->parts[0].token, 7);
    free(whole);
    fl_join_free(j);
}

FL_TEST(a_new_generation_of_the_slot_ends_what_waited)
{
    struct fl_err err = { 0 };
    struct fl_join *j;
    struct fl_hosted *whole, *dropped;
    CHECK_OK(fl_join_new(2, 2, &j, &err), err);
    CHECK_INT(fl_join_add(j, part(0, 0, 1, 0, 7), &whole, &dropped, &err), FL_END);
    CHECK_INT(fl_join_add(j, part(8, 0, 2, 1, 8), &whole, &dropped, &err), FL_END);
    CHECK(dropped != NULL && dropped->b.gen == 1);
    free(dropped);
    CHECK_INT(fl_join_add(j, part(8, 0, 2, 0, 9), &whole, &dropped, &err), FL_OK);
    CHECK_INT(whole->b.batch, 8);
    free(whole);
    fl_join_free(j);
}

FL_TEST(parts_of_different_size_are_refused)
{
    struct fl_err err = { 0 };
    struct fl_join *j;
    struct fl_hosted *whole, *dropped, *odd = part(0, 0, 1, 1, 8);
    CHECK_OK(fl_join_new(2, 2, &j, &err), err);
    CHECK_INT(fl_join_add(j, part(0, 0, 1, 0, 7), &whole, &dropped, &err), FL_END);
    odd->b.n = 2;
    CHECK_INT(fl_join_add(j, odd, &whole, &dropped, &err), FL_E_PROTO);
    CHECK_HAS(err.text, "3 and 2 tiles");
    fl_join_free(j);
}

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = {
        CASE(parts_meet_in_edge_order_whatever_order_they_come_in), CASE(a_part_that_comes_twice_is_dropped),
        CASE(a_new_generation_of_the_slot_ends_what_waited), CASE(parts_of_different_size_are_refused), { 0 }
    };
    return fl_run(cases, argc, argv);
}
