/*
 * Scope ALL: several children end, and their signals merge, or the daemon passes on only
 * the first siginfo_t. From then on the library has to look at unknown children. It does,
 * whatever else ends and is passed on before.
 */
#include "support/alarm.h"
#include "support/test.h"

enum { LOOK_WITHIN_MS = 1000, MOST = 600, LATER = 5 };

/* A child that ends when it is told to. */
struct one {
    struct gate gate;
    struct seen seen;
    struct sss_child_ctx *child; /* NULL: unknown */
    pid_t pid;
};

static uint32_t tell(int pid, int wait_status, void *pvt)
{
    see(pid, wait_status, pvt);
    return SSS_UNKNOWN_TAKEN;
}

static void one_make(struct one *one, struct loop *loop, bool known)
{
    memset(one, 0, sizeof(*one));
    gate_make(&one->gate);
    one->pid = child_at(&one->gate, 2);
    if (known) {
        check_ok(sss_child_register(NULL, loop->ctx, one->pid, see, &one->seen, &one->child));
    }
}

static void one_end(struct one *one)
{
    gate_open(&one->gate);
    await_zombie(one->pid);
}

/* Of all signals that wait to be read, the daemon passes on this one. */
static void hand_over(struct loop *loop, pid_t pid)
{
    char dropped[4096];
    siginfo_t info;

    while (loop->sigfd != -1 && read(loop->sigfd, dropped, sizeof(dropped)) > 0) {
    }
    memset(&info, 0, sizeof(info));
    info.si_signo = SIGCHLD;
    info.si_code = CLD_EXITED;
    info.si_pid = pid;
    sss_child_handler(NULL, NULL, SIGCHLD, 1, &info, loop->ctx);
}

/* Either the unknown child was found, or an alarm is set for a look that finds it. */
static void check_owed(const struct seen *unknown)
{
    check(unknown->calls == 1 || alarm_due_within(LOOK_WITHIN_MS));
}

/* Waits until the library's alarm has rung that was set at `owed` or before it. */
static void await_alarm(int64_t owed)
{
    while (now_ms() < owed + LOOK_WITHIN_MS + 50) {
        usleep(10000);
    }
}

enum order { KNOWN_FIRST, UNKNOWN_FIRST };

/* When the library's own signal comes: after all that are passed on, or merged with the last
 * of them, after it or before it. */
enum alarm { COMES_LAST, MERGES, MERGES_AND_IS_FIRST };

static void merge(struct loop *loop, enum order order, enum alarm alarm)
{
    struct one known, unknown, later[LATER];
    const int count = alarm == COMES_LAST ? LATER : 1;
    struct seen seen = { 0 };
    int64_t owed;
    int i;

    check_ok(sss_sigchld_ctx_set_unknown_fn(loop->ctx, tell, &seen));
    one_make(&known, loop, true);
    one_make(&unknown, loop, false);
    for (i = 0; i < count; i++) {
        one_make(&later[i], loop, true);
    }
    /* A look was made right before, so that the next one may be put off. */
    hand_over(loop, getppid());

    one_end(order == KNOWN_FIRST ? &known : &unknown);
    one_end(order == KNOWN_FIRST ? &unknown : &known);
    hand_over(loop, known.pid);
    check_owed(&seen);
    owed = now_ms();
    for (i = 0; i < count; i++) {
        if (alarm == MERGES_AND_IS_FIRST && i == count - 1) {
            await_alarm(owed);
        }
        one_end(&later[i]);
        if (alarm == MERGES && i == count - 1) {
            await_alarm(owed);
        }
        hand_over(loop, later[i].pid);
        check_owed(&seen);
    }
    /* No other signal comes than the library's own. */
    loop_until(loop, &seen.calls, 1);
    check_seen(&seen, unknown.pid, 2);
    loop_until(loop, &known.seen.calls, 1);
    check_seen(&known.seen, known.pid, 2);
    for (i = 0; i < count; i++) {
        loop_until(loop, &later[i].seen.calls, 1);
        check_seen(&later[i].seen, later[i].pid, 2);
        check_ok(sss_child_free(later[i].child));
    }
    check_ok(sss_child_free(known.child));
    check_ok(sss_sigchld_ctx_set_unknown_fn(loop->ctx, NULL, NULL));
}

static int many(void)
{
    return test_profile_is("valgrind") ? 50 : MOST;
}

static void among(struct loop *loop, int count, enum order order)
{
    struct sss_child_ctx *idle[MOST];
    pid_t pids[MOST];
    struct gate gate;
    int i;

    gate_make(&gate);
    for (i = 0; i < count; i++) {
        pids[i] = child_at(&gate, 0);
        check_ok(sss_child_register(NULL, loop->ctx, pids[i], NULL, NULL, &idle[i]));
    }
    merge(loop, order, COMES_LAST);
    /* With few children each look is made at once. */
    if (count == many()) {
        merge(loop, order, MERGES);
        merge(loop, order, MERGES_AND_IS_FIRST);
    }
    gate_open(&gate);
    for (i = 0; i < count; i++) {
        loop_until_reaped(loop, pids[i]);
        check_ok(sss_child_free(idle[i]));
    }
}

static void known_first(void **state)
{
    among(*state, 0, KNOWN_FIRST);
    among(*state, 20, KNOWN_FIRST);
    among(*state, many(), KNOWN_FIRST);
}

static void unknown_first(void **state)
{
    among(*state, 0, UNKNOWN_FIRST);
    among(*state, 20, UNKNOWN_FIRST);
    among(*state, many(), UNKNOWN_FIRST);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ALL_WAYS(known_first),
        ALL_WAYS(unknown_first),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
