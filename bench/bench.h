/* What the parts of the bench share: running programs, graphs, tiles, and the table of comparisons. */
#ifndef FL_BENCH_H
#define FL_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/status.h"

struct bench {
    char     bin[512];               /* where the build put its programs: build */
    char     dir[600];               /* tiles, graphs, run directories: BIN/bench */
    int      cpu;                    /* processor both sides of a pair are pinned to; -1: none */
    uint64_t runs;                   /* pairs of each comparison */
    uint64_t pair;                   /* the one in hand */
    unsigned arg;                    /* of the comparison in hand */
    const char *const *within;       /* words before flowrun's, as of a command that runs it elsewhere; NULL: none */
};

struct bench_cost { double cpu, wall; };     /* seconds; cpu: of the process and all its descendants */

/* One comparison: ours and other are run in turn, `runs` times. */
struct bench_case {
    const char *name, *what, *unit;
    double goal;                     /* least ratio */
    bool   more;                     /* more of the unit is better */
    bool   rival;                    /* needs programs that the build doesn't: only with RIVALS=1 */
    int  (*ours)(struct bench *, double *value, struct fl_err *);
    int  (*other)(struct bench *, double *value, struct fl_err *);     /* NULL: `limit` */
    double limit;
    unsigned arg;                    /* what its functions find in struct bench */
};

extern const struct bench_case bench_cases[];                /* ends with { 0 } */

/* run.c. argv[0] is the program; its output goes to `out` (NULL: DIR/output). FL_E_IO when it does not end with status 0. */
int bench_run(struct bench *, const char *const *argv, const char *out, struct bench_cost *, struct fl_err *);
double bench_now(void);

/* graph.c. Runs DIR/NAME.yaml, made from `yaml`, to its end; the report is in DIR/run/report.json. */
int bench_graph(struct bench *, const char *name, const char *yaml, struct bench_cost *, struct fl_err *);
/* DIR/NAME, made anew and empty; its path into `path`. */
int bench_fresh(struct bench *, const char *name, char *path, size_t size, struct fl_err *);
/* A number of the last report: "seconds", or page faults of all stages together. */
int bench_report(struct bench *, const char *key, double *value, struct fl_err *);
int bench_report_faults(struct bench *, double *faults, struct fl_err *);
/* CPU seconds of all stages whose name begins so. */
int bench_report_cpu(struct bench *, const char *prefix, double *seconds, struct fl_err *);
int bench_report_counter(struct bench *, const char *stage, const char *counter, double *value, struct fl_err *);

/* forward.c. Tiles a second of net `arg` on two processors, 5: geometric mean over all nets; GFLOP/s; passes a second. */
#define BENCH_NETS 5
int bench_forward_f32(struct bench *, double *, struct fl_err *);
int bench_forward_bf16(struct bench *, double *, struct fl_err *);
int bench_forward_ort(struct bench *, double *, struct fl_err *);
int bench_forward_openvino(struct bench *, double *, struct fl_err *);
int bench_forward_f32_256(struct bench *, double *, struct fl_err *);
int bench_forward_ort_256(struct bench *, double *, struct fl_err *);
int bench_forward_flops(struct bench *, double *, struct fl_err *);
int bench_forward_matmul(struct bench *, double *, struct fl_err *);
int bench_forward_three(struct bench *, double *, struct fl_err *);
int bench_forward_one(struct bench *, double *, struct fl_err *);
int bench_forward_d4(struct bench *, double *, struct fl_err *);

/* cases.c. Tiles a second of the plain augmenting loop: of processor time on one core, of the clock on several. */
int bench_floor_augment(struct bench *, unsigned cores, double *rate, struct fl_err *);

/* feed.c. Tiles a second through the feed into NumPy, on `arg` cores; of the plain loop; of other loaders. Consumer: CPU us a batch; first: seconds to it. */
int bench_feed_ours(struct bench *, double *, struct fl_err *);
int bench_feed_floor(struct bench *, double *, struct fl_err *);
int bench_feed_two(struct bench *, double *, struct fl_err *);
int bench_feed_torchvision(struct bench *, double *, struct fl_err *);
int bench_feed_opencv(struct bench *, double *, struct fl_err *);
int bench_feed_dali(struct bench *, double *, struct fl_err *);
int bench_feed_spdl(struct bench *, double *, struct fl_err *);
int bench_feed_consumer(struct bench *, double *, struct fl_err *);
int bench_feed_first(struct bench *, double *, struct fl_err *);

/* death.c. Milliseconds from the kill of a stage until flowrun tells of it, in the midst of a run. */
int bench_death(struct bench *, double *, struct fl_err *);

/* hosts.c. Batches a second of a stage of fixed time on `arg` hosts (arg 124: of speeds 1, 2, 4), and of one times as many. MB/s of payload to a host over a link
 * of `arg` Mbit/s, encrypted and open; CPU ms a MB of that. Links need root. */
int bench_hosts_many(struct bench *, double *, struct fl_err *);
int bench_hosts_one(struct bench *, double *, struct fl_err *);
int bench_link_curve(struct bench *, double *, struct fl_err *);
int bench_link_open(struct bench *, double *, struct fl_err *);
int bench_link_curve_cpu(struct bench *, double *, struct fl_err *);
int bench_link_open_cpu(struct bench *, double *, struct fl_err *);

/* second.c. CPU seconds of a second level on 40,479 x 816 and 17 labels; arg 0: fit of 8 extra trees, 1: their predictions, 2: ten ridges.
 * FL_E_NUM when ours predicts worse. */
int bench_second_ours(struct bench *, double *, struct fl_err *);
int bench_second_sklearn(struct bench *, double *, struct fl_err *);

/* tiles.c. The tiles in DIR/jpeg and DIR/tif and lists of the first N of them, DIR/jpeg.N.list, unless they are there. */
#define BENCH_FEW   2048
#define BENCH_NET   512                /* through the default graph: 24 passes of its network a tile */
#define BENCH_RING 4096               /* in one run with rings */
#define BENCH_START 32                 /* so few that a run is little more than its start */
#define BENCH_JPEGS 16384
#define BENCH_TIFS  16384
int bench_tiles(struct bench *, struct fl_err *);

#endif
