/* A plain loop from JPEGs to augmented f32 planes, one process, nothing of flowrun: what augment is measured against.
 *
 *     floor_augment LIST N TILES PROCESSES
 *
 * pread, tjDecompress2, a symmetry and a rotation by up to 45 degrees with a scale of .9 to 1.1, one bilinear sampling in fixed point out of a tile
 * whose border is mirrored (reflect-101), contrast about the mean of the view, clipped, normalised, planes of 224 x 224. Compiled with -march=native.
 * TILES: the planes of so many tiles are kept, in turn. PROCESSES share the list. */
#include <fcntl.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <turbojpeg.h>
#include <unistd.h>

#define SIDE 256
#define SIZE 224
#define EDGE 64                        /* mirrored on each side: the farthest corner of a view lies 49 pixels outside */
#define WIDE (SIDE + 2 * EDGE)

static uint8_t  file[1 << 20], rgb[SIDE * SIDE * 3];
static uint32_t padded[WIDE * WIDE];
static uint8_t  warped[3][SIZE * SIZE];
static uint32_t state = 12345;

static double unit(void)
{
    state = state * 1664525u + 1013904223u;
    return (state >> 8) * 0x1p-24;
}

static void pad(void)
{
    for (int y = 0; y < WIDE; y++) {
        int sy = abs(y - EDGE);
        sy = sy < SIDE ? sy : 2 * (SIDE - 1) - sy;
        const uint8_t *row = rgb + (size_t)sy * SIDE * 3;
        uint32_t *to = padded + (size_t)y * WIDE;
        for (int x = 0; x < SIDE; x++)
            to[EDGE + x] = (uint32_t)row[3 * x] | (uint32_t)row[3 * x + 1] << 8 | (uint32_t)row[3 * x + 2] << 16;
        for (int x = 1; x <= EDGE; x++) {
            to[EDGE - x] = to[EDGE + x];
            to[EDGE + SIDE - 1 + x] = to[EDGE + SIDE - 1 - x];
        }
    }
}

/* Sums of the three planes. */
static void warp(const double m[6], uint64_t sum[3])
{
    const int32_t ax = (int32_t)lrint(m[0] * 65536), ay = (int32_t)lrint(m[3] * 65536);
    uint32_t sr = 0, sg = 0, sb = 0;
    for (int y = 0; y < SIZE; y++) {
        const int32_t x0 = (int32_t)lrint((m[1] * y + m[2] + EDGE) * 65536), y0 = (int32_t)lrint((m[4] * y + m[5] + EDGE) * 65536);
        uint8_t *restrict r = warped[0] + y * SIZE, *restrict g = warped[1] + y * SIZE, *restrict b = warped[2] + y * SIZE;
        for (int x = 0; x < SIZE; x++) {
            int32_t fx = x0 + x * ax, fy = y0 + x * ay, at = (fy >> 16) * WIDE + (fx >> 16);
            uint32_t u = (uint32_t)fx >> 8 & 255, v = (uint32_t)fy >> 8 & 255;
            uint32_t p = padded[at], q = padded[at + 1], s = padded[at + WIDE], t = padded[at + WIDE + 1];
            uint32_t w00 = (256 - u) * (256 - v), w01 = u * (256 - v), w10 = (256 - u) * v, w11 = u * v;
            uint32_t vr = ((p & 255) * w00 + (q & 255) * w01 + (s & 255) * w10 + (t & 255) * w11 + 32768) >> 16;
            uint32_t vg = ((p >> 8 & 255) * w00 + (q >> 8 & 255) * w01 + (s >> 8 & 255) * w10 + (t >> 8 & 255) * w11 + 32768) >> 16;
            uint32_t vb = ((p >> 16 & 255) * w00 + (q >> 16 & 255) * w01 + (s >> 16 & 255) * w10 + (t >> 16 & 255) * w11 + 32768) >> 16;
            r[x] = (uint8_t)vr;
            g[x] = (uint8_t)vg;
            b[x] = (uint8_t)vb;
            sr += vr;
            sg += vg;
            sb += vb;
        }
    }
    sum[0] = sr;
    sum[1] = sg;
    sum[2] = sb;
}

/* One symmetry of the square, then a turn and a scale about its centre, the centre of the result cut out. */
static void matrix(double m[6])
{
    int g = (int)(8 * unit());
    double th = (unit() * 90 - 45) * (3.14159265358979323846 / 180), s = .9 + .2 * unit(), c = (SIDE - 1) / 2.0;
    double a = cos(th) / s, b = -sin(th) / s, d = sin(th) / s, e = cos(th) / s, cut = (SIDE - SIZE) / 2.0 - c;
    double k[6] = { a, b, c + a * cut + b * cut, d, e, c + d * cut + e * cut };
    for (int i = 0; i < 3; i++) {
        double x = g & 1 ? (i == 2 ? SIDE - 1 - k[i] : -k[i]) : k[i], y = g & 2 ? (i == 2 ? SIDE - 1 - k[3 + i] : -k[3 + i]) : k[3 + i];
        m[i] = g & 4 ? y : x;
        m[3 + i] = g & 4 ? x : y;
    }
}

static void finish(const uint64_t sum[3], float *out)
{
    static const float mean[3] = { .485f, .456f, .406f }, std[3] = { .229f, .224f, .225f };
    const double n = SIZE * SIZE, al = .8 + .4 * unit(), grey = (.299 * (double)sum[0] + .587 * (double)sum[1] + .114 * (double)sum[2]) / n;
    const int32_t mul = (int32_t)lrint(al * 65536), add = (int32_t)lrint((1 - al) * grey * 65536);
    for (int c = 0; c < 3; c++) {
        const float scale = 1 / (255 * 65536.0f * std[c]), shift = -mean[c] / std[c];
        for (int i = 0; i < SIZE * SIZE; i++) {
            int32_t v = warped[c][i] * mul + add;
            v = v < 0 ? 0 : v > 255 << 16 ? 255 << 16 : v;
            out[c * SIZE * SIZE + i] = (float)v * scale + shift;
        }
    }
}

static int one(tjhandle tj, const char *path, float *out)
{
    struct stat st;
    double m[6];
    uint64_t sum[3];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0 || (size_t)st.st_size > sizeof file || pread(fd, file, (size_t)st.st_size, 0) != st.st_size)
        return 1;
    close(fd);
    if (tjDecompress2(tj, file, (unsigned long)st.st_size, rgb, SIDE, 0, SIDE, TJPF_RGB, 0) != 0)
        return 1;
    pad();
    matrix(m);
    warp(m, sum);
    finish(sum, out);
    return 0;
}

static int all(FILE *list, long n, long kept, long part, long parts)
{
    char path[4096];
    tjhandle tj = tjInitDecompress();
    float *out = malloc((size_t)kept * 3 * SIZE * SIZE * sizeof *out);
    int rc = tj == NULL || out == NULL;
    for (long i = 0, mine = 0; rc == 0 && i < n && fgets(path, sizeof path, list) != NULL; i++) {
        path[strcspn(path, "\n")] = '\0';
        if (i / kept % parts == part)
            rc = one(tj, path, out + (size_t)(mine++ % kept) * 3 * SIZE * SIZE);
    }
    free(out);
    return rc;
}

int main(int argc, char **argv)
{
    long n = argc == 5 ? strtol(argv[2], NULL, 10) : 0, kept = argc == 5 ? strtol(argv[3], NULL, 10) : 0, parts = argc == 5 ? strtol(argv[4], NULL, 10) : 0;
    if (n <= 0 || kept <= 0 || kept > 4096 || parts <= 0 || parts > 64) {
        fprintf(stderr, "usage: floor_augment LIST N TILES PROCESSES\n");
        return 2;
    }
    int bad = 0;
    for (long p = 0; p < parts; p++)
        if (fork() == 0) {
            FILE *list = fopen(argv[1], "re");
            _exit(list == NULL || all(list, n, kept, p, parts) != 0);
        }
    for (int status; wait(&status) > 0; )
        bad |= status != 0;
    return bad;
}
