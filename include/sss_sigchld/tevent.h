/*
 * libsss_sigchld: the host for talloc and tevent.
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

#include <sss_sigchld/adapter.h>
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

static inline int sss_tevent_signal_destructor(void *ptr)
{
    talloc_free(*(struct tevent_signal **)ptr);
    sss_adapter_mask_give_back();
    return 0;
}

static inline errno_t sss_tevent_watch_sigchld(void *owner, void *loop,
                                               struct sss_sigchild_ctx *ctx,
                                               void **watch)
{
    struct tevent_context *ev = (struct tevent_context *)loop;
    struct sigaction installed;
    struct tevent_signal **se;

    se = talloc_zero(*sss_tevent_end_of(owner), struct tevent_signal *);
    if (se == NULL) {
        return ENOMEM;
    }
    sss_adapter_mask_take(SIG_UNBLOCK);

    *se = tevent_add_signal(ev, se, SIGCHLD, SA_SIGINFO, sss_child_handler,
                            ctx);
    /*
     * All of a process's tevent handlers share what the first one installed;
     * without SA_SIGINFO there tevent has no siginfo_t to hand out.
     */
    if (*se != NULL && sigaction(SIGCHLD, NULL, &installed) == 0 &&
        !(installed.sa_flags & SA_SIGINFO)) {
        talloc_free(*se);
        *se = tevent_add_signal(ev, se, SIGCHLD, 0, sss_child_handler, ctx);
    }
    if (*se == NULL) {
        talloc_free(se);
        sss_adapter_mask_give_back();
        return EIO;
    }
    _talloc_set_destructor(se, sss_tevent_signal_destructor);
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
        sss_adapter_mask_give_back();
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
    info = sss_adapter_siginfo(&seen);
    sss_child_handler(ev, NULL, SIGCHLD, 1, &info, sfd->ctx);
}

static inline errno_t sss_tevent_watch_signalfd(void *owner, void *loop,
                                                struct sss_sigchild_ctx *ctx,
                                                void **watch)
{
    struct sss_tevent_signalfd *sfd;
    struct sigaction by_default;
    sigset_t sigchld;

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

    /* An ignored SIGCHLD, or SA_NOCLDWAIT, leaves nothing to wait for. */
    memset(&by_default, 0, sizeof(by_default));
    by_default.sa_handler = SIG_DFL;
    if (sigaction(SIGCHLD, &by_default, &sfd->former) != 0) {
        talloc_free(sfd);
        return EIO;
    }
    sss_adapter_mask_take(SIG_BLOCK);
    sfd->replaced = true;
    *watch = sfd;
    return 0;
}

/**
 * The same host with SIGCHLD taken by a signalfd: cheaper, as there is neither
 * a signal frame nor a wake-up pipe.
 *
 * For daemons that block SIGCHLD before they start threads. It is blocked in the
 * loop's thread until the last context is freed, and what the daemon itself forks
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

#ifdef __cplusplus
}
#endif

#endif /* SSS_SIGCHLD_TEVENT_H */
