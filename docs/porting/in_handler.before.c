#include "daemon.h"

/* begin */
static void on_sigchld(int signum)
{
    int saved = errno, wait_status;
    pid_t pid;

    (void)signum;
    while ((pid = waitpid(-1, &wait_status, WNOHANG)) > 0) {
        struct service *service = service_by_pid(pid);

        if (service != NULL) {
            service_ended(service, wait_status); /* must be signal-safe */
        }
    }
    errno = saved;
}
/* end */

int main(void)
{
    struct sigaction act = { .sa_handler = on_sigchld };
    sigset_t chld, former;

    sigemptyset(&chld);
    sigaddset(&chld, SIGCHLD);
    sigprocmask(SIG_BLOCK, &chld, &former);
    sigaction(SIGCHLD, &act, NULL);
    for (int i = 0; i < 2; i++) {
        services[i].pid = start_process(3 + i);
    }
    while (services_run()) {
        sigsuspend(&former);
    }
    return services_report();
}
