/* flowrun: finds the command, reads its arguments, runs it. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "launch/cmd.h"

static void main_help(void)
{
    fl_cmd_help(&fl_cmds[0]);
    printf("\ncommands:\n");
    for (const struct fl_cmd *c = fl_cmds + 1; c->name != NULL; c++)
        printf("  %-11s %.*s\n", c->name, (int)strcspn(c->help, "\n"), c->help);     /* the rest is for COMMAND --help */
    printf("\nflowrun COMMAND --help tells more.\n");
}

static int main_run(const struct fl_cmd *cmd, int argc, char **argv)
{
    struct fl_args a = { 0 };
    int status = 2;
    if (cmd->raw != NULL && argc == 2 && strcmp(argv[1], "--version") == 0)
        return printf("flowrun %s\n", FL_VERSION) < 0;
    if (cmd->raw != NULL)
        return cmd->raw(argc, argv);
    if (fl_args_read(cmd, argc, argv, &a)) {
        status = 0;
        if (a.version)
            printf("flowrun %s\n", FL_VERSION);
        else if (a.help && cmd == fl_cmds)
            main_help();
        else if (a.help)
            fl_cmd_help(cmd);
        else
            status = cmd->run(&a);
    }
    fl_args_done(&a);
    return status;
}

int main(int argc, char **argv)
{
    struct stat st;
    const struct fl_cmd *cmd = argc > 1 ? fl_cmd_find(argv[1]) : NULL;
    int status;
    signal(SIGXFSZ, SIG_IGN);      /* a file that may not grow further is a failed write, like a full disk; stages inherit it */
    if (cmd != NULL) {
        status = main_run(cmd, argc - 1, argv + 1);
    } else if (argc > 1 && argv[1][0] != '-' && stat(argv[1], &st) != 0) {
        fprintf(stderr, "flowrun: %s: no such command, and no such file (%s)%s\n", argv[1], strerror(errno), fl_cmd_near(argv[1]));
        status = 2;
    } else {
        status = main_run(&fl_cmds[0], argc, argv);
    }
    /* A full disk or a closed pipe behind stdout must not look like success. */
    if ((fflush(stdout) != 0 || ferror(stdout)) && status == 0) {
        fprintf(stderr, "flowrun: can't write the output: %s\n", strerror(errno));
        status = 1;
    }
    return status;
}
