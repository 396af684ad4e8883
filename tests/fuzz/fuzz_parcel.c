/* Fuzz target: messages from another host, each behind its length as u16, as inlet and remote take them. */
#include <stdlib.h>
#include <string.h>

#include "runtime/parcel.h"

#define LIMIT 65536u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Whatever was accepted lies within the limit, and is whole only once every byte has come. */
static void prove(const struct fl_parcel *p, uint64_t came)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < p->b.ntensors; i++)
        sum += p->b.t[i].bytes;
    if (sum > LIMIT || came > sum || fl_parcel_whole(p) != (came == sum))
        abort();
}

static void place(struct fl_parcel *p, uint8_t *mem)
{
    uint64_t off = 0;
    for (uint32_t i = 0; i < p->b.ntensors; i++) {
        p->b.t[i].data = mem + off;
        off = (off + p->b.t[i].bytes + FL_ALIGN - 1) / FL_ALIGN * FL_ALIGN;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct fl_parcel p;
    struct fl_err err;
    uint8_t *mem = malloc(LIMIT);
    bool begun = false;
    uint64_t came = 0, token;
    while (size >= 2) {
        size_t len = (size_t)data[0] | (size_t)data[1] << 8;
        len = len < size - 2 ? len : size - 2;
        uint8_t *msg = malloc(len > 0 ? len : 1);        /* of exactly its size, for a sanitizer */
        memcpy(msg, data + 2, len);
        if (len >= FL_WIRE_PREFIX && fl_wire_is(msg, len) && msg[0] == 'B') {
            begun = fl_parcel_begin(&p, msg, len, 16, LIMIT, &err) == FL_OK;
            came = 0;
            if (begun)
                place(&p, mem);
        } else if (begun && fl_parcel_token(msg, len, &token, &err) == FL_OK && fl_parcel_add(&p, msg, len, &err) == FL_OK) {
            came += len - FL_PARCEL_HEAD;
        }
        if (begun)
            prove(&p, came);
        free(msg);
        data += 2 + len;
        size -= 2 + len;
    }
    free(mem);
    return 0;
}
