/* pkgs: talloc tevent */
#include "daemon.h"

/* begin */
#include <sss_sigchld/sssd.h>

static void child_done(int child_status, struct tevent_signal *sige, void *pvt)
{
    struct service *svc = *(struct service **)pvt;

    (void)sige; /* NULL */
    talloc_free(pvt);
    service_ended(svc, child_status);
}

static errno_t watch(struct tevent_context *ev, struct service *svc,
                     struct sss_child_ctx_old **child)
{
    /* pvt is a talloc object here: its end cancels the callback. */
    struct service **pvt = talloc(ev, struct service *);
    errno_t ret;

    if (pvt == NULL) {
        return ENOMEM;
    }
    *pvt = svc;
    ret = sss_child_handler_setup(ev, svc->pid, child_done, pvt, child);
    if (ret != 0) {
        talloc_free(pvt);
    }
    return ret;
}
/* end */

#include "sssd_handler_setup.main.h"
