/* pkgs: libuv */
/* The list of behaviours on libuv, and its handle for one child. */
#include "adapters/behaviours.h"

#include <sss_sigchld/libuv.h>

#include "support/memory.h"

static void *loop_new(void)
{
    uv_loop_t *loop = malloc(sizeof(*loop));

    check(loop != NULL);
    check_ok(uv_loop_init(loop));
    return loop;
}

static void loop_free(void *loop)
{
    check_ok(uv_loop_close(loop));
    free(loop);
}

static void after_fork(void *loop)
{
    check_ok(uv_loop_fork(loop));
}

static void turn(void *loop)
{
    uv_run(loop, UV_RUN_ONCE);
}

static void turn_now(void *loop)
{
    uv_run(loop, UV_RUN_NOWAIT);
}

struct heard {
    unsigned calls;
    int64_t exit_status;
    int term_signal;
};

static void exited(sss_uv_child_t *child, int64_t exit_status, int term_signal)
{
    struct heard *told = child->data;

    told->calls++;
    told->exit_status = exit_status;
    told->term_signal = term_signal;
    sss_uv_child_close(child);
}

static void child_handles(void **state)
{
    uv_loop_t *loop = loop_new();
    struct sss_sigchild_ctx *ctx;
    struct heard told = { 0 };
    sss_uv_child_t child = { .data = &told };

    (void)state;
    check_ok(sss_uv_ctx_create(loop, SSS_SCOPE_REGISTERED, &ctx));
    check_int(sss_uv_child_start(ctx, &child, getppid(), exited), UV_ESRCH);
    check_ok(sss_uv_child_start(ctx, &child, child_at(NULL, 4), exited));
    while (told.calls == 0) {
        turn(loop);
    }
    check_int(told.exit_status, 4);
    check_int(told.term_signal, 0);
    check_ok(sss_uv_child_start(ctx, &child, child_at(NULL, BY_SIGNAL(SIGKILL)), exited));
    while (told.calls == 1) {
        turn(loop);
    }
    check_int(told.exit_status, 0);
    check_int(told.term_signal, SIGKILL);
    sss_uv_child_close(&child);
    check_ok(sss_sigchld_ctx_free(ctx));
    turn_now(loop);
    loop_free(loop);
}

static void a_stop_is_not_told_as_an_end(void **state)
{
    struct sss_ctx_params params = params_zero();
    uv_loop_t *loop = loop_new();
    struct sss_sigchild_ctx *ctx;
    struct heard told = { 0 };
    sss_uv_child_t child = { .data = &told };
    struct gate gate;

    (void)state;
    params.mask = SSS_CTX_PARAM_OPTIONS;
    params.options = WUNTRACED | WCONTINUED;
    params.host = sss_uv_signal_host();
    params.loop = loop;
    check_ok(sss_sigchld_ctx_create(&params, &ctx));
    gate_make(&gate);
    check_ok(sss_uv_child_start(ctx, &child, child_at(&gate, 5), exited));
    check_ok(kill(child.pid, SIGSTOP));
    while (stats_of(ctx).delivered < 1) {
        turn(loop);
    }
    check_int(told.calls, 0);
    check_ok(kill(child.pid, SIGCONT));
    while (stats_of(ctx).delivered < 2) {
        turn(loop);
    }
    check_int(told.calls, 0);
    gate_open(&gate);
    while (told.calls == 0) {
        turn(loop);
    }
    check_int(told.exit_status, 5);
    check_ok(sss_sigchld_ctx_free(ctx));
    turn_now(loop);
    loop_free(loop);
}

/* uv_loop_close() says so where the loop cannot be closed yet. */
static void the_loop_waits_for_the_context(void **state)
{
    uv_loop_t *loop = loop_new();
    struct sss_sigchild_ctx *ctx;

    (void)state;
    check_ok(sss_uv_ctx_create(loop, SSS_SCOPE_REGISTERED, &ctx));
    check_int(uv_loop_close(loop), UV_EBUSY);
    check_ok(sss_sigchld_ctx_free(ctx));
    turn_now(loop);
    loop_free(loop);
}

static void handler(int signum)
{
    (void)signum;
}

static void close_it(uv_handle_t *handle, void *pvt)
{
    (void)pvt;
    uv_close(handle, NULL);
}

/* A daemon that closes all handles that it finds, as many do at their end, and frees
 * the context before they are closed, after it, or after the loop. */
static void walk_and_free(const struct sss_host *host, int when)
{
    struct sss_ctx_params params = params_zero();
    uv_loop_t *loop = loop_new();
    struct sss_sigchild_ctx *ctx;

    params.host = host;
    params.loop = loop;
    check_ok(sss_sigchld_ctx_create(&params, &ctx));
    uv_walk(loop, close_it, NULL);
    if (when == 0) {
        check_ok(sss_sigchld_ctx_free(ctx));
    }
    uv_run(loop, UV_RUN_DEFAULT);
    if (when == 1) {
        check_ok(sss_sigchld_ctx_free(ctx));
    }
    loop_free(loop);
    if (when == 2) {
        check_ok(sss_sigchld_ctx_free(ctx));
    }
}

static void a_walk_closes_the_handles(void **state)
{
    const struct sss_host *hosts[] = { sss_uv_signal_host(), sss_uv_signalfd_host(),
                                       sss_uv_fd_host() };
    struct sigaction act = { .sa_handler = handler }, now;
    int i;

    (void)state;
    check_ok(sigaction(SIGCHLD, &act, NULL));
    for (i = 0; i < 9; i++) {
        walk_and_free(hosts[i / 3], i % 3); /* what libuv makes once */
        memory_begin(0);
        walk_and_free(hosts[i / 3], i % 3);
        /* Allocations are not counted under a sanitizer or valgrind, which find leaks
         * themselves. */
        check_int(memory_end().bytes, 0);
        check_ok(sigaction(SIGCHLD, NULL, &now));
        check(now.sa_handler == handler);
        check(!bed_blocked());
    }
    act.sa_handler = SIG_DFL;
    check_ok(sigaction(SIGCHLD, &act, NULL));
}

int main(void)
{
    static const struct waking_on ways[] = {
        { .name = "libuv_signal",
          .cannot = CANNOT_LOOP_FIRST,
          .host = sss_uv_signal_host,
          .loop_new = loop_new,
          .loop_free = loop_free,
          .turn = turn,
          .after_fork = after_fork,
          .turn_now = turn_now },
        { .name = "libuv_fd",
          .cannot = CANNOT_STOPS | CANNOT_LOOP_FIRST,
          .host = sss_uv_fd_host,
          .loop_new = loop_new,
          .loop_free = loop_free,
          .turn = turn,
          .after_fork = after_fork,
          .turn_now = turn_now },
        { .name = "libuv_signalfd",
          .cannot = CANNOT_LOOP_FIRST,
          .blocks = true,
          .host = sss_uv_signalfd_host,
          .loop_new = loop_new,
          .loop_free = loop_free,
          .turn = turn,
          .after_fork = after_fork,
          .turn_now = turn_now },
    };
    static const struct CMUnitTest own[] = {
        cmocka_unit_test(child_handles),
        cmocka_unit_test(a_stop_is_not_told_as_an_end),
        cmocka_unit_test(the_loop_waits_for_the_context),
        cmocka_unit_test(a_walk_closes_the_handles),
    };

    return BEHAVIOURS_RUN(ways, own);
}
