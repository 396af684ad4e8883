/* The tables of commands and options: help, parsing and completion read the same ones. */
#include "launch/cmd.h"

#include <stddef.h>

const struct fl_flag fl_flags[] = {
    { "--set",     "STAGE.OPTION=VALUE", "changes an option, STAGE.instances, or a key like memory and seed; of describe, OPTION=VALUE" },
    { "--run",     "DIR",                "the run directory (else runs/NAME-TIME)" },
    { "--resume",  "RUN",                "finishes what the run in this directory lacks" },
    { "--force",   NULL,                 "resumes although the configuration has changed, and says what is mixed" },
    { "--start",   "BATCH",              "issues nothing before this batch: a trainer has had it (only where no sink keeps a journal)" },
    { "--record",  "EDGE[,EDGE]",        "records what leaves these stages into RUN/recordings (all: every one that is read)" },
    { "--record-limit", "SIZE",          "how much of all edges together is kept (10GB)" },
    { "--local",   NULL,                 "everything runs on this host, whatever place: says" },
    { "--nodes",   "N",                  "nodes of the allocation, each of which becomes a host" },
    { "--gres",    "GRES",               "of each node, as sbatch has it: gpu:4" },
    { "--partition", "NAME",             "as sbatch has it" },
    { "--time",    "TIME",               "as sbatch has it: 8:00:00" },
    { "--print",   NULL,                 "prints the script; makes and submits nothing" },
    { "--seconds", "N",                  "how long to go on (60, unless --kills is given)" },
    { "--kills",   "N",                  "goes on until so many stages were killed" },
    { "--supervisor-kills", "N",         "kills flowrun itself so often, and resumes" },
    { "--seed",    "S",                  "of the choice of what is done to whom (1)" },
    { "--every",   "SECONDS",            "mean time between two actions (half of what the graph takes to start)" },
    { "--metrics", "[HOST:]PORT",        "numbers over HTTP while it runs: / (a page), /metrics (Prometheus), /status.json; loopback unless HOST is given" },
    { "-q",        NULL,                 "no live view" },
    { "--stage",   "NAME",               "the stage to run; of show, the sink whose labels are told" },
    { "--batch",   "N[,N]",              "only these batches" },
    { "--tile",    "ID[,ID]",            "only these tiles" },
    { "--from",    "NAME",               "with --to: a stretch of the graph instead of one stage" },
    { "--to",      "NAME",               "where it ends" },
    { "--diff",    NULL,                 "compares with what was recorded; exit status 1 when anything differs" },
    { "--with",    "BINARY",             "another executable of that stage" },
    { "--gdb",     NULL,                 "the stage runs under gdb" },
    { "--valgrind", NULL,                "the stage runs under valgrind; floats may differ a little" },
    { "--keep",    "DIR",                "leaves what came out there" },
    { "--tensor",  NULL,                 "least, greatest and mean value of each tensor" },
    { "--png",     "FILE",               "paints the tiles as decoded and as the network sees them" },
    { "--out",     "FILE.tar",           "the archive to write" },
    { "--dot",     NULL,                 "as a Graphviz graph" },
    { "--json",    NULL,                 "what the stage prints, as it is" },
    { "--help",    NULL,                 "this text" },
    { "--version", NULL,                 "prints the version" },
    { 0 }
};

const struct fl_cmd fl_cmds[] = {
    { .name = "", .usage = "flowrun FILE [--set STAGE.OPTION=VALUE]... [--run DIR] [--start BATCH] [--metrics [HOST:]PORT] [-q]\n       flowrun [FILE] --resume RUN [--set ...] [--force] [-q]\n       flowrun COMMAND ...",
      .help = "Checks the graph in FILE, starts its stages and runs it to the end.\n"
              "Exit status: 0 complete, 1 failed, 2 the configuration or the arguments are wrong,\n"
              "3 complete with rejected tiles, 4 interrupted and drained.",
      .flags = { "--set", "--run", "--resume", "--force", "--start", "--record", "--record-limit", "--local", "--metrics", "-q" }, .min = 0, .max = 1, .run = fl_cmd_run },
    { .name = "check", .usage = "flowrun check FILE [--local] [--record EDGE[,EDGE]] [--set STAGE.OPTION=VALUE]...", .help = "Says all that is wrong with FILE; starts nothing.",
      .flags = { "--set", "--record", "--record-limit", "--local" }, .min = 1, .max = 1, .run = fl_cmd_check },
    { .name = "plan", .usage = "flowrun plan FILE [--dot] [--local] [--record EDGE[,EDGE]] [--set STAGE.OPTION=VALUE]...",
      .help = "Prints what travels on each edge and how much memory it takes; starts nothing.",
      .flags = { "--set", "--record", "--record-limit", "--dot", "--local" }, .min = 1, .max = 1, .run = fl_cmd_plan },
    { .name = "slurm", .usage = "flowrun slurm FILE --nodes N [--gres GRES] [--partition NAME] [--time TIME] [--run DIR]\n"
                                "                     [--set STAGE.OPTION=VALUE]... [--print] [-- SBATCH_OPTION...]",
      .help = "Submits the graph in FILE as a batch job whose nodes are the hosts of its group, and prints the job's number and the run directory.\n\n"
              "What comes after -- goes to sbatch: --account=NAME, --cpus-per-task=16, --exclusive. The script is RUN/job.sh, the job's output RUN/slurm.log.\n"
              "A job that is put back into the queue, or whose script is submitted again (sbatch RUN/job.sh), goes on with its run (docs/hosts.md).\n"
              "Exit status: 0 submitted, 1 not, 2 the configuration or the arguments are wrong.",
      .flags = { "--nodes", "--gres", "--partition", "--time", "--run", "--set", "--print" }, .min = 1, .max = 65, .run = fl_cmd_slurm },
    { .name = "chaos", .usage = "flowrun chaos FILE [--seconds N] [--kills N] [--supervisor-kills N] [--seed S] [--every SECONDS]\n"
                                "                     [--set STAGE.OPTION=VALUE]... [--run DIR]",
      .help = "Runs the graph undisturbed and then again under chaos, for as long as it is told, and compares all files byte for byte.\n\n"
              "At random moments a random stage process is killed (SIGKILL), stopped for up to a second (SIGSTOP, SIGCONT) or loses a link:\n"
              "one of its connected sockets is shut in both directions (pidfd_getfd, shutdown), as if the connection broke. A line tells of\n"
              "each. When nothing was committed after five of them, the next waits until something is. The files that stages write (options\n"
              "of type out) go to the folder of these runs, not to where FILE says. The folder is runs/NAME-chaos-TIME, or --run DIR; it is\n"
              "removed at the end unless files differ or --run names it.\n"
              "Exit status: 0 all equal, 1 something differs or failed, 2 refused, 4 interrupted.",
      .flags = { "--set", "--run", "--seconds", "--kills", "--supervisor-kills", "--seed", "--every" }, .min = 1, .max = 1, .run = fl_cmd_chaos },
    { .name = "stages", .usage = "flowrun stages", .help = "Lists the stages that are found, with one sentence each.",
      .min = 0, .max = 0, .run = fl_cmd_stages },
    { .name = "describe", .usage = "flowrun describe [STAGE [--set OPTION=VALUE]... [--json]]",
      .help = "Prints options, ports and counters of a stage (--set: OPTION=VALUE, for what depends on options); without STAGE, the keys of a pipeline file.",
      .flags = { "--set", "--json" }, .min = 0, .max = 1, .run = fl_cmd_describe },
    { .name = "score", .usage = "flowrun score PREDICTIONS LABELS", .help = "Compares a file of predictions with the true labels.",
      .flags = { "--threshold", "--beta", "--subset", "--names", "--folds", "--fold-column", "--against", "--per-class", "--calibration", "--report", "--rows",
                 "--columns", "--json" }, .raw = fl_cmd_score },
    { .name = "folds", .usage = "flowrun folds LABELS", .help = "Cuts a label table into folds of a cross-validation.",
      .flags = { "--method", "--folds", "--seed", "--groups", "--names", "--out", "--svg" }, .raw = fl_cmd_folds },
    { .name = "stats", .usage = "flowrun stats TILES... --out JSON", .help = "Measures mean and deviation of each band over tiles, for normalisation.",
      .flags = { "--out", "--mode", "--tifs", "--size", "--file-bands", "--folds", "--fold", "--fold-column", "--instances", "--memory" }, .raw = fl_cmd_stats },
    { .name = "replay", .usage = "flowrun replay RUN|RECORDING|ARCHIVE --stage NAME [--batch N[,N]] [--diff] [--with BINARY] [--gdb|--valgrind] [--keep DIR]\n"
               "       flowrun replay RUN|RECORDING|ARCHIVE --from NAME --to NAME [--batch N[,N]] [--diff] [--keep DIR]",
      .help = "Runs one stage, or a stretch of the graph, on what a run recorded at its input.\nExit status: 0 done and the same, 1 failed or different, 2 it can't be run.",
      .flags = { "--stage", "--batch", "--from", "--to", "--diff", "--with", "--gdb", "--valgrind", "--keep" }, .min = 1, .max = 1, .moves = 1, .run = fl_cmd_replay },
    { .name = "show", .usage = "flowrun show RUN|RECORDING|ARCHIVE [--tensor] [--batch N[,N]] [--png FILE [--tile ID[,ID]] [--stage SINK]]",
      .help = "Lists what was recorded, or paints a contact sheet of its tiles.", .flags = { "--tensor", "--batch", "--png", "--tile", "--stage" }, .min = 1, .max = 1, .moves = 1, .run = fl_cmd_show },
    { .name = "cut", .usage = "flowrun cut RUN|RECORDING|ARCHIVE [--batch N[,N]] [--tile ID[,ID]] --out FILE.tar",
      .help = "Puts chosen batches or tiles of all recorded edges into one archive, with what is needed to replay it elsewhere.",
      .flags = { "--batch", "--tile", "--out" }, .min = 1, .max = 1, .moves = 1, .run = fl_cmd_cut },
    { .name = "merge", .usage = "flowrun merge RUN|RECORDING|ARCHIVE... --out FILE.tar", .help = "Puts what several run directories or archives hold of one run into one archive.",
      .flags = { "--out" }, .min = 2, .max = 1000, .moves = 1000, .run = fl_cmd_cut },
    { .name = "why", .usage = "flowrun why RUN TILE", .help = "Tells how a tile's labels came about: its batch is computed again, every step told, and held against the journal.\nExit status: 0 the same as in the run, 1 not, 2 it can't be told.",
      .min = 2, .max = 2, .moves = 1, .run = fl_cmd_why },
    { .name = "dump", .usage = "flowrun dump RUN", .help = "Has the recorders of a run at work write out what their rings hold (record: {ring: N}).",
      .min = 1, .max = 1, .run = fl_cmd_dump },
    { .name = "agent", .usage = "flowrun agent [LETTER]",
      .help = "Runs a host's share of a graph for a flowrun on another host (docs/hosts.md). Launchers give the letter on standard input; a host that joins by hand\n"
              "(`join: true`) gets it as a file, RUN/hosts/ENTRY.HOST.join. Ctrl-C makes it leave.",
      .min = 0, .max = 1, .run = fl_cmd_agent },
    { .name = "assemble", .usage = "flowrun assemble MODEL --split val|test --out FILE", .help = "Puts the predictions of a model's folds together, checked for leaks.",
      .flags = { "--split", "--out", "--folds", "--fold-column", "--tta", "--merge", "--names", "--rows", "--columns", "--group" }, .raw = fl_cmd_assemble },
    { .name = "fit", .usage = "flowrun fit MODEL... --labels TABLE --folds TABLE --out DIR", .help = "Fits second levels on out-of-fold predictions, and tells what they are worth.",
      .flags = { "--labels", "--folds", "--fold-column", "--out", "--method", "--matrix", "--set", "--threads", "--names", "--run", "-q" }, .raw = fl_cmd_fit },
    { .name = "bench", .usage = "flowrun bench forward (--model FILE | --arch NAME) [--OPTION VALUE]...",
      .help = "Measures how fast this machine runs a network, layer by layer if asked for.",
      .flags = { "--model", "--arch", "--device", "--precision", "--batch", "--views", "--layers", "--json" }, .raw = fl_cmd_bench },
    { .name = "average-snapshots", .usage = "flowrun average-snapshots FILE... --tiles WHAT... --out FILE", .help = "Averages snapshots of one network into one.",
      .flags = { "--tiles", "--out", "--folds", "--fold", "--file-bands", "--batch", "--threads" }, .raw = fl_cmd_models },
    { .name = "select-snapshots", .usage = "flowrun select-snapshots NAME.checkpoint.json... [--method top_k|last_k|diverse] [--k K]",
      .help = "Prints which checkpoints of a training run are to answer together.", .flags = { "--method", "--k", "--pool", "--json" }, .raw = fl_cmd_models },
    { .name = "check-precision", .usage = "flowrun check-precision FILE... --tiles WHAT... [--precision bf16|f16]",
      .help = "Checks what a model's answers lose in a reduced precision, and records it in its manifest.",
      .flags = { "--tiles", "--precision", "--device", "--rows", "--threads", "--folds", "--fold", "--file-bands" }, .raw = fl_cmd_models },
    { .name = "completion", .usage = "flowrun completion", .help = "Prints the bash completion: eval \"$(flowrun completion)\"",
      .min = 0, .max = 0, .run = fl_cmd_completion },
    { 0 }
};
