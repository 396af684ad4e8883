/* SHA-256 (FIPS 180-4) of bytes and files: by the processor's instructions where it has them, in plain C elsewhere. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

#include "runtime/model.h"
#include "runtime/text.h"

#define SHA256_CHUNK (1u << 20)     /* a multiple of the 64-byte block */

typedef void sha256_fn(uint32_t state[8], const unsigned char *block, size_t blocks);

static const uint32_t sha256_start[8] = {
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
};

static const uint32_t sha256_k[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t sha256_ror(uint32_t x, int n)
{
    return x >> n | x << (32 - n);
}

static uint32_t sha256_be32(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void sha256_schedule(uint32_t w[64], const unsigned char *block)
{
    for (int i = 0; i < 16; i++)
        w[i] = sha256_be32(block + 4 * i);
    for (int i = 16; i < 64; i++) {
        uint32_t a = w[i - 15], b = w[i - 2];
        w[i] = w[i - 16] + w[i - 7] + (sha256_ror(a, 7) ^ sha256_ror(a, 18) ^ a >> 3)
             + (sha256_ror(b, 17) ^ sha256_ror(b, 19) ^ b >> 10);
    }
}

static void sha256_blocks_plain(uint32_t state[8], const unsigned char *block, size_t blocks)
{
    for (; blocks > 0; blocks--, block += 64) {
        uint32_t w[64], s[8];
        sha256_schedule(w, block);
        memcpy(s, state, sizeof s);
        for (int i = 0; i < 64; i++) {
            uint32_t e = s[4], a = s[0];
            uint32_t t1 = s[7] + (sha256_ror(e, 6) ^ sha256_ror(e, 11) ^ sha256_ror(e, 25)) + ((e & s[5]) ^ (~e & s[6]))
                        + sha256_k[i] + w[i];
            uint32_t t2 = (sha256_ror(a, 2) ^ sha256_ror(a, 13) ^ sha256_ror(a, 22)) + ((a & s[1]) ^ (a & s[2]) ^ (s[1] & s[2]));
            memmove(s + 1, s, 7 * sizeof s[0]);
            s[4] += t1;
            s[0] = t1 + t2;
        }
        for (int i = 0; i < 8; i++)
            state[i] += s[i];
    }
}

#ifdef __x86_64__
/* The instructions keep the state as ABEF and CDGH, four rounds a turn, and make w[16..63] from the four words before. */
__attribute__((target("sha,sse4.1,ssse3")))
static void sha256_blocks_ni(uint32_t state[8], const unsigned char *block, size_t blocks)
{
    const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL);
    __m128i lo = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)state), 0xB1);
    __m128i hi = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(state + 4)), 0x1B);
    __m128i abef = _mm_alignr_epi8(lo, hi, 8), cdgh = _mm_blend_epi16(hi, lo, 0xF0);
    for (; blocks > 0; blocks--, block += 64) {
        __m128i m[4], old_abef = abef, old_cdgh = cdgh;
        for (int i = 0; i < 16; i++) {
            __m128i *now = &m[i & 3];
            if (i < 4) {
                *now = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(block + 16 * i)), swap);
            } else {
                __m128i last = m[(i + 3) & 3], mid = _mm_alignr_epi8(last, m[(i + 2) & 3], 4);
                *now = _mm_sha256msg2_epu32(_mm_add_epi32(_mm_sha256msg1_epu32(*now, m[(i + 1) & 3]), mid), last);
            }
            __m128i wk = _mm_add_epi32(*now, _mm_loadu_si128((const __m128i *)(sha256_k + 4 * i)));
            cdgh = _mm_sha256rnds2_epu32(cdgh, abef, wk);
            abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(wk, 0x0E));
        }
        abef = _mm_add_epi32(abef, old_abef);
        cdgh = _mm_add_epi32(cdgh, old_cdgh);
    }
    lo = _mm_shuffle_epi32(abef, 0x1B);
    hi = _mm_shuffle_epi32(cdgh, 0xB1);
    _mm_storeu_si128((__m128i *)state, _mm_blend_epi16(lo, hi, 0xF0));
    _mm_storeu_si128((__m128i *)(state + 4), _mm_alignr_epi8(hi, lo, 8));
}

static sha256_fn *sha256_best(void)
{
    /* No name for SHA in the compiler's list of processors' features: leaf 7, EBX bit 29. */
    unsigned a = 7, b = 0, c = 0, d;
    if (!__builtin_cpu_supports("sse4.1") || !__builtin_cpu_supports("ssse3"))
        return sha256_blocks_plain;
    __asm__("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    return b >> 29 & 1 ? sha256_blocks_ni : sha256_blocks_plain;
}
#else
static sha256_fn *sha256_best(void)
{
    return sha256_blocks_plain;
}
#endif

/* The rest of the message with its padding: one bit, zeros, the length in bits. */
static void sha256_end(sha256_fn *blocks, uint32_t state[8], const unsigned char *rest, size_t n, uint64_t total, char hex[65])
{
    unsigned char last[128] = { 0 };
    size_t size = n < 56 ? 64 : 128;
    if (n > 0)
        memcpy(last, rest, n);
    last[n] = 0x80;
    for (int i = 0; i < 8; i++)
        last[size - 1 - (size_t)i] = (unsigned char)(total * 8 >> 8 * i);
    blocks(state, last, size / 64);
    for (int i = 0; i < 64; i++)
        hex[i] = "0123456789abcdef"[state[i / 8] >> (28 - 4 * (i % 8)) & 15];
    hex[64] = '\0';
}

static void sha256_bytes(sha256_fn *blocks, const void *bytes, size_t len, char hex[65])
{
    uint32_t state[8];
    const unsigned char *p = bytes;
    memcpy(state, sha256_start, sizeof state);
    blocks(state, p, len / 64);
    sha256_end(blocks, state, len > 0 ? p + (len & ~(size_t)63) : NULL, len & 63, len, hex);
}

void fl_sha256(const void *bytes, size_t len, char hex[65])
{
    sha256_bytes(sha256_best(), bytes, len, hex);
}

void fl_sha256_plain(const void *bytes, size_t len, char hex[65])
{
    sha256_bytes(sha256_blocks_plain, bytes, len, hex);
}

static int sha256_fd(int fd, const char *path, unsigned char *buf, char hex[65], struct fl_err *err)
{
    sha256_fn *blocks = sha256_best();
    uint32_t state[8];
    memcpy(state, sha256_start, sizeof state);
    for (uint64_t total = 0;;) {
        ssize_t n = fl_read_fill(fd, buf, SHA256_CHUNK);
        if (n < 0)
            return fl_err_set(err, FL_E_INPUT, "%s: %s", path, strerror(errno));
        total += (uint64_t)n;
        size_t whole = (size_t)n & ~(size_t)63;
        blocks(state, buf, whole / 64);
        if ((size_t)n < SHA256_CHUNK) {
            sha256_end(blocks, state, buf + whole, (size_t)n - whole, total, hex);
            return FL_OK;
        }
    }
}

int fl_sha256_file(const char *path, char hex[65], struct fl_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return fl_err_set(err, FL_E_INPUT, "%s: %s", path, strerror(errno));
    unsigned char *buf = malloc(SHA256_CHUNK);
    int code = buf == NULL ? fl_err_set(err, FL_E_NOMEM, "%s: no memory to read it", path) : sha256_fd(fd, path, buf, hex, err);
    free(buf);
    close(fd);
    return code;
}
