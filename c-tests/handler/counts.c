/* profiles: all but asan tsan valgrind: the tool makes system calls of its own */
/* What an exit costs, exactly: system calls, allocations, descriptors, heap. */
#include "support/test.h"

#include <sys/syscall.h>
#include <time.h>

#include "support/kernel.h"
#include "support/memory.h"
#include "support/trace.h"

static struct trace trace;

/* Used by the library instead of libc's. While system calls are counted the clock stands
 * still, so that the time for which the lock is held or a look rests does not depend on the
 * machine. */
static bool stopped;

int clock_gettime(clockid_t clock, struct timespec *now)
{
    static const struct timespec then = { .tv_sec = 1000 };

    if (stopped && clock == CLOCK_MONOTONIC) {
        *now = then;
        return 0;
    }
    return (int)syscall(SYS_clock_gettime, clock, now);
}

/* One short-lived child in an otherwise empty process. */
struct one {
    struct loop loop;
    struct seen seen;
    struct sss_child_ctx *child;
    struct gate gate;
    pid_t pid;
};

static void registering(void *pvt)
{
    struct one *one = pvt;

    trace_on();
    check_ok(sss_child_register(NULL, one->loop.ctx, one->pid, see, &one->seen, &one->child));
    trace_off();
}

static void collecting(void *pvt)
{
    struct one *one = pvt;
    siginfo_t info;

    memset(&info, 0, sizeof(info));
    info.si_code = CLD_EXITED;
    info.si_pid = one->pid;
    trace_on();
    if (one->loop.ctxfd != -1) {
        check_ok(sss_sigchld_ctx_dispatch(one->loop.ctx, 0));
    } else {
        sss_child_handler(NULL, NULL, SIGCHLD, 1, &info, one->loop.ctx);
    }
    trace_off();
}

static void check_count(int nr, unsigned wanted, const char *what)
{
    if (trace_count(&trace, nr) != wanted) {
        fprintf(stderr, "%s:\n", what);
        trace_print(&trace);
    }
    check_int_at(trace_count(&trace, nr), wanted, what, __FILE__, __LINE__);
}

static void check_total(unsigned wanted, const char *what)
{
    if (trace.count != wanted) {
        fprintf(stderr, "%s:\n", what);
        trace_print(&trace);
    }
    check_int_at(trace.count, wanted, what, __FILE__, __LINE__);
}

struct cost {
    struct way way;
    unsigned registration;
    unsigned wait4, waitid, all; /* for the exit */
};

/* The table has grown, and SIGCHLD has come before. */
static void warm_up(struct loop *loop)
{
    struct seen seen = { 0 };
    struct sss_child_ctx *child;

    check_ok(sss_child_register(NULL, loop->ctx, child_at(NULL, 0), see, &seen, &child));
    loop_until(loop, &seen.calls, 1);
    loop_settle(loop);
    check_ok(sss_child_free(child));
}

static void one_child(const struct cost *cost)
{
    const struct way *way = &cost->way;
    struct one one;

    stopped = true;
    memset(&one, 0, sizeof(one));
    loop_start(&one.loop, ctx_make(way->scope, 0), way->waking);
    warm_up(&one.loop);
    gate_make(&one.gate);
    one.pid = child_at(&one.gate, 5);
    trace_run(registering, &one, &trace);
    check_total(cost->registration, "system calls of a registration");
    check_count(SYS_pidfd_open, way->waking == WAKE_DESCRIPTOR, "pidfd_open in a registration");
    gate_open(&one.gate);
    await_zombie(one.pid);
    trace_run(collecting, &one, &trace);
    check_seen(&one.seen, one.pid, 5);
    check_count(SYS_wait4, cost->wait4, "wait4 for an exit");
    check_count(SYS_waitid, cost->waitid, "waitid for an exit");
    check_total(cost->all, "system calls of an exit");
    check_ok(sss_child_free(one.child));
    loop_end(&one.loop);
    stopped = false;
}

static void system_calls_of_an_exit(void **state)
{
    /* One wait. The exit: the hinted wait, and nothing is left to sweep. */
    static const struct cost registered = { { SSS_SCOPE_REGISTERED, WAKE_SIGNAL }, 1, 1, 0, 1 };
    /* The exit: waitpid(-1) until it finds nothing. */
    static const struct cost all = { { SSS_SCOPE_ALL, WAKE_SIGNAL }, 1, 2, 0, 2 };
    /* pidfd_open, a look, epoll_ctl; then epoll_wait, waitid, epoll_ctl, close. */
    static const struct cost descriptor = { { SSS_SCOPE_REGISTERED, WAKE_DESCRIPTOR }, 3, 0, 1, 4 };

    (void)state;
    trace_needed();
    one_child(&registered);
    one_child(&all);
    if (kernel_has_pidfds()) {
        one_child(&descriptor);
    }
}

static void no_allocation(void **state)
{
    enum { COUNT = 100 };
    struct loop *loop = *state;
    struct sss_child_ctx *children[COUNT];
    struct seen seen[COUNT];
    struct gate gate;
    pid_t pids[COUNT];
    int i;

    memory_needed();
    memset(seen, 0, sizeof(seen));
    gate_make(&gate);
    for (i = 0; i < COUNT; i++) {
        pids[i] = child_at(&gate, i);
        check_ok(sss_child_register(NULL, loop->ctx, pids[i], see, &seen[i], &children[i]));
    }
    memory_begin(0);
    gate_open(&gate);
    for (i = 0; i < COUNT; i++) {
        loop_until(loop, &seen[i].calls, 1);
    }
    check_int(memory_end().calls, 0);
    for (i = 0; i < COUNT; i++) {
        check_seen(&seen[i], pids[i], i);
        check_ok(sss_child_free(children[i]));
    }
}

/* Once the table has grown, a registration in place of a freed one needs none. */
static void no_allocation_when_steady(void **state)
{
    struct loop *loop = *state;
    struct sss_child_ctx *child;
    struct memory memory;
    int i;

    memory_needed();
    for (i = 0; i < 200; i++) {
        struct seen seen = { 0 };
        pid_t pid = child_at(NULL, i);

        memory_begin(0);
        check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, &child));
        memory = memory_end();
        check(i == 0 || memory.calls == 0);
        loop_until(loop, &seen.calls, 1);
        check_seen(&seen, pid, i);
        memory_begin(0);
        check_ok(sss_child_free(child));
        check_int(memory_end().calls, 0);
    }
}

static void no_descriptor(void **state)
{
    struct loop *loop = *state;
    uint64_t refused = stats_of(loop->ctx).no_pidfd;
    unsigned fds = count_fds();
    struct sss_child_ctx *child;
    int i;

    for (i = 0; i < 500; i++) {
        struct seen seen = { 0 };
        pid_t pid = child_at(NULL, i % 256);

        check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, &child));
        check_int(count_fds(), fds);
        loop_until(loop, &seen.calls, 1);
        check_seen(&seen, pid, i % 256);
        check_int(count_fds(), fds);
        check_ok(sss_child_free(child));
    }
    check_int(stats_of(loop->ctx).no_pidfd, refused); /* not even asked for */
}

static void heap_of_a_watch(void *unused)
{
    enum { COUNT = 10000, MOST_BYTES = 64 };
    static struct sss_child_ctx *children[COUNT];
    static pid_t pids[COUNT];
    struct memory memory;
    struct gate gate;
    struct loop loop;
    int i;

    (void)unused;
    loop_start(&loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_SIGNAL);
    gate_make(&gate);
    for (i = 0; i < COUNT; i++) {
        pids[i] = child_at(&gate, 0);
    }
    memory_begin(0);
    for (i = 0; i < COUNT; i++) {
        check_ok(sss_child_register(NULL, loop.ctx, pids[i], NULL, NULL, &children[i]));
    }
    memory = memory_end();
    printf("%ld bytes of heap per watch\n", memory.bytes / COUNT);
    check(memory.bytes > 0 && memory.bytes <= (long)MOST_BYTES * COUNT);
    gate_open(&gate);
    for (i = 0; i < COUNT; i++) {
        loop_until_reaped(&loop, pids[i]);
        check_ok(sss_child_free(children[i]));
    }
    loop_end(&loop);
}

static void heap(void **state)
{
    (void)state;
    memory_needed();
    in_child(heap_of_a_watch, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(system_calls_of_an_exit),
        EACH_WAY(no_allocation),
        EACH_WAY(no_allocation_when_steady),
        ONE_WAY(no_descriptor, "_all_signal", 0),
        ONE_WAY(no_descriptor, "_registered_signal", 3),
        cmocka_unit_test(heap),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
