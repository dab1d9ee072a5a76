/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* By hand: a pidfd for each child, all in one epoll. */
#define _GNU_SOURCE
#include "../harness.h"

#include <errno.h>
#include <gnu/libc-version.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef PIDFD_NAME
#define PIDFD_NAME "pidfd"
#endif

#define EVENTS 64

static int epoll_fd = -1;

static int pidfd_init(void)
{
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd >= 0)
        return 0;
    bench_error("epoll_create1: %s", strerror(errno));
    return -1;
}

static int pidfd_add(pid_t pid, unsigned slot)
{
    struct epoll_event event = { .events = EPOLLIN };
    int fd = pidfd_open(pid, 0);

    if (fd < 0) {
        bench_error("pidfd_open: %s", strerror(errno));
        return -1;
    }
    event.data.u64 = (uint64_t)fd << 32 | slot;
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
        bench_error("epoll_ctl: %s", strerror(errno));
        close(fd);
        return -1;
    }
    return 0;
}

static int collect(uint64_t data)
{
    siginfo_t info = { 0 };
    int fd = (int)(data >> 32);

    if (waitid(P_PIDFD, (id_t)fd, &info, WEXITED | WNOHANG) < 0)
        return -1;
    if (info.si_pid == 0)
        return 0;
    if (close(fd) < 0)
        return -1;
    bench_exit((unsigned)data, info.si_pid, bench_wait_status(info.si_code, info.si_status));
    return 0;
}

static int pidfd_turn(void)
{
    struct epoll_event events[EVENTS];
    int n = epoll_wait(epoll_fd, events, EVENTS, -1), i;

    if (n < 0)
        return errno == EINTR ? 0 : -1;
    for (i = 0; i < n; i++) {
        if (collect(events[i].data.u64) < 0) {
            bench_error("pidfd: %s", strerror(errno));
            return -1;
        }
    }
    return 0;
}

static void pidfd_fini(void)
{
    close(epoll_fd);
}

const struct bench_subject bench_subject = {
    .name = PIDFD_NAME,
    .version = gnu_get_libc_version,
    .init = pidfd_init,
    .add = pidfd_add,
    .turn = pidfd_turn,
    .fini = pidfd_fini,
};
