/* Tensor sets along the edges: what arrives, whether it fits, what leaves. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launch/config.h"
#include "launch/mem.h"

struct flow {
    const struct fl_config *c;
    const struct fl_entry  *e;         /* the stage in hand */
    struct fl_graph        *g;
    struct fl_stage_node   *node;
    uint32_t letters[26];              /* of this stage; 0 = not known yet */
    bool     silent[FL_MAX_ENTRIES];   /* by position: what leaves isn't known, a complaint stands */
};

static void flow_wrong(struct flow *f, const struct fl_stage_node *from, const char *what)
{
    if (from != NULL)
        fl_complain(f->c->complaints, f->e->mark, "%s: %s (%s -> %s)", f->e->name, what, from->name, f->e->name);
    else
        fl_complain(f->c->complaints, f->e->mark, "%s: %s", f->e->name, what);
    f->silent[f->node - f->g->stages] = true;
}

/* ---- dimensions ---- */

static int64_t flow_option(const struct flow *f, const char *name)
{
    size_t i;
    json_t *o;
    const json_t *given = json_object_get(f->e->given, name);
    if (json_is_integer(given))
        return json_integer_value(given);
    json_array_foreach(json_object_get(f->e->describe, "options"), i, o)
        if (strcmp(json_string_value(json_object_get(o, "name")), name) == 0 && json_is_string(json_object_get(o, "default")))
            return strtoll(json_string_value(json_object_get(o, "default")), NULL, 10);
    return 0;
}

/* Value of a shape's token, 0 when not known; *letter is 0 unless it is one. */
static uint32_t flow_token(const struct flow *f, const char *token, char *letter)
{
    *letter = '\0';
    if (token[0] >= 'A' && token[0] <= 'Z' && token[1] == '\0') {
        *letter = token[0];
        return f->letters[token[0] - 'A'];
    }
    int64_t v = isdigit((unsigned char)token[0]) ? strtoll(token, NULL, 10) : flow_option(f, token);
    return v > 0 && v <= UINT32_MAX ? (uint32_t)v : 0;
}

static const char *flow_noun(char letter)
{
    switch (letter) {
    case 'B': return "tiles";
    case 'V': return "views";
    case 'K': return "snapshots";
    case 'L': return "labels";
    case 'C': return "channels";
    case 'H': return "rows";
    case 'W': return "columns";
    case 'S': return "pixels a side";
    default:  return NULL;
    }
}

static void flow_dim_wrong(struct flow *f, const struct fl_stage_node *from, const char *name, uint32_t d, const char *token,
                           char letter, uint32_t got, uint32_t want)
{
    char what[200];
    if (flow_noun(letter) != NULL)
        snprintf(what, sizeof what, "%s has %u %s (%c), want %u", name, got, flow_noun(letter), letter, want);
    else
        snprintf(what, sizeof what, "%s has %u in dimension %u (%.40s), want %u", name, got, d + 1, token, want);
    flow_wrong(f, from, what);
}

static void flow_shape_text(const json_t *shape, char *text, size_t size)
{
    size_t i;
    json_t *v;
    text[0] = '\0';
    json_array_foreach(shape, i, v) {
        size_t used = strlen(text);
        snprintf(text + used, size - used, "%s%.20s", i ? "," : "", json_string_value(v));
    }
}

/* ---- one tensor that arrives ---- */

static uint32_t flow_dtype_bits(const json_t *list)
{
    size_t i;
    json_t *v;
    uint32_t bits = 0;
    json_array_foreach(list, i, v)
        bits |= 1u << fl_dtype_parse(json_string_value(v), json_string_length(v));
    return bits;
}

static void flow_dtype_text(uint32_t bits, char *text, size_t size)
{
    text[0] = '\0';
    for (int t = 1; t < FL_DTYPE_COUNT; t++)
        if (bits & 1u << t) {
            size_t used = strlen(text);
            snprintf(text + used, size - used, "%s%s", used ? "|" : "", fl_dtype_name(t));
        }
}

static void flow_match(struct flow *f, const struct fl_stage_node *from, const json_t *spec, const struct fl_flow_tensor *t)
{
    const json_t *shape = json_object_get(spec, "shape");
    const json_t *bound = json_object_get(json_object_get(f->e->describe, "dtype"), t->name);
    uint32_t bits = bound != NULL ? 1u << fl_dtype_parse(json_string_value(bound), json_string_length(bound)) : flow_dtype_bits(json_object_get(spec, "dtype"));
    char what[320], got[64], want[160];
    if ((bits & t->dtypes) == 0) {
        flow_dtype_text(t->dtypes, got, sizeof got);
        flow_dtype_text(bits, want, sizeof want);
        snprintf(what, sizeof what, "%s is %s, want %s", t->name, got, want);
        flow_wrong(f, from, what);
    }
    if (t->ndim != json_array_size(shape)) {
        flow_shape_text(shape, want, sizeof want);
        snprintf(what, sizeof what, "%s has %u dimensions, want [%s]", t->name, t->ndim, want);
        flow_wrong(f, from, what);
        return;
    }
    for (uint32_t d = 0; d < t->ndim; d++) {
        char letter;
        const char *token = json_string_value(json_array_get(shape, d));
        uint32_t value = flow_token(f, token, &letter);
        if (value != 0 && t->shape[d] != 0 && value != t->shape[d])
            flow_dim_wrong(f, from, t->name, d, token, letter, t->shape[d], value);
        else if (value == 0 && letter != '\0')
            f->letters[letter - 'A'] = t->shape[d];
    }
}

/* The marks travel with every batch; no port needs to say so. */
static bool flow_is_mark(const char *name)
{
    return strcmp(name, "status") == 0 || strcmp(name, "reason") == 0;
}

static const struct fl_flow_tensor *flow_find(const struct fl_stage_node *n, const char *name)
{
    for (uint32_t i = 0; i < n->ntensors; i++)
        if (strcmp(n->tensors[i].name, name) == 0)
            return &n->tensors[i];
    return NULL;
}

/* name: the tensor, or those of which one must be there. asked: the port could do without it, these options can't. */
static void flow_missing(struct flow *f, const char *name, bool asked)
{
    char what[400];
    const struct fl_stage_node *from = f->node->nfrom == 1 ? &f->g->stages[f->node->from[0]] : NULL;
    snprintf(what, sizeof what, "no tensor %s arrives%s", name, asked ? ", which its options ask for" : "");
    for (uint32_t k = 0, n = 0; k < f->node->nfrom; k++)
        for (uint32_t i = 0; i < f->g->stages[f->node->from[k]].ntensors; i++, n++) {
            size_t used = strlen(what);
            snprintf(what + used, sizeof what - used, "%s%s", n ? ", " : "; there are ", f->g->stages[f->node->from[k]].tensors[i].name);
        }
    flow_wrong(f, from, what);
}

/* Views that are yet to be painted say for which side of the network's input they were made; the stage that paints them must want that. */
static void flow_side(struct flow *f)
{
    uint32_t want = f->letters['S' - 'A'], side = 0;
    bool same = true;
    for (uint32_t k = 0; k < f->node->nfrom; k++) {
        const struct fl_stage_node *from = &f->g->stages[f->node->from[k]];
        char what[200];
        if (want != 0 && from->side != 0 && from->side != want && !f->silent[f->node - f->g->stages]) {
            snprintf(what, sizeof what, "the views are made for an input of %u pixels a side (S), want %u (option size of the stage that makes them)",
                     from->side, want);
            flow_wrong(f, from, what);
        }
        same &= side == 0 || from->side == 0 || side == from->side;
        side = side != 0 ? side : from->side;
    }
    f->node->side = want == 0 ? (same ? side : 0) : side == 0 ? want : 0;      /* who wants them paints them, who gets none makes them */
}

static void flow_arrive(struct flow *f, const json_t *in)
{
    size_t i;
    json_t *spec;
    char either[160] = "";
    bool any = false;
    json_array_foreach(json_object_get(in, "tensors"), i, spec) {
        const char *name = json_string_value(json_object_get(spec, "name"));
        bool found = false;
        for (uint32_t k = 0; k < f->node->nfrom; k++) {
            const struct fl_stage_node *from = &f->g->stages[f->node->from[k]];
            const struct fl_flow_tensor *t = flow_find(from, name);
            found |= t != NULL;
            if (t != NULL)
                flow_match(f, from, spec, t);
        }
        if (json_is_true(json_object_get(spec, "either"))) {
            size_t used = strlen(either);
            snprintf(either + used, sizeof either - used, "%s%s", used > 0 ? " or " : "", name);
            any |= found;
        } else if (!found && !flow_is_mark(name)) {
            bool optional = json_is_true(json_object_get(spec, "optional"));
            if (!optional || fl_listed(json_object_get(f->e->describe, "want"), name))
                flow_missing(f, name, optional);
        }
    }
    if (either[0] != '\0' && !any)
        flow_missing(f, either, false);
    flow_side(f);
}

/* ---- what leaves ---- */

static bool flow_room(struct flow *f)
{
    if (f->node->ntensors < FL_MAX_TENSORS)
        return true;
    if (!f->silent[f->node - f->g->stages]) {
        char what[80];
        snprintf(what, sizeof what, "more than %d tensors travel in one batch", FL_MAX_TENSORS);
        flow_wrong(f, NULL, what);
    }
    return false;
}

static bool flow_taken(const json_t *in, const char *name)
{
    size_t i;
    json_t *spec;
    json_array_foreach(json_object_get(in, "tensors"), i, spec)
        if (strcmp(json_string_value(json_object_get(spec, "name")), name) == 0 || strcmp(json_string_value(json_object_get(spec, "name")), "*") == 0)
            return json_is_true(json_object_get(spec, "taken"));
    return false;
}

/* At a join the same tensor by two ways is one, two of a name are two: all must find room in a batch. */
static void flow_join_room(struct flow *f)
{
    uint32_t n = 0;
    const struct fl_stage_node *node = f->node;
    for (uint32_t k = 0; k < node->nfrom; k++) {
        const struct fl_stage_node *from = &f->g->stages[node->from[k]];
        for (uint32_t i = 0; i < from->ntensors; i++) {
            bool seen = false;
            for (uint32_t b = 0; b < k && !seen; b++) {
                const struct fl_flow_tensor *t = flow_find(&f->g->stages[node->from[b]], from->tensors[i].name);
                seen = t != NULL && t->maker == from->tensors[i].maker;
            }
            n += !seen;
        }
    }
    if (n > FL_MAX_TENSORS) {
        char what[100];
        snprintf(what, sizeof what, "%u tensors of %u stages meet here, at most %d fit in a batch", n, node->nfrom, FL_MAX_TENSORS);
        flow_wrong(f, NULL, what);
    }
}

static void flow_pass(struct flow *f, const json_t *in)
{
    for (uint32_t k = 0; k < f->node->nfrom; k++) {
        const struct fl_stage_node *from = &f->g->stages[f->node->from[k]];
        for (uint32_t i = 0; i < from->ntensors; i++)
            if (flow_find(f->node, from->tensors[i].name) == NULL && !flow_taken(in, from->tensors[i].name) && flow_room(f))
                f->node->tensors[f->node->ntensors++] = from->tensors[i];
    }
}

/* False when a dimension isn't known. */
static bool flow_resolve(struct flow *f, const json_t *spec, struct fl_flow_tensor *t)
{
    const json_t *shape = json_object_get(spec, "shape");
    for (uint32_t d = 0; d < t->ndim; d++) {
        const char *token = json_string_value(json_array_get(shape, d));
        t->shape[d] = flow_token(f, token, &t->letter[d]);
        if (t->shape[d] == 0 && !t->optional) {
            char what[160];
            snprintf(what, sizeof what, "dimension %u (%.40s) of %s is not known, nothing that arrives and no option sets it", d + 1, token, t->name);
            flow_wrong(f, NULL, what);
        }
        if (t->shape[d] == 0)
            return false;
    }
    return true;
}

static void flow_make(struct flow *f, const json_t *out)
{
    size_t i;
    json_t *spec;
    json_array_foreach(json_object_get(out, "tensors"), i, spec) {
        const char *name = json_string_value(json_object_get(spec, "name"));
        const json_t *bound = json_object_get(json_object_get(f->e->describe, "dtype"), name);
        if (bound != NULL && strcmp(json_string_value(bound), "none") == 0)
            continue;                  /* not made under these options */
        struct fl_flow_tensor t = { .ndim = (uint32_t)json_array_size(json_object_get(spec, "shape")), .maker = (uint32_t)(f->node - f->g->stages),
                                    .optional = json_is_true(json_object_get(spec, "optional")) };
        memcpy(t.name, name, strlen(name) + 1);
        t.dtypes = bound != NULL ? 1u << fl_dtype_parse(json_string_value(bound), json_string_length(bound)) : flow_dtype_bits(json_object_get(spec, "dtype"));
        if (!flow_resolve(f, spec, &t))
            continue;
        struct fl_flow_tensor *old = (struct fl_flow_tensor *)flow_find(f->node, name);
        if (old != NULL)
            *old = t;
        else if (flow_room(f))
            f->node->tensors[f->node->ntensors++] = t;
    }
}

static void flow_letters(struct flow *f)
{
    const char *key;
    json_t *v;
    memset(f->letters, 0, sizeof f->letters);
    json_object_foreach(json_object_get(f->e->describe, "bind"), key, v)
        f->letters[key[0] - 'A'] = (uint32_t)json_integer_value(v);
    f->letters['B' - 'A'] = f->g->B;
    f->letters['L' - 'A'] = f->g->nlabels;
}

static void flow_stage(struct flow *f, uint32_t i)
{
    const json_t *in = fl_entry_port(f->e, "in"), *out = fl_entry_port(f->e, "out");
    f->silent[i] = f->e->bad || f->e->describe == NULL;
    for (uint32_t k = 0; k < f->node->nfrom; k++)
        f->silent[i] |= f->silent[f->node->from[k]];
    if (f->silent[i])
        return;
    flow_letters(f);
    flow_arrive(f, in);
    if (f->silent[i])
        return;
    flow_join_room(f);
    flow_pass(f, in);
    if (out != NULL)
        flow_make(f, out);
    else
        f->node->ntensors = 0;
}

void fl_flow_check(const struct fl_config *c, const uint32_t *order, struct fl_graph *g)
{
    struct flow *f = fl_need(1, sizeof *f);
    f->c = c;
    f->g = g;
    for (uint32_t i = 0; i < g->nstages; i++) {
        f->e = &c->entries[order[i]];
        f->node = &g->stages[i];
        flow_stage(f, i);
    }
    free(f);
}
