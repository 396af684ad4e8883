/* Runs a fuzz target without a fuzzer: its corpus, then seeded mutations of it.
 *
 *     fuzz_NAME [-n ROUNDS] [-s SEED] [FILE | FOLDER]...
 *
 * Without files: tests/fuzz/corpus/NAME. A failing input is in the file named with -k (default: none is kept):
 * it is written before each call, so that it is there after a crash. */
#include <dirent.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REPLAY_MAX (1u << 20)       /* bytes of one input */

struct replay_input { uint8_t *data; size_t size; };
static struct {
    struct replay_input *in;
    size_t n, room;
    const char *keep;
    uint64_t rng;
} replay;

static void replay_die(const char *what)
{
    perror(what);
    exit(1);
}

static void *replay_alloc(size_t n)
{
    void *p = malloc(n > 0 ? n : 1);
    if (p == NULL)
        replay_die("malloc");
    return p;
}

/* The input in a block of exactly its size, so that a sanitizer sees one byte too many read. */
static void replay_one(const uint8_t *data, size_t size)
{
    uint8_t *exact = replay_alloc(size);
    memcpy(exact, data, size);
    if (replay.keep != NULL) {
        FILE *f = fopen(replay.keep, "wb");
        if (f == NULL || fwrite(data, 1, size, f) != size || fclose(f) != 0)
            replay_die(replay.keep);
    }
    LLVMFuzzerTestOneInput(exact, size);
    free(exact);
}

static void replay_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    uint8_t *data = replay_alloc(REPLAY_MAX);

    if (f == NULL)
        replay_die(path);
    size_t size = fread(data, 1, REPLAY_MAX, f);
    fclose(f);
    if (replay.n == replay.room) {
        replay.room = replay.room ? 2 * replay.room : 64;
        replay.in = realloc(replay.in, replay.room * sizeof *replay.in);
        if (replay.in == NULL)
            replay_die("realloc");
    }
    uint8_t *kept = realloc(data, size > 0 ? size : 1);
    replay.in[replay.n++] = (struct replay_input){ kept ? kept : data, size };
}

static int replay_shown(const struct dirent *e)
{
    return e->d_name[0] != '.';
}

static void replay_path(const char *path)
{
    struct stat st;
    struct dirent **names;

    if (stat(path, &st) != 0)
        replay_die(path);
    if (!S_ISDIR(st.st_mode)) {
        replay_file(path);
        return;
    }
    int n = scandir(path, &names, replay_shown, alphasort);
    if (n < 0)
        replay_die(path);
    for (int i = 0; i < n; i++) {
        char file[PATH_MAX];
        snprintf(file, sizeof file, "%s/%s", path, names[i]->d_name);
        replay_file(file);
        free(names[i]);
    }
    free(names);
}

/* ---- mutations: splitmix64, so that a seed means the same everywhere ---- */

static uint64_t replay_random(uint64_t below)
{
    uint64_t z = replay.rng += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return (z ^ z >> 31) % below;
}

/* One change of the size bytes at data, which has room for twice REPLAY_MAX; returns the new size. */
static size_t replay_change(uint8_t *data, size_t size)
{
    static const uint8_t odd[] = { 0, 1, 0x7f, 0x80, 0xff, 0xdd, 0xdf, 0xdb, '0', '9', '"', '\n', ',', '-', '.', '[', '{' };
    size_t at = size > 0 ? replay_random(size) : 0, other = replay_random(replay.n);
    size_t len = size > at ? 1 + replay_random(size - at < 16 ? size - at : 16) : 0;
    const struct replay_input *from = &replay.in[other];

    switch (replay_random(size > 0 ? 7 : 1)) {
    case 0:                                              /* a piece of another input goes in */
        len = from->size > 0 ? 1 + replay_random(from->size < 64 ? from->size : 64) : 0;
        if (size + len > REPLAY_MAX)
            return size;
        memmove(data + at + len, data + at, size - at);
        if (len > 0)
            memcpy(data + at, from->data + replay_random(from->size - len + 1), len);
        return size + len;
    case 1:                                              /* a piece goes out */
        memmove(data + at, data + at + len, size - at - len);
        return size - len;
    case 2:                                              /* the end goes */
        return at;
    case 3:
        data[at] ^= (uint8_t)(1u << replay_random(8));
        return size;
    case 4:
        data[at] = odd[replay_random(sizeof odd)];
        return size;
    case 5:
        data[at] = (uint8_t)replay_random(256);
        return size;
    default:                                             /* a piece is there twice */
        if (size + len > REPLAY_MAX)
            return size;
        memmove(data + at + len, data + at, size - at);
        return size + len;
    }
}

static void replay_mutate(long rounds)
{
    uint8_t *data = replay_alloc((size_t)2 * REPLAY_MAX);

    for (long i = 0; i < rounds; i++) {
        const struct replay_input *from = &replay.in[replay_random(replay.n)];
        size_t size = from->size;
        memcpy(data, from->data, size);
        for (uint64_t k = 1 + replay_random(4); k > 0; k--)
            size = replay_change(data, size);
        replay_one(data, size);
    }
    free(data);
}

int main(int argc, char **argv)
{
    const char *name = strrchr(argv[0], '/');
    char corpus[PATH_MAX];
    long rounds = 2000;
    int opt;

    name = name ? name + 1 : argv[0];
    if (strncmp(name, "fuzz_", 5) == 0)
        name += 5;
    replay.rng = 42;
    while ((opt = getopt(argc, argv, "n:s:k:")) != -1) {
        switch (opt) {
        case 'n': rounds = strtol(optarg, NULL, 10); break;
        case 's': replay.rng = strtoull(optarg, NULL, 10); break;
        case 'k': replay.keep = optarg; break;
        default:
            fprintf(stderr, "usage: fuzz_NAME [-n rounds] [-s seed] [-k keep] [file|folder]...\n");
            return 2;
        }
    }
    snprintf(corpus, sizeof corpus, "tests/fuzz/corpus/%s", name);
    if (optind == argc)
        replay_path(corpus);
    for (int i = optind; i < argc; i++)
        replay_path(argv[i]);
    for (size_t i = 0; i < replay.n; i++)
        replay_one(replay.in[i].data, replay.in[i].size);
    printf("ok %zu inputs of %s\n", replay.n, optind == argc ? corpus : argv[optind]);
    fflush(stdout);
    if (replay.n > 0)
        replay_mutate(rounds);
    printf("ok %ld mutations\n%d passed, %d failed\n", replay.n > 0 ? rounds : 0L, replay.n > 0 ? 2 : 0, replay.n > 0 ? 0 : 1);
    for (size_t i = 0; i < replay.n; i++)
        free(replay.in[i].data);
    free(replay.in);
    return replay.n == 0;
}
