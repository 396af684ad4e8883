/* flowrun completion: a bash completion made from the same tables the arguments are read by. */
#include <stdio.h>

#include "launch/cmd.h"

static void completion_words(const struct fl_cmd *c)
{
    for (const char *const *f = c->flags; *f != NULL; f++)
        printf("%s ", *f);
    printf("--help --version");
}

int fl_cmd_completion(const struct fl_args *a)
{
    (void)a;
    printf("# bash completion of flowrun: eval \"$(flowrun completion)\"\n_flowrun() {\n"
           "    local word=${COMP_WORDS[COMP_CWORD]} last=${COMP_WORDS[COMP_CWORD-1]} command=${COMP_WORDS[1]} options\n"
           "    case $last in\n"
           "        --run|--resume) mapfile -t COMPREPLY < <(compgen -d -- \"$word\"); return ;;\n"
           "    esac\n"
           "    case $command in\n");
    for (const struct fl_cmd *c = fl_cmds + 1; c->name != NULL; c++) {
        printf("        %s) options=\"", c->name);
        completion_words(c);
        printf("\" ;;\n");
    }
    printf("        *) options=\"");
    completion_words(&fl_cmds[0]);
    printf("\" ;;\n    esac\n    if [[ $word == -* ]]; then\n        mapfile -t COMPREPLY < <(compgen -W \"$options\" -- \"$word\")\n"
           "    elif [[ $command == describe ]]; then\n"
           "        mapfile -t COMPREPLY < <(compgen -W \"$(\"${COMP_WORDS[0]}\" stages 2>/dev/null | cut -d' ' -f1)\" -- \"$word\")\n"
           "    else\n        mapfile -t COMPREPLY < <(compgen -f -- \"$word\")\n"
           "        if ((COMP_CWORD == 1)); then\n            mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen -W \"");
    for (const struct fl_cmd *c = fl_cmds + 1; c->name != NULL; c++)
        printf("%s%s", c == fl_cmds + 1 ? "" : " ", c->name);
    printf("\" -- \"$word\")\n        fi\n    fi\n}\ncomplete -o filenames -F _flowrun flowrun\n");
    return 0;
}
