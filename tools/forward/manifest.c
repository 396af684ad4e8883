/* Manifests for the tool's commands: as JSON, so that what isn't touched stays as it was. */
#include <stdlib.h>
#include <string.h>

#include "runtime/model.h"
#include "runtime/text.h"
#include "tools/forward/tool.h"

#define MANIFEST_LIMIT ((size_t)1 << 20)

/* NAME.safetensors -> NAME.json, malloc'd. */
static int manifest_path(const char *weights, char **path, struct fl_err *err)
{
    static const char ends[] = ".safetensors";
    size_t len = strlen(weights), stem = len - (sizeof ends - 1);
    if (len < sizeof ends || strcmp(weights + stem, ends) != 0)
        return fl_err_set(err, FL_E_CONFIG, "%s: weights are a file NAME.safetensors with NAME.json beside it", weights);
    if ((*path = malloc(stem + sizeof ".json")) == NULL)
        return fl_err_set(err, FL_E_NOMEM, "%s: no memory for its manifest", weights);
    memcpy(*path, weights, stem);
    memcpy(*path + stem, ".json", sizeof ".json");
    return FL_OK;
}

int fl_tool_manifest_load(const char *weights, json_t **out, struct fl_err *err)
{
    char *path = NULL, *text = NULL;
    size_t len = 0;
    json_error_t why;
    int code = manifest_path(weights, &path, err);
    if (code == FL_OK)
        code = fl_read_file(path, MANIFEST_LIMIT, &text, &len, err);
    if (code == FL_OK && (*out = json_loadb(text, len, JSON_REJECT_DUPLICATES, &why)) == NULL)
        code = fl_err_set(err, FL_E_INPUT, "%s:%d: %s", path, why.line, why.text);
    free(path);
    free(text);
    return code;
}

/* With as few digits as give the same numbers: 0.485 stays 0.485. NULL: out of memory. */
static char *manifest_text(const json_t *manifest)
{
    char *text = NULL;
    bool same = false;
    for (size_t digits = 15; digits <= 17 && !same; digits++) {
        free(text);
        text = json_dumps(manifest, JSON_INDENT(2) | JSON_REAL_PRECISION(digits));
        json_t *read = text != NULL ? json_loads(text, 0, NULL) : NULL;
        same = json_equal(read, manifest);
        json_decref(read);
    }
    return text;
}

int fl_tool_manifest_store(const char *weights, const json_t *manifest, struct fl_err *err)
{
    char *path = NULL, *text = manifest_text(manifest);
    struct fl_manifest m;
    size_t len = text != NULL ? strlen(text) : 0;
    int code = text != NULL ? manifest_path(weights, &path, err) : fl_err_set(err, FL_E_NOMEM, "%s: no memory for its manifest", weights);
    if (code == FL_OK && (code = fl_manifest_parse(path, text, len, &m, err)) == FL_OK) {      /* what is written must be readable */
        fl_manifest_free(&m);
        text[len] = '\n';                        /* where the NUL was */
        code = fl_write_file(path, 0666, text, len + 1, err);
    }
    free(path);
    free(text);
    return code;
}

json_t *fl_tool_origin(char *const *files, struct fl_err *err)
{
    json_t *list = json_array();
    char hex[65];
    for (; *files != NULL; files++) {
        if (fl_sha256_file(*files, hex, err) != FL_OK) {
            json_decref(list);
            return NULL;
        }
        json_array_append_new(list, json_pack("{s:s, s:s}", "file", *files, "sha256", hex));
    }
    return list;
}
