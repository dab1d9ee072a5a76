/*
 * Scope ALL: the SIGCHLD of an unknown child merges with that of a known one, and no
 * further SIGCHLD comes. The unknown child is told within a second, and so are very many,
 * and a known child that somebody else has reaped.
 */
#include "support/alarm.h"
#include "support/test.h"

enum { LOOK_WITHIN_MS = 1000, EARLIER_MS = 300, MOST = 500 };

struct crowd {
    struct gate gate;
    struct sss_child_ctx *children[MOST];
    pid_t pids[MOST];
    int count;
};

static void crowd_start(struct crowd *crowd, struct loop *loop, int count)
{
    int i;

    crowd->count = count;
    gate_make(&crowd->gate);
    for (i = 0; i < count; i++) {
        crowd->pids[i] = child_at(&crowd->gate, 0);
        check_ok(sss_child_register(NULL, loop->ctx, crowd->pids[i], NULL, NULL,
                                    &crowd->children[i]));
    }
}

static void crowd_end(struct crowd *crowd, struct loop *loop)
{
    int i;

    gate_open(&crowd->gate);
    for (i = 0; i < crowd->count; i++) {
        loop_until_reaped(loop, crowd->pids[i]);
        check_ok(sss_child_free(crowd->children[i]));
    }
}

static uint32_t tell(int pid, int wait_status, void *pvt)
{
    see(pid, wait_status, pvt);
    return SSS_UNKNOWN_TAKEN;
}

static void die_one_after_the_other(struct gate *first, pid_t first_pid, struct gate *second,
                                    pid_t second_pid)
{
    gate_open(first);
    await_zombie(first_pid);
    gate_open(second);
    await_zombie(second_pid);
}

/* No signal tells of the second one: either it was found already, or the library's timer is
 * set for a look. */
static void is_told_within_a_second(struct loop *loop, const struct seen *seen)
{
    check(seen->calls == 1 || alarm_due_within(LOOK_WITHIN_MS));
    loop_until(loop, &seen->calls, 1);
}

static void both_are_told(struct loop *loop, bool known_first)
{
    struct seen known_seen = { 0 }, unknown_seen = { 0 };
    struct gate known_gate, unknown_gate;
    struct sss_child_ctx *child;
    pid_t known, unknown;

    check_ok(sss_sigchld_ctx_set_unknown_fn(loop->ctx, tell, &unknown_seen));
    gate_make(&known_gate);
    gate_make(&unknown_gate);
    known = child_at(&known_gate, 1);
    unknown = child_at(&unknown_gate, 2);
    check_ok(sss_child_register(NULL, loop->ctx, known, see, &known_seen, &child));
    loop_settle(loop);

    /* SIGCHLD is blocked: the pending one has the first child's si_pid, and the second child's
     * merges with it. */
    if (known_first) {
        die_one_after_the_other(&known_gate, known, &unknown_gate, unknown);
    } else {
        die_one_after_the_other(&unknown_gate, unknown, &known_gate, known);
    }
    loop_until(loop, &known_seen.calls, 1);
    is_told_within_a_second(loop, &unknown_seen);
    check_seen(&known_seen, known, 1);
    check_seen(&unknown_seen, unknown, 2);
    check_ok(sss_child_free(child));
    check_ok(sss_sigchld_ctx_set_unknown_fn(loop->ctx, NULL, NULL));
}

static void in_a_crowd(struct loop *loop, int count)
{
    struct crowd crowd;
    int i;

    crowd_start(&crowd, loop, count);
    for (i = 0; i < 3; i++) {
        both_are_told(loop, true);
        both_are_told(loop, false);
    }
    crowd_end(&crowd, loop);
}

static void alone(void **state)
{
    in_a_crowd(*state, 0);
}

static void among_a_few(void **state)
{
    in_a_crowd(*state, 20);
}

static void among_many(void **state)
{
    in_a_crowd(*state, test_profile_is("valgrind") ? 50 : MOST);
}

/* A look with waitpid(-1) finds the child that the signal named, but does not show that other
 * code has reaped the other one. */
static void one_was_taken_among(struct loop *loop, int count)
{
    struct seen seen = { 0 }, taken_seen = { 0 };
    struct gate gate, taken_gate;
    struct sss_child_ctx *child, *taken_child;
    struct crowd crowd;
    pid_t pid, taken;

    crowd_start(&crowd, loop, count);
    gate_make(&gate);
    gate_make(&taken_gate);
    pid = child_at(&gate, 1);
    taken = child_at(&taken_gate, 2);
    check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, &child));
    check_ok(sss_child_register(NULL, loop->ctx, taken, see, &taken_seen, &taken_child));
    loop_settle(loop);

    die_one_after_the_other(&gate, pid, &taken_gate, taken);
    reap(taken, 2); /* other code waits for it */
    loop_until(loop, &seen.calls, 1);
    is_told_within_a_second(loop, &taken_seen);
    check_seen(&seen, pid, 1);
    if (loop->ctxfd == -1) {
        check_int(taken_seen.status, SSS_WAIT_STATUS_LOST);
    }
    check_ok(sss_child_free(child));
    check_ok(sss_child_free(taken_child));
    crowd_end(&crowd, loop);
}

/* The library's timer may still run for an earlier look that is over, and its signal may merge
 * with an exit's. The timer must be set again for the child that other code has reaped. */
static void one_was_taken_and_the_timer_merged(void **state)
{
    struct seen seen = { 0 }, taken_seen = { 0 }, last_seen = { 0 };
    struct gate gate, taken_gate, last_gate;
    struct sss_child_ctx *child, *taken_child, *last_child;
    struct loop *loop = *state;
    struct crowd crowd;
    pid_t pid, taken, last;
    int64_t began;

    gate_make(&gate);
    gate_make(&taken_gate);
    gate_make(&last_gate);
    pid = child_at(&gate, 1);
    taken = child_at(&taken_gate, 2);
    last = child_at(&last_gate, 3);
    check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, &child));
    check_ok(sss_child_register(NULL, loop->ctx, taken, see, &taken_seen, &taken_child));
    check_ok(sss_child_register(NULL, loop->ctx, last, see, &last_seen, &last_child));
    crowd_start(&crowd, loop, 1); /* without a living child each is waited for */
    loop_until_reaped(loop, child_dead(4)); /* any look that was due before is made */
    loop_until_reaped(loop, child_dead(4)); /* sets the timer */
    began = now_ms();
    check_ok(raise(SIGCHLD)); /* names no child, so all are looked at */
    while (now_ms() < began + EARLIER_MS) {
        loop_turn(loop, 10);
    }

    die_one_after_the_other(&gate, pid, &taken_gate, taken);
    reap(taken, 2);
    loop_until(loop, &seen.calls, 1);
    /* On a busy machine the timer may have made the look already: then no signal comes. */
    if (loop->ctxfd == -1 && taken_seen.calls == 0) {
        await_sigchld_pending();
    }
    gate_open(&last_gate);
    await_zombie(last);
    loop_until(loop, &last_seen.calls, 1);
    loop_until(loop, &taken_seen.calls, 1);
    check_seen(&seen, pid, 1);
    check_seen(&last_seen, last, 3);
    check_ok(sss_child_free(child));
    check_ok(sss_child_free(taken_child));
    check_ok(sss_child_free(last_child));
    crowd_end(&crowd, loop);
}

static void one_was_taken(void **state)
{
    one_was_taken_among(*state, 0);
    one_was_taken_among(*state, 5);
    one_was_taken_among(*state, 20);
}

/* To reap them all takes longer than one look may: the rest must not be forgotten. */
static void more_than_one_look_takes(void **state)
{
    const unsigned unknown = test_profile_is("valgrind") ? 300 : 4000;
    struct loop *loop = *state;
    struct crowd crowd;
    unsigned before, i;

    crowd_start(&crowd, loop, 20);
    loop_settle(loop);
    before = (unsigned)stats_of(loop->ctx).unknown;
    for (i = 0; i < unknown; i++) {
        child_dead(1);
    }
    while (stats_of(loop->ctx).unknown < before + unknown) {
        check(loop_turn(loop, DEADLINE_MS) > 0);
    }
    crowd_end(&crowd, loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ALL_WAYS(alone),
        ALL_WAYS(among_a_few),
        ALL_WAYS(among_many),
        ALL_WAYS(one_was_taken),
        ALL_WAYS(one_was_taken_and_the_timer_merged),
        ALL_WAYS(more_than_one_look_takes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
