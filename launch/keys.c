/* The keys of a pipeline file. */
#include "launch/keys.h"

#include <stddef.h>

const struct fl_key fl_top_keys[] = {
    { "name", "text", "the file's name without .yaml", "Names the run directory.", true, true },
    { "seed", "whole number", "42", "Seed of every draw; a draw depends on it and on what is drawn, never on order.", true, true },
    { "memory", "size", "1GB", "Bounds the slabs of all stages together and what forward stages allocate, and so how many batches are in flight. The default is for the slabs alone.", true, true },
    { "labels", "list, or {names, exclusive, rest_off}", "those of the model, or the 17 of Planet's Amazon set",
      "Label names in order; exclusive: names of which exactly one holds; rest_off: the one that allows no other.", true, true },
    { "stage_path", "list of folders", NULL, "Where to look for stages before the built-in ones.", true, true },
    { "stall_timeout", "seconds", "60", "A stage without progress for so long is killed and started again.", true, true },
    { "open_timeout", "seconds", "600", "A stage that makes no progress for so long before it is ready (each set of weights that it has loaded is progress) is killed; before the first batch this ends the run.", true, true },
    { "drain_timeout", "seconds", "60", "After an interruption, how long batches in flight may take.", true, true },
    { "record", "name, list, or {edges, keep, every, ring, zstd}", NULL,
      "Records what leaves these stages (all: every one that is read) into RUN/recordings, at most `keep` (10GB) of all together; every: each k-th batch; ring: the last N, when something dies (docs/recording.md).", false, true },
    { "matrix", "map of variables", NULL,
      "Lists that several entries expand over, named by their key `matrix`. A variable is a list of values, or a map of values to attributes ({model.views}).", false, true },
    { "hosts", "map of groups, each a list of NAME or {host, gpus, rate, join}", NULL, "Other hosts, by group, for `place` (docs/hosts.md).", true, true },
    { "cluster", "{launcher, command, flowrun, listen, silence, insecure, mixed, link}", NULL,
      "How they are reached. launcher: ssh, slurm or exec; listen: this host's address as they reach it; flowrun: its path there; silence: seconds until a host without a sign of life counts as gone (3); insecure: no encryption; mixed: other processors may join; link: rate of the link to them, as 1Gbit: with the hosts' rate it decides whether decoded tiles travel.", true, true },
    { "local", "true or false", "false", "Everything runs on this host, whatever `place` says (--local).", true, true },
    { "stages", "map of entries", NULL, "The graph: one entry a stage, in any order.", true, true },
    { "programme", "map of steps", NULL,
      "In place of stages: graphs to be run one after the other, each in as many passes as `memory` wants (docs/programme.md).", false, true },
    { "file", "", NULL, "", true, false },
    { "window", "", NULL, "", true, false },
    { "batch", "", NULL, "", true, false },
    { 0 }
};

const struct fl_key fl_entry_keys[] = {
    { "stage", "name", "the entry's own name", "Which stage this is: the name of its executable.", true, true },
    { "from", "name, or list of names", NULL, "The entries it reads. Several only into a stage that joins; an expanded entry's name means all of its expansion.", true, true },
    { "instances", "whole number, or per_gpu", "1", "How many processes share the work; per_gpu: one for each device of the host it is placed on.", true, true },
    { "place", "name of a group of hosts, or here", NULL, "The hosts of this group run it, each with its own instances; here: it stays, whatever the link carries (docs/hosts.md).", true, true },
    { "threads", "whole number, or auto", "auto", "For a library under the stage, in each process. auto: stages that can use threads (forward) share the processors evenly, all others have one; settled when the run starts.", true, true },
    { "options", "map", NULL, "The stage's own options (`flowrun describe STAGE`).", true, true },
    { "matrix", "map of lists, or list of names", NULL,
      "One entry for each combination of the values, named NAME-value-value; {key} in options and from is replaced. Names: of variables of the file's `matrix`.", false, true },
    { "exe", "", NULL, "", true, false },
    { 0 }
};

const char *const *fl_key_names(const struct fl_key *keys, bool resolved)
{
    static const char *names[32];
    size_t n = 0;
    for (const struct fl_key *k = keys; k->name != NULL && n + 1 < sizeof names / sizeof *names; k++)
        if (resolved ? k->resolved : k->written)
            names[n++] = k->name;
    names[n] = NULL;
    return names;
}
