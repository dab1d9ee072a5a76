/* A context made before daemon(3) is taken along into the child. */
#include "support/test.h"

#include <fcntl.h>

struct taken {
    struct loop *loop;
    struct sss_child_ctx *inherited;
    enum waking waking;
    struct seen unknown;
};

static uint32_t tell(int pid, int wait_status, void *pvt)
{
    see(pid, wait_status, pvt);
    return SSS_UNKNOWN_TAKEN;
}

static void restart(struct loop *loop, enum waking waking)
{
    if (loop->ctxfd != -1) {
        check_int(fcntl(loop->ctxfd, F_GETFD), -1); /* closed: asked for anew */
    }
    if (loop->sigfd != -1) {
        check_ok(close(loop->sigfd));
    }
    loop_start(loop, loop->ctx, waking);
}

static void in_the_daemon(void *pvt)
{
    struct taken *taken = pvt;
    struct loop *loop = taken->loop;
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    pid_t pid;

    check_int(sss_child_kill(taken->inherited, 0), ECHILD);
    check_ok(sss_sigchld_ctx_after_fork(loop->ctx));
    check_ok(sss_sigchld_ctx_after_fork(loop->ctx)); /* already its own */
    restart(loop, taken->waking);
    check_int(stats_of(loop->ctx).watches, 0);
    check_int(sss_child_kill(taken->inherited, SIGKILL), ECHILD);
    pid = child_at(NULL, 4);
    check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, &child));
    loop_until(loop, &seen.calls, 1);
    check_seen(&seen, pid, 4);
    check_ok(sss_child_free(child));
    loop_end(loop);
}

static void taken_along(void **state)
{
    struct loop *loop = *state;
    struct taken taken = { .loop = loop };
    struct seen seen = { 0 };
    struct gate gate;
    pid_t pid;

    taken.waking = (loop->sigfd != -1 ? WAKE_SIGNAL : 0)
                   | (loop->ctxfd != -1 ? WAKE_DESCRIPTOR : 0);
    gate_make(&gate);
    pid = child_at(&gate, 3);
    check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, &taken.inherited));
    in_child(in_the_daemon, &taken);
    gate_open(&gate);
    loop_until(loop, &seen.calls, 1);
    check_seen(&seen, pid, 3);
    check_ok(sss_child_free(taken.inherited));
}

/* By then the numbers are other files' of the daemon's. */
static void closed_and_opened_others(void *pvt)
{
    struct sss_sigchild_ctx *ctx = ((struct taken *)pvt)->loop->ctx;
    int opened[64];
    size_t i;

    close_all_but(-1, -1);
    for (i = 0; i < ARRAY_SIZE(opened); i++) {
        opened[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
        check(opened[i] != -1);
    }
    check_ok(sss_sigchld_ctx_after_fork(ctx));
    for (i = 0; i < ARRAY_SIZE(opened); i++) {
        check_int(fcntl(opened[i], F_GETFD), FD_CLOEXEC);
    }
    check_ok(sss_sigchld_ctx_free(ctx));
    for (i = 0; i < ARRAY_SIZE(opened); i++) {
        check_int(fcntl(opened[i], F_GETFD), FD_CLOEXEC);
    }
}

static void after_a_close_of_all(void **state)
{
    struct taken taken = { .loop = *state };
    struct seen seen = { 0 };
    struct gate gate;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, 3);
    check_ok(sss_child_register(NULL, taken.loop->ctx, pid, see, &seen, &taken.inherited));
    in_child(closed_and_opened_others, &taken);
    gate_open(&gate);
    loop_until(taken.loop, &seen.calls, 1);
    check_seen(&seen, pid, 3);
    check_ok(sss_child_free(taken.inherited));
}

static void in_the_same_process(void **state)
{
    struct loop *loop = *state;
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    pid_t pid = child_dead(3);

    check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, &child));
    check_ok(sss_sigchld_ctx_after_fork(loop->ctx));
    loop_until(loop, &seen.calls, 1);
    check_seen(&seen, pid, 3);
    check_ok(sss_child_free(child));
}

static void unknown_in_the_daemon(void *pvt)
{
    struct taken *taken = pvt;
    struct loop *loop = taken->loop;
    pid_t pid;

    check_ok(sss_sigchld_ctx_after_fork(loop->ctx));
    restart(loop, taken->waking);
    pid = child_at(NULL, 6);
    loop_until(loop, &taken->unknown.calls, 1);
    check_seen(&taken->unknown, pid, 6);
    loop_end(loop);
}

static void scope_and_callback_are_kept(void **state)
{
    struct taken taken = { .loop = *state };

    taken.waking = (taken.loop->sigfd != -1 ? WAKE_SIGNAL : 0)
                   | (taken.loop->ctxfd != -1 ? WAKE_DESCRIPTOR : 0);
    check_ok(sss_sigchld_ctx_set_unknown_fn(taken.loop->ctx, tell, &taken.unknown));
    in_child(unknown_in_the_daemon, &taken);
}

/* Two forks: the process in the middle never used the context. */
static void daemon_of_daemon(void *pvt)
{
    struct taken *taken = pvt;

    in_child(in_the_daemon, taken);
}

static void forked_twice(void **state)
{
    struct loop *loop = *state;
    struct taken taken = { .loop = loop, .waking = WAKE_DESCRIPTOR };
    struct seen seen = { 0 };
    struct gate gate;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, 3);
    check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, &taken.inherited));
    in_child(daemon_of_daemon, &taken);
    gate_open(&gate);
    loop_until(loop, &seen.calls, 1);
    check_seen(&seen, pid, 3);
    check_ok(sss_child_free(taken.inherited));
}

static void the_other_context_too(void *pvt)
{
    struct sss_sigchild_ctx **contexts = pvt;
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    struct loop loop;
    pid_t pid;

    check_ok(sss_sigchld_ctx_after_fork(contexts[0]));
    check_int(sss_sigchld_ctx_dispatch(contexts[1], 0), ECHILD);
    check_ok(sss_sigchld_ctx_after_fork(contexts[1]));
    loop_start(&loop, contexts[1], WAKE_DESCRIPTOR);
    pid = child_at(NULL, 1);
    check_ok(sss_child_register(NULL, contexts[1], pid, see, &seen, &child));
    loop_until(&loop, &seen.calls, 1);
    check_ok(sss_child_free(child));
    check_ok(sss_sigchld_ctx_free(contexts[0]));
    loop_end(&loop);
}

/* The descriptors of the second get the numbers that those of the first had. */
static void the_second_first(void *pvt)
{
    struct sss_sigchild_ctx **contexts = pvt;
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    struct loop loop;
    int fd;

    close_all_but(-1, -1);
    check_ok(sss_sigchld_ctx_after_fork(contexts[1]));
    check_ok(sss_sigchld_ctx_fd(contexts[1], &fd));
    check_ok(sss_sigchld_ctx_after_fork(contexts[0]));
    loop_start(&loop, contexts[1], WAKE_DESCRIPTOR);
    check_int(loop.ctxfd, fd);
    check_ok(sss_child_register(NULL, contexts[1], child_at(NULL, 1), see, &seen, &child));
    loop_until(&loop, &seen.calls, 1);
    check_ok(sss_child_free(child));
    check_ok(sss_sigchld_ctx_free(contexts[0]));
    loop_end(&loop);
}

static void make_two_after_a_close(void *unused)
{
    struct sss_sigchild_ctx *contexts[2];
    int i, fd;

    (void)unused;
    close_all_but(-1, -1);
    for (i = 0; i < 2; i++) {
        contexts[i] = ctx_make(SSS_SCOPE_REGISTERED, 0);
        check_ok(sss_sigchld_ctx_fd(contexts[i], &fd));
    }
    in_child(the_second_first, contexts);
    check_ok(sss_sigchld_ctx_free(contexts[0]) | sss_sigchld_ctx_free(contexts[1]));
}

static void two_contexts_and_a_close_of_all(void **state)
{
    (void)state;
    in_child(make_two_after_a_close, NULL);
}

static void two_contexts(void **state)
{
    struct loop *loop = *state;
    struct sss_sigchild_ctx *contexts[] = { loop->ctx, ctx_make(SSS_SCOPE_REGISTERED, 0) };

    in_child(the_other_context_too, contexts);
    check_ok(sss_sigchld_ctx_free(contexts[1]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH_WAY(taken_along),
        EACH_WAY(after_a_close_of_all),
        EACH_WAY(in_the_same_process),
        ALL_WAYS(scope_and_callback_are_kept),
        ONE_WAY(forked_twice, "_all_descriptor", 1),
        EACH_WAY(two_contexts),
        cmocka_unit_test(two_contexts_and_a_close_of_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
