/* Batches that kill: tried alone, halved, and the tiles that do it put into quarantine (docs/delivery.md, "Poison").
 *
 * A batch over which stages have died twice by their own doing is suspect. Nothing else is issued until no slot is in use; then it is
 * alone. If it kills again its rows are tested, half by half: a test is the batch with all other rows marked, and sinks keep nothing of it.
 * A row that kills twice when alone goes to quarantine. In the end the batch is issued once more without those rows. */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launch/agent.h"
#include "launch/mem.h"
#include "launch/super.h"
#include "runtime/text.h"

#define POISON_DEATHS 2                /* that make a batch suspect, and that put a row into quarantine */
#define POISON_TILES  64               /* in quarantine, and more than 1 in 1000: then it is no matter of tiles */

enum poison_phase { POISON_ALONE, POISON_HALVES, POISON_REST, POISON_NOTHING };

struct poison_range { uint32_t first, rows; };

struct fl_suspect {
    uint64_t batch;
    uint32_t attempt, deaths;          /* deaths: in this step */
    enum poison_phase phase;
    bool     out;                      /* in a slot now */
    bool     tried;                    /* issued as a suspect, alone */
    bool     answered;                 /* by a death: others that die over the same issue add nothing */
    uint32_t depth;
    struct poison_range todo[2 * 32];  /* a stack: halves yet to be tested */
};

static struct fl_suspect *poison_find(const struct fl_super *s, uint64_t batch)
{
    for (uint32_t i = 0; i < s->nsuspects; i++)
        if (s->suspects[i].batch == batch)
            return &s->suspects[i];
    return NULL;
}

static uint32_t poison_count(struct fl_super *s, uint64_t batch)
{
    for (uint32_t i = 0; i < s->nblames; i++)
        if (s->blames[i].batch == batch)
            return ++s->blames[i].times;
    s->blames = fl_need_grow(s->blames, s->nblames + 1, sizeof *s->blames);
    s->blames[s->nblames++] = (struct fl_blame){ .batch = batch, .times = 1 };
    return 1;
}

/* ---- quarantine ---- */

static int poison_by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

bool fl_poison_has_marks(const struct fl_super *s, uint64_t batch)
{
    return s->nmarked > 0 && bsearch(&batch, s->marked, s->nmarked, sizeof batch, poison_by_number) != NULL;
}

static void poison_mark(struct fl_super *s, uint64_t batch)
{
    if (fl_poison_has_marks(s, batch))
        return;
    s->marked = fl_need_grow(s->marked, s->nmarked + 1, sizeof *s->marked);
    s->marked[s->nmarked++] = batch;
    qsort(s->marked, s->nmarked, sizeof *s->marked, poison_by_number);
}

static void poison_path(const struct fl_super *s, uint64_t batch, const char *tail, char out[1200])
{
    snprintf(out, 1200, "%s/quarantine/%llu%s", s->dir, (unsigned long long)batch, tail);
}

static bool poison_listed(const json_t *tiles, const json_t *tile)
{
    size_t i;
    json_t *t;
    json_array_foreach(tiles, i, t)
        if (json_equal(json_object_get(t, "row"), json_object_get(tile, "row")))
            return true;
    return false;
}

/* Entries more in RUN/quarantine/BATCH.json, of rows that are not there yet: counts them. Takes tiles. */
static int poison_save(struct fl_super *s, uint64_t batch, json_t *tiles, struct fl_err *err)
{
    char path[1200];
    size_t i;
    json_t *tile;
    poison_path(s, batch, ".json", path);
    json_t *j = json_load_file(path, 0, NULL);
    if (j == NULL)
        j = json_pack("{s:I, s:[]}", "batch", (json_int_t)batch, "tiles");
    json_t *all = json_object_get(j, "tiles");
    json_array_foreach(tiles, i, tile)
        if (!poison_listed(all, tile) && json_array_append(all, tile) == 0)
            s->quarantined++;
    json_decref(tiles);
    char *text = json_dumps(j, JSON_INDENT(2));
    int rc = text != NULL ? fl_write_file(path, 0666, text, strlen(text), err) : fl_err_set(err, FL_E_NOMEM, "quarantine");
    free(text);
    json_decref(j);
    return rc;
}

/* What the dead process had noted of the batch under test: the header as it came, and the id of the row. */
static void poison_note(const struct fl_super *s, const struct fl_inst *in, struct fl_killer *k, char id[FL_ID_SIZE])
{
    char tail[32], path[1200];
    uint32_t len = atomic_load_explicit(&in->page->probe_len, memory_order_acquire);
    snprintf(id, FL_ID_SIZE, "%.*s", FL_ID_SIZE - 1, in->page->probe_id);
    k->id = id;
    snprintf(tail, sizeof tail, "-%u.header", k->row);
    poison_path(s, k->batch, tail, path);
    if (len > 0 && len <= FL_FRAME_MAX)
        fl_write_file(path, 0666, in->page->probe_header, len, NULL);
}

/* A word of a shell's command line. size: 4 x the text's and 3 more. */
static void poison_word(const char *text, char *out, size_t size)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+:,@%=";
    size_t n = 0;
    if (text[strspn(text, plain)] == '\0') {
        snprintf(out, size, "%s", text);
        return;
    }
    out[n++] = '\'';
    for (; *text != '\0' && n + 6 < size; text++) {
        memcpy(out + n, *text == '\'' ? "'\\''" : text, *text == '\'' ? 4 : 1);
        n += *text == '\'' ? 4 : 1;
    }
    out[n++] = '\'';
    out[n] = '\0';
}

/* The entry of one row. host: where it killed; NULL = here. */
static json_t *poison_tile(const struct fl_super *s, const struct fl_killer *k, const char *host)
{
    char reason[FL_REASON_SIZE], command[6000], dir[4200], name[64], path[1200];
    poison_word(s->dir, dir, sizeof dir);
    snprintf(reason, sizeof reason, "%s: E_POISON: %s %s", k->stage, k->cause, k->alone ? "over this tile, twice" : "over this batch, though over none of its tiles alone");
    snprintf(command, sizeof command, "flowrun replay %s --from %s --to %s --batch %llu", dir, s->g->stages[0].name, k->stage, (unsigned long long)k->batch);
    json_t *j = json_pack("{s:i, s:s, s:i, s:s, s:s, s:s}", "row", (int)k->row, "stage", k->stage, "instance", (int)k->instance, "cause", k->cause, "reason", reason, "command", command);
    if (host != NULL)
        json_object_set_new(j, "host", json_string(host));
    if (k->alone) {
        json_t *id = json_string(k->id);
        snprintf(name, sizeof name, "%llu-%u.header", (unsigned long long)k->batch, k->row);
        snprintf(path, sizeof path, "%s/quarantine/%s", s->dir, name);
        json_object_set_new(j, "id", id != NULL ? id : json_null());
        json_object_set_new(j, "header", access(path, F_OK) == 0 ? json_string(name) : json_null());
    }
    return j;
}

/* So many that it is no matter of single tiles. */
static void poison_many(struct fl_super *s, const char *stage, uint32_t instance, const char *cause)
{
    char text[700];
    if (s->quarantined <= POISON_TILES || s->quarantined <= s->tiles_total / 1000)
        return;
    snprintf(text, sizeof text, "%s, over %llu tiles now: that is no matter of single tiles", cause, (unsigned long long)s->quarantined);
    fl_super_fail(s, stage, instance, text);
}

static void poison_tell(struct fl_super *s, const char *stage, uint32_t instance, const struct fl_killer *k, const char *host)
{
    char text[400];
    snprintf(text, sizeof text, "%s%stile %u of batch %llu (%.63s) %.120s twice when alone: to quarantine", host != NULL ? host : "", host != NULL ? ": " : "", k->row,
             (unsigned long long)k->batch, k->id, k->cause);
    fl_super_log(s, stage, instance, FL_LOG_WARN, text);
    fl_dump(s, text);
}

static void poison_quarantine(struct fl_super *s, const struct fl_inst *in, uint64_t batch, struct poison_range r, const char *cause, bool alone)
{
    struct fl_killer k = { .batch = batch, .id = "", .stage = s->g->stages[in->stage].name, .instance = in->index, .cause = cause, .alone = alone };
    char dir[1200], id[FL_ID_SIZE];
    struct fl_err err = { 0 };
    snprintf(dir, sizeof dir, "%s/quarantine", s->dir);
    mkdir(dir, 0777);                                     /* a failure shows when the file is made */
    json_t *tiles = json_array();
    for (uint32_t i = 0; i < r.rows; i++) {
        k.row = r.first + i;
        if (alone)
            poison_note(s, in, &k, id);
        if (s->conf->agent != NULL)
            fl_agent_killed(s->conf->agent, &k, alone ? in->page->probe_header : NULL, atomic_load(&in->page->probe_len));
        json_array_append_new(tiles, poison_tile(s, &k, NULL));
    }
    if (poison_save(s, batch, tiles, &err) != FL_OK) {
        fl_super_fail(s, "flowrun", 0, err.text);
        return;
    }
    poison_mark(s, batch);
    if (alone && s->conf->agent == NULL)                  /* an agent's batches have other numbers there */
        poison_tell(s, k.stage, k.instance, &k, NULL);
    poison_many(s, k.stage, k.instance, cause);
}

/* A tile that kills on another host: found there, and rejected there; it is put into quarantine here. */
void fl_poison_far(struct fl_super *s, const struct fl_inst *in, const struct fl_control *c)
{
    const struct fl_killer k = { .batch = c->batch, .row = c->first, .id = c->id, .stage = c->name, .instance = (uint32_t)c->code, .cause = c->text, .alone = c->rows > 0 };
    const char *host = fl_super_host(s, in->stage, in->index);
    struct fl_err err = { 0 };
    if (k.row >= s->g->B || (s->total > 0 && k.batch >= s->total))
        return;
    json_t *tiles = json_pack("[o]", poison_tile(s, &k, host));
    if (tiles == NULL || poison_save(s, k.batch, tiles, &err) != FL_OK) {
        fl_super_fail(s, s->g->stages[in->stage].name, in->index, tiles == NULL ? "no memory" : err.text);
        return;
    }
    poison_mark(s, k.batch);
    if (k.alone)
        poison_tell(s, s->g->stages[in->stage].name, in->index, &k, host);
    poison_many(s, s->g->stages[in->stage].name, in->index, k.cause);
}

#define POISON_TOLD 8                  /* tiles named in a message */

/* A replay works on whole batches: which tile it dies of was found by the run. */
void fl_poison_told(const char *run, const char *stage, uint64_t batch, char *out, size_t size)
{
    char path[1200];
    size_t k, used = 0, told = 0;
    json_t *tile;
    snprintf(path, sizeof path, "%s/quarantine/%llu.json", run, (unsigned long long)batch);
    json_t *j = json_load_file(path, 0, NULL);
    out[0] = '\0';
    json_array_foreach(json_object_get(j, "tiles"), k, tile) {
        const char *id = json_string_value(json_object_get(tile, "id")), *of = json_string_value(json_object_get(tile, "stage"));
        if (of == NULL || strcmp(of, stage) != 0 || used >= size || ++told > POISON_TOLD)
            continue;
        used += (size_t)snprintf(out + used, size - used, "%s%s%srow %lld%s", told == 1 ? "; in quarantine: " : ", ", id != NULL ? id : "", id != NULL ? " (" : "",
                                 (long long)json_integer_value(json_object_get(tile, "row")), id != NULL ? ")" : "");
    }
    if (told > POISON_TOLD && used < size)
        snprintf(out + used, size - used, " and %zu more", told - POISON_TOLD);
    json_decref(j);
}

/* Rows that earlier runs in this folder put into quarantine. */
void fl_poison_open(struct fl_super *s)
{
    char path[1200];
    snprintf(path, sizeof path, "%s/quarantine", s->dir);
    DIR *d = opendir(path);
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL; ) {
        char *end;
        uint64_t batch = strtoull(e->d_name, &end, 10);
        if (end == e->d_name || strcmp(end, ".json") != 0)
            continue;
        poison_path(s, batch, ".json", path);
        json_t *j = json_load_file(path, 0, NULL);
        s->quarantined += json_array_size(json_object_get(j, "tiles"));
        json_decref(j);
        poison_mark(s, batch);
    }
    if (d != NULL)
        closedir(d);
}

void fl_poison_done(struct fl_super *s)
{
    free(s->suspects);
    free(s->marked);
    free(s->blames);
}

/* ---- deaths ---- */

/* Tiles in the batch that the dead process worked on; a source doesn't say, but the last batch of a run of one epoch holds what is left. */
static uint32_t poison_rows(const struct fl_super *s, const struct fl_inst *in, uint64_t batch)
{
    uint32_t rows = atomic_load(&in->page->rows);
    if (!s->g->stages[in->stage].source && rows > 0)
        return rows;
    uint64_t before = batch * s->g->B;
    return s->g->epochs <= 1 && before < s->tiles_total && s->tiles_total - before < s->g->B ? (uint32_t)(s->tiles_total - before) : s->g->B;
}

static void poison_halve(struct fl_suspect *p, struct poison_range r)
{
    uint32_t half = r.rows / 2;
    p->todo[p->depth++] = (struct poison_range){ r.first + half, r.rows - half };
    p->todo[p->depth++] = (struct poison_range){ r.first, half };
}

static void poison_half_died(struct fl_super *s, struct fl_suspect *p, const struct fl_inst *in, const char *cause)
{
    struct poison_range r = p->todo[p->depth - 1];
    if (r.rows > 1) {
        p->depth--;
        p->deaths = 0;
        poison_halve(p, r);
    } else if (++p->deaths == POISON_DEATHS) {
        p->depth--;
        p->deaths = 0;
        poison_quarantine(s, in, p->batch, r, cause, true);
        if (p->depth == 0)
            p->phase = POISON_REST;
    }
}

/* No tile kills alone, but together they do: none of them can be had. */
static void poison_rest_died(struct fl_super *s, struct fl_suspect *p, const struct fl_inst *in, const char *cause)
{
    if (++p->deaths < POISON_DEATHS)
        return;
    p->phase = POISON_NOTHING;
    poison_quarantine(s, in, p->batch, (struct poison_range){ 0, poison_rows(s, in, p->batch) }, cause, false);
}

static void poison_died(struct fl_super *s, struct fl_suspect *p, const struct fl_inst *in, const char *cause)
{
    char text[300];
    uint32_t rows = poison_rows(s, in, p->batch);
    switch (p->phase) {
    case POISON_ALONE:
        p->phase = POISON_HALVES;
        p->deaths = rows == 1;
        if (rows > 1)
            poison_halve(p, (struct poison_range){ 0, rows });
        else
            p->todo[p->depth++] = (struct poison_range){ 0, 1 };
        break;
    case POISON_HALVES:
        poison_half_died(s, p, in, cause);
        break;
    case POISON_REST:
        poison_rest_died(s, p, in, cause);
        break;
    case POISON_NOTHING:
        snprintf(text, sizeof text, "%s over batch %llu, of which no tile is left", cause, (unsigned long long)p->batch);
        fl_super_fail(s, s->g->stages[in->stage].name, in->index, text);
        break;
    }
}

bool fl_poison_blame(struct fl_super *s, const struct fl_inst *in, uint64_t batch, const char *cause)
{
    struct fl_suspect *p = poison_find(s, batch);
    char text[200];
    if (p != NULL && p->tried) {
        if (!p->answered)
            poison_died(s, p, in, cause);
        p->answered = true;
        return true;
    }
    if (p == NULL && poison_count(s, batch) == POISON_DEATHS) {
        s->suspects = fl_need_grow(s->suspects, s->nsuspects + 1, sizeof *s->suspects);
        s->suspects[s->nsuspects++] = (struct fl_suspect){ .batch = batch, .out = true };
        snprintf(text, sizeof text, "batch %llu has killed twice: it is tried alone", (unsigned long long)batch);
        fl_super_log(s, s->g->stages[in->stage].name, in->index, FL_LOG_WARN, text);
    }
    return false;
}

/* ---- batches ---- */

bool fl_poison_keeps(struct fl_super *s, uint64_t batch, uint32_t attempt)
{
    struct fl_suspect *p = poison_find(s, batch);
    if (p == NULL)
        return false;
    p->out = false;
    p->attempt = attempt;
    return true;
}

/* A stage that still works on an attempt that was given up could die over it, and the death would be counted against the test. */
static bool poison_alone(const struct fl_super *s)
{
    for (uint32_t i = 0; i < s->g->window; i++)
        if (s->slots[i].used || s->slots[i].nfence > 0)
            return false;
    return true;
}

enum fl_poison fl_poison_next(struct fl_super *s, struct fl_redo *next)
{
    struct fl_suspect *due = NULL;
    for (uint32_t i = 0; i < s->nsuspects; i++) {
        if (s->suspects[i].out && s->suspects[i].tried)
            return FL_POISON_WAIT;                        /* it is being tried, alone */
        if (!s->suspects[i].out && due == NULL)
            due = &s->suspects[i];
    }
    if (due == NULL)
        return FL_POISON_NONE;
    if (!poison_alone(s))
        return FL_POISON_WAIT;
    *next = (struct fl_redo){ .batch = due->batch, .attempt = due->attempt };
    if (due->phase == POISON_HALVES) {
        next->first = due->todo[due->depth - 1].first;
        next->rows = due->todo[due->depth - 1].rows;
    }
    due->out = due->tried = true;
    due->answered = false;
    return FL_POISON_NEXT;
}

bool fl_poison_passed(struct fl_super *s, uint64_t batch, bool probe)
{
    struct fl_suspect *p = poison_find(s, batch);
    if (p == NULL)
        return false;
    if (!probe) {                                         /* it is committed */
        *p = s->suspects[--s->nsuspects];
        return true;
    }
    p->out = false;
    p->attempt++;
    if (p->answered)                                      /* a stage died over it when it had passed it on */
        return true;
    p->deaths = 0;
    if (--p->depth == 0)
        p->phase = POISON_REST;
    return true;
}
