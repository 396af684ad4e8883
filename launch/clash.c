/* Files to be written: none may be one that the graph reads, nor be written by two. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "launch/config.h"
#include "launch/mem.h"

/* A file by its name in its folder, and by itself where there is one; zero for what there is not. */
struct clash_file { dev_t folder_dev, dev; ino_t folder_ino, ino; const char *name; };
struct clash_out  { const struct fl_entry *e; const char *option; struct fl_mark mark; struct clash_file file; };
struct clash      { struct fl_config *c; struct clash_out *outs; uint32_t n, cap; };

static struct clash_file clash_file(const char *path)
{
    struct stat st;
    const char *slash = strrchr(path, '/');
    char *folder = slash == NULL ? fl_need_copy(".") : fl_need_text("%.*s", slash == path ? 1 : (int)(slash - path), path);
    struct clash_file f = { .name = slash != NULL ? slash + 1 : path };
    if (stat(folder, &st) == 0) {
        f.folder_dev = st.st_dev;
        f.folder_ino = st.st_ino;
    } else {
        f.name = path;
    }
    if (stat(path, &st) == 0 && S_ISREG(st.st_mode)) {
        f.dev = st.st_dev;
        f.ino = st.st_ino;
    }
    free(folder);
    return f;
}

static bool clash_same(const struct clash_file *a, const struct clash_file *b)
{
    return (a->folder_dev == b->folder_dev && a->folder_ino == b->folder_ino && strcmp(a->name, b->name) == 0)
           || (a->ino != 0 && a->dev == b->dev && a->ino == b->ino);
}

static void clash_out(struct clash *k, const struct fl_entry *e, const char *option, const struct fl_node *n)
{
    const struct clash_file f = clash_file(n->text);
    for (uint32_t i = 0; i < k->n; i++)
        if (clash_same(&k->outs[i].file, &f)) {
            fl_complain(k->c->complaints, n->mark, "%s: %s: %s is written by %s.%s already", e->name, option, n->text, k->outs[i].e->name, k->outs[i].option);
            return;
        }
    if (k->n == k->cap) {
        k->cap = k->cap ? 2 * k->cap : 8;
        k->outs = fl_need_grow(k->outs, k->cap, sizeof *k->outs);
    }
    k->outs[k->n++] = (struct clash_out){ e, option, n->mark, f };
}

/* reader: what it is to the graph. */
static void clash_in(struct clash *k, const char *text, const char *reader)
{
    const struct clash_file f = clash_file(text);
    for (uint32_t i = 0; f.ino != 0 && i < k->n; i++) {
        const struct clash_out *o = &k->outs[i];
        if (clash_same(&o->file, &f))
            fl_complain(k->c->complaints, o->mark, "%s: %s: %s would be lost, it is %s", o->e->name, o->option, text, reader);
    }
}

/* Options of one kind, written or read. Folders and patterns are left out: what a stage takes of them it alone knows. */
static void clash_entry(struct clash *k, const struct fl_entry *e, bool out)
{
    size_t i;
    json_t *o;
    json_array_foreach(json_object_get(e->table, "options"), i, o) {
        const char *name = json_string_value(json_object_get(o, "name")), *type = json_string_value(json_object_get(o, "type"));
        const struct fl_node *n = json_object_get(e->given, name) != NULL ? fl_node_get(e->options, name, NULL) : NULL;
        const bool written = strcmp(type, "out") == 0, read = strcmp(type, "path") == 0 || strcmp(type, "paths") == 0 || strcmp(type, "list") == 0;
        char *reader = fl_need_text("what %s.%s reads", e->name, name);
        if (n != NULL && out && written && n->text != NULL && n->text[0] != '\0')
            clash_out(k, e, name, n);
        for (uint32_t m = 0; n != NULL && !out && read && m < (n->kind == FL_NODE_LIST ? n->n : 1); m++) {
            const char *text = n->kind == FL_NODE_LIST ? n->items[m]->text : n->text;
            if (text != NULL)
                clash_in(k, text, reader);
        }
        free(reader);
    }
}

void fl_clash_check(struct fl_config *c)
{
    struct clash k = { .c = c };
    for (uint32_t i = 0; i < c->nentries; i++)
        clash_entry(&k, &c->entries[i], true);
    if (k.n > 0 && !c->resolved)
        clash_in(&k, c->file, "this configuration");
    for (uint32_t i = 0; k.n > 0 && i < c->nentries; i++)
        clash_entry(&k, &c->entries[i], false);
    free(k.outs);
}
