/* flowrun slurm: writes the batch script of a graph whose placed stages run on the nodes of one allocation, and submits it. */
#include <errno.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launch/cmd.h"
#include "launch/config.h"
#include "launch/hosts.h"
#include "launch/mem.h"
#include "launch/run.h"
#include "runtime/text.h"

extern char **environ;

struct slurm {
    const struct fl_args *a;
    unsigned long nodes;
    char  dir[PATH_MAX], *file;          /* where flowrun was started; FILE, absolute */
    char *group;                         /* the one group of hosts in FILE; NULL = there is none */
    bool  listens;                       /* FILE says cluster.listen */
    char *run, *flowrun, *name;          /* run directory, absolute; flowrun on the nodes; the graph's name */
};

/* ---- what is given ---- */

/* In the script it stands within single quotes, for a shell or for sbatch. */
static bool slurm_plain(const char *what, const char *text)
{
    if (text == NULL || (text[0] != '\0' && strpbrk(text, "'\\\n") == NULL))
        return true;
    fprintf(stderr, "flowrun slurm: %s %s: want a text without quotes, backslashes and line breaks\n", what, text);
    return false;
}

/* Where sbatch puts the job's output: it replaces %j and the like. */
static bool slurm_plain_path(const char *what, const char *path)
{
    if (path == NULL || strchr(path, '%') == NULL)
        return slurm_plain(what, path);
    fprintf(stderr, "flowrun slurm: %s %s: want a name without %%\n", what, path);
    return false;
}

static bool slurm_arguments(struct slurm *s)
{
    const struct fl_args *a = s->a;
    char *end = NULL;
    bool ok = slurm_plain("--gres", a->gres) && slurm_plain("--partition", a->partition) && slurm_plain("--time", a->time) &&
              slurm_plain_path("--run", a->run_dir);
    s->nodes = a->nodes != NULL && a->nodes[0] >= '0' && a->nodes[0] <= '9' ? strtoul(a->nodes, &end, 10) : 0;
    if (s->nodes < 1 || s->nodes > FL_MAX_HOSTS || *end != '\0') {
        fprintf(stderr, "flowrun slurm: --nodes %s: want a number from 1 to %d\n", a->nodes != NULL ? a->nodes : "is missing", FL_MAX_HOSTS);
        return false;
    }
    for (uint32_t i = 0; ok && i < a->nsets; i++)
        ok = slurm_plain("--set", a->sets[i]);
    for (uint32_t i = 1; ok && i < a->nfiles; i++) {
        ok = slurm_plain("sbatch's option", a->files[i]);
        if (a->files[i][0] != '-' || (a->files[i][1] != '-' && a->files[i][2] != '\0')) {
            fprintf(stderr, "flowrun slurm: %s: want sbatch's options after --, each in one word: --NAME or --NAME=VALUE\n", a->files[i]);
            return false;
        }
    }
    return ok;
}

/* The group whose hosts the nodes become, before they have names. What else is wrong with the file is found when it is checked. */
static bool slurm_group(struct slurm *s)
{
    struct fl_complaints all = { .file = s->a->files[0] };
    struct fl_node *root = fl_graph_read(&all);
    const struct fl_node *hosts = root != NULL && root->kind == FL_NODE_MAP ? fl_node_get(root, "hosts", NULL) : NULL, *cluster = NULL;
    bool ok = true;
    if (hosts != NULL && hosts->kind == FL_NODE_MAP && hosts->n > 0) {
        cluster = fl_node_get(root, "cluster", NULL);
        s->listens = cluster != NULL && cluster->kind == FL_NODE_MAP && fl_node_get(cluster, "listen", NULL) != NULL;
        s->group = fl_need_copy(hosts->keys[0]);
        ok = hosts->n == 1 && slurm_plain("hosts", s->group);
        if (hosts->n > 1)
            fprintf(stderr, "%s:%u:%u: hosts has %u groups: flowrun slurm wants one, which the nodes of the job become\n", s->a->files[0], hosts->key_marks[1].line,
                    hosts->key_marks[1].column, hosts->n);
    }
    fl_complaints_done(&all);
    fl_node_free(root);
    return ok;
}

/* Of each node: "gpu:4", "gpu:h100:4(S:0)", "gpu". For the check alone: the job knows what it got. */
static unsigned long slurm_gpus(const char *gres)
{
    if (gres == NULL || strncmp(gres, "gpu", 3) != 0)
        return 0;
    const char *last = gres + strcspn(gres, "(,");
    while (last > gres && last[-1] >= '0' && last[-1] <= '9')
        last--;
    unsigned long n = last > gres && last[-1] == ':' ? strtoul(last, NULL, 10) : 1;
    return n <= 64 ? n : 64;
}

/* Checks the graph as it will run, on as many hosts as there will be nodes. */
static bool slurm_check(struct slurm *s)
{
    struct fl_args a = *s->a;
    char *hosts = fl_need_text("hosts.%s=[", s->group != NULL ? s->group : "");
    for (unsigned long i = 1; i <= s->nodes; i++) {
        char *more = fl_need_text("%s{host: node%lu, gpus: %lu}%s", hosts, i, slurm_gpus(s->a->gres), i < s->nodes ? ", " : "]");
        free(hosts);
        hosts = more;
    }
    const char **sets = fl_need(a.nsets + (size_t)3, sizeof *sets);
    for (uint32_t i = 0; i < a.nsets; i++)
        sets[i] = a.sets[i];
    if (s->group != NULL) {
        sets[a.nsets++] = hosts;
        sets[a.nsets++] = "cluster.launcher=slurm";
        if (!s->listens)
            sets[a.nsets++] = "cluster.listen=127.0.0.1";
    }
    a.sets = sets;
    struct fl_graph *g = fl_cmd_load(a.files[0], &a);
    bool ok = g != NULL && (g->nsegments > 0 || s->nodes == 1);
    if (g != NULL && !ok)
        fprintf(stderr, "flowrun slurm: %s: nothing is placed on hosts: want --nodes 1, or place: (docs/hosts.md)\n", a.files[0]);
    if (ok) {
        char self[PATH_MAX];
        ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
        s->name = fl_need_copy(g->name);
        s->flowrun = g->hosts != NULL ? fl_need_copy(g->hosts->flowrun) : fl_need_text("%.*s", (int)(len > 0 ? len : 0), self);
        ok = slurm_plain("the path of flowrun", s->flowrun) && slurm_plain_path("the graph's name", s->name);
    }
    fl_graph_free(g);
    free(sets);
    free(hosts);
    return ok;
}

/* ---- the script ---- */

static void slurm_options(FILE *f, const struct slurm *s)
{
    const struct { const char *flag, *value; } own[] = { { "partition", s->a->partition }, { "time", s->a->time }, { "gres", s->a->gres } };
    fprintf(f, "#SBATCH --job-name='%s'\n#SBATCH --nodes=%lu\n#SBATCH --ntasks-per-node=1\n#SBATCH --chdir='%s'\n#SBATCH --output='%s/slurm.log'\n#SBATCH --open-mode=append\n",
            s->name, s->nodes, s->dir, s->run);
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (own[i].value != NULL)
            fprintf(f, "#SBATCH --%s='%s'\n", own[i].flag, own[i].value);
    fprintf(f, "#SBATCH --requeue                # preempted, or its first node lost: Slurm starts the job again, and it goes on\n"
               "#SBATCH --no-kill                # another node lost: flowrun goes on without it\n"
               "#SBATCH --signal=B:TERM@120      # two minutes before time is up: drain\n");
    for (uint32_t i = 1; i < s->a->nfiles; i++) {
        const char *eq = strchr(s->a->files[i], '=');
        if (eq == NULL)
            fprintf(f, "#SBATCH %s\n", s->a->files[i]);
        else
            fprintf(f, "#SBATCH %.*s='%s'\n", (int)(eq - s->a->files[i]), s->a->files[i], eq + 1);
    }
}

/* flowrun takes the shell's place, so that Slurm's signals are its own. */
static void slurm_body(FILE *f, const struct slurm *s)
{
    if (s->group != NULL) {
        fprintf(f, "\nhosts=\nfor node in $(scontrol show hostnames \"$SLURM_JOB_NODELIST\"); do\n    hosts=\"$hosts{host: $node, gpus: ${SLURM_GPUS_ON_NODE:-0}}, \"\ndone\n");
        fprintf(f, "where=(--set cluster.launcher=slurm --set 'hosts.%s='\"[${hosts%%, }]\")\n", s->group);
        if (!s->listens)
            fprintf(f, "listen=$(hostname -I | cut -d' ' -f1)\nwhere+=(--set \"cluster.listen=${listen:-127.0.0.1}\")\n");
    }
    fprintf(f, "\nif [ -e '%s/config.json' ]; then\n    what=(--resume '%s')\nelse\n    what=('%s' --run '%s'", s->run, s->run, s->file, s->run);
    for (uint32_t i = 0; i < s->a->nsets; i++)
        fprintf(f, " --set '%s'", s->a->sets[i]);
    fprintf(f, ")\nfi\nexec '%s' \"${what[@]}\"%s\n", s->flowrun, s->group != NULL ? " \"${where[@]}\"" : "");
}

static char *slurm_script(const struct slurm *s)
{
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    if (f == NULL)
        abort();
    fprintf(f, "#!/bin/bash\n# The run %s: begun by the first job, gone on with by each one after it. The folder must be there when the job starts.\n", s->run);
    slurm_options(f, s);
    slurm_body(f, s);
    fclose(f);
    return text;
}

/* ---- submitting ---- */

/* sbatch's answer, the number of the job; what it complains of goes to the terminal. */
static int slurm_sbatch(const char *script, char answer[64])
{
    char *argv[] = { "sbatch", "--parsable", (char *)script, NULL };
    posix_spawn_file_actions_t fa;
    int out[2], status = 0;
    pid_t pid;
    if (pipe(out) != 0 || posix_spawn_file_actions_init(&fa) != 0)
        abort();
    posix_spawn_file_actions_adddup2(&fa, out[1], 1);
    posix_spawn_file_actions_addclose(&fa, out[0]);
    posix_spawn_file_actions_addclose(&fa, out[1]);
    int rc = posix_spawnp(&pid, argv[0], &fa, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&fa);
    close(out[1]);
    ssize_t n = rc == 0 ? fl_read_fill(out[0], answer, 63) : 0;
    close(out[0]);
    answer[n > 0 ? n : 0] = '\0';
    answer[strcspn(answer, ";\n")] = '\0';
    while (rc == 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (rc != 0)
        fprintf(stderr, "flowrun slurm: sbatch can't be started (%s): want Slurm's commands on the PATH of this host\n", strerror(rc));
    else if (status != 0 || answer[0] == '\0')
        fprintf(stderr, "flowrun slurm: sbatch has refused the job\n");
    return rc == 0 && status == 0 && answer[0] != '\0' ? 0 : 1;
}

static int slurm_submit(const struct slurm *s, const char *script)
{
    struct fl_err err = { 0 };
    char *path = fl_need_text("%s/job.sh", s->run), *config = fl_need_text("%s/config.json", s->run), job[64];
    int status = 2;
    if (access(path, F_OK) == 0 || access(config, F_OK) == 0) {
        fprintf(stderr, "flowrun slurm: %s: holds a run already%s%s\n", s->run, access(path, F_OK) == 0 ? "; go on with it by sbatch " : "", access(path, F_OK) == 0 ? path : "");
    } else if (fl_write_file(path, 0777, script, strlen(script), &err) != FL_OK) {
        fprintf(stderr, "flowrun slurm: %s\n", err.text);
        status = 1;
    } else {
        status = slurm_sbatch(path, job);
        if (status == 0)
            printf("job %s, run %s\n", job, s->run);
        else
            unlink(path);
    }
    if (status != 0)
        rmdir(s->run);                       /* if there is nothing in it */
    free(path);
    free(config);
    return status;
}

/* The script names the run directory, which is made only when the job is submitted. */
static bool slurm_run(struct slurm *s)
{
    struct fl_err err = { 0 };
    char name[FL_RUN_DIR], stamp[32];
    fl_rundir_stamp(stamp);
    if (!s->a->print && fl_rundir_make(s->a->run_dir, s->name, name, &err) != FL_OK) {
        fprintf(stderr, "flowrun slurm: %s\n", err.text);
        return false;
    }
    char *run = !s->a->print ? fl_need_copy(name) : s->a->run_dir != NULL ? fl_need_copy(s->a->run_dir) : fl_need_text("runs/%s-%s", s->name, stamp);
    s->run = run[0] == '/' ? fl_need_copy(run) : fl_need_text("%s/%s", s->dir, run);
    free(run);
    return true;
}

int fl_cmd_slurm(const struct fl_args *a)
{
    struct slurm *s = fl_need(1, sizeof *s);
    int status = 2;
    s->a = a;
    if (slurm_arguments(s) && slurm_group(s) && slurm_check(s)) {
        s->file = realpath(a->files[0], NULL);
        if (s->file == NULL || getcwd(s->dir, sizeof s->dir) == NULL)
            fprintf(stderr, "flowrun slurm: %s: %s\n", a->files[0], strerror(errno));
        else if (slurm_plain("the file", s->file) && slurm_plain_path("the folder", s->dir) && slurm_run(s)) {
            char *script = slurm_script(s);
            status = a->print ? (fputs(script, stdout), 0) : slurm_submit(s, script);
            free(script);
        }
    }
    free(s->file);
    free(s->group);
    free(s->run);
    free(s->flowrun);
    free(s->name);
    free(s);
    return status;
}
