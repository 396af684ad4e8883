/* The front half's working form of a configuration: entries as written, then expanded, described and joined into a graph. */
#ifndef FL_LAUNCH_CONFIG_H
#define FL_LAUNCH_CONFIG_H

#include "launch/complain.h"
#include "launch/describe.h"
#include "launch/yaml.h"
#include "runtime/labels.h"

#define FL_MAX_ENTRIES   4096
#define FL_MAX_INSTANCES 1024

struct fl_label_set {
    struct fl_mark mark;
    uint32_t n, rest_off;
    uint64_t exclusive;
    char   **names;                     /* owned; NULL = none stated */
    bool     groups;                    /* exclusive and rest_off are stated too */
};

struct fl_entry {
    char    name[FL_NAME_MAX];
    char   *full;                       /* before it was cut to FL_NAME_MAX */
    char   *base;                       /* the name as written, shared by all expansions */
    char   *stage;
    char   *exe;                        /* NULL until found */
    struct fl_mark mark, stage_mark, options_mark, instances_mark, place_mark;
    struct fl_node *from;               /* LIST of STR, or NULL */
    struct fl_node *options, *matrix;   /* MAP or NULL */
    uint32_t instances, threads;
    bool     any_threads;               /* auto: threads is settled by fl_threads_settle */
    uint32_t place;                     /* group of hosts + 1; 0 = here */
    bool     stays;                     /* place: here */
    bool     per_gpu;
    /* filled by describe, check and flow */
    json_t  *table, *given, *describe;
    uint32_t nfrom, *from_ids;          /* indices of entries */
    bool     bad;                       /* a complaint stands: what follows from it isn't told as well */
};

struct fl_config {
    struct fl_complaints *complaints;
    const char *file;
    char     name[64];
    char    *origin;                    /* `file:` of a resolved configuration, else NULL */
    bool     resolved;                  /* read from RUN/config.json */
    bool     bounded;                   /* memory is given */
    uint64_t seed, memory;
    struct fl_mark memory_mark, stages_mark;
    double   stall_timeout, open_timeout, drain_timeout;
    struct fl_label_set labels;
    uint32_t npath;  char **path;       /* stage_path, absolute */
    uint32_t nentries; struct fl_entry *entries;
    struct fl_node *record;             /* the key record as written, or NULL */
    struct fl_node *matrix;             /* the key matrix: variables that entries name; MAP or NULL */
    bool     folders;                   /* the folders of files to be written are made in time */
    const json_t *made;                 /* files that are made before: those need not be there; NULL = none */
    bool     local;                     /* place: is ignored */
    struct fl_hosts *hosts;             /* or NULL */
    json_t  *hosts_text, *cluster_text; /* those keys as written, or NULL */
};

/* graph.c: the file (all->file) as a tree, or NULL after complaints. */
struct fl_node *fl_graph_read(struct fl_complaints *all);

/* sets.c: puts --set into the tree; the i-th text alone, where only part of the tree is meant. config.c: reads the tree, or its name
 * alone. Complaints go to config->complaints. */
void fl_config_set(struct fl_config *, struct fl_node *root, const char *text, uint32_t i);
void fl_config_name(struct fl_config *, const struct fl_node *root);
void fl_config_sets(struct fl_config *, struct fl_node *root, const char *const *sets, uint32_t nsets);
void fl_config_read(struct fl_config *, const struct fl_node *root);
void fl_config_done(struct fl_config *);
void fl_entry_done(struct fl_entry *);
void fl_label_set_done(struct fl_label_set *);
bool fl_stage_name_ok(const char *name);

/* matrix.c: entries with a matrix become one for each combination; {var} is replaced. */
void fl_matrix_expand(struct fl_config *);
/* A map of variables can be expanded, into *count combinations (more than FL_MAX_ENTRIES: one more than that); false after complaints that begin with name. */
bool fl_matrix_valid(struct fl_complaints *, const char *name, const struct fl_node *vars, uint64_t *count);
/* Replaces the variables of one combination in a tree (NULL: none); other braces stay. Gives NAME-value-value, owned by the caller. */
char *fl_matrix_pick(struct fl_config *, const char *name, const struct fl_node *vars, uint64_t combination, struct fl_node *in);
/* config.c. A matrix as written: a map of variables, or names of those in `shared` (may be NULL). A new map, or NULL after a complaint. */
struct fl_node *fl_matrix_read(struct fl_complaints *, const char *name, const struct fl_node *n, const struct fl_node *shared);
void fl_entry_name(struct fl_entry *);      /* name from full: what is too long is cut and gets a hash */

/* taps.c: the key record becomes an entry of stage `record` for each edge it names. */
void fl_taps_expand(struct fl_config *);
/* Divides what `record: {keep}` allows among the edges by the bytes of a batch on each. */
/* Bytes of one batch that this tap reads, with what is passed on by reference and its heads. */
double fl_taps_bytes(const struct fl_graph *, const struct fl_stage_node *tap);
void fl_taps_share(const struct fl_config *, struct fl_graph *);

/* check.c: options against the stage's table; what was given as JSON, false after complaints. `prefix` names the entry. */
/* folders: those of files to be written need not be there yet; made (NULL: none): files that need not either. */
struct fl_absent { bool folders; const json_t *made; };
bool fl_check_options(struct fl_complaints *, const char *prefix, const json_t *table, const struct fl_node *options,
                      struct fl_mark options_mark, struct fl_absent absent, json_t **given);
/* Whether a text of an option is a file that is made (DIR/ followed by *: any in that folder), a folder above it, or a pattern that begins with such. */
bool fl_file_made(const char *text, const char *file);
/* Default of an option as JSON, or NULL when it has none. */
json_t *fl_option_default(const json_t *option);

/* clash.c: complaints about files to be written that the graph reads as well, or that two options name. */
void fl_clash_check(struct fl_config *);

/* topology.c: fills from_ids; complaints about names, sources, sinks, unread outputs, cycles. order (n entries) is
 * topological with the source first; false when there is none. */
bool fl_topology(struct fl_config *, uint32_t *order);
const json_t *fl_entry_port(const struct fl_entry *, const char *dir);   /* of what was described last; NULL when there is none */

/* agree.c: one label set from what the file and the stages state. */
void fl_labels_default(struct fl_label_set *);
void fl_labels_read(struct fl_complaints *, const struct fl_node *, struct fl_label_set *);
void fl_labels_agree(const struct fl_config *, struct fl_label_set *out);
bool fl_labels_same(const struct fl_label_set *, const struct fl_label_set *);
json_t *fl_labels_json(const struct fl_label_set *);

/* models.c: the option `models` of stages that have one, where it isn't given: what arrives is called so. named [nentries]: which got theirs; false
 * when none did. Complaints where one is given and counts another number. */
bool fl_models_name(struct fl_config *, bool *named);

/* snapshots.c: the option `snapshots` of stages that have one, where it isn't given: the weights of all that stand upstream. */
void fl_snapshots_name(struct fl_config *);

/* flow.c: tensor sets along the edges into g->stages (topological, from[] filled); complaints about what doesn't fit. */
void fl_flow_check(const struct fl_config *, const uint32_t *order, struct fl_graph *);

/* size.c: slab sizes, window. */
void fl_size_plan(const struct fl_config *, const uint32_t *order, struct fl_graph *);

/* resolve.c: the whole configuration as JSON. */
json_t *fl_resolve(const struct fl_config *, const struct fl_graph *);

#endif
