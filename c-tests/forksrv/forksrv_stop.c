/* A stop signal that comes to a process right before its exec: it stops, and its server does
 * not. A process that shares its server's memory cannot stop before its exec, and stops after
 * it. Any other process stops before its exec, or after it if the exec comes before the
 * signal. */
#include "support/test.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/family.h"
#include "support/hold.h"
#include "support/server.h"

#define END 9

/* The launched process stands at its exec. */
static void *stop_it(void *arg)
{
    const int *listener = arg;
    struct held held = hold_await(*listener);
    struct pollfd fd = { .fd = *listener, .events = POLLIN };

    check_ok(kill(held.pid, SIGTSTP));
    while (!hold_give_back(*listener, &held)) {
        /* The signal was taken: the call begins anew, now or once the process is continued. */
        do {
            while (poll(&fd, 1, 1) == 0) {
                if (process_state(held.pid) == 'T') {
                    return NULL;
                }
            }
        } while (!hold_take(*listener, &held));
    }
    return NULL;
}

/* Lets each exec go on that is begun until the end is told. Whether one was begun before the
 * stop cannot be known: where the signal is there first, the kernel drops an answer that it
 * has taken, and the call begins anew. */
static void exec_until_told(struct server_bed *bed, int listener, struct seen *seen)
{
    struct pollfd fd = { .fd = listener, .events = POLLIN };
    unsigned turns;
    struct held held;

    for (turns = 0; seen->calls == 0 && turns < DEADLINE_MS / 10; turns++) {
        while (poll(&fd, 1, 0) == 1 && hold_take(listener, &held)) {
            (void)hold_give_back(listener, &held);
        }
        loop_turn(&bed->loop, 10);
    }
}

static void before_its_exec(void **state)
{
    static const struct hold execs[2] = { { SYS_execve, ANY_ARG }, { SYS_execve, ANY_ARG } };
    struct server_bed *bed = *state;
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    struct held held;
    struct gate gate;
    pthread_t thread;
    siginfo_t info;
    int listener;
    pid_t pid;

    hold_needed();
    listener = server_start_held(bed, SSS_FORKSRV_CLONE_PARENT, server_told, 0, execs, &thread);
    /* The helper's own. */
    held = hold_await(listener);
    hold_release(listener, &held);
    check_ok(pthread_join(thread, NULL));
    loop_until(&bed->loop, &bed->events.ready, 1);
    check_ok(pthread_create(&thread, NULL, stop_it, &listener));
    /* Its server passes the stop signal on after the exec: the program must not have ended by
     * then. */
    gate_make(&gate);
    child = launch_at(bed->srv, &gate, END, see, &seen);
    check_ok(pthread_join(thread, NULL));
    pid = pid_of(child);
    check_ok(waitid(P_PID, (id_t)pid, &info, WSTOPPED | WEXITED | WNOWAIT));
    check_int(info.si_code, CLD_STOPPED);
    check_int(info.si_status, SIGTSTP);
    check_int(seen.calls, 0);
    check_ok(kill(pid, SIGCONT));
    gate_open(&gate);
    exec_until_told(bed, listener, &seen);
    loop_until(&bed->loop, &seen.calls, 1);
    check_seen(&seen, pid, END);
    check_ok(sss_child_free(child));
    server_finish(bed);
    check_ok(close(listener));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(before_its_exec, server_bed_begin, server_bed_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
