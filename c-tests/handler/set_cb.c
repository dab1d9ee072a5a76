/* sss_child_set_cb() takes effect for every callback that has not begun. */
#include "support/test.h"

static void before_the_exit(void **state)
{
    struct loop *loop = *state;
    struct seen former = { 0 }, latter = { 0 };
    struct sss_child_ctx *child;
    struct gate gate;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, 2);
    check_ok(sss_child_register(NULL, loop->ctx, pid, see, &former, &child));
    check_ok(sss_child_set_cb(child, see, &latter));
    gate_open(&gate);
    loop_until(loop, &latter.calls, 1);
    check_seen(&latter, pid, 2);
    check_int(former.calls, 0);
    check_ok(sss_child_free(child));
    check_int(sss_child_set_cb(child, see, &former), ESRCH);
}

/* Two are due; the one that is called gives the other a new callback. */
struct change {
    struct sss_child_ctx *children[2];
    struct seen changed;
    unsigned calls;
    int pids[2];
};

static void change_other(int pid, int wait_status, void *pvt)
{
    struct change *c = pvt;

    (void)wait_status;
    c->calls++;
    check_ok(sss_child_set_cb(c->children[pid == c->pids[0]], see, &c->changed));
}

static void while_it_is_due(void **state)
{
    struct loop *loop = *state;
    struct change c = { 0 };
    int i;

    for (i = 0; i < 2; i++) {
        c.pids[i] = child_dead(i);
        check_ok(sss_child_register(NULL, loop->ctx, c.pids[i], change_other, &c,
                                    &c.children[i]));
    }
    loop_until(loop, &c.changed.calls, 1);
    loop_settle(loop);
    check_int(c.calls, 1);
    i = c.changed.pid == c.pids[1];
    check_seen(&c.changed, c.pids[i], i);
    check_ok(sss_child_free(c.children[0]));
    check_ok(sss_child_free(c.children[1]));
}

static void to_none(void **state)
{
    struct loop *loop = *state;
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    pid_t pid = child_dead(1);

    check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, &child));
    check_ok(sss_child_set_cb(child, NULL, NULL));
    loop_until_reaped(loop, pid);
    check_int(seen.calls, 0);
    check_ok(sss_child_free(child));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH_WAY(before_the_exit),
        EACH_WAY(while_it_is_due),
        EACH_WAY(to_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
