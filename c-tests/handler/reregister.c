/* One pid registered twice: the last registration wins, the former handle is inert. */
#include "support/test.h"

struct twice {
    struct gate gate;
    struct seen former, latter;
    struct sss_child_ctx *old, *new;
    pid_t pid;
};

static void register_twice(struct loop *loop, struct twice *t)
{
    memset(t, 0, sizeof(*t));
    gate_make(&t->gate);
    t->pid = child_at(&t->gate, 9);
    check_ok(sss_child_register(NULL, loop->ctx, t->pid, see, &t->former, &t->old));
    check_ok(sss_child_register(NULL, loop->ctx, t->pid, see, &t->latter, &t->new));
    check(t->old != t->new);
}

static void last_wins(void **state)
{
    struct loop *loop = *state;
    struct twice t;

    register_twice(loop, &t);
    gate_open(&t.gate);
    loop_until(loop, &t.latter.calls, 1);
    loop_settle(loop);
    check_seen(&t.latter, t.pid, 9);
    check_int(t.former.calls, 0);
    check_ok(sss_child_free(t.old));
    check_ok(sss_child_free(t.new));
}

static void freeing_the_former_touches_nothing(void **state)
{
    struct loop *loop = *state;
    struct twice t;

    register_twice(loop, &t);
    check_ok(sss_child_free(t.old));
    check_int(stats_of(loop->ctx).watches, 1);
    gate_open(&t.gate);
    loop_until(loop, &t.latter.calls, 1);
    check_seen(&t.latter, t.pid, 9);
    check_int(t.former.calls, 0);
    check_ok(sss_child_free(t.new));
}

static void freeing_the_latter_ends_the_watch(void **state)
{
    struct loop *loop = *state;
    struct twice t;

    register_twice(loop, &t);
    check_ok(sss_child_free(t.new));
    check_int(stats_of(loop->ctx).watches, 0);
    gate_open(&t.gate);
    loop_until_reaped(loop, t.pid);
    check_int(t.former.calls + t.latter.calls, 0);
    check_ok(sss_child_free(t.old));
}

static void the_former_handle_is_inert(void **state)
{
    struct loop *loop = *state;
    struct twice t;

    register_twice(loop, &t);
    check_int(sss_child_kill(t.old, 0), ESRCH);
    check_int(sss_child_set_cb(t.old, see, &t.former), ESRCH);
    check_int(sss_child_release(t.old, NULL), ESRCH);
    check_ok(sss_child_kill(t.new, 0));
    gate_open(&t.gate);
    loop_until(loop, &t.latter.calls, 1);
    check_int(t.former.calls, 0);
    check_ok(sss_child_free(t.old));
    check_ok(sss_child_free(t.new));
}

struct again {
    struct loop *loop;
    unsigned calls;
};

static void register_again(int pid, int wait_status, void *pvt)
{
    struct again *a = pvt;
    struct sss_child_ctx *child = NULL;

    (void)wait_status;
    a->calls++;
    check_int(sss_child_register(NULL, a->loop->ctx, pid, see, a, &child), ESRCH);
    check(child == NULL);
}

static void after_the_end_it_is_no_child(void **state)
{
    struct loop *loop = *state;
    struct again a = { .loop = loop };
    struct sss_child_ctx *child;

    check_ok(sss_child_register(NULL, loop->ctx, child_dead(1), register_again, &a, &child));
    loop_until(loop, &a.calls, 1);
    loop_settle(loop);
    check_int(a.calls, 1);
    check_ok(sss_child_free(child));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH_WAY(last_wins),
        EACH_WAY(freeing_the_former_touches_nothing),
        EACH_WAY(freeing_the_latter_ends_the_watch),
        EACH_WAY(the_former_handle_is_inert),
        EACH_WAY(after_the_end_it_is_no_child),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
