/*
 * libsss_sigchld on libev.
 *
 * A context belongs to the thread that makes it, which must run the loop, and
 * keeps the loop alive. It may be freed in any callback, and before the loop or
 * after it.
 *
 * libev's default loop waits for every child of the process, watched or not.
 * While a context is on the default loop it does not, and ev_child watchers hear
 * nothing. See sss_sigchld_adapters(7).
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef SSS_SIGCHLD_LIBEV_H
#define SSS_SIGCHLD_LIBEV_H

#include <ev.h>
#include <sss_sigchld/adapter.h>
#include <sss_sigchld/libev_reaper.h>

#ifdef __cplusplus
extern "C" {
#endif

struct sss_ev_watch {
    struct sss_adapter_call call;
    struct ev_loop *loop; /* NULL: destroyed */
    ev_cleanup cleanup;
    union {
        ev_watcher any;
        ev_io io;
        ev_signal sig;
    } on;
    ev_signal *reaper; /* libev's own, which does nothing meanwhile */
};

static inline void sss_ev_stop(struct sss_ev_watch *watch)
{
    if (watch->reaper != NULL) {
        sss_ev_let_reap(watch->reaper);
    }
    if (watch->call.readable != NULL) {
        ev_io_stop(watch->loop, &watch->on.io);
    } else {
        ev_signal_stop(watch->loop, &watch->on.sig);
    }
    ev_cleanup_stop(watch->loop, &watch->cleanup);
    watch->loop = NULL;
}

static inline void sss_ev_loop_gone(struct ev_loop *loop, ev_cleanup *cleanup, int events)
{
    (void)loop;
    (void)events;
    sss_ev_stop((struct sss_ev_watch *)cleanup->data);
}

static inline void sss_ev_unwatch(void *ptr)
{
    struct sss_ev_watch *watch = (struct sss_ev_watch *)ptr;
    struct ev_loop *loop = watch->loop;

    if (loop != NULL) {
        sss_ev_stop(watch);
        if (watch->reaper != NULL) {
            sss_ev_reap_again(loop, watch->reaper);
        }
    }
    free(watch);
}

static inline void sss_ev_ready(struct ev_loop *loop, ev_watcher *on, int events)
{
    (void)loop;
    (void)events;
    sss_adapter_ready(on->data);
}

static inline errno_t sss_ev_start_beside(void *ptr, void *loop, int fd)
{
    struct sss_ev_watch *watch = (struct sss_ev_watch *)ptr;

    watch->loop = (struct ev_loop *)loop;
    watch->on.any.data = watch->cleanup.data = watch;
    ev_init(&watch->on.any, sss_ev_ready);
    ev_cleanup_init(&watch->cleanup, sss_ev_loop_gone);
    ev_cleanup_start(watch->loop, &watch->cleanup);
    if (watch->call.readable != NULL) {
        ev_io_set(&watch->on.io, fd, EV_READ);
        ev_io_start(watch->loop, &watch->on.io);
    } else {
        ev_signal_set(&watch->on.sig, SIGCHLD);
        ev_signal_start(watch->loop, &watch->on.sig);
    }
    return 0;
}

static inline errno_t sss_ev_start(void *ptr, void *loop, int fd)
{
    struct sss_ev_watch *watch = (struct sss_ev_watch *)ptr;
    errno_t ret = sss_ev_start_beside(ptr, loop, fd);

    if (watch->call.readable != NULL && ev_is_default_loop(watch->loop)) {
        ret = sss_ev_hold_reaper(watch->loop, &watch->reaper);
        if (ret != 0) {
            sss_ev_unwatch(watch);
        }
    }
    return ret;
}

SSS_ADAPTER_WATCH(sss_ev_watch_fd, struct sss_ev_watch, sss_ev_start)
SSS_ADAPTER_WATCH(sss_ev_watch_beside, struct sss_ev_watch, sss_ev_start_beside)

/**
 * sss_ev_signal_host() takes SIGCHLD by an ev_signal, which libev has on one loop
 * of the process at a time. sss_ev_fd_host() needs no signal: for any number of
 * loops.
 */
SSS_ADAPTER_HOSTS(sss_ev, sss_ev_watch_fd, sss_ev_unwatch)
SSS_ADAPTER_SIGNALFD_HOST(sss_ev, sss_ev_watch_fd, sss_ev_unwatch)

/**
 * A host as sss_ev_fd_host(), with libev's reaper left alone, so that ev_child
 * watchers of the default loop go on. It takes the library's children's statuses
 * too, which Linux gives back by their pidfds from 6.15 on; SSS_WAIT_STATUS_LOST
 * before. Set SSS_CTX_UNTRUSTED with it.
 */
SSS_ADAPTER_HOST(sss_ev_beside_host, sss_ev_watch_beside, NULL, sss_ev_unwatch)

/**
 * Make a context on a loop: on the default one with sss_ev_signal_host(), on any
 * other with sss_ev_fd_host().
 *
 * @param loop   borrowed.
 * @param scope  SSS_SCOPE_REGISTERED or SSS_SCOPE_ALL.
 * @param ctx    written on success; free it with sss_sigchld_ctx_free().
 *
 * @return as sss_sigchld_ctx_create().
 */
static inline errno_t sss_ev_ctx_create(struct ev_loop *loop, uint32_t scope,
                                        struct sss_sigchild_ctx **ctx)
{
    return sss_adapter_ctx_create(ev_is_default_loop(loop) ? sss_ev_signal_host()
                                                           : sss_ev_fd_host(),
                                  loop, scope, ctx);
}

/** As ev_child, on any loop; yours, until it is stopped. The context's options say whether
 * stops and continues are told. */
struct sss_ev_child {
    void *data;  /* rw: yours */
    int pid;     /* ro */
    int rpid;    /* rw, holds the exit status */
    int rstatus; /* rw, may be SSS_WAIT_STATUS_LOST */
    void (*cb)(struct ev_loop *loop, struct sss_ev_child *w, int revents);
    struct ev_loop *loop;
    struct sss_child_ctx *child;
};

static inline void sss_ev_child_init(struct sss_ev_child *w,
                                     void (*cb)(struct ev_loop *loop, struct sss_ev_child *w,
                                                int revents),
                                     int pid)
{
    memset(w, 0, sizeof(*w));
    w->cb = cb;
    w->pid = pid;
}

static inline void sss_ev_child_ended(int pid, int wait_status, void *pvt)
{
    struct sss_ev_child *w = (struct sss_ev_child *)pvt;

    w->rpid = pid;
    w->rstatus = wait_status;
    w->cb(w->loop, w, EV_CHILD);
}

/** As ev_child_start(). @return 0, or as sss_child_register(). */
static inline errno_t sss_ev_child_start(struct sss_sigchild_ctx *ctx, struct ev_loop *loop,
                                         struct sss_ev_child *w)
{
    w->loop = loop;
    return sss_child_register(NULL, ctx, w->pid, sss_ev_child_ended, w, &w->child);
}

/** As ev_child_stop(): also in its callback, after it, and twice. */
static inline void sss_ev_child_stop(struct sss_ev_child *w)
{
    (void)sss_child_free(w->child);
    w->child = NULL;
}

#ifdef __cplusplus
}
#endif

#endif /* SSS_SIGCHLD_LIBEV_H */
