/* Devices and precisions: what was asked for, what this machine has. */
#include "stages/forward/device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stages/forward/plugin.h"

static const char *const device_precs[FL_PREC_COUNT] = { "f32", "bf16", "f16", "f64" };

const char *fl_prec_name(int prec)
{
    return prec >= 0 && prec < FL_PREC_COUNT ? device_precs[prec] : "?";
}

static const struct fl_backend device_no_cuda = { .abi = FL_BACKEND_ABI, .name = "cuda" };

const struct fl_backend *fl_device_backend(uint32_t i, char *why, size_t n)
{
    const struct fl_backend *b = i == 0 ? fl_plugin_backend("cuda", why, n) : NULL;
    switch (i) {
    case 0:  return b != NULL ? b : &device_no_cuda;
    case 1:  return &fl_backend_cpu;
    case 2:  return &fl_backend_ref;
    default: return NULL;
    }
}

/* How many devices there are; 0 and why when none can be used. */
static uint32_t device_count(const struct fl_backend *b, char *why, size_t n)
{
    int got = b->probe != NULL ? b->probe(why, n) : 0;
    return got > 0 ? (uint32_t)got : 0;
}

static void device_name(struct fl_device *d)
{
    if (strcmp(d->backend->name, "cuda") == 0)
        snprintf(d->name, sizeof d->name, "cuda:%u", d->index);
    else
        snprintf(d->name, sizeof d->name, "%s", d->backend->name);
}

static int device_auto(struct fl_device *out, char *passed, size_t n, struct fl_err *err)
{
    char why[200];
    size_t used = 0;
    passed[0] = '\0';
    for (uint32_t i = 0; ; i++) {
        why[0] = '\0';
        const struct fl_backend *b = fl_device_backend(i, why, sizeof why);
        if (b == NULL)
            return fl_err_set(err, FL_E_DEVICE, "device: none can be used: %s", passed);
        if (device_count(b, why, sizeof why) > 0) {
            *out = (struct fl_device){ .backend = b };
            device_name(out);
            return FL_OK;
        }
        int put = snprintf(passed + used, n - used, "%s%s: unavailable: %s", used ? "; " : "", b->name, why);
        used = put > 0 && (size_t)put < n - used ? used + (size_t)put : used;
    }
}

/* "cuda:1" -> "cuda", 1. */
static int device_split(const char *text, char name[8], uint32_t *index, struct fl_err *err)
{
    const char *colon = strchr(text, ':');
    size_t len = colon != NULL ? (size_t)(colon - text) : strlen(text);
    char *end = NULL;
    bool known = (len == 3 && (memcmp(text, "cpu", 3) == 0 || memcmp(text, "ref", 3) == 0) && colon == NULL) || (len == 4 && memcmp(text, "cuda", 4) == 0);
    unsigned long at = colon != NULL && colon[1] >= '0' && colon[1] <= '9' ? strtoul(colon + 1, &end, 10) : 0;
    if (!known || (colon != NULL && (end == NULL || *end != '\0' || at > 1023)))
        return fl_err_set(err, FL_E_CONFIG, "device: \"%.40s\", want auto, cpu, ref, cuda or cuda:N", text);
    memcpy(name, text, len);
    name[len] = '\0';
    *index = (uint32_t)at;
    return FL_OK;
}

int fl_device_pick(const char *text, struct fl_device *out, char *passed, size_t n, struct fl_err *err)
{
    char name[8], why[200] = "";
    uint32_t index = 0;
    passed[0] = '\0';
    if (strcmp(text, "auto") == 0)
        return device_auto(out, passed, n, err);
    int code = device_split(text, name, &index, err);
    if (code != FL_OK)
        return code;
    const struct fl_backend *b = NULL;
    for (uint32_t i = 0; b == NULL || strcmp(b->name, name) != 0; i++)
        b = fl_device_backend(i, why, sizeof why);
    uint32_t count = device_count(b, why, sizeof why);
    if (count == 0)
        return fl_err_set(err, FL_E_DEVICE, "device: %s: unavailable: %s", text, why);
    if (index >= count)
        return fl_err_set(err, FL_E_DEVICE, "device: %s: there %s only %u (%s)", text, count == 1 ? "is" : "are", count, why);
    *out = (struct fl_device){ .backend = b, .index = index };
    device_name(out);
    return FL_OK;
}

int fl_device_precision(const struct fl_device *d, int asked, unsigned proven, int *prec, struct fl_err *err)
{
    static const int fastest[] = { FL_PREC_F16, FL_PREC_BF16 };
    if (asked >= 0 && !d->backend->takes(d->index, asked))
        return fl_err_set(err, FL_E_DEVICE, "precision: %s asked for, but device %s doesn't compute in it", fl_prec_name(asked), d->name);
    *prec = asked >= 0 ? asked : FL_PREC_F32;
    for (size_t i = 0; asked < 0 && *prec == FL_PREC_F32 && i < sizeof fastest / sizeof fastest[0]; i++)
        if ((proven & 1u << fastest[i]) && d->backend->takes(d->index, fastest[i]))
            *prec = fastest[i];
    return FL_OK;
}
