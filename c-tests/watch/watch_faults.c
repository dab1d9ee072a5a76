/* Rich watches and communicate without memory, descriptors, pidfds or SIGCHLD, and when
 * pids are reused. */
#include "support/test.h"

#include <pthread.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "support/filter.h"
#include "support/hold.h"
#include "support/kernel.h"
#include "support/memory.h"
#include "support/spawn.h"
#include "support/told.h"

static const struct sss_deadline_step in_an_hour = {
    .after_ns = 3600 * (int64_t)1000000000, .signum = SIGKILL,
};
static const struct sss_deadline late = {
    .size = sizeof(late), .steps = &in_an_hour, .steps_count = 1,
};

/* All fields that a watch can want. */
static struct sss_watch all_of(pid_t pid, struct told *told)
{
    struct sss_watch watch = watch_of(pid, told);

    watch.mask |= SSS_WATCH_WANT | SSS_WATCH_KEEP_ZOMBIE;
    watch.want = 0xff;
    return watch;
}

/* Repeats a call, with its first allocation failing, then its second and so on, until it
 * works: each time ENOMEM, and nothing has changed. */
static unsigned until_it_works(struct loop *loop, int (*call)(struct loop *loop, void *pvt),
                               void *pvt)
{
    struct sss_ctx_stats before, after;
    unsigned n, fds;
    struct memory memory;
    int code;

    for (n = 1;; n++) {
        before = stats_of(loop->ctx);
        fds = count_fds();
        memory_begin(n);
        code = call(loop, pvt);
        memory = memory_end();
        if (memory.failed == 0 || code == 0) {
            break; /* or it did without */
        }
        check_int(code, ENOMEM);
        after = stats_of(loop->ctx);
        check_int(after.watches, before.watches);
        check_int(after.young + after.old, before.young + before.old);
        check_int(count_fds(), fds);
    }
    check_ok(code);
    return n - 1;
}

enum { MANY = 200 };

struct watched {
    struct told told;
    struct sss_child_ctx *child;
    pid_t pid;
};

static int do_watch(struct loop *loop, void *pvt)
{
    struct watched *watched = pvt;
    struct sss_watch watch = all_of(watched->pid, &watched->told);

    return sss_child_watch(NULL, loop->ctx, &watch, &watched->child);
}

static int do_set_deadline(struct loop *loop, void *pvt)
{
    struct watched *watched = pvt;

    (void)loop;
    return sss_child_set_deadline(watched->child, &late);
}

static void memory_is_out(void **state)
{
    static struct watched watched[MANY];
    struct loop *loop = *state;
    unsigned failed = 0, calls;
    struct gate gate;
    int i;

    memory_needed();
    memset(watched, 0, sizeof(watched));
    gate_make(&gate);
    for (i = 0; i < MANY; i++) {
        watched[i].pid = child_at(&gate, i);
        failed += until_it_works(loop, do_watch, &watched[i]);
        if (loop->ctxfd != -1) {
            failed += until_it_works(loop, do_set_deadline, &watched[i]);
        }
    }
    check(failed > 0);
    /* What is to be told is told without any. */
    gate_open(&gate);
    for (i = 0; i < MANY; i++) {
        await_zombie(watched[i].pid);
    }
    memory_begin(1);
    for (i = 0; i < MANY; i++) {
        loop_until(loop, &watched[i].told.calls, 1);
    }
    calls = memory_end().calls;
    /* Without pidfds it may take long until all are told. Meanwhile the library scans /proc for
     * unknown children behind the kept zombies, and a scan allocates a list. */
    check(calls == 0 || !kernel_has_pidfds());
    for (i = 0; i < MANY; i++) {
        check_told(&watched[i].told, watched[i].pid, i);
        check(watched[i].told.was_zombie);
        check_ok(sss_child_free(watched[i].child));
    }
}

struct output {
    struct sss_child_ctx *child;
    unsigned calls;
    int status;
    int32_t error;
    size_t length;
};

static void see_done(struct sss_child_ctx *child, const struct sss_communicated *done, void *pvt)
{
    struct output *output = pvt;

    (void)child;
    output->calls++;
    output->status = done->end->wait_status;
    output->error = done->output_errno;
    output->length = done->output_length;
}

static int do_communicate_so(struct loop *loop, struct output *output, uint32_t *step)
{
    static const char *const argv[] = { "sh", "-c", "cat; exit 5", NULL };
    struct sss_spawn spawn = spawn_zero();
    const struct sss_communicate comm = {
        .size = sizeof(comm),
        .mask = SSS_COMMUNICATE_INPUT | SSS_COMMUNICATE_OUTPUT | SSS_COMMUNICATE_ERROR,
        .input = "words",
        .input_length = 5,
        .deadline = &late,
        .cb = see_done,
        .pvt = output,
    };

    spawn.path = "/bin/sh";
    spawn.argv = argv;
    spawn.failed_step = step;
    return sss_child_communicate(NULL, loop->ctx, &spawn, &comm, &output->child);
}

static int do_communicate(struct loop *loop, void *pvt)
{
    return do_communicate_so(loop, pvt, NULL);
}

static void memory_is_out_for_a_command(void **state)
{
    int64_t deadline = now_ms() + DEADLINE_MS;
    struct loop *loop = *state;
    struct output output = { 0 };

    memory_needed();
    check(until_it_works(loop, do_communicate, &output) > 3);
    loop_until(loop, &output.calls, 1);
    check_int(output.status, status_of(5));
    check_int(output.length, 5);
    check_ok(sss_child_free(output.child));
    /* Where there is no memory for the output it is dropped, and the end is told. Without pidfds
     * a scan of /proc may take the allocation that fails: then all is done once more. */
    do {
        check(now_ms() < deadline);
        memset(&output, 0, sizeof(output));
        check_ok(do_communicate(loop, &output));
        memory_begin(1);
        loop_until(loop, &output.calls, 1);
        check_int(memory_end().failed, 1);
        check_int(output.status, status_of(5));
        check_ok(sss_child_free(output.child));
    } while (output.error == 0 && !kernel_has_pidfds());
    check_int(output.error, ENOMEM);
    check_int(output.length, 0);
}

static void allow_descriptors(unsigned count)
{
    struct rlimit limit;

    check_ok(getrlimit(RLIMIT_NOFILE, &limit));
    limit.rlim_cur = (rlim_t)count;
    check_ok(setrlimit(RLIMIT_NOFILE, &limit));
}

/* So many more may be opened. */
static void leave_descriptors(unsigned left)
{
    int next;

    allow_descriptors(1024);
    next = dup(STDERR_FILENO);
    check(next != -1);
    check_ok(close(next));
    allow_descriptors((unsigned)next + left);
}

static void without_descriptors(void *unused)
{
    struct told told = { 0 };
    struct output output = { 0 };
    struct sss_child_ctx *child;
    struct sss_watch watch;
    struct gate gate;
    struct loop loop;
    uint32_t step;
    unsigned left, fds;
    int code, pidfd;
    pid_t pid;

    (void)unused;
    loop_start(&loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    gate_make(&gate);
    pid = child_at(&gate, 4);
    pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    leave_descriptors(0);
    if (pidfd != -1) {
        watch = watch_of(0, &told);
        watch.mask = SSS_WATCH_PIDFD | SSS_WATCH_TAKE_PIDFD;
        watch.pidfd = pidfd;
        check_int(sss_child_watch(NULL, loop.ctx, &watch, &child), EMFILE);
        check_ok(close(pidfd)); /* it was not taken */
        leave_descriptors(0);
    }
    /* The fields that need a pidfd are missing. */
    watch = all_of(pid, &told);
    check_ok(sss_child_watch(NULL, loop.ctx, &watch, &child));
    allow_descriptors(1024);
    fds = count_fds();
    for (left = 0;; left++) {
        leave_descriptors(left);
        step = 0;
        code = do_communicate_so(&loop, &output, &step);
        allow_descriptors(1024);
        if (code == 0) {
            break;
        }
        check_int(code, EMFILE);
        check(left < 20);
        check(left >= 6 || step == SSS_SPAWN_STEP_FDS);
        check_int(count_fds(), fds);
    }
    check(left >= 6);
    loop_until(&loop, &output.calls, 1);
    check_int(output.status, status_of(5));
    check_int(output.length, 5);
    check_ok(sss_child_free(output.child));
    gate_open(&gate);
    loop_until(&loop, &told.calls, 1);
    check_told(&told, pid, 4);
    check(told.event.have & SSS_RECORD_RUSAGE);
    check_int(told.event.have & SSS_RECORD_IDENTITY, 0);
    check_ok(sss_child_free(child));
    loop_end(&loop);
    check_no_children();
}

static void descriptors_are_out(void **state)
{
    (void)state;
    if (test_profile_is("valgrind")) {
        test_skip("valgrind", "valgrind aborts where pipe2(2) gets EMFILE");
    }
    in_child(without_descriptors, NULL);
}

static void without_pidfds(void *pvt)
{
    struct told first = { 0 }, second = { 0 };
    struct sss_child_ctx *children[2];
    struct sss_watch watch;
    struct gate gate;
    struct loop loop;
    pid_t pid;

    filter_deny(SYS_pidfd_open, *(const int *)pvt);
    loop_start(&loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    gate_make(&gate);
    pid = child_at(&gate, 4);
    watch = all_of(pid, &first);
    watch.deadline = &late;
    check_ok(sss_child_watch(NULL, loop.ctx, &watch, &children[0]));
    children[1] = watch_child(loop.ctx, pid, &second);
    gate_open(&gate);
    loop_until(&loop, &first.calls, 1);
    loop_until(&loop, &second.calls, 1);
    check(first.was_zombie);
    check_told(&first, pid, 4);
    check_told(&second, pid, 4);
    check_int(first.event.have & (SSS_RECORD_IDENTITY | SSS_RECORD_CGROUP), 0);
    check(first.event.have & SSS_RECORD_START);
    check(second.event.have & SSS_RECORD_RUSAGE);
    check_ok(sss_child_free(children[0]));
    check_ok(sss_child_free(children[1]));
    /* A status that other code took is not known. */
    memset(&first, 0, sizeof(first));
    gate_make(&gate);
    pid = child_at(&gate, 4);
    watch = all_of(pid, &first);
    check_ok(sss_child_watch(NULL, loop.ctx, &watch, &children[0]));
    gate_open(&gate);
    reap(pid, 4);
    loop_until(&loop, &first.calls, 1);
    check_int(first.event.event, SSS_CHILD_EVENT_LOST);
    check_int(first.event.source, SSS_SOURCE_LOST);
    check_int(first.event.wait_status, SSS_WAIT_STATUS_LOST);
    check_int(first.event.zombie_kept, 0);
    check_int(first.event.have & (SSS_RECORD_STATUS | SSS_RECORD_RUSAGE), 0);
    check_ok(sss_child_free(children[0]));
    loop_end(&loop);
    check_no_children();
}

static void pidfds_are_refused(void **state)
{
    static const int errors[] = { ENOSYS, EPERM, EMFILE };
    size_t i;

    (void)state;
    for (i = 0; i < ARRAY_SIZE(errors); i++) {
        int error = errors[i];

        in_child(without_pidfds, &error);
    }
}

/* The kernel leaves no zombie, so none can be kept, and the resource usage is unknown. */
static void while_sigchld_is_ignored(void *unused)
{
    bool recovers = kernel_keeps_status();
    struct told told = { 0 };
    struct sss_child_ctx *child;
    struct sss_watch watch;
    struct gate gate;
    struct loop loop;
    pid_t pid;

    (void)unused;
    check(signal(SIGCHLD, SIG_IGN) != SIG_ERR);
    loop_start(&loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    gate_make(&gate);
    pid = child_at(&gate, 4);
    watch = all_of(pid, &told);
    check_ok(sss_child_watch(NULL, loop.ctx, &watch, &child));
    gate_open(&gate);
    loop_until(&loop, &told.calls, 1);
    check(!told.was_zombie);
    check_int(told.event.zombie_kept, 0);
    check_int(told.event.have & (SSS_RECORD_RUSAGE | SSS_RECORD_MAXRSS), 0);
    check(told.event.have & SSS_RECORD_TIME);
    if (recovers) {
        check_told(&told, pid, 4);
        check_int(told.event.source, SSS_SOURCE_RECOVERED);
    } else {
        check_int(told.event.source, SSS_SOURCE_LOST);
    }
    check_ok(sss_child_free(child));
    loop_end(&loop);
}

static void sigchld_is_ignored(void **state)
{
    (void)state;
    in_child(while_sigchld_is_ignored, NULL);
}

/* One with a pidfd, however its context is woken. */
static void an_old_one_that_others_took(void **state)
{
    struct loop *loop = *state;
    struct told told = { 0 };
    struct sss_child_ctx *child;
    struct sss_watch watch;
    struct gate gate;
    pid_t pid;

    if (!kernel_keeps_status()) {
        test_skip("linux-5.10 linux-4.19 valgrind", "a pidfd tells no status");
    }
    gate_make(&gate);
    pid = child_at(&gate, 4);
    watch = watch_of(pid, &told);
    watch.mask |= SSS_WATCH_WANT;
    watch.want = 0xff;
    check_ok(sss_child_watch(NULL, loop->ctx, &watch, &child));
    check_int(stats_of(loop->ctx).old, 1);
    gate_open(&gate);
    reap(pid, 4);
    loop_until(loop, &told.calls, 1);
    check_told(&told, pid, 4);
    check_int(told.event.source, SSS_SOURCE_RECOVERED);
    check_int(told.event.have & (SSS_RECORD_RUSAGE | SSS_RECORD_MAXRSS), 0);
    check(told.event.have & SSS_RECORD_IDENTITY);
    check_ok(sss_child_free(child));
}

static void pids_needed(void)
{
    if (test_profile_is("linux-4.19") || test_profile_is("valgrind")) {
        test_skip("linux-4.19 valgrind", "no clone3(2), so no pid can be chosen");
    }
}

/* A pid means the unreaped child rather than the record of a former one. */
static void a_living_one_comes_before_a_latched_one(void **state)
{
    struct loop *loop = *state;
    struct told former = { 0 }, latter = { 0 }, last = { 0 };
    struct sss_child_ctx *children[3];
    struct gate gate;
    pid_t pid;

    pids_needed();
    pid = child_dead(4);
    children[0] = watch_child(loop->ctx, pid, &former);
    loop_until(loop, &former.calls, 1);
    gate_make(&gate);
    child_reusing(pid, &gate, 5);
    children[1] = watch_child(loop->ctx, pid, &latter);
    loop_settle(loop);
    check_int(latter.calls, 0);
    gate_open(&gate);
    loop_until(loop, &latter.calls, 1);
    check_told(&latter, pid, 5);
    check(former.event.id != latter.event.id);
    check_int(former.calls, 1);
    /* Of two records the later one counts. */
    children[2] = watch_child(loop->ctx, pid, &last);
    loop_until(loop, &last.calls, 1);
    check_told(&last, pid, 5);
    check_ok(sss_child_free(children[0]));
    check_ok(sss_child_free(children[1]));
    check_ok(sss_child_free(children[2]));
}

/* The same where it has ended too; by its pid and by a pidfd. */
static void a_dead_one_comes_before_a_latched_one(void **state)
{
    struct loop *loop = *state;
    int by_pidfd;

    pids_needed();
    for (by_pidfd = 0; by_pidfd < (kernel_has_pidfds() ? 2 : 1); by_pidfd++) {
        struct told former = { 0 }, latter = { 0 };
        struct sss_child_ctx *children[2];
        struct sss_watch watch;
        struct gate gate;
        pid_t pid = child_dead(4);

        children[0] = watch_child(loop->ctx, pid, &former);
        loop_until(loop, &former.calls, 1);
        gate_make(&gate);
        child_reusing(pid, &gate, 5);
        gate_open(&gate);
        await_zombie(pid);
        watch = watch_of(pid, &latter);
        if (by_pidfd) {
            watch.mask = SSS_WATCH_PIDFD | SSS_WATCH_TAKE_PIDFD;
            watch.pid = 0;
            watch.pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
        }
        check_ok(sss_child_watch(NULL, loop->ctx, &watch, &children[1]));
        loop_until(loop, &latter.calls, 1);
        check_told(&latter, pid, 5);
        check(former.event.id != latter.event.id);
        check_ok(sss_child_free(children[0]));
        check_ok(sss_child_free(children[1]));
    }
}

/* Others took the child, and its pid is another one's when the deadline passes. */
static void step_for_a_reused_pid(enum waking waking, bool keeps)
{
    const struct sss_deadline_step step = { .signum = SIGKILL, .whom = SSS_STEP_GROUP };
    const struct sss_deadline deadline = {
        .size = sizeof(deadline), .steps = &step, .steps_count = 1,
    };
    struct told told = { 0 };
    struct sss_child_ctx *child;
    struct sss_watch watch;
    struct gate gate;
    struct loop loop;
    pid_t pid;

    loop_start(&loop, ctx_untrusted(SSS_SCOPE_REGISTERED), waking);
    gate_make(&gate);
    pid = child_at(&gate, 4);
    watch = watch_of(pid, &told);
    watch.mask |= SSS_WATCH_EVENTS | (keeps ? SSS_WATCH_KEEP_ZOMBIE : 0);
    watch.events = SSS_CHILD_EVENT_EXITED | SSS_CHILD_EVENT_KILLED | SSS_CHILD_EVENT_STEP;
    watch.deadline = &deadline;
    check_ok(sss_child_watch(NULL, loop.ctx, &watch, &child));
    gate_open(&gate);
    reap(pid, 4);
    gate_make(&gate);
    child_reusing(pid, &gate, 5);
    /* It is due, and so is the end. */
    loop_until(&loop, &told.calls, 1);
    loop_settle(&loop);
    check_int(told.calls, 1);
    check_int(told.event.have & SSS_RECORD_STEP, 0);
    check(told.event.wait_status == status_of(4)
          || told.event.wait_status == SSS_WAIT_STATUS_LOST);
    gate_open(&gate);
    reap(pid, 5); /* it was not killed */
    check_ok(sss_child_free(child));
    loop_end(&loop);
    check_no_children();
}

static void a_step_reaches_no_other_with_that_pid(void **state)
{
    (void)state;
    pids_needed();
    step_for_a_reused_pid(WAKE_DESCRIPTOR, false);
    step_for_a_reused_pid(WAKE_DESCRIPTOR, true);
    step_for_a_reused_pid(WAKE_BOTH, false);
    step_for_a_reused_pid(WAKE_BOTH, true);
}

struct held_step {
    struct loop loop;
    struct told told;
    pid_t pid;
};

static void *take_it(void *pvt)
{
    struct held_step *step = pvt;

    loop_until(&step->loop, &step->told.calls, 1);
    return NULL;
}

/* Others take the child in the moment in which its group is signalled, and another one with
 * its pid leads a group. */
static void a_step_reaches_no_other_group_with_that_number(void **state)
{
    const struct sss_deadline_step kill_all = { .signum = SIGKILL, .whom = SSS_STEP_GROUP };
    const struct sss_deadline deadline = {
        .size = sizeof(deadline), .steps = &kill_all, .steps_count = 1,
    };
    struct held_step step = { 0 };
    struct hold holds[2];
    struct sss_child_ctx *child;
    struct sss_watch watch;
    struct held held;
    struct gate gate;
    pthread_t thread;
    int listener;

    (void)state;
    pids_needed();
    hold_needed();
    /* Done once here, so that the test is skipped before a thread is held. */
    step.pid = child_dead(4);
    reap(step.pid, 4);
    gate_make(&gate);
    child_reusing(step.pid, &gate, 5);
    gate_open(&gate);
    reap(step.pid, 5);
    loop_start(&step.loop, ctx_untrusted(SSS_SCOPE_REGISTERED), WAKE_DESCRIPTOR);
    gate_make(&gate);
    step.pid = child_at(&gate, 4);
    watch = watch_of(step.pid, &step.told);
    watch.mask |= SSS_WATCH_EVENTS;
    watch.events = SSS_CHILD_EVENT_EXITED | SSS_CHILD_EVENT_KILLED | SSS_CHILD_EVENT_STEP;
    watch.deadline = &deadline;
    check_ok(sss_child_watch(NULL, step.loop.ctx, &watch, &child));
    holds[0] = holds[1] = (struct hold){ SYS_getpgid, (uint32_t)step.pid };
    listener = hold_thread(&thread, holds, take_it, &step);
    held = hold_await(listener);
    gate_open(&gate);
    reap(step.pid, 4);
    gate_make(&gate);
    child_reusing(step.pid, &gate, 5);
    check_ok(setpgid(step.pid, step.pid));
    hold_release(listener, &held);
    check_ok(pthread_join(thread, NULL));
    check_int(step.told.events[0].event, SSS_CHILD_EVENT_STEP);
    check_int(step.told.events[0].step_errno, ESRCH);
    gate_open(&gate);
    reap(step.pid, 5); /* it was not killed */
    loop_until(&step.loop, &step.told.calls, 2);
    check_ok(sss_child_free(child));
    check_ok(close(listener));
    loop_end(&step.loop);
    check_no_children();
}

#define POLLED(test) \
    ONE_WAY(test, "_all_descriptor", 1), ONE_WAY(test, "_registered_both", 5)

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH_WAY(memory_is_out),
        POLLED(memory_is_out_for_a_command),
        cmocka_unit_test(descriptors_are_out),
        cmocka_unit_test(pidfds_are_refused),
        cmocka_unit_test(sigchld_is_ignored),
        EACH_WAY(an_old_one_that_others_took),
        EACH_WAY(a_living_one_comes_before_a_latched_one),
        EACH_WAY(a_dead_one_comes_before_a_latched_one),
        cmocka_unit_test(a_step_reaches_no_other_with_that_pid),
        cmocka_unit_test(a_step_reaches_no_other_group_with_that_number),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
