/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* GSubprocess in a main loop. */
#include "communicate.h"

#include <gio/gio.h>

struct told {
    GMainLoop *loop;
    GBytes *output;
};

static void done(GObject *source, GAsyncResult *result, gpointer pvt)
{
    struct told *told = pvt;

    g_subprocess_communicate_finish(G_SUBPROCESS(source), result, &told->output, NULL, NULL);
    g_main_loop_quit(told->loop);
}

static int communicate(const char *input, size_t length)
{
    static GMainLoop *loop;
    struct told told = { 0 };
    GSubprocess *process;
    GBytes *bytes;
    int ok;

    if (loop == NULL) {
        loop = g_main_loop_new(NULL, FALSE);
    }
    told.loop = loop;
    process = g_subprocess_new(G_SUBPROCESS_FLAGS_STDIN_PIPE | G_SUBPROCESS_FLAGS_STDOUT_PIPE,
                               NULL, "/bin/cat", NULL);
    if (process == NULL) {
        return -1;
    }
    bytes = g_bytes_new_static(input, length);
    g_subprocess_communicate_async(process, bytes, NULL, done, &told);
    g_main_loop_run(loop);
    ok = told.output != NULL && g_subprocess_get_successful(process)
        && answer(g_bytes_get_data(told.output, NULL), g_bytes_get_size(told.output));
    g_bytes_unref(bytes);
    g_bytes_unref(told.output);
    g_object_unref(process);
    return ok ? 0 : -1;
}
