/*
 * libsss_sigchld on libevent 2.
 *
 * A context belongs to the thread that makes it, which must run the loop. It
 * may be freed in any callback, and before the event_base or after it. See
 * sss_sigchld_adapters(7).
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef SSS_SIGCHLD_LIBEVENT_H
#define SSS_SIGCHLD_LIBEVENT_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <sss_sigchld/adapter.h>

#ifdef __cplusplus
extern "C" {
#endif

struct sss_libevent_watch {
    struct sss_adapter_call call;
    struct event event;
};

static inline void sss_libevent_ready(evutil_socket_t fd, short what, void *watch)
{
    (void)fd;
    (void)what;
    sss_adapter_ready(watch);
}

static inline errno_t sss_libevent_start(void *ptr, void *base, int fd)
{
    struct sss_libevent_watch *watch = (struct sss_libevent_watch *)ptr;
    short what = EV_PERSIST | (watch->call.readable != NULL ? EV_READ : EV_SIGNAL);

    if (event_assign(&watch->event, (struct event_base *)base, fd, what, sss_libevent_ready,
                     watch) != 0 ||
        event_add(&watch->event, NULL) != 0) {
        free(watch);
        return EIO;
    }
    return 0;
}

static inline void sss_libevent_unwatch(void *ptr)
{
    struct sss_libevent_watch *watch = (struct sss_libevent_watch *)ptr;

    /* event_base_free() takes its events out; ev_base is dangling then. */
    if (watch->event.ev_evcallback.evcb_flags & EVLIST_INSERTED) {
        (void)event_del(&watch->event);
    }
    free(watch);
}

/**
 * sss_libevent_signal_host() takes SIGCHLD by an evsignal: for one event_base at
 * a time. sss_libevent_fd_host() needs no signal: for any number of them.
 */
SSS_ADAPTER_WATCH(sss_libevent_watch_fd, struct sss_libevent_watch, sss_libevent_start)
SSS_ADAPTER_HOSTS(sss_libevent, sss_libevent_watch_fd, sss_libevent_unwatch)
SSS_ADAPTER_SIGNALFD_HOST(sss_libevent, sss_libevent_watch_fd, sss_libevent_unwatch)

/**
 * Make a context on an event_base, with sss_libevent_signal_host().
 *
 * @param base   borrowed.
 * @param scope  SSS_SCOPE_REGISTERED or SSS_SCOPE_ALL.
 * @param ctx    written on success; free it with sss_sigchld_ctx_free().
 *
 * @return as sss_sigchld_ctx_create(); EIO where libevent takes no event.
 */
static inline errno_t sss_libevent_ctx_create(struct event_base *base, uint32_t scope,
                                              struct sss_sigchild_ctx **ctx)
{
    return sss_adapter_ctx_create(sss_libevent_signal_host(), base, scope, ctx);
}

/**
 * As event_new(): watch a child.
 *
 * @return the handle, which sss_child_free() frees, also inside fn; NULL with
 *         errno set as by sss_child_register().
 */
static inline struct sss_child_ctx *
sss_libevent_child_new(struct sss_sigchild_ctx *ctx, pid_t pid,
                       void (*fn)(int pid, int wait_status, void *arg), void *arg)
{
    struct sss_child_ctx *child = NULL;
    errno_t ret = sss_child_register(NULL, ctx, pid, fn, arg, &child);

    if (ret != 0) {
        errno = ret;
    }
    return child;
}

#ifdef __cplusplus
}
#endif

#endif /* SSS_SIGCHLD_LIBEVENT_H */
