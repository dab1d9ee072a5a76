/* profiles: all but linux-4.19 valgrind: no pidfds */
/* The daemon closes every descriptor, the library's too, and opens others. */
#include "support/test.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/signalfd.h>

#include "support/told.h"

enum { COUNT = 12, OPENED = 64 };

static int open_null(int unused)
{
    (void)unused;
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* An epoll that has only this descriptor, which is ready. */
static int open_epoll(int ready)
{
    struct epoll_event event = { .events = EPOLLIN };
    int fd = epoll_create1(EPOLL_CLOEXEC);

    check(fd != -1);
    check_ok(epoll_ctl(fd, EPOLL_CTL_ADD, ready, &event));
    return fd;
}

static void live_on(void *pvt)
{
    int (*open_one)(int) = *(int (**)(int))pvt;
    struct epoll_event events[OPENED];
    struct sss_ctx_audit audit = { .size = sizeof(audit) };
    struct sss_child_ctx *children[COUNT];
    struct seen seen = { 0 };
    int opened[OPENED];
    struct gate gate;
    struct loop loop;
    int i, ready;

    loop_start(&loop, ctx_untrusted(SSS_SCOPE_REGISTERED), WAKE_SIGNAL);
    gate_make(&gate);
    for (i = 0; i < COUNT; i++) {
        check_ok(sss_child_register(NULL, loop.ctx, child_at(&gate, 0), see, &seen,
                                    &children[i]));
    }
    check_int(stats_of(loop.ctx).old, COUNT);
    close_all_but(loop.sigfd, gate.wr);
    ready = eventfd(1, EFD_CLOEXEC);
    check(ready != -1);
    for (i = 0; i < OPENED; i++) {
        opened[i] = open_one(ready);
        check(opened[i] != -1);
    }
    check_ok(sss_child_kill(children[0], 0));
    check_ok(sss_child_kill(children[1], SIGKILL));
    loop_until(&loop, &seen.calls, 1);
    check_ok(sss_sigchld_ctx_audit(loop.ctx, &audit));
    check_ok(close(gate.wr));
    loop_until(&loop, &seen.calls, COUNT);
    for (i = 0; i < COUNT; i++) {
        check_ok(sss_child_free(children[i]));
    }
    check_ok(sss_sigchld_ctx_free(loop.ctx));
    for (i = 0; i < OPENED; i++) {
        check(fcntl(opened[i], F_GETFD) == FD_CLOEXEC);
        check(open_one != open_epoll || epoll_wait(opened[i], events, OPENED, 0) == 1);
    }
    check_no_children();
}

static void and_opens_others(void **state)
{
    int (*open_one)(int) = open_null;

    (void)state;
    in_child(live_on, (void *)&open_one);
}

static void and_opens_epolls_of_its_own(void **state)
{
    int (*open_one)(int) = open_epoll;

    (void)state;
    in_child(live_on, (void *)&open_one);
}

static void tell_it(void *unused)
{
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    struct gate gate;
    struct loop loop;

    (void)unused;
    loop_start(&loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    gate_make(&gate);
    check_ok(sss_child_register(NULL, loop.ctx, child_at(&gate, 3), see, &seen, &child));
    close_all_but(gate.wr, -1);
    check_int(sss_sigchld_ctx_dispatch(loop.ctx, 0), EBADF);
    check_int(sss_sigchld_ctx_dispatch(loop.ctx, 0), ENOTSUP);
    check_ok(sss_sigchld_ctx_fd(loop.ctx, &loop.ctxfd));
    check_ok(close(gate.wr));
    loop_until(&loop, &seen.calls, 1);
    check_ok(sss_child_free(child));
    check_ok(sss_sigchld_ctx_free(loop.ctx));
    check_no_children();
}

/* The new descriptor wakes for a deadline too, though nothing else is owed: the pidfd is in the
 * other context's epoll. */
static void kill_it(void *unused)
{
    const struct sss_deadline_step steps[] = { { .after_ns = 1000000, .signum = SIGKILL } };
    struct sss_deadline deadline = { .size = sizeof(deadline), .steps = steps, .steps_count = 1 };
    struct told told = { 0 };
    struct seen seen = { 0 };
    struct sss_child_ctx *first, *child;
    struct sss_watch watch;
    struct gate gate;
    struct loop loop, other;
    pid_t pid;

    (void)unused;
    loop_start(&other, ctx_untrusted(SSS_SCOPE_REGISTERED), WAKE_DESCRIPTOR);
    loop_start(&loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    gate_make(&gate);
    pid = child_at(&gate, 3);
    check_ok(sss_child_register(NULL, other.ctx, pid, see, &seen, &first));
    watch = watch_of(pid, &told);
    watch.deadline = &deadline;
    check_ok(sss_child_watch(NULL, loop.ctx, &watch, &child));
    check_ok(close(loop.ctxfd));
    check_int(sss_sigchld_ctx_dispatch(loop.ctx, 0), EBADF);
    check_ok(sss_sigchld_ctx_fd(loop.ctx, &loop.ctxfd));
    loop_until(&loop, &told.calls, 1);
    check_told(&told, pid, BY_SIGNAL(SIGKILL));
    check_ok(sss_child_free(child));
    check_ok(sss_child_free(first));
    loop_end(&loop);
    loop_end(&other);
    check_no_children();
}

static void a_deadline_is_kept(void **state)
{
    (void)state;
    in_child(kill_it, NULL);
}

/* A callback is due, and the library would wake the loop by descriptors that are files of the
 * daemon's by now. */
static void wake_it(void *unused)
{
    struct sss_sigchild_ctx *other = ctx_make(SSS_SCOPE_REGISTERED, 0);
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    struct loop loop;
    struct gate gate;
    int files[OPENED], i;
    siginfo_t info = { .si_signo = SIGCHLD, .si_code = CLD_EXITED };

    (void)unused;
    loop_start(&loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_SIGNAL | WAKE_DESCRIPTOR);
    gate_make(&gate);
    info.si_pid = child_at(&gate, 3);
    check_ok(sss_child_register(NULL, loop.ctx, info.si_pid, see, &seen, &child));
    check_int(stats_of(loop.ctx).old, 0);
    close_all_but(-1, -1); /* closes the gate's write end too, so that the child ends */
    await_zombie(info.si_pid);
    for (i = 0; i < OPENED; i++) {
        files[i] = memfd_create("mine", MFD_CLOEXEC);
        check(files[i] != -1);
    }
    check_ok(sss_sigchld_ctx_signalled(other, &info));
    check(!is_child(info.si_pid));
    check_ok(sss_child_free(child));
    check_ok(sss_sigchld_ctx_free(loop.ctx) | sss_sigchld_ctx_free(other));
    for (i = 0; i < OPENED; i++) {
        check_int(lseek(files[i], 0, SEEK_END), 0);
    }
}

static void and_nothing_is_written_there(void **state)
{
    (void)state;
    in_child(wake_it, NULL);
}

static void and_asks_for_the_descriptor_anew(void **state)
{
    (void)state;
    in_child(tell_it, NULL);
}

static void take_pending(const struct loop *loop)
{
    struct signalfd_siginfo from;

    await_sigchld_pending();
    check_int(read(loop->sigfd, &from, sizeof(from)), sizeof(from));
    check(!sigchld_is_pending());
}

static void hand_over(const struct loop *loop, pid_t pid)
{
    siginfo_t info = { .si_signo = SIGCHLD, .si_code = CLD_EXITED };

    info.si_pid = pid;
    sss_child_handler(NULL, NULL, SIGCHLD, 1, &info, loop->ctx);
}

/* No further signal comes: all children are told after the one signal, which named a child
 * that nobody watches. */
static void all_of_one_signal(void *unused)
{
    struct sss_child_ctx *children[COUNT];
    struct seen seen[COUNT] = { 0 };
    struct gate gate;
    struct loop loop;
    pid_t pids[COUNT], other;
    int i;

    (void)unused;
    loop_start(&loop, ctx_untrusted(SSS_SCOPE_REGISTERED), WAKE_SIGNAL);
    gate_make(&gate);
    for (i = 0; i < COUNT; i++) {
        pids[i] = child_at(&gate, i);
        check_ok(sss_child_register(NULL, loop.ctx, pids[i], see, &seen[i], &children[i]));
    }
    gate_open(&gate);
    for (i = 0; i < COUNT; i++) {
        await_zombie(pids[i]);
    }
    other = child_dead(0);
    take_pending(&loop);
    close_all_but(loop.sigfd, -1);
    hand_over(&loop, other);
    reap(other, 0);
    for (i = 0; i < COUNT; i++) {
        loop_until(&loop, &seen[i].calls, 1);
        check_seen(&seen[i], pids[i], i);
        check_ok(sss_child_free(children[i]));
    }
    check_ok(sss_sigchld_ctx_free(loop.ctx));
    check_no_children();
}

static void after_the_signal_was_taken(void **state)
{
    (void)state;
    in_child(all_of_one_signal, NULL);
}

static void a_kept_one(void *unused)
{
    struct told told = { 0 };
    struct sss_watch watch;
    struct sss_child_ctx *child;
    struct gate gate;
    struct loop loop;
    pid_t pid, other;

    (void)unused;
    loop_start(&loop, ctx_untrusted(SSS_SCOPE_REGISTERED), WAKE_SIGNAL);
    gate_make(&gate);
    pid = child_at(&gate, 5);
    watch = watch_of(pid, &told);
    watch.mask |= SSS_WATCH_KEEP_ZOMBIE;
    check_ok(sss_child_watch(NULL, loop.ctx, &watch, &child));
    gate_open(&gate);
    await_zombie(pid);
    other = child_dead(0);
    take_pending(&loop);
    close_all_but(loop.sigfd, -1);
    hand_over(&loop, other);
    reap(other, 0);
    loop_until(&loop, &told.calls, 1);
    check_told(&told, pid, 5);
    check(told.was_zombie);
    check_ok(sss_child_free(child));
    check_ok(sss_sigchld_ctx_free(loop.ctx));
    check_no_children();
}

static void before_a_kept_one_was_looked_at(void **state)
{
    (void)state;
    in_child(a_kept_one, NULL);
}

static void close_them(struct sss_child_ctx *child, const struct sss_child_event *event, void *pvt)
{
    const struct loop *loop = pvt;

    (void)child;
    check_int(event->event, SSS_CHILD_EVENT_EXITED);
    close_all_but(loop->sigfd, -1);
}

static void kept_until_then(void *unused)
{
    struct told told;
    struct sss_watch watch;
    struct sss_child_ctx *child;
    struct gate gate;
    struct loop loop;
    pid_t pid;

    (void)unused;
    loop_start(&loop, ctx_untrusted(SSS_SCOPE_REGISTERED), WAKE_SIGNAL);
    gate_make(&gate);
    pid = child_at(&gate, 5);
    watch = watch_of(pid, &told);
    watch.cb = close_them;
    watch.pvt = &loop;
    watch.mask |= SSS_WATCH_KEEP_ZOMBIE;
    check_ok(sss_child_watch(NULL, loop.ctx, &watch, &child));
    gate_open(&gate);
    await_zombie(pid);
    take_pending(&loop);
    hand_over(&loop, pid);
    check(!is_child(pid));
    check_ok(sss_child_free(child));
    check_ok(sss_sigchld_ctx_free(loop.ctx));
    check_no_children();
}

static void while_a_kept_one_is_told(void **state)
{
    (void)state;
    in_child(kept_until_then, NULL);
}

/* The context's own descriptors stay open, so only an audit finds that others were closed. */
static void pidfds_alone(void *unused)
{
    struct sss_ctx_audit audit = { .size = sizeof(audit) };
    struct sss_child_ctx *children[COUNT];
    struct seen seen[COUNT] = { 0 };
    struct gate gate;
    struct loop loop;
    pid_t pids[COUNT];
    int last, i;

    (void)unused;
    loop_start(&loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    gate_make(&gate);
    last = dup(loop.ctxfd);
    check(last != -1);
    for (i = 0; i < COUNT; i++) {
        pids[i] = child_at(&gate, i);
        check_ok(sss_child_register(NULL, loop.ctx, pids[i], see, &seen[i], &children[i]));
    }
    for (i = last; i < 256; i++) {
        (void)close(i);
    }
    gate_open(&gate);
    for (i = 0; i < COUNT; i++) {
        await_zombie(pids[i]);
    }
    check_ok(sss_sigchld_ctx_audit(loop.ctx, &audit));
    for (i = 0; i < COUNT; i++) {
        loop_until(&loop, &seen[i].calls, 1);
        check_seen(&seen[i], pids[i], i);
        check_ok(sss_child_free(children[i]));
    }
    loop_end(&loop);
    check_no_children();
}

static void an_audit_finds_closed_pidfds(void **state)
{
    (void)state;
    in_child(pidfds_alone, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(and_opens_others),
        cmocka_unit_test(and_opens_epolls_of_its_own),
        cmocka_unit_test(and_nothing_is_written_there),
        cmocka_unit_test(and_asks_for_the_descriptor_anew),
        cmocka_unit_test(a_deadline_is_kept),
        cmocka_unit_test(after_the_signal_was_taken),
        cmocka_unit_test(before_a_kept_one_was_looked_at),
        cmocka_unit_test(while_a_kept_one_is_told),
        cmocka_unit_test(an_audit_finds_closed_pidfds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
