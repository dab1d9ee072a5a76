/* pkgs: libsystemd */
#include "daemon.h"

#include <systemd/sd-event.h>

/* begin */
static int ended(sd_event_source *source, const siginfo_t *info, void *userdata)
{
    (void)source;
    service_ended(userdata, W_EXITCODE(info->si_status, 0));
    return 0;
}

static int watch(sd_event *event, struct service *service)
{
    return sd_event_add_child(event, NULL, service->pid, WEXITED, ended, service);
}
/* end */

int main(void)
{
    sigset_t chld;
    sd_event *event;

    sigemptyset(&chld);
    sigaddset(&chld, SIGCHLD);
    sigprocmask(SIG_BLOCK, &chld, NULL); /* sd-event demands it */
    if (sd_event_default(&event) < 0) {
        return 1;
    }
    for (int i = 0; i < 2; i++) {
        services[i].pid = start_process(3 + i);
        if (watch(event, &services[i]) < 0) {
            return 1;
        }
    }
    while (services_run()) {
        sd_event_run(event, UINT64_MAX);
    }
    return services_report();
}
