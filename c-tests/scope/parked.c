/* Scope ALL keeps statuses of unregistered children: a limited number, and never for another
 * process with the same pid. */
#include "support/test.h"

static void claimed_once(void **state)
{
    struct loop *loop = *state;
    struct seen seen = { 0 };
    struct sss_child_ctx *child, *second = NULL;
    pid_t pid = child_dead(7);

    loop_until_reaped(loop, pid);
    check_int(stats_of(loop->ctx).parked, 1);
    check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, &child));
    check_int(sss_child_kill(child, SIGTERM), ESRCH); /* nothing is left to kill */
    loop_until(loop, &seen.calls, 1);
    check_seen(&seen, pid, 7);
    check_int(stats_of(loop->ctx).parked, 0);
    check_int(sss_child_register(NULL, loop->ctx, pid, see, &seen, &second), ESRCH);
    check(second == NULL);
    check_ok(sss_child_free(child));
}

static void claimed_and_freed(void **state)
{
    struct loop *loop = *state;
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    pid_t pid = child_dead(7);

    loop_until_reaped(loop, pid);
    check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, &child));
    check_ok(sss_child_free(child));
    loop_settle(loop);
    check_int(seen.calls, 0);
}

static void bounded(void **state)
{
    enum { COUNT = 1000 };
    struct loop *loop = *state;
    struct sss_ctx_stats before = stats_of(loop->ctx), after;
    struct seen seen = { 0 };
    static pid_t pids[COUNT];
    struct sss_child_ctx *child;
    unsigned again = 0;
    pid_t pid = 0;
    int i, k;

    for (i = 0; i < COUNT; i++) {
        pid = pids[i] = child_dead(i % 200);
        loop_until_reaped(loop, pid);
        for (k = 0; k < i && pids[k] != pid; k++) {
        }
        again += k < i;
    }
    after = stats_of(loop->ctx);
    check_int(after.unknown - before.unknown, COUNT);
    check(after.parked >= 1 && after.parked <= 512);
    /* A pid may be used again, as other tests fork too. Its new record then replaces the
     * old one, if that is still there. */
    uint64_t kept = after.parked + after.dropped - before.dropped;
    check(kept <= COUNT && kept + again >= COUNT);
    check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, &child));
    loop_until(loop, &seen.calls, 1);
    check_seen(&seen, pid, (COUNT - 1) % 200);
    check_ok(sss_child_free(child));
}

/* The pid of a parked status is a new child's: the status is not the new one's. */
static void not_for_a_new_process(struct loop *loop, bool dead_too)
{
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    struct gate gate;
    pid_t pid = child_dead(7);

    loop_until_reaped(loop, pid);
    gate_make(&gate);
    if (child_with_pid(pid, &gate, 8) != pid) {
        gate_open(&gate);
        test_skip("linux-4.19 valgrind user", "no clone3 with set_tid to be had");
    }
    if (dead_too) {
        gate_open(&gate);
        await_zombie(pid);
    }
    check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, &child));
    if (!dead_too) {
        loop_settle(loop);
        check_int(seen.calls, 0);
        check_ok(sss_child_kill(child, 0));
        gate_open(&gate);
    }
    loop_until(loop, &seen.calls, 1);
    check_seen(&seen, pid, 8);
    check_ok(sss_child_free(child));
}

static void not_for_a_live_one(void **state)
{
    not_for_a_new_process(*state, false);
}

static void not_for_a_zombie(void **state)
{
    not_for_a_new_process(*state, true);
}

/* The status of a freed watch's child is told to nobody, and not kept for a later child. */
static void what_was_watched_is_not_parked(void **state)
{
    struct loop *loop = *state;
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    uint64_t unknown = stats_of(loop->ctx).unknown;
    pid_t pid = child_dead(7);

    check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, &child));
    loop_until(loop, &seen.calls, 1);
    check_ok(sss_child_free(child));
    check_int(stats_of(loop->ctx).parked, 0);
    check_int(stats_of(loop->ctx).unknown, unknown);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ALL_WAYS(claimed_once),
        ALL_WAYS(claimed_and_freed),
        ONE_WAY(bounded, "_all_signal", 0),
        ONE_WAY(bounded, "_all_both", 2),
        ALL_WAYS(not_for_a_live_one),
        ALL_WAYS(not_for_a_zombie),
        ALL_WAYS(what_was_watched_is_not_parked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
