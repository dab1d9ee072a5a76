/* pkgs: glib-2.0 */
#include "daemon.h"

#include <glib.h>

/* begin */
static void ended(GPid pid, gint wait_status, gpointer data)
{
    service_ended(data, wait_status);
    g_spawn_close_pid(pid);
}

static void watch(struct service *service)
{
    g_child_watch_add(service->pid, ended, service);
}
/* end */

#include "glib.main.h"
