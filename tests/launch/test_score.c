/* flowrun score: both kinds of predictions, its figures, and what it refuses. */
#include <fcntl.h>
#include <jansson.h>
#include <unistd.h>

#include "launch/cmd.h"
#include "tests/lib/check.h"

static char out[1 << 16], err[1 << 16];

static const char *file(const char *name, const char *text)
{
    static char paths[4][300];
    static unsigned turn;
    char *path = paths[turn++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", fl_tmpdir(), name);
    FILE *f = fopen(path, "w");
    if (f != NULL) {
        fputs(text, f);
        fclose(f);
    }
    return path;
}

static int to_file(int fd, const char *path)
{
    int keep = dup(fd), f = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    dup2(f, fd);
    close(f);
    return keep;
}

static void back(int fd, int keep, const char *path, char *text, size_t room)
{
    dup2(keep, fd);
    close(keep);
    FILE *f = fopen(path, "r");
    size_t n = f != NULL ? fread(text, 1, room - 1, f) : 0;
    text[n] = '\0';
    if (f != NULL)
        fclose(f);
}

/* Runs the command; what it printed is in out and err. */
static int score(const char *a, const char *b, const char *c, const char *d, const char *e)
{
    char po[300], pe[300];
    char *argv[7] = { (char *)"score", (char *)a, (char *)b, (char *)c, (char *)d, (char *)e, NULL };
    int argc = 1;
    while (argv[argc] != NULL)
        argc++;
    snprintf(po, sizeof po, "%s/out", fl_tmpdir());
    snprintf(pe, sizeof pe, "%s/err", fl_tmpdir());
    fflush(stdout);
    int ko = to_file(1, po), ke = to_file(2, pe), rc = fl_cmd_score(argc, argv);
    fflush(stdout);
    back(1, ko, po, out, sizeof out);
    back(2, ke, pe, err, sizeof err);
    return rc;
}

static const char truth[] = "image_name,tags\nt1,clear primary\nt2,water road agriculture\nt3,cloudy\n";

FL_TEST(a_submission)
{
    const char *y = file("y.csv", truth), *h = file("h.csv", "image_name,tags\nt3,cloudy haze\nt1,clear primary\nt2,road\n");
    CHECK_INT(score(h, y, NULL, NULL, NULL), 0);
    CHECK_STR(err, "");
    /* 5/(4+2), 10/(8+2), 5/(12+1) */
    char want[64];
    snprintf(want, sizeof want, "F2 %.6f over 3 tiles\n", (5.0 / 6 + 1 + 5.0 / 13) / 3);
    CHECK_HAS(out, want);
    CHECK_HAS(out, "water                        1         0    0.0000    0.0000    0.0000");
    CHECK_HAS(out, "haze                         0         1    0.0000    0.0000    0.0000");
    CHECK_HAS(out, "road                         1         1    1.0000    1.0000    1.0000");
}

static const char *probabilities(const char *three)
{
    static char text[2048];
    snprintf(text, sizeof text, "water,image_name,agriculture,artisinal_mine,bare_ground,blooming,blow_down,clear,cloudy,conventional_mine,cultivation,"
             "habitation,haze,partly_cloudy,primary,road,selective_logging,slash_burn\n"
             "0.1,t1,0,0,0,0,0,0.9,0,0,0,0,0,0,0.3,0,0,0\n"
             "0.8,t2,0.25,0,0,0,0,0,0,0,0,0,0,0,0,0.15,0,0\n%s", three);
    return text;
}

FL_TEST(probabilities_at_a_threshold)
{
    const char *y = file("y.csv", truth), *p = file("p.csv", probabilities("0,t3,0,0,0,0,0,0,0.05,0,0,0,0,0,0,0,0,0\n"));
    CHECK_INT(score(p, y, "--json", NULL, NULL), 0);
    json_t *o = json_loads(out, 0, NULL);
    double f2 = json_number_value(json_object_get(o, "f2")), t = json_number_value(json_object_get(o, "threshold"));
    long long tiles = json_integer_value(json_object_get(o, "tiles")), empty = json_integer_value(json_object_get(o, "empty"));
    size_t labels = json_array_size(json_object_get(o, "labels"));
    json_decref(o);
    CHECK_NEAR(f2, (1 + 10.0 / 14 + 0) / 3, 1e-12);
    CHECK_NEAR(t, 0.2, 0);
    CHECK_INT(tiles, 3);
    CHECK_INT(empty, 1);
    CHECK_INT(labels, 17);
    CHECK_INT(score(p, y, "--threshold", "0.01", NULL), 0);
    CHECK_HAS(out, "at threshold 0.01");
    char want[64];
    snprintf(want, sizeof want, "F2 %.6f", (10.0 / 11 + 1 + 1) / 3);
    CHECK_HAS(out, want);
    CHECK_INT(score(p, y, "--threshold=0.01", NULL, NULL), 0);
    CHECK_HAS(out, want);
}

FL_TEST(other_label_sets)
{
    const char *y = file("y.csv", "image_name,tags\na,ship sea\nb,dock\n");
    CHECK_INT(score(file("p.csv", "image_name,ship,sea,dock\na,1,0.1,0\nb,0,0,1\n"), y, NULL, NULL, NULL), 0);
    CHECK_HAS(out, "F2 0.777778");                    /* (5/9 + 1)/2 */
    CHECK_INT(score(file("h.csv", "image_name,tags\na,ship\nb,dock\n"), y, "--names", "dock,sea,ship", NULL), 0);
    CHECK_HAS(out, "F2 0.777778");
    CHECK_INT(score(file("h2.csv", "image_name,tags\na,ship\nb,dock\n"), y, "--names", "dock,dock", NULL), 1);
    CHECK_HAS(err, "twice");
}

FL_TEST(the_same_tiles_are_needed)
{
    const char *y = file("y.csv", truth), *h = file("h.csv", "image_name,tags\nt1,clear primary\n");
    CHECK_INT(score(h, y, NULL, NULL, NULL), 1);
    CHECK_HAS(err, "E_LABEL");
    CHECK_HAS(err, "t2 is not predicted");
    CHECK_INT(score(h, y, "--subset", NULL, NULL), 0);
    CHECK_HAS(out, "F2 1.000000 over 1 tiles");
    CHECK_INT(score(file("h2.csv", "image_name,tags\nt9,clear\n"), y, "--subset", NULL, NULL), 1);
    CHECK_HAS(err, "t9 has no row in");
}

static const struct { const char *pred, *code, *says; } refused[] = {
    { "image_name,tags\nt1,claer\n", "E_LABEL", "h.csv:2" },
    { "image_name,tags\nt1,clear\nt1,clear\n", "E_LABEL", "t1" },
    { "", "E_INPUT", "h.csv" },
    { "image_name,tags\n", "E_INPUT", "no rows" },
    { "name,a\nt1,0.5\n", "E_LABEL", "image_name" },
    { "image_name,clear,haze\nt1,0,0\n", "E_LABEL", "agriculture" },
    { "image_name,a,b\nt1,0,nan\n", "E_NUM", "h.csv:2: b: \"nan\"" },
    { "image_name,a,b\nt1,0,1.01\n", "E_NUM", "1.01" },
    { "image_name,a,b\nt1,0,x\n", "E_NUM", "x" },
    { "image_name,a,b\nt1,0,\n", "E_NUM", "b" },
    { "image_name,a,b\nt1,0\n", "E_INPUT", "2 fields, want 3" },
    { "image_name,a,a\nt1,0,0\n", "E_LABEL", "twice" },
    { "image_name,a,b\nt1,0,0\nt1,0,0\n", "E_LABEL", "t1 is there twice" },
    { "image_name,a,b\nt/1,0,0\n", "E_LABEL", "t/1" },
};

FL_TEST(bad_files_are_named)
{
    const char *y = file("y.csv", truth);
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        CHECK_INT(score(file("h.csv", refused[i].pred), y, NULL, NULL, NULL), 1);
        CHECK_HAS(err, refused[i].code);
        CHECK_HAS(err, refused[i].says);
    }
    CHECK_INT(score("/nowhere/h.csv", y, NULL, NULL, NULL), 1);
    CHECK_HAS(err, "/nowhere/h.csv");
}

FL_TEST(bad_arguments_are_named)
{
    const char *y = file("y.csv", truth), *h = file("h.csv", truth);
    CHECK_INT(score(h, NULL, NULL, NULL, NULL), 2);
    CHECK_HAS(err, "usage: flowrun score");
    CHECK_INT(score(h, y, "third", NULL, NULL), 2);
    CHECK_INT(score(h, y, "--treshold", "1", NULL), 2);
    CHECK_HAS(err, "did you mean --threshold?");
    CHECK_INT(score(h, y, "--threshold", "2", NULL), 2);
    CHECK_INT(score(h, y, "--threshold", NULL, NULL), 2);
    CHECK_HAS(err, "wants a value");
    CHECK_INT(score(h, y, "--threshold", "0.2", NULL), 2);
    CHECK_HAS(err, "holds tags");
    CHECK_INT(score("--help", NULL, NULL, NULL, NULL), 0);
    CHECK_HAS(out, "--subset");
    CHECK_INT(score(h, y, NULL, NULL, NULL), 0);
    CHECK_HAS(out, "F2 1.000000");
}

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = {
        CASE(a_submission), CASE(probabilities_at_a_threshold), CASE(other_label_sets), CASE(the_same_tiles_are_needed),
        CASE(bad_files_are_named), CASE(bad_arguments_are_named), { 0 }
    };
    return fl_run(cases, argc, argv);
}
