/* pkgs: -lev */
#include "daemon.h"

#include <sss_sigchld/libev.h>

static struct sss_ev_child watchers[2];

/* begin */
static void ended(struct ev_loop *loop, struct sss_ev_child *w, int revents)
{
    (void)loop;
    (void)revents;
    sss_ev_child_stop(w);
    service_ended(w->data, w->rstatus);
}

static errno_t watch(struct sss_sigchild_ctx *sigchld, struct ev_loop *loop,
                     struct sss_ev_child *w, struct service *service)
{
    sss_ev_child_init(w, ended, service->pid);
    w->data = service;
    return sss_ev_child_start(sigchld, loop, w);
}
/* end */

int main(void)
{
    struct ev_loop *loop = ev_default_loop(0);
    struct sss_sigchild_ctx *sigchld;

    if (sss_ev_ctx_create(loop, SSS_SCOPE_REGISTERED, &sigchld) != 0) {
        return 1;
    }
    for (int i = 0; i < 2; i++) {
        services[i].pid = start_process(3 + i);
        if (watch(sigchld, loop, &watchers[i], &services[i]) != 0) {
            return 1;
        }
    }
    while (services_run()) {
        ev_run(loop, EVRUN_ONCE);
    }
    return services_report();
}
