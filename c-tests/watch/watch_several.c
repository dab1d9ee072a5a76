/* Several watches on one child, early and late ones. */
#include "support/test.h"

#include "support/told.h"

/* In which order the callbacks came. */
static unsigned turn;
static unsigned turns[8];

static void take_turn(struct sss_child_ctx *child, const struct sss_child_event *event, void *pvt)
{
    (void)child;
    (void)event;
    turns[*(unsigned *)pvt] = ++turn;
}

static void take_plain_turn(int pid, int wait_status, void *pvt)
{
    (void)pid;
    (void)wait_status;
    turns[*(unsigned *)pvt] = ++turn;
}

/* A plain one is among them, and some keep the zombie. */
static void in_the_order_of_their_registration(void **state)
{
    enum { COUNT = 7, PLAIN = 3 };
    static unsigned numbers[COUNT] = { 0, 1, 2, 3, 4, 5, 6 };
    struct loop *loop = *state;
    struct sss_child_ctx *children[COUNT];
    struct told unused = { 0 };
    struct sss_watch watch;
    struct gate gate;
    pid_t pid;
    int i;

    turn = 0;
    gate_make(&gate);
    pid = child_at(&gate, 0);
    for (i = 0; i < COUNT; i++) {
        if (i == PLAIN) {
            check_ok(sss_child_register(NULL, loop->ctx, pid, take_plain_turn, &numbers[i],
                                        &children[i]));
            continue;
        }
        watch = watch_of(pid, &unused);
        watch.mask |= i == 1 || i == 4 ? SSS_WATCH_KEEP_ZOMBIE : 0;
        watch.cb = take_turn;
        watch.pvt = &numbers[i];
        check_ok(sss_child_watch(NULL, loop->ctx, &watch, &children[i]));
    }
    check_ok(sss_child_free(children[2]));
    gate_open(&gate);
    loop_until(loop, &turn, COUNT - 1);
    loop_settle(loop);
    check_int(turn, COUNT - 1);
    for (i = 0; i < COUNT; i++) {
        if (i != 2) {
            check_int(turns[i], i < 2 ? i + 1 : i);
            check_ok(sss_child_free(children[i]));
        }
    }
    check(!is_child(pid));
}

static void a_registration_replaces_only_a_registration(void **state)
{
    struct loop *loop = *state;
    struct seen first = { 0 }, second = { 0 };
    struct told rich = { 0 }, last = { 0 };
    struct sss_child_ctx *plain[2], *watches[2];
    struct gate gate;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, 5);
    check_ok(sss_child_register(NULL, loop->ctx, pid, see, &first, &plain[0]));
    watches[0] = watch_child(loop->ctx, pid, &rich);
    check_ok(sss_child_register(NULL, loop->ctx, pid, see, &second, &plain[1]));
    watches[1] = watch_child(loop->ctx, pid, &last);
    gate_open(&gate);
    loop_until(loop, &last.calls, 1);
    loop_settle(loop);
    check_int(first.calls, 0);
    check_seen(&second, pid, 5);
    check_told(&rich, pid, 5);
    check_told(&last, pid, 5);
    check_ok(sss_child_free(plain[0]));
    check_ok(sss_child_free(plain[1]));
    check_ok(sss_child_free(watches[0]));
    check_ok(sss_child_free(watches[1]));
}

/* Asks for the start time too, which cannot be told of a process that is gone. */
static struct sss_child_ctx *watch_start(struct sss_sigchild_ctx *ctx, pid_t pid,
                                         struct told *told)
{
    struct sss_watch watch = watch_of(pid, told);
    struct sss_child_ctx *child;

    watch.mask |= SSS_WATCH_WANT;
    watch.want = SSS_RECORD_STATUS | SSS_RECORD_RUSAGE | SSS_RECORD_TIME | SSS_RECORD_START;
    check_ok(sss_child_watch(NULL, ctx, &watch, &child));
    return child;
}

static void a_late_one_is_told_what_the_others_were(void **state)
{
    struct loop *loop = *state;
    struct told early = { 0 }, late = { 0 }, later = { 0 };
    struct sss_child_ctx *children[3];
    struct sss_watch watch;
    pid_t pid = child_dead(6);

    children[0] = watch_start(loop->ctx, pid, &early);
    loop_until(loop, &early.calls, 1);
    check(!is_child(pid));
    children[1] = watch_start(loop->ctx, pid, &late);
    check_int(late.calls, 0);
    loop_until(loop, &late.calls, 1);
    check_told(&late, pid, 6);
    check(late.event.time_ns == early.event.time_ns);
    check(late.event.user_ns == early.event.user_ns);
    check_int(late.event.have, early.event.have);
    check(late.event.have & SSS_RECORD_START);
    check(late.event.start_ns == early.event.start_ns);
    check_ok(sss_child_free(children[0]));
    /* The late watch still keeps the zombie. */
    children[2] = watch_start(loop->ctx, pid, &later);
    loop_until(loop, &later.calls, 1);
    check(later.event.time_ns == early.event.time_ns);
    check(later.event.start_ns == early.event.start_ns);
    check_ok(sss_child_free(children[1]));
    check_ok(sss_child_free(children[2]));
    watch = watch_of(pid, &late);
    check_int(sss_child_watch(NULL, loop->ctx, &watch, &children[0]), ESRCH);
    check_int(late.calls, 1);
}

/* The record is of the process, not of the context that was told first. */
static void a_late_one_in_another_context(void **state)
{
    struct loop *loop = *state, other;
    struct told early = { 0 }, late = { 0 };
    struct sss_child_ctx *children[2];
    pid_t pid = child_dead(6);

    loop_start(&other, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    children[0] = watch_start(loop->ctx, pid, &early);
    loop_until(loop, &early.calls, 1);
    check(!is_child(pid));
    children[1] = watch_start(other.ctx, pid, &late);
    loop_until(&other, &late.calls, 1);
    check_told(&late, pid, 6);
    check_int(late.event.have, early.event.have);
    check(late.event.time_ns == early.event.time_ns);
    check(late.event.start_ns == early.event.start_ns);
    check_ok(sss_child_free(children[0]));
    check_ok(sss_child_free(children[1]));
    loop_end(&other);
}

static void a_late_one_by_a_plain_handle(void **state)
{
    struct loop *loop = *state;
    struct seen seen = { 0 };
    struct told late = { 0 };
    struct sss_child_ctx *plain, *child;
    pid_t pid = child_dead(BY_SIGNAL(SIGKILL));

    check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, &plain));
    loop_until(loop, &seen.calls, 1);
    child = watch_child(loop->ctx, pid, &late);
    loop_until(loop, &late.calls, 1);
    check_told(&late, pid, BY_SIGNAL(SIGKILL));
    check_int(late.event.have & SSS_RECORD_RUSAGE, 0);
    check_ok(sss_child_free(child));
    check_ok(sss_child_free(plain));
}

static void one_that_was_replaced_has_no_end_to_give(void **state)
{
    struct loop *loop = *state;
    struct seen seen = { 0 };
    struct told late = { 0 };
    struct sss_child_ctx *plain[2], *child;
    struct sss_watch watch;
    struct gate gate;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, 7);
    check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, &plain[0]));
    check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, &plain[1]));
    gate_open(&gate);
    loop_until(loop, &seen.calls, 1);
    check_ok(sss_child_free(plain[1]));
    watch = watch_of(pid, &late);
    check_int(sss_child_watch(NULL, loop->ctx, &watch, &child), ESRCH);
    check_ok(sss_child_free(plain[0]));
}

static void in_two_contexts(void **state)
{
    struct loop *loop = *state, other;
    struct told here = { 0 }, there = { 0 };
    struct sss_child_ctx *children[2];
    struct gate gate;
    pid_t pid;

    loop_start(&other, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    gate_make(&gate);
    pid = child_at(&gate, 8);
    children[0] = watch_child(loop->ctx, pid, &here);
    children[1] = watch_child(other.ctx, pid, &there);
    gate_open(&gate);
    loop_until(&other, &there.calls, 1);
    loop_until(loop, &here.calls, 1);
    check_told(&here, pid, 8);
    check_told(&there, pid, 8);
    check(here.event.time_ns == there.event.time_ns);
    check_ok(sss_child_free(children[0]));
    loop_end(&other);
    check_ok(sss_child_free(children[1]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH_WAY(in_the_order_of_their_registration),
        EACH_WAY(a_registration_replaces_only_a_registration),
        EACH_WAY(a_late_one_is_told_what_the_others_were),
        EACH_WAY(a_late_one_in_another_context),
        EACH_WAY(a_late_one_by_a_plain_handle),
        EACH_WAY(one_that_was_replaced_has_no_end_to_give),
        EACH_WAY(in_two_contexts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
