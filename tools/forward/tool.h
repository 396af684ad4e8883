/* The tool beside the forward stage: what is done to models and machines outside of a run. flowrun calls it (launch/cmd_tool.c). */
#ifndef FL_TOOLS_FORWARD_H
#define FL_TOOLS_FORWARD_H

#include "runtime/opt.h"
#include "stages/forward/device.h"
#include "stages/forward/input.h"
#include "stages/forward/plan.h"
#include "stages/lib/inputs.h"
#include "stages/lib/jpeg.h"
#include "stages/lib/match.h"
#include "stages/lib/tiff.h"

/* A command. Arguments are --NAME VALUE of its options (--NAME alone for a bool, a list up to the next --NAME), words before
 * them go to the option `words`. run returns FL_OK or an error, which is printed with the command's name. */
struct fl_tool {
    const char *name, *usage, *help;
    const char *words;                       /* option that takes the words that belong to no other; NULL: none are taken */
    const struct fl_opt *opts;
    size_t      state_size;                  /* zeroed, options filled in */
    int       (*run)(void *state, struct fl_err *err);
};
extern const struct fl_tool fl_tool_bench, fl_tool_average, fl_tool_select, fl_tool_check;

/* model.c: a network with its weights, from a file (st, open as long as they are used) with its manifest, or made up. */
struct fl_tool_model { struct fl_net *net; struct fl_safetensors st; float *all; const float **data; struct fl_weights weights; char name[64]; uint32_t size, channels; };
int  fl_tool_model_read(const char *file, struct fl_tool_model *, struct fl_err *);
/* Weights of the size that training gives, the same everywhere. size 0: 224. */
int  fl_tool_model_make(const char *arch, uint32_t size, uint32_t channels, struct fl_tool_model *, struct fl_err *);
void fl_tool_model_free(struct fl_tool_model *);
/* n numbers in [low, low + span), the same for the same name. */
void fl_tool_fill(const char *name, float *out, size_t n, double low, double span);

/* tiles.c: tiles as a run without augmentation shows them to a network: whole, or their centre where they are larger than its input. */
struct fl_tool_tiles_opts { char **tiles, *folds, *file_bands, *tifs; int64_t fold; };        /* fold < 0: all; else those of the other folds */
struct fl_tool_tiles {
    struct fl_inputs in;                     /* in natural order of their paths */
    struct fl_input  input;
    struct fl_window window;
    struct fl_jpeg  *jpeg;                   /* M 255 */
    struct fl_tiff  *tiff;                   /* M 65535, and ngb */
    const char      *tifs;                   /* ngb: the folder of the tiles' TIFFs; else NULL, as are the next three */
    struct fl_match *match;
    uint8_t         *picture;                /* [side][side][3] of the JPEG */
    uint16_t        *bands;                  /* [side][side][3] of the TIFF */
    void            *pixels;                 /* [side][side][channels] */
    uint32_t         channels, size, side;   /* side: of the first tile; all have it */
};
/* Options of a command that has a struct fl_tool_tiles_opts at `member`. */
#define FL_TOOL_TILES_OPTS(state, member) \
    { .name = "tiles", .type = FL_OPT_LIST, .off = offsetof(state, member.tiles), .help = "files, folders, patterns, tar archives or @LIST, as of the stage source" }, \
    { .name = "folds", .type = FL_OPT_PATH, .off = offsetof(state, member.folds), .help = "table image_name,fold; with --fold: only tiles of other folds" }, \
    { .name = "fold", .type = FL_OPT_INT, .off = offsetof(state, member.fold), .def = "-1", .min = -1, .max = 65535, .help = "the fold that is held out" }, \
    { .name = "file-bands", .type = FL_OPT_STR, .off = offsetof(state, member.file_bands), .def = "bgrn", .help = "order of the bands in a TIFF" }, \
    { .name = "tifs", .type = FL_OPT_PATH, .off = offsetof(state, member.tifs), .help = "for a network for ngb: the folder with ID.tif of each tile" }
/* done may follow a failed open. FL_E_CONFIG, FL_E_INPUT, FL_E_LABEL, FL_E_SHAPE naming the file. */
int  fl_tool_tiles_open(struct fl_tool_tiles *, const struct fl_tool_tiles_opts *, const struct fl_plan *, struct fl_err *);
void fl_tool_tiles_done(struct fl_tool_tiles *);
/* Writes tile i as [size][size][channels], normalised. */
int  fl_tool_tiles_paint(struct fl_tool_tiles *, uint64_t i, float *out, struct fl_err *);

/* SHA-256 of their ids in their order, each with a newline. */
int  fl_tool_tiles_seen(const struct fl_tool_tiles *, char hex[65], struct fl_err *);

/* manifest.c: the JSON beside weights NAME.safetensors, read whole and written anew. */
int  fl_tool_manifest_load(const char *weights, json_t **, struct fl_err *);
int  fl_tool_manifest_store(const char *weights, const json_t *, struct fl_err *);
/* [{"file", "sha256"}, ...] of files; NULL after an error. */
json_t *fl_tool_origin(char *const *files, struct fl_err *);

double fl_tool_now(void);                    /* seconds */

#endif
