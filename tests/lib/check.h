/* Check macros and the table of cases of a test program.
 *
 *     FL_TEST(reads_a_plain_jpeg) { CHECK_INT(decode(...), FL_OK); }
 *     int main(int argc, char **argv) { static const struct fl_case cases[] = { CASE(reads_a_plain_jpeg), { 0 } }; return fl_run(cases, argc, argv); }
 *
 * Prints "ok NAME", "FAIL NAME: file:line: ..." or "skip NAME: why", and at last "N passed, N failed[, N skipped]". */
#ifndef FL_TESTS_CHECK_H
#define FL_TESTS_CHECK_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct fl_case { const char *name; void (*run)(void); };
#define FL_TEST(name) static void test_##name(void)
#define CASE(name) { #name, test_##name }

int  fl_run(const struct fl_case *cases, int argc, char **argv);          /* argv[1..]: only cases of these names */
void fl_fail_at(const char *file, int line, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void fl_skip(const char *fmt, ...) __attribute__((format(printf, 1, 2)));  /* marks the running case as skipped; then return */
/* FLOWRUN_DATA (default ../shared/data) joined with rel, or NULL (and the case marked skipped) where it is absent. Static buffers, 8 in turn. */
const char *fl_data(const char *rel);
/* A fresh folder for this case, removed after it. */
const char *fl_tmpdir(void);

#define CHECK(cond) do { if (!(cond)) { fl_fail_at(__FILE__, __LINE__, "%s", #cond); return; } } while (0)
#define CHECK_INT(a, b) do { long long a_ = (long long)(a), b_ = (long long)(b); if (a_ != b_) { \
    fl_fail_at(__FILE__, __LINE__, "%s = %lld, want %lld", #a, a_, b_); return; } } while (0)
#define CHECK_STR(a, b) do { const char *a_ = (a), *b_ = (b); if (a_ == NULL || strcmp(a_, b_) != 0) { \
    fl_fail_at(__FILE__, __LINE__, "%s = \"%s\", want \"%s\"", #a, a_ ? a_ : "(null)", b_); return; } } while (0)
#define CHECK_HAS(a, b) do { const char *a_ = (a), *b_ = (b); if (a_ == NULL || strstr(a_, b_) == NULL) { \
    fl_fail_at(__FILE__, __LINE__, "%s = \"%s\", want it to hold \"%s\"", #a, a_ ? a_ : "(null)", b_); return; } } while (0)
#define CHECK_NEAR(a, b, tol) do { double a_ = (a), b_ = (b), t_ = (tol); if (!(fabs(a_ - b_) <= t_)) { \
    fl_fail_at(__FILE__, __LINE__, "%s = %.12g, want %.12g within %g", #a, a_, b_, t_); return; } } while (0)
#define CHECK_OK(call, err) do { int c_ = (call); if (c_ != 0) { \
    fl_fail_at(__FILE__, __LINE__, "%s: %s: %s", #call, fl_status_name(c_), (err).text); return; } } while (0)

#endif
