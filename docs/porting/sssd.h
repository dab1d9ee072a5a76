/* SSSD's interfaces as its own headers declare them, and just enough behind them. */
#ifndef PORTING_SSSD_H
#define PORTING_SSSD_H

#include "daemon.h"

#include <talloc.h>
#include <tevent.h>

typedef int errno_t;
struct sss_sigchild_ctx;
typedef void (*sss_child_fn_t)(int pid, int wait_status, void *pvt);
typedef void (*sss_child_callback_t)(int child_status, struct tevent_signal *sige, void *pvt);
struct sss_child_ctx_old;
struct child_io_fds {
    int read_from_child_fd;
    int write_to_child_fd;
};

struct sssd_watch {
    int pid;
    sss_child_fn_t fn;
    sss_child_callback_t cb;
    void *pvt;
};
static struct sssd_watch sssd_watches[4];

static inline void sssd_signal(struct tevent_context *ev, struct tevent_signal *se, int signum,
                               int count, void *siginfo, void *pvt)
{
    (void)ev, (void)se, (void)signum, (void)count, (void)siginfo, (void)pvt;
    for (unsigned i = 0; i < 4; i++) {
        struct sssd_watch watch = sssd_watches[i];
        int wait_status;

        if (watch.pid > 0 && waitpid(watch.pid, &wait_status, WNOHANG) == watch.pid) {
            sssd_watches[i].pid = 0;
            if (watch.fn != NULL) {
                watch.fn(watch.pid, wait_status, watch.pvt);
            } else {
                watch.cb(wait_status, NULL, watch.pvt);
            }
        }
    }
}

static inline errno_t sssd_add(int pid, sss_child_fn_t fn, sss_child_callback_t cb, void *pvt)
{
    for (unsigned i = 0; i < 4; i++) {
        if (sssd_watches[i].pid == 0) {
            sssd_watches[i] = (struct sssd_watch){ pid, fn, cb, pvt };
            kill(getpid(), SIGCHLD); /* it may have ended already */
            return 0;
        }
    }
    return ENOMEM;
}

static inline errno_t sss_sigchld_init(TALLOC_CTX *mem_ctx, struct tevent_context *ev,
                                       struct sss_sigchild_ctx **ctx)
{
    *ctx = (struct sss_sigchild_ctx *)tevent_add_signal(ev, mem_ctx, SIGCHLD, 0, sssd_signal,
                                                        NULL);
    return *ctx != NULL ? 0 : EIO;
}

static inline errno_t sss_child_register(TALLOC_CTX *mem_ctx, struct sss_sigchild_ctx *ctx,
                                         pid_t pid, sss_child_fn_t cb, void *pvt,
                                         struct sss_child_ctx **child)
{
    (void)mem_ctx, (void)ctx;
    *child = NULL;
    return sssd_add(pid, cb, NULL, pvt);
}

static inline int child_handler_setup(struct tevent_context *ev, int pid, sss_child_callback_t cb,
                                      void *pvt, struct sss_child_ctx_old **child)
{
    *child = (struct sss_child_ctx_old *)tevent_add_signal(ev, ev, SIGCHLD, 0, sssd_signal, NULL);
    return *child != NULL ? sssd_add(pid, NULL, cb, pvt) : EIO;
}

static inline errno_t
sss_child_start(TALLOC_CTX *mem_ctx, struct tevent_context *ev, const char *binary,
                const char *extra_args[], bool extra_args_only, const char *logfile,
                int child_out_fd, sss_child_callback_t cb, void *pvt, unsigned timeout,
                tevent_timer_handler_t timeout_handler, void *timeout_pvt, bool auto_terminate,
                struct child_io_fds **io)
{
    struct sss_child_ctx_old *child;
    pid_t pid = fork();

    (void)mem_ctx, (void)extra_args_only, (void)logfile, (void)child_out_fd, (void)timeout;
    (void)timeout_handler, (void)timeout_pvt, (void)auto_terminate;
    if (pid == 0) {
        execv(binary, (char *const *)(void *)extra_args);
        _exit(127);
    }
    *io = NULL;
    return child_handler_setup(ev, pid, cb, pvt, &child);
}

#endif
