/* Layers in words. */
#include "stages/forward/cuda/layer.h"

#include <stdio.h>

void fl_cu_layer_key(const struct fl_cu_layer *l, char key[FL_CU_KEY])
{
    static const char *const types[] = { "f32", "f16", "bf16" };
    snprintf(key, FL_CU_KEY, "n%u_%ux%ux%u_%ux%ux%u_k%u_s%u_p%u_g%u_i%u_o%u_r%u_%s_%s%s%s%s%s", l->rows, l->ih, l->iw, l->ci, l->oh, l->ow, l->co,
             l->k, l->stride, l->pad, l->groups, l->in_stride, l->out_stride, l->res_stride, types[l->type], types[l->out_type],
             l->pro ? "_pro" : "", l->pro_relu ? "_prorelu" : "", l->relu ? "_relu" : "", l->f32_bias ? "_bias32" : "");
}
