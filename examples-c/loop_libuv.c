/* loop_libuv COMMAND [ARGUMENT...]: uv_spawn()'s exit callback, for any child. */
#include <stdio.h>
#include <sss_sigchld/libuv.h>
#include <unistd.h>

static void ended(sss_uv_child_t *child, int64_t exit_status, int term_signal)
{
    printf("process %d ended, exit status %d, signal %d\n", child->pid, (int)exit_status,
           term_signal);
    sss_uv_child_close(child);
    /* The context keeps the loop alive. */
    sss_sigchld_ctx_free((struct sss_sigchild_ctx *)child->data);
}

int main(int argc, char **argv)
{
    uv_loop_t *loop = uv_default_loop();
    struct sss_sigchild_ctx *sigchld;
    sss_uv_child_t child;
    pid_t pid;

    if (argc < 2 || sss_uv_ctx_create(loop, SSS_SCOPE_REGISTERED, &sigchld) != 0 ||
        (pid = fork()) == -1) {
        return 1;
    }
    if (pid == 0) {
        execvp(argv[1], argv + 1);
        _exit(127);
    }
    child.data = sigchld;
    if (sss_uv_child_start(sigchld, &child, pid, ended) != 0) {
        return 1;
    }
    uv_run(loop, UV_RUN_DEFAULT);
    return uv_loop_close(loop) != 0;
}
