/* pkgs: libuv */
#include "daemon.h"

#include <sss_sigchld/libuv.h>

static char *const scripts[] = { (char *)"exit 3", (char *)"exit 4" };

/* begin */
static void ended(int pid, int wait_status, void *pvt)
{
    struct service *service = pvt;

    (void)pid;
    sss_child_free(service->child);
    service->child = NULL;
    service_ended(service, wait_status);
}

static errno_t start(struct sss_sigchild_ctx *sigchld, char *script,
                     struct service *service)
{
    const char *args[] = { "sh", "-c", script, NULL };
    struct sss_spawn spawn = {
        .size = sizeof(spawn),
        .path = "/bin/sh",
        .argv = args,
    };

    return sss_child_spawn(NULL, sigchld, &spawn, ended, service, &service->child);
}
/* end */

int main(void)
{
    uv_loop_t *loop = uv_default_loop();
    struct sss_sigchild_ctx *sigchld;

    if (sss_uv_ctx_create(loop, SSS_SCOPE_REGISTERED, &sigchld) != 0) {
        return 1;
    }
    for (int i = 0; i < 2; i++) {
        if (start(sigchld, scripts[i], &services[i]) != 0) {
            return 1;
        }
    }
    while (services_run()) {
        uv_run(loop, UV_RUN_ONCE);
    }
    sss_sigchld_ctx_free(sigchld);
    uv_run(loop, UV_RUN_DEFAULT);
    return services_report();
}
