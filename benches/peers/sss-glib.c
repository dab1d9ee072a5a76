/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* This library on GLib's default main context, by its adapter's child watch. */
#include "sss.h"

#include <sss_sigchld/glib.h>

static void told(GPid pid, gint wait_status, gpointer pvt)
{
    bench_exit((unsigned)(uintptr_t)pvt, pid, wait_status);
}

static int loop_init(void)
{
    return sss_glib_ctx_shared(&ctx) == 0 ? 0 : -1;
}

static int loop_add(pid_t pid, unsigned slot)
{
    errno_t ret = sss_glib_child_watch_add(pid, told, (gpointer)(uintptr_t)slot);

    if (ret != 0)
        bench_error("sss_glib_child_watch_add: %s", strerror(ret));
    return ret != 0 ? -1 : 0;
}

static int loop_turn(void)
{
    g_main_context_iteration(NULL, TRUE);
    return 0;
}

/* The default main context stays, as it would in a daemon. */
static void loop_fini(void)
{
}

const struct bench_subject bench_subject = {
    .name = "sss-glib",
    .version = sss_bench_version,
    .init = loop_init,
    .add = loop_add,
    .turn = loop_turn,
    .fini = loop_fini,
};
