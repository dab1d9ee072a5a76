/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* This library on libuv. The Makefile names the adapter's host in SSS_HOST. */
#define _GNU_SOURCE
#include "sss.h"

#include <sss_sigchld/libuv.h>

static uv_loop_t *loop;

static int loop_init(void)
{
    loop = uv_default_loop();
    if (loop == NULL)
        return -1;
    return sss_create(SSS_SCOPE_REGISTERED, SSS_HOST(), loop);
}

static int loop_turn(void)
{
    uv_run(loop, UV_RUN_ONCE);
    return 0;
}

static void loop_fini(void)
{
    (void)sss_sigchld_ctx_free(ctx);
    uv_run(loop, UV_RUN_DEFAULT);
    if (uv_loop_close(loop) != 0)
        bench_error("uv_loop_close failed");
}

const struct bench_subject bench_subject = {
    .name = SSS_NAME,
    .version = sss_bench_version,
    .init = loop_init,
    .add = sss_add,
    .turn = loop_turn,
    .fini = loop_fini,
};
