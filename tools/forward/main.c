/* forward: the tool's commands, and how their arguments become options. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/text.h"
#include "tools/forward/tool.h"

static const struct fl_tool *const main_tools[] = { &fl_tool_bench, &fl_tool_average, &fl_tool_select, &fl_tool_check, NULL };

static const struct fl_opt *main_opt(const struct fl_tool *t, const char *name)
{
    for (const struct fl_opt *o = t->opts; o->name != NULL; o++)
        if (strcmp(o->name, name) == 0)
            return o;
    return NULL;
}

static bool main_list(const struct fl_opt *o) { return o->type == FL_OPT_LIST || o->type == FL_OPT_PATHS; }

/* The text as the option's type has it in JSON; what doesn't fit stays text, and fl_opts_apply says so. */
static json_t *main_value(const struct fl_opt *o, const char *text)
{
    char *end = NULL;
    if (o->type == FL_OPT_INT || o->type == FL_OPT_FLOAT) {
        double v = strtod(text, &end);
        long long i = strtoll(text, NULL, 10);
        if (end != text && *end == '\0' && isfinite(v))
            return o->type == FL_OPT_INT && (double)i == v ? json_integer(i) : json_real(v);
    }
    return json_string(text);
}

static int main_unknown(const struct fl_tool *t, const char *word)
{
    const char *names[32] = { NULL };
    for (uint32_t n = 0; n < 31 && t->opts[n].name != NULL; n++)
        names[n] = t->opts[n].name;
    const char *near = strncmp(word, "--", 2) == 0 ? fl_nearest(word + 2, names) : NULL;
    fprintf(stderr, "%s: unexpected %s%s%s%s\n%s\n", t->name, word, near ? "; did you mean --" : "", near ? near : "", near ? "?" : "", t->usage);
    return 2;
}

static void main_put(json_t *all, const struct fl_opt *o, const char *text)
{
    if (!main_list(o)) {
        json_object_set_new(all, o->name, o->type == FL_OPT_BOOL ? json_true() : main_value(o, text));
        return;
    }
    json_t *list = json_object_get(all, o->name);
    if (list == NULL) {
        list = json_array();
        json_object_set_new(all, o->name, list);
    }
    json_array_append_new(list, json_string(text));
}

/* 0, or the exit status after a line on stderr. */
static int main_read(const struct fl_tool *t, int argc, char **argv, json_t *all)
{
    const struct fl_opt *words = t->words != NULL ? main_opt(t, t->words) : NULL, *into = words;
    for (int i = 0; i < argc; i++) {
        if (strncmp(argv[i], "--", 2) != 0) {
            if (into == NULL)
                return main_unknown(t, argv[i]);
            main_put(all, into, argv[i]);
            continue;
        }
        const struct fl_opt *o = main_opt(t, argv[i] + 2);
        if (o == NULL)
            return main_unknown(t, argv[i]);
        into = main_list(o) ? o : NULL;
        if (o->type != FL_OPT_BOOL && !main_list(o) && ++i == argc) {
            fprintf(stderr, "%s: --%s wants a value\n%s\n", t->name, o->name, t->usage);
            return 2;
        }
        if (!main_list(o))
            main_put(all, o, argv[i]);
    }
    return 0;
}

static void main_help(const struct fl_tool *t)
{
    printf("%s\n\n%s\n\n", t->usage, t->help);
    for (const struct fl_opt *o = t->opts; o->name != NULL; o++)
        printf("  --%-12s %s%s%s%s%s%s%s\n", o->name, o->help, o->choices ? " [" : "", o->choices ? o->choices : "", o->choices ? "]" : "",
               o->def ? " (" : "", o->def ? o->def : "", o->def ? ")" : "");
    printf("  --help, --version\n");
}

static int main_run(const struct fl_tool *t, int argc, char **argv)
{
    struct fl_err err = { 0 };
    json_t *all = json_object();
    void *state = calloc(1, t->state_size);
    int status = state != NULL ? main_read(t, argc, argv, all) : 1;
    if (status == 0) {
        int code = fl_opts_apply(t->opts, state, all, &err);
        status = code != FL_OK ? 2 : 0;
        if (code == FL_OK && (code = t->run(state, &err)) != FL_OK)
            status = code == FL_E_CONFIG ? 2 : 1;
        if (status != 0)
            fprintf(stderr, "%s: %s\n", t->name, err.text);
    }
    if (state != NULL)
        fl_opts_free(t->opts, state);
    free(state);
    json_decref(all);
    return status;
}

int main(int argc, char **argv)
{
    int status = 2;
    const struct fl_tool *t = NULL;
    for (uint32_t i = 0; argc > 1 && main_tools[i] != NULL; i++)
        if (strcmp(main_tools[i]->name, argv[1]) == 0)
            t = main_tools[i];
    if (t == NULL) {
        fprintf(stderr, "forward: commands are");
        for (uint32_t i = 0; main_tools[i] != NULL; i++)
            fprintf(stderr, " %s", main_tools[i]->name);
        fprintf(stderr, "; flowrun calls them\n");
    } else if (argc > 2 && strcmp(argv[2], "--help") == 0) {
        main_help(t);
        status = 0;
    } else {
        status = main_run(t, argc - 2, argv + 2);
    }
    if ((fflush(stdout) != 0 || ferror(stdout)) && status == 0)
        status = 1;
    return status;
}
