/* Bytes of a recording: heads of segments and records, the index. Of proto/recording_*.c; the layout is in proto/recording.h. */
#ifndef FL_PROTO_RECORDING_OWN_H
#define FL_PROTO_RECORDING_OWN_H

#include "proto/recording.h"

#define FL_RSEG_SIZE   128u
#define FL_RHEAD_SIZE  40u
#define FL_RTENSOR     16u               /* an entry of a record's table */
#define FL_RINDEX_HEAD 64u
#define FL_RINDEX      32u               /* an entry of the index */
#define FL_RTAIL       32u
#define FL_RHEAD_MAX   (FL_RHEAD_SIZE + FL_FRAME_MAX + FL_MAX_TENSORS * FL_RTENSOR)
#define FL_RCODECS     2u

enum { FL_RCODEC_PLAIN, FL_RCODEC_ZSTD };

struct fl_rseg  { uint64_t run; uint32_t size, number, B, text; char edge[FL_NAME_MAX]; };
struct fl_rhead { uint32_t hlen, ntensors, crc; uint64_t bytes, time; };
struct fl_rtensor { uint64_t stored; uint32_t codec, crc; };

uint64_t fl_ralign(uint64_t n);                                        /* up to a multiple of 64; n is below 2^63 */

uint32_t fl_rseg_size(uint32_t text);                                  /* bytes up to the first record */
/* Writes the whole head with its text: fl_rseg_size(s->text) bytes. */
void fl_rseg_put(uint8_t *out, const struct fl_rseg *, const char *text);
/* The first FL_RSEG_SIZE bytes; the CRC is proven by fl_rseg_prove once the text is there. FL_E_INPUT without file name. */
int  fl_rseg_get(const uint8_t in[FL_RSEG_SIZE], struct fl_rseg *, struct fl_err *);
bool fl_rseg_prove(const uint8_t *head, const struct fl_rseg *);

/* Head, wire header and table: `out` holds FL_RHEAD_SIZE bytes, the wire header of h->hlen bytes is there already behind them. */
size_t fl_rhead_put(uint8_t *out, const struct fl_rhead *, const struct fl_rtensor *);
/* False when these FL_RHEAD_SIZE bytes can't begin a record. */
bool fl_rhead_get(const uint8_t in[FL_RHEAD_SIZE], struct fl_rhead *);
size_t fl_rhead_size(const struct fl_rhead *);                         /* with wire header and table */
/* `in`: fl_rhead_size bytes. False unless CRC, sizes and the table agree; fills the table. */
bool fl_rhead_prove(const uint8_t *in, const struct fl_rhead *, struct fl_rtensor table[FL_MAX_TENSORS]);

void fl_rindex_put(uint8_t out[FL_RINDEX], const struct fl_rec_entry *);
void fl_rindex_get(const uint8_t in[FL_RINDEX], struct fl_rec_entry *);
void fl_rindex_head(uint8_t out[FL_RINDEX_HEAD], uint32_t entries);
void fl_rtail_put(uint8_t out[FL_RTAIL], uint64_t off, uint32_t entries, uint32_t crc);
bool fl_rtail_get(const uint8_t in[FL_RTAIL], uint64_t *off, uint32_t *entries, uint32_t *crc);

/* recording_open.c */
struct fl_rec_segment { char *path; int fd; uint64_t size; uint32_t number; };
struct fl_rec_key { uint64_t batch, record; };
struct fl_rec {
    struct fl_rec_info info;
    char    *text;
    struct fl_rec_segment *files; uint32_t nfiles;
    struct fl_rec_entry *entries; uint64_t nentries, cap;
    struct fl_rec_key *keys;             /* of all entries, by batch, then in the order they were written */
};
/* recording_scan.c: adds the records of a file, by its index or by walking. */
int  fl_rscan(struct fl_rec *, uint32_t file, uint64_t first, struct fl_err *);
/* Names of the segments of an edge: highest number + 1, and how many bytes they have; *numbers malloc'd, ascending, or NULL. */
int  fl_rec_segments(const char *dir, const char *edge, uint32_t **numbers, uint32_t *n, struct fl_err *);

#endif
