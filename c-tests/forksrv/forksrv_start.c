/*
 * A server that another thread starts than the one that turns the loop: the loop may hear
 * of the server before the start has returned.
 */
#include "support/test.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "support/hold.h"
#include "support/server.h"

#define ROUNDS 20

/* The thread that starts the server, and the call at which it is held. */
struct start {
    struct server_bed *bed;
    uint32_t flags;
    pthread_t thread;
    pid_t tid;
    int told;
    int listener;
    pid_t server;
    struct held held;
    int control; /* our end of the server's socket */
};

static void *start_held(void *arg)
{
    static const struct hold holds[2] = { { SYS_epoll_ctl, ANY_ARG }, { SYS_epoll_ctl, ANY_ARG } };
    struct start *start = arg;
    struct sss_forksrv_params params = server_zero(start->flags, &start->bed->events);

    start->tid = gettid();
    start->listener = hold_begin(holds);
    check_int(write(start->told, "", 1), 1);
    check_ok(sss_forksrv_start(NULL, start->bed->loop.ctx, &params, &start->bed->srv));
    return NULL;
}

/* So that who is woken comes before who wakes it. */
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

/* Lets all calls go on but that by which the loop is to watch the server's socket; until
 * the server has answered there. */
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

static void begin(struct start *start)
{
    int fds[2];
    char byte;

    memset(&start->bed->events, 0, sizeof(start->bed->events));
    check_ok(pipe(fds));
    start->told = fds[1];
    check_ok(pthread_create(&start->thread, NULL, start_held, start));
    check_int(read(fds[0], &byte, 1), 1);
    check_ok(close(fds[0]));
    check_ok(close(fds[1]));
    until_it_answers(start);
}

/* The start goes on, but the loop comes first where both can. */
static void go_on(const struct start *start)
{
    struct sched_param zero = { 0 };

    check_ok(sched_setscheduler(start->tid, SCHED_IDLE, &zero));
    hold_release(start->listener, &start->held);
    loop_turn(&start->bed->loop, DEADLINE_MS);
}

static void ready_first(void **state)
{
    unsigned round;

    hold_needed();
    on_one_processor();
    for (round = 0; round < ROUNDS; round++) {
        struct start start = { .bed = *state, .flags = 0 };

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
        struct start start = { .bed = *state, .flags = 0 };
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

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(ready_first, server_bed_begin, server_bed_end),
        cmocka_unit_test_setup_teardown(ended_first, server_bed_begin, server_bed_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
