/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* By hand: a signalfd, and waitpid(-1) until it finds nothing. */
#define _GNU_SOURCE
#include "../harness.h"
#include "pidmap.h"

#include <errno.h>
#include <gnu/libc-version.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef RAW_NAME
#define RAW_NAME "raw"
#endif

static struct pidmap map;
static int signal_fd = -1;

static int raw_init(void)
{
    sigset_t chld;

    sigemptyset(&chld);
    sigaddset(&chld, SIGCHLD);
    if (sigprocmask(SIG_BLOCK, &chld, NULL) == 0)
        signal_fd = signalfd(-1, &chld, SFD_NONBLOCK | SFD_CLOEXEC);
    if (signal_fd >= 0)
        return 0;
    bench_error("signalfd: %s", strerror(errno));
    return -1;
}

static int raw_add(pid_t pid, unsigned slot)
{
    return pidmap_add(&map, pid, slot);
}

static void reap(void)
{
    unsigned slot;
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pidmap_take(&map, pid, &slot))
            bench_exit(slot, pid, status);
        else
            bench_error("pid %d is not in the table", (int)pid);
    }
}

static int raw_turn(void)
{
    struct pollfd p = { .fd = signal_fd, .events = POLLIN };
    struct signalfd_siginfo info;

    if (poll(&p, 1, -1) < 0)
        return errno == EINTR ? 0 : -1;
    if (read(signal_fd, &info, sizeof(info)) != sizeof(info))
        return errno == EAGAIN ? 0 : -1;
    reap();
    return 0;
}

static void raw_fini(void)
{
    close(signal_fd);
    pidmap_free(&map);
}

const struct bench_subject bench_subject = {
    .name = RAW_NAME,
    .version = gnu_get_libc_version,
    .init = raw_init,
    .add = raw_add,
    .turn = raw_turn,
    .fini = raw_fini,
};
