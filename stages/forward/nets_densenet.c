/* DenseNet: each layer's 3x3 convolution adds `growth` channels behind those of its block. */
#include "stages/forward/net.h"

static const char *const densenet_archs[] = { "densenet121", "densenet169", "densenet201", "densenet161", NULL };
static const struct { uint32_t stem, growth, layers[4]; } densenet_rows[] = {
    { 64, 32, { 6, 12, 24, 16 } }, { 64, 32, { 6, 12, 32, 32 } }, { 64, 32, { 6, 12, 48, 32 } }, { 96, 48, { 6, 12, 36, 24 } },
};

static int densenet_layer(struct fl_net *n, int in, uint32_t growth, uint32_t block, uint32_t layer)
{
    int x = fl_nb_relu(n, fl_nb_bn(n, in, "features.denseblock%u.denselayer%u.norm1", block, layer));
    x = fl_nb_conv(n, x, (struct fl_geom){ .out = 4 * growth, .k = 1 }, "features.denseblock%u.denselayer%u.conv1", block, layer);
    x = fl_nb_relu(n, fl_nb_bn(n, x, "features.denseblock%u.denselayer%u.norm2", block, layer));
    x = fl_nb_conv(n, x, (struct fl_geom){ .out = growth, .k = 3, .pad = 1 }, "features.denseblock%u.denselayer%u.conv2", block, layer);
    return fl_nb_concat(n, in, x);
}

static int densenet_transition(struct fl_net *n, int in, uint32_t channels, uint32_t block)
{
    int x = fl_nb_relu(n, fl_nb_bn(n, in, "features.transition%u.norm", block));
    x = fl_nb_conv(n, x, (struct fl_geom){ .out = channels / 2, .k = 1 }, "features.transition%u.conv", block);
    return fl_nb_avg(n, x, 2);
}

static void densenet_build(struct fl_net *n, uint32_t which)
{
    uint32_t channels = densenet_rows[which].stem, growth = densenet_rows[which].growth;
    int x = fl_nb_conv(n, 0, (struct fl_geom){ .out = channels, .k = 7, .stride = 2, .pad = 3 }, "features.conv0");
    x = fl_nb_relu(n, fl_nb_bn(n, x, "features.norm0"));
    x = fl_nb_max(n, x, (struct fl_geom){ .k = 3, .stride = 2, .pad = 1 });
    for (uint32_t b = 1; b <= 4; b++) {
        for (uint32_t l = 1; l <= densenet_rows[which].layers[b - 1]; l++, channels += growth)
            x = densenet_layer(n, x, growth, b, l);
        if (b < 4) {
            x = densenet_transition(n, x, channels, b);
            channels /= 2;
        }
    }
    x = fl_nb_relu(n, fl_nb_bn(n, x, "features.norm5"));
    fl_nb_head(n, fl_nb_mean(n, x), "classifier");
}

const struct fl_family fl_densenet = { densenet_archs, densenet_build };
