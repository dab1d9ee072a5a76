/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* This library on GLib's default main context. The Makefile names the adapter's host in SSS_HOST. */
#include "sss.h"

#include <sss_sigchld/glib.h>

static int loop_init(void)
{
    return sss_create(SSS_SCOPE_REGISTERED, SSS_HOST(), g_main_context_default());
}

static int loop_turn(void)
{
    g_main_context_iteration(NULL, TRUE);
    return 0;
}

static void loop_fini(void)
{
    (void)sss_sigchld_ctx_free(ctx);
}

const struct bench_subject bench_subject = {
    .name = SSS_NAME,
    .version = sss_bench_version,
    .init = loop_init,
    .add = sss_add,
    .turn = loop_turn,
    .fini = loop_fini,
};
