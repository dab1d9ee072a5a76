/* A storm of SIGCHLDs that tell of no child: no exit is lost or told twice. */
#include "support/test.h"

#include "support/kernel.h"

#include <sys/prctl.h>

/* A process that sends us SIGCHLD until the gate opens. */
static pid_t start_storm(struct gate *gate)
{
    pid_t target = getpid();
    pid_t pid = fork();

    check(pid != -1);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(gate->wr);
        while (getppid() == target && kill(target, SIGCHLD) == 0) {
        }
        _exit(0);
    }
    return pid;
}

static void beside_real_exits(void **state)
{
    struct loop *loop = *state;
    struct seen storm_seen = { 0 };
    struct sss_child_ctx *child, *storm_child;
    struct gate gate;
    pid_t storm, pid;
    int rounds = test_profile_is("valgrind") ? 20 : 500;
    int i;

    gate_make(&gate);
    storm = start_storm(&gate);
    check_ok(sss_child_register(NULL, loop->ctx, storm, see, &storm_seen, &storm_child));
    for (i = 0; i < rounds; i++) {
        struct seen seen = { 0 };

        pid = child_at(NULL, i % 256);
        check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, &child));
        loop_until(loop, &seen.calls, 1);
        check_seen(&seen, pid, i % 256);
        check_ok(sss_child_free(child));
    }
    check_ok(sss_child_kill(storm_child, SIGKILL));
    loop_until(loop, &storm_seen.calls, 1);
    check_seen(&storm_seen, storm, BY_SIGNAL(SIGKILL));
    check_int(stats_of(loop->ctx).delivered, rounds + 1);
    check_ok(sss_child_free(storm_child));
    gate_open(&gate);
}

/* Wrong hints: si_pid is that of any process. */
static void with_false_hints(void **state)
{
    struct loop *loop = *state;
    struct seen seen = { 0 }, other_seen = { 0 };
    struct sss_child_ctx *child, *other;
    struct gate gate, foreign_gate;
    siginfo_t info;
    pid_t pid, other_pid, foreign;
    int hints[8];
    size_t i;

    if (loop->sigfd == -1 && !kernel_has_pidfds()) {
        test_skip("linux-4.19 valgrind", "a signal that came once is relied on where there are no pidfds");
    }
    gate_make(&gate);
    gate_make(&foreign_gate);
    pid = child_at(&gate, 1);
    other_pid = child_at(&gate, 2);
    foreign = child_at(&foreign_gate, 3);
    check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, &child));
    check_ok(sss_child_register(NULL, loop->ctx, other_pid, see, &other_seen, &other));
    hints[0] = 0;
    hints[1] = -1;
    hints[2] = 1;
    hints[3] = getpid();
    hints[4] = pid;
    hints[5] = foreign;
    hints[6] = INT32_MAX;
    hints[7] = INT32_MIN;
    for (i = 0; i < ARRAY_SIZE(hints); i++) {
        memset(&info, 0, sizeof(info));
        info.si_signo = SIGCHLD;
        info.si_code = CLD_EXITED;
        info.si_pid = hints[i];
        sss_child_handler(NULL, NULL, SIGCHLD, 1, &info, loop->ctx);
        info.si_code = CLD_STOPPED;
        sss_child_handler(NULL, NULL, SIGCHLD, 1, &info, loop->ctx);
        info.si_code = SI_USER;
        sss_child_handler(NULL, NULL, SIGCHLD, 1, &info, loop->ctx);
    }
    check_int(seen.calls + other_seen.calls, 0);
    gate_open(&gate);
    loop_until(loop, &seen.calls, 1);
    loop_until(loop, &other_seen.calls, 1);
    check_seen(&seen, pid, 1);
    check_seen(&other_seen, other_pid, 2);
    check(is_child(foreign));
    gate_open(&foreign_gate);
    await_zombie(foreign);
    reap(foreign, 3);
    check_ok(sss_child_free(child));
    check_ok(sss_child_free(other));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH_WAY(beside_real_exits),
        EACH_WAY(with_false_hints),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
