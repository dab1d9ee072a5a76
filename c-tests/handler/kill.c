/* sss_child_kill() and sss_child_pidfd() reach the watched child and no stranger. */
#include "support/test.h"

#include <fcntl.h>
#include <poll.h>

#include "support/kernel.h"

static void watch(struct loop *loop, struct gate *gate, struct seen *seen,
                  struct sss_child_ctx **child, pid_t *pid)
{
    gate_make(gate);
    *pid = child_at(gate, 0);
    check_ok(sss_child_register(NULL, loop->ctx, *pid, see, seen, child));
}

static void ends_it(void **state)
{
    struct loop *loop = *state;
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    struct gate gate;
    pid_t pid;

    watch(loop, &gate, &seen, &child, &pid);
    check_ok(sss_child_kill(child, 0));
    check_ok(sss_child_kill(child, SIGTERM));
    loop_until(loop, &seen.calls, 1);
    check_seen(&seen, pid, BY_SIGNAL(SIGTERM));
    check_int(sss_child_kill(child, SIGTERM), ESRCH);
    check_int(sss_child_kill(child, 0), ESRCH);
    check_ok(sss_child_free(child));
    check_int(sss_child_kill(child, 0), ESRCH);
    gate_open(&gate);
}

static void watch_over(void **state)
{
    struct loop *loop = *state;
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    struct gate gate;
    pid_t pid;

    watch(loop, &gate, &seen, &child, &pid);
    check_ok(sss_child_free(child));
    check_int(sss_child_kill(child, SIGKILL), ESRCH);
    check_ok(kill(pid, 0));
    gate_open(&gate);
    loop_until_reaped(loop, pid);
}

static void a_zombie_may_be_killed(void **state)
{
    struct loop *loop = *state;
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    pid_t pid = child_dead(3);

    check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, &child));
    if (is_child(pid)) {
        check_ok(sss_child_kill(child, SIGKILL));
    } else {
        check_int(sss_child_kill(child, SIGKILL), ESRCH);
    }
    loop_until(loop, &seen.calls, 1);
    check_seen(&seen, pid, 3);
    check_ok(sss_child_free(child));
}

struct target {
    struct sss_child_ctx *child;
    unsigned calls;
};

static void kill_other(int pid, int wait_status, void *pvt)
{
    struct target *target = pvt;

    (void)pid;
    (void)wait_status;
    target->calls++;
    check_ok(sss_child_kill(target->child, SIGKILL));
}

static void in_a_callback(void **state)
{
    struct loop *loop = *state;
    struct target target = { 0 };
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    struct gate gate;
    pid_t pid;

    watch(loop, &gate, &seen, &target.child, &pid);
    check_ok(sss_child_register(NULL, loop->ctx, child_dead(0), kill_other, &target, &child));
    loop_until(loop, &seen.calls, 1);
    check_int(target.calls, 1);
    check_seen(&seen, pid, BY_SIGNAL(SIGKILL));
    check_ok(sss_child_free(child));
    check_ok(sss_child_free(target.child));
    gate_open(&gate);
}

static void no_permission(void *unused)
{
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    struct gate gate;
    struct loop loop;
    pid_t pid;

    (void)unused;
    loop_start(&loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_SIGNAL);
    watch(&loop, &gate, &seen, &child, &pid);
    check_ok(setuid(65534));
    check_int(sss_child_kill(child, SIGKILL), EPERM);
    gate_open(&gate);
    loop_until(&loop, &seen.calls, 1); /* reaped all the same */
    check_seen(&seen, pid, 0);
    check_ok(sss_child_free(child));
    loop_end(&loop);
}

static void without_permission(void **state)
{
    (void)state;
    if (geteuid() != 0) {
        test_skip("user", "needs root, to become somebody else");
    }
    in_child(no_permission, NULL);
}

static void pidfd_is_the_callers(void **state)
{
    struct loop *loop = *state;
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    struct pollfd poller = { .events = POLLIN };
    struct gate gate;
    pid_t pid;
    int code;
    int left = -1;

    watch(loop, &gate, &seen, &child, &pid);
    code = sss_child_pidfd(child, &poller.fd);
    if (code != ENOSYS) {
        check_ok(code);
        check_int(fcntl(poller.fd, F_GETFD), FD_CLOEXEC);
        check_int(poll(&poller, 1, 0), 0);
    }
    gate_open(&gate);
    loop_until(loop, &seen.calls, 1);
    check_seen(&seen, pid, 0);
    check_int(sss_child_pidfd(child, &left), ESRCH);
    check_int(left, -1);
    if (code == 0) {
        check_int(poll(&poller, 1, 0), 1);
        check_ok(close(poller.fd));
    }
    check_ok(sss_child_free(child));
    check_int(code, kernel_has_pidfds() ? 0 : ENOSYS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH_WAY(ends_it),
        EACH_WAY(watch_over),
        EACH_WAY(a_zombie_may_be_killed),
        EACH_WAY(in_a_callback),
        EACH_WAY(pidfd_is_the_callers),
        cmocka_unit_test(without_permission),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
