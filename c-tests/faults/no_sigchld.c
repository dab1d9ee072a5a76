/*
 * The descriptor needs no SIGCHLD: it may be at its default, blocked, ignored, handled by
 * other code, or have SA_NOCLDWAIT. A status that the kernel discards is recovered, or
 * told as lost if it cannot be.
 */
#include "support/test.h"

#include "support/kernel.h"

struct surroundings {
    void (*arrange)(void);
    bool discards; /* the kernel leaves no zombie */
    int expected_handled;
};

static volatile sig_atomic_t handled;

static void somebodys(int signum)
{
    (void)signum;
    handled++;
}

static void take_sigchld(void (*handler)(int), int flags)
{
    struct sigaction action;

    memset(&action, 0, sizeof(action));
    action.sa_handler = handler;
    action.sa_flags = flags;
    check_ok(sigaction(SIGCHLD, &action, NULL));
}

static void by_default(void)
{
    take_sigchld(SIG_DFL, 0);
}

static void blocked(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    check_ok(sigprocmask(SIG_BLOCK, &set, NULL));
}

static void ignored(void)
{
    take_sigchld(SIG_IGN, 0);
}

static void anothers(void)
{
    take_sigchld(somebodys, SA_RESTART);
}

static void nocldwait(void)
{
    take_sigchld(somebodys, SA_NOCLDWAIT | SA_RESTART);
}

static void watch_three(struct loop *loop, bool discards, bool keeps)
{
    static const int ends[] = { 0, 9, BY_SIGNAL(SIGKILL) };
    struct sss_child_ctx *children[ARRAY_SIZE(ends)];
    struct seen seen[ARRAY_SIZE(ends)];
    pid_t pids[ARRAY_SIZE(ends)];
    struct gate gate;
    size_t i;

    memset(seen, 0, sizeof(seen));
    gate_make(&gate);
    for (i = 0; i < ARRAY_SIZE(ends); i++) {
        pids[i] = child_at(&gate, ends[i]);
        check_ok(sss_child_register(NULL, loop->ctx, pids[i], see, &seen[i], &children[i]));
    }
    gate_open(&gate);
    for (i = 0; i < ARRAY_SIZE(ends); i++) {
        loop_until(loop, &seen[i].calls, 1);
        check_int(seen[i].pid, pids[i]);
        check_int(seen[i].status, discards && !keeps ? SSS_WAIT_STATUS_LOST : status_of(ends[i]));
        check_ok(sss_child_free(children[i]));
    }
    loop_settle(loop);
}

static void live_in(void *pvt)
{
    const struct surroundings *around = pvt;
    bool keeps = kernel_keeps_status();
    struct loop loop;
    uint32_t scope;

    for (scope = SSS_SCOPE_REGISTERED; scope <= SSS_SCOPE_ALL; scope++) {
        /* Arranged before the context is made, and after. */
        around->arrange();
        loop_start(&loop, ctx_make(scope, 0), WAKE_DESCRIPTOR);
        watch_three(&loop, around->discards, keeps);
        loop_end(&loop);
        by_default();
        loop_start(&loop, ctx_make(scope, 0), WAKE_DESCRIPTOR);
        around->arrange();
        watch_three(&loop, around->discards, keeps);
        loop_end(&loop);
        by_default();
    }
    check_int(handled > 0, around->expected_handled);
    check_no_children();
}

#define AROUND(name, discards, expected_handled) \
    static void name##_test(void **state) \
    { \
        struct surroundings around = { name, discards, expected_handled }; \
        (void)state; \
        in_child(live_in, &around); \
    }

AROUND(by_default, false, 0)
AROUND(blocked, false, 0)
AROUND(ignored, true, 0)
AROUND(anothers, false, 1)
AROUND(nocldwait, true, 1)

/* A signal loop with a descriptor beside it survives that the signal is lost. */
static void ignored_later(void *unused)
{
    bool keeps = kernel_keeps_status();
    struct loop loop;

    (void)unused;
    loop_start(&loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_BOTH);
    watch_three(&loop, false, keeps);
    ignored();
    watch_three(&loop, true, keeps);
    loop_end(&loop);
}

static void ignored_beside_a_signal_loop(void **state)
{
    (void)state;
    in_child(ignored_later, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_default_test),
        cmocka_unit_test(blocked_test),
        cmocka_unit_test(ignored_test),
        cmocka_unit_test(anothers_test),
        cmocka_unit_test(nocldwait_test),
        cmocka_unit_test(ignored_beside_a_signal_loop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
