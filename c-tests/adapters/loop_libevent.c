/* pkgs: libevent */
/* The list of behaviours on libevent, and its call for one child. */
#include "adapters/behaviours.h"

#include <sss_sigchld/libevent.h>

static void *loop_new(void)
{
    struct event_base *base = event_base_new();

    check(base != NULL);
    return base;
}

static void loop_free(void *loop)
{
    event_base_free(loop);
}

static void after_fork(void *loop)
{
    check_ok(event_reinit(loop));
}

static void turn(void *loop)
{
    check_ok(event_base_loop(loop, EVLOOP_ONCE));
}

static void turn_now(void *loop)
{
    check(event_base_loop(loop, EVLOOP_NONBLOCK) != -1);
}

static void child_new(void **state)
{
    struct event_base *base = loop_new();
    struct sss_sigchild_ctx *ctx;
    struct sss_child_ctx *child;
    struct seen seen = { 0 };
    pid_t pid = child_at(NULL, 4);

    (void)state;
    check_ok(sss_libevent_ctx_create(base, SSS_SCOPE_REGISTERED, &ctx));
    child = sss_libevent_child_new(ctx, pid, see, &seen);
    check(child != NULL);
    check(sss_libevent_child_new(ctx, getppid(), see, &seen) == NULL);
    check_int(errno, ESRCH);
    while (seen.calls == 0) {
        turn(base);
    }
    check_seen(&seen, pid, 4);
    check_ok(sss_child_free(child));
    check_ok(sss_sigchld_ctx_free(ctx));
    event_base_free(base);
}

int main(void)
{
    static const struct waking_on ways[] = {
        { .name = "libevent_signal",
          .cannot = CANNOT_LOOPS,
          .host = sss_libevent_signal_host,
          .loop_new = loop_new,
          .loop_free = loop_free,
          .turn = turn,
          .after_fork = after_fork,
          .turn_now = turn_now },
        { .name = "libevent_fd",
          .cannot = CANNOT_STOPS,
          .host = sss_libevent_fd_host,
          .loop_new = loop_new,
          .loop_free = loop_free,
          .turn = turn,
          .after_fork = after_fork,
          .turn_now = turn_now },
        { .name = "libevent_signalfd",
          .blocks = true,
          .host = sss_libevent_signalfd_host,
          .loop_new = loop_new,
          .loop_free = loop_free,
          .turn = turn,
          .after_fork = after_fork,
          .turn_now = turn_now },
    };
    static const struct CMUnitTest own[] = {
        cmocka_unit_test(child_new),
    };

    return BEHAVIOURS_RUN(ways, own);
}
