/* A callback frees its own watch, another one that is due, and registers anew. */
#include "support/test.h"

struct pair {
    struct loop *loop;
    struct sss_child_ctx *own, *other;
    unsigned calls;
    unsigned other_calls;
    int status;
};

static void free_own(int pid, int wait_status, void *pvt)
{
    struct pair *p = pvt;

    (void)pid;
    p->calls++;
    p->status = wait_status;
    check_ok(sss_child_free(p->own));
}

static void frees_itself(void **state)
{
    struct loop *loop = *state;
    struct pair p = { .loop = loop };
    pid_t pid = child_dead(2);

    check_ok(sss_child_register(NULL, loop->ctx, pid, free_own, &p, &p.own));
    loop_until(loop, &p.calls, 1);
    loop_settle(loop);
    check_int(p.calls, 1);
    check_int(p.status, status_of(2));
    check_int(sss_child_kill(p.own, 0), ESRCH);
}

/* Of the two that are due, whichever is called first cancels the other. */
static void free_both(int pid, int wait_status, void *pvt)
{
    struct pair *p = pvt;

    (void)pid;
    (void)wait_status;
    p->calls++;
    check_ok(sss_child_free(p->own));
    check_ok(sss_child_free(p->other));
}

static void frees_another_that_is_due(void **state)
{
    struct loop *loop = *state;
    struct pair p = { .loop = loop };
    pid_t pids[] = { child_dead(1), child_dead(2) };

    check_ok(sss_child_register(NULL, loop->ctx, pids[0], free_both, &p, &p.own));
    check_ok(sss_child_register(NULL, loop->ctx, pids[1], free_both, &p, &p.other));
    loop_until(loop, &p.calls, 1);
    loop_until_reaped(loop, pids[0]);
    loop_until_reaped(loop, pids[1]);
    check_int(p.calls, 1);
}

static void frees_another_that_lives(void **state)
{
    struct loop *loop = *state;
    struct pair p = { .loop = loop };
    struct gate gate;
    pid_t dead = child_dead(1);
    pid_t live;

    gate_make(&gate);
    live = child_at(&gate, 2);
    check_ok(sss_child_register(NULL, loop->ctx, dead, free_both, &p, &p.own));
    check_ok(sss_child_register(NULL, loop->ctx, live, free_both, &p, &p.other));
    loop_until(loop, &p.calls, 1);
    gate_open(&gate);
    loop_until_reaped(loop, live);
    check_int(p.calls, 1);
}

/* A chain: each callback forks and registers the next. */
struct chain {
    struct loop *loop;
    struct sss_child_ctx *child;
    unsigned calls;
};

static void start_next(int pid, int wait_status, void *pvt)
{
    struct chain *c = pvt;

    (void)pid;
    check_int(wait_status, status_of((int)c->calls));
    check_ok(sss_child_free(c->child));
    c->child = NULL;
    if (++c->calls < 20) {
        pid_t next = child_at(NULL, (int)c->calls);

        check_ok(sss_child_register(NULL, c->loop->ctx, next, start_next, c, &c->child));
    }
}

static void registers_the_next(void **state)
{
    struct loop *loop = *state;
    struct chain c = { .loop = loop };

    check_ok(sss_child_register(NULL, loop->ctx, child_at(NULL, 0), start_next, &c, &c.child));
    loop_until(loop, &c.calls, 20);
    loop_settle(loop);
    check_int(c.calls, 20);
    check_int(stats_of(loop->ctx).watches, 0);
}

/* A callback that runs the loop: the others come from inside it, each once. */
struct nested {
    struct loop *loop;
    unsigned calls;
};

static void dispatch_inside(int pid, int wait_status, void *pvt)
{
    struct nested *n = pvt;

    (void)pid;
    (void)wait_status;
    n->calls++;
    sss_child_handler(NULL, NULL, 0, 0, NULL, n->loop->ctx);
    if (n->loop->ctxfd != -1) {
        check_ok(sss_sigchld_ctx_dispatch(n->loop->ctx, 0));
    }
}

static void may_dispatch(void **state)
{
    struct loop *loop = *state;
    struct nested n = { .loop = loop };
    struct sss_child_ctx *children[5];
    size_t i;

    for (i = 0; i < ARRAY_SIZE(children); i++) {
        check_ok(sss_child_register(NULL, loop->ctx, child_dead(0), dispatch_inside, &n,
                                    &children[i]));
    }
    loop_until(loop, &n.calls, ARRAY_SIZE(children));
    loop_settle(loop);
    check_int(n.calls, ARRAY_SIZE(children));
    for (i = 0; i < ARRAY_SIZE(children); i++) {
        check_ok(sss_child_free(children[i]));
    }
}

static void exit_inside(int pid, int wait_status, void *pvt)
{
    struct pair *p = pvt;

    (void)pid;
    check_ok(sss_child_free(p->own));
    exit(WEXITSTATUS(wait_status));
}

static void exits_in_a_child(void *unused)
{
    struct pair p = { 0 };
    struct loop loop;

    (void)unused;
    loop_start(&loop, ctx_make(SSS_SCOPE_ALL, 0), WAKE_BOTH);
    check_ok(sss_child_register(NULL, loop.ctx, child_at(NULL, 0), exit_inside, &p, &p.own));
    loop_until(&loop, &p.calls, 1);
    check(!"a callback that exits comes back");
}

static void calls_exit(void **state)
{
    (void)state;
    in_child(exits_in_a_child, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH_WAY(frees_itself),
        EACH_WAY(frees_another_that_is_due),
        EACH_WAY(frees_another_that_lives),
        EACH_WAY(registers_the_next),
        EACH_WAY(may_dispatch),
        cmocka_unit_test(calls_exit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
