/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* This library: sss_child_spawn(), and its descriptor in a poll loop. forksrv.c has the
 * same with sss_forksrv_launch(). */
#include "harness.h"

#include <errno.h>
#include <poll.h>
#include <sss_sigchld.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef BY_FORKSRV
#define BY_FORKSRV false
#endif

struct sss_loop {
    struct sss_sigchild_ctx *ctx;
    int fd;
    struct sss_forksrv *server;
    struct sss_child_ctx *child;
    unsigned slot;
};

static void *sss_open(void)
{
    struct sss_ctx_params params = {
        .size = sizeof(params),
        .mask = SSS_CTX_PARAM_SCOPE,
        .scope = SSS_SCOPE_REGISTERED,
    };
    struct sss_forksrv_params server = { .size = sizeof(server) };
    struct sss_loop *loop = calloc(1, sizeof(*loop));
    errno_t ret;

    if (loop == NULL) {
        spawn_error("out of memory");
        return NULL;
    }
    ret = sss_sigchld_ctx_create(&params, &loop->ctx);
    if (ret == 0)
        ret = sss_sigchld_ctx_fd(loop->ctx, &loop->fd);
    if (ret == 0 && BY_FORKSRV)
        ret = sss_forksrv_start(NULL, loop->ctx, &server, &loop->server);
    if (ret == 0)
        return loop;
    spawn_error("no context or no server: %s", strerror(ret));
    sss_sigchld_ctx_free(loop->ctx);
    free(loop);
    return NULL;
}

static void on_end(int pid, int wait_status, void *pvt)
{
    struct sss_loop *loop = pvt;
    errno_t ret;

    spawn_reaped(loop->slot, pid, wait_status);
    ret = sss_child_free(loop->child);
    if (ret != 0)
        spawn_error("sss_child_free: %s", strerror(ret));
}

static int sss_start(void *pvt, unsigned slot, char *argv[], const int sources[3])
{
    struct sss_loop *loop = pvt;
    struct sss_spawn_fd fds[3];
    uint32_t step = 0;
    struct sss_spawn spawn = {
        .size = sizeof(spawn),
        .path = argv[0],
        .argv = (const char *const *)argv,
        .failed_step = &step,
    };
    errno_t ret;
    int i;

    if (sources != NULL) {
        for (i = 0; i < 3; i++)
            fds[i] = (struct sss_spawn_fd){ .source = sources[i], .target = i };
        spawn.mask |= SSS_SPAWN_FDS;
        spawn.fds = fds;
        spawn.fds_count = 3;
    }
    loop->slot = slot;
    ret = BY_FORKSRV
              ? sss_forksrv_launch(NULL, loop->server, &spawn, on_end, loop, &loop->child)
              : sss_child_spawn(NULL, loop->ctx, &spawn, on_end, loop, &loop->child);
    if (ret != 0)
        spawn_error("no child: step %u: %s", step, strerror(ret));
    return ret != 0 ? -1 : 0;
}

static int sss_turn(void *pvt)
{
    struct sss_loop *loop = pvt;
    struct pollfd p = { .fd = loop->fd, .events = POLLIN };
    errno_t ret;

    if (poll(&p, 1, -1) < 0)
        return errno == EINTR ? 0 : -1;
    ret = sss_sigchld_ctx_dispatch(loop->ctx, 0);
    if (ret != 0)
        spawn_error("sss_sigchld_ctx_dispatch: %s", strerror(ret));
    return ret != 0 ? -1 : 0;
}

static void sss_close(void *pvt)
{
    struct sss_loop *loop = pvt;
    errno_t ret = BY_FORKSRV ? sss_forksrv_free(loop->server) : 0;

    if (ret == 0)
        ret = sss_sigchld_ctx_free(loop->ctx);
    if (ret != 0)
        spawn_error("not freed: %s", strerror(ret));
    free(loop);
}

static const char *sss_version_text(void)
{
    static char text[32];

    snprintf(text, sizeof(text), "sss_sigchld %s", sss_version());
    return text;
}

const struct spawn_subject spawn_subject = {
    .name = BY_FORKSRV ? "forksrv" : "sss",
    .has_server = BY_FORKSRV,
    .version = sss_version_text,
    .open = sss_open,
    .start = sss_start,
    .turn = sss_turn,
    .close = sss_close,
};
