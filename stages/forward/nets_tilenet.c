/* tilenet: a network of four convolutions for demonstrations, small enough to train on one core. */
#include "stages/forward/net.h"

static const char *const tilenet_archs[] = { "tilenet", NULL };
static const uint32_t tilenet_width[4] = { 16, 32, 64, 96 };

static void tilenet_build(struct fl_net *n, uint32_t which)
{
    (void)which;
    int x = 0;
    for (uint32_t i = 0; i < 4; i++) {
        struct fl_geom g = { .out = tilenet_width[i], .k = 3, .stride = i == 0 ? 2 : 1, .pad = 1 };
        x = fl_nb_conv(n, x, g, "features.conv%u", i);
        x = fl_nb_relu(n, fl_nb_bn(n, x, "features.norm%u", i));
        if (i == 1 || i == 2)
            x = fl_nb_max(n, x, (struct fl_geom){ .k = 2, .stride = 2 });
    }
    fl_nb_head(n, fl_nb_mean(n, x), "classifier");
}

const struct fl_family fl_tilenet = { tilenet_archs, tilenet_build };
