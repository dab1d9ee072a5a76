/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* This library by its one descriptor, without any signal. */
#include "sss.h"

#include <errno.h>
#include <poll.h>

static int context_fd = -1;

static int fd_init(void)
{
    errno_t ret;

    if (sss_create(SSS_SCOPE_REGISTERED, NULL, NULL) < 0)
        return -1;
    ret = sss_sigchld_ctx_fd(ctx, &context_fd);
    if (ret != 0)
        bench_error("sss_sigchld_ctx_fd: %s", strerror(ret));
    return ret != 0 ? -1 : 0;
}

static int fd_turn(void)
{
    struct pollfd p = { .fd = context_fd, .events = POLLIN };
    errno_t ret;

    if (poll(&p, 1, -1) < 0)
        return errno == EINTR ? 0 : -1;
    ret = sss_sigchld_ctx_dispatch(ctx, 0);
    if (ret != 0)
        bench_error("sss_sigchld_ctx_dispatch: %s", strerror(ret));
    return ret != 0 ? -1 : 0;
}

static void fd_fini(void)
{
    errno_t ret = sss_sigchld_ctx_free(ctx);

    if (ret != 0)
        bench_error("sss_sigchld_ctx_free: %s", strerror(ret));
}

const struct bench_subject bench_subject = {
    .name = "sss-fd",
    .version = sss_bench_version,
    .init = fd_init,
    .add = sss_add,
    .turn = fd_turn,
    .fini = fd_fini,
};
