/* Stages that are shell scripts: what they print is theirs to say, so the graph can be checked without any real stage. */
#ifndef FL_TESTS_LAUNCH_FAKE_H
#define FL_TESTS_LAUNCH_FAKE_H

#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/lib/check.h"

#define FAKE_OPT(name, type, def) "{\"name\":\"" name "\",\"type\":\"" type "\",\"default\":" def ",\"help\":\"\",\"required\":false}"
#define FAKE_T(name, dtype, shape) "{\"name\":\"" name "\",\"dtype\":[" dtype "],\"shape\":[" shape "]}"
#define FAKE_TAKEN(name, dtype, shape) "{\"name\":\"" name "\",\"dtype\":[" dtype "],\"shape\":[" shape "],\"taken\":true}"
#define FAKE_MAYBE(name, dtype, shape) "{\"name\":\"" name "\",\"dtype\":[" dtype "],\"shape\":[" shape "],\"optional\":true}"
#define FAKE_IN(tensors)   "{\"name\":\"in\",\"dir\":\"in\",\"many\":false,\"tensors\":[" tensors "]}"
#define FAKE_MANY(tensors) "{\"name\":\"in\",\"dir\":\"in\",\"many\":true,\"tensors\":[" tensors "]}"
#define FAKE_OUT(tensors)  "{\"name\":\"out\",\"dir\":\"out\",\"many\":false,\"tensors\":[" tensors "]}"

/* before: shell that may set $bind, $labels, $error, $more (more members, each with a comma before it). */
/* net: fold 1N binds K to N. */
struct fake { const char *name, *before, *options, *ports; };

static const struct fake fakes[] = {
    { "src", "more=',\"batches\":100,\"tiles\":800'; case \"$*\" in *no-such*) error='{\"code\":\"E_INPUT\",\"text\":\"no tiles at no-such\"}';; esac",
      "{\"name\":\"batch\",\"type\":\"int\",\"default\":\"8\",\"min\":1,\"max\":4096}," FAKE_OPT("files", "list", "null"),
      FAKE_OUT(FAKE_T("id", "\"u8\"", "\"B\",\"64\"") "," FAKE_T("path", "\"u8\"", "\"B\",\"128\"")) },
    { "dec", "c=$(printf %s \"$*\" | sed -n 's/.*\"channels\":\\([0-9]*\\).*/\\1/p'); bind=\"\\\"C\\\":${c:-3},\\\"H\\\":16,\\\"W\\\":16\"",
      "{\"name\":\"channels\",\"type\":\"int\",\"default\":\"3\",\"min\":1,\"max\":8}",
      FAKE_IN(FAKE_TAKEN("path", "\"u8\"", "\"B\",\"P\"")) "," FAKE_OUT(FAKE_T("pixels", "\"u8\",\"u16\"", "\"B\",\"H\",\"W\",\"C\"")) },
    { "net", "k=$(printf %s \"$*\" | sed -n 's/.*\"fold\":1\\([0-9]\\).*/\\1/p'); bind=\"\\\"C\\\":3,\\\"K\\\":${k:-2}\"; case \"$*\" in *'\"model\":\"abc'*) labels='[\"a\",\"b\",\"c\"]';; esac",
      FAKE_OPT("model", "str", "null") ",{\"name\":\"mode\",\"type\":\"choice\",\"default\":\"exact\",\"choices\":[\"fast\",\"exact\"]},"
      "{\"name\":\"rate\",\"type\":\"float\",\"default\":\"0.5\",\"min\":0,\"max\":1},{\"name\":\"room\",\"type\":\"size\",\"default\":\"1MB\",\"min\":0,\"max\":1e9},"
      FAKE_OPT("flag", "bool", "\"false\"") "," FAKE_OPT("weights", "paths", "null") "," FAKE_OPT("log", "out", "null") "," FAKE_OPT("note", "json", "null") ","
      FAKE_OPT("fold", "int", "\"0\""),
      FAKE_IN(FAKE_TAKEN("pixels", "\"u8\",\"f32\"", "\"B\",\"H\",\"W\",\"C\"")) "," FAKE_OUT(FAKE_T("prob", "\"f32\"", "\"B\",\"K\",\"L\"")) },
    { "mono", "bind='\"C\":3'", "", FAKE_IN(FAKE_T("pixels", "\"f32\",\"f16\"", "\"B\",\"H\",\"W\",\"C\"")) "," FAKE_OUT(FAKE_T("prob", "\"f32\"", "\"B\",\"Q\"")) },
    { "free", "", "", FAKE_IN("") "," FAKE_OUT(FAKE_T("x", "\"u8\"", "\"B\",\"Q\"")) },
    { "pass", "", "", FAKE_IN("") "," FAKE_OUT("") },
    { "join", "", "", FAKE_MANY(FAKE_T("prob", "\"f32\"", "\"B\",\"K\",\"L\"")) "," FAKE_OUT(FAKE_T("score", "\"f32\"", "\"B\",\"L\"")) },
    { "snk", "", "{\"name\":\"file\",\"type\":\"out\",\"default\":null}",
      FAKE_MANY(FAKE_T("id", "\"u8\"", "\"B\",\"64\"") "," FAKE_MAYBE("prob", "\"f32\"", "\"B\",\"K\",\"L\"")) },
    { "strict", "", "{\"name\":\"must\",\"type\":\"str\",\"default\":null,\"help\":\"what it must have\",\"required\":true}", FAKE_IN("") },
    { "boom", "echo first >&2; echo 'no such device' >&2; exit 3", "", "" },
    { "chatty", "echo hello; exit 0", "", "" },
    { "odd", "", "{\"name\":\"x\",\"type\":\"colour\"}", FAKE_IN("") },
};

static void fake_write(const char *dir, const struct fake *f)
{
    char path[8192];
    snprintf(path, sizeof path, "%s/%s", dir, f->name);
    FILE *o = fopen(path, "w");
    if (o == NULL)
        abort();
    fprintf(o, "#!/bin/sh\necho run >> \"$0.runs\"\nbind= labels=null error=null more=\n%s\ncat <<END\n", f->before);
    fprintf(o, "{\"describe\":1,\"name\":\"%s\",\"help\":\"a fake\",\"version\":\"1\",\"options\":[%s],\"ports\":[%s],", f->name, f->options, f->ports);
    fprintf(o, "\"counters\":[\"n\"],\"bind\":{$bind},\"dtype\":{},\"labels\":$labels,\"error\":$error$more}\nEND\n");
    fclose(o);
    if (chmod(path, 0755) != 0)
        abort();
}

/* All of them in dir, which FLOWRUN_STAGES then names. */
static inline void fake_stages(const char *dir)
{
    mkdir(dir, 0755);
    for (size_t i = 0; i < sizeof fakes / sizeof *fakes; i++)
        fake_write(dir, &fakes[i]);
    setenv("FLOWRUN_STAGES", dir, 1);
}

#endif
