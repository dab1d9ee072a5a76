/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* libuv watches only the children that it starts itself. uv_spawn() registers them too, so the
 * cost of a registration alone is not measured. */
#include "../harness.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

static uv_loop_t loop;

static void on_closed(uv_handle_t *handle)
{
    free(handle);
}

static void on_end(uv_process_t *process, int64_t exit_status, int term_signal)
{
    int status = term_signal ? term_signal : (int)exit_status << 8;

    bench_exit((unsigned)(uintptr_t)process->data, process->pid, status);
    uv_close((uv_handle_t *)process, on_closed);
}

static int libuv_init(void)
{
    return uv_loop_init(&loop);
}

static pid_t libuv_spawn(unsigned slot, char *const argv[], int stdin_fd)
{
    uv_stdio_container_t stdio = { .flags = UV_INHERIT_FD, .data.fd = stdin_fd };
    uv_process_options_t options = {
        .exit_cb = on_end,
        .file = argv[0],
        .args = (char **)argv,
        .stdio_count = 1,
        .stdio = &stdio,
    };
    uv_process_t *process = malloc(sizeof(*process));
    int ret;

    if (process == NULL)
        return -1;
    process->data = (void *)(uintptr_t)slot;
    ret = uv_spawn(&loop, process, &options);
    if (ret == 0)
        return process->pid;
    bench_error("uv_spawn: %s", uv_strerror(ret));
    free(process);
    return -1;
}

static int libuv_turn(void)
{
    uv_run(&loop, UV_RUN_ONCE);
    return 0;
}

static void close_handle(uv_handle_t *handle, void *pvt)
{
    (void)pvt;
    if (!uv_is_closing(handle))
        uv_close(handle, handle->type == UV_PROCESS ? on_closed : NULL);
}

static void libuv_fini(void)
{
    uv_walk(&loop, close_handle, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    if (uv_loop_close(&loop) != 0)
        bench_error("uv_loop_close failed");
}

static const char *libuv_version_text(void)
{
    static char text[32];

    snprintf(text, sizeof(text), "libuv %s", uv_version_string());
    return text;
}

const struct bench_subject bench_subject = {
    .name = "libuv",
    .version = libuv_version_text,
    .init = libuv_init,
    .spawn = libuv_spawn,
    .turn = libuv_turn,
    .fini = libuv_fini,
};
