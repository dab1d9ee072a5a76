/* pkgs: glib-2.0 */
#include "daemon.h"

/* begin */
#include <sss_sigchld/glib.h>

static void ended(GPid pid, gint wait_status, gpointer data)
{
    (void)pid;
    service_ended(data, wait_status);
}

static void watch(struct service *service)
{
    if (sss_glib_child_watch_add(service->pid, ended, service) != 0) {
        g_error("cannot watch process %d", service->pid);
    }
}
/* end */

#include "glib.main.h"
