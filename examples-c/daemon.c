/* daemon COMMAND [ARGUMENT...]: starts a command and is told when it ends. */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sss_sigchld.h>
#include <unistd.h>

static void ended(int pid, int wait_status, void *pvt)
{
    printf("process %d ended, wait status 0x%04x\n", pid, (unsigned)wait_status);
    *(int *)pvt = 0;
}

int main(int argc, char **argv)
{
    struct sss_ctx_params params = { .size = sizeof(params) };
    struct pollfd wake = { .events = POLLIN };
    struct sss_sigchild_ctx *ctx;
    struct sss_child_ctx *child;
    int running = 1;
    pid_t pid;

    /* Our parent may have ignored it: then the kernel keeps no statuses. */
    signal(SIGCHLD, SIG_DFL);
    if (argc < 2 || sss_sigchld_ctx_create(&params, &ctx) != 0 ||
        sss_sigchld_ctx_fd(ctx, &wake.fd) != 0 || (pid = fork()) == -1) {
        return 1;
    }
    if (pid == 0) {
        execvp(argv[1], argv + 1);
        _exit(127);
    }
    if (sss_child_register(NULL, ctx, pid, ended, &running, &child) != 0) {
        return 1;
    }
    while (running) {
        if (poll(&wake, 1, -1) == 1 && sss_sigchld_ctx_dispatch(ctx, 0) != 0) {
            return 1;
        }
    }
    return sss_child_free(child) != 0 || sss_sigchld_ctx_free(ctx) != 0;
}
