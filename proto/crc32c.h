/* CRC-32C (Castagnoli), the checksum of whatever lies on disk. */
#ifndef FL_PROTO_CRC32C_H
#define FL_PROTO_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* CRC of the bytes, going on from `crc`, which is 0 at first: the CRC of a text in pieces is that of the whole. */
uint32_t fl_crc32c(uint32_t crc, const void *bytes, size_t len);

/* The same by table alone, for processors without the instruction. */
uint32_t fl_crc32c_table(uint32_t crc, const void *bytes, size_t len);

#endif
