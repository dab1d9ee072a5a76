/* profiles: all but linux-4.19 valgrind: no clone3(2), so no pid can be chosen */
/* A pid that is given to a new process: stale handles touch nothing. */
#include "support/test.h"

#include <sys/syscall.h>

#include "support/filter.h"
#include "support/kernel.h"

/* The handle of a child that is reaped. */
static struct sss_child_ctx *stale_handle(struct loop *loop, pid_t *pid)
{
    struct seen seen = { 0 };
    struct sss_child_ctx *child;

    *pid = child_dead(1);
    check_ok(sss_child_register(NULL, loop->ctx, *pid, see, &seen, &child));
    loop_until(loop, &seen.calls, 1);
    check_seen(&seen, *pid, 1);
    return child;
}

static void stale_handle_touches_nothing(void **state)
{
    struct loop *loop = *state;
    struct seen seen = { 0 };
    struct sss_child_ctx *stale, *child;
    struct gate gate;
    uint64_t old_id, new_id;
    pid_t pid, told;

    stale = stale_handle(loop, &pid);
    gate_make(&gate);
    child_reusing(pid, &gate, 2);
    check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, &child));
    check_ok(sss_child_id(stale, &old_id));
    check_ok(sss_child_id(child, &new_id));
    check(old_id != new_id);
    check_ok(sss_child_pid(child, &told));
    check_int(told, pid);
    check_int(sss_child_kill(stale, SIGKILL), ESRCH);
    check_ok(sss_child_release(stale, NULL));
    check_ok(sss_child_free(stale));
    check_ok(sss_child_free(stale));
    check_int(sss_child_pid(stale, &told), ESRCH);
    check_ok(sss_child_kill(child, 0));
    gate_open(&gate);
    loop_until(loop, &seen.calls, 1);
    check_seen(&seen, pid, 2);
    check_ok(sss_child_free(child));
}

/* The new child is not registered, so in scope REGISTERED it is none of ours. */
static void new_one_unregistered(void **state)
{
    struct loop *loop = *state;
    struct sss_child_ctx *stale;
    struct gate gate;
    pid_t pid;

    stale = stale_handle(loop, &pid);
    gate_make(&gate);
    child_reusing(pid, &gate, 2);
    check_int(sss_child_kill(stale, SIGKILL), ESRCH);
    gate_open(&gate);
    await_zombie(pid);
    loop_settle(loop);
    reap(pid, 2);
    check_ok(sss_child_free(stale));
}

/* The child of a freed handle is still reaped, but not the next one with its pid. */
static void freed_watch_is_over_with_the_reap(void **state)
{
    struct loop *loop = *state;
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    struct gate gate;
    pid_t pid = child_dead(1);

    check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, &child));
    check_ok(sss_child_free(child));
    loop_until_reaped(loop, pid);
    gate_make(&gate);
    child_reusing(pid, &gate, 2);
    gate_open(&gate);
    await_zombie(pid);
    loop_settle(loop);
    reap(pid, 2);
    check_int(seen.calls, 0);
}

static void released_pid_is_forgotten(void **state)
{
    struct loop *loop = *state;
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    struct gate gate;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, 1);
    check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, &child));
    check_ok(sss_child_release(child, NULL));
    gate_open(&gate);
    reap(pid, 1);
    gate_make(&gate);
    child_reusing(pid, &gate, 2);
    check_int(sss_child_kill(child, SIGKILL), ESRCH);
    gate_open(&gate);
    await_zombie(pid);
    loop_settle(loop);
    reap(pid, 2);
    check_ok(sss_child_free(child));
    check_int(seen.calls, 0);
}

/* Other code took the first one's status, and the pid is another child's already. */
static void stolen_and_reused(enum waking waking)
{
    struct seen former = { 0 }, latter = { 0 };
    struct sss_child_ctx *old, *new;
    struct gate gate;
    struct loop loop;
    pid_t pid;

    loop_start(&loop, ctx_untrusted(SSS_SCOPE_REGISTERED), waking);
    gate_make(&gate);
    pid = child_at(&gate, 1);
    check_ok(sss_child_register(NULL, loop.ctx, pid, see, &former, &old));
    gate_open(&gate);
    reap(pid, 1);
    gate_make(&gate);
    child_reusing(pid, &gate, 2);
    check_int(sss_child_kill(old, SIGKILL), ESRCH);
    check_ok(sss_child_register(NULL, loop.ctx, pid, see, &latter, &new));
    gate_open(&gate);
    loop_until(&loop, &latter.calls, 1);
    check_seen(&latter, pid, 2);
    check(former.calls <= 1); /* the newer registration takes its place */
    check(former.calls == 0 || former.status == status_of(1)
          || former.status == SSS_WAIT_STATUS_LOST);
    check_ok(sss_child_free(old));
    check_ok(sss_child_free(new));
    loop_end(&loop);
    check_no_children();
}

static void stolen_by_descriptor(void **state)
{
    (void)state;
    if (!kernel_has_pidfds()) {
        test_skip("linux-4.19 valgrind", "no pidfds");
    }
    stolen_and_reused(WAKE_DESCRIPTOR);
}

static void stolen_by_signal(void **state)
{
    (void)state;
    if (!kernel_has_pidfds()) {
        test_skip("linux-4.19 valgrind", "no pidfds");
    }
    stolen_and_reused(WAKE_SIGNAL);
}

static void stolen_where_refused(void *arg)
{
    filter_deny(SYS_pidfd_send_signal, *(const int *)arg);
    stolen_and_reused(WAKE_DESCRIPTOR);
    stolen_and_reused(WAKE_SIGNAL);
}

/* A filter refuses signals by pidfd, and kill(2) would reach the new process. */
static void stolen_and_signals_by_pidfd_refused(void **state)
{
    static const int errors[] = { EPERM, ENOSYS };
    size_t i;

    stolen_by_descriptor(state); /* skips where pids cannot be chosen */
    for (i = 0; i < ARRAY_SIZE(errors); i++) {
        int error = errors[i];

        in_child(stolen_where_refused, &error);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH_WAY(stale_handle_touches_nothing),
        REGISTERED_WAYS(new_one_unregistered),
        REGISTERED_WAYS(freed_watch_is_over_with_the_reap),
        REGISTERED_WAYS(released_pid_is_forgotten),
        cmocka_unit_test(stolen_by_descriptor),
        cmocka_unit_test(stolen_by_signal),
        cmocka_unit_test(stolen_and_signals_by_pidfd_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
