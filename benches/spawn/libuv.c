/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* uv_spawn(), in a loop for each thread. It closes nothing in the child. */
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

struct libuv_loop {
    uv_loop_t uv;
    uv_process_t process;
    unsigned slot;
};

static void *libuv_open(void)
{
    struct libuv_loop *loop = calloc(1, sizeof(*loop));
    int ret = loop != NULL ? uv_loop_init(&loop->uv) : UV_ENOMEM;

    if (ret == 0)
        return loop;
    spawn_error("uv_loop_init: %s", uv_strerror(ret));
    free(loop);
    return NULL;
}

static void on_end(uv_process_t *process, int64_t exit_status, int term_signal)
{
    struct libuv_loop *loop = process->data;
    int status = term_signal != 0 ? term_signal : (int)exit_status << 8;

    spawn_reaped(loop->slot, process->pid, status);
    /* Closed when this turn of the loop ends. */
    uv_close((uv_handle_t *)process, NULL);
}

static int libuv_start(void *pvt, unsigned slot, char *argv[], const int sources[3])
{
    struct libuv_loop *loop = pvt;
    uv_stdio_container_t stdio[3];
    uv_process_options_t options = {
        .exit_cb = on_end,
        .file = argv[0],
        .args = argv,
        .stdio_count = 3,
        .stdio = stdio,
    };
    int i, ret;

    for (i = 0; i < 3; i++) {
        stdio[i].flags = UV_INHERIT_FD;
        stdio[i].data.fd = sources != NULL ? sources[i] : i;
    }
    loop->slot = slot;
    loop->process.data = loop;
    ret = uv_spawn(&loop->uv, &loop->process, &options);
    if (ret != 0)
        spawn_error("uv_spawn: %s", uv_strerror(ret));
    return ret != 0 ? -1 : 0;
}

static int libuv_turn(void *pvt)
{
    struct libuv_loop *loop = pvt;

    uv_run(&loop->uv, UV_RUN_ONCE);
    return 0;
}

static void libuv_close(void *pvt)
{
    struct libuv_loop *loop = pvt;
    int ret;

    uv_run(&loop->uv, UV_RUN_DEFAULT);
    ret = uv_loop_close(&loop->uv);
    if (ret != 0)
        spawn_error("uv_loop_close: %s", uv_strerror(ret));
    free(loop);
}

static const char *libuv_version_text(void)
{
    static char text[32];

    snprintf(text, sizeof(text), "libuv %s", uv_version_string());
    return text;
}

const struct spawn_subject spawn_subject = {
    .name = "libuv",
    .version = libuv_version_text,
    .leaks = true,
    .open = libuv_open,
    .start = libuv_start,
    .turn = libuv_turn,
    .close = libuv_close,
};
