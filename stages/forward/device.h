/* What `device` and `precision` of a forward stage become on this machine. */
#ifndef FL_FORWARD_DEVICE_H
#define FL_FORWARD_DEVICE_H

#include "stages/forward/backend.h"

struct fl_device { const struct fl_backend *backend; uint32_t index; char name[24]; };     /* name: "cpu", "cuda:1"; stays so when read again */

/* text: auto | cpu | ref | cuda | cuda:N. auto takes the first of cuda, cpu, ref that can be used; passed: why others can't, "" if none
 * was tried in vain. FL_E_CONFIG for another word, FL_E_DEVICE with the reason when the one asked for can't be used. */
int fl_device_pick(const char *text, struct fl_device *, char *passed, size_t n, struct fl_err *);

/* Precision asked for (-1: auto) -> the one to compute in. auto takes the fastest that the device has and that `proven` (bits 1 <<
 * enum fl_prec) names, else f32. FL_E_DEVICE when the device doesn't compute in the one asked for. */
int fl_device_precision(const struct fl_device *, int asked, unsigned proven, int *prec, struct fl_err *);

/* Executor i of those that are built in or can be loaded, in the order of `auto`; NULL behind the last. One that can't be loaded: its
 * name, and why, in a table without probe. */
const struct fl_backend *fl_device_backend(uint32_t i, char *why, size_t n);

#endif
