/*
 * What the headers for event loops share. For them, not for daemons.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef SSS_SIGCHLD_ADAPTER_H
#define SSS_SIGCHLD_ADAPTER_H

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <sss_sigchld.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a loop's watch begins with: what its event calls. */
struct sss_adapter_call {
    void (*readable)(void *arg); /* NULL: SIGCHLD */
    void *arg;                   /* readable's, or the context */
};

/*
 * A loop's start() has the loop call sss_adapter_ready(watch): when fd is readable, or
 * with SIGCHLD. The watch is zeroed but for its call; start() frees it where it fails.
 */
typedef errno_t sss_adapter_start_fn(void *watch, void *loop, int fd);

static inline errno_t sss_adapter_watch(size_t size, sss_adapter_start_fn *start, void *loop,
                                        int fd, void (*readable)(void *arg), void *arg,
                                        void **out)
{
    struct sss_adapter_call *call;
    errno_t ret;

    if (loop == NULL) {
        return EINVAL;
    }
    call = (struct sss_adapter_call *)calloc(1, size);
    if (call == NULL) {
        return ENOMEM;
    }
    call->readable = readable;
    call->arg = arg;
    ret = start(call, loop, fd);
    *out = ret == 0 ? call : NULL;
    return ret;
}

static inline void sss_adapter_ready(void *watch)
{
    const struct sss_adapter_call *call = (const struct sss_adapter_call *)watch;

    if (call->readable != NULL) {
        call->readable(call->arg);
    } else {
        (void)sss_sigchld_ctx_signalled((struct sss_sigchild_ctx *)call->arg, NULL);
    }
}

/*
 * SIGCHLD in the thread's mask. The thread's first context with a signal sets it, the
 * last one gives back what was. Weak: one for all units of a program or a plugin.
 */
struct sss_adapter_mask {
    unsigned contexts;
    int blocked; /* before the first */
};

__attribute__((weak)) __thread struct sss_adapter_mask sss_adapter_mask;

static inline void sss_adapter_mask_take(int how)
{
    sigset_t set, former;

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    (void)pthread_sigmask(how, &set, &former);
    if (sss_adapter_mask.contexts++ == 0) {
        sss_adapter_mask.blocked = sigismember(&former, SIGCHLD);
    }
}

static inline void sss_adapter_mask_give_back(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    if (sss_adapter_mask.contexts == 0) {
        return; /* the context was another thread's */
    }
    if (--sss_adapter_mask.contexts == 0) {
        (void)pthread_sigmask(sss_adapter_mask.blocked ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL);
    }
}

/* A signalfd for SIGCHLD, which the loop polls as it polls the context's descriptor. */
struct sss_adapter_signalfd {
    struct sss_sigchild_ctx *ctx;
    int fd;
};

typedef errno_t sss_adapter_watch_fn(void *owner, void *loop, int fd, void (*readable)(void *arg),
                                     void *arg, void **out);

static inline siginfo_t sss_adapter_siginfo(const struct signalfd_siginfo *seen)
{
    siginfo_t info;

    memset(&info, 0, sizeof(info));
    info.si_signo = SIGCHLD;
    info.si_code = seen->ssi_code;
    info.si_pid = (pid_t)seen->ssi_pid;
    return info;
}

static inline void sss_adapter_signalfd_read(void *arg)
{
    struct sss_adapter_signalfd *sfd = (struct sss_adapter_signalfd *)arg;
    struct signalfd_siginfo seen;
    siginfo_t info;

    /* Nothing to read is no error: another context's signalfd was faster. */
    if (read(sfd->fd, &seen, sizeof(seen)) == (ssize_t)sizeof(seen)) {
        info = sss_adapter_siginfo(&seen);
        (void)sss_sigchld_ctx_signalled(sfd->ctx, &info);
    }
}

/* With SIGCHLD ignored, or SA_NOCLDWAIT, there is neither a signal nor a status. */
static inline void sss_adapter_unignore_sigchld(void)
{
    struct sigaction act;

    if (sigaction(SIGCHLD, NULL, &act) == 0 &&
        (act.sa_handler == SIG_IGN || (act.sa_flags & SA_NOCLDWAIT))) {
        if (act.sa_handler == SIG_IGN) {
            act.sa_handler = SIG_DFL;
        }
        act.sa_flags &= ~SA_NOCLDWAIT;
        (void)sigaction(SIGCHLD, &act, NULL);
    }
}

static inline errno_t sss_adapter_signalfd_watch(sss_adapter_watch_fn *watch, void *owner,
                                                 void *loop, struct sss_sigchild_ctx *ctx,
                                                 void **out)
{
    struct sss_adapter_signalfd *sfd = (struct sss_adapter_signalfd *)calloc(1, sizeof(*sfd));
    errno_t ret;
    sigset_t set;

    if (sfd == NULL) {
        return ENOMEM;
    }
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sfd->ctx = ctx;
    sfd->fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    ret = sfd->fd == -1 ? errno : watch(owner, loop, sfd->fd, sss_adapter_signalfd_read, sfd, out);
    if (ret == 0) {
        sss_adapter_unignore_sigchld();
        sss_adapter_mask_take(SIG_BLOCK);
        return 0;
    }
    if (sfd->fd != -1) {
        (void)close(sfd->fd);
    }
    free(sfd);
    return ret;
}

/* Ends a watch of such a host. That of the signalfd also gives the mask back and closes the
 * signalfd. */
static inline void sss_adapter_signalfd_unwatch(void (*unwatch)(void *watch), void *watch)
{
    struct sss_adapter_call call = *(struct sss_adapter_call *)watch;

    unwatch(watch);
    if (call.readable == sss_adapter_signalfd_read) {
        sss_adapter_mask_give_back();
        (void)close(((struct sss_adapter_signalfd *)call.arg)->fd);
        free(call.arg);
    }
}

static inline errno_t sss_adapter_ctx_create(const struct sss_host *host, void *loop,
                                             uint32_t scope, struct sss_sigchild_ctx **ctx)
{
    struct sss_ctx_params params;

    memset(&params, 0, sizeof(params));
    params.size = sizeof(params);
    params.mask = SSS_CTX_PARAM_SCOPE;
    params.scope = scope;
    params.host = host;
    params.loop = loop;
    return sss_sigchld_ctx_create(&params, ctx);
}

/*
 * Defines a function that returns a host. watch_sigchld is NULL where the loop
 * takes no SIGCHLD; memory and deferral are the library's own.
 */
#define SSS_ADAPTER_HOST(function, watch_fd, watch_sigchld, unwatch)           \
    static inline const struct sss_host *function(void)                        \
    {                                                                          \
        static const struct sss_host host = {                                  \
            sizeof(struct sss_host), NULL, NULL, NULL, NULL, NULL,             \
            watch_fd, watch_sigchld, unwatch,                                  \
        };                                                                     \
                                                                               \
        return &host;                                                          \
    }

/* A host's watch_fd: a watch of that type, and the loop's start(). */
#define SSS_ADAPTER_WATCH(function, type, start)                               \
    static inline errno_t function(void *owner, void *loop, int fd,            \
                                   void (*readable)(void *arg), void *arg,     \
                                   void **out)                                 \
    {                                                                          \
        (void)owner;                                                           \
        return sss_adapter_watch(sizeof(type), start, loop, fd, readable, arg, \
                                 out);                                         \
    }

/* The two hosts of a loop whose watch() takes SIGCHLD where readable is NULL. */
#define SSS_ADAPTER_HOSTS(prefix, watch, unwatch)                              \
    static inline errno_t prefix##_watch_sigchld(void *owner, void *loop,      \
                                                 struct sss_sigchild_ctx *ctx, \
                                                 void **out)                   \
    {                                                                          \
        errno_t ret;                                                           \
                                                                               \
        sss_adapter_mask_take(SIG_UNBLOCK); /* before the loop does */         \
        ret = watch(owner, loop, SIGCHLD, NULL, ctx, out);                     \
        if (ret != 0) {                                                        \
            sss_adapter_mask_give_back();                                      \
        }                                                                      \
        return ret;                                                            \
    }                                                                          \
                                                                               \
    static inline void prefix##_unwatch_sigchld(void *ptr)                     \
    {                                                                          \
        int sigchld = ((struct sss_adapter_call *)ptr)->readable == NULL;      \
                                                                               \
        unwatch(ptr);                                                          \
        if (sigchld) {                                                         \
            sss_adapter_mask_give_back();                                      \
        }                                                                      \
    }                                                                          \
                                                                               \
    SSS_ADAPTER_HOST(prefix##_signal_host, watch, prefix##_watch_sigchld,      \
                     prefix##_unwatch_sigchld)                                 \
    SSS_ADAPTER_HOST(prefix##_fd_host, watch, NULL, unwatch)

/* A host of a loop's that takes SIGCHLD by a signalfd. */
#define SSS_ADAPTER_SIGNALFD_HOST(prefix, watch, unwatch)                           \
    static inline errno_t prefix##_watch_signalfd(void *owner, void *loop,          \
                                                  struct sss_sigchild_ctx *ctx,     \
                                                  void **out)                       \
    {                                                                               \
        return sss_adapter_signalfd_watch(watch, owner, loop, ctx, out);            \
    }                                                                               \
                                                                                    \
    static inline void prefix##_unwatch_signalfd(void *ptr)                         \
    {                                                                               \
        sss_adapter_signalfd_unwatch(unwatch, ptr);                                 \
    }                                                                               \
                                                                                    \
    SSS_ADAPTER_HOST(prefix##_signalfd_host, watch, prefix##_watch_signalfd,        \
                     prefix##_unwatch_signalfd)

#ifdef __cplusplus
}
#endif

#endif /* SSS_SIGCHLD_ADAPTER_H */
