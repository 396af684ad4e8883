/* Who reads whom: names resolved, one source, no unread outputs, no cycles, an order. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launch/config.h"
#include "launch/mem.h"
#include "runtime/text.h"

const json_t *fl_entry_port(const struct fl_entry *e, const char *dir)
{
    size_t i;
    json_t *p;
    const json_t *d = e->describe != NULL ? e->describe : e->table;
    json_array_foreach(json_object_get(d, "ports"), i, p)
        if (strcmp(json_string_value(json_object_get(p, "dir")), dir) == 0)
            return p;
    return NULL;
}

/* ---- names ---- */

/* NAME.PORT: there is but one output, and its name isn't written. */
static bool topo_port(struct fl_config *c, const struct fl_entry *e, const struct fl_node *n, bool *read)
{
    const char *dot = strrchr(n->text, '.');
    bool found = false;
    for (uint32_t i = 0; dot != NULL && i < c->nentries; i++) {
        const struct fl_entry *up = &c->entries[i];
        const char *names[] = { up->base, up->full, up->name };
        for (int k = 0; k < 3; k++)
            if (strlen(names[k]) == (size_t)(dot - n->text) && strncmp(names[k], n->text, (size_t)(dot - n->text)) == 0)
                found = read[i] = true;
    }
    if (found)
        fl_complain(c->complaints, n->mark, "%s: %.60s: ports have no names here, a stage has one output; want %.*s", e->name, n->text,
                    (int)(dot - n->text), n->text);
    return found;
}

/* Whoever was probably meant counts as read, so that one slip isn't told twice. */
static void topo_unknown(struct fl_config *c, const struct fl_entry *e, const struct fl_node *n, bool *read)
{
    if (topo_port(c, e, n, read))
        return;
    const char **names = fl_need(2 * (size_t)c->nentries + 1, sizeof *names);
    uint32_t k = 0;
    for (uint32_t i = 0; i < c->nentries; i++) {
        names[k++] = c->entries[i].base;
        names[k++] = c->entries[i].full;
    }
    const char *meant = fl_nearest(n->text, names);
    for (uint32_t i = 0; meant != NULL && i < c->nentries; i++)
        read[i] |= strcmp(c->entries[i].base, meant) == 0 || strcmp(c->entries[i].full, meant) == 0;
    fl_complain(c->complaints, n->mark, "%s: no stage is called %.60s%s", e->name, n->text, fl_did_you_mean(n->text, names));
    free(names);
}

static void topo_read(struct fl_config *c, struct fl_entry *e, const struct fl_node *n, uint32_t i)
{
    for (uint32_t k = 0; k < e->nfrom; k++)
        if (e->from_ids[k] == i) {
            fl_complain(c->complaints, n->mark, "%s: reads %s twice", e->name, c->entries[i].name);
            e->bad = true;
            return;
        }
    e->from_ids = fl_need_grow(e->from_ids, e->nfrom + 1, sizeof *e->from_ids);
    e->from_ids[e->nfrom++] = i;
}

/* One entry by its own name, or else all expansions of an entry. */
static void topo_name(struct fl_config *c, struct fl_entry *e, const struct fl_node *n, bool *read)
{
    bool found = false;
    for (uint32_t i = 0; i < c->nentries && !found; i++)
        if (strcmp(c->entries[i].full, n->text) == 0 || strcmp(c->entries[i].name, n->text) == 0) {
            topo_read(c, e, n, i);
            found = true;
        }
    bool one = found;
    for (uint32_t i = 0; i < c->nentries && !one; i++)
        if (strcmp(c->entries[i].base, n->text) == 0) {
            topo_read(c, e, n, i);
            found = true;
        }
    if (!found) {
        topo_unknown(c, e, n, read);
        e->bad = true;
    }
}

/* ---- ports ---- */

static void topo_ports(struct fl_config *c, struct fl_entry *e, bool *read)
{
    const json_t *in = fl_entry_port(e, "in");
    struct fl_mark mark = e->from != NULL ? e->from->mark : e->mark;
    for (uint32_t k = 0; k < e->nfrom; k++) {
        struct fl_entry *up = &c->entries[e->from_ids[k]];
        read[e->from_ids[k]] = true;
        if (up->table != NULL && fl_entry_port(up, "out") == NULL) {
            fl_complain(c->complaints, mark, "%s: reads %s, which gives nothing (%s has no out port)", e->name, up->name, up->stage);
            e->bad = true;
        }
    }
    if (e->table == NULL)
        return;
    if (in == NULL && e->from != NULL) {
        fl_complain(c->complaints, mark, "%s: %s reads nothing, want no from", e->name, e->stage);
        e->bad = true;
    } else if (in != NULL && (e->from == NULL || e->from->n == 0) && !e->bad) {
        fl_complain(c->complaints, e->mark, "%s: %s reads from a stage, want from", e->name, e->stage);
        e->bad = true;
    } else if (in != NULL && e->nfrom > 1 && !json_is_true(json_object_get(in, "many"))) {
        fl_complain(c->complaints, mark, "%s: reads %u stages, but %s takes one", e->name, e->nfrom, e->stage);
        e->bad = true;
    }
    if (fl_entry_port(e, "out") == NULL && e->instances > 1)
        fl_complain(c->complaints, e->instances_mark, "%s: %u instances, but a stage without an out port has one", e->name, e->instances);
}

static void topo_ends(struct fl_config *c, const bool *read)
{
    const struct fl_entry *source = NULL;
    bool sink = false, all = true;
    for (uint32_t i = 0; i < c->nentries; i++) {
        const struct fl_entry *e = &c->entries[i];
        all &= e->table != NULL;
        if (e->table == NULL)
            continue;
        sink |= fl_entry_port(e, "out") == NULL;
        if (fl_entry_port(e, "in") == NULL && source != NULL)
            fl_complain(c->complaints, e->mark, "%s: a second source, want one; the first is %s", e->name, source->name);
        else if (fl_entry_port(e, "in") == NULL)
            source = e;
        if (fl_entry_port(e, "out") != NULL && !read[i])
            fl_complain(c->complaints, e->mark, "%s: nobody reads what it gives", e->name);
    }
    if (!all || c->nentries == 0)
        return;      /* the missing end may be a stage that wasn't found */
    if (source == NULL)
        fl_complain(c->complaints, c->stages_mark, "no source: want one stage without an in port");
    if (!sink)
        fl_complain(c->complaints, c->stages_mark, "no sink: want a stage without an out port");
}

/* ---- order ---- */

/* Kahn's: after the n taken so far, takes what reads only taken ones, in the order of the file, the source first. Returns
 * how many are taken then. */
static uint32_t topo_order(const struct fl_config *c, uint32_t n, uint32_t *order, bool *taken)
{
    for (bool more = true; more;) {
        more = false;
        for (uint32_t i = 0; i < c->nentries; i++) {
            const struct fl_entry *e = &c->entries[i];
            bool ready = !taken[i];
            for (uint32_t k = 0; k < e->nfrom && ready; k++)
                ready = taken[e->from_ids[k]];
            /* Stages without a `from` but with an in port are already told; a source comes first of all. */
            if (!ready || (n == 0 && e->table != NULL && fl_entry_port(e, "in") != NULL))
                continue;
            taken[i] = more = true;
            order[n++] = i;
        }
    }
    return n;
}

/* From a stage that wasn't taken, always to one that wasn't taken either, until one comes again. */
static void topo_cycle(struct fl_config *c, const bool *taken, uint32_t start)
{
    uint32_t *at = fl_need(c->nentries, sizeof *at), i = start, step = 0;
    while (at[i] == 0) {
        at[i] = ++step;
        const struct fl_entry *e = &c->entries[i];
        for (uint32_t k = 0; k < e->nfrom; k++)
            if (!taken[e->from_ids[k]]) {
                i = e->from_ids[k];
                break;
            }
    }
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    uint32_t first = i;
    /* The walk went upstream: written backwards it reads as data flows. */
    if (f != NULL)
        fprintf(f, "%s -> ", c->entries[first].name);
    for (uint32_t s = step; f != NULL && s > at[first]; s--)
        for (uint32_t k = 0; k < c->nentries; k++)
            if (at[k] == s)
                fprintf(f, "%s -> ", c->entries[k].name);
    if (f != NULL && fclose(f) == 0 && text != NULL) {
        fl_complain(c->complaints, c->entries[first].from->mark, "a cycle: %s%s", text, c->entries[first].name);
    }
    free(text);
    free(at);
}

bool fl_topology(struct fl_config *c, uint32_t *order)
{
    bool *read = fl_need(c->nentries, sizeof *read), *taken = fl_need(c->nentries, sizeof *taken), doubt = false;
    for (uint32_t i = 0; i < c->nentries; i++) {
        struct fl_entry *e = &c->entries[i];
        doubt |= e->bad;
        for (uint32_t k = 0; e->from != NULL && !e->bad && k < e->from->n; k++)
            topo_name(c, e, e->from->items[k], read);
    }
    /* What an entry that can't be read would have read isn't known. */
    for (uint32_t i = 0; i < c->nentries; i++)
        read[i] |= doubt;
    for (uint32_t i = 0; i < c->nentries; i++)
        topo_ports(c, &c->entries[i], read);
    topo_ends(c, read);
    uint32_t n = topo_order(c, 0, order, taken);
    if (n == 0 && c->nentries > 0) {      /* no source: order without that wish, to find cycles all the same */
        for (uint32_t i = 0; i < c->nentries; i++)
            if (c->entries[i].nfrom == 0)
                taken[i] = true, order[n++] = i;
        n = n > 0 ? topo_order(c, n, order, taken) : 0;
    }
    for (uint32_t i = 0; i < c->nentries && n < c->nentries; i++)
        if (!taken[i]) {
            topo_cycle(c, taken, i);
            break;
        }
    free(read);
    free(taken);
    return n == c->nentries && n > 0;
}
