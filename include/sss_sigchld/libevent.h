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

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>
#include <event2/event_struct.h>
#include <sss_sigchld.h>

#ifdef __cplusplus
extern "C" {
#endif

struct sss_libevent_watch {
    struct event event;
    void (*readable)(void *arg); /* NULL: SIGCHLD */
    void *arg;
};

static inline void sss_libevent_ready(evutil_socket_t fd, short what, void *arg)
{
    struct sss_libevent_watch *watch = (struct sss_libevent_watch *)arg;

    (void)fd;
    (void)what;
    if (watch->readable != NULL) {
        watch->readable(watch->arg);
    } else {
        (void)sss_sigchld_ctx_signalled((struct sss_sigchild_ctx *)watch->arg,
                                        NULL);
    }
}

static inline errno_t sss_libevent_watch_fd(void *owner, void *loop, int fd,
                                            void (*readable)(void *arg),
                                            void *arg, void **out)
{
    struct sss_libevent_watch *watch;
    short what = readable != NULL ? EV_READ : EV_SIGNAL;

    (void)owner;
    if (loop == NULL) {
        return EINVAL;
    }
    watch = (struct sss_libevent_watch *)calloc(1, sizeof(*watch));
    if (watch == NULL) {
        return ENOMEM;
    }
    watch->readable = readable;
    watch->arg = arg;
    if (event_assign(&watch->event, (struct event_base *)loop, fd,
                     (short)(what | EV_PERSIST), sss_libevent_ready,
                     watch) != 0 ||
        event_add(&watch->event, NULL) != 0) {
        free(watch);
        return EIO;
    }
    *out = watch;
    return 0;
}

static inline errno_t sss_libevent_watch_sigchld(void *owner, void *loop,
                                                 struct sss_sigchild_ctx *ctx,
                                                 void **out)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    if (pthread_sigmask(SIG_UNBLOCK, &set, NULL) != 0) {
        return EIO;
    }
    return sss_libevent_watch_fd(owner, loop, SIGCHLD, NULL, ctx, out);
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

/** The host that takes SIGCHLD by an evsignal: for one event_base at a time. */
static inline const struct sss_host *sss_libevent_signal_host(void)
{
    static const struct sss_host host = {
        sizeof(struct sss_host), NULL, NULL, NULL, NULL, NULL,
        sss_libevent_watch_fd, sss_libevent_watch_sigchld,
        sss_libevent_unwatch,
    };

    return &host;
}

/** The host that needs no signal: for any number of event_bases. */
static inline const struct sss_host *sss_libevent_fd_host(void)
{
    static const struct sss_host host = {
        sizeof(struct sss_host), NULL, NULL, NULL, NULL, NULL,
        sss_libevent_watch_fd, NULL, sss_libevent_unwatch,
    };

    return &host;
}

/**
 * Make a context on an event_base, with sss_libevent_signal_host().
 *
 * @param base   borrowed.
 * @param scope  SSS_SCOPE_REGISTERED or SSS_SCOPE_ALL.
 * @param ctx    written on success; free it with sss_sigchld_ctx_free().
 *
 * @return as sss_sigchld_ctx_create(); EIO where libevent takes no event.
 */
static inline errno_t sss_libevent_ctx_create(struct event_base *base,
                                              uint32_t scope,
                                              struct sss_sigchild_ctx **ctx)
{
    struct sss_ctx_params params;

    memset(&params, 0, sizeof(params));
    params.size = sizeof(params);
    params.mask = SSS_CTX_PARAM_SCOPE;
    params.scope = scope;
    params.host = sss_libevent_signal_host();
    params.loop = base;
    return sss_sigchld_ctx_create(&params, ctx);
}

/**
 * As event_new(): watch a child.
 *
 * @return the handle, which sss_child_free() frees, also inside fn; NULL with
 *         errno set as by sss_child_register().
 */
static inline struct sss_child_ctx *
sss_libevent_child_new(struct sss_sigchild_ctx *ctx, pid_t pid,
                       void (*fn)(int pid, int wait_status, void *arg),
                       void *arg)
{
    struct sss_child_ctx *child = NULL;
    errno_t ret = sss_child_register(NULL, ctx, pid, fn, arg, &child);

    if (ret != 0) {
        errno = ret;
        return NULL;
    }
    return child;
}

#ifdef __cplusplus
}
#endif

#endif /* SSS_SIGCHLD_LIBEVENT_H */
