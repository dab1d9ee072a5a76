/* A registration that gives no handle, and a callback that asks for its own. */
#include "support/test.h"

/* What a callback found out about itself. */
struct self {
    unsigned calls;
    int status;
    struct sss_child_ctx *child;
    uint64_t id;
};

static void learn(int pid, int wait_status, void *pvt)
{
    struct self *self = pvt;
    pid_t known = 0;

    self->calls++;
    self->status = wait_status;
    check_ok(sss_child_current(&self->child));
    check_ok(sss_child_id(self->child, &self->id));
    check_ok(sss_child_pid(self->child, &known));
    check_int(known, pid);
}

static void it_frees_itself(void **state)
{
    struct loop *loop = *state;
    struct self self = { 0 };
    struct gate gate;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, 7);
    check_ok(sss_child_register(NULL, loop->ctx, pid, learn, &self, NULL));
    check_int(stats_of(loop->ctx).watches, 1);
    gate_open(&gate);
    loop_until(loop, &self.calls, 1);
    check_int(self.status, status_of(7));
    check_int(stats_of(loop->ctx).watches, 0);
    /* An inert handle would still have its hook set. */
    check_int(sss_child_set_destructor(self.child, NULL, NULL), ESRCH);
}

static void one_that_is_dead_already(void **state)
{
    struct loop *loop = *state;
    struct self self = { 0 };

    check_ok(sss_child_register(NULL, loop->ctx, child_dead(3), learn, &self, NULL));
    loop_until(loop, &self.calls, 1);
    check_int(self.status, status_of(3));
    check_int(sss_child_set_destructor(self.child, NULL, NULL), ESRCH);
}

static void a_newer_one_takes_its_place(void **state)
{
    struct loop *loop = *state;
    struct self former = { 0 }, latter = { 0 };
    struct gate gate;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, 1);
    check_ok(sss_child_register(NULL, loop->ctx, pid, learn, &former, NULL));
    check_ok(sss_child_register(NULL, loop->ctx, pid, learn, &latter, NULL));
    check_int(stats_of(loop->ctx).watches, 1);
    gate_open(&gate);
    loop_until(loop, &latter.calls, 1);
    check_int(former.calls, 0);
}

static void without_a_callback(void **state)
{
    struct loop *loop = *state;
    pid_t pid = child_at(NULL, 0);

    check_ok(sss_child_register(NULL, loop->ctx, pid, NULL, NULL, NULL));
    loop_until_reaped(loop, pid);
    check_int(stats_of(loop->ctx).watches, 0);
}

static void free_own(int pid, int wait_status, void *pvt)
{
    struct self *self = pvt;

    learn(pid, wait_status, pvt);
    check_ok(sss_child_free(self->child));
    check_ok(sss_child_free(self->child));
}

static void the_callback_may_free_it(void **state)
{
    struct loop *loop = *state;
    struct self self = { 0 };

    check_ok(sss_child_register(NULL, loop->ctx, child_at(NULL, 9), free_own, &self, NULL));
    loop_until(loop, &self.calls, 1);
    loop_settle(loop);
    check_int(self.calls, 1);
}

/* Many spawns, one after the other, take no more room than one. */
static void thousands_leave_nothing(void **state)
{
    struct loop *loop = *state;
    struct self self = { 0 };
    int i;

    for (i = 0; i < 300; i++) {
        check_ok(sss_child_register(NULL, loop->ctx, child_at(NULL, i % 200), learn, &self, NULL));
        loop_until(loop, &self.calls, (unsigned)i + 1);
        check_int(self.status, status_of(i % 200));
    }
    /* 24 bits of an id number the slots. */
    check((self.id >> 1 & 0xffffff) < 8);
}

static void current_is_the_registered_handle(void **state)
{
    struct loop *loop = *state;
    struct self self = { 0 };
    struct sss_child_ctx *child, *none = NULL;

    check_int(sss_child_current(NULL), EINVAL);
    check_int(sss_child_current(&none), ESRCH);
    check_ok(sss_child_register(NULL, loop->ctx, child_at(NULL, 0), learn, &self, &child));
    loop_until(loop, &self.calls, 1);
    check(self.child == child);
    check_int(sss_child_current(&none), ESRCH);
    check(none == NULL);
    check_ok(sss_child_free(child));
}

struct outer {
    struct loop *loop;
    struct self *inner;
    struct sss_child_ctx *before, *after;
    unsigned calls;
};

static void dispatch_within(int pid, int wait_status, void *pvt)
{
    struct outer *outer = pvt;

    (void)pid;
    (void)wait_status;
    check_ok(sss_child_current(&outer->before));
    check_ok(sss_child_register(NULL, outer->loop->ctx, child_dead(5), learn, outer->inner, NULL));
    loop_until(outer->loop, &outer->inner->calls, 1);
    check_ok(sss_child_current(&outer->after));
    outer->calls++;
}

static void the_innermost_callback_counts(void **state)
{
    struct loop *loop = *state;
    struct self inner = { 0 };
    struct outer outer = { .loop = loop, .inner = &inner };

    check_ok(sss_child_register(NULL, loop->ctx, child_at(NULL, 4), dispatch_within, &outer, NULL));
    loop_until(loop, &outer.calls, 1);
    check(outer.before == outer.after);
    check(inner.child != outer.before);
}

static uint32_t in_no_childs_callback(int pid, int wait_status, void *pvt)
{
    struct sss_child_ctx *none;

    (void)pid;
    (void)wait_status;
    check_int(sss_child_current(&none), ESRCH);
    ++*(unsigned *)pvt;
    return SSS_UNKNOWN_TAKEN;
}

static void an_unknown_child_has_no_handle(void **state)
{
    struct loop *loop = *state;
    unsigned calls = 0;

    check_ok(sss_sigchld_ctx_set_unknown_fn(loop->ctx, in_no_childs_callback, &calls));
    child_at(NULL, 0);
    loop_until(loop, &calls, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH_WAY(it_frees_itself),
        EACH_WAY(one_that_is_dead_already),
        EACH_WAY(a_newer_one_takes_its_place),
        EACH_WAY(without_a_callback),
        EACH_WAY(the_callback_may_free_it),
        EACH_WAY(thousands_leave_nothing),
        EACH_WAY(current_is_the_registered_handle),
        EACH_WAY(the_innermost_callback_counts),
        ALL_WAYS(an_unknown_child_has_no_handle),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
