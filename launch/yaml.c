/* YAML to a tree: libyaml's events, with every limit checked before anything grows. */
#include "launch/yaml.h"

#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "launch/mem.h"

struct yaml_frame { struct fl_node *node; char *key; struct fl_mark key_mark; bool have_key; };

struct yaml_reader {
    struct fl_complaints *complaints;
    struct yaml_frame stack[FL_YAML_MAX_DEPTH];
    uint32_t depth, nodes, documents;
    struct fl_node *root;
    bool broken;
};

static struct fl_mark yaml_mark(yaml_mark_t m)
{
    return (struct fl_mark){ (uint32_t)m.line + 1, (uint32_t)m.column + 1 };
}

static void yaml_break(struct yaml_reader *r, struct fl_mark mark, const char *what)
{
    if (!r->broken)
        fl_complain(r->complaints, mark, "%s", what);
    r->broken = true;
}

/* The list or map being filled; NULL outside of all. */
static struct yaml_frame *yaml_top(struct yaml_reader *r)
{
    return r->depth > 0 && r->stack[r->depth - 1].node != NULL ? &r->stack[r->depth - 1] : NULL;
}

/* A map's frame without a key takes this scalar as one. */
static bool yaml_take_key(struct yaml_reader *r, struct yaml_frame *top, const char *text, struct fl_mark mark)
{
    if (top == NULL || top->node->kind != FL_NODE_MAP || top->have_key)
        return false;
    struct fl_mark first;
    if (fl_node_get(top->node, text, &first) != NULL)
        fl_complain(r->complaints, mark, "key %s is given twice, first at line %u", text, first.line);
    top->key = fl_need_copy(text);
    top->key_mark = mark;
    top->have_key = true;
    return true;
}

/* Puts a finished or just opened node where it belongs; takes it. */
static bool yaml_place(struct yaml_reader *r, struct fl_node *node)
{
    struct yaml_frame *top = yaml_top(r);
    if (++r->nodes > FL_YAML_MAX_NODES) {
        yaml_break(r, node->mark, "more than 100000 values");
    } else if (top == NULL) {
        r->root = node;
        return true;
    } else if (top->node->kind == FL_NODE_LIST) {
        fl_node_push(top->node, node);
        return true;
    } else if (!top->have_key) {
        yaml_break(r, node->mark, "a key is text, not a list or a map");
    } else if (top->node->n == FL_YAML_MAX_KEYS) {
        yaml_break(r, node->mark, "more than 4096 keys in one map");
    } else {
        fl_node_set(top->node, top->key, top->key_mark, node);
    }
    if (r->broken) {
        fl_node_free(node);
        return false;
    }
    free(top->key);
    top->key = NULL;
    top->have_key = false;
    return true;
}

static void yaml_scalar(struct yaml_reader *r, const yaml_event_t *e, struct fl_mark mark)
{
    const char *text = (const char *)e->data.scalar.value;
    if (strlen(text) != e->data.scalar.length) {
        yaml_break(r, mark, "text with a zero byte");
        return;
    }
    struct yaml_frame *top = yaml_top(r);
    if (yaml_take_key(r, top, text, mark)) {
        if (++r->nodes > FL_YAML_MAX_NODES)
            yaml_break(r, mark, "more than 100000 values");
        return;
    }
    yaml_place(r, fl_node_scalar(text, e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE, mark));
}

static void yaml_open(struct yaml_reader *r, enum fl_node_kind kind, struct fl_mark mark)
{
    if (r->depth == FL_YAML_MAX_DEPTH) {
        yaml_break(r, mark, "lists and maps more than 32 deep");
        return;
    }
    struct fl_node *node = fl_node_new(kind, mark);
    if (yaml_place(r, node))
        r->stack[r->depth++] = (struct yaml_frame){ .node = node };
}

static void yaml_refuse(struct yaml_reader *r, const yaml_event_t *e, struct fl_mark mark)
{
    const yaml_char_t *anchor = NULL, *tag = NULL;
    switch (e->type) {
    case YAML_SCALAR_EVENT:         anchor = e->data.scalar.anchor;         tag = e->data.scalar.tag; break;
    case YAML_SEQUENCE_START_EVENT: anchor = e->data.sequence_start.anchor; tag = e->data.sequence_start.tag; break;
    case YAML_MAPPING_START_EVENT:  anchor = e->data.mapping_start.anchor;  tag = e->data.mapping_start.tag; break;
    case YAML_ALIAS_EVENT:          yaml_break(r, mark, "aliases (*name) are not taken; write the value out"); return;
    default: return;
    }
    if (anchor != NULL)
        yaml_break(r, mark, "anchors (&name) are not taken; write the value out");
    else if (tag != NULL)
        yaml_break(r, mark, "tags (!name) are not taken");
}

static void yaml_event(struct yaml_reader *r, const yaml_event_t *e)
{
    struct fl_mark mark = yaml_mark(e->start_mark);
    yaml_refuse(r, e, mark);
    if (r->broken)
        return;
    switch (e->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (++r->documents > 1)
            yaml_break(r, mark, "a second document; one file holds one");
        break;
    case YAML_SCALAR_EVENT:         yaml_scalar(r, e, mark); break;
    case YAML_SEQUENCE_START_EVENT: yaml_open(r, FL_NODE_LIST, mark); break;
    case YAML_MAPPING_START_EVENT:  yaml_open(r, FL_NODE_MAP, mark); break;
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:    r->depth--; break;
    default: break;
    }
}

/* The reader knows no line yet where it stumbles, only the byte. */
static struct fl_mark yaml_byte_mark(const yaml_parser_t *p)
{
    const unsigned char *at = p->input.string.start, *end = p->input.string.end;
    struct fl_mark mark = { 1, 1 };
    for (size_t i = 0; i < p->problem_offset && at + i < end; i++) {
        bool inside = (at[i] & 0xc0) == 0x80;      /* of a character of several bytes */
        mark.column = at[i] == '\n' ? 1 : mark.column + !inside;
        mark.line += at[i] == '\n';
    }
    return mark;
}

static void yaml_syntax(struct yaml_reader *r, const yaml_parser_t *p)
{
    if (p->error == YAML_MEMORY_ERROR) {
        yaml_break(r, (struct fl_mark){ 0, 0 }, "out of memory");
        return;
    }
    struct fl_mark mark = yaml_mark(p->problem_mark);
    const bool tab = p->error == YAML_SCANNER_ERROR && p->unread > 0 && *p->buffer.pointer == '\t';
    char *what = p->error == YAML_READER_ERROR
                     ? fl_need_text("not UTF-8 text: %s at byte %zu", p->problem, p->problem_offset)
                     : fl_need_text("not YAML: %s%s%s%s", p->problem ? p->problem : "?", p->context ? " " : "", p->context ? p->context : "",
                                    tab ? " (a tab; lines are indented by spaces)" : "");
    if (p->error == YAML_READER_ERROR)
        mark = yaml_byte_mark(p);
    yaml_break(r, mark, what);
    free(what);
}

static void yaml_run(struct yaml_reader *r, yaml_parser_t *p)
{
    for (bool end = false; !end && !r->broken;) {
        yaml_event_t e;
        if (!yaml_parser_parse(p, &e)) {
            yaml_syntax(r, p);
            return;
        }
        yaml_event(r, &e);
        end = e.type == YAML_STREAM_END_EVENT;
        yaml_event_delete(&e);
    }
    if (!r->broken && r->root == NULL)
        yaml_break(r, (struct fl_mark){ 1, 1 }, "nothing in it");
}

void fl_yaml_parse(const char *text, size_t len, struct fl_complaints *complaints, struct fl_node **out)
{
    struct yaml_reader r = { .complaints = complaints };
    *out = NULL;
    if (len > FL_YAML_MAX_BYTES) {
        fl_complain(complaints, (struct fl_mark){ 1, 1 }, "%zu bytes, at most 16 MiB are read", len);
        return;
    }
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser)) {
        fl_complain(complaints, (struct fl_mark){ 0, 0 }, "out of memory");
        return;
    }
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
    yaml_run(&r, &parser);
    yaml_parser_delete(&parser);
    for (uint32_t i = 0; i < r.depth; i++)
        free(r.stack[i].key);
    if (r.broken)
        fl_node_free(r.root);
    else
        *out = r.root;
}
