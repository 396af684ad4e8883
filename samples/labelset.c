/* Label sets: exactly one weather label, cloudy alone, the rest at their rates among tiles that are not cloudy. */
#include "samples/paint.h"

#include <stdio.h>
#include <string.h>

#define LABELSET_OP 0u

const struct paint_rate paint_rates[PAINT_NLABELS] = {
    [PAINT_AGRICULTURE] = { "agriculture", 12315 },
    [PAINT_ARTISINAL_MINE] = { "artisinal_mine", 339 },
    [PAINT_BARE_GROUND] = { "bare_ground", 862 },
    [PAINT_BLOOMING] = { "blooming", 332 },
    [PAINT_BLOW_DOWN] = { "blow_down", 98 },
    [PAINT_CLEAR] = { "clear", 28431 },
    [PAINT_CLOUDY] = { "cloudy", 2089 },
    [PAINT_CONVENTIONAL_MINE] = { "conventional_mine", 100 },
    [PAINT_CULTIVATION] = { "cultivation", 4477 },
    [PAINT_HABITATION] = { "habitation", 3660 },
    [PAINT_HAZE] = { "haze", 2697 },
    [PAINT_PARTLY_CLOUDY] = { "partly_cloudy", 7261 },
    [PAINT_PRIMARY] = { "primary", 37513 },
    [PAINT_ROAD] = { "road", 8071 },
    [PAINT_SELECTIVE_LOGGING] = { "selective_logging", 340 },
    [PAINT_SLASH_BURN] = { "slash_burn", 209 },
    [PAINT_WATER] = { "water", 7411 },
};

/* One row of the table has no weather label; here every tile has one, so the rates are those among the rest. */
static int labelset_weather(struct fl_rng *r)
{
    uint32_t sum = 0;
    for (int l = 0; l < PAINT_NLABELS; l++)
        sum += (PAINT_WEATHER >> l & 1) ? paint_rates[l].count : 0;
    uint32_t draw = paint_below(r, sum);
    for (int l = 0; l < PAINT_NLABELS; l++) {
        if (!(PAINT_WEATHER >> l & 1))
            continue;
        if (draw < paint_rates[l].count)
            return l;
        draw -= paint_rates[l].count;
    }
    return PAINT_CLEAR;
}

uint32_t paint_labels(uint64_t seed, const char *id, float floor)
{
    struct fl_rng r;
    paint_rng_init(&r, seed, id, LABELSET_OP);
    int weather = labelset_weather(&r);
    uint32_t set = PAINT_BIT(weather);
    if (weather == PAINT_CLOUDY)
        return set;
    float rows = (float)(PAINT_ROWS - paint_rates[PAINT_CLOUDY].count);
    for (int l = 0; l < PAINT_NLABELS; l++) {
        if (PAINT_WEATHER >> l & 1)
            continue;
        float rate = (float)paint_rates[l].count / rows;
        if (paint_u(&r, 0, 1) < (rate > floor ? rate : floor))
            set |= PAINT_BIT(l);
    }
    return set;
}

void paint_tags(uint32_t labels, char *out, size_t size)
{
    size_t n = 0;
    out[0] = '\0';
    for (int l = 0; l < PAINT_NLABELS; l++)
        if ((labels >> l & 1) && n < size)
            n += (size_t)snprintf(out + n, size - n, "%s%s", n > 0 ? " " : "", paint_rates[l].name);
}
