/* The keys hosts and cluster. */
#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "launch/config.h"
#include "launch/hosts.h"
#include "launch/mem.h"

static const char *const hosts_keys[] = { "host", "gpus", "rate", "join", NULL };
static const char *const cluster_keys[] = { "launcher", "command", "flowrun", "listen", "silence", "insecure", "mixed", "link", NULL };

static void hosts_unknown(struct fl_config *c, const struct fl_node *map, const char *what, const char *const *known)
{
    for (uint32_t i = 0; i < map->n; i++) {
        const char *const *k = known;
        while (*k != NULL && strcmp(*k, map->keys[i]) != 0)
            k++;
        if (*k == NULL)
            fl_complain(c->complaints, map->key_marks[i], "%s: unknown key %.60s%s", what, map->keys[i], fl_did_you_mean(map->keys[i], known));
    }
}

/* A name goes into commands: nothing that a shell or an option parser would take for its own. */
static bool hosts_name_ok(const char *s)
{
    size_t len = strlen(s);
    return len > 0 && len < 64 && isalnum((unsigned char)s[0]) && s[strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-@:")] == '\0';
}

static void hosts_one(struct fl_config *c, struct fl_group *g, const struct fl_node *n)
{
    const struct fl_node *name = n->kind == FL_NODE_MAP ? fl_node_get(n, "host", NULL) : n, *gpus = NULL, *rate = NULL, *join = NULL;
    if (n->kind == FL_NODE_MAP) {
        hosts_unknown(c, n, "hosts", hosts_keys);
        gpus = fl_node_get(n, "gpus", NULL);
        rate = fl_node_get(n, "rate", NULL);
        join = fl_node_get(n, "join", NULL);
    }
    struct fl_far *h = &g->hosts[g->n];
    if (name == NULL || name->text == NULL || name->kind == FL_NODE_NULL || !hosts_name_ok(name->text)) {
        fl_complain(c->complaints, n->mark, "hosts.%s: %s is no host, want a name, or {host: NAME, gpus: N}", g->name, name != NULL ? fl_node_say(name) : "a map without host");
        return;
    }
    for (uint32_t i = 0; i < g->n; i++)
        if (strcmp(g->hosts[i].name, name->text) == 0)
            fl_complain(c->complaints, name->mark, "hosts.%s: %s is there twice", g->name, name->text);
    if (gpus != NULL && (gpus->kind != FL_NODE_INT || gpus->i < 0 || gpus->i > 64))
        fl_complain(c->complaints, gpus->mark, "hosts.%s: gpus is %s, want a whole number from 0 to 64", g->name, fl_node_say(gpus));
    else if (gpus != NULL)
        h->gpus = (uint32_t)gpus->i;
    if (rate != NULL && (rate->kind != FL_NODE_INT || rate->i < 1 || rate->i > 1000000000))
        fl_complain(c->complaints, rate->mark, "hosts.%s: rate is %s, want tiles a second, a whole number", g->name, fl_node_say(rate));
    else if (rate != NULL)
        h->rate = (uint32_t)rate->i;
    if (join != NULL && join->kind != FL_NODE_BOOL)
        fl_complain(c->complaints, join->mark, "hosts.%s: join is %s, want true or false", g->name, fl_node_say(join));
    else if (join != NULL)
        h->join = join->b;
    h->name = fl_need_copy(name->text);
    g->n++;
}

static void hosts_group(struct fl_config *c, struct fl_hosts *h, const char *name, struct fl_mark mark, const struct fl_node *list)
{
    h->groups = fl_need_grow(h->groups, h->ngroups + (size_t)1, sizeof *h->groups);
    struct fl_group *g = &h->groups[h->ngroups++];
    *g = (struct fl_group){ .name = fl_need_copy(name), .mark = mark };
    if (list->kind != FL_NODE_LIST || list->n == 0 || list->n > FL_MAX_HOSTS) {
        fl_complain(c->complaints, list->mark, "hosts.%.60s is %s, want a list of 1 to %d hosts", name, list->kind == FL_NODE_LIST ? "empty or too long" : fl_node_say(list), FL_MAX_HOSTS);
        return;
    }
    g->hosts = fl_need(list->n, sizeof *g->hosts);
    for (uint32_t i = 0; i < list->n; i++)
        hosts_one(c, g, list->items[i]);
}

/* ---- cluster ---- */

static void cluster_bool(struct fl_config *c, const struct fl_node *map, const char *key, bool *out)
{
    const struct fl_node *n = fl_node_get(map, key, NULL);
    if (n != NULL && n->kind != FL_NODE_BOOL)
        fl_complain(c->complaints, n->mark, "cluster.%s is %s, want true or false", key, fl_node_say(n));
    else if (n != NULL)
        *out = n->b;
}

static void cluster_text(struct fl_config *c, const struct fl_node *map, const char *key, char **out)
{
    const struct fl_node *n = fl_node_get(map, key, NULL);
    if (n != NULL && (n->text == NULL || n->text[0] == '\0' || strpbrk(n->text, "'\n") != NULL))
        fl_complain(c->complaints, n->mark, "cluster.%s is %s, want a text without quotes", key, fl_node_say(n));
    else if (n != NULL)
        *out = fl_need_copy(n->text);
}

static void cluster_launcher(struct fl_config *c, const struct fl_node *map, struct fl_hosts *h)
{
    const struct fl_node *n = fl_node_get(map, "launcher", NULL);
    const char *names[8];
    uint32_t k = 0;
    bool known = n == NULL;
    for (; fl_launchers[k].name != NULL; k++) {
        names[k] = fl_launchers[k].name;
        if (n != NULL && n->text != NULL && strcmp(n->text, names[k]) == 0) {
            h->launcher = &fl_launchers[k];
            known = true;
        }
    }
    names[k] = NULL;
    if (!known)
        fl_complain(c->complaints, n->mark, "cluster.launcher is %s, want ssh, slurm or exec%s", fl_node_say(n), n->text != NULL ? fl_did_you_mean(n->text, names) : "");
}

static void cluster_command(struct fl_config *c, const struct fl_node *map, struct fl_hosts *h)
{
    struct fl_mark mark = map->mark;
    const struct fl_node *n = fl_node_get(map, "command", &mark);
    if (n == NULL)
        return;
    if (h->launcher->argv != fl_launchers[2].argv)
        fl_complain(c->complaints, mark, "cluster.command goes with launcher: exec");
    if (n->kind != FL_NODE_LIST || n->n == 0)
        fl_complain(c->complaints, n->mark, "cluster.command is %s, want a list of words", fl_node_say(n));
    h->command = fl_need(n->n + (size_t)1, sizeof *h->command);
    for (uint32_t i = 0; n->kind == FL_NODE_LIST && i < n->n; i++)
        if (n->items[i]->text == NULL)
            fl_complain(c->complaints, n->items[i]->mark, "cluster.command has %s, want words", fl_node_say(n->items[i]));
        else
            h->command[h->ncommand++] = fl_need_copy(n->items[i]->text);
}

/* As links are sold: bits a second. */
static void cluster_link(struct fl_config *c, const struct fl_node *map, uint64_t *bytes)
{
    const struct fl_node *n = fl_node_get(map, "link", NULL);
    char *end = NULL;
    double v = n != NULL && n->text != NULL ? strtod(n->text, &end) : 0, unit = end == NULL ? 0 : strcmp(end, "Gbit") == 0 ? 1e9 : strcmp(end, "Mbit") == 0 ? 1e6 : 0;
    if (n != NULL && !(v * unit >= 8 && v * unit < 1e15))
        fl_complain(c->complaints, n->mark, "cluster.link is %s, want a rate as 1Gbit or 100Mbit", fl_node_say(n));
    else if (n != NULL)
        *bytes = (uint64_t)(v * unit / 8);
}

static void cluster_read(struct fl_config *c, const struct fl_node *map, struct fl_hosts *h)
{
    hosts_unknown(c, map, "cluster", cluster_keys);
    cluster_launcher(c, map, h);
    cluster_command(c, map, h);
    cluster_text(c, map, "flowrun", &h->flowrun);
    cluster_text(c, map, "listen", &h->listen);
    cluster_bool(c, map, "insecure", &h->insecure);
    cluster_bool(c, map, "mixed", &h->mixed);
    cluster_link(c, map, &h->link);
    const struct fl_node *n = fl_node_get(map, "silence", NULL);
    if (n != NULL && ((n->kind != FL_NODE_INT && n->kind != FL_NODE_FLOAT) || !(n->f >= 1 && n->f <= 3600)))
        fl_complain(c->complaints, n->mark, "cluster.silence is %s, want seconds from 1 to 3600", fl_node_say(n));
    else if (n != NULL)
        h->silence = n->f;
}

static void cluster_defaults(struct fl_config *c, struct fl_hosts *h, struct fl_mark mark)
{
    char self[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
    if (h->flowrun == NULL)
        h->flowrun = fl_need_text("%.*s", (int)(len > 0 ? len : 0), self);
    if (h->listen == NULL && h->launcher->here)
        h->listen = fl_need_copy("127.0.0.1");
    else if (h->listen == NULL)
        fl_complain(c->complaints, mark, "cluster.listen is missing: want this host's address as the others reach it");
}

struct fl_hosts *fl_hosts_read(struct fl_config *c, const struct fl_node *root)
{
    struct fl_mark mark = root->mark, at = root->mark;
    const struct fl_node *hosts = fl_node_get(root, "hosts", &mark), *cluster = fl_node_get(root, "cluster", &at);
    if (cluster != NULL && hosts == NULL)
        fl_complain(c->complaints, at, "cluster: there are no hosts");
    if (hosts == NULL)
        return NULL;
    struct fl_hosts *h = fl_need(1, sizeof *h);
    h->launcher = &fl_launchers[0];
    h->silence = 3;
    if (hosts->kind != FL_NODE_MAP)
        fl_complain(c->complaints, hosts->mark, "hosts is %s, want a map of groups, each a list of hosts", fl_node_say(hosts));
    for (uint32_t i = 0; hosts->kind == FL_NODE_MAP && i < hosts->n; i++)
        hosts_group(c, h, hosts->keys[i], hosts->key_marks[i], hosts->items[i]);
    if (cluster != NULL && cluster->kind != FL_NODE_MAP)
        fl_complain(c->complaints, cluster->mark, "cluster is %s, want a map of %s", fl_node_say(cluster), "launcher, command, flowrun, listen, silence, insecure, mixed, link");
    else if (cluster != NULL)
        cluster_read(c, cluster, h);
    cluster_defaults(c, h, cluster != NULL ? at : mark);
    return h;
}

void fl_hosts_free(struct fl_hosts *h)
{
    if (h == NULL)
        return;
    for (uint32_t i = 0; i < h->ngroups; i++) {
        for (uint32_t k = 0; k < h->groups[i].n; k++)
            free(h->groups[i].hosts[k].name);
        free(h->groups[i].hosts);
        free(h->groups[i].name);
    }
    for (uint32_t i = 0; i < h->ncommand; i++)
        free(h->command[i]);
    free(h->command);
    free(h->groups);
    free(h->flowrun);
    free(h->listen);
    free(h);
}

uint32_t fl_hosts_find(const struct fl_hosts *h, const char *group)
{
    for (uint32_t i = 0; h != NULL && i < h->ngroups; i++)
        if (strcmp(h->groups[i].name, group) == 0)
            return i + 1;
    return 0;
}

uint32_t fl_hosts_instances(const struct fl_graph *g, const struct fl_stage_node *n, uint32_t host)
{
    uint32_t gpus = g->hosts->groups[n->place - 1].hosts[host].gpus;
    return !n->per_gpu ? n->instances : gpus > 0 ? gpus : 1;
}
