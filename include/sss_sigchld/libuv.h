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

#include <sys/wait.h>

#include <sss_sigchld/adapter.h>
#include <uv.h>

#ifdef __cplusplus
extern "C" {
#endif

struct sss_uv_watch {
    struct sss_adapter_call call;
    union {
        uv_handle_t handle;
        uv_poll_t poll;
        uv_signal_t sig;
    } uv;
};

/* SIGCHLD's before libuv's own, which libuv forgets. Weak: see sss_adapter_mask. */
__attribute__((weak)) struct sigaction sss_uv_former;

/* libuv's UV_HANDLE_CLOSED: it has called close_cb. It has no function that tells. */
#define SSS_UV_CLOSED 2u

static inline void sss_uv_readable(uv_poll_t *handle, int status, int events)
{
    (void)status;
    (void)events;
    sss_adapter_ready(handle->data);
}

static inline void sss_uv_signal_seen(uv_signal_t *handle, int signum)
{
    (void)signum;
    sss_adapter_ready(handle->data);
}

static inline void sss_uv_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static inline void sss_uv_unwatch(void *ptr)
{
    struct sss_uv_watch *watch = (struct sss_uv_watch *)ptr;
    struct sigaction now;
    int sigchld = watch->call.readable == NULL;

    if (!uv_is_closing(&watch->uv.handle)) {
        uv_close(&watch->uv.handle, sss_uv_closed);
    } else if (!(watch->uv.handle.flags & SSS_UV_CLOSED)) {
        watch->uv.handle.close_cb = sss_uv_closed; /* by the daemon's uv_walk() */
    } else {
        free(watch); /* by the same; the loop may be gone */
    }
    if (sigchld && sigaction(SIGCHLD, NULL, &now) == 0 && now.sa_handler == SIG_DFL) {
        (void)sigaction(SIGCHLD, &sss_uv_former, NULL);
    }
}

static inline errno_t sss_uv_start(void *ptr, void *loop_ptr, int fd)
{
    struct sss_uv_watch *watch = (struct sss_uv_watch *)ptr;
    uv_loop_t *loop = (uv_loop_t *)loop_ptr;
    int sigchld = watch->call.readable == NULL;
    struct sigaction former, now;
    int ret;

    (void)sigaction(SIGCHLD, NULL, &former);
    ret = sigchld ? uv_signal_init(loop, &watch->uv.sig)
                  : uv_poll_init(loop, &watch->uv.poll, fd);
    if (ret != 0) {
        free(watch);
        return -ret;
    }
    watch->uv.handle.data = watch;
    ret = sigchld ? uv_signal_start(&watch->uv.sig, sss_uv_signal_seen, SIGCHLD)
                  : uv_poll_start(&watch->uv.poll, UV_READABLE, sss_uv_readable);
    if (ret != 0) {
        sss_uv_unwatch(watch);
        return -ret;
    }
    /* Else it is libuv's already, for another context. */
    if (sigchld && sigaction(SIGCHLD, NULL, &now) == 0 && now.sa_handler != former.sa_handler) {
        sss_uv_former = former;
    }
    return 0;
}

/**
 * sss_uv_signal_host() takes SIGCHLD by a uv_signal_t, sss_uv_fd_host() needs no
 * signal. sss_uv_signalfd_host() blocks it: uv_spawn()'s exit callbacks do not come.
 */
SSS_ADAPTER_WATCH(sss_uv_watch_fd, struct sss_uv_watch, sss_uv_start)
SSS_ADAPTER_HOSTS(sss_uv, sss_uv_watch_fd, sss_uv_unwatch)
SSS_ADAPTER_SIGNALFD_HOST(sss_uv, sss_uv_watch_fd, sss_uv_unwatch)

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
    return sss_adapter_ctx_create(sss_uv_signal_host(), loop, scope, ctx);
}

/** As uv_process_t, for a child that anybody started; to be closed, also after its end. */
typedef struct sss_uv_child {
    void *data; /* yours */
    int pid;
    void (*exit_cb)(struct sss_uv_child *child, int64_t exit_status, int term_signal);
    struct sss_child_ctx *child;
} sss_uv_child_t;

static inline void sss_uv_child_ended(int pid, int wait_status, void *pvt)
{
    sss_uv_child_t *child = (sss_uv_child_t *)pvt;

    (void)pid;
    if (WIFEXITED(wait_status)) {
        child->exit_cb(child, WEXITSTATUS(wait_status), 0);
    } else if (WIFSIGNALED(wait_status)) {
        child->exit_cb(child, 0, WTERMSIG(wait_status));
    } else if (wait_status == SSS_WAIT_STATUS_LOST) { /* and not a stop */
        child->exit_cb(child, -ECHILD, 0);
    }
}

/**
 * As uv_spawn()'s exit_cb, for a pid.
 *
 * @return 0 or a negative error of libuv's.
 */
static inline int sss_uv_child_start(struct sss_sigchild_ctx *ctx, sss_uv_child_t *child, int pid,
                                     void (*exit_cb)(sss_uv_child_t *child, int64_t exit_status,
                                                     int term_signal))
{
    child->pid = pid;
    child->exit_cb = exit_cb;
    child->child = NULL;
    return -sss_child_register(NULL, ctx, pid, sss_uv_child_ended, child, &child->child);
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
