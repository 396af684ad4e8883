/* Checkpoints read from what their trainer wrote beside them. */
#include "tools/forward/checkpoint.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/text.h"

#define CHECKPOINT_LIMIT ((size_t)1 << 20)
#define CHECKPOINT_ENDS  ".checkpoint.json"

static const char *const checkpoint_keys[] = { "weights", "predictions", "validation_loss", "f2", "stage", "epoch", "step", "lr", "best", "cycle_end", "fold", "seed",
                                               "config", "optimiser", NULL };

/* For messages: the file's text beside its values, which have no line of their own. */
struct checkpoint_text { const char *file, *text; json_t *all; };

/* Line of a member: every key comes once, and a value that reads like one with its colon is nobody's. */
static unsigned checkpoint_line(const struct checkpoint_text *t, const char *key)
{
    char quoted[80];
    unsigned line = 1;
    snprintf(quoted, sizeof quoted, "\"%.70s\"", key);
    const char *at = strstr(t->text, quoted);
    for (const char *p = t->text; at != NULL && p < at; p++)
        line += *p == '\n';
    return line;
}

static int checkpoint_bad(const struct checkpoint_text *t, const char *key, int code, const char *want, struct fl_err *err)
{
    return fl_err_set(err, code, "%s:%u: %s%s, want %s", t->file, checkpoint_line(t, key), key, json_object_get(t->all, key) == NULL ? " is missing" : "", want);
}

static int checkpoint_unknown(const struct checkpoint_text *t, struct fl_err *err)
{
    const char *key;
    json_t *v;
    json_object_foreach(t->all, key, v) {
        uint32_t i = 0;
        while (checkpoint_keys[i] != NULL && strcmp(checkpoint_keys[i], key) != 0)
            i++;
        const char *near = checkpoint_keys[i] == NULL ? fl_nearest(key, checkpoint_keys) : NULL;
        if (checkpoint_keys[i] == NULL)
            return fl_err_set(err, FL_E_CONFIG, "%s:%u: unknown key \"%.60s\"%s%s%s", t->file, checkpoint_line(t, key), key, near != NULL ? ", did you mean \"" : "",
                              near != NULL ? near : "", near != NULL ? "\"?" : "");
    }
    return FL_OK;
}

static int checkpoint_int(const struct checkpoint_text *t, const char *key, int64_t *out, struct fl_err *err)
{
    const json_t *v = json_object_get(t->all, key);
    if (v == NULL)
        return FL_OK;
    if (!json_is_integer(v) || json_integer_value(v) < 0)
        return checkpoint_bad(t, key, FL_E_CONFIG, "a whole number from 0 on", err);
    *out = json_integer_value(v);
    return FL_OK;
}

/* A path counts from the folder of the file that names it. */
static int checkpoint_path(const struct checkpoint_text *t, const char *key, const char *instead, char **out, struct fl_err *err)
{
    const json_t *v = json_object_get(t->all, key);
    const char *said = v != NULL ? json_string_value(v) : instead, *slash = strrchr(t->file, '/');
    if (v == NULL && instead == NULL)
        return FL_OK;
    if (said == NULL || said[0] == '\0')
        return checkpoint_bad(t, key, FL_E_CONFIG, "the name of a file", err);
    int folder = slash != NULL && said[0] != '/' && v != NULL ? (int)(slash - t->file + 1) : 0;
    size_t room = (size_t)folder + strlen(said) + 1;
    if ((*out = malloc(room)) == NULL)
        return fl_err_set(err, FL_E_NOMEM, "%s: no memory for the name of a file", t->file);
    snprintf(*out, room, "%.*s%s", folder, t->file, said);
    if (access(*out, R_OK) != 0)
        return fl_err_set(err, FL_E_INPUT, "%s:%u: %s: %s can't be read", t->file, checkpoint_line(t, key), key, *out);
    return FL_OK;
}

static int checkpoint_loss(const struct checkpoint_text *t, double *loss, struct fl_err *err)
{
    const json_t *v = json_object_get(t->all, "validation_loss");
    if (!json_is_number(v))
        return checkpoint_bad(t, "validation_loss", FL_E_CONFIG, "a number", err);
    *loss = json_number_value(v);
    return isfinite(*loss) ? FL_OK : checkpoint_bad(t, "validation_loss", FL_E_NUM, "a finite number", err);
}

static int checkpoint_fill(const struct checkpoint_text *t, const char *beside, struct fl_checkpoint *c, struct fl_err *err)
{
    const json_t *end = json_object_get(t->all, "cycle_end");
    int code;
    if (!json_is_object(t->all))
        return fl_err_set(err, FL_E_INPUT, "%s:1: not a JSON object", t->file);
    if ((code = checkpoint_unknown(t, err)) != FL_OK || (code = checkpoint_loss(t, &c->loss, err)) != FL_OK ||
        (code = checkpoint_int(t, "stage", &c->stage, err)) != FL_OK || (code = checkpoint_int(t, "epoch", &c->epoch, err)) != FL_OK ||
        (code = checkpoint_int(t, "step", &c->step, err)) != FL_OK || (code = checkpoint_int(t, "fold", &c->fold, err)) != FL_OK)
        return code;
    if (end != NULL && !json_is_boolean(end))
        return checkpoint_bad(t, "cycle_end", FL_E_CONFIG, "true or false", err);
    c->cycle_end = json_is_true(end);
    if ((code = checkpoint_path(t, "weights", beside, &c->weights, err)) != FL_OK)
        return code;
    return checkpoint_path(t, "predictions", NULL, &c->predictions, err);
}

int fl_checkpoint_read(const char *file, struct fl_checkpoint *out, struct fl_err *err)
{
    struct fl_checkpoint c = { .file = file, .fold = -1 };
    size_t len = strlen(file), ends = sizeof CHECKPOINT_ENDS - 1, size = 0;
    char *text = NULL, beside[4200] = "";
    json_error_t why;
    if (len > 12 && strcmp(file + len - 12, ".safetensors") == 0)
        return fl_err_set(err, FL_E_CONFIG, "%s: want what the trainer wrote of it, %.*s" CHECKPOINT_ENDS, file, (int)len - 12, file);
    if (len > ends && strcmp(file + len - ends, CHECKPOINT_ENDS) == 0)
        snprintf(beside, sizeof beside, "%.*s.safetensors", (int)(len - ends), file);
    int code = fl_read_file(file, CHECKPOINT_LIMIT, &text, &size, err);
    if (code != FL_OK)
        return code;
    struct checkpoint_text t = { file, text, json_loadb(text, size, JSON_REJECT_DUPLICATES, &why) };
    code = t.all != NULL ? checkpoint_fill(&t, beside, &c, err) : fl_err_set(err, FL_E_INPUT, "%s:%d: %s", file, why.line, why.text);
    json_decref(t.all);
    free(text);
    if (code == FL_OK)
        *out = c;
    else
        fl_checkpoint_done(&c);
    return code;
}

void fl_checkpoint_done(struct fl_checkpoint *c)
{
    free(c->weights);
    free(c->predictions);
    *c = (struct fl_checkpoint){ 0 };
}

int fl_checkpoint_late(const void *x, const void *y)
{
    const struct fl_checkpoint *a = x, *b = y;
    const int64_t one[] = { a->stage, a->epoch, a->step, a->at }, two[] = { b->stage, b->epoch, b->step, b->at };
    for (size_t i = 0; i < sizeof one / sizeof one[0]; i++)
        if (one[i] != two[i])
            return one[i] < two[i] ? -1 : 1;
    return 0;
}

int fl_checkpoint_best(const void *x, const void *y)
{
    const struct fl_checkpoint *a = x, *b = y;
    if (a->loss != b->loss)
        return a->loss < b->loss ? -1 : 1;
    return fl_checkpoint_late(y, x);
}
