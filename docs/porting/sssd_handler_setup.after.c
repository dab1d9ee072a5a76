/* pkgs: talloc tevent */
#include "daemon.h"

/* begin */
#include <sss_sigchld/sssd.h>

static void child_done(int child_status, struct tevent_signal *sige, void *pvt)
{
    (void)sige; /* NULL */
    service_ended(*(struct service **)pvt, child_status);
}

static errno_t watch(struct tevent_context *ev, struct service *svc,
                     struct sss_child_ctx_old **child)
{
    /* pvt is a talloc object here: its end cancels the callback. */
    struct service **pvt = talloc(ev, struct service *);

    if (pvt == NULL) {
        return ENOMEM;
    }
    *pvt = svc;
    return sss_child_handler_setup(ev, svc->pid, child_done, pvt, child);
}
/* end */

#include "sssd_handler_setup.main.h"
