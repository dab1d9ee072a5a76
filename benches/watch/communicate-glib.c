/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* GSubprocess in a main loop. */
#include "communicate.h"

#include <gio/gio.h>

struct answer {
    GMainLoop *loop;
    GBytes *output;
};

static void done(GObject *source, GAsyncResult *result, gpointer pvt)
{
    struct answer *answer = pvt;

    g_subprocess_communicate_finish(G_SUBPROCESS(source), result, &answer->output, NULL, NULL);
    g_main_loop_quit(answer->loop);
}

static int communicate(const char *input, size_t length, char **output, size_t *got)
{
    static GMainLoop *loop;
    struct answer answer = { 0 };
    GSubprocess *process;
    GBytes *bytes;
    int ok;

    if (loop == NULL) {
        loop = g_main_loop_new(NULL, FALSE);
    }
    answer.loop = loop;
    process = g_subprocess_new(G_SUBPROCESS_FLAGS_STDIN_PIPE | G_SUBPROCESS_FLAGS_STDOUT_PIPE,
                               NULL, "/bin/cat", NULL);
    if (process == NULL) {
        return -1;
    }
    bytes = g_bytes_new_static(input, length);
    g_subprocess_communicate_async(process, bytes, NULL, done, &answer);
    g_main_loop_run(loop);
    ok = answer.output != NULL && g_subprocess_get_successful(process);
    if (ok) {
        *got = g_bytes_get_size(answer.output);
        *output = malloc(*got + 1);
        memcpy(*output, g_bytes_get_data(answer.output, NULL), *got);
    }
    g_bytes_unref(bytes);
    g_bytes_unref(answer.output);
    g_object_unref(process);
    return ok ? 0 : -1;
}
