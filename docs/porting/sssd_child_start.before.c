/* pkgs: talloc tevent */
#include "sssd.h"

static const char *scripts[] = { "exit 3", "exit 4" };

/* begin */
static void child_done(int child_status, struct tevent_signal *sige, void *pvt)
{
    (void)sige;
    service_ended(pvt, child_status);
}

static errno_t start(TALLOC_CTX *mem_ctx, struct tevent_context *ev,
                     const char *script, struct service *svc)
{
    const char *args[] = { "sh", "-c", script, NULL };
    struct child_io_fds *io;

    return sss_child_start(mem_ctx, ev, "/bin/sh", args, true, NULL, -1,
                           child_done, svc, 0, NULL, NULL, false, &io);
}
/* end */

int main(void)
{
    struct tevent_context *ev = tevent_context_init(NULL);

    for (int i = 0; i < 2; i++) {
        if (ev == NULL || start(ev, ev, scripts[i], &services[i]) != 0) {
            return 1;
        }
    }
    while (services_run()) {
        tevent_loop_once(ev);
    }
    talloc_free(ev);
    return services_report();
}
