/* SqueezeNet 1.1 of torchvision, and the variant with two linear layers behind it that Keras users trained on these tiles.
 *
 * squeezenet_planet, as Sequentials: features as in 1.1 (pools without ceil), classifier = (0 conv10, 1 ReLU, 2 flatten in height, width,
 * channel order, 3 d1, 4 ReLU, 5 d2). A Keras file maps by name: conv1 = features.0, fire2..9 = features.{3,4,6,7,9,10,11,12}, and there
 * squeeze1x1 = squeeze, expand1x1 and expand3x3 as they are, conv10 = classifier.0, d1 = classifier.3, d2 = classifier.5; its
 * convolutions [kh,kw,in,out] become [out,in,kh,kw], its dense weights [in,out] become [out,in]. */
#include "stages/forward/net.h"

static const char *const squeezenet_archs[] = { "squeezenet1_1", "squeezenet_planet", NULL };

static int squeezenet_fire(struct fl_net *n, int in, uint32_t squeeze, uint32_t expand, uint32_t at)
{
    int s = fl_nb_relu(n, fl_nb_conv(n, in, (struct fl_geom){ .out = squeeze, .k = 1, .bias = true }, "features.%u.squeeze", at));
    int a = fl_nb_relu(n, fl_nb_conv(n, s, (struct fl_geom){ .out = expand, .k = 1, .bias = true }, "features.%u.expand1x1", at));
    int b = fl_nb_relu(n, fl_nb_conv(n, s, (struct fl_geom){ .out = expand, .k = 3, .pad = 1, .bias = true }, "features.%u.expand3x3", at));
    return fl_nb_concat(n, a, b);
}

static int squeezenet_features(struct fl_net *n, bool ceil)
{
    struct fl_geom pool = { .k = 3, .stride = 2, .ceil = ceil };
    int x = fl_nb_relu(n, fl_nb_conv(n, 0, (struct fl_geom){ .out = 64, .k = 3, .stride = 2, .bias = true }, "features.0"));
    x = fl_nb_max(n, x, pool);
    x = squeezenet_fire(n, x, 16, 64, 3);
    x = squeezenet_fire(n, x, 16, 64, 4);
    x = fl_nb_max(n, x, pool);
    x = squeezenet_fire(n, x, 32, 128, 6);
    x = squeezenet_fire(n, x, 32, 128, 7);
    x = fl_nb_max(n, x, pool);
    x = squeezenet_fire(n, x, 48, 192, 9);
    x = squeezenet_fire(n, x, 48, 192, 10);
    x = squeezenet_fire(n, x, 64, 256, 11);
    return squeezenet_fire(n, x, 64, 256, 12);
}

static void squeezenet_build(struct fl_net *n, uint32_t which)
{
    if (which == 0) {
        if (n->two_layer != 0) {
            n->bad = FL_E_CONFIG;
            return;
        }
        int x = fl_nb_dropout(n, squeezenet_features(n, true));
        x = fl_nb_conv(n, x, (struct fl_geom){ .out = n->labels, .k = 1, .bias = true }, "classifier.1");
        fl_nb_mean(n, fl_nb_relu(n, x));
        return;
    }
    int x = squeezenet_features(n, false);
    x = fl_nb_relu(n, fl_nb_conv(n, x, (struct fl_geom){ .out = n->labels, .k = 1, .bias = true }, "classifier.0"));
    x = fl_nb_relu(n, fl_nb_linear(n, x, 64, true, "classifier.3"));
    fl_nb_head(n, x, "classifier.5");
}

const struct fl_family fl_squeezenet = { squeezenet_archs, squeezenet_build };
