/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* sss_child_communicate() in a poll loop. */
#include "communicate.h"

#include <poll.h>
#include <sss_sigchld.h>

static struct sss_sigchild_ctx *ctx;
static struct pollfd wake = { .events = POLLIN };

static void done(struct sss_child_ctx *child, const struct sss_communicated *all, void *pvt)
{
    int ok = all->end->wait_status == 0 && answer(all->output, all->output_length);

    *(int *)pvt = ok ? 1 : -1;
    sss_child_free(child);
}

static int communicate(const char *input, size_t length)
{
    static const char *const argv[] = { "cat", NULL };
    const struct sss_spawn spawn = {
        .size = sizeof(spawn), .path = "/bin/cat", .argv = argv,
    };
    int told = 0;
    const struct sss_communicate comm = {
        .size = sizeof(comm),
        .mask = SSS_COMMUNICATE_INPUT | SSS_COMMUNICATE_OUTPUT,
        .input = input,
        .input_length = length,
        .cb = done,
        .pvt = &told,
    };
    struct sss_ctx_params params = { .size = sizeof(params) };
    struct sss_child_ctx *child;

    if (ctx == NULL
        && (sss_sigchld_ctx_create(&params, &ctx) != 0
            || sss_sigchld_ctx_fd(ctx, &wake.fd) != 0)) {
        return -1;
    }
    if (sss_child_communicate(NULL, ctx, &spawn, &comm, &child) != 0) {
        return -1;
    }
    while (told == 0) {
        if (poll(&wake, 1, -1) == 1 && sss_sigchld_ctx_dispatch(ctx, 0) != 0) {
            return -1;
        }
    }
    return told == 1 ? 0 : -1;
}
