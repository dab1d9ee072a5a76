/* pkgs: -lev */
#include "daemon.h"

#include <ev.h>

static ev_child watchers[2];

/* begin */
static void ended(struct ev_loop *loop, ev_child *w, int revents)
{
    (void)revents;
    ev_child_stop(loop, w);
    service_ended(w->data, w->rstatus);
}

static void watch(struct ev_loop *loop, ev_child *w, struct service *service)
{
    ev_child_init(w, ended, service->pid, 0);
    w->data = service;
    ev_child_start(loop, w);
}
/* end */

int main(void)
{
    struct ev_loop *loop = ev_default_loop(0);

    for (int i = 0; i < 2; i++) {
        services[i].pid = start_process(3 + i);
        watch(loop, &watchers[i], &services[i]);
    }
    while (services_run()) {
        ev_run(loop, EVRUN_ONCE);
    }
    return services_report();
}
