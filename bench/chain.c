/* Five processes in a row that carry each batch's bytes through ZeroMQ: the other way to build such a graph.
 *
 *     chain BATCHES BYTES
 *
 * The first fills a batch, the others read all of it; a message is sent by reference and passed on as it came, so no process
 * copies it itself. This file and runtime/link.c are the only ones that know ZeroMQ. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zmq.h>

#define PROCESSES 5
#define AHEAD     1            /* batches that may wait at each end of a hop */

static const char *chain_dir;

static void chain_die(const char *what)
{
    fprintf(stderr, "chain: %s: %s\n", what, zmq_strerror(zmq_errno()));
    exit(1);
}

static void *chain_socket(void *ctx, int type, int hop)
{
    char at[300];
    int ahead = AHEAD;
    void *s = zmq_socket(ctx, type);
    snprintf(at, sizeof at, "ipc://%s/%d", chain_dir, hop);
    if (s == NULL || zmq_setsockopt(s, ZMQ_RCVHWM, &ahead, sizeof ahead) != 0 || zmq_setsockopt(s, ZMQ_SNDHWM, &ahead, sizeof ahead) != 0)
        chain_die("socket");
    if ((type == ZMQ_PULL ? zmq_bind(s, at) : zmq_connect(s, at)) != 0)
        chain_die(at);
    return s;
}

static uint64_t chain_sum(const void *p, size_t bytes)
{
    const unsigned char *c = p;
    uint64_t sum = 0, v;
    for (size_t i = 0; i + 8 <= bytes; i += 8) {
        memcpy(&v, c + i, 8);
        sum += v;
    }
    return sum;
}

static void chain_free(void *data, void *hint)
{
    (void)hint;
    free(data);
}

static void chain_first(void *out, long batches, size_t bytes)
{
    for (long i = 0; i < batches; i++) {
        zmq_msg_t m;
        void *p = malloc(bytes);
        if (p == NULL)
            chain_die("memory");
        memset(p, (int)(i & 255), bytes);
        if (zmq_msg_init_data(&m, p, bytes, chain_free, NULL) != 0 || zmq_msg_send(&m, out, 0) < 0)
            chain_die("send");
    }
}

static void chain_next(void *in, void *out, long batches, size_t bytes)
{
    for (long i = 0; i < batches; i++) {
        zmq_msg_t m;
        zmq_msg_init(&m);
        if (zmq_msg_recv(&m, in, 0) < 0)
            chain_die("receive");
        if (zmq_msg_size(&m) != bytes || chain_sum(zmq_msg_data(&m), bytes) != (uint64_t)(i & 255) * UINT64_C(0x0101010101010101) * (bytes / 8)) {
            fprintf(stderr, "chain: batch %ld is not what was sent\n", i);
            exit(1);
        }
        if (out == NULL)
            zmq_msg_close(&m);
        else if (zmq_msg_send(&m, out, 0) < 0)
            chain_die("send");
    }
}

static int chain_process(int which, long batches, size_t bytes)
{
    void *ctx = zmq_ctx_new();
    void *in = which > 0 ? chain_socket(ctx, ZMQ_PULL, which - 1) : NULL;
    void *out = which < PROCESSES - 1 ? chain_socket(ctx, ZMQ_PUSH, which) : NULL;
    if (in == NULL)
        chain_first(out, batches, bytes);
    else
        chain_next(in, out, batches, bytes);
    if (in != NULL)
        zmq_close(in);
    if (out != NULL)
        zmq_close(out);
    zmq_ctx_term(ctx);
    return 0;
}

int main(int argc, char **argv)
{
    static char dir[] = "/tmp/flowrun-chain-XXXXXX";
    char path[64];
    if (argc != 3 || mkdtemp(dir) == NULL) {
        fprintf(stderr, "usage: chain BATCHES BYTES\n");
        return 2;
    }
    chain_dir = dir;
    pid_t pids[PROCESSES];
    for (int i = 0; i < PROCESSES; i++) {
        pids[i] = fork();
        if (pids[i] == 0)
            return chain_process(i, strtol(argv[1], NULL, 10), strtoul(argv[2], NULL, 10));
    }
    int failed = 0, status;
    for (int i = 0; i < PROCESSES; i++)
        if (pids[i] < 0 || waitpid(pids[i], &status, 0) < 0 || status != 0)
            failed = 1;
    for (int i = 0; i < PROCESSES - 1; i++) {
        snprintf(path, sizeof path, "%s/%d", dir, i);
        unlink(path);
    }
    rmdir(dir);
    return failed;
}
