/* A daemon polls the descriptor, and passes SIGCHLD on only once, at its start, to learn of
 * children that have ended by then: children that end later are told too. */
#include "support/kernel.h"
#include "support/test.h"

static uint32_t take(int pid, int wait_status, void *pvt)
{
    see(pid, wait_status, pvt);
    return SSS_UNKNOWN_TAKEN;
}

static void end_one(struct loop *loop)
{
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    struct gate gate;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, 3);
    check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, &child));
    loop_settle(loop);
    gate_open(&gate);
    await_zombie(pid);
    loop_until(loop, &seen.calls, 1);
    check_seen(&seen, pid, 3);
    check_ok(sss_child_free(child));
}

static void later_children_are_told(void **state)
{
    struct loop *loop = *state;

    sss_child_handler(NULL, NULL, SIGCHLD, 1, NULL, loop->ctx);
    end_one(loop);
    end_one(loop);
    check_ok(sss_sigchld_ctx_signalled(loop->ctx, NULL));
    end_one(loop);
}

/* The library has found out at the first child: from then on each child has a pidfd. */
static void a_living_one_gets_a_pidfd(void **state)
{
    struct loop *loop = *state;
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    struct gate gate;
    int64_t deadline;
    pid_t pid;

    if (!kernel_has_pidfds()) {
        test_skip("linux-4.19 valgrind", "no pidfds");
    }
    gate_make(&gate);
    sss_child_handler(NULL, NULL, SIGCHLD, 1, NULL, loop->ctx);
    pid = child_at(&gate, 4);
    check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, &child));
    end_one(loop);
    deadline = now_ms() + DEADLINE_MS;
    while (stats_of(loop->ctx).young > 0) {
        check(now_ms() < deadline);
        loop_turn(loop, 100);
    }
    check_int(stats_of(loop->ctx).old, 1);
    gate_open(&gate);
    loop_until(loop, &seen.calls, 1);
    check_seen(&seen, pid, 4);
    check_ok(sss_child_free(child));
}

static void unknown_ones_are_told(void **state)
{
    struct loop *loop = *state;
    struct seen seen = { 0 };
    struct gate gate;
    pid_t pid;

    check_ok(sss_sigchld_ctx_set_unknown_fn(loop->ctx, take, &seen));
    sss_child_handler(NULL, NULL, SIGCHLD, 1, NULL, loop->ctx);
    loop_settle(loop);
    gate_make(&gate);
    pid = child_at(&gate, 5);
    gate_open(&gate);
    await_zombie(pid);
    loop_until(loop, &seen.calls, 1);
    check_seen(&seen, pid, 5);
    check_ok(sss_sigchld_ctx_set_unknown_fn(loop->ctx, NULL, NULL));
}

/* Before the descriptor is asked for. */
static void it_was_passed_on_before(void **state)
{
    struct sss_sigchild_ctx *ctx = ctx_make(SSS_SCOPE_REGISTERED, 0);
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    struct gate gate;
    struct loop loop;
    pid_t pid;

    (void)state;
    gate_make(&gate);
    pid = child_at(&gate, 6);
    check_ok(sss_child_register(NULL, ctx, pid, see, &seen, &child));
    sss_child_handler(NULL, NULL, SIGCHLD, 1, NULL, ctx);
    loop_start(&loop, ctx, WAKE_DESCRIPTOR);
    loop_settle(&loop);
    gate_open(&gate);
    loop_until(&loop, &seen.calls, 1);
    check_seen(&seen, pid, 6);
    check_ok(sss_child_free(child));
    loop_end(&loop);
    check_no_children();
}

/* Where each signal is passed on no child gets a pidfd. */
static void who_passes_on_each_is_trusted(void **state)
{
    struct loop *loop = *state;
    uint64_t before = stats_of(loop->ctx).promoted; /* the process's */
    unsigned i;

    for (i = 0; i < 5; i++) {
        end_one(loop);
    }
    check_int(stats_of(loop->ctx).promoted, before);
}

/* A look at intervals finds a child before the loop has passed on that child's signal. */
static void who_passes_on_late_is_trusted(void **state)
{
    struct loop *loop = *state;
    struct seen seen = { 0 }, other = { 0 };
    struct sss_child_ctx *child, *living;
    uint64_t before;
    struct gate gate, later;
    int64_t until;
    pid_t pid, lives;

    end_one(loop);
    gate_make(&gate);
    gate_make(&later);
    pid = child_at(&gate, 7);
    lives = child_at(&later, 8);
    check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, &child));
    check_ok(sss_child_register(NULL, loop->ctx, lives, see, &other, &living));
    loop_settle(loop);
    before = stats_of(loop->ctx).promoted;
    gate_open(&gate);
    await_zombie(pid);
    until = now_ms() + 1100;
    while (now_ms() < until) {
        usleep(10000);
    }
    check_ok(sss_sigchld_ctx_dispatch(loop->ctx, 0));
    until = now_ms() + 100;
    while (now_ms() < until) {
        loop_turn(loop, 10);
    }
    loop_until(loop, &seen.calls, 1);
    check_seen(&seen, pid, 7);
    check_int(stats_of(loop->ctx).young, 1);
    check_int(stats_of(loop->ctx).promoted, before);
    gate_open(&later);
    loop_until(loop, &other.calls, 1);
    check_seen(&other, lives, 8);
    check_ok(sss_child_free(child));
    check_ok(sss_child_free(living));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ONE_WAY(later_children_are_told, "_all", 1),
        ONE_WAY(later_children_are_told, "_registered", 4),
        ONE_WAY(a_living_one_gets_a_pidfd, "_all", 1),
        ONE_WAY(a_living_one_gets_a_pidfd, "_registered", 4),
        ONE_WAY(unknown_ones_are_told, "", 1),
        cmocka_unit_test(it_was_passed_on_before),
        ONE_WAY(who_passes_on_each_is_trusted, "_all", 2),
        ONE_WAY(who_passes_on_each_is_trusted, "_registered", 5),
        ONE_WAY(who_passes_on_late_is_trusted, "_all", 2),
        ONE_WAY(who_passes_on_late_is_trusted, "_registered", 5),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
