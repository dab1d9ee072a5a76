/* Other code waits for our children: each end is still told once, with the recovered status
 * or as lost. */
#include "support/test.h"

#include <pthread.h>
#include <stdatomic.h>

#include "support/kernel.h"

static int expected(int end)
{
    return kernel_keeps_status() ? status_of(end) : SSS_WAIT_STATUS_LOST;
}

static void steal_one(struct loop *loop, int end)
{
    struct sss_ctx_stats before = stats_of(loop->ctx), after;
    int wanted = expected(end);
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    struct gate gate;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, end);
    check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, &child));
    gate_open(&gate);
    reap(pid, end); /* other code waits for it */
    loop_until(loop, &seen.calls, 1);
    loop_settle(loop);
    check_int(seen.calls, 1);
    check_int(seen.pid, pid);
    check_int(seen.status, wanted);
    after = stats_of(loop->ctx);
    check_int(after.recovered - before.recovered, wanted != SSS_WAIT_STATUS_LOST);
    check_int(after.lost - before.lost, wanted == SSS_WAIT_STATUS_LOST);
    check_int(sss_child_kill(child, SIGKILL), ESRCH);
    check_ok(sss_child_free(child));
}

static void from_an_untrusting_context(void **state)
{
    enum waking waking;
    uint32_t scope;
    struct loop loop;

    (void)state;
    for (scope = SSS_SCOPE_REGISTERED; scope <= SSS_SCOPE_ALL; scope++) {
        for (waking = WAKE_SIGNAL; waking <= WAKE_BOTH; waking++) {
            loop_start(&loop, ctx_untrusted(scope), waking);
            steal_one(&loop, 5);
            steal_one(&loop, BY_SIGNAL(SIGKILL));
            loop_end(&loop);
        }
    }
}

static void by_descriptor(void **state)
{
    steal_one(*state, 5);
}

/* A child without a pidfd: its status is gone, and its end is told as lost. */
static void from_a_trusting_context(void **state)
{
    struct loop *loop = *state;
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    struct gate gate;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, 5);
    check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, &child));
    check_int(stats_of(loop->ctx).young, 1);
    gate_open(&gate);
    reap(pid, 5);
    loop_until(loop, &seen.calls, 1);
    loop_settle(loop);
    check_int(seen.calls, 1);
    check_int(seen.status, SSS_WAIT_STATUS_LOST);
    check(!WIFEXITED(seen.status) && !WIFSIGNALED(seen.status));
    check(!WIFSTOPPED(seen.status) && !WIFCONTINUED(seen.status));
    check_ok(sss_child_free(child));
}

/* The same beside a child that lives on: no later exit leads to a look. */
static void beside_a_live_one(void **state)
{
    struct loop *loop = *state;
    struct seen seen = { 0 }, other_seen = { 0 };
    struct sss_child_ctx *child, *other;
    struct gate gate, other_gate;
    pid_t pid, other_pid;

    gate_make(&gate);
    gate_make(&other_gate);
    other_pid = child_at(&other_gate, 4);
    pid = child_at(&gate, 5);
    check_ok(sss_child_register(NULL, loop->ctx, other_pid, see, &other_seen, &other));
    check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, &child));
    gate_open(&gate);
    reap(pid, 5);
    loop_until(loop, &seen.calls, 1);
    check_int(seen.pid, pid);
    check(seen.status == SSS_WAIT_STATUS_LOST || seen.status == status_of(5));
    check_ok(sss_child_free(child));
    gate_open(&other_gate);
    loop_until(loop, &other_seen.calls, 1);
    check_seen(&other_seen, other_pid, 4);
    check_ok(sss_child_free(other));
}

/* A library that waits for any child, all the time, in a thread of its own. */
static atomic_bool thief_over;
static atomic_uint stolen;

static void *thief(void *unused)
{
    (void)unused;
    while (!atomic_load(&thief_over)) {
        if (waitpid(-1, NULL, WNOHANG) > 0) {
            atomic_fetch_add(&stolen, 1);
        }
    }
    return NULL;
}

static void race_with_a_thief(enum waking waking)
{
    bool keeps = kernel_keeps_status();
    int rounds = test_profile_is("valgrind") ? 20 : 1000;
    pthread_t thread;
    struct loop loop;
    int i;

    atomic_store(&thief_over, false);
    atomic_store(&stolen, 0);
    loop_start(&loop, ctx_untrusted(SSS_SCOPE_REGISTERED), waking);
    check_ok(pthread_create(&thread, NULL, thief, NULL));
    for (i = 0; i < rounds; i++) {
        struct seen seen = { 0 };
        struct sss_child_ctx *child;
        struct gate gate;
        pid_t pid;

        gate_make(&gate);
        pid = child_at(&gate, i % 256);
        check_ok(sss_child_register(NULL, loop.ctx, pid, see, &seen, &child));
        gate_open(&gate);
        loop_until(&loop, &seen.calls, 1);
        loop_settle(&loop);
        check_int(seen.calls, 1);
        check_int(seen.pid, pid);
        if (keeps || seen.status != SSS_WAIT_STATUS_LOST) {
            check_int(seen.status, status_of(i % 256));
        }
        check_ok(sss_child_free(child));
    }
    atomic_store(&thief_over, true);
    check_ok(pthread_join(thread, NULL));
    loop_end(&loop);
    check_no_children();
    printf("%u of %d stolen\n", atomic_load(&stolen), rounds);
}

static void race_by_descriptor(void **state)
{
    (void)state;
    race_with_a_thief(WAKE_DESCRIPTOR);
}

static void race_by_signal(void **state)
{
    (void)state;
    race_with_a_thief(WAKE_SIGNAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(from_an_untrusting_context),
        ONE_WAY(by_descriptor, "_registered", 4),
        ONE_WAY(by_descriptor, "_all", 1),
        ONE_WAY(from_a_trusting_context, "_registered_signal", 3),
        ONE_WAY(from_a_trusting_context, "_registered_both", 5),
        ONE_WAY(from_a_trusting_context, "_all_signal", 0),
        ONE_WAY(from_a_trusting_context, "_all_both", 2),
        EACH_WAY(beside_a_live_one),
        cmocka_unit_test(race_by_descriptor),
        cmocka_unit_test(race_by_signal),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
