/* pkgs: talloc tevent */
#include "sssd.h"

/* begin */
static void child_done(int child_status, struct tevent_signal *sige, void *pvt)
{
    (void)sige;
    service_ended(pvt, child_status);
}

static errno_t watch(struct tevent_context *ev, struct service *svc,
                     struct sss_child_ctx_old **child)
{
    return child_handler_setup(ev, svc->pid, child_done, svc, child);
}
/* end */

#include "sssd_handler_setup.main.h"
