/* Launches in each scope and way of waking: of programs and functions, waited for and not. */
#include "support/test.h"

#include <errno.h>
#include <unistd.h>

#include "support/server.h"

static const uint32_t manners[] = {
    SSS_FORKSRV_CLONE_PARENT,
    SSS_FORKSRV_SERVERS_CHILDREN,
    SSS_FORKSRV_FORK,
};

struct events {
    struct server_events server;
    unsigned launched, failed;
};

static void event_told(struct sss_forksrv *srv, const struct sss_forksrv_event *event, void *pvt)
{
    struct events *events = pvt;

    server_told(srv, event, &events->server);
    events->launched += event->event == SSS_FORKSRV_LAUNCHED;
    events->failed += event->event == SSS_FORKSRV_FAILED;
}

static int returns_five(void *arg)
{
    (void)arg;
    return 5;
}

/* The end of its input lets it go. */
static int waits(void *arg)
{
    char byte;

    (void)arg;
    return read(STDIN_FILENO, &byte, 1) == 0 ? 6 : 1;
}

typedef int (*function_t)(void *arg);

static void launch(struct sss_forksrv *srv, bool async, function_t function, struct gate *gate,
                   struct seen *seen, struct sss_child_ctx **child)
{
    struct order order;
    struct sss_spawn *spawn = order_ends(&order, gate, gate != NULL ? 6 : 5);

    if (async) {
        spawn->mask |= SSS_SPAWN_ASYNC;
    }
    if (function != NULL) {
        check_ok(sss_forksrv_launch_function(NULL, srv, spawn, function, NULL, see, seen, child));
    } else {
        check_ok(sss_forksrv_launch(NULL, srv, spawn, see, seen, child));
    }
}

/* One that ends at once, and one that is held until the other's end was told. */
static void two_children(struct loop *loop, struct sss_forksrv *srv, struct events *events,
                         bool async, bool functions)
{
    struct seen early = { 0 }, late = { 0 };
    struct sss_child_ctx *first = NULL, *second = NULL;
    struct gate gate;
    pid_t pid;

    events->launched = 0;
    gate_make(&gate);
    launch(srv, async, functions ? waits : NULL, &gate, &late, &second);
    launch(srv, async, functions ? returns_five : NULL, NULL, &early, &first);
    if (async) {
        loop_until(loop, &events->launched, 2);
    }
    loop_until(loop, &early.calls, 1);
    check_seen(&early, pid_of(first), 5);
    check_int(late.calls, 0);
    pid = pid_of(second);
    gate_open(&gate);
    loop_until(loop, &late.calls, 1);
    check_seen(&late, pid, 6);
    check_int(events->failed, 0);
    check_ok(sss_child_free(first));
    check_ok(sss_child_free(second));
}

static void of_one_manner(struct loop *loop, uint32_t manner)
{
    struct events events = { 0 };
    struct sss_forksrv_params params = server_zero(manner, &events.server);
    struct sss_forksrv *srv = NULL;
    errno_t ret;

    params.event = event_told;
    params.pvt = &events;
    ret = sss_forksrv_start(NULL, loop->ctx, &params, &srv);
    if (loop->ctxfd == -1) {
        check_int(ret, ENOTSUP);
        check(srv == NULL);
        return;
    }
    check_ok(ret);
    loop_until(loop, &events.server.ready, 1);
    two_children(loop, srv, &events, false, false);
    two_children(loop, srv, &events, true, false);
    if (manner == SSS_FORKSRV_FORK) {
        two_children(loop, srv, &events, false, true);
        two_children(loop, srv, &events, true, true);
    }
    check_ok(sss_forksrv_stop(srv));
    loop_until(loop, &events.server.stopped, 1);
    check_ok(sss_forksrv_free(srv));
    loop_settle(loop);
}

static void launches(void **state)
{
    size_t i;

    for (i = 0; i < ARRAY_SIZE(manners); i++) {
        of_one_manner(*state, manners[i]);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        EACH_WAY(launches),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
