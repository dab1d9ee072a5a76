/*
 * libsss_sigchld on libuv.
 *
 * A context belongs to the thread that makes it, which must run the loop, and
 * keeps the loop alive. It may be freed in any callback; free it before the last
 * uv_run() and before uv_loop_close(), which returns UV_EBUSY otherwise. See
 * sss_sigchld_adapters(7).
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef SSS_SIGCHLD_LIBUV_H
#define SSS_SIGCHLD_LIBUV_H

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <sss_sigchld.h>
#include <uv.h>

#ifdef __cplusplus
extern "C" {
#endif

struct sss_uv_watch {
    union {
        uv_handle_t handle;
        uv_poll_t poll;
        uv_signal_t sig;
    } uv;
    struct sigaction former; /* SIGCHLD's, which libuv forgets */
    void (*readable)(void *arg); /* NULL: SIGCHLD */
    void *arg;
};

static inline void sss_uv_readable(uv_poll_t *handle, int status, int events)
{
    struct sss_uv_watch *watch = (struct sss_uv_watch *)handle->data;

    (void)status;
    (void)events;
    watch->readable(watch->arg);
}

static inline void sss_uv_signal_seen(uv_signal_t *handle, int signum)
{
    struct sss_uv_watch *watch = (struct sss_uv_watch *)handle->data;

    (void)signum;
    (void)sss_sigchld_ctx_signalled((struct sss_sigchild_ctx *)watch->arg,
                                    NULL);
}

static inline void sss_uv_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static inline void sss_uv_unwatch(void *ptr)
{
    struct sss_uv_watch *watch = (struct sss_uv_watch *)ptr;

    if (uv_is_closing(&watch->uv.handle)) {
        /* By the daemon's uv_walk(); the loop has still to say goodbye. */
        watch->uv.handle.close_cb = sss_uv_closed;
        return;
    }
    uv_close(&watch->uv.handle, sss_uv_closed);
    if (watch->readable == NULL) {
        struct sigaction now;

        if (sigaction(SIGCHLD, NULL, &now) == 0 && now.sa_handler == SIG_DFL) {
            (void)sigaction(SIGCHLD, &watch->former, NULL);
        }
    }
}

static inline struct sss_uv_watch *sss_uv_watch_new(void *arg)
{
    struct sss_uv_watch *watch;

    watch = (struct sss_uv_watch *)calloc(1, sizeof(*watch));
    if (watch != NULL) {
        watch->arg = arg;
    }
    return watch;
}

static inline errno_t sss_uv_watch_fd(void *owner, void *loop, int fd,
                                      void (*readable)(void *arg), void *arg,
                                      void **out)
{
    struct sss_uv_watch *watch;
    int ret;

    (void)owner;
    if (loop == NULL) {
        return EINVAL;
    }
    watch = sss_uv_watch_new(arg);
    if (watch == NULL) {
        return ENOMEM;
    }
    watch->readable = readable;
    ret = uv_poll_init((uv_loop_t *)loop, &watch->uv.poll, fd);
    if (ret != 0) {
        free(watch);
        return -ret;
    }
    watch->uv.handle.data = watch;
    ret = uv_poll_start(&watch->uv.poll, UV_READABLE, sss_uv_readable);
    if (ret != 0) {
        sss_uv_unwatch(watch);
        return -ret;
    }
    *out = watch;
    return 0;
}

static inline errno_t sss_uv_watch_sigchld(void *owner, void *loop,
                                           struct sss_sigchild_ctx *ctx,
                                           void **out)
{
    struct sss_uv_watch *watch = sss_uv_watch_new(ctx);
    sigset_t set;
    int ret;

    (void)owner;
    if (watch == NULL) {
        return ENOMEM;
    }
    (void)sigaction(SIGCHLD, NULL, &watch->former);
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    ret = uv_signal_init((uv_loop_t *)loop, &watch->uv.sig);
    if (ret != 0) {
        free(watch);
        return -ret;
    }
    watch->uv.handle.data = watch;
    ret = -pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    if (ret == 0) {
        ret = uv_signal_start(&watch->uv.sig, sss_uv_signal_seen, SIGCHLD);
    }
    if (ret != 0) {
        sss_uv_unwatch(watch);
        return -ret;
    }
    *out = watch;
    return 0;
}

/** The host that takes SIGCHLD by a uv_signal_t. */
static inline const struct sss_host *sss_uv_signal_host(void)
{
    static const struct sss_host host = {
        sizeof(struct sss_host), NULL, NULL, NULL, NULL, NULL,
        sss_uv_watch_fd, sss_uv_watch_sigchld, sss_uv_unwatch,
    };

    return &host;
}

/** The host that needs no signal. */
static inline const struct sss_host *sss_uv_fd_host(void)
{
    static const struct sss_host host = {
        sizeof(struct sss_host), NULL, NULL, NULL, NULL, NULL,
        sss_uv_watch_fd, NULL, sss_uv_unwatch,
    };

    return &host;
}

/**
 * Make a context on a loop, with sss_uv_signal_host().
 *
 * @param loop   borrowed.
 * @param scope  SSS_SCOPE_REGISTERED or SSS_SCOPE_ALL.
 * @param ctx    written on success; free it with sss_sigchld_ctx_free().
 *
 * @return as sss_sigchld_ctx_create(), or an errno of libuv's.
 */
static inline errno_t sss_uv_ctx_create(uv_loop_t *loop, uint32_t scope,
                                        struct sss_sigchild_ctx **ctx)
{
    struct sss_ctx_params params;

    memset(&params, 0, sizeof(params));
    params.size = sizeof(params);
    params.mask = SSS_CTX_PARAM_SCOPE;
    params.scope = scope;
    params.host = sss_uv_signal_host();
    params.loop = loop;
    return sss_sigchld_ctx_create(&params, ctx);
}

/** As uv_process_t, for a child that anybody started; yours, until its end. */
typedef struct sss_uv_child {
    void *data; /* yours */
    int pid;
    void (*exit_cb)(struct sss_uv_child *child, int64_t exit_status,
                    int term_signal);
    struct sss_child_ctx *child;
} sss_uv_child_t;

static inline void sss_uv_child_ended(int pid, int wait_status, void *pvt)
{
    sss_uv_child_t *child = (sss_uv_child_t *)pvt;
    int64_t code = -ECHILD; /* the status could not be had */
    int signum = 0;

    (void)pid;
    if (WIFEXITED(wait_status)) {
        code = WEXITSTATUS(wait_status);
    } else if (WIFSIGNALED(wait_status)) {
        code = 0;
        signum = WTERMSIG(wait_status);
    }
    child->exit_cb(child, code, signum);
}

/**
 * As uv_spawn()'s exit_cb, for a pid.
 *
 * @return 0 or a negative error of libuv's.
 */
static inline int
sss_uv_child_start(struct sss_sigchild_ctx *ctx, sss_uv_child_t *child, int pid,
                   void (*exit_cb)(sss_uv_child_t *child, int64_t exit_status,
                                   int term_signal))
{
    child->pid = pid;
    child->exit_cb = exit_cb;
    child->child = NULL;
    return -sss_child_register(NULL, ctx, pid, sss_uv_child_ended, child,
                               &child->child);
}

/** Ends the watch: at once, also in its callback, after it, and twice. */
static inline void sss_uv_child_close(sss_uv_child_t *child)
{
    (void)sss_child_free(child->child);
    child->child = NULL;
}

#ifdef __cplusplus
}
#endif

#endif /* SSS_SIGCHLD_LIBUV_H */
