/* Nearest names, natural order, whole files, FNV-1a. */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/text.h"
#include "tests/lib/check.h"

static const char *const names[] = { "weights", "width", "device", "precision", "rows", NULL };

FL_TEST(nearest_is_a_typing_error_away)
{
    CHECK_STR(fl_nearest("wieghts", names), "weights");
    CHECK_STR(fl_nearest("widht", names), "width");
    CHECK_STR(fl_nearest("rows", names), "rows");
    CHECK_STR(fl_nearest("row", names), "rows");
    CHECK_STR(fl_nearest("precison", names), "precision");
    CHECK_STR(fl_nearest("precition", names), "precision");
}

FL_TEST(of_several_as_near_the_likeliest_is_taken)
{
    static const char *const archs[] = { "resnet18", "resnet34", "resnet50", "resnet101", "densenet121", "densenet161", "densenet169", "vgg11", "vgg13", "vgg16", "vgg19", NULL };
    CHECK_STR(fl_nearest("resnet49", archs), "resnet50");
    CHECK_STR(fl_nearest("resnet30", archs), "resnet34");
    CHECK_STR(fl_nearest("vgg15", archs), "vgg16");
    CHECK_STR(fl_nearest("densenet171", archs), "densenet161");
    static const char *const words[] = { "row", "rows", "crows", "bats", "batz", NULL };
    CHECK_STR(fl_nearest("rowx", words), "rows");          /* as long as the word */
    CHECK_STR(fl_nearest("batx", words), "bats");          /* the first */
    CHECK_STR(fl_nearest("zats", (const char *const[]){ "bats", "zaps", NULL }), "zaps");      /* begins alike */
}

FL_TEST(far_words_have_no_nearest)
{
    CHECK(fl_nearest("batch", names) == NULL);
    CHECK(fl_nearest("", names) == NULL);
    CHECK(fl_nearest("xxxs", names) == NULL);       /* 3 from "rows", 1 + 4/3 = 2 are allowed */
}

FL_TEST(nearest_bounds_the_distance)
{
    static const char *const one[] = { "abcdef", NULL };
    CHECK_STR(fl_nearest("abcxyz", one), "abcdef");  /* 3 = 1 + 6/3 */
    CHECK(fl_nearest("abwxyz", one) == NULL);        /* 4 */
    char big[1000];
    memset(big, 'a', sizeof big);
    big[sizeof big - 1] = '\0';
    CHECK(fl_nearest(big, one) == NULL);
}

/* Each entry comes before all that follow it. */
FL_TEST(natural_order_is_total)
{
    static const char *const sorted[] = { "", "01", "1", "2", "10", "A", "a", "t", "t-1", "t01", "t1", "t1a", "t2", "t2x10", "t9", "t10", "t10a",
                                          "t99999999999999999999", "t100000000000000000000", "ta", "\xc3\xa4" };
    const int n = sizeof sorted / sizeof sorted[0];
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            int c = fl_natural_cmp(sorted[i], sorted[j]);
            if ((c < 0) != (i < j) || (c > 0) != (i > j)) {
                fl_fail_at(__FILE__, __LINE__, "\"%s\" against \"%s\" gives %d", sorted[i], sorted[j], c);
                return;
            }
        }
}

static const char *file_of(const char *bytes, size_t n)
{
    static char path[300];
    snprintf(path, sizeof path, "%s/file", fl_tmpdir());
    FILE *f = fopen(path, "wb");
    if (f == NULL || fwrite(bytes, 1, n, f) != n || fclose(f) != 0)
        return NULL;
    return path;
}

FL_TEST(file_is_read_whole)
{
    struct fl_err err = { 0 };
    char *text = NULL;
    size_t len = 0, n = 200001;
    char *want = malloc(n);
    CHECK(want != NULL);
    for (size_t i = 0; i < n; i++)
        want[i] = (char)(i * 7);
    const char *path = file_of(want, n);
    CHECK(path != NULL);
    CHECK_OK(fl_read_file(path, n, &text, &len, &err), err);
    CHECK_INT(len, n);
    CHECK(memcmp(text, want, n) == 0);
    CHECK_INT(text[n], 0);
    free(text);
    CHECK_INT(fl_read_file(path, n - 1, &text, &len, &err), FL_E_INPUT);
    CHECK_HAS(err.text, "larger than 200000 bytes");
    free(want);
}

FL_TEST(empty_file_is_empty_text)
{
    struct fl_err err = { 0 };
    char *text = NULL;
    size_t len = 1;
    const char *path = file_of("", 0);
    CHECK(path != NULL);
    CHECK_OK(fl_read_file(path, 0, &text, &len, &err), err);
    CHECK_INT(len, 0);
    CHECK_STR(text, "");
    free(text);
}

FL_TEST(missing_file_and_folder_are_named)
{
    struct fl_err err = { 0 };
    char *text = NULL, path[300];
    size_t len = 0;
    snprintf(path, sizeof path, "%s/none", fl_tmpdir());
    CHECK_INT(fl_read_file(path, 100, &text, &len, &err), FL_E_INPUT);
    CHECK_HAS(err.text, "/none: No such file");
    CHECK_INT(fl_read_file(fl_tmpdir(), 100, &text, &len, &err), FL_E_INPUT);
    CHECK_HAS(err.text, "directory");
    CHECK(text == NULL);
}

FL_TEST(file_is_written_anew_or_not_at_all)
{
    char path[600], beside[620], buf[8];
    struct fl_err err = { 0 };
    struct stat st;
    snprintf(path, sizeof path, "%s/written", fl_tmpdir());
    snprintf(beside, sizeof beside, "%s.tmp", path);
    CHECK_INT(fl_write_file(path, 0600, "longer", 6, &err), FL_OK);
    CHECK_INT(fl_write_file(path, 0600, "short", 5, &err), FL_OK);
    CHECK_INT(stat(path, &st), 0);
    CHECK_INT(st.st_mode & 0777, 0600);
    int fd = open(path, O_RDONLY);
    CHECK_INT(fl_read_fill(fd, buf, sizeof buf), 5);
    CHECK(memcmp(buf, "short", 5) == 0);
    CHECK_INT(fl_read_fill(fd, buf, sizeof buf), 0);
    close(fd);
    CHECK(fl_read_fill(fd, buf, sizeof buf) < 0);
    CHECK(access(beside, F_OK) != 0);
    snprintf(path, sizeof path, "%s/no/folder", fl_tmpdir());
    CHECK_INT(fl_write_file(path, 0666, "x", 1, &err), FL_E_IO);
    CHECK_HAS(err.text, "/no/folder: No such file");
}

FL_TEST(fnv1a_known_answers)
{
    CHECK(fl_fnv1a("", 0) == UINT64_C(0xcbf29ce484222325));
    CHECK(fl_fnv1a("train_0", 7) == UINT64_C(0xeca7967cf0687696));
    CHECK(fl_fnv1a("train_10059", 11) == UINT64_C(0x8004a732c968b82f));
}

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = {
        CASE(nearest_is_a_typing_error_away), CASE(of_several_as_near_the_likeliest_is_taken), CASE(far_words_have_no_nearest),
        CASE(nearest_bounds_the_distance), CASE(natural_order_is_total), CASE(file_is_read_whole), CASE(empty_file_is_empty_text), CASE(missing_file_and_folder_are_named),
        CASE(file_is_written_anew_or_not_at_all), CASE(fnv1a_known_answers), { 0 },
    };
    return fl_run(cases, argc, argv);
}
