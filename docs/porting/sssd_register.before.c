/* pkgs: talloc tevent */
#include "sssd.h"

/* begin */
static void svc_exited(int pid, int wait_status, void *pvt)
{
    (void)pid;
    service_ended(pvt, wait_status);
}

static errno_t watch(TALLOC_CTX *mem_ctx, struct sss_sigchild_ctx *sigchld_ctx,
                     struct service *svc)
{
    return sss_child_register(mem_ctx, sigchld_ctx, svc->pid, svc_exited, svc,
                              &svc->child);
}
/* end */

#include "sssd_register.main.h"
