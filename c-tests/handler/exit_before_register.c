/* A child that is dead when it is registered is told too. */
#include "support/test.h"

static void signal_still_pending(void **state)
{
    struct loop *loop = *state;
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    pid_t pid = child_dead(5);

    check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, &child));
    check_int(seen.calls, 0); /* never from inside register */
    loop_until(loop, &seen.calls, 1);
    loop_settle(loop);
    check_seen(&seen, pid, 5);
    check_ok(sss_child_free(child));
}

/* No further SIGCHLD comes; in scope ALL the status was parked meanwhile. */
static void signal_already_taken(void **state)
{
    struct loop *loop = *state;
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    pid_t pid = child_dead(6);

    loop_settle(loop);
    check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, &child));
    check_int(seen.calls, 0);
    loop_until(loop, &seen.calls, 1);
    loop_settle(loop);
    check_seen(&seen, pid, 6);
    check(!is_child(pid));
    check_ok(sss_child_free(child));
}

static void many_at_once(void **state)
{
    enum { COUNT = 50 };
    struct loop *loop = *state;
    struct sss_child_ctx *children[COUNT];
    struct seen seen[COUNT];
    pid_t pids[COUNT];
    int i;

    memset(seen, 0, sizeof(seen));
    for (i = 0; i < COUNT; i++) {
        pids[i] = child_dead(i);
    }
    loop_settle(loop);
    for (i = 0; i < COUNT; i++) {
        check_ok(sss_child_register(NULL, loop->ctx, pids[i], see, &seen[i], &children[i]));
    }
    for (i = 0; i < COUNT; i++) {
        loop_until(loop, &seen[i].calls, 1);
        check_seen(&seen[i], pids[i], i);
        check_ok(sss_child_free(children[i]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH_WAY(signal_still_pending),
        EACH_WAY(signal_already_taken),
        EACH_WAY(many_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
