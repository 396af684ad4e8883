/* YAML (and so JSON) read into a tree that knows where each value stood. */
#ifndef FL_LAUNCH_YAML_H
#define FL_LAUNCH_YAML_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "launch/complain.h"

#define FL_YAML_MAX_DEPTH 32
#define FL_YAML_MAX_NODES 100000
#define FL_YAML_MAX_KEYS  4096      /* of one map: looking one up is linear */
#define FL_YAML_MAX_BYTES (16u << 20)

enum fl_node_kind { FL_NODE_NULL, FL_NODE_BOOL, FL_NODE_INT, FL_NODE_FLOAT, FL_NODE_STR, FL_NODE_LIST, FL_NODE_MAP };

struct fl_node {
    enum fl_node_kind kind;
    struct fl_mark    mark;
    bool     b;
    int64_t  i;
    double   f;                   /* also set for an INT */
    char    *text;                /* of a scalar, as written; NULL for LIST and MAP */
    uint32_t n, cap;              /* LIST: items; MAP: keys and items */
    struct fl_node **items;
    char    **keys;
    struct fl_mark *key_marks;
};

/* Reads one document. Refused: more than one document, none, anchors, aliases, tags, keys twice or not plain text, text with a
 * zero byte, depth, nodes or bytes over the limits above, and what libyaml can't read. *out is NULL when reading broke off;
 * a key given twice is a complaint but reading goes on. */
void fl_yaml_parse(const char *text, size_t len, struct fl_complaints *, struct fl_node **out);
void fl_node_free(struct fl_node *);                            /* accepts NULL */

struct fl_node *fl_node_new(enum fl_node_kind, struct fl_mark);
struct fl_node *fl_node_copy(const struct fl_node *);
/* A scalar: plain text is null, true, false, a number or text by the YAML 1.2 core rules; quoted text is text. */
struct fl_node *fl_node_scalar(const char *text, bool plain, struct fl_mark);
/* Value of a key, or NULL; *key_mark (may be NULL) is where the key stands. */
struct fl_node *fl_node_get(const struct fl_node *map, const char *key, struct fl_mark *key_mark);
/* Sets or replaces; takes value. A replaced value keeps its place in the order of keys. */
void fl_node_set(struct fl_node *map, const char *key, struct fl_mark key_mark, struct fl_node *value);
void fl_node_push(struct fl_node *list, struct fl_node *value);
/* New reference. INT and FLOAT become numbers; infinite and not-a-number become text. */
json_t *fl_node_json(const struct fl_node *);
/* "text \"x\"", "the number 3", "a list", ...: for complaints; in a static buffer. */
const char *fl_node_say(const struct fl_node *);

#endif
