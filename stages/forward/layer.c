/* Steps of a lowered network as layers to report. */
#include <stdio.h>

#include "stages/forward/lower.h"

static const char *layer_kind(uint8_t kind)
{
    switch (kind) {
    case FL_OP_CONV:   return "conv";
    case FL_OP_LINEAR: return "linear";
    case FL_OP_BN:     return "bn";
    case FL_OP_RELU:   return "relu";
    case FL_OP_ADD:    return "add";
    case FL_OP_CONCAT: return "concat";
    case FL_OP_MAX:    return "max";
    case FL_OP_AVG:    return "avg";
    case FL_OP_ADAPT:  return "adapt";
    case FL_OP_MEAN:   return "mean";
    default:           return "copy";
    }
}

bool fl_low_layer(const struct fl_low *l, uint32_t i, uint32_t rows, struct fl_layer *out)
{
    if (i >= l->nsteps)
        return false;
    const struct fl_step *s = &l->steps[i];
    const struct fl_value *in = fl_low_val(l, s->in), *to = fl_low_val(l, s->out);
    uint64_t pixels = (uint64_t)rows * to->h * to->w * to->c;
    *out = (struct fl_layer){ .impl = "", .h = to->h, .w = to->w, .ci = in->c, .co = to->c, .groups = s->groups > 0 ? s->groups : 1 };
    if (s->kind == FL_OP_CONV)
        out->macs = pixels * s->k * s->k * (in->c / out->groups);
    if (s->kind == FL_OP_LINEAR)
        out->macs = pixels * in->h * in->w * in->c;
    if (s->kind == FL_OP_CONV || s->kind == FL_OP_MAX || s->kind == FL_OP_AVG)
        snprintf(out->kind, sizeof out->kind, "%s%s %ux%u/%u%s%s", s->pro >= 0 ? "bn-" : "", layer_kind(s->kind), s->k, s->k, s->stride,
                 s->in2 >= 0 ? "+" : "", s->relu ? " relu" : "");
    else
        snprintf(out->kind, sizeof out->kind, "%s%s%s", s->pro >= 0 ? "bn-" : "", layer_kind(s->kind), s->relu ? " relu" : "");
    return true;
}
