/* Timed plans in a file. */
#include "stages/forward/cuda/plans.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/crc32c.h"
#include "runtime/text.h"

#define PLANS_HEAD "flowrun cuda plans 1"
#define PLANS_LINE 1024

void fl_cu_plans_init(struct fl_cu_plans *p, const char *target)
{
    memset(p, 0, sizeof *p);
    snprintf(p->target, sizeof p->target, "%s", target);
    for (char *c = p->target; *c != '\0'; c++)
        if ((unsigned char)*c < ' ')
            *c = ' ';
}

void fl_cu_plans_done(struct fl_cu_plans *p)
{
    free(p->choice);
    p->choice = NULL;
    p->n = p->room = 0;
}

const struct fl_cu_choice *fl_cu_plans_find(const struct fl_cu_plans *p, const char *key)
{
    for (uint32_t i = 0; i < p->n; i++)
        if (strcmp(p->choice[i].key, key) == 0)
            return &p->choice[i];
    return NULL;
}

int fl_cu_plans_put(struct fl_cu_plans *p, const struct fl_cu_choice *c, struct fl_err *err)
{
    for (uint32_t i = 0; i < p->n; i++)
        if (strcmp(p->choice[i].key, c->key) == 0) {
            p->choice[i] = *c;
            return FL_OK;
        }
    if (p->n == FL_CU_PLANS_MAX) {
        memmove(&p->choice[0], &p->choice[1], (p->n - 1) * sizeof *p->choice);
        p->n--;
    }
    if (p->n == p->room) {
        uint32_t room = p->room > 0 ? 2 * p->room : 64;
        struct fl_cu_choice *more = realloc(p->choice, room * sizeof *more);
        if (more == NULL)
            return fl_err_set(err, FL_E_NOMEM, "cuda: no memory for %u plans", room);
        p->choice = more;
        p->room = room;
    }
    p->choice[p->n++] = *c;
    return FL_OK;
}

/* ---- text ---- */

/* A whole number that ends at `end`. */
static bool plans_number(const char **at, char end, int64_t *out)
{
    char *stop = NULL;
    if (**at != '-' && (**at < '0' || **at > '9'))
        return false;
    errno = 0;
    long long v = strtoll(*at, &stop, 10);
    if (errno != 0 || stop == *at || *stop != end)
        return false;
    *out = v;
    *at = stop + 1;
    return true;
}

static bool plans_key(const char **at, char key[FL_CU_KEY])
{
    size_t n = strcspn(*at, " ");
    if (n == 0 || n >= FL_CU_KEY || (*at)[n] != ' ')
        return false;
    for (size_t i = 0; i < n; i++)
        if ((*at)[i] <= ' ' || (*at)[i] > '~')
            return false;
    memcpy(key, *at, n);
    key[n] = '\0';
    *at += n + 1;
    return true;
}

/* KEY fused|split ENGINE MICROS KNOBS TYPE VALUE ... ; every field ends with a blank. */
static bool plans_choice(const char *line, struct fl_cu_choice *c)
{
    int64_t engine, micros, knobs, type, value;
    memset(c, 0, sizeof *c);
    if (!plans_key(&line, c->key))
        return false;
    c->split = strncmp(line, "split ", 6) == 0;
    if (!c->split && strncmp(line, "fused ", 6) != 0)
        return false;
    line += 6;
    if (!plans_number(&line, ' ', &engine) || !plans_number(&line, ' ', &micros) || !plans_number(&line, ' ', &knobs) || engine < 0 || engine > 65535 ||
        micros < 0 || micros > 1000000000 || knobs < 0 || knobs > FL_CU_KNOBS)
        return false;
    c->config.engine = engine;
    c->config.nknobs = (uint32_t)knobs;
    c->micros = (float)micros / 1000;
    for (int64_t i = 0; i < knobs; i++) {
        if (!plans_number(&line, ' ', &type) || !plans_number(&line, ' ', &value) || type < 0 || type > 65535)
            return false;
        c->config.knob[i].type = (int32_t)type;
        c->config.knob[i].value = value;
    }
    return *line == '\0';
}

/* The next line without its end into `line`; false at the end, or when it is too long or holds a NUL. */
static bool plans_line(const char **at, const char *end, char line[PLANS_LINE])
{
    const char *stop = memchr(*at, '\n', (size_t)(end - *at));
    if (stop == NULL || stop - *at >= PLANS_LINE || memchr(*at, '\0', (size_t)(stop - *at)) != NULL)
        return false;
    memcpy(line, *at, (size_t)(stop - *at));
    line[stop - *at] = '\0';
    *at = stop + 1;
    return true;
}

static int plans_lines(struct fl_cu_plans *p, const char *at, const char *end, struct fl_err *err)
{
    char line[PLANS_LINE];
    struct fl_cu_choice c;
    if (!plans_line(&at, end, line) || strcmp(line, PLANS_HEAD) != 0)
        return fl_err_set(err, FL_E_INPUT, "line 1 is not \"%s\"", PLANS_HEAD);
    if (!plans_line(&at, end, line) || strcmp(line, p->target) != 0)
        return fl_err_set(err, FL_E_INPUT, "made for another card, driver or cuDNN");
    for (uint32_t n = 3; at < end; n++) {
        if (!plans_line(&at, end, line) || !plans_choice(line, &c) || fl_cu_plans_find(p, c.key) != NULL || p->n == FL_CU_PLANS_MAX)
            return fl_err_set(err, FL_E_INPUT, "line %u is no plan", n);
        int code = fl_cu_plans_put(p, &c, err);
        if (code != FL_OK)
            return code;
    }
    return FL_OK;
}

int fl_cu_plans_parse(struct fl_cu_plans *p, const char *text, size_t len, struct fl_err *err)
{
    char want[16];
    const size_t tail = 13;                     /* "sum 01234567\n" */
    p->n = 0;
    if (len > FL_CU_PLANS_BYTES || len < tail)
        return fl_err_set(err, FL_E_INPUT, "%zu bytes, too short or too long for plans", len);
    snprintf(want, sizeof want, "sum %08" PRIx32 "\n", fl_crc32c(0, text, len - tail));
    if (memcmp(text + len - tail, want, tail) != 0)
        return fl_err_set(err, FL_E_INPUT, "its checksum is wrong");
    int code = plans_lines(p, text, text + len - tail, err);
    if (code != FL_OK)
        p->n = 0;
    return code;
}

char *fl_cu_plans_format(const struct fl_cu_plans *p, size_t *len)
{
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    if (f == NULL)
        return NULL;
    fprintf(f, "%s\n%s\n", PLANS_HEAD, p->target);
    for (uint32_t i = 0; i < p->n; i++) {
        const struct fl_cu_choice *c = &p->choice[i];
        fprintf(f, "%s %s %" PRId64 " %.0f %" PRIu32 " ", c->key, c->split ? "split" : "fused", c->config.engine, round((double)c->micros * 1000), c->config.nknobs);
        for (uint32_t k = 0; k < c->config.nknobs; k++)
            fprintf(f, "%" PRId32 " %" PRId64 " ", c->config.knob[k].type, c->config.knob[k].value);
        fputc('\n', f);
    }
    fflush(f);
    fprintf(f, "sum %08" PRIx32 "\n", fl_crc32c(0, text, size));
    if (fclose(f) != 0) {
        free(text);
        return NULL;
    }
    *len = size;
    return text;
}

/* ---- files ---- */

bool fl_cu_plans_path(const char *target, char *path, size_t n)
{
    const char *own = getenv("FLOWRUN_CACHE"), *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    uint32_t sum = fl_crc32c(0, target, strlen(target));
    int len = own != NULL && own[0] == '/' ? snprintf(path, n, "%s/cuda-plans-%08" PRIx32, own, sum)
            : xdg != NULL && xdg[0] == '/' ? snprintf(path, n, "%s/flowrun/cuda-plans-%08" PRIx32, xdg, sum)
            : home != NULL && home[0] == '/' ? snprintf(path, n, "%s/.cache/flowrun/cuda-plans-%08" PRIx32, home, sum) : -1;
    return len > 0 && (size_t)len < n;
}

static int plans_load_fd(struct fl_cu_plans *p, int fd, struct fl_err *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        return fl_err_set(err, FL_E_INPUT, "not a plain file");
    if (st.st_uid != geteuid() || (st.st_mode & (S_IWGRP | S_IWOTH)) != 0)      /* others could choose what runs on the card */
        return fl_err_set(err, FL_E_INPUT, "others may write it");
    if (st.st_size > FL_CU_PLANS_BYTES)
        return fl_err_set(err, FL_E_INPUT, "%lld bytes, at most %u", (long long)st.st_size, FL_CU_PLANS_BYTES);
    char *text = malloc((size_t)st.st_size + 1);
    if (text == NULL)
        return fl_err_set(err, FL_E_NOMEM, "no memory for %lld bytes", (long long)st.st_size);
    ssize_t n = fl_read_fill(fd, text, (size_t)st.st_size);
    int code = n < 0 ? fl_err_set(err, FL_E_INPUT, "%s", strerror(errno)) : fl_cu_plans_parse(p, text, (size_t)n, err);
    free(text);
    return code;
}

int fl_cu_plans_load(struct fl_cu_plans *p, const char *path, struct fl_err *err)
{
    p->n = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    int code = fd < 0 ? fl_err_set(err, FL_E_INPUT, "%s", strerror(errno)) : plans_load_fd(p, fd, err);
    if (fd >= 0)
        close(fd);
    if (code != FL_OK)
        fl_err_context(err, "%s", path);
    return code;
}

/* The folders of path, for this user alone. */
static void plans_folders(const char *path)
{
    char dir[4096];
    snprintf(dir, sizeof dir, "%s", path);
    for (char *slash = strchr(dir + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(dir, 0700);            /* one that is there is good; a failure shows when the file is made */
        *slash = '/';
    }
}

static int plans_write(int fd, const char *text, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, text, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        text += n;
        len -= (size_t)n;
    }
    return fsync(fd);
}

static int plans_replace(const char *path, const char *text, size_t len, struct fl_err *err)
{
    char tmp[4200];
    snprintf(tmp, sizeof tmp, "%s.XXXXXX", path);
    int fd = mkostemp(tmp, O_CLOEXEC), bad;
    if (fd < 0)
        return fl_err_set(err, FL_E_INPUT, "%s: %s", tmp, strerror(errno));
    bad = plans_write(fd, text, len) != 0;
    bad |= close(fd) != 0;
    if (bad || rename(tmp, path) != 0) {
        int code = fl_err_set(err, FL_E_INPUT, "%s: %s", path, strerror(errno));
        unlink(tmp);
        return code;
    }
    return FL_OK;
}

int fl_cu_plans_save(const struct fl_cu_plans *p, const char *path, struct fl_err *err)
{
    struct fl_cu_plans all;
    struct fl_err none = { 0 };
    size_t len = 0;
    fl_cu_plans_init(&all, p->target);
    plans_folders(path);
    if (fl_cu_plans_load(&all, path, &none) != FL_OK)
        all.n = 0;
    int code = FL_OK;
    for (uint32_t i = 0; i < p->n && code == FL_OK; i++)
        code = fl_cu_plans_put(&all, &p->choice[i], err);
    char *text = code == FL_OK ? fl_cu_plans_format(&all, &len) : NULL;
    if (code == FL_OK)
        code = text != NULL ? plans_replace(path, text, len, err) : fl_err_set(err, FL_E_NOMEM, "%s: no memory", path);
    free(text);
    fl_cu_plans_done(&all);
    return code;
}
