/* A server that lacks something: pidfds, room in its epoll, descriptors, or their way to the
 * daemon. Each end is told, and each request is answered. */
#include "support/test.h"

#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "support/family.h"
#include "support/filter.h"
#include "support/hold.h"
#include "support/server.h"

#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x1000
#endif

static int returns_six(void *arg)
{
    char byte;

    (void)arg;
    return read(STDIN_FILENO, &byte, 1) == 0 ? 6 : 1;
}

static struct sss_child_ctx *launch(struct server_bed *bed, uint32_t flags, struct gate *gate,
                                    struct seen *seen)
{
    struct sss_child_ctx *child = NULL;
    struct order order;

    if ((flags & SSS_FORKSRV_FORK) == 0) {
        return launch_at(bed->srv, gate, 6, see, seen);
    }
    check_ok(sss_forksrv_launch_function(NULL, bed->srv, order_ends(&order, gate, 6), returns_six,
                                         NULL, see, seen, &child));
    return child;
}

/* The first of them is waited for, and the others live. */
static void without_pidfds(void *arg)
{
    uint32_t flags = *(const uint32_t *)arg;
    struct sss_child_ctx *children[3];
    struct seen seen[3] = { { 0 } };
    struct gate gates[3];
    struct server_bed bed;
    struct waiter waiter;
    int status;
    pid_t pid;
    size_t i;

    filter_deny(SYS_clone3, ENOSYS);
    filter_deny(SYS_pidfd_open, ENOSYS);
    refuse_bits(SYS_clone, 0, CLONE_PIDFD, EINVAL);
    server_bed_open(&bed, flags);
    for (i = 0; i < ARRAY_SIZE(children); i++) {
        gate_make(&gates[i]);
        children[i] = launch(&bed, flags, &gates[i], &seen[i]);
    }
    pid = pid_of(children[0]);
    check_ok(sss_child_release(children[0], &status));
    waiter_begin(&waiter, bed.srv, pid);
    /* When the second is answered the server has seen all that was there before the first. */
    for (i = 0; i < 2; i++) {
        check_int(sss_forksrv_waitpid(bed.srv, pid, WNOHANG, &status), EAGAIN);
    }
    gate_open(&gates[0]);
    check_ok(pthread_join(waiter.thread, NULL));
    check_ok(waiter.ret);
    check_int(waiter.status, status_of(6));
    for (i = 1; i < ARRAY_SIZE(children); i++) {
        pid = pid_of(children[i]);
        gate_open(&gates[i]);
        loop_until(&bed.loop, &seen[i].calls, 1);
        check_seen(&seen[i], pid, 6);
        check_ok(sss_child_free(children[i]));
    }
    check_int(bed.events.crashed, 0);
    server_bed_close(&bed);
}

static void it_has_no_pidfds(void **state)
{
    uint32_t flags[] = { SSS_FORKSRV_SERVERS_CHILDREN, SSS_FORKSRV_FORK };
    size_t i;

    (void)state;
    if (test_profile_is("valgrind")) {
        test_skip("valgrind", "valgrind makes system calls of its own");
    }
    for (i = 0; i < ARRAY_SIZE(flags); i++) {
        in_child(without_pidfds, &flags[i]);
    }
}

/* Its calls are held, and those of the thread that starts it. */
struct start {
    struct server_bed *bed;
    int nr, error;
    int listener;
    unsigned refuses; /* so many of its calls from now on */
    unsigned refused, done;
};

static void *let_go_on(void *arg)
{
    struct start *start = arg;
    struct pollfd fd = { .fd = start->listener, .events = POLLIN };
    struct held held;

    while (__atomic_load_n(&start->done, __ATOMIC_SEQ_CST) == 0) {
        check(poll(&fd, 1, 10) != -1);
        if ((fd.revents & POLLIN) == 0 || !hold_take(start->listener, &held)) {
            continue;
        }
        if (start->refused < __atomic_load_n(&start->refuses, __ATOMIC_SEQ_CST)
            && (held.nr != SYS_epoll_ctl || held.args[1] == EPOLL_CTL_ADD)) {
            start->refused += hold_fail(start->listener, &held, start->error);
        } else {
            (void)hold_give_back(start->listener, &held);
        }
    }
    return NULL;
}

/* Launches a child of which the server's first calls fail. */
static void launch_refused(struct start *start, unsigned refuses)
{
    const struct hold holds[2] = { { start->nr, ANY_ARG }, { start->nr, ANY_ARG } };
    struct server_bed *bed = start->bed;
    struct sss_child_ctx *child;
    struct seen seen = { 0 };
    pthread_t starter, holder;
    struct gate gate;
    pid_t pid;

    start->listener = server_start_held(bed, SSS_FORKSRV_SERVERS_CHILDREN, server_told, 0, holds,
                                        &starter);
    check_ok(pthread_create(&holder, NULL, let_go_on, start));
    check_ok(pthread_join(starter, NULL));
    loop_until(&bed->loop, &bed->events.ready, 1);
    __atomic_store_n(&start->refuses, refuses, __ATOMIC_SEQ_CST);
    gate_make(&gate);
    child = launch_at(bed->srv, &gate, 7, see, &seen);
    pid = pid_of(child);
    gate_open(&gate);
    loop_until(&bed->loop, &seen.calls, 1);
    check_seen(&seen, pid, 7);
    check_ok(sss_child_free(child));
    check(start->refused > 0);
    __atomic_store_n(&start->refuses, 0, __ATOMIC_SEQ_CST);
    server_finish(bed);
    __atomic_store_n(&start->done, 1, __ATOMIC_SEQ_CST);
    check_ok(pthread_join(holder, NULL));
    check_ok(close(start->listener));
}

/* As beyond /proc/sys/fs/epoll/max_user_watches. */
static void it_can_poll_nothing_more(void **state)
{
    struct start start = { .bed = *state, .nr = SYS_epoll_ctl, .error = ENOSPC };

    hold_needed();
    launch_refused(&start, UINT32_MAX);
}

/* The child's pidfd does not go to the daemon. */
static void too_many_descriptors_are_in_flight(void **state)
{
    struct start start = { .bed = *state, .nr = SYS_sendmsg, .error = ETOOMANYREFS };

    hold_needed();
    launch_refused(&start, 1);
}

static int highest_descriptor(pid_t pid)
{
    struct dirent *entry;
    int highest = -1;
    char path[64];
    DIR *dir;

    snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    dir = opendir(path);
    check(dir != NULL);
    while ((entry = readdir(dir)) != NULL) {
        int fd = atoi(entry->d_name);

        highest = fd > highest ? fd : highest;
    }
    check_ok(closedir(dir));
    return highest;
}

/* Whoever waits for a child keeps a descriptor of the server's. Beyond its limit it refuses,
 * and goes on to answer. */
static void it_has_no_descriptor_left(void **state)
{
    enum { WAITERS = 10 };
    static struct waiter waiters[WAITERS];
    unsigned got = 0, refused = 0, none = 0;
    struct server_bed *bed = *state;
    struct sss_child_ctx *child = NULL;
    struct rlimit limit;
    struct order order;
    struct gate gate;
    pid_t server, pid;
    int i, status;

    server_start(bed, SSS_FORKSRV_SERVERS_CHILDREN);
    server = server_pid(bed->srv);
    gate_make(&gate);
    child = launch_at(bed->srv, &gate, 4, see, NULL);
    pid = pid_of(child);
    check_ok(sss_child_release(child, &status));
    check_int(sss_forksrv_waitpid(bed->srv, pid, WNOHANG, &status), EAGAIN);
    check_ok(prlimit(server, RLIMIT_NOFILE, NULL, &limit));
    limit.rlim_cur = (rlim_t)highest_descriptor(server) + 3;
    check_ok(prlimit(server, RLIMIT_NOFILE, &limit, NULL));
    for (i = 0; i < WAITERS; i++) {
        waiter_begin(&waiters[i], bed->srv, pid);
        check_int(sss_forksrv_waitpid(bed->srv, pid, WNOHANG, &status), EAGAIN);
    }
    check_int(sss_forksrv_launch(NULL, bed->srv, order_ends(&order, NULL, 0), see, NULL, &child),
              EMFILE);
    gate_open(&gate);
    for (i = 0; i < WAITERS; i++) {
        check_ok(pthread_join(waiters[i].thread, NULL));
        got += waiters[i].ret == 0;
        refused += waiters[i].ret == EMFILE;
        none += waiters[i].ret == ECHILD;
    }
    check_int(got, 1);
    check(refused > 0);
    check_int(got + refused + none, WAITERS);
    server_finish(bed);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_has_no_pidfds),
        cmocka_unit_test_setup_teardown(it_can_poll_nothing_more, server_bed_begin, server_bed_end),
        cmocka_unit_test_setup_teardown(too_many_descriptors_are_in_flight, server_bed_begin, server_bed_end),
        cmocka_unit_test_setup_teardown(it_has_no_descriptor_left, server_bed_begin, server_bed_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
