/* loop_libev COMMAND [ARGUMENT...]: libev's ev_child, done by the library. */
#include <stdio.h>
#include <sss_sigchld/libev.h>
#include <unistd.h>

static void ended(struct ev_loop *loop, struct sss_ev_child *w, int revents)
{
    (void)revents;
    printf("process %d ended, wait status 0x%04x\n", w->rpid, (unsigned)w->rstatus);
    sss_ev_child_stop(w);
    ev_break(loop, EVBREAK_ALL);
}

int main(int argc, char **argv)
{
    struct ev_loop *loop = ev_default_loop(0);
    struct sss_sigchild_ctx *sigchld;
    struct sss_ev_child child;
    pid_t pid;

    if (argc < 2 || sss_ev_ctx_create(loop, SSS_SCOPE_REGISTERED, &sigchld) != 0 ||
        (pid = fork()) == -1) {
        return 1;
    }
    if (pid == 0) {
        execvp(argv[1], argv + 1);
        _exit(127);
    }
    sss_ev_child_init(&child, ended, pid);
    if (sss_ev_child_start(sigchld, loop, &child) != 0) {
        return 1;
    }
    ev_run(loop, 0);
    sss_sigchld_ctx_free(sigchld);
    ev_loop_destroy(loop);
    return 0;
}
