/*
 * libsss_sigchld: SSSD's two interfaces, on talloc and tevent.
 *
 * sss_sigchld_init() has SSSD's name and signature; sss_child_handler_setup()
 * and sss_child_handler_destroy() are its child_handler_setup() and
 * child_handler_destroy(). Nothing here may be called from another thread than
 * the loop's. See sss_sigchld_sssd(3).
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef SSS_SIGCHLD_SSSD_H
#define SSS_SIGCHLD_SSSD_H

#include <sss_sigchld/tevent.h>

#ifdef __cplusplus
extern "C" {
#endif

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
    struct sss_sssd_ending *ending;
};

/* Outlives a handler that its own callback frees. */
struct sss_sssd_ending {
    struct sss_child_ctx_old *handler;
    bool in_callback;
};

/* Below ev, found by its name: the context of all its handlers. */
struct sss_sssd_handlers {
    struct sss_sigchild_ctx *sigchld_ctx;
};

static inline void sss_sssd_find_handlers(const void *ptr, int depth,
                                            int max_depth, int is_ref,
                                            void *private_data)
{
    const void **found = (const void **)private_data;

    (void)max_depth;
    if (depth == 1 && !is_ref &&
        talloc_check_name(ptr, "struct sss_sssd_handlers") != NULL) {
        *found = ptr;
    }
}

static inline errno_t
sss_sssd_handlers_ctx(struct tevent_context *ev,
                        struct sss_sigchild_ctx **sigchld_ctx)
{
    struct sss_sssd_handlers *handlers = NULL;
    struct sss_ctx_params params;
    errno_t ret;

    talloc_report_depth_cb(ev, 0, 1, sss_sssd_find_handlers, &handlers);
    if (handlers != NULL) {
        *sigchld_ctx = handlers->sigchld_ctx;
        return 0;
    }

    handlers = talloc_zero(ev, struct sss_sssd_handlers);
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

static inline void sss_sssd_handler_cancel(struct sss_child_ctx_old *handler)
{
    handler->cb = NULL;
    handler->pvt = NULL;
    TALLOC_FREE(handler->at_pvt);
}

/* On a chunk below pvt. */
static inline int sss_sssd_pvt_destructor(void *ptr)
{
    struct sss_child_ctx_old *handler = *(struct sss_child_ctx_old **)ptr;

    handler->at_pvt = NULL;
    sss_sssd_handler_cancel(handler);
    return 0;
}

static inline void sss_sssd_handler_gone(void *memory)
{
    struct sss_child_ctx_old *handler = (struct sss_child_ctx_old *)memory;

    sss_sssd_handler_cancel(handler);
    if (handler->ending == NULL) {
        return;
    }
    handler->ending->handler = NULL;
    if (!handler->ending->in_callback) {
        talloc_free(handler->ending);
    }
}

static inline void sss_sssd_handler_ended(int pid, int wait_status, void *pvt)
{
    struct sss_sssd_ending *ending = (struct sss_sssd_ending *)pvt;
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
sss_sssd_handler_register(struct sss_child_ctx_old *handler,
                            struct sss_sigchild_ctx *sigchld_ctx, int pid)
{
    return sss_child_register(handler, sigchld_ctx, pid,
                              sss_sssd_handler_ended, handler->ending,
                              &handler->child);
}

/**
 * SSSD's child_handler_setup(): call back once when one child ends.
 *
 * All handlers of a loop share one context, of scope REGISTERED, that lives as
 * long as the loop: any number of them costs one signal handler, and nobody
 * else's child is ever waited for. A second handler for the same child takes
 * the first one's place. A daemon that may inherit an ignored SIGCHLD sets it to
 * its default at its start: the first handler is set up after its child started.
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
    ret = sss_sssd_handlers_ctx(ev, &sigchld_ctx);
    if (ret != 0) {
        return ret;
    }
    handler = (struct sss_child_ctx_old *)sss_tevent_alloc(
        ev, sizeof(*handler), "struct sss_child_ctx_old",
        sss_sssd_handler_gone);
    if (handler == NULL) {
        return ENOMEM;
    }
    handler->cb = cb;
    handler->pvt = pvt;
    handler->ending = talloc_zero(NULL, struct sss_sssd_ending);
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
        _talloc_set_destructor(handler->at_pvt, sss_sssd_pvt_destructor);
    }

    ret = sss_sssd_handler_register(handler, sigchld_ctx, pid);
    if (ret == ECHILD) {
        /* Made before a fork: this process has the loop, so it may go on. */
        ret = sss_sigchld_ctx_after_fork(sigchld_ctx);
        if (ret == 0) {
            ret = sss_sssd_handler_register(handler, sigchld_ctx, pid);
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
    sss_sssd_handler_cancel(child_ctx);
    /* Where it has ended already there is nobody left to kill. */
    (void)sss_child_kill(child_ctx->child, SIGKILL);
}

#ifdef __cplusplus
}
#endif

#endif /* SSS_SIGCHLD_SSSD_H */
