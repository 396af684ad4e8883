/* Plain loops over the same files, one process, nothing of flowrun: what the decode stage is measured against.
 *
 *     floor jpeg LIST N [TILES]      pread into a reused buffer, tjDecompress2 to RGB
 *     floor tiffopen LIST N [TILES]  TIFFOpen, every strip, TIFFClose
 *     floor tiffmem LIST N [TILES]   pread into a reused buffer, the same through TIFFClientOpen over memory
 *
 * TILES: the pixels of so many tiles are kept, in turn; 1 (the default) leaves them in the cache, 64 makes batches as the stage does. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <tiffio.h>
#include <turbojpeg.h>
#include <unistd.h>

#define SIDE 256u

static unsigned char *floor_file;
static size_t floor_len, floor_room;
static unsigned char *floor_pixels;          /* of the tile in work */
static tjhandle floor_tj;

static void floor_die(const char *what, const char *path)
{
    fprintf(stderr, "floor: %s: %s\n", path, what);
    exit(1);
}

static void floor_read(const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0)
        floor_die("can't be opened", path);
    floor_len = (size_t)st.st_size;
    if (floor_len > floor_room) {
        free(floor_file);
        floor_room = 2 * floor_len;
        floor_file = malloc(floor_room);
        if (floor_file == NULL)
            floor_die("no memory", path);
    }
    if (pread(fd, floor_file, floor_len, 0) != (ssize_t)floor_len)
        floor_die("can't be read", path);
    close(fd);
}

static void floor_jpeg(const char *path)
{
    floor_read(path);
    if (tjDecompress2(floor_tj, floor_file, floor_len, floor_pixels, SIDE, 0, SIDE, TJPF_RGB, 0) != 0)
        floor_die(tjGetErrorStr2(floor_tj), path);
}

static void floor_strips(TIFF *t, const char *path)
{
    tmsize_t at = 0, all = (tmsize_t)SIDE * SIDE * 8;
    if (t == NULL)
        floor_die("no TIFF", path);
    for (uint32_t i = 0, n = TIFFNumberOfStrips(t); i < n; i++) {
        tmsize_t got = TIFFReadEncodedStrip(t, i, floor_pixels + at, all - at);
        if (got < 0)
            floor_die("a strip can't be read", path);
        at += got;
    }
    TIFFClose(t);
    if (at != all)
        floor_die("pixels are missing", path);
}

static void floor_tiffopen(const char *path)
{
    floor_strips(TIFFOpen(path, "r"), path);
}

static tmsize_t mem_read(thandle_t h, void *buf, tmsize_t n)
{
    toff_t *pos = h;
    tmsize_t left = (tmsize_t)(floor_len - *pos), take = n < left ? n : left;
    memcpy(buf, floor_file + *pos, (size_t)take);
    *pos += (toff_t)take;
    return take;
}

static tmsize_t mem_write(thandle_t h, void *buf, tmsize_t n) { (void)h; (void)buf; (void)n; return -1; }

static toff_t mem_seek(thandle_t h, toff_t off, int whence)
{
    toff_t *pos = h, to = off + (whence == SEEK_CUR ? *pos : whence == SEEK_END ? floor_len : 0);
    return *pos = to < floor_len ? to : floor_len;
}

static int mem_close(thandle_t h) { (void)h; return 0; }
static toff_t mem_size(thandle_t h) { (void)h; return floor_len; }
static int mem_map(thandle_t h, void **base, toff_t *size) { (void)h; *base = floor_file; *size = floor_len; return 1; }
static void mem_unmap(thandle_t h, void *base, toff_t size) { (void)h; (void)base; (void)size; }

static void floor_tiffmem(const char *path)
{
    toff_t pos = 0;
    floor_read(path);
    floor_strips(TIFFClientOpen(path, "rc", &pos, mem_read, mem_write, mem_seek, mem_close, mem_size, mem_map, mem_unmap), path);
}

int main(int argc, char **argv)
{
    static const struct { const char *name; void (*tile)(const char *); } kinds[] = {
        { "jpeg", floor_jpeg }, { "tiffopen", floor_tiffopen }, { "tiffmem", floor_tiffmem },
    };
    FILE *list = argc >= 4 ? fopen(argv[2], "re") : NULL;
    long n = argc >= 4 ? strtol(argv[3], NULL, 10) : 0, kept = argc == 5 ? strtol(argv[4], NULL, 10) : 1;
    size_t bytes = argc >= 4 && strcmp(argv[1], "jpeg") == 0 ? SIDE * SIDE * 3 : SIDE * SIDE * 8;
    unsigned char *pixels = kept > 0 && kept <= 4096 ? malloc((size_t)kept * bytes) : NULL;
    floor_tj = tjInitDecompress();
    if (list == NULL || pixels == NULL || floor_tj == NULL) {
        fprintf(stderr, "usage: floor jpeg|tiffopen|tiffmem LIST N [TILES]\n");
        free(pixels);
        return 2;
    }
    TIFFSetWarningHandler(NULL);
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        char path[4096];
        for (long i = 0; strcmp(argv[1], kinds[k].name) == 0 && i < n && fgets(path, sizeof path, list) != NULL; i++) {
            path[strcspn(path, "\n")] = '\0';
            floor_pixels = pixels + (size_t)(i % kept) * bytes;
            kinds[k].tile(path);
        }
    }
    tjDestroy(floor_tj);
    free(floor_file);
    free(pixels);
    fclose(list);
    return 0;
}
