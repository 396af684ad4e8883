/* The tool beside the forward stage: what is done to models and machines outside of a run. flowrun calls it (launch/cmd_tool.c). */
#ifndef FL_TOOLS_FORWARD_H
#define FL_TOOLS_FORWARD_H

#include "runtime/opt.h"
#include "stages/forward/device.h"

/* A command. Arguments are --NAME VALUE of its options (--NAME alone for a bool, a list up to the next --NAME), words before
 * them go to the option `words`. run returns FL_OK or an error, which is printed with the command's name. */
struct fl_tool {
    const char *name, *usage, *help;
    const char *words;                       /* option that takes the words that belong to no other; NULL: none are taken */
    const struct fl_opt *opts;
    size_t      state_size;                  /* zeroed, options filled in */
    int       (*run)(void *state, struct fl_err *err);
};
extern const struct fl_tool fl_tool_bench, fl_tool_check, fl_tool_average, fl_tool_select;

/* model.c: a network with its weights, from a file with its manifest, or made up. */
struct fl_tool_model { struct fl_net *net; float *all; const float **data; struct fl_weights weights; char name[64]; uint32_t size, channels; };
int  fl_tool_model_read(const char *file, struct fl_tool_model *, struct fl_err *);
/* Weights of the size that training gives, the same everywhere. size 0: 224. */
int  fl_tool_model_make(const char *arch, uint32_t size, uint32_t channels, struct fl_tool_model *, struct fl_err *);
void fl_tool_model_free(struct fl_tool_model *);
/* n numbers in [low, low + span), the same for the same name. */
void fl_tool_fill(const char *name, float *out, size_t n, double low, double span);

double fl_tool_now(void);                    /* seconds */

#endif
