/* pkgs: libevent */
#include "daemon.h"

#include <event2/event.h>

/* begin */
static void on_sigchld(evutil_socket_t signum, short what, void *arg)
{
    struct service *service;
    int wait_status;
    pid_t pid;

    (void)signum, (void)what, (void)arg;
    while ((pid = waitpid(-1, &wait_status, WNOHANG)) > 0) {
        service = service_by_pid(pid); /* a hash of your own */
        if (service != NULL) {
            service_ended(service, wait_status);
        }
    }
}
/* end */

int main(void)
{
    struct event_base *base = event_base_new();
    struct event *sigchld;

    sigchld = evsignal_new(base, SIGCHLD, on_sigchld, NULL);
    evsignal_add(sigchld, NULL);
    for (int i = 0; i < 2; i++) {
        services[i].pid = start_process(3 + i);
    }
    while (services_run()) {
        event_base_loop(base, EVLOOP_ONCE);
    }
    event_free(sigchld);
    event_base_free(base);
    return services_report();
}
