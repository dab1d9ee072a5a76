/*
 * A server that is started by another thread than the loop's: the loop may hear of the server
 * before the start has returned. And a server that takes long to end.
 */
#include "support/test.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "support/family.h"
#include "support/hold.h"
#include "support/server.h"

#define ROUNDS 20

/* The thread that starts the server, and the call at which it is held. */
struct start {
    struct server_bed *bed;
    uint32_t flags;
    pthread_t thread;
    pid_t tid;
    int listener;
    pid_t server;
    struct held held;
    int control; /* our end of the server's socket */
};

static void *start_it(void *arg)
{
    struct start *start = arg;
    struct sss_forksrv_params params = server_zero(start->flags, &start->bed->events);

    start->tid = gettid();
    check_ok(sss_forksrv_start(NULL, start->bed->loop.ctx, &params, &start->bed->srv));
    return NULL;
}

/* So that the thread that is woken runs before the one that wakes it. */
static void on_one_processor(void)
{
    cpu_set_t set, one;
    int cpu = 0;

    CPU_ZERO(&one);
    check_ok(sched_getaffinity(0, sizeof(set), &set));
    while (!CPU_ISSET(cpu, &set)) {
        cpu++;
    }
    CPU_SET(cpu, &one);
    check_ok(sched_setaffinity(0, sizeof(one), &one));
}

static bool is_socket(int fd)
{
    struct stat info;

    return fstat(fd, &info) == 0 && S_ISSOCK(info.st_mode);
}

/* Lets all calls go on, except the one by which the loop is to watch the server's socket,
 * until the server has answered on that socket. */
static void until_it_answers(struct start *start)
{
    struct pollfd fds[] = {
        { .fd = start->listener, .events = POLLIN },
        { .fd = -1, .events = POLLIN },
    };
    struct held held;

    do {
        check(poll(fds, 2, DEADLINE_MS) > 0);
        if (fds[0].revents == 0) {
            continue;
        }
        check(hold_take(start->listener, &held));
        if (held.pid == start->tid && is_socket((int)held.args[2])) {
            start->held = held;
            start->control = (int)held.args[2];
            fds[1].fd = start->control;
        } else {
            if (held.pid != start->tid) {
                start->server = held.pid;
            }
            hold_release(start->listener, &held);
        }
    } while (fds[1].revents == 0);
    check(start->server != 0);
}

static void begin_thread(struct start *start, const struct hold holds[2],
                         void *(*function)(void *))
{
    memset(&start->bed->events, 0, sizeof(start->bed->events));
    start->listener = hold_thread(&start->thread, holds, function, start);
}

static void begin(struct start *start)
{
    static const struct hold watches[2] = { { SYS_epoll_ctl, ANY_ARG }, { SYS_epoll_ctl, ANY_ARG } };

    begin_thread(start, watches, start_it);
    until_it_answers(start);
}

/* The start goes on, but the loop comes first where both can. */
static void go_on(const struct start *start)
{
    check_ok(setpriority(PRIO_PROCESS, (id_t)start->tid, 10));
    hold_release(start->listener, &start->held);
    loop_turn(&start->bed->loop, DEADLINE_MS);
}

static void ready_first(void **state)
{
    unsigned round;

    hold_needed();
    on_one_processor();
    for (round = 0; round < ROUNDS; round++) {
        struct start start = { .bed = *state };

        begin(&start);
        go_on(&start);
        loop_until(&start.bed->loop, &start.bed->events.ready, 1);
        check_ok(pthread_join(start.thread, NULL));
        check_ok(close(start.listener));
        server_finish(start.bed);
    }
}

static void ended_first(void **state)
{
    unsigned round;

    hold_needed();
    on_one_processor();
    for (round = 0; round < ROUNDS; round++) {
        struct start start = { .bed = *state };
        pid_t pid;

        begin(&start);
        check_ok(kill(start.server, SIGKILL));
        go_on(&start);
        loop_until(&start.bed->loop, &start.bed->events.crashed, 1);
        check_ok(pthread_join(start.thread, NULL));
        check_int(start.bed->events.ready, 1);
        check_int(sss_forksrv_pid(start.bed->srv, &pid), ENOTCONN);
        check_ok(sss_forksrv_free(start.bed->srv));
        check_ok(close(start.listener));
    }
}

static void free_it(struct sss_forksrv *srv, const struct sss_forksrv_event *event, void *pvt)
{
    server_told(srv, event, pvt);
    if (event->event == SSS_FORKSRV_CRASHED) {
        check_ok(sss_forksrv_free(srv));
    }
}

static void *start_what_is_freed(void *arg)
{
    struct start *start = arg;
    struct sss_forksrv_params params = server_zero(0, &start->bed->events);

    start->tid = gettid();
    params.event = free_it;
    check_ok(sss_forksrv_start(NULL, start->bed->loop.ctx, &params, &start->bed->srv));
    __atomic_store_n(&start->server, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

/* By whoever is told of its end, which may be before the start has returned. */
static void freed_when_it_has_ended(void **state)
{
    /* The library calls PR_GET_CHILD_SUBREAPER, which is 37, before it makes the server and
     * after: so the start is held where the server lives already. */
    static const struct hold holds[2] = { { SYS_prctl, 37 }, { SYS_prctl, 37 } };
    struct start start = { .bed = *state };
    struct pollfd fd = { .events = POLLIN };
    struct held held;
    siginfo_t info;

    hold_needed();
    begin_thread(&start, holds, start_what_is_freed);
    fd.fd = start.listener;
    while (__atomic_load_n(&start.server, __ATOMIC_SEQ_CST) == 0) {
        check(poll(&fd, 1, 1) != -1);
        if ((fd.revents & POLLIN) == 0 || !hold_take(start.listener, &held)) {
            continue;
        }
        if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0) {
            check_ok(kill(await_child_of(start.tid), SIGKILL));
            loop_until(&start.bed->loop, &start.bed->events.crashed, 1);
        }
        hold_release(start.listener, &held);
    }
    check_ok(pthread_join(start.thread, NULL));
    check_int(start.bed->events.crashed, 1);
    check_ok(close(start.listener));
}

/* Turns the loop once. Calls that are held go on, except the server's. */
static void turn(const struct start *start, struct held *servers)
{
    struct pollfd fd = { .fd = start->listener, .events = POLLIN };
    struct held held;

    while (poll(&fd, 1, 0) == 1 && fd.revents == POLLIN && hold_take(start->listener, &held)) {
        if (held.pid == start->server) {
            *servers = held;
        } else {
            hold_release(start->listener, &held);
        }
    }
    loop_turn(&start->bed->loop, 10);
}

/* The server is freed with a launch under way, and takes long to end. Its child is ours only
 * then, and is reaped. */
static void slow_to_end(void **state)
{
    static const struct hold exits[2] = { { SYS_exit_group, ANY_ARG }, { SYS_exit_group, ANY_ARG } };
    struct server_bed *bed = *state;
    struct start start = { .bed = bed, .flags = SSS_FORKSRV_SERVERS_CHILDREN };
    struct sss_child_ctx *child = NULL;
    struct seen seen = { 0 };
    struct order order;
    struct held held = { 0 };
    int64_t time;
    siginfo_t info;

    hold_needed();
    begin_thread(&start, exits, start_it);
    loop_until(&bed->loop, &bed->events.ready, 1);
    check_ok(pthread_join(start.thread, NULL));
    start.server = server_pid(bed->srv);
    order_ends(&order, NULL, 0)->mask |= SSS_SPAWN_ASYNC;
    check_ok(sss_forksrv_launch(NULL, bed->srv, &order.spawn, see, &seen, &child));
    check_ok(sss_forksrv_free(bed->srv));
    time = now_ms() + DEADLINE_MS;
    while (held.pid == 0) {
        check(now_ms() < time);
        turn(&start, &held);
    }
    /* This is all that the soak test needs; the library once waited for ten seconds here. */
    time = now_ms() + (getenv("SSS_TEST_SOAK") != NULL ? 12000 : 50);
    while (now_ms() < time) {
        turn(&start, &held);
    }
    hold_release(start.listener, &held);
    time = now_ms() + DEADLINE_MS;
    while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0) {
        check(now_ms() < time);
        turn(&start, &held);
    }
    check_int(errno, ECHILD);
    check_int(seen.calls, 0);
    check_ok(sss_child_free(child));
    check_ok(close(start.listener));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(ready_first, server_bed_begin, server_bed_end),
        cmocka_unit_test_setup_teardown(ended_first, server_bed_begin, server_bed_end),
        cmocka_unit_test_setup_teardown(freed_when_it_has_ended, server_bed_begin, server_bed_end),
        cmocka_unit_test_setup_teardown(slow_to_end, server_bed_begin, server_bed_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
