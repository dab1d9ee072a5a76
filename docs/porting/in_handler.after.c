#include "daemon.h"

#include <sss_sigchld.h>

/* begin */
static void ended(int pid, int wait_status, void *pvt)
{
    (void)pid;
    service_ended(pvt, wait_status); /* in the loop: may do anything */
}

static errno_t loop(struct sss_sigchild_ctx *sigchld)
{
    struct pollfd wake = { .events = POLLIN };
    errno_t ret = sss_sigchld_ctx_fd(sigchld, &wake.fd);

    while (ret == 0 && services_run()) {
        if (poll(&wake, 1, -1) == 1) {
            ret = sss_sigchld_ctx_dispatch(sigchld, 0);
        }
    }
    return ret;
}
/* end */

int main(void)
{
    struct sss_ctx_params params = { .size = sizeof(params) };
    struct sss_sigchild_ctx *sigchld;

    signal(SIGCHLD, SIG_DFL);
    if (sss_sigchld_ctx_create(&params, &sigchld) != 0) {
        return 1;
    }
    for (int i = 0; i < 2; i++) {
        services[i].pid = start_process(3 + i);
        if (sss_child_register(NULL, sigchld, services[i].pid, ended, &services[i],
                               NULL) != 0) {
            return 1;
        }
    }
    return loop(sigchld) != 0 ? 1 : services_report();
}
