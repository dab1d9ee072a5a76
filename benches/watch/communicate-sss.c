/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* sss_child_communicate() in a poll loop. */
#include "communicate.h"

#include <poll.h>
#include <sss_sigchld.h>

static struct sss_sigchild_ctx *ctx;
static struct pollfd wake = { .events = POLLIN };

struct answer {
    char *output;
    size_t length;
    int done;
};

static void done(struct sss_child_ctx *child, const struct sss_communicated *all, void *pvt)
{
    struct answer *answer = pvt;

    answer->length = all->output_length;
    answer->output = malloc(all->output_length + 1);
    if (answer->output != NULL) {
        memcpy(answer->output, all->output, all->output_length);
    }
    answer->done = all->end->wait_status == 0 && answer->output != NULL ? 1 : -1;
    sss_child_free(child);
}

static int communicate(const char *input, size_t length, char **output, size_t *got)
{
    static const char *const argv[] = { "cat", NULL };
    const struct sss_spawn spawn = {
        .size = sizeof(spawn), .path = "/bin/cat", .argv = argv,
    };
    struct answer answer = { 0 };
    const struct sss_communicate comm = {
        .size = sizeof(comm),
        .mask = SSS_COMMUNICATE_INPUT | SSS_COMMUNICATE_OUTPUT,
        .input = input,
        .input_length = length,
        .cb = done,
        .pvt = &answer,
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
    while (answer.done == 0) {
        if (poll(&wake, 1, -1) == 1 && sss_sigchld_ctx_dispatch(ctx, 0) != 0) {
            return -1;
        }
    }
    *output = answer.output;
    *got = answer.length;
    return answer.done == 1 ? 0 : -1;
}
