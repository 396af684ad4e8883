/* What inlet and outlet share: the connection to the host that the graph was started on. */
#ifndef FL_STAGES_LIB_LINE_H
#define FL_STAGES_LIB_LINE_H

#include "runtime/dial.h"
#include "runtime/parcel.h"
#include "runtime/stage.h"

struct fl_line {
    char   *address, *server_key, *public_key, *secret_key, *pass;      /* options */
    double  silence;
    struct fl_dial *dial;
    unsigned char  *buf;                         /* FL_WIRE_MAX bytes */
    size_t  len;                                 /* of the message in it */
};

/* The options of a state whose field `line` is one. */
#define FL_LINE_OPTS(S) \
    { .name = "address", .type = FL_OPT_STR, .off = offsetof(S, line.address), .required = 1, .help = "Where the graph's host listens: tcp://HOST:PORT." }, \
    { .name = "server_key", .type = FL_OPT_STR, .off = offsetof(S, line.server_key), .help = "Its public key; without one the connection isn't encrypted." }, \
    { .name = "public_key", .type = FL_OPT_STR, .off = offsetof(S, line.public_key), .help = "The key that is let in." }, \
    { .name = "secret_key", .type = FL_OPT_STR, .off = offsetof(S, line.secret_key), .help = "Its secret half." }, \
    { .name = "pass", .type = FL_OPT_STR, .off = offsetof(S, line.pass), .required = 1, .help = "The word that is shown at the door." }, \
    { .name = "silence", .type = FL_OPT_FLOAT, .off = offsetof(S, line.silence), .def = "3", .min = 0.1, .max = 3600, \
      .help = "Seconds without a sign of the other host until it counts as gone." }

int  fl_line_open(struct fl_ctx *, struct fl_line *, enum fl_wire_role);      /* connects and says who it is */
void fl_line_close(struct fl_line *);
/* The next message in line->buf. FL_END: none now. Else the stage has failed, or the connection is lost (fl_lost). */
int  fl_line_next(struct fl_ctx *, struct fl_line *);

#endif
