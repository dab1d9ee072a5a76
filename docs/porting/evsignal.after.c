/* pkgs: libevent */
#include "daemon.h"

#include <sss_sigchld/libevent.h>

/* begin */
static void ended(int pid, int wait_status, void *arg)
{
    struct service *service = arg;

    (void)pid;
    sss_child_free(service->child);
    service->child = NULL;
    service_ended(service, wait_status);
}

static errno_t watch(struct sss_sigchild_ctx *sigchld, struct service *service)
{
    service->child = sss_libevent_child_new(sigchld, service->pid, ended, service);
    return service->child != NULL ? 0 : errno;
}
/* end */

int main(void)
{
    struct event_base *base = event_base_new();
    struct sss_sigchild_ctx *sigchld;

    if (sss_libevent_ctx_create(base, SSS_SCOPE_ALL, &sigchld) != 0) {
        return 1;
    }
    for (int i = 0; i < 2; i++) {
        services[i].pid = start_process(3 + i);
        if (watch(sigchld, &services[i]) != 0) {
            return 1;
        }
    }
    while (services_run()) {
        event_base_loop(base, EVLOOP_ONCE);
    }
    sss_sigchld_ctx_free(sigchld);
    event_base_free(base);
    return services_report();
}
