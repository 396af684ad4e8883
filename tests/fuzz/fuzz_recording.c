/* Fuzz target: any bytes as a segment of a recording, as they are and with all checksums put right. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/crc32c.h"
#include "proto/journal_rec.h"
#include "proto/recording_own.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char fuzz_file[96];

static void fuzz_clean(void)
{
    unlink(fuzz_file);
}

static void fuzz_start(void)
{
    snprintf(fuzz_file, sizeof fuzz_file, "%s/fuzz-recording-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    int fd = mkstemp(fuzz_file);
    if (fd < 0)
        abort();
    close(fd);
    atexit(fuzz_clean);
}

static void fuzz_read(const uint8_t *data, size_t size)
{
    struct fl_rec *r;
    struct fl_rec_batch b = { 0 };
    uint64_t *records, n;
    struct fl_err err;
    FILE *f = fopen(fuzz_file, "wb");
    if (f == NULL || fwrite(data, 1, size, f) != size || fclose(f) != 0)
        abort();
    if (fl_rec_open(fuzz_file, &r, &err) != FL_OK)
        return;
    if (fl_rec_batches(r, &records, &n, &err) != FL_OK || n > fl_rec_count(r))
        abort();
    free(records);
    for (uint64_t i = 0; i < fl_rec_count(r); i++) {
        uint64_t sum = 0;
        if (fl_rec_read(r, i, &b, &err) != FL_OK)
            continue;
        for (uint32_t k = 0; k < b.b.ntensors; k++)           /* every byte of it is there to be read */
            for (uint64_t at = 0; at < b.b.t[k].bytes; at++)
                sum += ((const uint8_t *)b.b.t[k].data)[at];
        if (sum == 1 && b.b.batch != fl_rec_at(r, i)->batch)
            abort();
    }
    fl_rec_batch_done(&b);
    fl_rec_close(r);
}

/* The checksum of a record's head, and of its tensors where they lie within the bytes. */
static void fuzz_right_record(uint8_t *p, size_t left)
{
    struct fl_rhead h;
    if (!fl_rhead_get(p, &h) || fl_rhead_size(&h) > left)
        return;
    uint8_t *e = p + FL_RHEAD_SIZE + h.hlen;
    uint64_t at = fl_ralign(fl_rhead_size(&h));
    for (uint32_t i = 0; i < h.ntensors; i++, e += FL_RTENSOR) {
        uint64_t stored = fl_get_u32(e) | (uint64_t)fl_get_u32(e + 4) << 32;
        if (at > left || stored > left - at)
            break;
        fl_put_u32(e + 12, fl_crc32c(0, p + at, stored));
        at += fl_ralign(stored);
    }
    fl_put_u32(p + 36, fl_crc32c(fl_crc32c(0, p, 36), p + FL_RHEAD_SIZE, fl_rhead_size(&h) - FL_RHEAD_SIZE));
}

static void fuzz_right(uint8_t *p, size_t size)
{
    struct fl_rseg s;
    if (size < FL_RSEG_SIZE || fl_rseg_get(p, &s, NULL) != FL_OK || s.size > size)
        return;
    fl_put_u32(p + 124, fl_crc32c(fl_crc32c(0, p, 124), p + FL_RSEG_SIZE, s.text));
    for (size_t at = s.size; at + FL_RHEAD_SIZE <= size; at += FL_ALIGN)
        fuzz_right_record(p + at, size - at);
    if (size < FL_RTAIL)
        return;
    uint8_t *tail = p + size - FL_RTAIL;
    uint64_t off = fl_get_u32(tail + 8) | (uint64_t)fl_get_u32(tail + 12) << 32;
    if (off < size - FL_RTAIL)
        fl_put_u32(tail + 20, fl_crc32c(0, p + off, size - FL_RTAIL - off));
    fl_put_u32(tail + 28, fl_crc32c(0, tail, 28));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (fuzz_file[0] == '\0')
        fuzz_start();
    fuzz_read(data, size);
    uint8_t *copy = malloc(size + 1);
    if (copy == NULL)
        abort();
    if (size > 0)
        memcpy(copy, data, size);
    fuzz_right(copy, size);
    fuzz_read(copy, size);
    free(copy);
    return 0;
}
