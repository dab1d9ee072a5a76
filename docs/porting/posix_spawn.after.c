#include "daemon.h"

#include <sss_sigchld.h>

/* begin */
static int run(struct sss_sigchild_ctx *sigchld, const char *command)
{
    const char *argv[] = { "sh", "-c", command, NULL };
    struct sss_spawn spawn = {
        .size = sizeof(spawn),
        .path = "/bin/sh",
        .argv = argv,
    };
    struct sss_child_ctx *child;
    int wait_status = -1;

    if (sss_child_spawn(NULL, sigchld, &spawn, NULL, NULL, &child) == 0) {
        (void)sss_child_wait(child, -1, &wait_status, NULL);
        sss_child_free(child);
    }
    return wait_status;
}
/* end */

int main(void)
{
    struct sss_ctx_params params = { .size = sizeof(params) };
    struct sss_sigchild_ctx *sigchld;

    signal(SIGCHLD, SIG_DFL);
    if (sss_sigchld_ctx_create(&params, &sigchld) != 0) {
        return 1;
    }
    printf("%d\n", WEXITSTATUS(run(sigchld, "exit 3")));
    return 0;
}
