/* A watch's hook runs once before it ends, and may refuse an explicit free. */
#include "support/test.h"

struct hook {
    struct sss_child_ctx *child;
    struct sss_sigchild_ctx *ctx;
    unsigned calls;
    int verdict;
};

static int run_hook(struct sss_child_ctx *child, void *pvt)
{
    struct hook *hook = pvt;

    check(child == hook->child);
    hook->calls++;
    return hook->verdict;
}

struct hooked {
    struct gate gate;
    struct seen seen;
    struct hook hook;
    pid_t pid;
};

static void start(struct loop *loop, struct hooked *h)
{
    memset(h, 0, sizeof(*h));
    gate_make(&h->gate);
    h->pid = child_at(&h->gate, 6);
    check_ok(sss_child_register(NULL, loop->ctx, h->pid, see, &h->seen, &h->hook.child));
    check_ok(sss_child_set_destructor(h->hook.child, run_hook, &h->hook));
}

static void runs_at_a_free(void **state)
{
    struct loop *loop = *state;
    struct hooked h;

    start(loop, &h);
    check_ok(sss_child_free(h.hook.child));
    check_int(h.hook.calls, 1);
    check_ok(sss_child_free(h.hook.child));
    check_int(h.hook.calls, 1);
    gate_open(&h.gate);
    loop_until_reaped(loop, h.pid);
    check_int(h.seen.calls, 0);
}

static void runs_at_a_free_after_the_end(void **state)
{
    struct loop *loop = *state;
    struct hooked h;

    start(loop, &h);
    gate_open(&h.gate);
    loop_until(loop, &h.seen.calls, 1);
    check_int(h.hook.calls, 0);
    check_ok(sss_child_free(h.hook.child));
    check_int(h.hook.calls, 1);
}

static void refuses_a_free(void **state)
{
    struct loop *loop = *state;
    struct hooked h;

    start(loop, &h);
    h.hook.verdict = -1;
    check_int(sss_child_free(h.hook.child), EBUSY);
    check_int(sss_child_free(h.hook.child), EBUSY);
    check_int(sss_child_release(h.hook.child, NULL), EBUSY);
    check_int(h.hook.calls, 3);
    gate_open(&h.gate);
    loop_until(loop, &h.seen.calls, 1);
    check_seen(&h.seen, h.pid, 6);
    h.hook.verdict = 0;
    check_ok(sss_child_free(h.hook.child));
    check_int(h.hook.calls, 4);
}

static void agrees_to_a_release(void **state)
{
    struct loop *loop = *state;
    struct hooked h;

    start(loop, &h);
    check_ok(sss_child_release(h.hook.child, NULL));
    check_int(h.hook.calls, 1);
    gate_open(&h.gate);
    reap(h.pid, 6);
}

static void cannot_refuse_the_contexts_end(void **state)
{
    struct loop *loop = *state;
    struct hooked h;

    start(loop, &h);
    h.hook.verdict = -1;
    check_ok(sss_sigchld_ctx_free(loop->ctx));
    loop->ctx = NULL;
    check_int(h.hook.calls, 1);
    check_ok(sss_child_free(h.hook.child));
    check_int(h.hook.calls, 1);
    check_int(sss_child_set_destructor(h.hook.child, run_hook, &h.hook), ESRCH);
    gate_open(&h.gate);
    reap(h.pid, 6);
    check_int(h.seen.calls, 0);
}

static void may_be_taken_away(void **state)
{
    struct loop *loop = *state;
    struct hooked h;

    start(loop, &h);
    check_ok(sss_child_set_destructor(h.hook.child, NULL, NULL));
    check_ok(sss_child_free(h.hook.child));
    check_int(h.hook.calls, 0);
    gate_open(&h.gate);
    loop_until_reaped(loop, h.pid);
}

static int free_again(struct sss_child_ctx *child, void *pvt)
{
    struct hook *hook = pvt;

    hook->calls++;
    (void)sss_child_free(child); /* must not come back here */
    return 0;
}

static void may_free_its_own(void **state)
{
    struct loop *loop = *state;
    struct hooked h;

    start(loop, &h);
    check_ok(sss_child_set_destructor(h.hook.child, free_again, &h.hook));
    check_ok(sss_child_free(h.hook.child));
    check_int(h.hook.calls, 1);
    gate_open(&h.gate);
    loop_until_reaped(loop, h.pid);
    check_int(stats_of(loop->ctx).watches, 0);
}

static int free_context(struct sss_child_ctx *child, void *pvt)
{
    struct hook *hook = pvt;

    (void)child;
    hook->calls++;
    check_ok(sss_sigchld_ctx_free(hook->ctx));
    return 0;
}

static void may_free_the_context(void **state)
{
    struct loop *loop = *state;
    struct hooked h;

    start(loop, &h);
    h.hook.ctx = loop->ctx;
    loop->ctx = NULL;
    check_ok(sss_child_set_destructor(h.hook.child, free_context, &h.hook));
    (void)sss_child_free(h.hook.child);
    check_int(h.hook.calls, 1);
    gate_open(&h.gate);
    reap(h.pid, 6);
}

static void survives_a_newer_registration(void **state)
{
    struct loop *loop = *state;
    struct sss_child_ctx *newer;
    struct hooked h;

    start(loop, &h);
    h.hook.verdict = -1;
    check_ok(sss_child_register(NULL, loop->ctx, h.pid, see, &h.seen, &newer));
    h.hook.verdict = 0;
    check_ok(sss_child_free(h.hook.child));
    check(h.hook.calls <= 1);
    gate_open(&h.gate);
    loop_until(loop, &h.seen.calls, 1);
    check_seen(&h.seen, h.pid, 6);
    check_ok(sss_child_free(newer));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH_WAY(runs_at_a_free),
        EACH_WAY(runs_at_a_free_after_the_end),
        EACH_WAY(refuses_a_free),
        EACH_WAY(agrees_to_a_release),
        EACH_WAY(cannot_refuse_the_contexts_end),
        EACH_WAY(may_be_taken_away),
        EACH_WAY(may_free_its_own),
        EACH_WAY(may_free_the_context),
        EACH_WAY(survives_a_newer_registration),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
