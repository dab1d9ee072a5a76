/* pkgs: -lev */
/* The list of behaviours on libev, and its watcher for one child. */
#include "adapters/behaviours.h"

#include <sss_sigchld/libev.h>

#include "support/memory.h"

static void *default_loop_new(void)
{
    struct ev_loop *loop = ev_default_loop(0);

    check(loop != NULL);
    return loop;
}

static void *loop_new(void)
{
    struct ev_loop *loop = ev_loop_new(0);

    check(loop != NULL);
    return loop;
}

static void loop_free(void *loop)
{
    ev_loop_destroy(loop);
}

static void after_fork(void *loop)
{
    ev_loop_fork(loop);
}

static void turn(void *loop)
{
    ev_run(loop, EVRUN_ONCE);
}

static void turn_now(void *loop)
{
    ev_run(loop, EVRUN_NOWAIT);
}

static void child_ended(struct ev_loop *loop, struct sss_ev_child *w, int revents)
{
    check_int(revents, EV_CHILD);
    check_int(w->rpid, w->pid);
    ++*(int *)w->data;
    sss_ev_child_stop(w);
    ev_break(loop, EVBREAK_ONE);
}

static void watch_one(struct ev_loop *loop)
{
    struct sss_sigchild_ctx *ctx;
    struct sss_ev_child w;
    int calls = 0;

    check_ok(sss_ev_ctx_create(loop, SSS_SCOPE_REGISTERED, &ctx));
    sss_ev_child_init(&w, child_ended, child_at(NULL, 4));
    w.data = &calls;
    check_ok(sss_ev_child_start(ctx, loop, &w));
    ev_run(loop, 0);
    check_int(calls, 1);
    check_int(w.rstatus, status_of(4));
    sss_ev_child_stop(&w);
    check_ok(sss_sigchld_ctx_free(ctx));
}

static void child_watchers(void **state)
{
    struct ev_loop *loop = loop_new();

    (void)state;
    watch_one(loop);
    ev_loop_destroy(loop);
    loop = default_loop_new();
    watch_one(loop);
    ev_loop_destroy(loop);
}

static void libevs_ended(struct ev_loop *loop, ev_child *w, int revents)
{
    (void)revents;
    *(int *)w->data = w->rstatus;
    ev_child_stop(loop, w);
}

/* ev_child works before there is a context on the default loop, and after the last one is
 * freed. */
static void libev_reaps_again(void **state)
{
    struct ev_loop *loop = default_loop_new();
    ev_child w;
    int i, status;

    (void)state;
    for (i = 0; i < 3; i++) {
        status = -1;
        ev_child_init(&w, libevs_ended, child_at(NULL, 10 + i), 0);
        w.data = &status;
        ev_child_start(loop, &w);
        ev_run(loop, 0); /* ends with the last watcher: libev's reaper does not count */
        check_int(status, status_of(10 + i));
        watch_one(loop);
    }
    ev_loop_destroy(loop);
}

/* libev's reaper takes every zombie that it sees. */
static void let_libev_look(struct ev_loop *loop)
{
    ev_feed_signal_event(loop, SIGCHLD);
    turn_now(loop);
    turn_now(loop);
}

/* When the last of several contexts is freed, in whatever order, libev's reaper looks again,
 * and tells of children that ended meanwhile. */
static void libev_waits_for_the_last_context(void **state)
{
    const struct sss_host *hosts[] = { sss_ev_signal_host(), sss_ev_fd_host() };
    struct ev_loop *loop = default_loop_new();
    struct sss_sigchild_ctx *ctx[2];
    int i, j, status = -1;
    struct seen seen;
    pid_t pid;
    ev_child w;

    (void)state;
    for (i = 0; i < 4; i++) {
        int first = i & 1;

        for (j = 0; j < 2; j++) {
            struct sss_ctx_params params = params_zero();

            params.host = hosts[i / 2 == j];
            params.loop = loop;
            check_ok(sss_sigchld_ctx_create(&params, &ctx[j]));
        }
        status = -1;
        ev_child_init(&w, libevs_ended, child_dead(20 + i), 0);
        w.data = &status;
        ev_child_start(loop, &w);
        check_ok(sss_sigchld_ctx_free(ctx[first]));
        pid = child_dead(i);
        let_libev_look(loop);
        check(is_child(pid));
        check_int(status, -1);
        seen = (struct seen){ 0 };
        check_ok(sss_child_register(NULL, ctx[!first], pid, see, &seen, NULL));
        while (seen.calls == 0) {
            turn(loop);
        }
        check_seen(&seen, pid, i);
        check_ok(sss_sigchld_ctx_free(ctx[!first]));
        while (status == -1) {
            turn(loop);
        }
        check_int(status, status_of(20 + i));
    }
    ev_loop_destroy(loop);
    check_no_children();
}

static void without_memory_nothing_is_left(void **state)
{
    struct ev_loop *loop = default_loop_new();
    struct sss_sigchild_ctx *ctx = NULL;
    struct memory memory;
    unsigned fail_at = 0; /* what is made once */
    errno_t ret;

    (void)state;
    memory_needed();
    do {
        memory_begin(fail_at);
        ret = sss_ev_ctx_create(loop, SSS_SCOPE_REGISTERED, &ctx);
        if (ret == 0) {
            check_ok(sss_sigchld_ctx_free(ctx));
        }
        memory = memory_end();
        if (fail_at > 0) {
            check_int(ret, memory.failed > 0 ? ENOMEM : 0);
            check_int(memory.bytes, 0);
        }
    } while (fail_at++ == 0 || memory.failed > 0);
    ev_loop_destroy(loop);
}

int main(void)
{
    static const struct waking_on ways[] = {
        { .name = "libev_default_signal",
          .cannot = CANNOT_LOOPS | CANNOT_FORMER,
          .host = sss_ev_signal_host,
          .loop_new = default_loop_new,
          .loop_free = loop_free,
          .turn = turn,
          .after_fork = after_fork,
          .turn_now = turn_now },
        { .name = "libev_default_fd",
          .cannot = CANNOT_STOPS | CANNOT_LOOPS | CANNOT_FORMER,
          .host = sss_ev_fd_host,
          .loop_new = default_loop_new,
          .loop_free = loop_free,
          .turn = turn,
          .after_fork = after_fork,
          .turn_now = turn_now },
        { .name = "libev_fd",
          .cannot = CANNOT_STOPS,
          .host = sss_ev_fd_host,
          .loop_new = loop_new,
          .loop_free = loop_free,
          .turn = turn,
          .after_fork = after_fork,
          .turn_now = turn_now },
        { .name = "libev_default_signalfd",
          .cannot = CANNOT_LOOPS | CANNOT_FORMER,
          .blocks = true,
          .host = sss_ev_signalfd_host,
          .loop_new = default_loop_new,
          .loop_free = loop_free,
          .turn = turn,
          .after_fork = after_fork,
          .turn_now = turn_now },
        { .name = "libev_signalfd",
          .blocks = true,
          .host = sss_ev_signalfd_host,
          .loop_new = loop_new,
          .loop_free = loop_free,
          .turn = turn,
          .after_fork = after_fork,
          .turn_now = turn_now },
    };
    static const struct CMUnitTest own[] = {
        cmocka_unit_test(child_watchers),
        cmocka_unit_test(libev_reaps_again),
        cmocka_unit_test(libev_waits_for_the_last_context),
        cmocka_unit_test(without_memory_nothing_is_left),
    };

    return BEHAVIOURS_RUN(ways, own);
}
