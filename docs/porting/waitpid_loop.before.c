#include "daemon.h"

/* begin */
static volatile sig_atomic_t sigchld_seen;

static void on_sigchld(int signum)
{
    (void)signum;
    sigchld_seen = 1;
}

static void reap_children(void) /* from the loop */
{
    struct service *service;
    int wait_status;
    pid_t pid;

    if (!sigchld_seen) {
        return;
    }
    sigchld_seen = 0;
    while ((pid = waitpid(-1, &wait_status, WNOHANG)) > 0) {
        service = service_by_pid(pid);
        if (service != NULL) {
            service_ended(service, wait_status);
        }
    }
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
        ppoll(NULL, 0, NULL, &former);
        reap_children();
    }
    return services_report();
}
