/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* g_spawn_async_with_fds(), which is g_spawn_async() with the child's first three
 * descriptors, and a child watch in a main context for each thread. */
#include "harness.h"

#include <glib.h>
#include <stdio.h>
#include <stdlib.h>

struct glib_loop {
    GMainContext *context;
    unsigned slot;
};

static void *glib_open(void)
{
    struct glib_loop *loop = g_new0(struct glib_loop, 1);

    loop->context = g_main_context_new();
    return loop;
}

static void on_end(GPid pid, gint wait_status, gpointer pvt)
{
    struct glib_loop *loop = pvt;

    spawn_reaped(loop->slot, pid, wait_status);
    g_spawn_close_pid(pid);
}

static void watch(struct glib_loop *loop, GPid pid)
{
    GSource *source = g_child_watch_source_new(pid);

    g_source_set_callback(source, G_SOURCE_FUNC(on_end), loop, NULL);
    g_source_attach(source, loop->context);
    g_source_unref(source);
}

static int glib_start(void *pvt, unsigned slot, char *argv[], const int sources[3])
{
    GSpawnFlags flags = G_SPAWN_DO_NOT_REAP_CHILD;
    struct glib_loop *loop = pvt;
    GError *error = NULL;
    GPid pid;

    if (sources == NULL)
        flags |= G_SPAWN_CHILD_INHERITS_STDIN;
    loop->slot = slot;
    if (!g_spawn_async_with_fds(NULL, argv, NULL, flags, NULL, NULL, &pid,
                                sources != NULL ? sources[0] : -1,
                                sources != NULL ? sources[1] : -1,
                                sources != NULL ? sources[2] : -1, &error)) {
        spawn_error("g_spawn_async_with_fds: %s", error->message);
        g_error_free(error);
        return -1;
    }
    watch(loop, pid);
    return 0;
}

static int glib_turn(void *pvt)
{
    struct glib_loop *loop = pvt;

    g_main_context_iteration(loop->context, TRUE);
    return 0;
}

static void glib_close(void *pvt)
{
    struct glib_loop *loop = pvt;

    g_main_context_unref(loop->context);
    g_free(loop);
}

static const char *glib_version_text(void)
{
    static char text[32];

    snprintf(text, sizeof(text), "GLib %u.%u.%u", glib_major_version, glib_minor_version,
             glib_micro_version);
    return text;
}

const struct spawn_subject spawn_subject = {
    .name = "glib",
    .version = glib_version_text,
    .open = glib_open,
    .start = glib_start,
    .turn = glib_turn,
    .close = glib_close,
};
