/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* This library on libev's default loop. The Makefile names the adapter's host in SSS_HOST. */
#define _GNU_SOURCE
#include "sss.h"

#include <sss_sigchld/libev.h>

static struct ev_loop *loop;

static int loop_init(void)
{
    loop = ev_default_loop(0);
    if (loop == NULL)
        return -1;
    return sss_create(SSS_SCOPE_REGISTERED, SSS_HOST(), loop);
}

static int loop_turn(void)
{
    ev_run(loop, EVRUN_ONCE);
    return 0;
}

static void loop_fini(void)
{
    (void)sss_sigchld_ctx_free(ctx);
    ev_loop_destroy(loop);
}

const struct bench_subject bench_subject = {
    .name = SSS_NAME,
    .version = sss_bench_version,
    .init = loop_init,
    .add = sss_add,
    .turn = loop_turn,
    .fini = loop_fini,
};
