/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* This library on libevent. The Makefile names the adapter's host in SSS_HOST. */
#define _GNU_SOURCE
#include "sss.h"

#include <sss_sigchld/libevent.h>

static struct event_base *loop;

static int loop_init(void)
{
    loop = event_base_new();
    if (loop == NULL)
        return -1;
    return sss_create(SSS_SCOPE_REGISTERED, SSS_HOST(), loop);
}

static int loop_turn(void)
{
    return event_base_loop(loop, EVLOOP_ONCE);
}

static void loop_fini(void)
{
    (void)sss_sigchld_ctx_free(ctx);
    event_base_free(loop);
}

const struct bench_subject bench_subject = {
    .name = SSS_NAME,
    .version = sss_bench_version,
    .init = loop_init,
    .add = sss_add,
    .turn = loop_turn,
    .fini = loop_fini,
};
