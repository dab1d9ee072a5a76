#include "daemon.h"

#include <sss_sigchld.h>

/* begin */
static volatile sig_atomic_t sigchld_seen;

static void on_sigchld(int signum)
{
    (void)signum;
    sigchld_seen = 1;
}

static void reap_children(struct sss_sigchild_ctx *sigchld) /* from the loop */
{
    if (!sigchld_seen) {
        return;
    }
    sigchld_seen = 0;
    sss_sigchld_ctx_signalled(sigchld, NULL);
}

static void ended(int pid, int wait_status, void *pvt)
{
    struct service *service = pvt;

    (void)pid;
    sss_child_free(service->child);
    service->child = NULL;
    service_ended(service, wait_status);
}

static errno_t watch(struct sss_sigchild_ctx *sigchld, struct service *service)
{
    return sss_child_register(NULL, sigchld, service->pid, ended, service,
                              &service->child);
}
/* end */

int main(void)
{
    struct sigaction act = { .sa_handler = on_sigchld };
    struct sss_sigchild_ctx *sigchld;
    sigset_t chld, former;

    sigemptyset(&chld);
    sigaddset(&chld, SIGCHLD);
    sigprocmask(SIG_BLOCK, &chld, &former);
    sigaction(SIGCHLD, &act, NULL);
    if (sss_sigchld_ctx_init(NULL, NULL, 0, &sigchld) != 0) {
        return 1;
    }
    for (int i = 0; i < 2; i++) {
        services[i].pid = start_process(3 + i);
        if (watch(sigchld, &services[i]) != 0) {
            return 1;
        }
    }
    while (services_run()) {
        ppoll(NULL, 0, NULL, &former);
        reap_children(sigchld);
    }
    return services_report();
}
