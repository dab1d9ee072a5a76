/* si_pid is a hint and need not be true: below 1 it stands for no process. */
#include "support/test.h"

static unsigned strangers;

static uint32_t see_stranger(int pid, int wait_status, void *pvt)
{
    (void)pid;
    (void)wait_status;
    (void)pvt;
    strangers++;
    return SSS_UNKNOWN_TAKEN;
}

static void names_nobody(void **state)
{
    enum { IDLE = 20 };
    static const pid_t hints[] = { 0, -1 };
    struct loop *loop = *state;
    struct sss_child_ctx *idle[IDLE], *child;
    struct gate gate;
    siginfo_t info;
    size_t i;

    strangers = 0;
    check_ok(sss_sigchld_ctx_set_unknown_fn(loop->ctx, see_stranger, NULL));
    gate_make(&gate);
    for (i = 0; i < IDLE; i++) {
        check_ok(sss_child_register(NULL, loop->ctx, child_at(&gate, 0), NULL, NULL, &idle[i]));
    }
    for (i = 0; i < ARRAY_SIZE(hints); i++) {
        struct seen seen = { 0 };
        struct gate own;
        pid_t pid;

        gate_make(&own);
        pid = child_at(&own, 7);
        check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, &child));
        gate_open(&own);
        await_zombie(pid);
        memset(&info, 0, sizeof(info));
        info.si_signo = SIGCHLD;
        info.si_code = CLD_EXITED;
        info.si_pid = hints[i];
        sss_child_handler(NULL, NULL, SIGCHLD, 1, &info, loop->ctx);
        loop_until(loop, &seen.calls, 1);
        check_seen(&seen, pid, 7);
        check_ok(sss_child_free(child));
    }
    check_int(strangers, 0);
    check_int(stats_of(loop->ctx).lost, 0);
    check_int(stats_of(loop->ctx).unknown, 0);
    gate_open(&gate);
    for (i = 0; i < IDLE; i++) {
        check_ok(sss_child_free(idle[i]));
    }
    while (waitpid(-1, NULL, 0) > 0) {
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH_WAY(names_nobody),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
