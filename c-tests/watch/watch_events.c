/* Which changes a rich watch is told of. */
#include "support/test.h"

#include "support/told.h"

static void an_end_that_was_not_asked_for(void **state)
{
    struct loop *loop = *state;
    struct told exited = { 0 }, killed = { 0 }, both = { 0 };
    struct sss_child_ctx *children[3];
    struct gate gate;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, BY_SIGNAL(SIGKILL));
    children[0] = watch_for(loop->ctx, pid, SSS_CHILD_EVENT_EXITED, &exited);
    children[1] = watch_for(loop->ctx, pid, SSS_CHILD_EVENT_KILLED, &killed);
    children[2] = watch_for(loop->ctx, pid, SSS_CHILD_EVENT_EXITED | SSS_CHILD_EVENT_KILLED, &both);
    gate_open(&gate);
    loop_until(loop, &both.calls, 1);
    loop_settle(loop);
    check_int(exited.calls, 0);
    check_told(&killed, pid, BY_SIGNAL(SIGKILL));
    check_told(&both, pid, BY_SIGNAL(SIGKILL));
    check_int(stats_of(loop->ctx).watches, 0);
    /* Its watch is over, and it has the end. */
    check_ok(sss_child_wait(children[0], 0, NULL, NULL));
    check_ok(sss_child_free(children[0]));
    check_ok(sss_child_free(children[1]));
    check_ok(sss_child_free(children[2]));
}

static void one_without_a_handle(void **state)
{
    struct loop *loop = *state;
    struct told exited = { 0 }, killed = { 0 };
    struct sss_watch watch;
    struct gate gate;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, 2);
    watch = watch_of(pid, &killed);
    watch.mask |= SSS_WATCH_EVENTS | SSS_WATCH_KEEP_ZOMBIE;
    watch.events = SSS_CHILD_EVENT_KILLED;
    check_ok(sss_child_watch(NULL, loop->ctx, &watch, NULL));
    watch = watch_of(pid, &exited);
    check_ok(sss_child_watch(NULL, loop->ctx, &watch, NULL));
    gate_open(&gate);
    loop_until(loop, &exited.calls, 1);
    loop_settle(loop);
    check_told(&exited, pid, 2);
    check_int(killed.calls, 0);
    check_int(stats_of(loop->ctx).watches, 0);
    /* Nobody holds it any more. */
    watch = watch_of(pid, &exited);
    check_int(sss_child_watch(NULL, loop->ctx, &watch, NULL), ESRCH);
}

static void a_zombie_is_not_kept_for_one(void **state)
{
    struct loop *loop = *state;
    struct told told = { 0 };
    struct sss_watch watch;
    struct sss_child_ctx *child;
    struct gate gate;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, 1);
    watch = watch_of(pid, &told);
    watch.mask |= SSS_WATCH_EVENTS | SSS_WATCH_KEEP_ZOMBIE;
    watch.events = SSS_CHILD_EVENT_KILLED;
    check_ok(sss_child_watch(NULL, loop->ctx, &watch, &child));
    gate_open(&gate);
    loop_until_reaped(loop, pid);
    check_int(told.calls, 0);
    check_ok(sss_child_free(child));
}

enum { ALL = SSS_CHILD_EVENT_STOPPED | SSS_CHILD_EVENT_CONTINUED | SSS_CHILD_EVENT_EXITED };

static void stops_and_continues(void **state)
{
    struct loop *loop = *state;
    struct told all = { 0 }, stops = { 0 }, ends = { 0 };
    struct seen plain = { 0 };
    struct sss_child_ctx *children[4];
    struct gate gate;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, 4);
    loop_settle(loop);
    /* A context that a signal is to wake must have been passed one before. */
    sss_child_handler(NULL, NULL, SIGCHLD, 1, NULL, loop->ctx);
    children[0] = watch_for(loop->ctx, pid, ALL, &all);
    children[1] = watch_for(loop->ctx, pid, SSS_CHILD_EVENT_STOPPED, &stops);
    children[2] = watch_child(loop->ctx, pid, &ends);
    check_ok(sss_child_register(NULL, loop->ctx, pid, see, &plain, &children[3]));
    check_ok(kill(pid, SIGSTOP));
    loop_until(loop, &stops.calls, 1);
    loop_until(loop, &all.calls, 1);
    check_int(stops.event.event, SSS_CHILD_EVENT_STOPPED);
    check_int(stops.event.code, CLD_STOPPED);
    check_int(stops.event.status, SIGSTOP);
    check(WIFSTOPPED(stops.event.wait_status));
    check_int(all.event.event, SSS_CHILD_EVENT_STOPPED);
    check_ok(kill(pid, SIGCONT));
    loop_until(loop, &all.calls, 2);
    check_int(all.event.event, SSS_CHILD_EVENT_CONTINUED);
    check_int(all.event.code, CLD_CONTINUED);
    check_int(all.event.status, SIGCONT);
    check(WIFCONTINUED(all.event.wait_status));
    check_int(ends.calls, 0);
    check_int(plain.calls, 0);
    gate_open(&gate);
    loop_until(loop, &all.calls, 3);
    loop_until(loop, &ends.calls, 1);
    loop_settle(loop);
    check_told(&ends, pid, 4);
    check_seen(&plain, pid, 4);
    check_int(all.event.event, SSS_CHILD_EVENT_EXITED);
    check_int(stops.calls, 1);
    check_ok(sss_child_free(children[0]));
    check_ok(sss_child_free(children[1]));
    check_ok(sss_child_free(children[2]));
    check_ok(sss_child_free(children[3]));
}

static void stops_of_one_that_is_kept(void **state)
{
    struct loop *loop = *state;
    struct told told = { 0 };
    struct sss_watch watch;
    struct sss_child_ctx *child;
    struct gate gate;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, 4);
    sss_child_handler(NULL, NULL, SIGCHLD, 1, NULL, loop->ctx);
    watch = watch_of(pid, &told);
    watch.mask |= SSS_WATCH_EVENTS | SSS_WATCH_KEEP_ZOMBIE;
    watch.events = ALL;
    check_ok(sss_child_watch(NULL, loop->ctx, &watch, &child));
    check_ok(kill(pid, SIGSTOP));
    loop_until(loop, &told.calls, 1);
    check_int(told.event.event, SSS_CHILD_EVENT_STOPPED);
    check_ok(kill(pid, SIGCONT));
    loop_until(loop, &told.calls, 2);
    check_int(told.event.event, SSS_CHILD_EVENT_CONTINUED);
    gate_open(&gate);
    loop_until(loop, &told.calls, 3);
    check_int(told.event.event, SSS_CHILD_EVENT_EXITED);
    check(told.was_zombie);
    check_ok(sss_child_free(child));
}

static void stops_need_a_signal(void **state)
{
    struct loop *loop = *state;
    struct told told = { 0 };
    struct sss_watch watch;
    struct sss_child_ctx *child;
    struct gate gate;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, 4);
    watch = watch_of(pid, &told);
    watch.mask |= SSS_WATCH_EVENTS;
    watch.events = ALL;
    check_int(sss_child_watch(NULL, loop->ctx, &watch, &child), ENOTSUP);
    gate_open(&gate);
    reap(pid, 4);
}

#define SIGNALLED(test) \
    ONE_WAY(test, "_all_signal", 0), ONE_WAY(test, "_all_both", 2), \
    ONE_WAY(test, "_registered_signal", 3), ONE_WAY(test, "_registered_both", 5)

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH_WAY(an_end_that_was_not_asked_for),
        EACH_WAY(one_without_a_handle),
        EACH_WAY(a_zombie_is_not_kept_for_one),
        SIGNALLED(stops_and_continues),
        SIGNALLED(stops_of_one_that_is_kept),
        ONE_WAY(stops_need_a_signal, "_all_descriptor", 1),
        ONE_WAY(stops_need_a_signal, "_registered_descriptor", 4),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
