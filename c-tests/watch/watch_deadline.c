/* Deadlines, and the steps that are taken when they pass. */
#include "support/test.h"

#include <sys/resource.h>
#include <sys/syscall.h>

#include "support/hold.h"
#include "support/told.h"

static const int64_t MS = 1000000;

static struct sss_deadline deadline_of(const struct sss_deadline_step *steps, size_t count)
{
    struct sss_deadline deadline;

    memset(&deadline, 0, sizeof(deadline));
    deadline.size = sizeof(deadline);
    deadline.steps = steps;
    deadline.steps_count = count;
    return deadline;
}

/* A child that ignores SIGTERM and lives until it is killed. */
static pid_t stubborn_child(void)
{
    pid_t pid;
    int ready[2];
    char byte;

    check_ok(pipe(ready));
    pid = fork();
    check(pid != -1);
    if (pid == 0) {
        signal(SIGTERM, SIG_IGN);
        close(ready[0]);
        close(ready[1]);
        for (;;) {
            pause();
        }
    }
    check_ok(close(ready[1]));
    check_int(read(ready[0], &byte, 1), 0);
    check_ok(close(ready[0]));
    return pid;
}

static void its_steps_are_taken_in_order(void **state)
{
    const struct sss_deadline_step steps[] = {
        { .after_ns = 5 * MS, .signum = SIGTERM },
        { .after_ns = 5 * MS, .signum = SIGKILL },
    };
    struct sss_deadline deadline = deadline_of(steps, ARRAY_SIZE(steps));
    struct loop *loop = *state;
    struct told told = { 0 };
    struct sss_child_ctx *child;
    struct sss_watch watch;
    pid_t pid = stubborn_child();

    watch = watch_of(pid, &told);
    watch.mask |= SSS_WATCH_EVENTS;
    watch.events = SSS_CHILD_EVENT_KILLED | SSS_CHILD_EVENT_STEP | SSS_CHILD_EVENT_UNKILLABLE;
    watch.deadline = &deadline;
    check_ok(sss_child_watch(NULL, loop->ctx, &watch, &child));
    loop_until(loop, &told.calls, 3);
    loop_settle(loop);
    check_int(told.calls, 3);
    check_int(told.events[0].event, SSS_CHILD_EVENT_STEP);
    check_int(told.events[0].step, 0);
    check_int(told.events[0].step_signal, SIGTERM);
    check_int(told.events[0].step_errno, 0);
    check(told.events[0].have & SSS_RECORD_STEP);
    check(told.events[0].have & SSS_RECORD_TIME);
    check_int(told.events[0].have & SSS_RECORD_STATUS, 0);
    check_int(told.events[1].event, SSS_CHILD_EVENT_STEP);
    check_int(told.events[1].step, 1);
    check_int(told.events[1].step_signal, SIGKILL);
    check(told.events[1].time_ns - told.events[0].time_ns >= 5 * MS);
    check_int(told.event.event, SSS_CHILD_EVENT_KILLED);
    check_int(told.event.status, SIGKILL);
    check_int(told.event.step, 1);
    check_ok(sss_child_free(child));
}

/* They are due together, and the end comes with them. */
static void each_is_told_of(void **state)
{
    const struct sss_deadline_step steps[] = {
        { .after_ns = 0, .signum = SIGCONT },
        { .after_ns = 0, .signum = SIGTERM },
        { .after_ns = 0, .signum = SIGKILL },
    };
    struct sss_deadline deadline = deadline_of(steps, ARRAY_SIZE(steps));
    struct loop *loop = *state;
    struct told told = { 0 };
    struct sss_child_ctx *child;
    struct sss_watch watch;
    unsigned i;

    watch = watch_of(stubborn_child(), &told);
    watch.mask |= SSS_WATCH_EVENTS;
    watch.events = SSS_CHILD_EVENT_KILLED | SSS_CHILD_EVENT_STEP;
    watch.deadline = &deadline;
    check_ok(sss_child_watch(NULL, loop->ctx, &watch, &child));
    loop_until(loop, &told.calls, 4);
    loop_settle(loop);
    check_int(told.calls, 4);
    for (i = 0; i < 3; i++) {
        check_int(told.events[i].event, SSS_CHILD_EVENT_STEP);
        check_int(told.events[i].step, i);
        check_int(told.events[i].step_signal, steps[i].signum);
    }
    check_int(told.event.event, SSS_CHILD_EVENT_KILLED);
    check_ok(sss_child_free(child));
}

/* The loop runs only when both times have passed long ago. */
static void a_late_loop_takes_them_one_by_one(void **state)
{
    const struct sss_deadline_step steps[] = {
        { .after_ns = 0, .signum = SIGTERM },
        { .after_ns = 3600 * 1000 * MS, .signum = SIGKILL },
    };
    struct sss_deadline deadline = deadline_of(steps, ARRAY_SIZE(steps));
    struct loop *loop = *state;
    struct told told = { 0 };
    struct sss_child_ctx *child;
    struct sss_watch watch;
    struct gate gate;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, 0);
    watch = watch_of(pid, &told);
    watch.deadline = &deadline;
    check_ok(sss_child_watch(NULL, loop->ctx, &watch, &child));
    loop_until(loop, &told.calls, 1);
    check_told(&told, pid, BY_SIGNAL(SIGTERM));
    check_int(told.event.step, 0);
    gate_open(&gate);
    check_ok(sss_child_free(child));
}

/* The deadline has passed and the child has ended before the loop looks: the end wins. */
static void an_end_cancels_a_step_that_is_due(void **state)
{
    const struct sss_deadline_step step = { .after_ns = 1, .signum = SIGKILL };
    struct sss_deadline deadline = deadline_of(&step, 1);
    struct loop *loop = *state;
    struct told told = { 0 };
    struct sss_child_ctx *child;
    struct sss_watch watch;
    struct gate gate;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, 7);
    watch = watch_of(pid, &told);
    watch.mask |= SSS_WATCH_EVENTS;
    watch.events = SSS_CHILD_EVENT_EXITED | SSS_CHILD_EVENT_KILLED | SSS_CHILD_EVENT_STEP;
    check_ok(sss_child_watch(NULL, loop->ctx, &watch, &child));
    gate_open(&gate);
    await_zombie(pid);
    /* The library has not looked yet. */
    check_ok(sss_child_set_deadline(child, &deadline));
    loop_until(loop, &told.calls, 1);
    loop_settle(loop);
    check_told(&told, pid, 7);
    check_int(told.event.have & SSS_RECORD_STEP, 0);
    check_ok(sss_child_free(child));
}

static void one_that_is_taken_away_or_replaced(void **state)
{
    const struct sss_deadline_step now = { .after_ns = 0, .signum = SIGKILL };
    const struct sss_deadline_step later = { .after_ns = 3600 * 1000 * MS, .signum = SIGKILL };
    struct sss_deadline soon = deadline_of(&now, 1), late = deadline_of(&later, 1);
    struct loop *loop = *state;
    struct gated gated;

    gated_start(loop->ctx, &gated, 2);
    check_ok(sss_child_set_deadline(gated.child, &soon));
    check_ok(sss_child_set_deadline(gated.child, &late));
    loop_settle(loop);
    check_ok(sss_child_set_deadline(gated.child, &soon));
    check_ok(sss_child_set_deadline(gated.child, NULL));
    loop_settle(loop);
    check_int(gated.told.calls, 0);
    gate_open(&gated.gate);
    loop_until(loop, &gated.told.calls, 1);
    check_told(&gated.told, gated.pid, 2);
    check_int(sss_child_set_deadline(gated.child, &soon), ESRCH);
    check_ok(sss_child_free(gated.child));
    check_int(sss_child_set_deadline(gated.child, &soon), ESRCH);
}

/* A step that does nothing, and no end: the child counts as unkillable. */
static void one_that_lives_on(void **state)
{
    const struct sss_deadline_step step = { .after_ns = 1, .signum = SIGTERM };
    struct sss_deadline deadline = deadline_of(&step, 1);
    struct loop *loop = *state;
    struct told told = { 0 };
    struct sss_child_ctx *child;
    pid_t pid = stubborn_child();

    deadline.mask = SSS_DEADLINE_UNKILLABLE;
    deadline.unkillable_ns = 2 * MS;
    child = watch_child(loop->ctx, pid, &told);
    check_ok(sss_child_set_deadline(child, &deadline));
    loop_until(loop, &told.calls, 1);
    check_int(told.event.event, SSS_CHILD_EVENT_UNKILLABLE);
    check_int(told.event.step, 0);
    check_int(told.event.step_signal, SIGTERM);
    check(is_child(pid));
    /* The child is still watched. */
    check_ok(kill(pid, SIGKILL));
    loop_until(loop, &told.calls, 2);
    check_int(told.event.event, SSS_CHILD_EVENT_KILLED);
    check_ok(sss_child_free(child));
}

static void the_group_is_reached(void **state)
{
    const struct sss_deadline_step steps[] = {
        { .after_ns = 0, .signum = SIGUSR1, .whom = SSS_STEP_CHILD },
        { .after_ns = 0, .signum = SIGKILL, .whom = SSS_STEP_GROUP },
    };
    struct sss_deadline deadline = deadline_of(steps, ARRAY_SIZE(steps));
    struct loop *loop = *state;
    struct told told = { 0 };
    struct sss_child_ctx *child;
    int grandchild[2];
    char byte;
    pid_t pid;

    check_ok(pipe(grandchild));
    pid = fork();
    check(pid != -1);
    if (pid == 0) {
        signal(SIGUSR1, SIG_IGN);
        setpgid(0, 0);
        if (fork() == 0) {
            check_int(write(grandchild[1], "", 1), 1);
        }
        for (;;) {
            pause();
        }
    }
    check_ok(close(grandchild[1]));
    check_int(read(grandchild[0], &byte, 1), 1);
    child = watch_child(loop->ctx, pid, &told);
    check_ok(sss_child_set_deadline(child, &deadline));
    loop_until(loop, &told.calls, 1);
    check_told(&told, pid, BY_SIGNAL(SIGKILL));
    /* Both ends of it are closed. */
    check_int(read(grandchild[0], &byte, 1), 0);
    check_ok(close(grandchild[0]));
    check_ok(sss_child_free(child));
}

/* The child is in the process group of its parent, which must not be signalled. */
static void in_a_group_of_others(void *unused)
{
    const struct sss_deadline_step step = { .signum = SIGKILL, .whom = SSS_STEP_GROUP };
    struct sss_deadline deadline = deadline_of(&step, 1);
    struct told told = { 0 };
    struct sss_child_ctx *child;
    struct gate gate;
    struct loop loop;
    pid_t pid, other;

    (void)unused;
    check_ok(setpgid(0, 0));
    loop_start(&loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    gate_make(&gate);
    other = child_at(&gate, 5);
    pid = child_at(&gate, 4);
    child = watch_child(loop.ctx, pid, &told);
    check_ok(sss_child_set_deadline(child, &deadline));
    loop_until(&loop, &told.calls, 1);
    check_told(&told, pid, BY_SIGNAL(SIGKILL));
    check_int(told.event.step_errno, 0);
    gate_open(&gate);
    reap(other, 5);
    check_ok(sss_child_free(child));
    loop_end(&loop);
}

static void one_that_leads_no_group_is_reached_alone(void **state)
{
    (void)state;
    in_child(in_a_group_of_others, NULL);
}

static void refuse_signals(void)
{
    refuse_value(SYS_pidfd_send_signal, 1, SIGKILL, EPERM);
    refuse_value(SYS_kill, 1, SIGKILL, EPERM);
}

static void a_signal_that_is_not_permitted(void *arg)
{
    const struct sss_deadline_step step = { .after_ns = 0, .signum = SIGKILL };
    struct sss_deadline deadline = deadline_of(&step, 1);
    struct loop loop;
    struct told told = { 0 };
    struct sss_child_ctx *child;
    struct gate gate;
    pid_t pid;

    (void)arg;
    loop_start(&loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    deadline.mask = SSS_DEADLINE_UNKILLABLE;
    deadline.unkillable_ns = 1;
    gate_make(&gate);
    pid = child_at(&gate, 3);
    child = watch_child(loop.ctx, pid, &told);
    refuse_signals();
    check_ok(sss_child_set_deadline(child, &deadline));
    loop_until(&loop, &told.calls, 1);
    check_int(told.event.event, SSS_CHILD_EVENT_UNKILLABLE);
    check_int(told.event.step_errno, EPERM);
    /* The child is reaped and told of all the same. */
    gate_open(&gate);
    loop_until(&loop, &told.calls, 2);
    check_int(told.event.event, SSS_CHILD_EVENT_EXITED);
    check_int(told.event.step_errno, EPERM);
    check_int(told.event.step_signal, SIGKILL);
    check_ok(sss_child_free(child));
    loop_end(&loop);
}

static void eperm_is_told(void **state)
{
    (void)state;
    hold_needed();
    in_child(a_signal_that_is_not_permitted, NULL);
}

static void many_are_set_and_taken_away(void **state)
{
    enum { COUNT = 500 };
    const struct sss_deadline_step later = { .after_ns = 3600 * 1000 * MS, .signum = SIGKILL };
    struct sss_deadline deadline = deadline_of(&later, 1);
    struct loop *loop = *state;
    struct sss_child_ctx *children[COUNT];
    static struct told told[COUNT];
    struct gate gate;
    pid_t pid;
    int i;

    memset(told, 0, sizeof(told));
    gate_make(&gate);
    pid = child_at(&gate, 1);
    for (i = 0; i < COUNT; i++) {
        children[i] = watch_child(loop->ctx, pid, &told[i]);
        check_ok(sss_child_set_deadline(children[i], &deadline));
    }
    for (i = 0; i < COUNT; i += 3) {
        check_ok(sss_child_set_deadline(children[i], NULL));
    }
    for (i = 1; i < COUNT; i += 3) {
        check_ok(sss_child_free(children[i]));
    }
    gate_open(&gate);
    loop_until(loop, &told[COUNT - 1 - (COUNT - 1) % 3].calls, 1);
    loop_settle(loop);
    for (i = 0; i < COUNT; i++) {
        check_int(told[i].calls, i % 3 != 1);
        if (i % 3 != 1) {
            check_ok(sss_child_free(children[i]));
        }
    }
}

/* A deadline that is refused changes nothing: the former one stays. */
static void a_bad_one_leaves_the_former(void **state)
{
    const struct sss_deadline_step good = { .signum = SIGKILL }, bad = { .signum = 0 };
    const struct sss_deadline_step far = { .after_ns = INT64_MAX, .signum = SIGTERM };
    const struct sss_deadline_step *const refused[] = { &bad, &far };
    struct loop *loop = *state;
    size_t i;

    for (i = 0; i < ARRAY_SIZE(refused); i++) {
        struct sss_deadline deadline = deadline_of(&good, 1);
        struct gated gated;

        gated_start(loop->ctx, &gated, 2);
        check_ok(sss_child_set_deadline(gated.child, &deadline));
        deadline = deadline_of(refused[i], 1);
        check_int(sss_child_set_deadline(gated.child, &deadline), EINVAL);
        loop_until(loop, &gated.told.calls, 1);
        check_told(&gated.told, gated.pid, BY_SIGNAL(SIGKILL));
        check_int(gated.told.event.step_signal, SIGKILL);
        gated_free(&gated);
    }
}

static void without_a_descriptor_there_is_none(void **state)
{
    const struct sss_deadline_step step = { .after_ns = 0, .signum = SIGKILL };
    struct sss_deadline deadline = deadline_of(&step, 1);
    struct loop *loop = *state;
    struct told told = { 0 };
    struct sss_child_ctx *child;
    struct sss_watch watch;
    struct gate gate;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, 2);
    watch = watch_of(pid, &told);
    watch.deadline = &deadline;
    check_int(sss_child_watch(NULL, loop->ctx, &watch, &child), ENOTSUP);
    child = watch_child(loop->ctx, pid, &told);
    check_int(sss_child_set_deadline(child, &deadline), ENOTSUP);
    gate_open(&gate);
    loop_until(loop, &told.calls, 1);
    check_told(&told, pid, 2);
    check_ok(sss_child_free(child));
}

static void bad_steps(void **state)
{
    static const struct {
        struct sss_deadline_step step;
        int expected;
    } cases[] = {
        { { .after_ns = 0, .signum = 0 }, EINVAL },
        { { .after_ns = 0, .signum = -1 }, EINVAL },
        { { .after_ns = 0, .signum = 65 }, EINVAL },
        { { .after_ns = -1, .signum = SIGTERM }, EINVAL },
        { { .after_ns = INT64_MIN, .signum = SIGTERM }, EINVAL },
        { { .after_ns = INT64_MAX, .signum = SIGTERM }, EINVAL },
        { { .after_ns = 0, .signum = SIGTERM, .whom = 2 }, EINVAL },
        { { .after_ns = INT64_MAX / 2, .signum = SIGTERM }, 0 },
    };
    struct sss_deadline_step many[17];
    struct loop *loop = *state;
    struct told told = { 0 };
    struct sss_deadline deadline;
    struct sss_child_ctx *child;
    struct gate gate;
    size_t i;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, 2);
    child = watch_child(loop->ctx, pid, &told);
    for (i = 0; i < ARRAY_SIZE(cases); i++) {
        deadline = deadline_of(&cases[i].step, 1);
        check_int(sss_child_set_deadline(child, &deadline), cases[i].expected);
    }
    for (i = 0; i < ARRAY_SIZE(many); i++) {
        many[i] = (struct sss_deadline_step){ .after_ns = INT64_MAX / 16, .signum = SIGTERM };
    }
    deadline = deadline_of(many, 17);
    check_int(sss_child_set_deadline(child, &deadline), EINVAL);
    deadline.steps_count = 16;
    check_int(sss_child_set_deadline(child, &deadline), EINVAL);
    deadline.steps_count = 15;
    check_ok(sss_child_set_deadline(child, &deadline));
    deadline.steps_count = 0;
    check_int(sss_child_set_deadline(child, &deadline), EINVAL);
    deadline = deadline_of(NULL, 1);
    check_int(sss_child_set_deadline(child, &deadline), EINVAL);
    deadline = deadline_of(&cases[7].step, 1);
    deadline.mask = 2;
    check_int(sss_child_set_deadline(child, &deadline), EINVAL);
    deadline.mask = SSS_DEADLINE_UNKILLABLE;
    deadline.unkillable_ns = -1;
    check_int(sss_child_set_deadline(child, &deadline), EINVAL);
    deadline.unkillable_ns = INT64_MAX;
    check_int(sss_child_set_deadline(child, &deadline), EINVAL);
    deadline.unkillable_ns = 0;
    deadline.reserved = 1;
    check_int(sss_child_set_deadline(child, &deadline), EINVAL);
    deadline.reserved = 0;
    deadline.size = 8;
    check_int(sss_child_set_deadline(child, &deadline), EINVAL);
    check_int(sss_child_set_deadline(NULL, NULL), EINVAL);
    check_ok(sss_child_set_deadline(child, NULL));
    gate_open(&gate);
    loop_until(loop, &told.calls, 1);
    check_told(&told, pid, 2);
    check_ok(sss_child_free(child));
}

#define POLLED(test) \
    ONE_WAY(test, "_all_descriptor", 1), ONE_WAY(test, "_all_both", 2), \
    ONE_WAY(test, "_registered_descriptor", 4), ONE_WAY(test, "_registered_both", 5)

int main(void)
{
    const struct CMUnitTest tests[] = {
        POLLED(its_steps_are_taken_in_order),
        POLLED(each_is_told_of),
        POLLED(a_late_loop_takes_them_one_by_one),
        POLLED(an_end_cancels_a_step_that_is_due),
        POLLED(one_that_is_taken_away_or_replaced),
        POLLED(one_that_lives_on),
        POLLED(the_group_is_reached),
        POLLED(many_are_set_and_taken_away),
        POLLED(bad_steps),
        POLLED(a_bad_one_leaves_the_former),
        cmocka_unit_test(one_that_leads_no_group_is_reached_alone),
        ONE_WAY(without_a_descriptor_there_is_none, "_all_signal", 0),
        ONE_WAY(without_a_descriptor_there_is_none, "_registered_signal", 3),
        cmocka_unit_test(eperm_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
