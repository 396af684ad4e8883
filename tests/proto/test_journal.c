/* The journal: what is committed stays, what is torn or damaged is seen. */
#include "proto/journal.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib/check.h"

#define NL 3u                         /* labels */
#define ALL (FL_JOURNAL_PROB | FL_JOURNAL_PRED | FL_JOURNAL_EF2 | FL_JOURNAL_TRUTH)

/* ---- helpers ---- */

static const char *in_tmp(const char *rel)
{
    static char paths[4][4096];
    static unsigned turn;
    char *p = paths[turn++ % 4];
    snprintf(p, sizeof paths[0], "%s/%s", fl_tmpdir(), rel);
    return p;
}

static struct fl_journal *open_in(const char *rel, uint64_t segment)
{
    struct fl_journal *j = NULL;
    struct fl_err err;
    if (fl_journal_open(in_tmp(rel), &(struct fl_journal_conf){ .L = NL, .segment = segment }, &j, &err) != FL_OK)
        printf("# %s: %s\n", rel, err.text);
    return j;
}

/* Batch b has 2 + b % 3 tiles; tile r of it is rejected when (b + r) % 4 == 3. All values follow from b and r. */
static int append(struct fl_journal *j, uint64_t b, uint32_t attempt, struct fl_err *err)
{
    int rc = fl_journal_begin(j, 99, b, attempt, ALL, err);
    for (uint32_t r = 0; rc == FL_OK && r < 2 + b % 3; r++) {
        char id[64];
        float prob[NL] = { (float)b, (float)r, 0.5f };
        snprintf(id, sizeof id, "t%llu_%u", (unsigned long long)b, r);
        bool bad = (b + r) % 4 == 3;
        struct fl_journal_tile t = { .ordinal = b * 10 + r, .id = id, .status = bad ? FL_E_INPUT : FL_OK, .reason = "decode: E_INPUT: short",
                                     .prob = prob, .pred = (b + r) & 7, .truth = (b ^ r) & 7, .ef2 = (double)b / 8 + r };
        rc = fl_journal_add(j, &t, err);
    }
    return rc == FL_OK ? fl_journal_end(j, err) : rc;
}

/* "" when batch b is there as append() made it, else what differs. */
static const char *differs(struct fl_journal *j, uint64_t b)
{
    struct fl_journal_rec rec = { 0 };
    struct fl_journal_tile t;
    struct fl_err err;
    const char *what = "";
    char id[64];
    uint32_t r = 0, bad = 0;
    if (fl_journal_read(j, b, &rec, &err) != FL_OK)
        what = "read";
    int rc = FL_OK;
    for (; *what == '\0' && (rc = fl_journal_next(&rec, &t, &err)) == FL_OK; r++) {
        snprintf(id, sizeof id, "t%llu_%u", (unsigned long long)b, r);
        if (t.ordinal != b * 10 + r || strcmp(t.id, id) != 0)
            what = "ordinal or id";
        else if ((b + r) % 4 == 3) {
            bad++;
            if (t.status != FL_E_INPUT || strcmp(t.reason, "decode: E_INPUT: short") != 0)
                what = "reject";
        } else if (t.status != FL_OK || t.reason[0] != '\0' || t.prob[0] != (float)b || t.prob[1] != (float)r || t.prob[2] != 0.5f ||
                   t.pred != ((b + r) & 7) || t.truth != ((b ^ r) & 7) || t.ef2 != (double)b / 8 + r)
            what = "values";
    }
    if (*what == '\0' && (rc != FL_END || r != 2 + b % 3 || rec.n != r || rec.rejected != bad))
        what = "tiles";
    fl_journal_rec_done(&rec);
    return what;
}

static long size_of(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? (long)st.st_size : -1;
}

static uint8_t *slurp(const char *path, size_t *len)
{
    FILE *f = fopen(path, "rb");
    long size = size_of(path);
    uint8_t *p = size >= 0 ? malloc((size_t)size + 1) : NULL;
    *len = (size_t)size;
    if (f == NULL || p == NULL || fread(p, 1, *len, f) != *len)
        abort();
    fclose(f);
    return p;
}

static void spill(const char *path, const void *bytes, size_t len)
{
    FILE *f = fopen(path, "wb");
    if (f == NULL || fwrite(bytes, 1, len, f) != len || fclose(f) != 0)
        abort();
}

/* Batches 0..n-1 in folder `rel`, ends[b] = file size after batch b. The file's bytes. */
static uint8_t *build(const char *rel, uint64_t n, long *ends, size_t *len)
{
    char file[4096];
    struct fl_err err;
    struct fl_journal *j = open_in(rel, 0);
    snprintf(file, sizeof file, "%s/00000000.j", in_tmp(rel));
    for (uint64_t b = 0; b < n; b++) {
        if (append(j, b, 0, &err) != FL_OK || fl_journal_sync(j, &err) != FL_OK)
            abort();
        ends[b] = size_of(file);
    }
    fl_journal_close(j);
    return slurp(file, len);
}

/* ---- cases ---- */

/* The bytes as the header describes them, put together by a program of its own (bitwise CRC). */
static const uint8_t golden[160] = {
    0x46, 0x4c, 0x4a, 0x4f, 0x55, 0x52, 0x4e, 0x4c, 0x01, 0x00, 0x00, 0x00, 0x40, 0x00, 0x00, 0x00,
    0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x09, 0x74, 0x30, 0x48,
    0x46, 0x4c, 0x4a, 0x52, 0x38, 0x00, 0x00, 0x00, 0x05, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x02, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x0f, 0x00, 0x00, 0x00,
    0x40, 0x9c, 0xc9, 0x32, 0x07, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x74, 0x37, 0x00,
    0x00, 0x00, 0x80, 0x3e, 0x00, 0x00, 0x80, 0x3f, 0x00, 0x00, 0x00, 0x00, 0x05, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0xe8, 0x3f, 0x04, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x74,
    0x38, 0x01, 0x09, 0x64, 0x3a, 0x20, 0x45, 0x3a, 0x20, 0x62, 0x61, 0x64, 0x88, 0xa4, 0x32, 0x7b,
};

FL_TEST(the_bytes_are_as_documented)
{
    struct fl_err err;
    struct fl_journal *j = open_in("j", 0);
    CHECK(j != NULL);
    const float prob[NL] = { 0.25f, 1.0f, 0.0f };
    CHECK_OK(fl_journal_begin(j, 0x1122334455667788u, 5, 2, ALL, &err), err);
    CHECK_OK(fl_journal_add(j, &(struct fl_journal_tile){ .ordinal = 7, .id = "t7", .prob = prob, .pred = 5, .truth = 4, .ef2 = 0.75 }, &err), err);
    CHECK_OK(fl_journal_add(j, &(struct fl_journal_tile){ .ordinal = 8, .id = "t8", .status = FL_E_INPUT, .reason = "d: E: bad" }, &err), err);
    CHECK_OK(fl_journal_end(j, &err), err);
    CHECK_OK(fl_journal_sync(j, &err), err);
    fl_journal_close(j);
    size_t len;
    uint8_t *bytes = slurp(in_tmp("j/00000000.j"), &len);
    int same = len == sizeof golden && memcmp(bytes, golden, len) == 0;
    free(bytes);
    CHECK(same);
}

FL_TEST(reads_back_before_and_after_a_sync_and_after_reopening)
{
    struct fl_err err;
    struct fl_journal *j = open_in("j", 0);
    const uint64_t order[] = { 3, 0, 10000, 7, 1, 4096, 2 };
    for (size_t i = 0; i < 7; i++) {
        CHECK_OK(append(j, order[i], 1, &err), err);
        CHECK_STR(differs(j, order[i]), "");
        if (i == 3)
            CHECK_OK(fl_journal_sync(j, &err), err);
    }
    CHECK_OK(fl_journal_sync(j, &err), err);
    fl_journal_close(j);
    j = open_in("j", 0);
    const uint64_t sorted[] = { 0, 1, 2, 3, 7, 4096, 10000 };
    uint64_t b = 0;
    for (size_t i = 0; i < 7; i++, b++) {
        b = fl_journal_after(j, b);
        CHECK_INT(b, sorted[i]);
        CHECK_STR(differs(j, b), "");
    }
    CHECK(fl_journal_after(j, b) == FL_JOURNAL_NONE);
    CHECK_INT(fl_journal_sum(j).batches, 7);
    CHECK_INT(fl_journal_sum(j).cut + fl_journal_sum(j).damaged, 0);
    fl_journal_close(j);
}

FL_TEST(a_batch_is_kept_once)
{
    struct fl_err err;
    struct fl_journal_rec rec = { 0 };
    struct fl_journal *j = open_in("j", 0);
    CHECK_OK(append(j, 4, 0, &err), err);
    CHECK_INT(append(j, 4, 1, &err), FL_END);
    CHECK_OK(fl_journal_sync(j, &err), err);
    fl_journal_close(j);
    j = open_in("j", 0);
    CHECK_INT(append(j, 4, 2, &err), FL_END);
    CHECK_OK(fl_journal_peek(j, 4, &rec, &err), err);
    CHECK_INT(rec.attempt, 0);
    CHECK_INT(rec.n, 3);
    CHECK_INT(rec.rejected, 0);
    CHECK_INT(fl_journal_peek(j, 5, &rec, &err), FL_END);
    CHECK_INT(fl_journal_read(j, 5, &rec, &err), FL_END);
    fl_journal_close(j);
}

/* Cut anywhere in the last three records: exactly the batches that end before stay, the file ends with them, and it goes on. */
FL_TEST(a_torn_end_is_cut_off_wherever_it_tears)
{
    long ends[6];
    size_t len;
    struct fl_err err;
    uint8_t *bytes = build("whole", 6, ends, &len);
    CHECK_INT(len, ends[5]);
    CHECK(mkdir(in_tmp("torn"), 0777) == 0);
    for (long at = ends[2]; at <= ends[5]; at++) {
        spill(in_tmp("torn/00000000.j"), bytes, (size_t)at);
        uint64_t want = at >= ends[5] ? 6 : at >= ends[4] ? 5 : at >= ends[3] ? 4 : 3, n, *list;
        struct fl_journal_sum sum;
        CHECK_OK(fl_journal_committed(in_tmp("torn"), &list, &n, &sum, &err), err);
        free(list);
        CHECK_INT(n, want);
        CHECK_INT(size_of(in_tmp("torn/00000000.j")), at);            /* reading changes nothing */
        struct fl_journal *j = open_in("torn", 0);
        CHECK(j != NULL);
        CHECK_INT(fl_journal_sum(j).batches, want);
        CHECK_INT(fl_journal_sum(j).cut, at - ends[want - 1]);
        CHECK_INT(size_of(in_tmp("torn/00000000.j")), ends[want - 1]);
        for (uint64_t b = 0; b < want; b++)
            CHECK_STR(differs(j, b), "");
        if (at % 16 != 0) {                       /* going on is tried at some places only: it waits for the disk */
            fl_journal_close(j);
            continue;
        }
        CHECK_OK(append(j, 77, 0, &err), err);
        CHECK_OK(fl_journal_sync(j, &err), err);
        fl_journal_close(j);
        j = open_in("torn", 0);
        CHECK_INT(fl_journal_sum(j).batches, want + 1);
        CHECK_STR(differs(j, 77), "");
        fl_journal_close(j);
    }
    free(bytes);
}

/* Any byte of a record changed: that batch is not committed, all others are. */
FL_TEST(a_changed_byte_costs_its_batch_and_no_other)
{
    long ends[5];
    size_t len;
    uint8_t *bytes = build("whole", 5, ends, &len);
    CHECK(mkdir(in_tmp("bad"), 0777) == 0);
    for (long at = ends[0]; at < ends[4]; at++) {
        uint64_t hit = at < ends[1] ? 1 : at < ends[2] ? 2 : at < ends[3] ? 3 : 4;
        bytes[at] ^= (uint8_t)(1u << (at % 8));
        spill(in_tmp("bad/00000000.j"), bytes, len);
        bytes[at] ^= (uint8_t)(1u << (at % 8));
        struct fl_journal *j = NULL;
        struct fl_err err;
        CHECK_OK(fl_journal_open(in_tmp("bad"), &(struct fl_journal_conf){ .readonly = true }, &j, &err), err);
        CHECK_INT(fl_journal_sum(j).batches, 4);
        CHECK_INT(fl_journal_sum(j).damaged, hit < 4);
        CHECK_INT(fl_journal_sum(j).cut, hit == 4 ? ends[4] - ends[3] : 0);
        for (uint64_t b = 0; b < 5; b++)
            CHECK_STR(differs(j, b), b == hit ? "read" : "");
        fl_journal_close(j);
    }
    free(bytes);
}

FL_TEST(a_changed_segment_header_is_an_error)
{
    long ends[2];
    size_t len;
    struct fl_err err;
    uint8_t *bytes = build("whole", 2, ends, &len);
    CHECK(mkdir(in_tmp("bad"), 0777) == 0);
    for (size_t at = 0; at < 64; at++) {
        struct fl_journal *j = NULL;
        bytes[at] ^= 0x10;
        spill(in_tmp("bad/00000000.j"), bytes, len);
        bytes[at] ^= 0x10;
        CHECK_INT(fl_journal_open(in_tmp("bad"), &(struct fl_journal_conf){ .L = NL }, &j, &err), FL_E_INPUT);
        CHECK_HAS(err.text, "/bad/00000000.j: ");
        CHECK_INT(size_of(in_tmp("bad/00000000.j")), len);
    }
    free(bytes);
}

/* A crash between the making of a file and its first sync. */
FL_TEST(less_than_a_segment_header_is_an_empty_segment)
{
    uint8_t zeros[64] = { 0 };
    struct fl_err err;
    for (size_t n = 0; n <= 64; n++) {
        CHECK(mkdir(in_tmp("new"), 0777) == 0 || n > 0);
        spill(in_tmp("new/00000000.j"), n == 64 ? zeros : golden, n);
        struct fl_journal *j = open_in("new", 0);
        CHECK(j != NULL);
        CHECK_INT(fl_journal_sum(j).batches, 0);
        CHECK_OK(append(j, 1, 0, &err), err);
        CHECK_OK(fl_journal_sync(j, &err), err);
        fl_journal_close(j);
        j = open_in("new", 0);
        CHECK_STR(differs(j, 1), "");
        fl_journal_close(j);
    }
}

FL_TEST(segments_follow_each_other)
{
    struct fl_err err;
    char name[32];
    struct fl_journal *j = open_in("j", 1000);
    for (uint64_t b = 0; b < 40; b++)
        CHECK_OK(append(j, b, 0, &err), err);
    CHECK_OK(fl_journal_sync(j, &err), err);
    fl_journal_close(j);
    j = open_in("j", 1000);
    for (uint64_t b = 40; b < 60; b++)
        CHECK_OK(append(j, b, 0, &err), err);
    for (uint64_t b = 60; b-- > 0;)
        CHECK_STR(differs(j, b), "");
    CHECK_OK(fl_journal_sync(j, &err), err);
    fl_journal_close(j);
    int files = 0;
    for (;; files++) {
        snprintf(name, sizeof name, "j/%08d.j", files);
        long size = size_of(in_tmp(name));
        if (size < 0)
            break;
        CHECK(size > 64 && size <= 1000);
    }
    CHECK(files > 5);
    uint64_t *list, n;
    struct fl_journal_sum sum;
    CHECK_OK(fl_journal_committed(in_tmp("j"), &list, &n, &sum, &err), err);
    CHECK_INT(n, 60);
    for (uint64_t b = 0; b < n; b++)
        CHECK_INT(list[b], b);
    free(list);
    CHECK_INT(sum.tiles, 20 * (2 + 3 + 4));
    CHECK(unlink(in_tmp("j/00000002.j")) == 0);
    CHECK_INT(fl_journal_committed(in_tmp("j"), &list, &n, NULL, &err), FL_E_INPUT);
    CHECK_HAS(err.text, "00000002.j: segment is missing");
}

FL_TEST(damage_in_an_earlier_segment_is_passed_over)
{
    struct fl_err err;
    struct fl_journal *j = open_in("j", 1000);
    for (uint64_t b = 0; b < 40; b++)
        CHECK_OK(append(j, b, 0, &err), err);
    CHECK_OK(fl_journal_sync(j, &err), err);
    uint64_t all = fl_journal_sum(j).batches;
    fl_journal_close(j);
    long size = size_of(in_tmp("j/00000000.j"));
    CHECK(truncate(in_tmp("j/00000000.j"), size - 1) == 0);
    j = open_in("j", 1000);
    CHECK_INT(fl_journal_sum(j).batches, all - 1);
    CHECK_INT(fl_journal_sum(j).damaged, 1);
    CHECK_INT(size_of(in_tmp("j/00000000.j")), size - 1);
    fl_journal_close(j);
}

/* Who was killed may hold the lock until its last sync is done. */
FL_TEST(a_writer_that_dies_is_waited_for)
{
    struct fl_err err;
    struct fl_journal *j = open_in("j", 0), *k;
    CHECK_OK(append(j, 0, 0, &err), err);
    CHECK_OK(fl_journal_sync(j, &err), err);
    pid_t child = fork();                          /* shares the lock */
    if (child == 0) {
        usleep(300000);
        _exit(0);
    }
    fl_journal_close(j);
    k = open_in("j", 0);
    CHECK(k != NULL);
    CHECK_INT(fl_journal_sum(k).batches, 1);
    fl_journal_close(k);
    CHECK_INT(waitpid(child, NULL, 0), child);
}

FL_TEST(refusals_name_their_reason)
{
    struct fl_err err;
    struct fl_journal *j = open_in("j", 0), *k = NULL;
    CHECK_OK(append(j, 0, 0, &err), err);
    CHECK_OK(fl_journal_sync(j, &err), err);
    CHECK_INT(fl_journal_begin(j, 0, FL_JOURNAL_BATCHES, 0, 0, &err), FL_E_PROTO);
    CHECK_INT(fl_journal_open(in_tmp("j"), &(struct fl_journal_conf){ .L = NL }, &k, &err), FL_E_IO);
    CHECK_HAS(err.text, "another process writes");
    fl_journal_close(j);
    CHECK_INT(fl_journal_open(in_tmp("j"), &(struct fl_journal_conf){ .L = 17 }, &k, &err), FL_E_CONFIG);
    CHECK_HAS(err.text, "00000000.j: journal of 3 labels, want 17");
    CHECK_INT(fl_journal_open(in_tmp("j"), &(struct fl_journal_conf){ .L = 65 }, &k, &err), FL_E_CONFIG);
    CHECK_INT(fl_journal_open(in_tmp("j/00000000.j"), &(struct fl_journal_conf){ .L = NL }, &k, &err), FL_E_IO);
    CHECK_INT(fl_journal_open(in_tmp("no/j"), &(struct fl_journal_conf){ .L = NL }, &k, &err), FL_E_IO);
    uint64_t *list = NULL, n = 1;
    CHECK_OK(fl_journal_committed(in_tmp("nothing"), &list, &n, NULL, &err), err);
    CHECK(n == 0 && list == NULL);
}

/* A record that could not be finished leaves no trace, and the next one is whole. */
FL_TEST(an_unfinished_record_is_not_there)
{
    struct fl_err err;
    struct fl_journal *j = open_in("j", 0);
    CHECK_OK(append(j, 0, 0, &err), err);
    CHECK_OK(fl_journal_begin(j, 1, 1, 0, ALL, &err), err);
    CHECK_INT(fl_journal_add(j, &(struct fl_journal_tile){ .id = "x" }, &err), FL_E_BUG);
    CHECK_OK(fl_journal_sync(j, &err), err);
    CHECK_OK(append(j, 2, 0, &err), err);
    CHECK_OK(fl_journal_sync(j, &err), err);
    fl_journal_close(j);
    j = open_in("j", 0);
    CHECK_INT(fl_journal_sum(j).batches, 2);
    CHECK_INT(fl_journal_sum(j).damaged + fl_journal_sum(j).cut, 0);
    CHECK_STR(differs(j, 2), "");
    fl_journal_close(j);
}

FL_TEST(a_full_disk_is_an_error_and_loses_nothing_committed)
{
    struct rlimit old, few = { .rlim_cur = 1500 };
    struct fl_err err = { 0 };
    CHECK(getrlimit(RLIMIT_FSIZE, &old) == 0);
    few.rlim_max = old.rlim_max;
    void (*before)(int) = signal(SIGXFSZ, SIG_IGN);
    struct fl_journal *j = open_in("j", 0);
    CHECK(setrlimit(RLIMIT_FSIZE, &few) == 0);
    uint64_t b = 0, synced = 0;
    int rc = FL_OK;
    for (; rc == FL_OK && b < 1000; b++)
        if ((rc = append(j, b, 0, &err)) == FL_OK && (rc = fl_journal_sync(j, &err)) == FL_OK)
            synced = b + 1;
    int again = fl_journal_sync(j, &(struct fl_err){ 0 });
    setrlimit(RLIMIT_FSIZE, &old);
    signal(SIGXFSZ, before);
    fl_journal_close(j);
    CHECK_INT(rc, FL_E_IO);
    CHECK_INT(again, FL_E_IO);
    CHECK_HAS(err.text, "j/00000000.j: write: File too large");
    CHECK(synced > 3 && synced < 100);
    j = open_in("j", 0);
    CHECK_INT(fl_journal_sum(j).batches, synced);
    for (b = 0; b < synced; b++)
        CHECK_STR(differs(j, b), "");
    CHECK_OK(append(j, synced, 1, &err), err);
    CHECK_OK(fl_journal_sync(j, &err), err);
    fl_journal_close(j);
}

/* A writer killed at any moment: what it said was synced is there, and nothing that is there is torn. */
FL_TEST(a_killed_writer_keeps_what_it_acknowledged)
{
    struct fl_err err;
    uint64_t next = 0;
    CHECK(in_tmp("j") != NULL);                       /* the folder is of this process, not of the first child */
    for (int round = 0; round < 5; round++) {
        int said[2];
        CHECK(pipe(said) == 0);
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            struct fl_journal *j = open_in("j", 2000);
            for (uint64_t b = next; j != NULL && append(j, b, 0, &err) == FL_OK && append(j, b + 1, 0, &err) == FL_OK && fl_journal_sync(j, &err) == FL_OK; b += 2)
                if (write(said[1], &(uint64_t){ b + 2 }, sizeof b) != sizeof b)
                    break;
            _exit(1);
        }
        close(said[1]);
        uint64_t acked = next, got;
        for (int i = 0; i < 3 + round && read(said[0], &got, sizeof got) == sizeof got; i++)
            acked = got;
        kill(child, SIGKILL);
        while (read(said[0], &got, sizeof got) == sizeof got)
            acked = got;
        close(said[0]);
        CHECK(waitpid(child, NULL, 0) == child);
        CHECK(acked > next);
        struct fl_journal *j = open_in("j", 2000);
        CHECK(j != NULL);
        CHECK_INT(fl_journal_sum(j).damaged, 0);
        next = fl_journal_sum(j).batches;
        CHECK(next >= acked && next <= acked + 2);
        for (uint64_t b = 0; b < next; b++)
            CHECK_STR(differs(j, b), "");
        fl_journal_close(j);
    }
}

FL_TEST(long_texts_are_cut_to_their_limits)
{
    struct fl_err err;
    char id[100], reason[400];
    memset(id, 'i', sizeof id - 1);
    memset(reason, 'r', sizeof reason - 1);
    id[sizeof id - 1] = reason[sizeof reason - 1] = '\0';
    struct fl_journal *j = open_in("j", 0);
    struct fl_journal_rec rec = { 0 };
    struct fl_journal_tile t;
    CHECK_OK(fl_journal_begin(j, 1, 1, 0, 0, &err), err);
    CHECK_OK(fl_journal_add(j, &(struct fl_journal_tile){ .id = id, .status = FL_E_NUM, .reason = reason }, &err), err);
    CHECK_OK(fl_journal_add(j, &(struct fl_journal_tile){ .id = "", .status = FL_E_NUM }, &err), err);
    CHECK_OK(fl_journal_end(j, &err), err);
    CHECK_OK(fl_journal_read(j, 1, &rec, &err), err);
    CHECK_OK(fl_journal_next(&rec, &t, &err), err);
    CHECK_INT(strlen(t.id), 63);
    CHECK_INT(strlen(t.reason), 191);
    CHECK_OK(fl_journal_next(&rec, &t, &err), err);
    CHECK_STR(t.id, "");
    CHECK_STR(t.reason, "");
    CHECK_INT(fl_journal_next(&rec, &t, &err), FL_END);
    fl_journal_rec_done(&rec);
    fl_journal_close(j);
}

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = {
        CASE(the_bytes_are_as_documented),
        CASE(reads_back_before_and_after_a_sync_and_after_reopening),
        CASE(a_batch_is_kept_once),
        CASE(a_torn_end_is_cut_off_wherever_it_tears),
        CASE(a_changed_byte_costs_its_batch_and_no_other),
        CASE(a_changed_segment_header_is_an_error),
        CASE(less_than_a_segment_header_is_an_empty_segment),
        CASE(segments_follow_each_other),
        CASE(damage_in_an_earlier_segment_is_passed_over),
        CASE(a_writer_that_dies_is_waited_for),
        CASE(refusals_name_their_reason),
        CASE(an_unfinished_record_is_not_there),
        CASE(a_full_disk_is_an_error_and_loses_nothing_committed),
        CASE(a_killed_writer_keeps_what_it_acknowledged),
        CASE(long_texts_are_cut_to_their_limits),
        { 0 }
    };
    return fl_run(cases, argc, argv);
}
