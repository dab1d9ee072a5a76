/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* This library on sd-event. The Makefile names the adapter's host in SSS_HOST. */
#define _GNU_SOURCE
#include "sss.h"

#include <sss_sigchld/sd_event.h>

static sd_event *loop;

static int loop_init(void)
{
    sigset_t chld;

    /* As sd-event's own child sources want it. */
    sigemptyset(&chld);
    sigaddset(&chld, SIGCHLD);
    if (sigprocmask(SIG_BLOCK, &chld, NULL) != 0 || sd_event_new(&loop) < 0)
        return -1;
    return sss_create(SSS_SCOPE_REGISTERED, SSS_HOST(), loop);
}

static int loop_turn(void)
{
    return sd_event_run(loop, UINT64_MAX) < 0 ? -1 : 0;
}

static void loop_fini(void)
{
    (void)sss_sigchld_ctx_free(ctx);
    sd_event_unref(loop);
}

const struct bench_subject bench_subject = {
    .name = SSS_NAME,
    .version = sss_bench_version,
    .init = loop_init,
    .add = sss_add,
    .turn = loop_turn,
    .fini = loop_fini,
};
