/* Compares batches tensor by tensor and says where they differ. */
#ifndef FL_LAUNCH_DIFF_H
#define FL_LAUNCH_DIFF_H

#include <stdbool.h>
#include <stdio.h>

#include "proto/batch.h"

struct fl_journal_tile;

/* loose: floats may differ by 1e-3 of their size, or 1e-4 (another instruction set). moved: files lie elsewhere, so reasons, which name
 * them, aren't compared. */
enum { FL_DIFF_LOOSE = 1, FL_DIFF_MOVED = 2 };

/* The element at p, of any type, as a number. */
double fl_diff_value(int dtype, const unsigned char *p);

/* Prints a table row on `out` for each tensor of one name that is not the same in both: first differing element, how many, greatest
 * absolute and relative difference, ulp, and a histogram of the differences in ulp. Rows that both call rejected are left out, since
 * their values mean nothing. Number of rows printed. */
uint32_t fl_diff_batch(FILE *out, const char *edge, const struct fl_batch *want, const struct fl_batch *got, unsigned how);

/* A run and its replay (diff_run.c). Differences are told on stdout; *compared goes up by the batches that both hold; the number of
 * rows told, what can't be read being one of them. */
/* The recordings DIR/EDGE of an edge, the last attempt of each batch. */
uint32_t fl_diff_edge(const char *edge, const char *want, const char *got, unsigned how, uint64_t *compared);
/* The journals of a sink, which are what comes out of it. */
uint32_t fl_diff_sink(const char *sink, const char *want, const char *got, unsigned how, uint64_t *compared);
/* Bit by bit; of rejected tiles the reason. */
bool fl_diff_same_tile(const struct fl_journal_tile *, const struct fl_journal_tile *, uint32_t L, unsigned how);

#endif
