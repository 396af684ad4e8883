/* Reads the arguments of a command against the tables of main.c. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "launch/cmd.h"
#include "launch/complain.h"
#include "launch/mem.h"

const struct fl_cmd *fl_cmd_find(const char *name)
{
    for (const struct fl_cmd *c = fl_cmds; c->name != NULL; c++)
        if (c->name[0] != '\0' && strcmp(c->name, name) == 0)
            return c;
    return NULL;
}

const char *fl_cmd_near(const char *name)
{
    const char *names[32];
    uint32_t n = 0;
    for (const struct fl_cmd *c = fl_cmds; c->name != NULL && n < 31; c++)
        if (c->name[0] != '\0')
            names[n++] = c->name;
    names[n] = NULL;
    return fl_did_you_mean(name, names);
}

static bool args_takes(const struct fl_cmd *cmd, const char *flag)
{
    for (const char *const *f = cmd->flags; *f != NULL; f++)
        if (strcmp(*f, flag) == 0)
            return true;
    return strcmp(flag, "--help") == 0 || strcmp(flag, "--version") == 0;
}

/* The table's entry when this command takes it, or NULL. `len` bytes of word are compared. */
static const struct fl_flag *args_flag(const struct fl_cmd *cmd, const char *word, size_t len)
{
    for (const struct fl_flag *f = fl_flags; f->name != NULL; f++)
        if (strlen(f->name) == len && memcmp(f->name, word, len) == 0 && args_takes(cmd, f->name))
            return f;
    return NULL;
}

static bool args_unknown(const struct fl_cmd *cmd, const char *word)
{
    const char *names[sizeof cmd->flags / sizeof cmd->flags[0] + 3];
    uint32_t n = 0;
    while (cmd->flags[n] != NULL) {
        names[n] = cmd->flags[n];
        n++;
    }
    names[n++] = "--help";
    names[n++] = "--version";
    names[n] = NULL;
    fprintf(stderr, "flowrun%s%s: unknown option %s%s\n", cmd->name[0] ? " " : "", cmd->name, word, fl_did_you_mean(word, names));
    return false;
}

static bool args_number(const char *flag, const char *text, uint64_t *n)
{
    char *end;
    errno = 0;
    *n = strtoull(text, &end, 10);
    if (text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0)
        return true;
    fprintf(stderr, "flowrun: %s %s: want a number from 0 up\n", flag, text);
    return false;
}

static void args_set(struct fl_args *a, const char *text)
{
    a->sets = fl_need_grow(a->sets, a->nsets + 1, sizeof *a->sets);
    a->sets[a->nsets++] = text;
}

/* --record A,B is --set record.edges=[A,B], --record-limit SIZE is --set record.keep=SIZE. */
static bool args_record(struct fl_args *a, const char *flag, const char *value)
{
    bool limit = strcmp(flag, "--record-limit") == 0;
    if (a->nmade == 2) {
        fprintf(stderr, "flowrun: %s is given twice\n", flag);
        return false;
    }
    a->made[a->nmade] = fl_need_text(limit ? "record.keep=%s" : "record.edges=[%s]", value);
    args_set(a, a->made[a->nmade++]);
    return true;
}

/* Texts that go to their field as they are. */
static const struct { const char *flag; size_t off; } args_texts[] = {
    { "--stage", offsetof(struct fl_args, stage) }, { "--batch", offsetof(struct fl_args, batch) }, { "--with", offsetof(struct fl_args, with) },
    { "--from", offsetof(struct fl_args, from) }, { "--to", offsetof(struct fl_args, to) }, { "--keep", offsetof(struct fl_args, keep) },
    { "--png", offsetof(struct fl_args, png) }, { "--tile", offsetof(struct fl_args, tile) }, { "--out", offsetof(struct fl_args, out) },
    { "--metrics", offsetof(struct fl_args, metrics) }, { "--nodes", offsetof(struct fl_args, nodes) }, { "--gres", offsetof(struct fl_args, gres) },
    { "--partition", offsetof(struct fl_args, partition) }, { "--time", offsetof(struct fl_args, time) },
};

static bool args_put(struct fl_args *a, const char *flag, const char *value)
{
    for (size_t i = 0; i < sizeof args_texts / sizeof *args_texts; i++)
        if (strcmp(flag, args_texts[i].flag) == 0)
            memcpy((char *)a + args_texts[i].off, &value, sizeof value);
    a->diff |= strcmp(flag, "--diff") == 0;
    a->gdb |= strcmp(flag, "--gdb") == 0;
    a->valgrind |= strcmp(flag, "--valgrind") == 0;
    a->tensor |= strcmp(flag, "--tensor") == 0;
    if (strcmp(flag, "--set") == 0)
        args_set(a, value);
    if (strncmp(flag, "--record", 8) == 0 && !args_record(a, flag, value))
        return false;
    const struct { const char *flag, **to; } texts[] = {
        { "--run", &a->run_dir }, { "--resume", &a->resume }, { "--seconds", &a->seconds }, { "--seed", &a->seed },
        { "--kills", &a->kills }, { "--supervisor-kills", &a->supervisor_kills }, { "--every", &a->every },
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (strcmp(flag, texts[i].flag) == 0)
            *texts[i].to = value;
    if (strcmp(flag, "--start") == 0 && !args_number(flag, value, &a->start))
        return false;
    if (strcmp(flag, "--local") == 0)
        args_set(a, "local=true");
    a->quiet |= strcmp(flag, "-q") == 0;
    a->force |= strcmp(flag, "--force") == 0;
    a->print |= strcmp(flag, "--print") == 0;
    a->dot |= strcmp(flag, "--dot") == 0;
    a->json |= strcmp(flag, "--json") == 0;
    a->help |= strcmp(flag, "--help") == 0;
    a->version |= strcmp(flag, "--version") == 0;
    return true;
}

/* One argument that starts with '-'; *i moves over its value. */
static bool args_option(const struct fl_cmd *cmd, int argc, char **argv, int *i, struct fl_args *a)
{
    const char *word = argv[*i], *eq = strncmp(word, "--", 2) == 0 ? strchr(word, '=') : NULL, *value = eq != NULL ? eq + 1 : NULL;
    const struct fl_flag *f = args_flag(cmd, word, eq != NULL ? (size_t)(eq - word) : strlen(word));
    if (f == NULL)
        return args_unknown(cmd, word);
    if (f->value == NULL && value != NULL) {
        fprintf(stderr, "flowrun: %s takes no value\n", f->name);
        return false;
    }
    if (f->value != NULL && value == NULL) {
        if (*i + 1 >= argc) {
            fprintf(stderr, "flowrun: %s wants %s\n", f->name, f->value);
            return false;
        }
        value = argv[++*i];
    }
    return args_put(a, f->name, value);
}

static bool args_absolute(struct fl_args *a, const char **path)
{
    char here[PATH_MAX];
    if (*path == NULL || (*path)[0] == '/' || (*path)[0] == '\0')
        return true;
    if (getcwd(here, sizeof here) == NULL) {
        fprintf(stderr, "flowrun: the folder that flowrun was started in: %s\n", strerror(errno));
        return false;
    }
    a->moved = fl_need_grow(a->moved, a->nmoved + (size_t)1, sizeof *a->moved);
    *path = a->moved[a->nmoved++] = fl_need_text("%s/%s", here, *path);
    return true;
}

static bool args_move(const struct fl_cmd *cmd, struct fl_args *a)
{
    bool ok = args_absolute(a, &a->with) && args_absolute(a, &a->keep) && args_absolute(a, &a->png) && args_absolute(a, &a->out);
    for (uint32_t i = 0; i < a->nfiles && i < cmd->moves; i++)
        ok = ok && args_absolute(a, &a->files[i]);
    return ok;
}

bool fl_args_read(const struct fl_cmd *cmd, int argc, char **argv, struct fl_args *a)
{
    *a = (struct fl_args){ 0 };
    bool only_files = false;
    for (int i = 1; i < argc; i++) {
        if (!only_files && strcmp(argv[i], "--") == 0) {
            only_files = true;
        } else if (!only_files && argv[i][0] == '-' && argv[i][1] != '\0') {
            if (!args_option(cmd, argc, argv, &i, a))
                return false;
        } else {
            a->files = fl_need_grow(a->files, a->nfiles + 1, sizeof *a->files);
            a->files[a->nfiles++] = argv[i];
        }
    }
    if (a->help || a->version || (a->nfiles >= cmd->min && a->nfiles <= cmd->max))
        return cmd->moves == 0 || args_move(cmd, a);
    if (a->nfiles > cmd->max)
        fprintf(stderr, "flowrun: one argument too many: %s\n", a->files[cmd->max]);
    fprintf(stderr, "usage: %s\n", cmd->usage);
    return false;
}

void fl_args_done(struct fl_args *a)
{
    free(a->files);
    free(a->sets);
    for (uint32_t i = 0; i < a->nmade; i++)
        free(a->made[i]);
    for (uint32_t i = 0; i < a->nmoved; i++)
        free(a->moved[i]);
    free(a->moved);
    *a = (struct fl_args){ 0 };
}

void fl_cmd_help(const struct fl_cmd *cmd)
{
    printf("usage: %s\n\n%s\n\n", cmd->usage, cmd->help);
    for (const struct fl_flag *f = fl_flags; f->name != NULL; f++)
        if (cmd->raw == NULL && args_takes(cmd, f->name))
            printf("  %s%s%-*s %s\n", f->name, f->value != NULL ? " " : "", (int)(29 - strlen(f->name)) + (f->value == NULL), f->value != NULL ? f->value : "", f->help);
}
