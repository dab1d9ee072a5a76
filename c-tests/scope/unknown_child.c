/* Children that nobody registered are told to the unknown-child callback of scope ALL. */
#include "support/test.h"

struct answer {
    struct seen seen;
    uint32_t verdict;
};

static uint32_t tell(int pid, int wait_status, void *pvt)
{
    struct answer *answer = pvt;

    see(pid, wait_status, &answer->seen);
    return answer->verdict;
}

static void told_once(struct loop *loop, uint32_t verdict)
{
    struct answer answer = { .verdict = verdict };
    struct seen seen = { 0 };
    struct sss_child_ctx *child = NULL;
    pid_t pid;

    check_ok(sss_sigchld_ctx_set_unknown_fn(loop->ctx, tell, &answer));
    pid = child_dead(9);
    loop_until(loop, &answer.seen.calls, 1);
    loop_settle(loop);
    check_seen(&answer.seen, pid, 9);
    if (verdict == SSS_UNKNOWN_TAKEN) {
        check_int(stats_of(loop->ctx).parked, 0);
        check_int(sss_child_register(NULL, loop->ctx, pid, see, &seen, &child), ESRCH);
        return;
    }
    check_int(stats_of(loop->ctx).parked, 1);
    check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, &child));
    loop_until(loop, &seen.calls, 1);
    check_seen(&seen, pid, 9);
    check_int(answer.seen.calls, 1);
    check_ok(sss_child_free(child));
}

static void taken(void **state)
{
    told_once(*state, SSS_UNKNOWN_TAKEN);
}

static void parked(void **state)
{
    told_once(*state, SSS_UNKNOWN_PARK);
}

static void any_other_answer_parks(void **state)
{
    told_once(*state, 77);
}

static void many(void **state)
{
    const unsigned count = test_profile_is("valgrind") ? 300 : 1000; /* more than are parked */
    struct loop *loop = *state;
    struct answer answer = { .verdict = SSS_UNKNOWN_TAKEN };
    uint64_t dropped = stats_of(loop->ctx).dropped;
    struct gate gate;
    unsigned i;

    check_ok(sss_sigchld_ctx_set_unknown_fn(loop->ctx, tell, &answer));
    gate_make(&gate);
    for (i = 0; i < count; i++) {
        child_at(&gate, (int)(i % 256));
    }
    gate_open(&gate);
    loop_until(loop, &answer.seen.calls, count);
    loop_settle(loop);
    check_int(answer.seen.calls, count);
    check_int(stats_of(loop->ctx).dropped, dropped);
}

static void registered_ones_do_not_go_there(void **state)
{
    struct loop *loop = *state;
    struct answer answer = { .verdict = SSS_UNKNOWN_TAKEN };
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    pid_t pid = child_dead(1);

    check_ok(sss_sigchld_ctx_set_unknown_fn(loop->ctx, tell, &answer));
    check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, &child));
    loop_until(loop, &seen.calls, 1);
    check_ok(sss_child_free(child));
    check_int(answer.seen.calls, 0);
}

static void freed_ones_do_not_go_there(void **state)
{
    struct loop *loop = *state;
    struct answer answer = { .verdict = SSS_UNKNOWN_TAKEN };
    struct sss_child_ctx *child;
    struct gate gate;
    pid_t pid;

    check_ok(sss_sigchld_ctx_set_unknown_fn(loop->ctx, tell, &answer));
    gate_make(&gate);
    pid = child_at(&gate, 1);
    check_ok(sss_child_register(NULL, loop->ctx, pid, NULL, NULL, &child));
    check_ok(sss_child_free(child));
    gate_open(&gate);
    loop_until_reaped(loop, pid);
    check_int(answer.seen.calls, 0);
}

static void released_ones_go_there(void **state)
{
    struct loop *loop = *state;
    struct answer answer = { .verdict = SSS_UNKNOWN_TAKEN };
    struct sss_child_ctx *child;
    struct gate gate;
    pid_t pid;

    check_ok(sss_sigchld_ctx_set_unknown_fn(loop->ctx, tell, &answer));
    gate_make(&gate);
    pid = child_at(&gate, 1);
    check_ok(sss_child_register(NULL, loop->ctx, pid, NULL, NULL, &child));
    check_ok(sss_child_release(child, NULL));
    gate_open(&gate);
    loop_until(loop, &answer.seen.calls, 1);
    check_seen(&answer.seen, pid, 1);
    check_ok(sss_child_free(child));
}

struct late {
    struct loop *loop;
    struct seen seen;
    struct sss_child_ctx *child;
    unsigned calls;
};

static uint32_t register_it(int pid, int wait_status, void *pvt)
{
    struct late *late = pvt;

    (void)wait_status;
    late->calls++;
    check_ok(sss_child_register(NULL, late->loop->ctx, pid, see, &late->seen, &late->child));
    return SSS_UNKNOWN_PARK;
}

static void may_register_it(void **state)
{
    struct loop *loop = *state;
    struct late late = { .loop = loop };
    pid_t pid;

    check_ok(sss_sigchld_ctx_set_unknown_fn(loop->ctx, register_it, &late));
    pid = child_dead(4);
    loop_until(loop, &late.seen.calls, 1);
    loop_settle(loop);
    check_int(late.calls, 1);
    check_seen(&late.seen, pid, 4);
    check_int(stats_of(loop->ctx).parked, 0);
    check_ok(sss_child_free(late.child));
}

static uint32_t free_context(int pid, int wait_status, void *pvt)
{
    struct late *late = pvt;

    (void)pid;
    (void)wait_status;
    late->calls++;
    check_ok(sss_sigchld_ctx_free(late->loop->ctx));
    late->loop->ctx = NULL;
    return SSS_UNKNOWN_PARK;
}

static void may_free_the_context(void **state)
{
    struct loop *loop = *state;
    struct late late = { .loop = loop };

    check_ok(sss_sigchld_ctx_set_unknown_fn(loop->ctx, free_context, &late));
    child_dead(4);
    loop_until(loop, &late.calls, 1);
}

static void the_context_made_first_is_told(void **state)
{
    struct loop *loop = *state;
    struct answer first = { .verdict = SSS_UNKNOWN_TAKEN };
    struct answer second = { .verdict = SSS_UNKNOWN_TAKEN };
    struct loop later;
    pid_t pid;

    check_ok(sss_sigchld_ctx_set_unknown_fn(loop->ctx, tell, &first));
    loop_start(&later, ctx_make(SSS_SCOPE_ALL, 0), WAKE_DESCRIPTOR);
    check_ok(sss_sigchld_ctx_set_unknown_fn(later.ctx, tell, &second));
    pid = child_dead(1);
    loop_until(loop, &first.seen.calls, 1);
    loop_settle(&later);
    check_seen(&first.seen, pid, 1);
    check_int(second.seen.calls, 0);

    check_ok(sss_sigchld_ctx_free(loop->ctx));
    loop->ctx = NULL;
    pid = child_dead(2);
    loop_until(&later, &second.seen.calls, 1);
    check_seen(&second.seen, pid, 2);
    check_int(first.seen.calls, 1);
    loop_end(&later);
}

static void set_at_creation(void **state)
{
    struct answer answer = { .verdict = SSS_UNKNOWN_TAKEN };
    struct sss_ctx_params params = params_zero();
    struct sss_sigchild_ctx *ctx;
    struct loop loop;
    pid_t pid = child_dead(3);

    (void)state;
    params.mask = SSS_CTX_PARAM_SCOPE;
    params.scope = SSS_SCOPE_ALL;
    params.unknown_fn = tell;
    params.unknown_pvt = &answer;
    check_ok(sss_sigchld_ctx_create(&params, &ctx));
    loop_start(&loop, ctx, WAKE_BOTH);
    loop_until(&loop, &answer.seen.calls, 1); /* dead before the context */
    check_seen(&answer.seen, pid, 3);
    loop_end(&loop);
    check_no_children();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ALL_WAYS(taken),
        ALL_WAYS(parked),
        ALL_WAYS(any_other_answer_parks),
        ALL_WAYS(many),
        ALL_WAYS(registered_ones_do_not_go_there),
        ALL_WAYS(freed_ones_do_not_go_there),
        ALL_WAYS(released_ones_go_there),
        ALL_WAYS(may_register_it),
        ALL_WAYS(may_free_the_context),
        ALL_WAYS(the_context_made_first_is_told),
        cmocka_unit_test(set_at_creation),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
