/* Children that send no SIGCHLD, as some replacements of popen() make them: their ends
 * are told too, once and with the right status. */
#include "support/test.h"

#include <sys/resource.h>
#include <sys/syscall.h>

#include "support/filter.h"
#include "support/kernel.h"
#include "support/told.h"

static pid_t mute_child(int signum, struct gate *gate, int code)
{
    pid_t pid = (pid_t)syscall(SYS_clone, signum, 0, 0, 0, 0);
    char byte;

    check(pid != -1);
    if (pid == 0) {
        close(gate->wr);
        if (read(gate->rd, &byte, 1) != 0) {
            _exit(99);
        }
        _exit(code);
    }
    return pid;
}

static void end_one(struct loop *loop, int signum)
{
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    struct gate gate;
    pid_t pid;

    gate_make(&gate);
    pid = mute_child(signum, &gate, 4);
    check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, &child));
    loop_settle(loop);
    check_int(seen.calls, 0);
    gate_open(&gate);
    loop_until(loop, &seen.calls, 1);
    check_seen(&seen, pid, 4);
    check_ok(sss_child_free(child));
}

static void is_told(void **state)
{
    end_one(*state, 0);
    (void)signal(SIGUSR1, SIG_IGN);
    end_one(*state, SIGUSR1);
    (void)signal(SIGUSR1, SIG_DFL);
}

static void without_pidfds(void *pvt)
{
    const struct way *way = pvt;
    struct loop loop;

    filter_deny(SYS_pidfd_open, ENOSYS);
    loop_start(&loop, ctx_make(way->scope, 0), way->waking);
    end_one(&loop, 0);
    loop_end(&loop);
    check_no_children();
}

static void is_told_where_no_pidfd_is_to_be_had(void **state)
{
    size_t i;

    (void)state;
    for (i = 0; i < ARRAY_SIZE(ways); i++) {
        in_child(without_pidfds, (void *)&ways[i]);
    }
}

/* In this context it gets a pidfd at once, which nobody polls. */
static void distrusted(void *pvt)
{
    const struct way *way = pvt;
    struct loop loop;

    loop_start(&loop, ctx_untrusted(way->scope), way->waking);
    end_one(&loop, 0);
    end_one(&loop, SIGWINCH);
    loop_end(&loop);
    check_no_children();
}

static void is_told_where_others_wait_for_our_children(void **state)
{
    size_t i;

    (void)state;
    for (i = 0; i < ARRAY_SIZE(ways); i++) {
        in_child(distrusted, (void *)&ways[i]);
    }
}

/* A pidfd can be opened, but no epoll takes it. */
struct refusal {
    const struct way *way;
    int error;
};

static void not_taken(void *pvt)
{
    const struct refusal *refusal = pvt;
    struct loop loop;

    loop_start(&loop, ctx_make(refusal->way->scope, 0), refusal->way->waking);
    filter_deny(SYS_epoll_ctl, refusal->error);
    end_one(&loop, 0);
    end_one(&loop, SIGWINCH);
    loop_end(&loop);
    check_no_children();
}

static void is_told_where_no_pidfd_is_taken(void **state)
{
    static const int errors[] = { ENOSPC, ENOMEM };
    size_t i;

    (void)state;
    for (i = 0; i < ARRAY_SIZE(ways) * ARRAY_SIZE(errors); i++) {
        struct refusal refusal = { &ways[i / ARRAY_SIZE(errors)], errors[i % ARRAY_SIZE(errors)] };

        in_child(not_taken, &refusal);
    }
}

/* The same in a context that relies on SIGCHLD, which was passed on to it. */
static void not_taken_where_signals_are_trusted(void *pvt)
{
    const struct refusal *refusal = pvt;
    struct loop loop;

    loop_start(&loop, ctx_make(refusal->way->scope, 0), refusal->way->waking);
    check_ok(sss_sigchld_ctx_signalled(loop.ctx, NULL));
    filter_deny(SYS_epoll_ctl, refusal->error);
    end_one(&loop, 0);
    loop_end(&loop);
    check_no_children();
}

static void is_told_where_signals_are_trusted(void **state)
{
    size_t i;

    (void)state;
    for (i = 0; i < ARRAY_SIZE(ways); i++) {
        struct refusal refusal = { &ways[i], ENOSPC };

        in_child(not_taken_where_signals_are_trusted, &refusal);
    }
}

/* The same for a watch that keeps the zombie until its callback has returned. */
static void kept_and_not_taken(void *pvt)
{
    const struct refusal *refusal = pvt;
    struct told told = { 0 };
    struct sss_child_ctx *child;
    struct sss_watch watch;
    struct gate gate;
    struct loop loop;
    pid_t pid;

    loop_start(&loop, ctx_make(refusal->way->scope, 0), refusal->way->waking);
    gate_make(&gate);
    pid = mute_child(0, &gate, 8);
    watch = watch_of(pid, &told);
    watch.mask |= SSS_WATCH_KEEP_ZOMBIE;
    filter_deny(SYS_epoll_ctl, refusal->error);
    check_ok(sss_child_watch(NULL, loop.ctx, &watch, &child));
    loop_settle(&loop);
    check_int(told.calls, 0);
    gate_open(&gate);
    loop_until(&loop, &told.calls, 1);
    check_told(&told, pid, 8);
    check(told.event.zombie_kept);
    check_ok(sss_child_free(child));
    loop_settle(&loop);
    check(!is_child(pid));
    loop_end(&loop);
}

static void is_told_where_it_is_kept(void **state)
{
    size_t i;

    (void)state;
    if (!kernel_has_pidfds()) {
        test_skip("linux-4.19 valgrind", "no pidfds");
    }
    for (i = 0; i < ARRAY_SIZE(ways); i++) {
        struct refusal refusal = { &ways[i], ENOSPC };

        if (ways[i].waking != WAKE_SIGNAL) { /* there the descriptor cannot be made */
            in_child(kept_and_not_taken, &refusal);
        }
    }
}

/* Two contexts poll its pidfd, and the epoll of the second refuses to add it. */
static void handed_over_and_not_taken(void *unused)
{
    struct seen seen = { 0 };
    struct sss_child_ctx *one, *two;
    struct loop first, loop;
    struct gate gate;
    pid_t pid;

    (void)unused;
    loop_start(&first, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    loop_start(&loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    gate_make(&gate);
    pid = mute_child(0, &gate, 6);
    check_ok(sss_child_register(NULL, first.ctx, pid, NULL, NULL, &one));
    filter_deny(SYS_epoll_ctl, ENOSPC);
    check_ok(sss_child_register(NULL, loop.ctx, pid, see, &seen, &two));
    loop_settle(&loop);
    check_int(seen.calls, 0);
    check_ok(sss_child_free(one));
    gate_open(&gate);
    loop_until(&loop, &seen.calls, 1);
    check_seen(&seen, pid, 6);
    check_ok(sss_child_free(two));
    loop_end(&first);
    loop_end(&loop);
    check_no_children();
}

static void is_told_where_another_epoll_does_not_take_it(void **state)
{
    (void)state;
    in_child(handed_over_and_not_taken, NULL);
}

/* The child is handed over to another context, which can make no descriptor. */
static void handed_over(void *unused)
{
    struct sss_sigchild_ctx *first = ctx_make(SSS_SCOPE_REGISTERED, 0);
    struct seen seen = { 0 }, other = { 0 };
    struct sss_child_ctx *one, *two, *three;
    struct rlimit limit, former;
    struct loop loop;
    struct gate gate;
    pid_t pid, dead;
    int next;

    (void)unused;
    loop_start(&loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_SIGNAL);
    gate_make(&gate);
    pid = mute_child(0, &gate, 6);
    check_ok(sss_child_register(NULL, first, pid, NULL, NULL, &one));
    check_ok(sss_child_register(NULL, loop.ctx, pid, see, &seen, &two));
    check_ok(getrlimit(RLIMIT_NOFILE, &former));
    next = dup(0);
    check_ok(close(next));
    limit = former;
    limit.rlim_cur = (rlim_t)next;
    check_ok(setrlimit(RLIMIT_NOFILE, &limit));
    check_ok(sss_child_free(one));
    check_ok(setrlimit(RLIMIT_NOFILE, &former));
    dead = child_dead(1);
    check_ok(sss_child_register(NULL, loop.ctx, dead, see, &other, &three));
    loop_until(&loop, &other.calls, 1);
    loop_settle(&loop);
    check_int(seen.calls, 0);
    gate_open(&gate);
    loop_until(&loop, &seen.calls, 1);
    check_seen(&seen, pid, 6);
    check_ok(sss_child_free(two) | sss_child_free(three));
    check_ok(sss_sigchld_ctx_free(first));
    loop_end(&loop);
    check_no_children();
}

static void is_not_lost_where_it_is_handed_over(void **state)
{
    (void)state;
    in_child(handed_over, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH_WAY(is_told),
        cmocka_unit_test(is_told_where_no_pidfd_is_to_be_had),
        cmocka_unit_test(is_told_where_others_wait_for_our_children),
        cmocka_unit_test(is_told_where_no_pidfd_is_taken),
        cmocka_unit_test(is_told_where_signals_are_trusted),
        cmocka_unit_test(is_told_where_it_is_kept),
        cmocka_unit_test(is_told_where_another_epoll_does_not_take_it),
        cmocka_unit_test(is_not_lost_where_it_is_handed_over),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
