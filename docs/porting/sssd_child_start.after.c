/* pkgs: talloc tevent */
#include "daemon.h"

#include <sss_sigchld/sssd.h>

static const char *scripts[] = { "exit 3", "exit 4" };

/* begin */
static void child_done(int pid, int wait_status, void *pvt)
{
    struct service *svc = pvt;

    (void)pid;
    sss_child_free(svc->child);
    svc->child = NULL;
    service_ended(svc, wait_status);
}

static errno_t start(TALLOC_CTX *mem_ctx, struct sss_sigchild_ctx *sigchld_ctx,
                     const char *script, struct service *svc)
{
    const char *args[] = { "sh", "-c", script, NULL };
    struct sss_spawn spawn = {
        .size = sizeof(spawn),
        .path = "/bin/sh",
        .argv = args,
    };

    return sss_child_spawn(mem_ctx, sigchld_ctx, &spawn, child_done, svc,
                           &svc->child);
}
/* end */

int main(void)
{
    struct tevent_context *ev = tevent_context_init(NULL);
    struct sss_sigchild_ctx *sigchld_ctx;

    if (ev == NULL || sss_sigchld_init(ev, ev, &sigchld_ctx) != 0) {
        return 1;
    }
    for (int i = 0; i < 2; i++) {
        if (start(ev, sigchld_ctx, scripts[i], &services[i]) != 0) {
            return 1;
        }
    }
    while (services_run()) {
        tevent_loop_once(ev);
    }
    talloc_free(ev);
    return services_report();
}
