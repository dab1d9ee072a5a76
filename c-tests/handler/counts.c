/* profiles: all but asan tsan valgrind: the tool makes system calls of its own */
/* What an exit costs, exactly: system calls, allocations, descriptors, heap. */
#include "support/test.h"

#include <sys/syscall.h>
#include <time.h>

#include "support/kernel.h"
#include "support/memory.h"
#include "support/trace.h"

static struct trace trace;

/* The library calls this in place of libc's. While system calls are counted the clock stands
 * still, or each reading moves it on by the same time. So it does not depend on the machine
 * how long the lock is held or a look rests. */
static bool stopped;
static int64_t stopped_at_ns, each_reading_ns;

int clock_gettime(clockid_t clock, struct timespec *now)
{
    if (stopped && clock == CLOCK_MONOTONIC) {
        stopped_at_ns += each_reading_ns;
        now->tv_sec = stopped_at_ns / 1000000000;
        now->tv_nsec = stopped_at_ns % 1000000000;
        return 0;
    }
    return (int)syscall(SYS_clock_gettime, clock, now);
}

static void clock_stop(void)
{
    struct timespec now;

    check_ok(clock_gettime(CLOCK_MONOTONIC, &now));
    stopped = true;
    stopped_at_ns = now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
    each_reading_ns = 0;
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

/* Passes on a SIGCHLD that names this child, and counts what the library calls. */
static void pass_on(struct sss_sigchild_ctx *ctx, pid_t pid)
{
    siginfo_t info;

    memset(&info, 0, sizeof(info));
    info.si_code = CLD_EXITED;
    info.si_pid = pid;
    trace_on();
    sss_child_handler(NULL, NULL, SIGCHLD, 1, &info, ctx);
    trace_off();
}

static void collecting(void *pvt)
{
    struct one *one = pvt;

    if (one->loop.ctxfd == -1) {
        pass_on(one->loop.ctx, one->pid);
        return;
    }
    trace_on();
    check_ok(sss_sigchld_ctx_dispatch(one->loop.ctx, 0));
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

    clock_stop();
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

enum { MANY = 1000, MOST_WAITS = 10, READING_NS = 900 };

/* A child that ends: its SIGCHLD names it, or has merged with another child's. */
struct ending {
    struct gate gate;
    struct seen seen;
    struct sss_child_ctx *child;
    pid_t pid;
};

/* Two of these children are registered before the many idle ones, and two after them. */
struct among_many {
    struct loop loop;
    struct ending endings[4];
    struct gate gate;
    struct sss_child_ctx *idle[MANY];
    pid_t pids[MANY];
    pid_t named;
};

static void watch_ending(struct among_many *all, int i)
{
    struct ending *ending = &all->endings[i];

    gate_make(&ending->gate);
    ending->pid = child_at(&ending->gate, i);
    check_ok(sss_child_register(NULL, all->loop.ctx, ending->pid, see, &ending->seen,
                                &ending->child));
}

static void among_many_start(struct among_many *all, uint32_t scope)
{
    int i;

    memset(all, 0, sizeof(*all));
    loop_start(&all->loop, ctx_make(scope, 0), WAKE_SIGNAL);
    watch_ending(all, 0);
    watch_ending(all, 1);
    gate_make(&all->gate);
    for (i = 0; i < MANY; i++) {
        all->pids[i] = child_at(&all->gate, 0);
        check_ok(sss_child_register(NULL, all->loop.ctx, all->pids[i], NULL, NULL,
                                    &all->idle[i]));
    }
    watch_ending(all, 2);
    watch_ending(all, 3);
}

static void end_one(struct among_many *all, int i)
{
    gate_open(&all->endings[i].gate);
    await_zombie(all->endings[i].pid);
}

static void among_many_end(struct among_many *all)
{
    int i;

    stopped = false;
    end_one(all, 2);
    for (i = 0; i < 4; i++) {
        loop_until(&all->loop, &all->endings[i].seen.calls, 1);
        check_seen(&all->endings[i].seen, all->endings[i].pid, i);
        check_ok(sss_child_free(all->endings[i].child));
    }
    gate_open(&all->gate);
    for (i = 0; i < MANY; i++) {
        loop_until_reaped(&all->loop, all->pids[i]);
        check_ok(sss_child_free(all->idle[i]));
    }
    loop_end(&all->loop);
}

static void passing_on(void *pvt)
{
    struct among_many *all = pvt;

    pass_on(all->loop.ctx, all->named);
}

/* Passes on a SIGCHLD that names this child. Returns how many waits the library made. */
static unsigned waits_when_named(struct among_many *all, int i)
{
    all->named = all->endings[i].pid;
    trace_run(passing_on, all, &trace);
    return trace_count(&trace, SYS_wait4) + trace_count(&trace, SYS_waitid);
}

/* A second child has ended, and its SIGCHLD merged. While waitpid(-1) rests, the library finds
 * that child by WNOWAIT, without a wait for each of the others. */
static void merged_while_a_walk_rests(void **state)
{
    struct among_many all;
    uint64_t walks;

    (void)state;
    trace_needed();
    among_many_start(&all, SSS_SCOPE_ALL);
    clock_stop();
    each_reading_ns = READING_NS;
    end_one(&all, 0);
    (void)waits_when_named(&all, 0);
    each_reading_ns = 0;
    walks = stats_of(all.loop.ctx).walks;

    end_one(&all, 3);
    end_one(&all, 1);
    check(waits_when_named(&all, 3) <= MOST_WAITS);
    check_seen(&all.endings[3].seen, all.endings[3].pid, 3);
    check_seen(&all.endings[1].seen, all.endings[1].pid, 1);
    check_int(stats_of(all.loop.ctx).walks, walks);

    among_many_end(&all);
}

/* A zombie that is not the library's hides those behind it from WNOWAIT, so the library waits
 * for each child. It does not do that again at each SIGCHLD. */
static void behind_a_strangers_zombie(void **state)
{
    pid_t stranger = child_dead(9);
    struct among_many all;

    (void)state;
    trace_needed();
    among_many_start(&all, SSS_SCOPE_REGISTERED);
    loop_settle(&all.loop);
    clock_stop();
    each_reading_ns = READING_NS;
    end_one(&all, 0);
    check(waits_when_named(&all, 0) >= MANY);
    each_reading_ns = 0;

    end_one(&all, 3);
    end_one(&all, 1);
    check(waits_when_named(&all, 3) <= MOST_WAITS);
    check_seen(&all.endings[3].seen, all.endings[3].pid, 3);
    check_int(all.endings[1].seen.calls, 0);
    stopped_at_ns += 1000000000;
    check(waits_when_named(&all, 3) >= MANY);
    check_seen(&all.endings[1].seen, all.endings[1].pid, 1);

    reap(stranger, 9);
    among_many_end(&all);
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
        cmocka_unit_test(merged_while_a_walk_rests),
        cmocka_unit_test(behind_a_strangers_zombie),
        EACH_WAY(no_allocation),
        EACH_WAY(no_allocation_when_steady),
        ONE_WAY(no_descriptor, "_all_signal", 0),
        ONE_WAY(no_descriptor, "_registered_signal", 3),
        cmocka_unit_test(heap),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
