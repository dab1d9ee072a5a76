/*
 * Old kernels and filters refuse the system calls that a spawn tries first: the child is
 * the same. And the switches that force a fork, which the flags of clone() show.
 */
#include "support/test.h"

#include <fcntl.h>
#include <pty.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "support/filter.h"
#include "support/hold.h"
#include "support/spawn.h"
#include "support/trace.h"

/* Open, and not close-on-exec: no child may have them. */
enum { STRAYS = 40, FAR = 700 };

static int strays[STRAYS];

static void open_strays(void)
{
    int i;

    for (i = 0; i < STRAYS; i++) {
        strays[i] = fcntl(STDERR_FILENO, F_DUPFD, i % 2 == 0 ? 3 : FAR);
        check(strays[i] != -1);
    }
}

static void close_strays(void)
{
    int i;

    for (i = 0; i < STRAYS; i++) {
        check_ok(close(strays[i]));
    }
}

/* A child that has these descriptors and no other. */
static void spawn_exact(struct loop *loop, uint32_t mask)
{
    static const char *const argv[] = { "only_fds", "2", "3", "5", "60", NULL };
    const struct sss_spawn_fd map[] = {
        { STDERR_FILENO, STDERR_FILENO },
        { strays[2], 3 },
        { strays[0], 5 },
        { strays[1], 60 }, /* from far up */
    };
    struct sss_spawn spawn = spawn_zero();
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    char *path = helper_path("only_fds");
    uint32_t step = 0;
    errno_t ret;

    spawn.mask |= mask | SSS_SPAWN_FDS;
    spawn.path = path;
    spawn.argv = argv;
    spawn.fds = map;
    spawn.fds_count = ARRAY_SIZE(map);
    spawn.failed_step = &step;
    ret = sss_child_spawn(NULL, loop->ctx, &spawn, see, &seen, &child);
    if (ret != 0) {
        fprintf(stderr, "step %u: %s\n", step, strerror(ret));
    }
    check_ok(ret);
    if (mask & SSS_SPAWN_GATE) {
        check_ok(sss_child_open_gate(child));
    }
    loop_until(loop, &seen.calls, 1);
    loop_settle(loop);
    check_seen(&seen, seen.pid, 0);
    check_ok(sss_child_free(child));
    free(path);
}

static void spawn_without_map(struct loop *loop, uint32_t mask)
{
    static const char *const argv[] = { "only_fds", "0", "1", "2", NULL };
    struct sss_spawn spawn = spawn_zero();
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    char *path = helper_path("only_fds");

    spawn.mask |= mask & ~SSS_SPAWN_GATE;
    spawn.path = path;
    spawn.argv = argv;
    check_ok(sss_child_spawn(NULL, loop->ctx, &spawn, see, &seen, &child));
    loop_until(loop, &seen.calls, 1);
    check_seen(&seen, seen.pid, 0);
    check_ok(sss_child_free(child));
    free(path);
}

/* What fails in the child is told by its own step, not by the refusal. */
static void spawn_in_vain(struct loop *loop, uint32_t mask)
{
    static const char *const argv[] = { "none", NULL };
    struct sss_spawn spawn = spawn_zero();
    struct sss_child_ctx *child;
    uint32_t step = 0;

    spawn.mask |= mask & ~SSS_SPAWN_GATE;
    spawn.path = "/nonexistent/none";
    spawn.argv = argv;
    spawn.failed_step = &step;
    check_int(sss_child_spawn(NULL, loop->ctx, &spawn, NULL, NULL, &child), ENOENT);
    check_int(step, SSS_SPAWN_STEP_EXEC);
    check_no_children();
}

static void spawn_in_each_manner(const struct way *way)
{
    static const uint32_t masks[] = { 0, SSS_SPAWN_FORK, SSS_SPAWN_GATE };
    struct loop loop;
    unsigned fds;
    size_t i;

    open_strays();
    fds = count_fds();
    loop_start(&loop, ctx_make(way->scope, 0), way->waking);
    for (i = 0; i < ARRAY_SIZE(masks); i++) {
        spawn_exact(&loop, masks[i]);
        spawn_without_map(&loop, masks[i]);
        spawn_in_vain(&loop, masks[i]);
    }
    loop_end(&loop);
    check_no_children();
    check_int(count_fds(), fds);
    close_strays();
}

/* One refusal: a system call, or one of its flags. */
struct refusal {
    int nr;
    uint32_t flags; /* of its first argument, or 0 */
    int error;
    const struct way *way;
};

static void refuse(const struct refusal *refusal)
{
    if (refusal->flags != 0) {
        refuse_bits(refusal->nr, 0, refusal->flags, refusal->error);
    } else {
        filter_deny(refusal->nr, refusal->error);
    }
}

static void spawn_refused(void *pvt)
{
    const struct refusal *refusal = pvt;

    refuse(refusal);
    spawn_in_each_manner(refusal->way);
}

static void with_each_error(int nr, uint32_t flags)
{
    static const int errors[] = { ENOSYS, EPERM, EINVAL };
    struct refusal refusal = { .nr = nr, .flags = flags };
    size_t i, j;

    for (i = 0; i < ARRAY_SIZE(errors); i++) {
        for (j = 0; j < ARRAY_SIZE(ways); j++) {
            refusal.error = errors[i];
            refusal.way = &ways[j];
            in_child(spawn_refused, &refusal);
        }
    }
}

static void close_range_refused(void **state)
{
    (void)state;
    with_each_error(SYS_close_range, 0);
}

static void clone3_refused(void **state)
{
    (void)state;
    with_each_error(SYS_clone3, 0);
}

static void clone_vm_refused(void **state)
{
    (void)state;
    with_each_error(SYS_clone, CLONE_VM);
}

static void clone_vfork_refused(void **state)
{
    (void)state;
    with_each_error(SYS_clone, CLONE_VFORK);
}

static void clone_files_refused(void **state)
{
    (void)state;
    with_each_error(SYS_clone, CLONE_FILES);
}

static void clone_pidfd_refused(void **state)
{
    (void)state;
    with_each_error(SYS_clone, CLONE_PIDFD);
}

static void pidfd_open_refused(void **state)
{
    struct refusal refusal = { .nr = SYS_pidfd_open };
    size_t i;

    (void)state;
    for (i = 0; i < ARRAY_SIZE(ways); i++) {
        refusal.way = &ways[i];
        refusal.error = ENOSYS;
        in_child(spawn_refused, &refusal);
        refusal.error = EPERM;
        in_child(spawn_refused, &refusal);
    }
}

static void spawn_refused_all(void *unused)
{
    size_t i;

    (void)unused;
    filter_deny(SYS_clone3, ENOSYS);
    filter_deny(SYS_close_range, EPERM);
    filter_deny(SYS_pidfd_open, ENOSYS);
    refuse_bits(SYS_clone, 0, CLONE_VM | CLONE_VFORK | CLONE_FILES | CLONE_PIDFD, EINVAL);
    for (i = 0; i < ARRAY_SIZE(ways); i++) {
        spawn_in_each_manner(&ways[i]);
    }
}

static void all_refused(void **state)
{
    (void)state;
    in_child(spawn_refused_all, NULL);
}

/* No process at all: the kernel's own errno, and nothing left. */
static void clone_forbidden(void *pvt)
{
    const int *error = pvt;
    struct sss_sigchild_ctx *ctx = ctx_make(SSS_SCOPE_REGISTERED, 0);
    unsigned fds = count_fds();
    struct sss_spawn spawn = spawn_zero();
    static const char *const argv[] = { "true", NULL };
    struct sss_child_ctx *child;
    uint32_t step = 0;

    filter_deny(SYS_clone, *error);
    spawn.path = "/bin/true";
    spawn.argv = argv;
    spawn.failed_step = &step;
    check_int(sss_child_spawn(NULL, ctx, &spawn, NULL, NULL, &child), *error);
    check_int(step, SSS_SPAWN_STEP_CLONE);
    spawn.mask |= SSS_SPAWN_GATE;
    check_int(sss_child_spawn(NULL, ctx, &spawn, NULL, NULL, &child), *error);
    check_int(step, SSS_SPAWN_STEP_CLONE);
    check_int(count_fds(), fds);
    check_int(stats_of(ctx).watches, 0);
    check_no_children();
    check_ok(sss_sigchld_ctx_free(ctx));
}

static void no_process_to_be_had(void **state)
{
    static int errors[] = { EAGAIN, ENOMEM, EPERM, ENOSYS, EINVAL };
    size_t i;

    (void)state;
    for (i = 0; i < ARRAY_SIZE(errors); i++) {
        in_child(clone_forbidden, &errors[i]);
    }
}

/* A child that was made in a fallback way has its terminal, and the caller still has its own. */
static void spawn_with_terminal(void *pvt)
{
    static const char *const argv[] = { "sh", "-c", "exec 3<>/dev/tty", NULL };
    const int *error = pvt;
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    struct sss_spawn spawn = spawn_zero();
    struct winsize size;
    struct loop loop;
    uint32_t step = 0;
    int master, slave;
    errno_t ret;

    if (*error != 0) {
        filter_deny(SYS_close_range, *error);
    }
    check_ok(openpty(&master, &slave, NULL, NULL, NULL));
    loop_start(&loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    spawn.mask |= SSS_SPAWN_SESSION | SSS_SPAWN_TERMINAL;
    spawn.path = "/bin/sh";
    spawn.argv = argv;
    spawn.terminal_fd = slave;
    spawn.failed_step = &step;
    ret = sss_child_spawn(NULL, loop.ctx, &spawn, see, &seen, &child);
    if (ret != 0) {
        fprintf(stderr, "step %u: %s\n", step, strerror(ret));
    }
    check_ok(ret);
    loop_until(&loop, &seen.calls, 1);
    check_seen(&seen, seen.pid, 0);
    check_ok(ioctl(master, TIOCGWINSZ, &size));
    check_ok(sss_child_free(child));
    loop_end(&loop);
}

static void with_a_terminal(void **state)
{
    static int errors[] = { 0, ENOSYS, EPERM };
    size_t i;

    (void)state;
    for (i = 0; i < ARRAY_SIZE(errors); i++) {
        in_child(spawn_with_terminal, &errors[i]);
    }
}

/* A child that took the terminal and then failed would hang it up, unless it is a
 * pseudoterminal: it is taken once. */
static void spawn_with_terminal_refused(void *unused)
{
    int error = ENOSYS;

    (void)unused;
    trace_on();
    spawn_with_terminal(&error);
    trace_off();
}

static void trace_terminal(void *unused)
{
    static struct trace trace;
    unsigned i, taken = 0;

    (void)unused;
    trace_run(spawn_with_terminal_refused, NULL, &trace);
    for (i = 0; i < trace.count; i++) {
        taken += trace.calls[i].nr == SYS_ioctl && trace.calls[i].args[1] == TIOCSCTTY;
    }
    check_int(taken, 1);
}

static void a_terminal_is_taken_once(void **state)
{
    (void)state;
    trace_needed();
    in_child(trace_terminal, NULL);
}

/* The flags of each clone() of one spawn. */
struct flags {
    struct trace trace;
    uint32_t mask;
};

static void spawn_traced(void *pvt)
{
    const struct flags *flags = pvt;
    struct sss_spawn spawn = spawn_zero();
    struct sss_child_ctx *child;
    struct loop loop;
    struct seen seen = { 0 };

    loop_start(&loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_SIGNAL);
    spawn.mask |= flags->mask;
    spawn.uid = 65534;
    spawn.gid = 65534;
    trace_on();
    child = spawn_so_at(loop.ctx, &spawn, NULL, 0, see, &seen);
    if (flags->mask & SSS_SPAWN_GATE) {
        check_ok(sss_child_open_gate(child));
    }
    trace_off();
    loop_until(&loop, &seen.calls, 1);
    check_seen(&seen, seen.pid, 0);
    check_ok(sss_child_free(child));
    loop_end(&loop);
}

static uint64_t clone_flags_of(uint32_t mask)
{
    static struct flags flags;
    sigset_t sigchld;
    unsigned i, found = TRACE_MAX;

    flags.mask = mask;
    /* With two threads, the one that does not wait for it would take it. */
    sigemptyset(&sigchld);
    sigaddset(&sigchld, SIGCHLD);
    check_ok(sigprocmask(SIG_BLOCK, &sigchld, NULL));
    trace_run(spawn_traced, &flags, &flags.trace);
    for (i = 0; i < flags.trace.count; i++) {
        if (flags.trace.calls[i].nr == SYS_clone) {
            check_int(found, TRACE_MAX);
            found = i;
        }
    }
    check(found != TRACE_MAX);
    check_int(trace_count(&flags.trace, SYS_clone3), 0);
    check_int(trace_count(&flags.trace, SYS_fork), 0);
    check_int(trace_count(&flags.trace, SYS_vfork), 0);
    return flags.trace.calls[found].args[0];
}

static const uint64_t shared = CLONE_VM | CLONE_VFORK;

static void flags_are_vforks(void *unused)
{
    (void)unused;
    check_ok(unsetenv("SSS_SIGCHLD_SPAWN_FORK"));
    check_int(clone_flags_of(0) & shared, shared);
    check_int(clone_flags_of(SSS_SPAWN_SESSION | SSS_SPAWN_NO_NEW_PRIVS) & shared, shared);
}

static void flags_are_forks(void *unused)
{
    static const uint32_t masks[] = {
        SSS_SPAWN_FORK, SSS_SPAWN_GATE, SSS_SPAWN_UID, SSS_SPAWN_GID,
        SSS_SPAWN_UID | SSS_SPAWN_GATE,
    };
    size_t i;

    (void)unused;
    check_ok(unsetenv("SSS_SIGCHLD_SPAWN_FORK"));
    for (i = 0; i < ARRAY_SIZE(masks); i++) {
        check_int(clone_flags_of(masks[i]) & shared, 0);
    }
}

static void flags_are_forks_by_environment(void *unused)
{
    (void)unused;
    check_ok(setenv("SSS_SIGCHLD_SPAWN_FORK", "", 1));
    check_int(clone_flags_of(0) & shared, 0);
    check_ok(setenv("SSS_SIGCHLD_SPAWN_FORK", "1", 1));
    check_int(clone_flags_of(0) & shared, 0);
}

static void flags_of_clone(void **state)
{
    (void)state;
    needs_root("change ids");
    trace_needed();
    in_child(flags_are_vforks, NULL);
    in_child(flags_are_forks, NULL);
    in_child(flags_are_forks_by_environment, NULL);
}

/* A proof that needs no listener: a clone() with shared memory fails. */
static void spawn_where_sharing_kills(void *pvt)
{
    const uint32_t *mask = pvt;
    struct loop loop;

    refuse_bits(SYS_clone, 0, CLONE_VM, EDOM);
    open_strays();
    loop_start(&loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_SIGNAL);
    spawn_exact(&loop, *mask);
    loop_end(&loop);
}

static void by_environment(void *pvt)
{
    check_ok(setenv("SSS_SIGCHLD_SPAWN_FORK", "1", 1));
    spawn_where_sharing_kills(pvt);
}

static void the_switches_force_the_fork(void **state)
{
    uint32_t mask = SSS_SPAWN_FORK;

    (void)state;
    in_child(spawn_where_sharing_kills, &mask);
    mask = SSS_SPAWN_GATE;
    in_child(spawn_where_sharing_kills, &mask);
    mask = 0;
    in_child(by_environment, &mask);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(close_range_refused),
        cmocka_unit_test(clone3_refused),
        cmocka_unit_test(clone_vm_refused),
        cmocka_unit_test(clone_vfork_refused),
        cmocka_unit_test(clone_files_refused),
        cmocka_unit_test(clone_pidfd_refused),
        cmocka_unit_test(pidfd_open_refused),
        cmocka_unit_test(all_refused),
        cmocka_unit_test(no_process_to_be_had),
        cmocka_unit_test(with_a_terminal),
        cmocka_unit_test(a_terminal_is_taken_once),
        cmocka_unit_test(flags_of_clone),
        cmocka_unit_test(the_switches_force_the_fork),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
