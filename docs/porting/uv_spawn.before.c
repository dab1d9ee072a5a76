/* pkgs: libuv */
#include "daemon.h"

#include <uv.h>

static uv_process_t processes[2];
static char *const scripts[] = { (char *)"exit 3", (char *)"exit 4" };

/* begin */
static void ended(uv_process_t *process, int64_t exit_status, int term_signal)
{
    service_ended(process->data, W_EXITCODE((int)exit_status, term_signal));
    uv_close((uv_handle_t *)process, NULL);
}

static int start(uv_loop_t *loop, uv_process_t *process, char *script,
                 struct service *service)
{
    char *args[] = { (char *)"sh", (char *)"-c", script, NULL };
    uv_process_options_t options = {
        .file = "/bin/sh",
        .args = args,
        .exit_cb = ended,
    };

    process->data = service;
    return uv_spawn(loop, process, &options);
}
/* end */

int main(void)
{
    uv_loop_t *loop = uv_default_loop();

    for (int i = 0; i < 2; i++) {
        if (start(loop, &processes[i], scripts[i], &services[i]) != 0) {
            return 1;
        }
    }
    uv_run(loop, UV_RUN_DEFAULT);
    return services_report();
}
