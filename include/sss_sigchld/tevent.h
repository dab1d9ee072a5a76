/*
 * libsss_sigchld: the host for talloc and tevent, and SSSD's two interfaces.
 *
 * Contexts and handles are talloc objects of the daemon's own libtalloc, named
 * "struct sss_sigchild_ctx" and "struct sss_child_ctx"; callbacks come from a
 * tevent_immediate, in the loop's next iteration. Nothing here may be called
 * from another thread than the loop's. See sss_sigchld_tevent(3).
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef SSS_SIGCHLD_TEVENT_H
#define SSS_SIGCHLD_TEVENT_H

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/types.h>
#include <unistd.h>

#include <sss_sigchld.h>
#include <talloc.h>

#ifdef __cplusplus
extern "C" {
#endif

#include <tevent.h>

/*
 * Memory. A daemon may put its own destructor on any object, in talloc's only
 * slot, and may allocate below it. So gone() has two ways to run: from a
 * destructor on the object, before anything below it is freed, and where the
 * daemon's destructor took that one's place, from one on a hidden chunk below
 * the object. What must outlive gone() is allocated below the hidden chunk, to
 * which the last bytes of the object point.
 */

struct sss_tevent_end {
    void *memory;
    void (*gone)(void *memory);
};

static inline struct sss_tevent_end **sss_tevent_end_of(void *memory)
{
    size_t size = talloc_get_size(memory);

    return (struct sss_tevent_end **)(void *)((char *)memory + size) - 1;
}

static inline int sss_tevent_end_destructor(void *ptr)
{
    struct sss_tevent_end *end = (struct sss_tevent_end *)ptr;
    void (*gone)(void *memory) = end->gone;

    end->gone = NULL;
    if (gone != NULL) {
        gone(end->memory);
    }
    return 0;
}

static inline int sss_tevent_object_destructor(void *memory)
{
    return sss_tevent_end_destructor(*sss_tevent_end_of(memory));
}

static inline void *sss_tevent_alloc(void *parent, size_t size,
                                     const char *type_name,
                                     void (*gone)(void *memory))
{
    const size_t word = sizeof(struct sss_tevent_end *);
    struct sss_tevent_end *end;
    void *memory;

    memory = talloc_zero_size(parent, (size + word - 1) / word * word + word);
    if (memory == NULL) {
        return NULL;
    }
    talloc_set_name_const(memory, type_name);
    if (gone == NULL) {
        return memory;
    }

    end = talloc(memory, struct sss_tevent_end);
    if (end == NULL) {
        talloc_free(memory);
        return NULL;
    }
    end->memory = memory;
    end->gone = gone;
    *sss_tevent_end_of(memory) = end;
    _talloc_set_destructor(end, sss_tevent_end_destructor);
    _talloc_set_destructor(memory, sss_tevent_object_destructor);
    return memory;
}

static inline int sss_tevent_free(void *memory)
{
    return talloc_free(memory);
}

/*
 * Deferred calls. tevent keeps an event that is freed while its handler runs,
 * and frees it afterwards; talloc moves it to what is left above it until then.
 */

struct sss_tevent_deferral {
    struct tevent_context *ev; /* NULL after the loop's end */
    struct sss_tevent_deferral **at_ev;
    struct tevent_immediate *im;
    void (*fn)(void *arg);
    void *arg;
    bool due;
};

/* On a chunk below ev: the loop may be freed before the context. */
static inline int sss_tevent_ev_destructor(void *ptr)
{
    struct sss_tevent_deferral *deferral = *(struct sss_tevent_deferral **)ptr;

    deferral->ev = NULL;
    deferral->at_ev = NULL;
    return 0;
}

static inline int sss_tevent_deferral_destructor(void *ptr)
{
    struct sss_tevent_deferral *deferral = (struct sss_tevent_deferral *)ptr;

    TALLOC_FREE(deferral->at_ev);
    return 0;
}

static inline void *sss_tevent_defer_new(void *owner, void *loop,
                                         void (*fn)(void *arg), void *arg)
{
    struct sss_tevent_deferral *deferral;

    deferral = talloc_zero(*sss_tevent_end_of(owner),
                           struct sss_tevent_deferral);
    if (deferral == NULL) {
        return NULL;
    }
    deferral->ev = (struct tevent_context *)loop;
    deferral->fn = fn;
    deferral->arg = arg;
    _talloc_set_destructor(deferral, sss_tevent_deferral_destructor);

    deferral->im = tevent_create_immediate(deferral);
    if (deferral->im == NULL) {
        talloc_free(deferral);
        return NULL;
    }
    deferral->at_ev = talloc(loop, struct sss_tevent_deferral *);
    if (deferral->at_ev == NULL) {
        talloc_free(deferral);
        return NULL;
    }
    *deferral->at_ev = deferral;
    _talloc_set_destructor(deferral->at_ev, sss_tevent_ev_destructor);
    return deferral;
}

static inline void sss_tevent_deferred(struct tevent_context *ev,
                                       struct tevent_immediate *im,
                                       void *private_data)
{
    struct sss_tevent_deferral *deferral;

    (void)ev;
    (void)im;
    deferral = (struct sss_tevent_deferral *)private_data;
    deferral->due = false;
    deferral->fn(deferral->arg);
}

static inline void sss_tevent_defer(void *ptr)
{
    struct sss_tevent_deferral *deferral = (struct sss_tevent_deferral *)ptr;

    if (deferral->due || deferral->ev == NULL) {
        return;
    }
    deferral->due = true;
    _tevent_schedule_immediate(deferral->im, deferral->ev, sss_tevent_deferred,
                               deferral, "sss_tevent_deferred", __location__);
}

static inline void sss_tevent_defer_free(void *deferral)
{
    talloc_free(deferral);
}

/* The context's descriptor. */

struct sss_tevent_readable {
    void (*readable)(void *arg);
    void *arg;
};

static inline void sss_tevent_fd_handler(struct tevent_context *ev,
                                         struct tevent_fd *fde, uint16_t flags,
                                         void *private_data)
{
    struct sss_tevent_readable *call;

    (void)ev;
    (void)fde;
    (void)flags;
    call = (struct sss_tevent_readable *)private_data;
    call->readable(call->arg);
}

static inline errno_t sss_tevent_watch_fd(void *owner, void *loop, int fd,
                                          void (*readable)(void *arg),
                                          void *arg, void **watch)
{
    struct sss_tevent_end *end = *sss_tevent_end_of(owner);
    struct sss_tevent_readable *call;
    struct tevent_fd *fde;

    if (loop == NULL) {
        return EINVAL;
    }
    call = talloc(end, struct sss_tevent_readable);
    if (call == NULL) {
        return ENOMEM;
    }
    call->readable = readable;
    call->arg = arg;
    fde = tevent_add_fd((struct tevent_context *)loop, end, fd, TEVENT_FD_READ,
                        sss_tevent_fd_handler, call);
    if (fde == NULL) {
        talloc_free(call);
        return ENOMEM;
    }
    (void)talloc_reparent(end, fde, call);
    *watch = fde;
    return 0;
}

/* SIGCHLD by tevent's own handler. */

static inline errno_t sss_tevent_watch_sigchld(void *owner, void *loop,
                                               struct sss_sigchild_ctx *ctx,
                                               void **watch)
{
    struct sss_tevent_end *end = *sss_tevent_end_of(owner);
    struct tevent_context *ev = (struct tevent_context *)loop;
    struct tevent_signal *se;
    struct sigaction installed;
    sigset_t sigchld, former;

    sigemptyset(&sigchld);
    sigaddset(&sigchld, SIGCHLD);
    if (pthread_sigmask(SIG_UNBLOCK, &sigchld, &former) != 0) {
        return EIO;
    }

    se = tevent_add_signal(ev, end, SIGCHLD, SA_SIGINFO, sss_child_handler,
                           ctx);
    /*
     * All of a process's tevent handlers share what the first one installed;
     * without SA_SIGINFO there tevent has no siginfo_t to hand out.
     */
    if (se != NULL && sigaction(SIGCHLD, NULL, &installed) == 0 &&
        !(installed.sa_flags & SA_SIGINFO)) {
        talloc_free(se);
        se = tevent_add_signal(ev, end, SIGCHLD, 0, sss_child_handler, ctx);
    }
    if (se == NULL) {
        (void)pthread_sigmask(SIG_SETMASK, &former, NULL);
        return EIO;
    }
    *watch = se;
    return 0;
}

static inline void sss_tevent_unwatch(void *watch)
{
    talloc_free(watch);
}

/**
 * The host for talloc and tevent, with SIGCHLD taken by tevent_add_signal().
 *
 * @return the table, in static memory; for struct sss_ctx_params or
 *         sss_host_set_default().
 *
 * Thread-safe.
 */
static inline const struct sss_host *sss_tevent_host(void)
{
    static const struct sss_host host = {
        sizeof(struct sss_host), sss_tevent_alloc,
        sss_tevent_free,         sss_tevent_defer_new,
        sss_tevent_defer,        sss_tevent_defer_free,
        sss_tevent_watch_fd,     sss_tevent_watch_sigchld,
        sss_tevent_unwatch,
    };

    return &host;
}

/* SIGCHLD by a signalfd. */

struct sss_tevent_signalfd {
    int fd;
    struct tevent_fd *fde;
    struct sss_sigchild_ctx *ctx;
    bool replaced;
    struct sigaction former;
};

static inline int sss_tevent_signalfd_destructor(void *ptr)
{
    struct sss_tevent_signalfd *sfd = (struct sss_tevent_signalfd *)ptr;

    TALLOC_FREE(sfd->fde); /* it must not outlive its descriptor */
    if (sfd->fd != -1) {
        (void)close(sfd->fd);
    }
    if (sfd->replaced) {
        (void)sigaction(SIGCHLD, &sfd->former, NULL);
    }
    return 0;
}

static inline void sss_tevent_signalfd_handler(struct tevent_context *ev,
                                               struct tevent_fd *fde,
                                               uint16_t flags,
                                               void *private_data)
{
    struct sss_tevent_signalfd *sfd;
    struct signalfd_siginfo seen;
    siginfo_t info;

    (void)fde;
    (void)flags;
    sfd = (struct sss_tevent_signalfd *)private_data;
    /* Nothing to read is no error: another context's signalfd was faster. */
    if (read(sfd->fd, &seen, sizeof(seen)) != (ssize_t)sizeof(seen)) {
        return;
    }
    memset(&info, 0, sizeof(info));
    info.si_signo = SIGCHLD;
    info.si_code = seen.ssi_code;
    info.si_pid = (pid_t)seen.ssi_pid;
    sss_child_handler(ev, NULL, SIGCHLD, 1, &info, sfd->ctx);
}

static inline errno_t sss_tevent_watch_signalfd(void *owner, void *loop,
                                                struct sss_sigchild_ctx *ctx,
                                                void **watch)
{
    struct sss_tevent_signalfd *sfd;
    struct sigaction by_default;
    sigset_t sigchld, former;

    sfd = talloc_zero(*sss_tevent_end_of(owner), struct sss_tevent_signalfd);
    if (sfd == NULL) {
        return ENOMEM;
    }
    sfd->ctx = ctx;
    sfd->fd = -1;
    _talloc_set_destructor(sfd, sss_tevent_signalfd_destructor);

    sigemptyset(&sigchld);
    sigaddset(&sigchld, SIGCHLD);
    sfd->fd = signalfd(-1, &sigchld, SFD_CLOEXEC | SFD_NONBLOCK);
    if (sfd->fd == -1) {
        errno_t ret = errno;

        talloc_free(sfd);
        return ret;
    }
    sfd->fde = tevent_add_fd((struct tevent_context *)loop, sfd, sfd->fd,
                             TEVENT_FD_READ, sss_tevent_signalfd_handler, sfd);
    if (sfd->fde == NULL) {
        talloc_free(sfd);
        return ENOMEM;
    }

    if (pthread_sigmask(SIG_BLOCK, &sigchld, &former) != 0) {
        talloc_free(sfd);
        return EIO;
    }
    /* An ignored SIGCHLD, or SA_NOCLDWAIT, leaves nothing to wait for. */
    memset(&by_default, 0, sizeof(by_default));
    by_default.sa_handler = SIG_DFL;
    if (sigaction(SIGCHLD, &by_default, &sfd->former) != 0) {
        (void)pthread_sigmask(SIG_SETMASK, &former, NULL);
        talloc_free(sfd);
        return EIO;
    }
    sfd->replaced = true;
    *watch = sfd;
    return 0;
}

/**
 * The same host with SIGCHLD taken by a signalfd: cheaper, as there is neither
 * a signal frame nor a wake-up pipe.
 *
 * For daemons that block SIGCHLD before they start threads. It stays blocked in
 * the loop's thread after the context's end, and what the daemon itself forks
 * inherits that. Of several such contexts free the last one first: each gives
 * back the disposition that it found.
 *
 * @return the table, in static memory.
 *
 * Thread-safe.
 */
static inline const struct sss_host *sss_tevent_signalfd_host(void)
{
    static const struct sss_host host = {
        sizeof(struct sss_host), sss_tevent_alloc,
        sss_tevent_free,         sss_tevent_defer_new,
        sss_tevent_defer,        sss_tevent_defer_free,
        sss_tevent_watch_fd,     sss_tevent_watch_signalfd,
        sss_tevent_unwatch,
    };

    return &host;
}

/**
 * SSSD's way to make a context: every child of the process, no stops.
 *
 * @param mem_ctx    the parent of the context, or NULL.
 * @param ev         the loop, borrowed.
 * @param child_ctx  written on success only; free it with talloc_free().
 *
 * @return 0; EINVAL for a NULL ev or child_ctx; ENOMEM; EMFILE; EIO where
 *         tevent does not take SIGCHLD. Nothing has changed then.
 *
 * From the loop's thread.
 */
static inline errno_t sss_sigchld_init(TALLOC_CTX *mem_ctx,
                                       struct tevent_context *ev,
                                       struct sss_sigchild_ctx **child_ctx)
{
    struct sss_ctx_params params;

    if (ev == NULL) {
        return EINVAL;
    }
    memset(&params, 0, sizeof(params));
    params.size = sizeof(params);
    params.mask = SSS_CTX_PARAM_SCOPE;
    params.scope = SSS_SCOPE_ALL;
    params.host = sss_tevent_host();
    params.memctx = mem_ctx;
    params.loop = ev;
    return sss_sigchld_ctx_create(&params, child_ctx);
}

/* One child, one callback, no context in sight. */

/**
 * Told of a child's end.
 *
 * @param child_status  as waitpid(2) gives it, or SSS_WAIT_STATUS_LOST.
 * @param sige          NULL: there is no signal event per child.
 * @param pvt           as given to sss_child_handler_setup().
 */
typedef void (*sss_child_callback_t)(int child_status,
                                     struct tevent_signal *sige, void *pvt);

/** What sss_child_handler_setup() makes. */
struct sss_child_ctx_old {
    struct sss_child_ctx *child;
    sss_child_callback_t cb;
    void *pvt;
    struct sss_child_ctx_old **at_pvt;
    struct sss_tevent_ending *ending;
};

/* Outlives a handler that its own callback frees. */
struct sss_tevent_ending {
    struct sss_child_ctx_old *handler;
    bool in_callback;
};

/* Below ev, found by its name: the context of all its handlers. */
struct sss_tevent_handlers {
    struct sss_sigchild_ctx *sigchld_ctx;
};

static inline void sss_tevent_find_handlers(const void *ptr, int depth,
                                            int max_depth, int is_ref,
                                            void *private_data)
{
    const void **found = (const void **)private_data;

    (void)max_depth;
    if (depth == 1 && !is_ref &&
        talloc_check_name(ptr, "struct sss_tevent_handlers") != NULL) {
        *found = ptr;
    }
}

static inline errno_t
sss_tevent_handlers_ctx(struct tevent_context *ev,
                        struct sss_sigchild_ctx **sigchld_ctx)
{
    struct sss_tevent_handlers *handlers = NULL;
    struct sss_ctx_params params;
    errno_t ret;

    talloc_report_depth_cb(ev, 0, 1, sss_tevent_find_handlers, &handlers);
    if (handlers != NULL) {
        *sigchld_ctx = handlers->sigchld_ctx;
        return 0;
    }

    handlers = talloc_zero(ev, struct sss_tevent_handlers);
    if (handlers == NULL) {
        return ENOMEM;
    }
    memset(&params, 0, sizeof(params));
    params.size = sizeof(params);
    params.host = sss_tevent_host();
    params.memctx = handlers;
    params.loop = ev;
    ret = sss_sigchld_ctx_create(&params, &handlers->sigchld_ctx);
    if (ret != 0) {
        talloc_free(handlers);
        return ret;
    }
    *sigchld_ctx = handlers->sigchld_ctx;
    return 0;
}

static inline void sss_tevent_handler_cancel(struct sss_child_ctx_old *handler)
{
    handler->cb = NULL;
    handler->pvt = NULL;
    TALLOC_FREE(handler->at_pvt);
}

/* On a chunk below pvt. */
static inline int sss_tevent_pvt_destructor(void *ptr)
{
    struct sss_child_ctx_old *handler = *(struct sss_child_ctx_old **)ptr;

    handler->at_pvt = NULL;
    sss_tevent_handler_cancel(handler);
    return 0;
}

static inline void sss_tevent_handler_gone(void *memory)
{
    struct sss_child_ctx_old *handler = (struct sss_child_ctx_old *)memory;

    sss_tevent_handler_cancel(handler);
    if (handler->ending == NULL) {
        return;
    }
    handler->ending->handler = NULL;
    if (!handler->ending->in_callback) {
        talloc_free(handler->ending);
    }
}

static inline void sss_tevent_handler_ended(int pid, int wait_status, void *pvt)
{
    struct sss_tevent_ending *ending = (struct sss_tevent_ending *)pvt;
    struct sss_child_ctx_old *handler = ending->handler;

    (void)pid;
    ending->in_callback = true;
    if (handler->cb != NULL) {
        handler->cb(wait_status, NULL, handler->pvt);
    }
    if (ending->handler != NULL) {
        handler->ending = NULL;
        talloc_free(handler);
    }
    talloc_free(ending);
}

static inline errno_t
sss_tevent_handler_register(struct sss_child_ctx_old *handler,
                            struct sss_sigchild_ctx *sigchld_ctx, int pid)
{
    return sss_child_register(handler, sigchld_ctx, pid,
                              sss_tevent_handler_ended, handler->ending,
                              &handler->child);
}

/**
 * SSSD's child_handler_setup(): call back once when one child ends.
 *
 * All handlers of a loop share one context, of scope REGISTERED, that lives as
 * long as the loop: any number of them costs one signal handler, and nobody
 * else's child is ever waited for. A second handler for the same child takes
 * the first one's place.
 *
 * @param ev         the loop, which owns the handler.
 * @param pid        a child of this process, greater than 0.
 * @param cb         the callback, or NULL: the child is reaped all the same.
 * @param pvt        handed to cb: a talloc object, whose end cancels the
 *                   callback, or NULL.
 * @param child_ctx  NULL, or written on success. It is freed after the callback;
 *                   freeing it earlier, also from inside the callback, ends the
 *                   watch, and the child is still reaped.
 *
 * @return 0; EINVAL for a NULL ev or pid <= 0; ESRCH where pid is no child of
 *         this process; ENOMEM; EMFILE, EIO: as sss_sigchld_init(). Nothing has
 *         changed then.
 *
 * From the loop's thread. In a forked child after tevent_re_initialise().
 */
static inline errno_t
sss_child_handler_setup(struct tevent_context *ev, int pid,
                        sss_child_callback_t cb, void *pvt,
                        struct sss_child_ctx_old **child_ctx)
{
    struct sss_child_ctx_old *handler;
    struct sss_sigchild_ctx *sigchld_ctx;
    errno_t ret;

    if (ev == NULL || pid <= 0) {
        return EINVAL;
    }
    ret = sss_tevent_handlers_ctx(ev, &sigchld_ctx);
    if (ret != 0) {
        return ret;
    }
    handler = (struct sss_child_ctx_old *)sss_tevent_alloc(
        ev, sizeof(*handler), "struct sss_child_ctx_old",
        sss_tevent_handler_gone);
    if (handler == NULL) {
        return ENOMEM;
    }
    handler->cb = cb;
    handler->pvt = pvt;
    handler->ending = talloc_zero(NULL, struct sss_tevent_ending);
    if (handler->ending == NULL) {
        talloc_free(handler);
        return ENOMEM;
    }
    handler->ending->handler = handler;
    if (pvt != NULL) {
        handler->at_pvt = talloc(pvt, struct sss_child_ctx_old *);
        if (handler->at_pvt == NULL) {
            talloc_free(handler);
            return ENOMEM;
        }
        *handler->at_pvt = handler;
        _talloc_set_destructor(handler->at_pvt, sss_tevent_pvt_destructor);
    }

    ret = sss_tevent_handler_register(handler, sigchld_ctx, pid);
    if (ret == ECHILD) {
        /* Made before a fork: this process has the loop, so it may go on. */
        ret = sss_sigchld_ctx_after_fork(sigchld_ctx);
        if (ret == 0) {
            ret = sss_tevent_handler_register(handler, sigchld_ctx, pid);
        }
    }
    if (ret != 0) {
        talloc_free(handler);
        return ret;
    }
    if (child_ctx != NULL) {
        *child_ctx = handler;
    }
    return 0;
}

/**
 * SSSD's child_handler_destroy(): no callback any more, kill the child, reap it.
 *
 * @param child_ctx  the handler, which frees itself once the child is reaped;
 *                   NULL is allowed.
 *
 * From the loop's thread.
 */
static inline void sss_child_handler_destroy(struct sss_child_ctx_old *child_ctx)
{
    if (child_ctx == NULL) {
        return;
    }
    sss_tevent_handler_cancel(child_ctx);
    /* Where it has ended already there is nobody left to kill. */
    (void)sss_child_kill(child_ctx->child, SIGKILL);
}

#ifdef __cplusplus
}
#endif

#endif /* SSS_SIGCHLD_TEVENT_H */
