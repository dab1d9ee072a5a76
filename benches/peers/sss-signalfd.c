/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * This library in a poll loop whose own signalfd calls sss_child_handler().
 * With SSS_TIMED the loop polls the context's descriptor too, by which the library does
 * what it has put off.
 */
#define _GNU_SOURCE
#include "sss.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#ifndef SSS_NAME
#define SSS_NAME "sss-signalfd"
#define SSS_SCOPE SSS_SCOPE_REGISTERED
#define SSS_TIMED 0
#endif

static int signal_fd;
static int context_fd = -1;

static int watch_descriptor(void)
{
    errno_t ret;

    /* A call of the handler says that SIGCHLD is seen: then children need no pidfds. */
    sss_child_handler(NULL, NULL, 0, 0, NULL, ctx);
    ret = sss_sigchld_ctx_fd(ctx, &context_fd);
    if (ret != 0)
        bench_error("sss_sigchld_ctx_fd: %s", strerror(ret));
    return ret != 0 ? -1 : 0;
}

static int signalfd_init(void)
{
    sigset_t chld;

    sigemptyset(&chld);
    sigaddset(&chld, SIGCHLD);
    if (sigprocmask(SIG_BLOCK, &chld, NULL) < 0)
        return -1;
    signal_fd = signalfd(-1, &chld, SFD_NONBLOCK | SFD_CLOEXEC);
    if (signal_fd < 0) {
        bench_error("signalfd: %s", strerror(errno));
        return -1;
    }
    if (sss_create(SSS_SCOPE, NULL, NULL) < 0)
        return -1;
    return SSS_TIMED ? watch_descriptor() : 0;
}

static int handle_signal(void)
{
    struct signalfd_siginfo seen;
    siginfo_t info;

    if (read(signal_fd, &seen, sizeof(seen)) != sizeof(seen))
        return errno == EAGAIN ? 0 : -1;
    memset(&info, 0, sizeof(info));
    info.si_signo = SIGCHLD;
    info.si_code = seen.ssi_code;
    info.si_pid = (pid_t)seen.ssi_pid;
    info.si_uid = seen.ssi_uid;
    info.si_status = seen.ssi_status;
    sss_child_handler(NULL, NULL, SIGCHLD, 1, &info, ctx);
    return 0;
}

static int signalfd_turn(void)
{
    struct pollfd polled[] = {
        { .fd = signal_fd, .events = POLLIN },
        { .fd = context_fd, .events = POLLIN },
    };
    errno_t ret = 0;

    if (poll(polled, SSS_TIMED ? 2 : 1, -1) < 0)
        return errno == EINTR ? 0 : -1;
    if (polled[0].revents != 0 && handle_signal() < 0)
        return -1;
    if (polled[1].revents != 0)
        ret = sss_sigchld_ctx_dispatch(ctx, 0);
    if (ret != 0)
        bench_error("sss_sigchld_ctx_dispatch: %s", strerror(ret));
    return ret != 0 ? -1 : 0;
}

static void signalfd_fini(void)
{
    errno_t ret = sss_sigchld_ctx_free(ctx);

    if (ret != 0)
        bench_error("sss_sigchld_ctx_free: %s", strerror(ret));
    close(signal_fd);
}

const struct bench_subject bench_subject = {
    .name = SSS_NAME,
    .version = sss_bench_version,
    .init = signalfd_init,
    .add = sss_add,
    .turn = signalfd_turn,
    .fini = signalfd_fini,
};
