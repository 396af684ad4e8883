/* Pools, and starting one stage process: what it inherits and what its set-up says (docs/protocol.md). */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "launch/cpus.h"
#include "launch/graph.h"
#include "launch/super.h"
#include "runtime/slab.h"

extern char **environ;

/* Descriptors as a stage process sees them. */
enum { CHILD_SETUP = 3, CHILD_CONTROL, CHILD_PAGE, CHILD_GENS, CHILD_SOCKETS, CHILD_POOLS };
#define PARENT_FDS 512

int fl_fd_high(int fd)
{
    int high = fcntl(fd, F_DUPFD_CLOEXEC, PARENT_FDS);
    if (high < 0)
        return fd;
    close(fd);
    return high;
}

int fl_spawn_room(const struct fl_super *s, struct fl_err *err)
{
    const struct fl_graph *g = s->g;
    const rlim_t files = PARENT_FDS + 64 + 3 * (rlim_t)s->ninst + 2 * (rlim_t)g->nstages;
    const uint64_t free = fl_memory_free();
    struct rlimit rl;
    uint64_t slabs = 0;
    char need[32], have[32];
    if (g->nstages + CHILD_POOLS > PARENT_FDS)
        return fl_err_set(err, FL_E_CONFIG, "%u stages, at most %d", g->nstages, PARENT_FDS - CHILD_POOLS);
    if (getrlimit(RLIMIT_NOFILE, &rl) != 0 || rl.rlim_cur < files)
        return fl_err_set(err, FL_E_CONFIG, "too few open files allowed (ulimit -Hn): %llu, want %llu", (unsigned long long)rl.rlim_cur, (unsigned long long)files);
    for (uint32_t i = 0; i < g->nstages; i++)
        slabs += g->stages[i].slab;
    /* Taking what isn't there would not fail: the kernel would kill somebody. */
    if (slabs > free / g->window)
        return fl_err_set(err, FL_E_CONFIG, "%u batches in flight take %s of shared memory, but %s are free here; give `memory:` less, or smaller batches", g->window,
                          fl_plan_size(slabs * g->window, need), fl_plan_size(free, have));
    return FL_OK;
}

int fl_spawn_pools(struct fl_super *s, struct fl_err *err)
{
    const struct fl_graph *g = s->g;
    int rc = fl_memfd_new("flowrun-gens", sizeof *s->gens, &s->gens_fd, err);
    if (rc != FL_OK)
        return rc;
    s->gens_fd = fl_fd_high(s->gens_fd);
    s->gens = mmap(NULL, sizeof *s->gens, PROT_READ | PROT_WRITE, MAP_SHARED, s->gens_fd, 0);
    if (s->gens == MAP_FAILED)
        return fl_err_set(err, FL_E_NOMEM, "generation table: %s", strerror(errno));
    for (uint32_t i = 0; i < g->window; i++)
        atomic_store(&s->gens->gen[i], 1);
    for (uint32_t i = 0; i < g->nstages; i++) {
        if (g->stages[i].slab == 0)
            continue;
        rc = fl_memfd_new(g->stages[i].name, g->stages[i].slab * g->window, &s->pool_rw[i], err);
        if (rc == FL_OK)
            rc = fl_memfd_readonly(s->pool_rw[i], &s->pool_ro[i], err);
        if (rc != FL_OK)
            return rc;
        s->pool_rw[i] = fl_fd_high(s->pool_rw[i]);
        s->pool_ro[i] = fl_fd_high(s->pool_ro[i]);
    }
    return FL_OK;
}

static void spawn_ancestors(const struct fl_graph *g, uint32_t stage, bool *seen)
{
    for (uint32_t i = 0; i < g->stages[stage].nfrom; i++) {
        uint32_t up = g->stages[stage].from[i];
        if (!seen[up]) {
            seen[up] = true;
            spawn_ancestors(g, up, seen);
        }
    }
}

void fl_spawn_endpoint(char out[64], uint32_t stage, uint32_t index, uint32_t incarnation)
{
    snprintf(out, 64, "ipc:///proc/self/fd/%d/%u.%u.%u", CHILD_SOCKETS, stage, index, incarnation);
}

/* Into a join or a sink a writer may send the whole window: there the parts must be able to meet. Elsewhere two batches,
 * one in work and one waiting, keep a reader busy and leave the rest to others. */
static uint64_t spawn_grant(const struct fl_graph *g, uint32_t reader, uint64_t cost)
{
    const struct fl_stage_node *r = &g->stages[reader];
    if (r->remote)
        return 0;                        /* it grants for itself, once its host is ready */
    return cost * (r->nfrom > 1 || r->sink ? g->window : g->window < 2 ? g->window : 2);
}

static json_t *spawn_in(const struct fl_graph *g, uint32_t stage)
{
    json_t *in = json_array();
    for (uint32_t i = 0; i < g->stages[stage].nfrom; i++) {
        const struct fl_stage_node *up = &g->stages[g->stages[stage].from[i]];
        json_array_append_new(in, json_pack("{s:s, s:i, s:I, s:I}", "from", up->name, "writers", (int)up->instances,
            "grant", (json_int_t)spawn_grant(g, stage, up->cost), "cost", (json_int_t)up->cost));
    }
    return in;
}

static json_t *spawn_out(const struct fl_super *s, uint32_t stage)
{
    const struct fl_graph *g = s->g;
    json_t *out = json_array();
    for (uint32_t r = 0; r < g->nstages; r++)
        for (uint32_t e = 0; e < g->stages[r].nfrom; e++) {
            if (g->stages[r].from[e] != stage)
                continue;
            json_t *eps = json_array();
            for (uint32_t k = 0; k < g->stages[r].instances; k++) {
                char ep[64];
                const struct fl_inst *reader = &s->inst[s->first[r] + k];
                fl_spawn_endpoint(ep, r, k, reader->incarnation);
                bool soon = s->started && (!reader->ready || (reader->incarnation > 0 && !reader->mourned));     /* comes by "reader-up" */
                json_array_append_new(eps, soon ? json_null() : json_string(ep));
            }
            json_array_append_new(out, json_pack("{s:s, s:i, s:b, s:I, s:o}", "to", g->stages[r].name, "edge", (int)e,
                "keyed", g->stages[r].nfrom > 1, "cost", (json_int_t)g->stages[stage].cost, "endpoints", eps));
        }
    return out;
}

static json_t *spawn_labels(const struct fl_graph *g)
{
    json_t *names = json_array(), *ex = json_array();
    for (uint32_t i = 0; i < g->nlabels; i++) {
        json_array_append_new(names, json_string(g->labels[i]));
        if (g->exclusive >> i & 1)
            json_array_append_new(ex, json_string(g->labels[i]));
    }
    return json_pack("{s:o, s:o, s:o}", "names", names, "exclusive", ex, "rest_off", g->rest_off < g->nlabels ? json_string(g->labels[g->rest_off]) : json_null());
}

/* Pools a process sees: its own to write, those of all its ancestors to read. Adds the descriptors to be inherited. */
static json_t *spawn_pools(const struct fl_super *s, uint32_t stage, posix_spawn_file_actions_t *fa)
{
    const struct fl_graph *g = s->g;
    bool *seen = calloc(g->nstages, sizeof *seen);
    json_t *pools = json_array();
    int child = CHILD_POOLS;
    if (seen == NULL)
        return pools;
    spawn_ancestors(g, stage, seen);
    seen[stage] = true;
    for (uint32_t i = 0; i < g->nstages; i++) {
        if (!seen[i] || s->pool_rw[i] < 0)
            continue;
        posix_spawn_file_actions_adddup2(fa, i == stage ? s->pool_rw[i] : s->pool_ro[i], child);
        json_array_append_new(pools, json_pack("{s:i, s:i, s:I, s:b}", "id", (int)i, "fd", child++, "slab", (json_int_t)g->stages[i].slab, "write", i == stage));
    }
    free(seen);
    return pools;
}

static json_t *spawn_setup(const struct fl_super *s, const struct fl_inst *in, posix_spawn_file_actions_t *fa)
{
    const struct fl_graph *g = s->g;
    const struct fl_stage_node *n = &g->stages[in->stage];
    json_t *j = json_pack("{s:I, s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:I, s:i, s:i, s:i, s:i}",
        "run", (json_int_t)s->run, "name", n->name, "run_dir", s->dir, "instance", (int)in->index, "incarnation", (int)in->incarnation,
        "window", (int)g->window, "B", (int)g->B, "threads", (int)n->threads, "seed", (json_int_t)g->seed,
        "control", CHILD_CONTROL, "page", CHILD_PAGE, "gens", CHILD_GENS, "pool", s->pool_rw[in->stage] >= 0 ? (int)in->stage : -1);
    json_object_set_new(j, "batches", json_integer((json_int_t)g->batches));
    json_object_set_new(j, "start", json_integer((json_int_t)s->conf->start));
    json_object_set_new(j, "epochs", json_integer(g->epochs > 0 ? g->epochs : 1));
    json_object_set(j, "options", n->options);
    json_object_set_new(j, "labels", spawn_labels(g));
    json_object_set_new(j, "pools", spawn_pools(s, in->stage, fa));
    json_object_set_new(j, "in", spawn_in(g, in->stage));
    json_object_set_new(j, "out", spawn_out(s, in->stage));
    if (!n->source) {
        char ep[64];
        fl_spawn_endpoint(ep, in->stage, in->index, in->incarnation);
        json_object_set_new(j, "listen", json_string(ep));
    }
    return j;
}

static int spawn_setup_fd(json_t *setup, int *fd, struct fl_err *err)
{
    int f = memfd_create("flowrun-setup", MFD_CLOEXEC);
    if (f < 0 || json_dumpfd(setup, f, JSON_COMPACT) != 0 || lseek(f, 0, SEEK_SET) != 0) {
        if (f >= 0)
            close(f);
        return fl_err_set(err, FL_E_IO, "set-up: %s", strerror(errno));
    }
    *fd = fl_fd_high(f);
    return FL_OK;
}

/* Ours and those of `mine`, which ends with NULL: FLOWRUN_STAGE=NAME.INSTANCE, by which others (ps e, flowrun chaos) tell one stage process from another, and
 * the device of an instance that has one to itself. Several threads of OpenMP shall sleep while they wait: turning, they would keep processors from the other
 * stages (ten times slower where there are too few). The array alone is new. */
static char **spawn_environ(char *const *mine, bool team)
{
    static char passive[] = "OMP_WAIT_POLICY=passive";
    size_t n = 0, k = 0;
    while (environ[n] != NULL)
        n++;
    char **env = calloc(n + 4, sizeof *env);
    if (env == NULL)
        return NULL;
    for (; mine[k] != NULL; k++)
        env[k] = mine[k];
    for (size_t i = 0, own = k; i < n; i++) {
        bool replaced = false;
        for (size_t m = 0; m < own; m++)
            replaced = replaced || strncmp(environ[i], mine[m], strcspn(mine[m], "=") + 1) == 0;
        if (!replaced)
            env[k++] = environ[i];
    }
    if (team && getenv("OMP_WAIT_POLICY") == NULL && getenv("GOMP_SPINCOUNT") == NULL)
        env[k] = passive;
    return env;
}

/* The device of instance i: where somebody (Slurm, a person) has said which devices are ours, the i-th of them. */
static int spawn_device(const char *stage, uint32_t i, char out[96], struct fl_err *err)
{
    const char *at = getenv("CUDA_VISIBLE_DEVICES"), *all = at;
    if (at == NULL) {
        snprintf(out, 96, "CUDA_VISIBLE_DEVICES=%u", i);
        return FL_OK;
    }
    for (uint32_t k = 0; k < i && at != NULL; k++)
        at = strchr(at, ',') != NULL ? strchr(at, ',') + 1 : NULL;
    size_t len = at != NULL ? strcspn(at, ",") : 0;
    if (len == 0 || len > 64)
        return fl_err_set(err, FL_E_CONFIG, "%s: instance %u has no device: CUDA_VISIBLE_DEVICES is %.200s", stage, i, all);
    snprintf(out, 96, "CUDA_VISIBLE_DEVICES=%.*s", (int)len, at);
    return FL_OK;
}

static int spawn_process(struct fl_super *s, struct fl_inst *in, int setup, int control, posix_spawn_file_actions_t *fa, struct fl_err *err)
{
    const struct fl_stage_node *n = &s->g->stages[in->stage];
    posix_spawn_file_actions_adddup2(fa, setup, CHILD_SETUP);
    posix_spawn_file_actions_adddup2(fa, control, CHILD_CONTROL);
    posix_spawn_file_actions_adddup2(fa, in->page_fd, CHILD_PAGE);
    posix_spawn_file_actions_adddup2(fa, s->gens_fd, CHILD_GENS);
    posix_spawn_file_actions_adddup2(fa, s->sockets, CHILD_SOCKETS);
    posix_spawnattr_t attr;
    sigset_t none;
    sigemptyset(&none);
    posix_spawnattr_init(&attr);
    bool attached = s->conf->attached != NULL && strcmp(s->conf->attached, n->name) == 0;
    posix_spawnattr_setflags(&attr, (short)((attached ? 0 : POSIX_SPAWN_SETPGROUP) | POSIX_SPAWN_SETSIGMASK));   /* Ctrl-C is the supervisor's alone */
    posix_spawnattr_setsigmask(&attr, &none);
    char *argv[] = { n->exe, "--setup", "3", NULL }, mine[64 + FL_NAME_MAX], device[96];
    snprintf(mine, sizeof mine, "FLOWRUN_STAGE=%s.%u", n->name, in->index);
    int rc = n->per_gpu ? spawn_device(n->name, in->index, device, err) : FL_OK;
    if (rc != FL_OK) {
        posix_spawnattr_destroy(&attr);
        return rc;
    }
    char **env = spawn_environ((char *[]){ mine, n->per_gpu ? device : NULL, NULL }, n->threads > 1);
    cpu_set_t have, own;
    bool pinned = sched_getaffinity(0, sizeof have, &have) == 0 && fl_threads_used(n) && fl_cpus_cut(s->g, &have);
    if (pinned) {                        /* inherited: so its library sees from the first on how many processors it has */
        fl_cpus_own(s->g, &have, in->stage, in->index, &own);
        sched_setaffinity(0, sizeof own, &own);
    }
    rc = env != NULL ? posix_spawn(&in->pid, n->exe, fa, &attr, argv, env) : ENOMEM;
    if (pinned)
        sched_setaffinity(0, sizeof have, &have);
    free(env);
    posix_spawnattr_destroy(&attr);
    if (rc != 0)
        return fl_err_set(err, FL_E_IO, "%s: can't start %s: %s", n->name, n->exe, strerror(rc));
    in->pidfd = (int)syscall(SYS_pidfd_open, in->pid, 0);
    if (in->pidfd < 0)
        return fl_err_set(err, FL_E_IO, "%s: pidfd: %s", n->name, strerror(errno));
    in->pidfd = fl_fd_high(in->pidfd);
    return FL_OK;
}

static uint64_t spawn_page_bytes(const struct fl_graph *g, uint32_t stage)
{
    return fl_page_bytes(g->window, fl_stage_out_edges(g, stage), g->stages[stage].nfrom);
}

static int spawn_page(const struct fl_graph *g, struct fl_inst *in, struct fl_err *err)
{
    if (in->page != NULL)
        return FL_OK;
    uint64_t bytes = spawn_page_bytes(g, in->stage);
    int rc = fl_memfd_new("flowrun-page", bytes, &in->page_fd, err);
    if (rc != FL_OK)
        return rc;
    in->page_fd = fl_fd_high(in->page_fd);
    in->page = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, in->page_fd, 0);
    return in->page != MAP_FAILED ? FL_OK : fl_err_set(err, FL_E_NOMEM, "status page: %s", strerror(errno));
}

int fl_spawn(struct fl_super *s, uint32_t i, struct fl_err *err)
{
    struct fl_inst *in = &s->inst[i];
    int pair[2], setup = -1;
    int rc = spawn_page(s->g, in, err);
    if (rc != FL_OK)
        return rc;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return fl_err_set(err, FL_E_IO, "socketpair: %s", strerror(errno));
    pair[0] = fl_fd_high(pair[0]);
    pair[1] = fl_fd_high(pair[1]);
    fcntl(pair[0], F_SETFL, O_NONBLOCK);
    posix_spawn_file_actions_t fa;
    posix_spawn_file_actions_init(&fa);
    json_t *j = spawn_setup(s, in, &fa);
    rc = j != NULL ? spawn_setup_fd(j, &setup, err) : fl_err_set(err, FL_E_NOMEM, "set-up");
    if (rc == FL_OK)
        rc = spawn_process(s, in, setup, pair[1], &fa, err);
    posix_spawn_file_actions_destroy(&fa);
    json_decref(j);
    if (setup >= 0)
        close(setup);
    close(pair[1]);
    if (rc != FL_OK)
        close(pair[0]);
    else
        in->control = pair[0];
    in->beat_at = s->watched;            /* open_timeout counts from here */
    return rc;
}

void fl_spawn_free(struct fl_super *s)
{
    for (uint32_t i = 0; i < s->ninst; i++) {
        struct fl_inst *in = &s->inst[i];
        if (in->control >= 0)
            close(in->control);
        if (in->pidfd >= 0)
            close(in->pidfd);
        if (in->page_fd >= 0)
            close(in->page_fd);
        if (in->page != NULL)
            munmap(in->page, spawn_page_bytes(s->g, in->stage));
        free(in->await);
    }
    for (uint32_t i = 0; i < s->g->nstages; i++) {
        if (s->pool_rw[i] >= 0)
            close(s->pool_rw[i]);
        if (s->pool_ro[i] >= 0)
            close(s->pool_ro[i]);
    }
    if (s->gens != NULL)
        munmap(s->gens, sizeof *s->gens);
    if (s->gens_fd >= 0)
        close(s->gens_fd);
}
