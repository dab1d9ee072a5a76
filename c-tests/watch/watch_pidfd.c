/* profiles: all but linux-4.19 valgrind: no pidfds */
/* Children that are watched by a pidfd, and bad input. */
#include "support/test.h"

#include <fcntl.h>
#include <sys/syscall.h>

#include "support/told.h"

#ifndef PIDFD_THREAD
#define PIDFD_THREAD O_EXCL
#endif

static int pidfd_of(pid_t pid, unsigned flags)
{
    return (int)syscall(SYS_pidfd_open, pid, flags);
}

static int pidfd_needed(pid_t pid)
{
    int pidfd = pidfd_of(pid, 0);

    if (pidfd == -1 && (errno == ENOSYS || errno == EPERM)) {
        check_ok(kill(pid, SIGKILL));
        check_int(waitpid(pid, NULL, 0), pid);
        test_skip("linux-4.19 valgrind", "no pidfds");
    }
    check(pidfd >= 0);
    return pidfd;
}

static struct sss_watch by_pidfd(int pidfd, struct told *told)
{
    struct sss_watch watch = watch_of(0, told);

    watch.mask = SSS_WATCH_PIDFD;
    watch.pidfd = pidfd;
    return watch;
}

static void duplicated_or_taken_over(void **state)
{
    struct loop *loop = *state;
    int taken;

    for (taken = 0; taken < 2; taken++) {
        struct told told = { 0 };
        struct sss_watch watch;
        struct sss_child_ctx *child;
        struct gate gate;
        int pidfd;
        pid_t pid;

        gate_make(&gate);
        pid = child_at(&gate, 6);
        pidfd = pidfd_needed(pid);
        watch = by_pidfd(pidfd, &told);
        watch.mask |= taken ? SSS_WATCH_TAKE_PIDFD : 0;
        check_ok(sss_child_watch(NULL, loop->ctx, &watch, &child));
        check_int(fcntl(pidfd, F_GETFD) == -1, taken);
        if (!taken) {
            check_ok(close(pidfd));
        }
        gate_open(&gate);
        loop_until(loop, &told.calls, 1);
        check_told(&told, pid, 6);
        check_ok(sss_child_free(child));
    }
}

static void one_that_has_ended(void **state)
{
    struct loop *loop = *state;
    struct told told = { 0 };
    struct sss_watch watch;
    struct sss_child_ctx *child;
    int pidfd;
    pid_t pid = child_dead(BY_SIGNAL(SIGTERM));

    pidfd = pidfd_needed(pid);
    watch = by_pidfd(pidfd, &told);
    check_ok(sss_child_watch(NULL, loop->ctx, &watch, &child));
    loop_until(loop, &told.calls, 1);
    check_told(&told, pid, BY_SIGNAL(SIGTERM));
    /* Its pidfd means this one child, which is gone. */
    watch = by_pidfd(pidfd, &told);
    check_int(sss_child_watch(NULL, loop->ctx, &watch, &child), ESRCH);
    check_ok(close(pidfd));
    check_ok(sss_child_free(told.child));
}

static void one_that_is_watched_by_its_pid_too(void **state)
{
    struct loop *loop = *state;
    struct told by_pid = { 0 }, told = { 0 };
    struct sss_watch watch;
    struct sss_child_ctx *children[2];
    struct gate gate;
    int pidfd;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, 6);
    pidfd = pidfd_needed(pid);
    children[0] = watch_child(loop->ctx, pid, &by_pid);
    watch = by_pidfd(pidfd, &told);
    watch.mask |= SSS_WATCH_TAKE_PIDFD;
    check_ok(sss_child_watch(NULL, loop->ctx, &watch, &children[1]));
    gate_open(&gate);
    loop_until(loop, &told.calls, 1);
    loop_settle(loop);
    check_told(&told, pid, 6);
    check_told(&by_pid, pid, 6);
    check_ok(sss_child_free(children[0]));
    check_ok(sss_child_free(children[1]));
}

/* Its end is known, and a pidfd that comes now tells nothing of it. */
static void one_that_lies_dead_and_is_kept(void **state)
{
    const struct sss_deadline_step step = { .after_ns = 0, .signum = SIGTERM };
    const struct sss_deadline deadline = {
        .size = sizeof(deadline), .steps = &step, .steps_count = 1,
    };
    struct loop *loop = *state;
    struct told kept = { 0 }, told = { 0 }, identified = { 0 };
    struct sss_child_ctx *children[3];
    struct sss_watch watch;
    int pidfd;
    pid_t pid = child_dead(4);

    pidfd = pidfd_needed(pid);
    watch = watch_of(pid, &kept);
    watch.mask |= SSS_WATCH_KEEP_ZOMBIE;
    check_ok(sss_child_watch(NULL, loop->ctx, &watch, &children[0]));
    check(is_child(pid));
    watch = by_pidfd(pidfd, &told);
    watch.mask |= SSS_WATCH_TAKE_PIDFD;
    watch.deadline = loop->ctxfd == -1 ? NULL : &deadline;
    check_ok(sss_child_watch(NULL, loop->ctx, &watch, &children[1]));
    watch = watch_of(pid, &identified);
    watch.mask |= SSS_WATCH_WANT;
    watch.want = SSS_RECORD_IDENTITY;
    check_ok(sss_child_watch(NULL, loop->ctx, &watch, &children[2]));
    loop_until(loop, &kept.calls, 1);
    loop_until(loop, &told.calls, 1);
    loop_until(loop, &identified.calls, 1);
    loop_settle(loop);
    check_told(&kept, pid, 4);
    check_told(&told, pid, 4);
    check_told(&identified, pid, 4);
    check(!is_child(pid));
    check_ok(sss_child_free(children[0]));
    check_ok(sss_child_free(children[1]));
    check_ok(sss_child_free(children[2]));
}

static void what_is_no_pidfd_of_a_child(void **state)
{
    struct loop *loop = *state;
    struct told told = { 0 };
    struct sss_watch watch;
    struct sss_child_ctx *child = NULL;
    struct gate gate;
    char path[64];
    int other;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, 6);
    check_ok(close(pidfd_needed(pid)));
    watch = by_pidfd(-1, &told);
    check_int(sss_child_watch(NULL, loop->ctx, &watch, &child), EBADF);
    watch = by_pidfd(gate.rd, &told);
    check_int(sss_child_watch(NULL, loop->ctx, &watch, &child), EBADF);
    /* Signals can be sent by it, but nobody can wait by it. */
    snprintf(path, sizeof(path), "/proc/%d", pid);
    other = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    check(other >= 0);
    watch = by_pidfd(other, &told);
    check_int(sss_child_watch(NULL, loop->ctx, &watch, &child), EBADF);
    check_ok(close(other));
    /* Strangers: the test itself and its parent. */
    other = pidfd_of(getpid(), 0);
    watch = by_pidfd(other, &told);
    check_int(sss_child_watch(NULL, loop->ctx, &watch, &child), ESRCH);
    watch.mask |= SSS_WATCH_TAKE_PIDFD;
    check_int(sss_child_watch(NULL, loop->ctx, &watch, &child), ESRCH);
    check_ok(close(other)); /* it was not taken */
    other = pidfd_of(getppid(), 0);
    check(other >= 0);
    watch = by_pidfd(other, &told);
    check_int(sss_child_watch(NULL, loop->ctx, &watch, &child), ESRCH);
    check_ok(close(other));
    other = pidfd_of(pid, PIDFD_THREAD);
    if (other >= 0) { /* Linux 6.9 */
        watch = by_pidfd(other, &told);
        check_int(sss_child_watch(NULL, loop->ctx, &watch, &child), EINVAL);
        check_ok(close(other));
    }
    check(child == NULL);
    check_int(stats_of(loop->ctx).watches, 0);
    gate_open(&gate);
    reap(pid, 6);
}

static void bad_input(void **state)
{
    static const struct {
        uint32_t mask;
        uint32_t events;
        uint32_t want;
        int32_t pid;
        uint32_t reserved;
        int expected;
    } cases[] = {
        { 0, 0, 0, 0, 0, EINVAL },
        { SSS_WATCH_PID | SSS_WATCH_PIDFD, 0, 0, 0, 0, EINVAL },
        { SSS_WATCH_PID | 0x80000000, 0, 0, 0, 0, EINVAL },
        { SSS_WATCH_PID | 0x10, 0, 0, 0, 0, EINVAL },
        { SSS_WATCH_PID | SSS_WATCH_TAKE_PIDFD, 0, 0, 0, 0, EINVAL },
        { SSS_WATCH_PID | SSS_WATCH_EVENTS, 0, 0, 0, 0, EINVAL },
        { SSS_WATCH_PID | SSS_WATCH_EVENTS, 0x100, 0, 0, 0, EINVAL },
        { SSS_WATCH_PID | SSS_WATCH_EVENTS, SSS_CHILD_EVENT_LOST, 0, 0, 0, EINVAL },
        { SSS_WATCH_PID | SSS_WATCH_WANT, 0, 0, 0, 0, EINVAL },
        { SSS_WATCH_PID | SSS_WATCH_WANT, 0, 0x100, 0, 0, EINVAL },
        { SSS_WATCH_PID, 0, 0, -1, 0, EINVAL },
        { SSS_WATCH_PID, 0, 0, INT32_MIN, 0, EINVAL },
        { SSS_WATCH_PID, 0, 0, 1, 0, ESRCH },
        { SSS_WATCH_PID, 0, 0, INT32_MAX, 0, ESRCH },
        { SSS_WATCH_PID, 0, 0, 0, 1, EINVAL },
    };
    struct loop *loop = *state;
    struct told told = { 0 };
    struct sss_watch watch;
    struct sss_child_ctx *child = NULL;
    struct gate gate;
    size_t i;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, 1);
    for (i = 0; i < ARRAY_SIZE(cases); i++) {
        watch = watch_of(cases[i].pid == 0 ? pid : cases[i].pid, &told);
        watch.mask = cases[i].mask;
        watch.events = cases[i].events;
        watch.want = cases[i].want;
        watch.reserved = cases[i].reserved;
        check_int(sss_child_watch(NULL, loop->ctx, &watch, &child), cases[i].expected);
    }
    watch = watch_of(pid, &told);
    check_int(sss_child_watch(NULL, NULL, &watch, &child), EINVAL);
    check_int(sss_child_watch(NULL, loop->ctx, NULL, &child), EINVAL);
    check_int(sss_child_watch(loop, loop->ctx, &watch, &child), EINVAL);
    watch.size = 8;
    check_int(sss_child_watch(NULL, loop->ctx, &watch, &child), EINVAL);
    watch.size = 4097;
    check_int(sss_child_watch(NULL, loop->ctx, &watch, &child), E2BIG);
    check(child == NULL);
    check_int(stats_of(loop->ctx).watches, 0);
    check_ok(sss_child_register(NULL, loop->ctx, pid, NULL, NULL, &child));
    gate_open(&gate);
    loop_until_reaped(loop, pid);
    check_ok(sss_child_free(child));
    check_int(told.calls, 0);
}

static void no_other_callback_can_be_set(void **state)
{
    struct loop *loop = *state;
    struct told told = { 0 };
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    struct gate gate;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, 1);
    child = watch_child(loop->ctx, pid, &told);
    check_int(sss_child_set_cb(child, see, &seen), ENOTSUP);
    gate_open(&gate);
    loop_until(loop, &told.calls, 1);
    check_told(&told, pid, 1);
    check_ok(sss_child_free(child));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH_WAY(duplicated_or_taken_over),
        EACH_WAY(one_that_has_ended),
        EACH_WAY(one_that_is_watched_by_its_pid_too),
        EACH_WAY(one_that_lies_dead_and_is_kept),
        EACH_WAY(what_is_no_pidfd_of_a_child),
        EACH_WAY(bad_input),
        EACH_WAY(no_other_callback_can_be_set),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
