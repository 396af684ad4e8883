/* Fuzz target: any bytes as a segment of a journal, and as the payload of a record whose checksums are right. */
#include "proto/journal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char fuzz_dir[64], fuzz_file[96];

static void fuzz_clean(void)
{
    unlink(fuzz_file);
    rmdir(fuzz_dir);
}

static void fuzz_start(void)
{
    snprintf(fuzz_dir, sizeof fuzz_dir, "%s/fuzz-journal-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (mkdtemp(fuzz_dir) == NULL)
        abort();
    snprintf(fuzz_file, sizeof fuzz_file, "%s/00000000.j", fuzz_dir);
    atexit(fuzz_clean);
}

/* Reads every batch as far as it goes; the number of batches. */
static uint64_t fuzz_read(struct fl_journal *j)
{
    struct fl_journal_rec rec = { 0 };
    struct fl_journal_tile t;
    struct fl_err err;
    uint64_t n = 0;
    for (uint64_t b = fl_journal_after(j, 0); b != FL_JOURNAL_NONE; b = fl_journal_after(j, b + 1), n++) {
        if (fl_journal_read(j, b, &rec, &err) != FL_OK)
            abort();                              /* it was proven a moment ago */
        while (fl_journal_next(&rec, &t, &err) == FL_OK)
            if (strlen(t.id) >= FL_ID_SIZE || strlen(t.reason) >= FL_REASON_SIZE)
                abort();
    }
    fl_journal_rec_done(&rec);
    return n;
}

static uint64_t fuzz_open(struct fl_journal **j)
{
    struct fl_err err;
    if (fl_journal_open(fuzz_dir, &(struct fl_journal_conf){ .L = 3 }, j, &err) != FL_OK) {
        *j = NULL;
        return 0;
    }
    uint64_t n = fuzz_read(*j);
    if (n != fl_journal_sum(*j).batches)
        abort();
    return n;
}

/* What opening leaves must open again with the same batches, and take one more. */
static void fuzz_segment(const uint8_t *data, size_t size)
{
    struct fl_journal *j;
    struct fl_err err;
    FILE *f = fopen(fuzz_file, "wb");
    if (f == NULL || fwrite(data, 1, size, f) != size || fclose(f) != 0)
        abort();
    uint64_t n = fuzz_open(&j);
    if (j == NULL)
        return;
    bool more = fl_journal_begin(j, 1, 12345, 0, 0, &err) == FL_OK;
    if (more && (fl_journal_add(j, &(struct fl_journal_tile){ .id = "x" }, &err) != FL_OK || fl_journal_end(j, &err) != FL_OK))
        abort();
    if (fl_journal_sync(j, &err) != FL_OK)
        abort();
    fl_journal_close(j);
    if (fuzz_open(&j) != n + more || fl_journal_sum(j).cut != 0)
        abort();
    fl_journal_close(j);
}

static void fuzz_payload(const uint8_t *data, size_t size)
{
    if (size < 4)
        return;
    struct fl_journal_rec rec = { .n = data[0], .rejected = data[1], .columns = data[2] & 15, .L = data[3] % 65 };
    struct fl_journal_tile t;
    struct fl_err err;
    rec.p = data + 4;
    rec.end = data + size;
    uint32_t n = 0;
    int rc;
    while ((rc = fl_journal_next(&rec, &t, &err)) == FL_OK)
        n++;
    if (rc == FL_END && n != rec.n)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (fuzz_dir[0] == '\0')
        fuzz_start();
    fuzz_segment(data, size);
    fuzz_payload(data, size);
    return 0;
}
