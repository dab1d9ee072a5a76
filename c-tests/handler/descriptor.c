/* The context's descriptor: readable while there is work, and no longer. */
#include "support/test.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/ptrace.h>

static bool readable(struct loop *loop, int timeout_ms)
{
    struct pollfd fd = { .fd = loop->ctxfd, .events = POLLIN };
    int ready = poll(&fd, 1, timeout_ms);

    check(ready >= 0);
    return ready == 1;
}

/* Waits until there is no work. Where nothing tells it of ends the library looks by itself, ever
 * more rarely: it may do so just now. */
static void await_idle(struct loop *loop)
{
    await((loop_settle(loop), !readable(loop, 0)));
}

static void flags(void **state)
{
    struct loop *loop = *state;
    int again = -1;

    check_int(fcntl(loop->ctxfd, F_GETFD), FD_CLOEXEC);
    check_ok(sss_sigchld_ctx_fd(loop->ctx, &again));
    check_int(again, loop->ctxfd);
}

static void idle_until_work(void **state)
{
    struct loop *loop = *state;
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    struct gate gate;
    pid_t pid;

    await_idle(loop);
    check_ok(sss_sigchld_ctx_dispatch(loop->ctx, 0)); /* never blocks */
    gate_make(&gate);
    pid = child_at(&gate, 1);
    check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, &child));
    await_idle(loop);
    gate_open(&gate);
    check(readable(loop, DEADLINE_MS));
    check_int(seen.calls, 0);
    loop_until(loop, &seen.calls, 1);
    check_seen(&seen, pid, 1);
    await_idle(loop);
    check_ok(sss_child_free(child));
}

static void count_call(int pid, int wait_status, void *pvt)
{
    (void)pid;
    (void)wait_status;
    (*(unsigned *)pvt)++;
}

static void budget(void **state)
{
    enum { COUNT = 20 };
    struct loop *loop = *state;
    struct sss_child_ctx *children[COUNT];
    struct gate gate;
    unsigned calls = 0, before;
    pid_t pids[COUNT];
    int i;

    gate_make(&gate);
    for (i = 0; i < COUNT; i++) {
        pids[i] = child_at(&gate, 0);
        check_ok(sss_child_register(NULL, loop->ctx, pids[i], count_call, &calls,
                                    &children[i]));
    }
    gate_open(&gate);
    for (i = 0; i < COUNT; i++) {
        await_zombie(pids[i]);
    }
    while (calls < COUNT) {
        check(readable(loop, DEADLINE_MS)); /* what is left keeps it so */
        before = calls;
        check_ok(sss_sigchld_ctx_dispatch(loop->ctx, 3));
        check(calls - before <= 3);
    }
    loop_settle(loop);
    check_int(calls, COUNT);
    for (i = 0; i < COUNT; i++) {
        check_ok(sss_child_free(children[i]));
    }
}

static void default_budget(void **state)
{
    enum { COUNT = 600 };
    struct loop *loop = *state;
    struct sss_child_ctx *children[COUNT];
    struct gate gate;
    unsigned calls = 0, turns = 0, before;
    pid_t pids[COUNT];
    int i;

    gate_make(&gate);
    for (i = 0; i < COUNT; i++) {
        pids[i] = child_at(&gate, 0);
    }
    for (i = 0; i < COUNT; i++) {
        check_ok(sss_child_register(NULL, loop->ctx, pids[i], count_call, &calls,
                                    &children[i]));
    }
    gate_open(&gate);
    for (i = 0; i < COUNT; i++) {
        await_zombie(pids[i]);
    }
    for (; calls < COUNT; turns++) {
        check(readable(loop, DEADLINE_MS));
        before = calls;
        check_ok(sss_sigchld_ctx_dispatch(loop->ctx, 0));
        check(calls - before <= 256);
    }
    check(turns >= 3);
    for (i = 0; i < COUNT; i++) {
        check_ok(sss_child_free(children[i]));
    }
}

/* Another context's turn collected the end before the descriptor was asked for. */
static void asked_for_late(void **state)
{
    struct sss_sigchild_ctx *late = ctx_make(SSS_SCOPE_REGISTERED, 0);
    struct loop *loop = *state;
    struct loop own;
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    struct gate gate;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, 2);
    check_ok(sss_child_register(NULL, late, pid, see, &seen, &child));
    gate_open(&gate);
    await_zombie(pid);
    loop_settle(loop);
    loop_start(&own, late, WAKE_DESCRIPTOR);
    loop_until(&own, &seen.calls, 1);
    check_seen(&seen, pid, 2);
    check_ok(sss_child_free(child));
    loop_end(&own);
}

/* Traces the child (PTRACE_SEIZE), and keeps its zombie until the gate opens. */
static pid_t start_tracer(pid_t victim, struct gate *victims, struct gate *gate)
{
    pid_t tracer;
    int ready[2];
    char byte;

    check_ok(pipe(ready));
    tracer = fork();
    check(tracer != -1);
    if (tracer == 0) {
        close(victims->wr);
        close(gate->wr);
        close(ready[0]);
        if (ptrace(PTRACE_SEIZE, victim, NULL, NULL) != 0
            || write(ready[1], "", 1) != 1) {
            _exit(1);
        }
        _exit(read(gate->rd, &byte, 1) == 0 ? 0 : 2);
    }
    check_ok(close(ready[1]));
    check_int(read(ready[0], &byte, 1), 1);
    check_ok(close(ready[0]));
    return tracer;
}

static bool is_zombie(pid_t pid)
{
    char path[64], state;
    FILE *stat;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    stat = fopen(path, "re");
    check(stat != NULL);
    check_int(fscanf(stat, "%*d (%*[^)]) %c", &state), 1);
    check_ok(fclose(stat));
    return state == 'Z';
}

static void traced_corpse(void **state)
{
    struct loop *loop = *state;
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    struct gate gate, tracer_gate;
    pid_t pid, tracer;
    int turns = 0, i;

    gate_make(&gate);
    gate_make(&tracer_gate);
    pid = child_at(&gate, 5);
    tracer = start_tracer(pid, &gate, &tracer_gate);
    check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, &child));
    gate_open(&gate);
    while (!is_zombie(pid)) {
        sched_yield();
    }
    /* A level-triggered loop would find it readable each time. */
    for (i = 0; i < 100; i++) {
        turns += loop_turn(loop, 0) > 0;
    }
    check(turns <= 50);
    check_int(seen.calls, 0);
    gate_open(&tracer_gate);
    loop_until(loop, &seen.calls, 1);
    check_seen(&seen, pid, 5);
    reap(tracer, 0);
    check_ok(sss_child_free(child));
}

#define POLLED_WAYS(test) \
    ONE_WAY(test, "_all_descriptor", 1), ONE_WAY(test, "_registered_descriptor", 4)

int main(void)
{
    const struct CMUnitTest tests[] = {
        POLLED_WAYS(flags),
        POLLED_WAYS(idle_until_work),
        POLLED_WAYS(budget),
        POLLED_WAYS(default_budget),
        POLLED_WAYS(asked_for_late),
        REGISTERED_WAYS(traced_corpse),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
