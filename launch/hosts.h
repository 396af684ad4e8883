/* Stages on other hosts (docs/hosts.md): what the file says of hosts, which stretches of the graph go there, and what is run instead. */
#ifndef FL_LAUNCH_HOSTS_H
#define FL_LAUNCH_HOSTS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "launch/graph.h"

struct fl_config;
struct fl_node;

#define FL_MAX_HOSTS 256

struct fl_far { char *name; uint32_t gpus, rate; bool join; };   /* another host; rate: tiles a second that its stages take, 0 = not said; join: its agent is started by hand */
struct fl_group { char *name; struct fl_mark mark; uint32_t n; struct fl_far *hosts; };
struct fl_launcher;

/* hosts: and cluster: as read. */
struct fl_hosts {
    uint32_t ngroups; struct fl_group *groups;
    const struct fl_launcher *launcher;
    uint32_t ncommand; char **command;               /* of the launcher exec; none = flowrun itself */
    char    *flowrun, *listen;                       /* its path there; this host's address as others reach it */
    double   silence;                                /* seconds */
    uint64_t link;                                   /* bytes a second from here to all of them; 0 = not said */
    bool     insecure, mixed;
};

/* A stretch of the graph that goes to a group of hosts: connected entries that read one entry of this host and of which one is read here. */
struct fl_segment {
    uint32_t group, entry, exit;                     /* entry: what it reads, of this host; exit: what is read of it */
    uint64_t was;                                    /* bytes a batch that would travel, had nothing been placed there for the link's sake; 0 = nothing was */
    uint64_t in_slab, out_slab;                      /* bytes of a batch as it arrives there, and of what is made there, here */
    uint32_t window[FL_MAX_HOSTS];                   /* batches at once, by host */
    json_t  *send, *give, *pass;                     /* lists of tensor names: that go there; that come back; that go on as they were */
};

/* ---- launchers: a table of functions ---- */

struct fl_launcher {
    const char *name, *help;
    /* The command that starts the agent of this host, a list of texts; the agent's standard input and output are the command's. */
    json_t *(*argv)(const struct fl_hosts *, const char *host);
    bool here;                                       /* its hosts are this machine: 127.0.0.1 unless listen says otherwise */
};
extern const struct fl_launcher fl_launchers[];      /* ends with a NULL name */

/* hosts_read.c: the keys hosts, cluster, local; what is wrong is a complaint. NULL when there are no hosts. */
struct fl_hosts *fl_hosts_read(struct fl_config *, const struct fl_node *root);
void fl_hosts_free(struct fl_hosts *);
uint32_t fl_hosts_find(const struct fl_hosts *, const char *group);                       /* index + 1; 0 = there is none */
uint32_t fl_hosts_instances(const struct fl_graph *, const struct fl_stage_node *, uint32_t host);   /* of a placed stage on that host of its group */

/* place.c: g->segments from the entries' place, once shapes are known; what can't be is a complaint. Where the link is known to be the limit, entries
 * that the file doesn't place go there, too. */
void fl_place(const struct fl_config *, const uint32_t *order, struct fl_graph *);
void fl_segment_done(struct fl_segment *);
/* Bytes a batch that travel there; tiles a second that its hosts take, 0 = not said. */
uint64_t fl_segment_sent(const struct fl_graph *, const struct fl_segment *);
uint64_t fl_segment_rate(const struct fl_graph *, const struct fl_segment *);
/* The stage before which least would travel, if it and those between it and the stretch were placed there too, and how much; UINT32_MAX: none. */
uint32_t fl_segment_better(const struct fl_graph *, uint32_t number, uint64_t *least);

/* fold.c: the graph of this host: for each segment one entry of stage `remote`, named as its exit. NULL after a line on stderr. */
struct fl_graph *fl_fold(const struct fl_graph *);
/* The graph that the agent of a host runs, from its part (a member of the option hosts of `remote`); its first stage is the inlet, its last
 * the outlet, to which `line` (JSON object of options) is added. NULL after err. */
struct fl_graph *fl_part_graph(const json_t *part, const json_t *line, struct fl_err *);

#endif
