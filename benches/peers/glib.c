/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* GLib: a child watch source for each child, in the default main context. */
#include "../harness.h"

#include <glib.h>
#include <stdint.h>

static void on_end(GPid pid, gint wait_status, gpointer pvt)
{
    bench_exit((unsigned)(uintptr_t)pvt, pid, wait_status);
}

static int glib_init(void)
{
    return 0;
}

static int glib_add(pid_t pid, unsigned slot)
{
    return g_child_watch_add(pid, on_end, (gpointer)(uintptr_t)slot) > 0 ? 0 : -1;
}

static int glib_turn(void)
{
    g_main_context_iteration(NULL, TRUE);
    return 0;
}

static void glib_fini(void)
{
}

static const char *glib_version_text(void)
{
    return "GLib " BENCH_VERSION;
}

const struct bench_subject bench_subject = {
    .name = "glib",
    .version = glib_version_text,
    .init = glib_init,
    .add = glib_add,
    .turn = glib_turn,
    .fini = glib_fini,
};
