/* pkgs: libsystemd */
#include "daemon.h"

#include <sss_sigchld/sd_event.h>

/* begin */
static int ended(sd_event_source *source, const siginfo_t *info, void *userdata)
{
    (void)source;
    service_ended(userdata, W_EXITCODE(info->si_status, 0));
    return 0;
}

static int watch(struct sss_sigchild_ctx *sigchld, sd_event *event,
                 struct service *service)
{
    return sss_sd_event_add_child(sigchld, event, NULL, service->pid, ended,
                                  service);
}
/* end */

int main(void)
{
    struct sss_sigchild_ctx *sigchld;
    sd_event *event;

    signal(SIGCHLD, SIG_DFL);
    if (sd_event_default(&event) < 0 ||
        sss_sd_event_ctx_create(event, SSS_SCOPE_REGISTERED, &sigchld) != 0) {
        return 1;
    }
    for (int i = 0; i < 2; i++) {
        services[i].pid = start_process(3 + i);
        if (watch(sigchld, event, &services[i]) < 0) {
            return 1;
        }
    }
    while (services_run()) {
        sd_event_run(event, UINT64_MAX);
    }
    return services_report();
}
