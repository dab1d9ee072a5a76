/* A child at its gate executes nothing until the gate is opened, and outlives neither
 * its watch nor its parent. */
#include "support/test.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "support/filter.h"
#include "support/kernel.h"
#include "support/spawn.h"

/* Whether a process executes the same file as we do. */
static bool runs_our_program(pid_t pid)
{
    char path[64];
    struct stat ours, theirs;

    snprintf(path, sizeof(path), "/proc/%d/exe", pid);
    check_ok(stat("/proc/self/exe", &ours));
    check_ok(stat(path, &theirs));
    return ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino;
}

/* The kernel lets the opener go on right before the child's memory is another. */
static void await_exec(pid_t pid)
{
    int64_t deadline = now_ms() + DEADLINE_MS;

    while (runs_our_program(pid)) {
        check(now_ms() < deadline);
        sched_yield();
    }
}

static struct sss_child_ctx *spawn_held(struct loop *loop, struct gate *gate, int end,
                                        struct seen *seen)
{
    struct sss_spawn spawn = spawn_zero();

    spawn.mask |= SSS_SPAWN_GATE;
    return spawn_so_at(loop->ctx, &spawn, gate, end, see, seen);
}

static void nothing_is_executed_before(void **state)
{
    struct loop *loop = *state;
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    struct gate gate;
    pid_t pid;

    gate_make(&gate);
    child = spawn_held(loop, &gate, 7, &seen);
    pid = pid_of(child);
    check(runs_our_program(pid));
    loop_settle(loop);
    check(runs_our_program(pid));
    check_int(seen.calls, 0);

    check_ok(sss_child_open_gate(child));
    await_exec(pid);
    check_int(sss_child_open_gate(child), EALREADY);

    gate_open(&gate);
    loop_until(loop, &seen.calls, 1);
    loop_settle(loop);
    check_seen(&seen, pid, 7);
    check_int(sss_child_open_gate(child), ESRCH);
    check_ok(sss_child_free(child));
}

static void each_has_its_own(void **state)
{
    enum { COUNT = 6 };
    struct loop *loop = *state;
    struct sss_child_ctx *children[COUNT];
    struct seen seen[COUNT];
    struct gate gate;
    pid_t pids[COUNT];
    int i, j;

    memset(seen, 0, sizeof(seen));
    gate_make(&gate);
    for (i = 0; i < COUNT; i++) {
        children[i] = spawn_held(loop, &gate, i, &seen[i]);
        pids[i] = pid_of(children[i]);
    }
    for (i = COUNT - 1; i >= 0; i--) {
        for (j = 0; j <= i; j++) {
            check(runs_our_program(pids[j]));
        }
        check_ok(sss_child_open_gate(children[i]));
        await_exec(pids[i]);
    }
    gate_open(&gate);
    for (i = 0; i < COUNT; i++) {
        loop_until(loop, &seen[i].calls, 1);
        check_seen(&seen[i], pids[i], i);
        check_ok(sss_child_free(children[i]));
    }
}

static void none_to_open(void **state)
{
    struct loop *loop = *state;
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    struct gate gate;

    check_int(sss_child_open_gate(NULL), EINVAL);
    gate_make(&gate);
    child = spawn_at(loop->ctx, &gate, 0, see, &seen);
    check_int(sss_child_open_gate(child), EALREADY);
    gate_open(&gate);
    loop_until(loop, &seen.calls, 1);
    check_ok(sss_child_free(child));
    check_int(sss_child_open_gate(child), ESRCH);
}

static void killed_while_held(void **state)
{
    struct loop *loop = *state;
    struct seen seen = { 0 };
    struct sss_child_ctx *child = spawn_held(loop, NULL, 0, &seen);
    pid_t pid = pid_of(child);

    check_ok(sss_child_kill(child, SIGKILL));
    await_zombie(pid);
    check_int(sss_child_open_gate(child), ESRCH);
    loop_until(loop, &seen.calls, 1);
    loop_settle(loop);
    check_seen(&seen, pid, BY_SIGNAL(SIGKILL));
    check_int(sss_child_open_gate(child), ESRCH);
    check_ok(sss_child_free(child));
}

/* Its signals are at their default and open while it waits. */
static void terminated_while_held(void **state)
{
    struct loop *loop = *state;
    struct seen seen = { 0 };
    struct sss_child_ctx *child = spawn_held(loop, NULL, 0, &seen);
    pid_t pid = pid_of(child);

    check_ok(sss_child_kill(child, SIGTERM));
    loop_until(loop, &seen.calls, 1);
    check_seen(&seen, pid, BY_SIGNAL(SIGTERM));
    check_int(sss_child_open_gate(child), ESRCH);
    check_ok(sss_child_free(child));
}

static void stopped_while_held(void **state)
{
    struct loop *loop = *state;
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    struct gate gate;
    pid_t pid;

    gate_make(&gate);
    child = spawn_held(loop, &gate, 3, &seen);
    pid = pid_of(child);
    check_ok(kill(pid, SIGSTOP));
    await_stopped(pid);
    check_ok(sss_child_open_gate(child));
    await_exec(pid);
    gate_open(&gate);
    loop_until(loop, &seen.calls, 1);
    check_seen(&seen, pid, 3);
    check_ok(sss_child_free(child));
}

static void exec_fails_after_it(void **state)
{
    static const char *const argv[] = { "none", NULL };
    struct loop *loop = *state;
    struct sss_spawn spawn = spawn_zero();
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    uint32_t step = 0;
    pid_t pid;

    spawn.mask |= SSS_SPAWN_GATE;
    spawn.path = "/nonexistent/none";
    spawn.argv = argv;
    spawn.failed_step = &step;
    check_ok(sss_child_spawn(NULL, loop->ctx, &spawn, see, &seen, &child));
    check_int(step, 0);
    pid = pid_of(child);
    check_int(sss_child_open_gate(child), ENOENT);
    loop_until(loop, &seen.calls, 1);
    loop_settle(loop);
    check_seen(&seen, pid, 127);
    check_ok(sss_child_free(child));
}

/* What fails before the gate is the spawn's own failure. */
static void a_step_before_it_fails(void **state)
{
    struct loop *loop = *state;
    struct sss_spawn spawn = spawn_zero();
    struct sss_child_ctx *child;
    uint32_t step = 0;

    spawn.mask |= SSS_SPAWN_GATE;
    spawn.path = report_program();
    spawn.argv = report_argv();
    spawn.cwd = "/nonexistent";
    spawn.failed_step = &step;
    check_int(sss_child_spawn(NULL, loop->ctx, &spawn, NULL, NULL, &child), ENOENT);
    check_int(step, SSS_SPAWN_STEP_CWD);
    check_int(stats_of(loop->ctx).watches, 0);
    check_no_children();
}

/* The pipe whose write end the held child will have: its end of file is the
 * child's end, the byte its program's. */
static struct sss_child_ctx *spawn_writer(struct sss_sigchild_ctx *ctx, uint32_t mask, int wr)
{
    static const char *const argv[] = { "echo", NULL };
    const struct sss_spawn_fd map[] = { { wr, STDOUT_FILENO } };
    struct sss_spawn spawn = spawn_zero();
    struct sss_child_ctx *child;

    spawn.mask |= SSS_SPAWN_GATE | SSS_SPAWN_FDS | mask;
    spawn.path = "/bin/echo";
    spawn.argv = argv;
    spawn.fds = map;
    spawn.fds_count = 1;
    check_ok(sss_child_spawn(NULL, ctx, &spawn, NULL, NULL, &child));
    return child;
}

static void check_silent_end(int rd)
{
    struct pollfd fd = { .fd = rd, .events = POLLIN };
    char byte;

    check_int(poll(&fd, 1, DEADLINE_MS), 1);
    check_int(read(rd, &byte, 1), 0);
}

/* Ends a process that a test has forked to hold copies of all descriptors. */
static pid_t hold_copies(struct gate *gate)
{
    pid_t pid;
    char byte;

    gate_make(gate);
    pid = fork();
    check(pid != -1);
    if (pid == 0) {
        close(gate->wr);
        while (read(gate->rd, &byte, 1) == -1 && errno == EINTR) {
        }
        _exit(EXIT_SUCCESS);
    }
    return pid;
}

static void ends_with_its_watch(void **state)
{
    struct loop *loop = *state;
    struct sss_child_ctx *child;
    int ends[2];

    check_ok(pipe2(ends, O_CLOEXEC));
    child = spawn_writer(loop->ctx, 0, ends[1]);
    check_ok(close(ends[1]));
    check_ok(sss_child_free(child));
    check_silent_end(ends[0]);
    check_ok(close(ends[0]));
    while (waitid(P_ALL, 0, &(siginfo_t){ 0 }, WEXITED | WNOWAIT | WNOHANG) == 0) {
        loop_turn(loop, 10);
    }
}

static void ends_with_its_watch_though_copied(void **state)
{
    struct loop *loop = *state;
    struct sss_child_ctx *child;
    struct gate gate;
    int ends[2];
    pid_t held, copies;

    check_ok(pipe2(ends, O_CLOEXEC));
    child = spawn_writer(loop->ctx, 0, ends[1]);
    check_ok(close(ends[1]));
    held = pid_of(child);
    copies = hold_copies(&gate);
    check_ok(sss_child_free(child));
    check_silent_end(ends[0]);
    check_ok(close(ends[0]));
    loop_until_reaped(loop, held);
    gate_open(&gate);
    await_zombie(copies);
    loop_settle(loop);
    if (is_child(copies)) { /* in scope REGISTERED nobody else waits for it */
        reap(copies, 0);
    }
}

static void ends_with_its_context(void **state)
{
    struct loop *loop = *state;
    struct sss_sigchild_ctx *ctx = ctx_make(SSS_SCOPE_REGISTERED, 0);
    struct sss_child_ctx *child;
    int ends[2];
    pid_t pid;

    check_ok(pipe2(ends, O_CLOEXEC));
    child = spawn_writer(ctx, 0, ends[1]);
    check_ok(close(ends[1]));
    pid = pid_of(child);
    check_ok(sss_sigchld_ctx_free(ctx));
    check_silent_end(ends[0]);
    check_ok(close(ends[0]));
    loop_until_reaped(loop, pid);
    check_int(sss_child_open_gate(child), ESRCH);
    check_ok(sss_child_free(child));
}

/* A daemon that closes every descriptor, the gate's too, and has sockets there since. */
static void sockets_of_its_own(void *unused)
{
    enum { FIRST = 3, END = 64 };
    struct sss_sigchild_ctx *ctx = ctx_make(SSS_SCOPE_REGISTERED, 0);
    struct seen seen = { 0 };
    struct sss_child_ctx *opened, *freed;
    struct sss_spawn spawn = spawn_zero();
    pid_t pids[2];
    int ends[2], fd;
    char byte;

    (void)unused;
    spawn.mask |= SSS_SPAWN_GATE;
    opened = spawn_so_at(ctx, &spawn, NULL, 0, see, &seen);
    freed = spawn_so_at(ctx, &spawn, NULL, 0, see, &seen);
    pids[0] = pid_of(opened);
    pids[1] = pid_of(freed);
    for (fd = FIRST; fd < END; fd++) {
        (void)close(fd);
    }
    do {
        check_ok(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends));
    } while (ends[1] < END);
    check_int(sss_child_open_gate(opened), ESRCH);
    check_ok(sss_child_free(opened) | sss_child_free(freed));
    for (fd = FIRST; fd <= ends[1]; fd++) {
        check(read(fd, &byte, 1) == -1 && errno == EAGAIN);
    }
    await_zombie(pids[0]);
    await_zombie(pids[1]);
}

static void closed_behind_its_back(void **state)
{
    (void)state;
    in_child(sockets_of_its_own, NULL);
}

/* A file system that does not answer any more, as after its server's end, leaks no descriptor:
 * what is open counts as ours. */
static void asked_in_vain(void *unused)
{
    struct sss_sigchild_ctx *ctx = ctx_make(SSS_SCOPE_REGISTERED, 0);
    struct sss_child_ctx *child;
    int ends[2];

    (void)unused;
    check_ok(pipe2(ends, O_CLOEXEC));
    child = spawn_writer(ctx, 0, ends[1]);
    check_ok(close(ends[1]));
    filter_deny(SYS_statx, EIO);
    filter_deny(SYS_fstat, EIO);
    filter_deny(SYS_newfstatat, EIO);
    check_ok(sss_child_free(child));
    check_silent_end(ends[0]);
    check_ok(close(ends[0]) | sss_sigchld_ctx_free(ctx));
}

static void of_a_file_system_that_does_not_answer(void **state)
{
    (void)state;
    in_child(asked_in_vain, NULL);
}

/* A forked process that frees its copy of the context opens no gate of its parent's. */
static void copy_is_freed(void *pvt)
{
    check_int(sss_sigchld_ctx_free(pvt), ECHILD);
}

static void copy_opens(void *pvt)
{
    check_int(sss_child_open_gate(pvt), ECHILD);
    check_int(sss_child_free(pvt), ECHILD);
}

static void a_forked_process_leaves_it_held(void **state)
{
    struct loop *loop = *state;
    struct seen seen = { 0 };
    struct sss_child_ctx *child = spawn_held(loop, NULL, 4, &seen);
    pid_t pid = pid_of(child);

    in_child(copy_opens, child);
    in_child(copy_is_freed, loop->ctx);
    loop_settle(loop);
    check(runs_our_program(pid));
    check_int(seen.calls, 0);
    check_ok(sss_child_open_gate(child));
    loop_until(loop, &seen.calls, 1);
    check_seen(&seen, pid, 4);
    check_ok(sss_child_free(child));
}

/* A parent that dies: the pipe's end of file tells the held child's end, and that
 * of a process that the parent forked and that lives on does not keep it. */
struct parent {
    int ends[2];
    int ready[2];
    bool copied;
};

static void be_parent(void *pvt)
{
    const struct parent *parent = pvt;
    struct gate gate;

    spawn_writer(ctx_make(SSS_SCOPE_REGISTERED, 0), 0, parent->ends[1]);
    check_ok(close(parent->ends[1]));
    if (parent->copied) {
        hold_copies(&gate);
    }
    check_int(write(parent->ready[1], "x", 1), 1);
    for (;;) {
        pause();
    }
}

static void parent_dies(bool copied)
{
    struct parent parent = { .copied = copied };
    pid_t pid, orphan;
    char byte;

    check_ok(prctl(PR_SET_CHILD_SUBREAPER, 1));
    check_ok(pipe2(parent.ends, O_CLOEXEC));
    check_ok(pipe2(parent.ready, O_CLOEXEC));
    pid = fork();
    check(pid != -1);
    if (pid == 0) {
        be_parent(&parent);
    }
    check_ok(close(parent.ends[1]));
    check_int(read(parent.ready[0], &byte, 1), 1);
    check_ok(kill(pid, SIGKILL));
    reap(pid, BY_SIGNAL(SIGKILL));
    check_silent_end(parent.ends[0]);
    alarm(DEADLINE_MS / 1000);
    while ((orphan = wait(NULL)) > 0) {
    }
    alarm(0);
    check_int(errno, ECHILD);
}

static void die_alone(void *unused)
{
    (void)unused;
    parent_dies(false);
}

static void die_with_copies(void *unused)
{
    (void)unused;
    parent_dies(true);
}

static void dies_with_its_parent(void **state)
{
    (void)state;
    in_child(die_alone, NULL);
}

static void dies_with_its_parent_though_copied(void **state)
{
    (void)state;
    if (!kernel_has_pidfds()) {
        test_skip("linux-4.19 valgrind", "no pidfds");
    }
    in_child(die_with_copies, NULL);
}

/* The gate's own descriptors are not the child's. */
static void leaves_no_descriptor(void **state)
{
    struct loop *loop = *state;
    struct sss_spawn spawn = spawn_zero();
    struct sss_spawn_fd map[] = { { STDERR_FILENO, STDERR_FILENO }, { STDERR_FILENO, 40 } };
    static const char *const argv[] = { "only_fds", "2", "40", NULL };
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    char *path = helper_path("only_fds");

    spawn.mask |= SSS_SPAWN_GATE | SSS_SPAWN_FDS;
    spawn.path = path;
    spawn.argv = argv;
    spawn.fds = map;
    spawn.fds_count = 2;
    check_ok(sss_child_spawn(NULL, loop->ctx, &spawn, see, &seen, &child));
    check_ok(sss_child_open_gate(child));
    loop_until(loop, &seen.calls, 1);
    check_seen(&seen, seen.pid, 0);
    check_ok(sss_child_free(child));
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH_WAY(nothing_is_executed_before),
        EACH_WAY(each_has_its_own),
        EACH_WAY(none_to_open),
        EACH_WAY(killed_while_held),
        EACH_WAY(terminated_while_held),
        EACH_WAY(stopped_while_held),
        EACH_WAY(exec_fails_after_it),
        EACH_WAY(a_step_before_it_fails),
        EACH_WAY(ends_with_its_watch),
        EACH_WAY(ends_with_its_watch_though_copied),
        EACH_WAY(ends_with_its_context),
        EACH_WAY(a_forked_process_leaves_it_held),
        EACH_WAY(closed_behind_its_back),
        EACH_WAY(of_a_file_system_that_does_not_answer),
        EACH_WAY(leaves_no_descriptor),
        cmocka_unit_test(dies_with_its_parent),
        cmocka_unit_test(dies_with_its_parent_though_copied),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
