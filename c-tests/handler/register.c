/* A registered child's end is told once, with its own raw status. */
#include "support/test.h"

static void each_end_is_told(void **state)
{
    static const int ends[] = { 0, 1, 7, 255, BY_SIGNAL(SIGKILL), BY_SIGNAL(SIGTERM) };
    struct loop *loop = *state;
    struct sss_child_ctx *child;
    struct gate gate;
    size_t i;
    pid_t pid;

    for (i = 0; i < ARRAY_SIZE(ends); i++) {
        struct seen seen = { 0 };

        gate_make(&gate);
        pid = child_at(&gate, ends[i]);
        check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, &child));
        loop_settle(loop);
        check_int(seen.calls, 0);
        gate_open(&gate);
        loop_until(loop, &seen.calls, 1);
        loop_settle(loop);
        check_seen(&seen, pid, ends[i]);
        check(!is_child(pid));
        check_ok(sss_child_free(child));
    }
}

static void each_child_has_its_own(void **state)
{
    enum { COUNT = 20 };
    struct loop *loop = *state;
    struct sss_child_ctx *children[COUNT];
    struct seen seen[COUNT];
    struct gate gate;
    pid_t pids[COUNT];
    int i;

    memset(seen, 0, sizeof(seen));
    gate_make(&gate);
    for (i = 0; i < COUNT; i++) {
        pids[i] = child_at(&gate, 100 + i);
        check_ok(sss_child_register(NULL, loop->ctx, pids[i], see, &seen[i], &children[i]));
    }
    gate_open(&gate);
    for (i = 0; i < COUNT; i++) {
        loop_until(loop, &seen[i].calls, 1);
    }
    loop_settle(loop);
    for (i = 0; i < COUNT; i++) {
        check_seen(&seen[i], pids[i], 100 + i);
        check_ok(sss_child_free(children[i]));
    }
}

static void without_a_callback_it_is_reaped(void **state)
{
    struct loop *loop = *state;
    struct sss_child_ctx *child;
    struct gate gate;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, 3);
    check_ok(sss_child_register(NULL, loop->ctx, pid, NULL, NULL, &child));
    gate_open(&gate);
    loop_until_reaped(loop, pid);
    check_int(stats_of(loop->ctx).watches, 0);
    check_ok(sss_child_free(child));
}

static void the_core_bit_is_kept(void **state)
{
    struct loop *loop = *state;
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    siginfo_t info;
    pid_t pid = fork();

    check(pid != -1);
    if (pid == 0) {
        raise(SIGABRT);
        _exit(EXIT_FAILURE);
    }
    /* Whether it dumps core depends on the machine; the status tells. */
    check_ok(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT));
    check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, &child));
    loop_until(loop, &seen.calls, 1);
    check(WIFSIGNALED(seen.status));
    check_int(WTERMSIG(seen.status), SIGABRT);
    check_int(WCOREDUMP(seen.status) != 0, info.si_code == CLD_DUMPED);
    check_ok(sss_child_free(child));
}

static void one_after_the_other(void **state)
{
    enum { COUNT = 8 };
    struct loop *loop = *state;
    struct seen seen = { 0 };
    struct sss_child_ctx *children[COUNT];
    pid_t pid;
    unsigned i;

    for (i = 0; i < COUNT; i++) {
        pid = child_dead((int)i);
        check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, &children[i]));
        loop_until(loop, &seen.calls, i + 1);
        check_int(seen.pid, pid);
        check_int(seen.status, status_of((int)i));
        check_ok(sss_child_free(children[i]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH_WAY(each_end_is_told),
        EACH_WAY(each_child_has_its_own),
        EACH_WAY(without_a_callback_it_is_reaped),
        EACH_WAY(the_core_bit_is_kept),
        EACH_WAY(one_after_the_other),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
