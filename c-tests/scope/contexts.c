/* Two and three contexts in one process: each gets its own children. */
#include "support/test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/signalfd.h>

#include "support/kernel.h"

static void each_gets_its_own(void **state)
{
    enum { COUNT = 3, EACH = 5 };
    struct loop *loop = *state;
    struct sss_sigchild_ctx *contexts[COUNT] = { loop->ctx };
    struct seen seen[COUNT][EACH];
    struct sss_child_ctx *children[COUNT][EACH];
    pid_t pids[COUNT][EACH];
    int c, i;

    memset(seen, 0, sizeof(seen));
    contexts[1] = ctx_make(SSS_SCOPE_ALL, 0);
    contexts[2] = ctx_make(SSS_SCOPE_REGISTERED, 0);
    for (i = 0; i < EACH; i++) {
        for (c = 0; c < COUNT; c++) {
            pids[c][i] = child_at(NULL, 10 * c + i);
            check_ok(sss_child_register(NULL, contexts[c], pids[c][i], see, &seen[c][i],
                                        &children[c][i]));
        }
    }
    for (i = 0; i < EACH; i++) {
        for (c = 0; c < COUNT; c++) {
            struct loop own = { contexts[c], loop->sigfd, -1 };

            if (loop->ctxfd != -1) {
                check_ok(sss_sigchld_ctx_fd(contexts[c], &own.ctxfd));
            }
            loop_until(&own, &seen[c][i].calls, 1);
            check_seen(&seen[c][i], pids[c][i], 10 * c + i);
            check_ok(sss_child_free(children[c][i]));
        }
    }
    check_ok(sss_sigchld_ctx_free(contexts[1]));
    check_ok(sss_sigchld_ctx_free(contexts[2]));
}

/* A child's pidfd is in the descriptor of one context, and the SIGCHLD of its end is left to
 * that. Then this context's watch ends, and the other context is told all the same. */
static void the_one_that_would_be_woken_leaves(void **state)
{
    int frees;

    (void)state;
    if (!kernel_has_pidfds()) {
        test_skip("linux-4.19 valgrind", "no pidfds");
    }
    for (frees = 0; frees < 2; frees++) {
        struct sss_child_ctx *polled, *signalled;
        struct seen none = { 0 }, seen = { 0 };
        siginfo_t stranger = { .si_code = CLD_EXITED };
        struct signalfd_siginfo info;
        struct loop own, other;
        struct gate gate;
        pid_t pid;

        loop_start(&own, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
        loop_start(&other, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_SIGNAL);
        gate_make(&gate);
        pid = child_at(&gate, 7);
        check_ok(sss_child_register(NULL, own.ctx, pid, see, &none, &polled));
        check_ok(sss_child_register(NULL, other.ctx, pid, see, &seen, &signalled));
        gate_open(&gate);
        await_zombie(pid);
        /* The signal of another child's end, with which this one's has merged. */
        stranger.si_pid = getpid();
        check_int(read(other.sigfd, &info, sizeof(info)), sizeof(info));
        check_ok(sss_sigchld_ctx_signalled(other.ctx, &stranger));
        check_int(seen.calls, 0);
        check_int(is_child(pid), 1);
        if (frees) {
            loop_end(&own);
        }
        check_ok(sss_child_free(polled));
        if (!frees) {
            check_int(loop_turn(&own, DEADLINE_MS), 1); /* which wakes the other */
        }
        loop_until(&other, &seen.calls, 1);
        check_seen(&seen, pid, 7);
        check_int(none.calls, 0);
        check_ok(sss_child_free(signalled));
        if (!frees) {
            loop_end(&own);
        }
        loop_end(&other);
    }
    check_no_children();
}

/* One signal loop serves every context whose descriptor was never asked for. */
static void one_handler_serves_all(void **state)
{
    struct loop loop;
    struct sss_sigchild_ctx *other = ctx_make(SSS_SCOPE_REGISTERED, 0);
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    pid_t pid = child_at(NULL, 4);

    (void)state;
    loop_start(&loop, ctx_make(SSS_SCOPE_ALL, 0), WAKE_SIGNAL);
    check_ok(sss_child_register(NULL, other, pid, see, &seen, &child));
    loop_until(&loop, &seen.calls, 1);
    check_seen(&seen, pid, 4);
    check_ok(sss_child_free(child));
    check_ok(sss_sigchld_ctx_free(other));
    loop_end(&loop);
}

/* A context with a descriptor is woken by it, whichever context found the end. */
static void the_other_is_woken(void **state)
{
    struct loop *loop = *state;
    struct loop other;
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    struct gate gate;
    pid_t pid;

    loop_start(&other, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    gate_make(&gate);
    pid = child_at(&gate, 4);
    check_ok(sss_child_register(NULL, other.ctx, pid, see, &seen, &child));
    gate_open(&gate);
    await_zombie(pid);
    loop_settle(loop);
    check_int(seen.calls, 0);
    loop_until(&other, &seen.calls, 1);
    check_seen(&seen, pid, 4);
    check_ok(sss_child_free(child));
    loop_end(&other);
}

struct two {
    struct loop other;
    struct seen first, second;
    struct sss_child_ctx *children[2];
    pid_t pid;
};

static void watch_one_child_twice(struct loop *loop, struct two *two)
{
    struct gate gate;

    memset(two, 0, sizeof(*two));
    loop_start(&two->other, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    gate_make(&gate);
    two->pid = child_at(&gate, 4);
    check_ok(sss_child_register(NULL, loop->ctx, two->pid, see, &two->first, &two->children[0]));
    check_ok(sss_child_register(NULL, two->other.ctx, two->pid, see, &two->second,
                                &two->children[1]));
    gate_open(&gate);
}

static void both_were_told(struct two *two)
{
    check_seen(&two->first, two->pid, 4);
    check_seen(&two->second, two->pid, 4);
    check_ok(sss_child_free(two->children[0]));
    check_ok(sss_child_free(two->children[1]));
    loop_end(&two->other);
}

static void both_watch_one_child(void **state)
{
    struct two two;

    watch_one_child_twice(*state, &two);
    loop_until(*state, &two.first.calls, 1);
    loop_until(&two.other, &two.second.calls, 1);
    both_were_told(&two);
}

/* A descriptor is readable while there is work for it, whatever other loops do. */
static void the_first_need_not_turn(void **state)
{
    struct two two;

    watch_one_child_twice(*state, &two);
    loop_until(&two.other, &two.second.calls, 1);
    loop_until(*state, &two.first.calls, 1);
    both_were_told(&two);
}

static void freeing_one_leaves_the_other(void **state)
{
    struct loop *loop = *state;
    struct sss_sigchild_ctx *other = ctx_make(SSS_SCOPE_ALL, 0);
    struct seen first = { 0 }, second = { 0 };
    struct sss_child_ctx *children[2];
    struct gate gate;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, 4);
    check_ok(sss_child_register(NULL, loop->ctx, pid, see, &first, &children[0]));
    check_ok(sss_child_register(NULL, other, pid, see, &second, &children[1]));
    check_ok(sss_sigchld_ctx_free(other));
    gate_open(&gate);
    loop_until(loop, &first.calls, 1);
    check_seen(&first, pid, 4);
    check_int(second.calls, 0);
    check_ok(sss_child_free(children[0]));
    check_ok(sss_child_free(children[1]));
}

struct own_thread {
    uint32_t scope;
    pthread_t thread;
};

struct told {
    struct seen seen;
    pthread_t here;
};

static void told_here(int pid, int wait_status, void *pvt)
{
    struct told *told = pvt;

    check(pthread_equal(told->here, pthread_self()));
    see(pid, wait_status, &told->seen);
}

static void *daemon_thread(void *pvt)
{
    struct own_thread *self = pvt;
    struct sss_child_ctx *child;
    struct loop loop;
    int rounds = test_profile_is("valgrind") ? 20 : 200;
    int i;

    loop_start(&loop, ctx_make(self->scope, 0), WAKE_DESCRIPTOR);
    for (i = 0; i < rounds; i++) {
        struct told told = { .here = pthread_self() };
        pid_t pid = child_at(NULL, i);

        check_ok(sss_child_register(NULL, loop.ctx, pid, told_here, &told, &child));
        loop_until(&loop, &told.seen.calls, 1);
        check_seen(&told.seen, pid, i);
        check_ok(sss_child_free(child));
    }
    loop_end(&loop);
    return NULL;
}

static void one_per_thread(void **state)
{
    struct own_thread threads[] = { { .scope = SSS_SCOPE_REGISTERED },
                                    { .scope = SSS_SCOPE_ALL },
                                    { .scope = SSS_SCOPE_REGISTERED } };
    size_t i;

    (void)state;
    for (i = 0; i < ARRAY_SIZE(threads); i++) {
        check_ok(pthread_create(&threads[i].thread, NULL, daemon_thread, &threads[i]));
    }
    for (i = 0; i < ARRAY_SIZE(threads); i++) {
        check_ok(pthread_join(threads[i].thread, NULL));
    }
    check_no_children();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH_WAY(each_gets_its_own),
        EACH_WAY(the_other_is_woken),
        EACH_WAY(both_watch_one_child),
        EACH_WAY(the_first_need_not_turn),
        EACH_WAY(freeing_one_leaves_the_other),
        cmocka_unit_test(the_one_that_would_be_woken_leaves),
        cmocka_unit_test(one_handler_serves_all),
        cmocka_unit_test(one_per_thread),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
