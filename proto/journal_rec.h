/* Bytes of the journal: segment headers, record headers, tiles. Of proto/journal.c; the layout is in proto/journal.h. */
#ifndef FL_PROTO_JOURNAL_REC_H
#define FL_PROTO_JOURNAL_REC_H

#include "proto/journal.h"

#define FL_JSEG_SIZE   64u
#define FL_JHEAD_SIZE  36u
#define FL_JTAIL_SIZE  4u
#define FL_JLENGTH_MAX (UINT32_C(1) << 28)        /* of a payload */
#define FL_JTILE_MAX   (8u + 1 + FL_ID_SIZE + 1 + 1 + FL_REASON_SIZE + 4 * FL_JOURNAL_LABELS + 8 + 8 + 8)
#define FL_JMAGIC      "FLJR"

struct fl_jseg  { uint64_t run; uint32_t L, number; };
struct fl_jhead { uint32_t length; uint64_t batch; uint32_t attempt, n, rejected, columns, crc; };

void fl_jseg_put(uint8_t out[FL_JSEG_SIZE], const struct fl_jseg *);
/* FL_E_INPUT without file name: what is wrong with the header. */
int  fl_jseg_get(const uint8_t in[FL_JSEG_SIZE], struct fl_jseg *, struct fl_err *err);

/* Sets h->crc. */
void fl_jhead_put(uint8_t out[FL_JHEAD_SIZE], struct fl_jhead *h);
/* False when these bytes are no record header. */
bool fl_jhead_get(const uint8_t in[FL_JHEAD_SIZE], struct fl_jhead *);
/* CRC that stands behind the payload. */
uint32_t fl_jhead_payload_crc(const struct fl_jhead *, const uint8_t *payload);

/* Writes at most FL_JTILE_MAX bytes, returns how many. */
size_t fl_jtile_put(uint8_t *out, const struct fl_journal_tile *, uint32_t columns, uint32_t L);

void     fl_put_u32(uint8_t *out, uint32_t v);
uint32_t fl_get_u32(const uint8_t *in);

#endif
