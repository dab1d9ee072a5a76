/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * This library on talloc and tevent, in SSSD's scope. SSS_HOST: the host that
 * takes SIGCHLD by tevent_add_signal(), or the one with a signalfd.
 */
#define _GNU_SOURCE
#include "sss.h"

#include <sss_sigchld/tevent.h>

#ifndef SSS_NAME
#define SSS_NAME "sss-tevent"
#define SSS_HOST sss_tevent_host
#endif

static struct tevent_context *loop;

static int tevent_init(void)
{
    loop = tevent_context_init(NULL);
    if (loop == NULL)
        return -1;
    return sss_create(SSS_SCOPE_ALL, SSS_HOST(), loop);
}

static int tevent_turn(void)
{
    return tevent_loop_once(loop);
}

static void tevent_fini(void)
{
    talloc_free(ctx);
    talloc_free(loop);
}

const struct bench_subject bench_subject = {
    .name = SSS_NAME,
    .version = sss_bench_version,
    .init = tevent_init,
    .add = sss_add,
    .turn = tevent_turn,
    .fini = tevent_fini,
};
