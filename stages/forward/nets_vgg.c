/* VGG: stacks of 3x3 convolutions with bias, and three wide linear layers. */
#include "stages/forward/net.h"

static const char *const vgg_archs[] = { "vgg11", "vgg13", "vgg16", "vgg19", NULL };
static const uint32_t vgg_rows[][5] = { { 1, 1, 2, 2, 2 }, { 2, 2, 2, 2, 2 }, { 2, 2, 3, 3, 3 }, { 2, 2, 4, 4, 4 } };
static const uint32_t vgg_width[5] = { 64, 128, 256, 512, 512 };

static void vgg_build(struct fl_net *n, uint32_t which)
{
    int x = 0;
    uint32_t at = 0;                       /* place in torchvision's Sequential: convolution and ReLU take two, a pool one */
    for (uint32_t s = 0; s < 5; s++, at++) {
        for (uint32_t i = 0; i < vgg_rows[which][s]; i++, at += 2)
            x = fl_nb_relu(n, fl_nb_conv(n, x, (struct fl_geom){ .out = vgg_width[s], .k = 3, .pad = 1, .bias = true }, "features.%u", at));
        x = fl_nb_max(n, x, (struct fl_geom){ .k = 2, .stride = 2 });
    }
    x = fl_nb_adapt(n, x, 7);
    x = fl_nb_dropout(n, fl_nb_relu(n, fl_nb_linear(n, x, 4096, false, "classifier.0")));
    x = fl_nb_dropout(n, fl_nb_relu(n, fl_nb_linear(n, x, 4096, false, "classifier.3")));
    fl_nb_head(n, x, "classifier.6");
}

const struct fl_family fl_vgg = { vgg_archs, vgg_build };
