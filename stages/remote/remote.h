/* remote: one other host, seen from the graph as one more instance of a stage. remote.c: the stage; peer.c: what comes through the door; kind.c: what
 * a host has; killed.c: tiles that kill there;
 * start.c: the launcher's process. */
#ifndef FL_STAGES_REMOTE_H
#define FL_STAGES_REMOTE_H

#include <jansson.h>
#include <sys/types.h>

#include "runtime/door.h"
#include "runtime/parcel.h"
#include "runtime/stage.h"

enum remote_state { REMOTE_DOWN, REMOTE_CALLED, REMOTE_UP, REMOTE_ENDING };
enum { REMOTE_SENT, REMOTE_BYTES_OUT, REMOTE_BYTES_IN, REMOTE_STARTS, REMOTE_REFUSED };

struct remote_held { uint64_t token; struct fl_batch *b; };
struct remote_given { uint64_t token, batch; uint32_t attempt, n; };

struct remote {
    json_t *hosts;                               /* options */
    char   *listen, *build, *processor;
    char  **send, **give, **pass;
    double  silence;
    uint32_t share;
    bool    insecure, mixed;
    const char *name;                            /* of the host */
    char    join[1300];                          /* where its letter lies for who joins by hand; "" = it is called */
    enum remote_state state;
    struct fl_door *door;
    unsigned char *buf;                          /* FL_WIRE_MAX */
    int     epoll, in, out;                      /* in: the launcher's standard input; out: what it prints; -1 = closed */
    pid_t   pid;
    int     pidfd;
    char    line[512]; size_t line_len;          /* of what it prints, until its end */
    char    pass_word[FL_WIRE_PASS + 1];
    int64_t peer[FL_WIRE_ROLES];                 /* of the door; -1 = not there */
    bool    ready;                               /* the agent's stages are */
    double  called, heard, said, retry, backoff; /* seconds, monotonic */
    uint32_t window;                             /* batches that may be there at once */
    uint64_t next, refused;                      /* token; strangers told of */
    struct remote_held *held; uint32_t nheld;    /* there */
    struct remote_given *given; uint32_t ngiven; /* what tokens stood for, by token modulo ngiven: also a while after they came back */
    struct fl_batch **waiting; uint32_t nwaiting;
    struct fl_parcel parcel; struct fl_batch *coming;     /* what is on its way back; NULL = nothing is */
    char    why[512];                            /* last trouble that was told */
    struct { double room, at, hush; uint64_t left; } lines;       /* that may be logged now, and when that was so; left out, to be told at */
};

double remote_now(void);

/* remote.c */
void remote_told(struct fl_ctx *, bool warn, const char *fmt, ...) __attribute__((format(printf, 3, 4)));        /* a line that others cause: at most REMOTE_LINES a second */
int  remote_trouble(struct fl_ctx *, bool fatal, const char *fmt, ...) __attribute__((format(printf, 3, 4)));   /* the host is gone, or isn't to be had */

/* peer.c */
int  remote_open_door(struct fl_ctx *);
int  remote_hear(struct fl_ctx *, bool *any);    /* all that has come */
int  remote_say(struct remote *, enum fl_wire_role, char kind, const void *data, size_t len);   /* FL_E_PEER: it is gone */
int  remote_give(struct fl_ctx *, struct fl_batch *);            /* sends a batch; keeps it as held */

/* kind.c */
int  remote_keep(struct fl_ctx *, json_t *has, char **differs, struct fl_err *);      /* what the host has, into RUN/hosts; *differs: from the first that joined, owned; NULL = not */

/* killed.c */
void remote_killed(struct fl_ctx *, const json_t *word);          /* the agent's word of a tile that kills there */

/* start.c */
int  remote_start(struct fl_ctx *);
void remote_stop(struct remote *);               /* closes its pipes and kills the launcher's process */
void remote_printed(struct fl_ctx *);            /* passes on what it printed */
bool remote_ended(struct remote *, int *status); /* reaps it */

#endif
