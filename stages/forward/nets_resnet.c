/* ResNet and ResNeXt: residual blocks, basic (two 3x3) or bottleneck (1x1, 3x3 with the stride, 1x1). */
#include "stages/forward/net.h"

static const char *const resnet_archs[] = {
    "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext50_32x4d", "resnext101_32x8d", NULL
};
/* width: channels of a group in the bottleneck of the first stage; 0 = basic blocks */
static const struct { uint32_t groups, width, blocks[4]; } resnet_rows[] = {
    { 1, 0, { 2, 2, 2, 2 } },   { 1, 0, { 3, 4, 6, 3 } },   { 1, 64, { 3, 4, 6, 3 } }, { 1, 64, { 3, 4, 23, 3 } },
    { 1, 64, { 3, 8, 36, 3 } }, { 32, 4, { 3, 4, 6, 3 } }, { 32, 8, { 3, 4, 23, 3 } },
};

static int resnet_skip(struct fl_net *n, int in, uint32_t out, uint32_t stride, uint32_t layer)
{
    int x = fl_nb_conv(n, in, (struct fl_geom){ .out = out, .k = 1, .stride = stride }, "layer%u.0.downsample.0", layer);
    return fl_nb_bn(n, x, "layer%u.0.downsample.1", layer);
}

static int resnet_basic(struct fl_net *n, int in, uint32_t planes, uint32_t stride, bool skip, uint32_t layer, uint32_t block)
{
    int x = fl_nb_conv(n, in, (struct fl_geom){ .out = planes, .k = 3, .stride = stride, .pad = 1 }, "layer%u.%u.conv1", layer, block);
    x = fl_nb_relu(n, fl_nb_bn(n, x, "layer%u.%u.bn1", layer, block));
    x = fl_nb_conv(n, x, (struct fl_geom){ .out = planes, .k = 3, .pad = 1 }, "layer%u.%u.conv2", layer, block);
    x = fl_nb_bn(n, x, "layer%u.%u.bn2", layer, block);
    return fl_nb_relu(n, fl_nb_add(n, x, skip ? resnet_skip(n, in, planes, stride, layer) : in));
}

static int resnet_bottleneck(struct fl_net *n, int in, uint32_t planes, uint32_t width, uint32_t groups, uint32_t stride, bool skip,
                             uint32_t layer, uint32_t block)
{
    int x = fl_nb_conv(n, in, (struct fl_geom){ .out = width, .k = 1 }, "layer%u.%u.conv1", layer, block);
    x = fl_nb_relu(n, fl_nb_bn(n, x, "layer%u.%u.bn1", layer, block));
    x = fl_nb_conv(n, x, (struct fl_geom){ .out = width, .k = 3, .stride = stride, .pad = 1, .groups = groups }, "layer%u.%u.conv2", layer, block);
    x = fl_nb_relu(n, fl_nb_bn(n, x, "layer%u.%u.bn2", layer, block));
    x = fl_nb_conv(n, x, (struct fl_geom){ .out = 4 * planes, .k = 1 }, "layer%u.%u.conv3", layer, block);
    x = fl_nb_bn(n, x, "layer%u.%u.bn3", layer, block);
    return fl_nb_relu(n, fl_nb_add(n, x, skip ? resnet_skip(n, in, 4 * planes, stride, layer) : in));
}

static void resnet_build(struct fl_net *n, uint32_t which)
{
    uint32_t groups = resnet_rows[which].groups, base = resnet_rows[which].width;
    int x = fl_nb_conv(n, 0, (struct fl_geom){ .out = 64, .k = 7, .stride = 2, .pad = 3 }, "conv1");
    x = fl_nb_relu(n, fl_nb_bn(n, x, "bn1"));
    x = fl_nb_max(n, x, (struct fl_geom){ .k = 3, .stride = 2, .pad = 1 });
    for (uint32_t l = 1; l <= 4; l++)
        for (uint32_t b = 0; b < resnet_rows[which].blocks[l - 1]; b++) {
            uint32_t planes = 32u << l, stride = l > 1 && b == 0 ? 2 : 1;
            /* a basic block of layer1 keeps its 64 channels, so it needs no convolution beside it */
            x = base == 0 ? resnet_basic(n, x, planes, stride, b == 0 && l > 1, l, b)
                          : resnet_bottleneck(n, x, planes, planes * base / 64 * groups, groups, stride, b == 0, l, b);
        }
    fl_nb_head(n, fl_nb_mean(n, x), "fc");
}

const struct fl_family fl_resnet = { resnet_archs, resnet_build };
