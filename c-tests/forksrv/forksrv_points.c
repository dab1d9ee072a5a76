/*
 * Kills or stops the server at each point of a launch. Each system call of the server, and
 * of the process that it makes, is held once, and the signal comes there. Every launch is
 * accounted for.
 */
#include "support/test.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/hold.h"
#include "support/kernel.h"
#include "support/server.h"

/* What is held, and where it comes in a launch. */
static const struct hold kinds[][2] = {
    { { SYS_recvmsg, ANY_ARG }, { SYS_sendmsg, ANY_ARG } }, /* the protocol */
    { { SYS_clone3, ANY_ARG }, { SYS_clone, ANY_ARG } },    /* the process is made */
    { { SYS_sendto, ANY_ARG }, { SYS_ppoll, ANY_ARG } },    /* it reports, and waits */
    { { SYS_execve, ANY_ARG }, { SYS_exit_group, ANY_ARG } },
};

#define END 11

struct point {
    struct server_bed *bed;
    const struct hold *kind;
    uint32_t flags;
    int signum;
    unsigned at;    /* the call at which the signal comes */
    unsigned calls; /* since the launch began */
    bool counts;
    bool sent;
    bool over; /* the launch is, and its child lives or has ended */
    pid_t server;
    int listener;
    /* Of the launch. */
    unsigned launched, failed;
    int error;
    pid_t pid;
    struct seen seen;
};

static struct point *current;

static void event_told(struct sss_forksrv *srv, const struct sss_forksrv_event *event, void *pvt)
{
    server_told(srv, event, pvt);
    if (event->event == SSS_FORKSRV_LAUNCHED) {
        current->launched++;
        current->pid = event->pid;
    } else if (event->event == SSS_FORKSRV_FAILED) {
        current->failed++;
        current->error = event->error;
    }
}

static void go_on(const struct point *point)
{
    if (point->sent && point->signum == SIGSTOP) {
        check_ok(kill(point->server, SIGCONT));
    }
}

/* Lets one call go on, or turns the loop. */
static void turn(struct point *point, int timeout_ms)
{
    struct pollfd fds[] = {
        { .fd = point->listener, .events = POLLIN },
        { .fd = point->bed->loop.ctxfd, .events = POLLIN },
    };
    struct held held;

    check(poll(fds, 2, timeout_ms) != -1);
    if (fds[0].revents & POLLIN && hold_take(point->listener, &held)) {
        point->calls += point->counts;
        if (point->counts && !point->sent && point->calls == point->at) {
            point->sent = true;
            check_ok(kill(point->server, point->signum));
            if (point->over) {
                /* A server that is stopped for good reaps none of its children. */
                go_on(point);
            }
        }
        hold_give_back(point->listener, &held);
    } else if (fds[0].revents & (POLLHUP | POLLERR)) {
        /* Nobody is held any more. */
        close(point->listener);
        point->listener = -1;
    }
    if (fds[1].revents != 0) {
        loop_turn(&point->bed->loop, 0);
    }
}

static void until(struct point *point, const unsigned *count, unsigned wanted)
{
    int64_t late = now_ms() + DEADLINE_MS;

    while (*count < wanted) {
        check(now_ms() < late);
        turn(point, 100);
    }
}

/* A launch that waits, in a thread of its own. */
struct waiting {
    struct point *point;
    struct sss_child_ctx *child;
    unsigned done;
};

static void *launch_and_wait(void *arg)
{
    struct waiting *waiting = arg;
    struct point *point = waiting->point;
    struct order order;
    errno_t ret = sss_forksrv_launch(NULL, point->bed->srv, order_ends(&order, NULL, END), see,
                                     &point->seen, &waiting->child);

    point->error = ret;
    point->launched = ret == 0;
    point->failed = ret != 0;
    __atomic_store_n(&waiting->done, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

static void launch(struct point *point, bool waits, struct sss_child_ctx **child)
{
    struct waiting waiting = { .point = point };
    struct order order;
    pthread_t thread;

    if (!waits) {
        order_ends(&order, NULL, END)->mask |= SSS_SPAWN_ASYNC;
        check_ok(sss_forksrv_launch(NULL, point->bed->srv, &order.spawn, see, &point->seen, child));
        while (point->launched + point->failed == 0) {
            turn(point, 100);
        }
        return;
    }
    check_ok(pthread_create(&thread, NULL, launch_and_wait, &waiting));
    while (__atomic_load_n(&waiting.done, __ATOMIC_SEQ_CST) == 0) {
        turn(point, 1);
    }
    check_ok(pthread_join(thread, NULL));
    *child = waiting.child;
    if (point->launched) {
        point->pid = pid_of(*child);
    }
}

static void check_outcome(struct point *point, struct sss_child_ctx *child)
{
    check_int(point->launched + point->failed, 1);
    if (point->failed) {
        check_int(point->error, point->signum == SIGSTOP ? ETIMEDOUT : ECONNRESET);
        check_int(point->seen.calls, 0);
    } else {
        until(point, &point->seen.calls, 1);
        if (point->seen.status != SSS_WAIT_STATUS_LOST || kernel_keeps_status()) {
            check_seen(&point->seen, point->pid, END);
        }
    }
    check_ok(sss_child_free(child));
}

/* Until no process is left. */
static void settle(struct point *point)
{
    int64_t late = now_ms() + DEADLINE_MS;
    siginfo_t info;

    while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0) {
        check(now_ms() < late);
        turn(point, 10);
    }
    check_int(errno, ECHILD);
}

/* False where the launch has fewer calls than that. */
static bool holds_at(struct point *point, bool waits)
{
    struct sss_child_ctx *child = NULL;
    struct server_bed *bed = point->bed;
    pthread_t thread;

    current = point;
    point->listener = server_start_held(bed, point->flags, event_told,
                                        point->signum == SIGSTOP ? 50 * 1000 * 1000 : 0,
                                        point->kind, &thread);
    until(point, &bed->events.ready, 1);
    check_ok(pthread_join(thread, NULL));
    point->server = server_pid(bed->srv);
    point->counts = true;
    launch(point, waits, &child);
    point->over = true;
    go_on(point);
    check_outcome(point, child);
    point->counts = false;
    if (!point->sent || point->signum == SIGSTOP) {
        check_ok(sss_forksrv_stop(bed->srv));
        until(point, &bed->events.stopped, 1);
    } else {
        until(point, &bed->events.crashed, 1);
    }
    settle(point);
    check_ok(sss_forksrv_free(bed->srv));
    if (point->listener != -1) {
        check_ok(close(point->listener));
    }
    return point->sent;
}

static void walk(struct server_bed *bed, uint32_t flags, int signum, bool waits)
{
    unsigned launched = 0, points = 0;
    size_t kind;

    for (kind = 0; kind < ARRAY_SIZE(kinds); kind++) {
        unsigned at = 1;
        bool more;

        do {
            struct point point = {
                .bed = bed, .kind = kinds[kind], .flags = flags, .signum = signum, .at = at,
            };
            bool sent = holds_at(&point, waits);

            points += sent;
            launched += sent && point.launched;
            at += sent;
            /* A launch that failed without a signal ran out of time on a busy machine. */
            more = sent || point.failed;
        } while (more);
    }
    printf("flags %#x, signal %d, %s: %u points, %u launches went on\n", flags, signum,
           waits ? "waiting" : "by the loop", points, launched);
    check(points > 5);
}

static void at_each_point(struct server_bed *bed, int signum)
{
    hold_needed();
    walk(bed, SSS_FORKSRV_CLONE_PARENT, signum, false);
    walk(bed, SSS_FORKSRV_CLONE_PARENT, signum, true);
    walk(bed, SSS_FORKSRV_SERVERS_CHILDREN, signum, false);
    walk(bed, SSS_FORKSRV_SERVERS_CHILDREN, signum, true);
}

static void killed(void **state)
{
    at_each_point(*state, SIGKILL);
}

static void faulting(void **state)
{
    at_each_point(*state, SIGSEGV);
}

static void stopped(void **state)
{
    at_each_point(*state, SIGSTOP);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(killed, server_bed_begin, server_bed_end),
        cmocka_unit_test_setup_teardown(faulting, server_bed_begin, server_bed_end),
        cmocka_unit_test_setup_teardown(stopped, server_bed_begin, server_bed_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
