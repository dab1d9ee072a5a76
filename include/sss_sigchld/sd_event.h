/*
 * libsss_sigchld on sd-event (libsystemd).
 *
 * A context belongs to the thread that makes it, which must run the loop. It
 * may be freed in any callback; it holds a reference to the sd_event. See
 * sss_sigchld_adapters(7).
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef SSS_SIGCHLD_SD_EVENT_H
#define SSS_SIGCHLD_SD_EVENT_H

#include <sys/epoll.h>
#include <sys/wait.h>

#include <sss_sigchld/adapter.h>
#include <systemd/sd-event.h>

#ifdef __cplusplus
extern "C" {
#endif

struct sss_sd_event_watch {
    struct sss_adapter_call call;
    sd_event_source *source;
};

static inline int sss_sd_event_io(sd_event_source *source, int fd, uint32_t revents, void *watch)
{
    (void)source;
    (void)fd;
    (void)revents;
    sss_adapter_ready(watch);
    return 0;
}

static inline int sss_sd_event_signal(sd_event_source *source, const struct signalfd_siginfo *seen,
                                      void *watch)
{
    siginfo_t info = sss_adapter_siginfo(seen);

    (void)source;
    (void)sss_sigchld_ctx_signalled(
        (struct sss_sigchild_ctx *)((struct sss_adapter_call *)watch)->arg, &info);
    return 0;
}

static inline errno_t sss_sd_event_start(void *ptr, void *loop, int fd)
{
    struct sss_sd_event_watch *watch = (struct sss_sd_event_watch *)ptr;
    sd_event *event = (sd_event *)loop;
    int ret;

    ret = watch->call.readable != NULL
              ? sd_event_add_io(event, &watch->source, fd, EPOLLIN, sss_sd_event_io, watch)
              : sd_event_add_signal(event, &watch->source, SIGCHLD, sss_sd_event_signal, watch);
    if (ret < 0) {
        free(watch);
        return -ret;
    }
    return 0;
}

static inline void sss_sd_event_unwatch(void *ptr)
{
    struct sss_sd_event_watch *watch = (struct sss_sd_event_watch *)ptr;

    sd_event_source_disable_unref(watch->source);
    free(watch);
}

SSS_ADAPTER_WATCH(sss_sd_event_watch_fd, struct sss_sd_event_watch, sss_sd_event_start)

/* SIGCHLD's block is the daemon's own: sd-event wants it. */
static inline errno_t sss_sd_event_watch_sigchld(void *owner, void *loop,
                                                 struct sss_sigchild_ctx *ctx, void **out)
{
    sss_adapter_unignore_sigchld();
    return sss_sd_event_watch_fd(owner, loop, SIGCHLD, NULL, ctx, out);
}

/**
 * sss_sd_event_fd_host() needs no signal. The others are cheaper, for daemons that
 * block SIGCHLD before they start threads: sss_sd_event_signalfd_host() takes it by a
 * signalfd of its own, sss_sd_event_signal_host() by sd_event_add_signal(). That is
 * EBUSY where SIGCHLD is not blocked; free its context when the loop ends, not before:
 * see the page.
 */
SSS_ADAPTER_HOST(sss_sd_event_signal_host, sss_sd_event_watch_fd, sss_sd_event_watch_sigchld,
                 sss_sd_event_unwatch)
SSS_ADAPTER_HOST(sss_sd_event_fd_host, sss_sd_event_watch_fd, NULL, sss_sd_event_unwatch)
SSS_ADAPTER_SIGNALFD_HOST(sss_sd_event, sss_sd_event_watch_fd, sss_sd_event_unwatch)

/**
 * Make a context on an sd_event, with sss_sd_event_fd_host().
 *
 * @param event  a reference is held until the context is freed.
 * @param scope  SSS_SCOPE_REGISTERED or SSS_SCOPE_ALL.
 * @param ctx    written on success; free it with sss_sigchld_ctx_free().
 *
 * @return as sss_sigchld_ctx_create(), or an errno of sd-event's.
 */
static inline errno_t sss_sd_event_ctx_create(sd_event *event, uint32_t scope,
                                              struct sss_sigchild_ctx **ctx)
{
    return sss_adapter_ctx_create(sss_sd_event_fd_host(), event, scope, ctx);
}

struct sss_sd_event_child {
    sd_event_source *source;
    struct sss_child_ctx *child;
    sd_event_child_handler_t callback;
    void *userdata;
    siginfo_t info;
};

static inline void sss_sd_event_child_ended(int pid, int wait_status, void *pvt)
{
    struct sss_sd_event_child *child = (struct sss_sd_event_child *)pvt;

    if (WIFSTOPPED(wait_status) || WIFCONTINUED(wait_status)) {
        return;
    }
    child->info.si_signo = SIGCHLD;
    child->info.si_pid = pid;
    if (WIFEXITED(wait_status)) {
        child->info.si_code = CLD_EXITED;
        child->info.si_status = WEXITSTATUS(wait_status);
    } else if (WIFSIGNALED(wait_status)) {
        child->info.si_code = WCOREDUMP(wait_status) ? CLD_DUMPED : CLD_KILLED;
        child->info.si_status = WTERMSIG(wait_status);
    }
    (void)sd_event_source_set_enabled(child->source, SD_EVENT_ONESHOT);
}

static inline int sss_sd_event_child_tell(sd_event_source *source, void *userdata)
{
    struct sss_sd_event_child *child = (struct sss_sd_event_child *)userdata;

    return child->callback(source, &child->info, child->userdata);
}

static inline void sss_sd_event_child_gone(void *userdata)
{
    struct sss_sd_event_child *child = (struct sss_sd_event_child *)userdata;

    (void)sss_child_free(child->child);
    free(child);
}

/**
 * As sd_event_add_child() with WEXITED: an event source for a child's end, with
 * a priority, a description and the rest. Its userdata is the adapter's.
 *
 * @param ctx       a context on the same sd_event, of this thread.
 * @param ret       written on success: unref it to end the watch, also in its
 *                  callback. NULL: the source is floating.
 * @param callback  its si_code is 0 where the status could not be had.
 *
 * @return 0 or a negative errno, as sd-event has it.
 */
static inline int sss_sd_event_add_child(struct sss_sigchild_ctx *ctx, sd_event *event,
                                         sd_event_source **ret, pid_t pid,
                                         sd_event_child_handler_t callback, void *userdata)
{
    struct sss_sd_event_child *child;
    int code;

    child = (struct sss_sd_event_child *)calloc(1, sizeof(*child));
    if (child == NULL) {
        return -ENOMEM;
    }
    child->callback = callback;
    child->userdata = userdata;
    code = sd_event_add_defer(event, &child->source, sss_sd_event_child_tell, child);
    if (code < 0) {
        free(child);
        return code;
    }
    (void)sd_event_source_set_destroy_callback(child->source, sss_sd_event_child_gone);
    (void)sd_event_source_set_enabled(child->source, SD_EVENT_OFF);
    code = -sss_child_register(NULL, ctx, pid, sss_sd_event_child_ended, child, &child->child);
    if (code == 0 && ret == NULL) {
        code = sd_event_source_set_floating(child->source, 1);
    }
    if (code >= 0 && ret != NULL) {
        *ret = child->source;
    } else {
        sd_event_source_unref(child->source);
    }
    return code < 0 ? code : 0;
}

#ifdef __cplusplus
}
#endif

#endif /* SSS_SIGCHLD_SD_EVENT_H */
