/* loop_sd_event COMMAND [ARGUMENT...]: sd_event_add_child(), done by the library. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <sss_sigchld/sd_event.h>
#include <unistd.h>

static int ended(sd_event_source *source, const siginfo_t *info, void *userdata)
{
    (void)userdata;
    printf("process %d ended, %s %d\n", info->si_pid,
           info->si_code == CLD_EXITED ? "exit status" : "signal", info->si_status);
    return sd_event_exit(sd_event_source_get_event(source), 0);
}

int main(int argc, char **argv)
{
    struct sss_sigchild_ctx *sigchld;
    sd_event *event;
    pid_t pid;

    signal(SIGCHLD, SIG_DFL); /* our parent may have ignored it */
    if (argc < 2 || sd_event_default(&event) < 0 ||
        sss_sd_event_ctx_create(event, SSS_SCOPE_REGISTERED, &sigchld) != 0 ||
        (pid = fork()) == -1) {
        return 1;
    }
    if (pid == 0) {
        execvp(argv[1], argv + 1);
        _exit(127);
    }
    if (sss_sd_event_add_child(sigchld, event, NULL, pid, ended, NULL) < 0) {
        return 1;
    }
    sd_event_loop(event);
    sss_sigchld_ctx_free(sigchld);
    sd_event_unref(event);
    return 0;
}
