/* A child that the library starts and does not watch is the caller's to wait for. */
#include "support/test.h"

#include <fcntl.h>
#include <sys/syscall.h>

#include "support/kernel.h"
#include "support/spawn.h"

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

static const char *const argv[] = { "sh", "-c", "exit 7", NULL };

static struct sss_spawn seven(void)
{
    struct sss_spawn spawn = spawn_zero();

    spawn.path = "/bin/sh";
    spawn.argv = argv;
    return spawn;
}

static void is_waited_for_by_the_caller(void **state)
{
    struct loop *loop = *state;
    struct sss_spawn spawn = seven();
    struct sss_ctx_stats before = stats_of(loop->ctx);
    int status;
    pid_t pid;

    check_ok(sss_child_spawn_unwatched(&spawn, &pid, NULL));
    await_zombie(pid);
    loop_settle(loop);
    check_int(stats_of(loop->ctx).reaped, before.reaped);
    check_int(waitpid(pid, &status, 0), pid);
    check_int(status, 7 << 8);
}

static void can_be_registered_later(void **state)
{
    struct loop *loop = *state;
    struct sss_spawn spawn = seven();
    struct sss_child_ctx *child;
    struct seen seen = { 0 };
    pid_t pid;

    check_ok(sss_child_spawn_unwatched(&spawn, &pid, NULL));
    check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, &child));
    loop_until(loop, &seen.calls, 1);
    check_seen(&seen, pid, 7);
    check_ok(sss_child_free(child));
}

static void needs_no_context(void **state)
{
    struct sss_spawn spawn = seven();
    int status;
    pid_t pid;

    (void)state;
    check_ok(sss_child_spawn_unwatched(&spawn, &pid, NULL));
    check_int(waitpid(pid, &status, 0), pid);
    check_int(status, 7 << 8);
}

static void its_pidfd(void **state)
{
    struct sss_spawn spawn = seven();
    unsigned fds = count_fds();
    siginfo_t info;
    int pidfd = -1;
    errno_t ret;
    pid_t pid;

    (void)state;
    if (test_profile_is("valgrind")) {
        test_skip("valgrind", "it lets clone(2) give a pidfd, and refuses pidfd_open(2)");
    }
    ret = sss_child_spawn_unwatched(&spawn, &pid, &pidfd);
    if (!kernel_has_pidfds()) {
        check_int(ret, ENOTSUP);
        check_int(pidfd, -1);
        check(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD);
        return;
    }
    check_ok(ret);
    check(pidfd > 2);
    check_int(fcntl(pidfd, F_GETFD), FD_CLOEXEC);
    check_int(waitid((idtype_t)P_PIDFD, (id_t)pidfd, &info, WEXITED), 0);
    check_int(info.si_pid, pid);
    check_int(info.si_status, 7);
    check_int(close(pidfd), 0);
    check_int(count_fds(), fds);
}

static void what_is_refused(void **state)
{
    static const char *const none[] = { "none", NULL };
    struct sss_spawn spawn = seven();
    uint32_t step = 0;
    pid_t pid = -1;
    int pidfd = -1;

    (void)state;
    check_int(sss_child_spawn_unwatched(NULL, &pid, NULL), EINVAL);
    check_int(sss_child_spawn_unwatched(&spawn, NULL, NULL), EINVAL);
    spawn.failed_step = &step;
    spawn.mask |= SSS_SPAWN_GATE;
    check_int(sss_child_spawn_unwatched(&spawn, &pid, &pidfd), ENOTSUP);
    check_int(step, SSS_SPAWN_STEP_GATE);
    spawn = seven();
    spawn.failed_step = &step;
    spawn.path = "/nonexistent";
    spawn.argv = none;
    check_int(sss_child_spawn_unwatched(&spawn, &pid, NULL), ENOENT);
    check_int(step, SSS_SPAWN_STEP_EXEC);
    check_int(pid, -1);
    check_int(pidfd, -1);
    check(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ONE_WAY(is_waited_for_by_the_caller, "_registered_signal", 3),
        ONE_WAY(is_waited_for_by_the_caller, "_registered_descriptor", 4),
        ONE_WAY(can_be_registered_later, "_registered_signal", 3),
        ONE_WAY(can_be_registered_later, "_registered_descriptor", 4),
        cmocka_unit_test(needs_no_context),
        cmocka_unit_test(its_pidfd),
        cmocka_unit_test(what_is_refused),
    };

    return RUN_BOTH_MANNERS(tests);
}
