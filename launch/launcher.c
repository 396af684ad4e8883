/* How the agent of a host is started: one entry a launcher. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launch/hosts.h"
#include "launch/mem.h"

/* {host} and {flowrun} in a word of the command. */
static char *launcher_word(const struct fl_hosts *h, const char *word, const char *host)
{
    char *out = fl_need_copy("");
    for (const char *p = word; *p != '\0';) {
        bool is_host = strncmp(p, "{host}", 6) == 0, is_flowrun = strncmp(p, "{flowrun}", 9) == 0;
        size_t len = is_host ? 6 : is_flowrun ? 9 : 1;
        char *longer = is_host ? fl_need_text("%s%s", out, host) : is_flowrun ? fl_need_text("%s%s", out, h->flowrun) : fl_need_text("%s%c", out, *p);
        free(out);
        out = longer;
        p += len;
    }
    return out;
}

static json_t *launcher_words(const struct fl_hosts *h, const char *host, const char *const *words, uint32_t n)
{
    json_t *argv = fl_need_json(json_array());
    for (uint32_t i = 0; i < n; i++) {
        char *word = launcher_word(h, words[i], host);
        fl_need_push(argv, fl_need_str(word));
        free(word);
    }
    return argv;
}

static json_t *launcher_exec(const struct fl_hosts *h, const char *host)
{
    static const char *const own[] = { "{flowrun}", "agent" };
    return h->ncommand > 0 ? launcher_words(h, host, (const char *const *)h->command, h->ncommand) : launcher_words(h, host, own, 2);
}

/* The path is quoted for the shell over there. */
static json_t *launcher_ssh(const struct fl_hosts *h, const char *host)
{
    static const char *const words[] = { "ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=5", "--", "{host}", "exec '{flowrun}' agent" };
    return launcher_words(h, host, words, sizeof words / sizeof *words);
}

/* A step of the allocation that flowrun runs in: all that the job has of that node, beside the steps that are there (flowrun's own among them). One
 * owner of restarts: us, so a step that ends badly must not take the job along. */
static json_t *launcher_slurm(const struct fl_hosts *h, const char *host)
{
    static const char *const words[] = { "srun", "--nodes=1", "--ntasks=1", "--overlap", "--mem=0", "--cpu-bind=none", "--kill-on-bad-exit=0", "--job-name=flowrun-agent", "--quiet",
                                         "--nodelist={host}", "{flowrun}", "agent" };
    return launcher_words(h, host, words, sizeof words / sizeof *words);
}

const struct fl_launcher fl_launchers[] = {
    { .name = "ssh", .help = "ssh HOST flowrun agent: keys from the user's agent, no questions asked", .argv = launcher_ssh },
    { .name = "slurm", .help = "srun on a node of the allocation that flowrun runs in", .argv = launcher_slurm },
    { .name = "exec", .help = "the command of the key command, {host} and {flowrun} replaced; without one, flowrun agent on this machine", .argv = launcher_exec, .here = true },
    { 0 }
};
