#include "daemon.h"

#include <sss_sigchld.h>

/* begin */
static int run(struct sss_sigchild_ctx *sigchld, const char *command,
               char *line, int size)
{
    const char *argv[] = { "sh", "-c", command, NULL };
    struct sss_spawn_fd fds[] = { { 0, 0 }, { .target = 1 }, { 2, 2 } };
    struct sss_spawn spawn = {
        .size = sizeof(spawn),
        .mask = SSS_SPAWN_FDS,
        .path = "/bin/sh",
        .argv = argv,
        .fds = fds,
        .fds_count = 3,
    };
    struct sss_child_ctx *child;
    int out[2], wait_status = -1;
    bool got_line;
    FILE *pipe;
    errno_t ret;

    if (pipe2(out, O_CLOEXEC) != 0) {
        return -1;
    }
    pipe = fdopen(out[0], "r");
    if (pipe == NULL) {
        close(out[0]);
        close(out[1]);
        return -1;
    }
    fds[1].source = out[1];
    ret = sss_child_spawn(NULL, sigchld, &spawn, NULL, NULL, &child);
    close(out[1]);
    got_line = ret == 0 && fgets(line, size, pipe) != NULL;
    fclose(pipe);
    if (got_line) {
        (void)sss_child_wait(child, 60000000000, &wait_status, NULL);
    }
    if (ret == 0) {
        sss_child_free(child);
    }
    return wait_status;
}
/* end */

int main(void)
{
    struct sss_ctx_params params = { .size = sizeof(params) };
    struct sss_sigchild_ctx *sigchld;
    char line[16];
    int wait_status;

    signal(SIGCHLD, SIG_DFL);
    if (sss_sigchld_ctx_create(&params, &sigchld) != 0) {
        return 1;
    }
    wait_status = run(sigchld, "echo 42; exit 3", line, sizeof(line));
    printf("%s%d\n", line, WEXITSTATUS(wait_status));
    return 0;
}
